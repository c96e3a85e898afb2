package gcp

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Services of Cloud Run, with the names of version 2 of run.googleapis.com.
type (
	runService struct {
		Name              string            `json:"name,omitempty"`
		Labels            map[string]string `json:"labels,omitempty"`
		Annotations       map[string]string `json:"annotations,omitempty"`
		Etag              string            `json:"etag,omitempty"`
		Ingress           string            `json:"ingress,omitempty"`
		Scaling           *runServiceScale  `json:"scaling,omitempty"`
		Template          *runRevisionSpec  `json:"template,omitempty"`
		Traffic           []runTraffic      `json:"traffic,omitempty"`
		TrafficStatuses   []runTraffic      `json:"trafficStatuses,omitempty"`
		URI               string            `json:"uri,omitempty"`
		Latest            string            `json:"latestCreatedRevision,omitempty"`
		Reconciling       bool              `json:"reconciling,omitempty"`
		TerminalCondition *runCondition     `json:"terminalCondition,omitempty"`
	}
	runServiceScale struct {
		Least int64 `json:"minInstanceCount,omitempty"` // of all revisions that get requests
	}
	runRevisionSpec struct { // a template of revisions
		Revision       string            `json:"revision"`
		Labels         map[string]string `json:"labels,omitempty"`
		Annotations    map[string]string `json:"annotations,omitempty"`
		Scaling        runRevisionScale  `json:"scaling"`
		Containers     []runContainer    `json:"containers"`
		ServiceAccount string            `json:"serviceAccount"`
		Environment    string            `json:"executionEnvironment"`
		Concurrency    int               `json:"maxInstanceRequestConcurrency,omitempty"`
		VPC            *runVPC           `json:"vpcAccess,omitempty"`
		Node           *runNode          `json:"nodeSelector,omitempty"`
		OneZone        bool              `json:"gpuZonalRedundancyDisabled,omitempty"`
	}
	runRevisionScale struct {
		Most int64 `json:"maxInstanceCount"`
	}
	runPort struct {
		Port int `json:"containerPort"`
	}
	runProbe struct {
		HTTP     *runGet `json:"httpGet,omitempty"`
		TCP      *runTCP `json:"tcpSocket,omitempty"`
		Period   int     `json:"periodSeconds"`
		Timeout  int     `json:"timeoutSeconds"`
		Failures int     `json:"failureThreshold"`
	}
	runGet struct {
		Path string `json:"path"`
	}
	runTCP struct {
		Port int `json:"port"`
	}
	runTraffic struct {
		Type     string `json:"type"`
		Revision string `json:"revision,omitempty"` // without the name of its service
		Percent  int    `json:"percent,omitempty"`
	}
	runRevision struct {
		Name       string         `json:"name"`
		CreateTime time.Time      `json:"createTime"`
		Conditions []runCondition `json:"conditions"`
	}
	runServices struct {
		Services []runService `json:"services"`
		Next     string       `json:"nextPageToken"`
	}
	runRevisions struct {
		Revisions []runRevision `json:"revisions"`
		Next      string        `json:"nextPageToken"`
	}
)

// Kinds of traffic.
const (
	toLatest   = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
	toRevision = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
)

// allTo sends all requests to a revision.
func allTo(revision string) []runTraffic {
	return []runTraffic{{Type: toRevision, Revision: revision, Percent: 100}}
}

// ready returns the condition that says whether a revision can answer.
func (r *runRevision) ready() (c runCondition) {
	for _, c = range r.Conditions {
		if c.Type == "Ready" {
			return c
		}
	}
	return runCondition{}
}

// services is the name of the services of a region, service that of the unit's, and revision that of the task's.
func (st taskState) services() string {
	return "projects/" + st.Project + "/locations/" + st.Region + "/services"
}
func (st taskState) service() string  { return st.services() + "/" + st.Service }
func (st taskState) revision() string { return st.service() + "/revisions/" + st.start() }

// short returns the last part of a name.
func short(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// busy reports whether a call came in between others: it is to be repeated after another look.
func busy(err error) bool {
	return isStatus(err, http.StatusConflict) || isStatus(err, http.StatusPreconditionFailed)
}

// createService makes a service, whose first revision gets all requests. It reports whether it did: another may
// have the name.
func (c *client) createService(ctx context.Context, st taskState, s runService) (bool, error) {
	err := c.call(ctx, http.MethodPost, c.run+"/v2/"+st.services()+"?"+url.Values{"serviceId": {st.Service}}.Encode(), s, nil)
	if busy(err) {
		return false, nil
	}
	return err == nil, explainCall("create the service "+st.Service, err)
}

// changeService changes fields of a service, unless somebody else has changed it since it was read. It reports
// whether it did.
func (c *client) changeService(ctx context.Context, st taskState, s runService, fields ...string) (bool, error) {
	at := c.run + "/v2/" + st.service() + "?" + url.Values{"updateMask": {strings.Join(fields, ",")}}.Encode()
	err := c.call(ctx, http.MethodPatch, at, s, nil)
	if busy(err) || isStatus(err, http.StatusNotFound) {
		return false, nil
	}
	return err == nil, explainCall("change the service "+st.Service, err)
}

// removeService removes a service, or a revision that gets no requests. It may be gone.
func (c *client) removeService(ctx context.Context, name string) error {
	err := c.call(ctx, http.MethodDelete, c.run+"/v2/"+name, nil, nil)
	if isStatus(err, http.StatusNotFound) || busy(err) { // whoever waits for its end looks again
		return nil
	}
	return explainCall("remove "+name, err)
}

// listServices returns all services of a region.
func (c *client) listServices(ctx context.Context, st taskState) (all []runService, err error) {
	for token := ""; ; {
		var page runServices
		err := c.call(ctx, http.MethodGet, c.run+"/v2/"+st.services()+"?"+url.Values{"pageToken": {token}}.Encode(), nil, &page)
		if err != nil {
			return nil, explainCall("list the services", err)
		}
		all = append(all, page.Services...)
		if token = page.Next; token == "" {
			return all, nil
		}
	}
}

// listRevisions returns all revisions of a service.
func (c *client) listRevisions(ctx context.Context, st taskState) (all []runRevision, err error) {
	for token := ""; ; {
		var page runRevisions
		err := c.call(ctx, http.MethodGet, c.run+"/v2/"+st.service()+"/revisions?"+url.Values{"pageToken": {token}}.Encode(), nil, &page)
		if isStatus(err, http.StatusNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, explainCall("list the revisions of "+st.Service, err)
		}
		all = append(all, page.Revisions...)
		if token = page.Next; token == "" {
			return all, nil
		}
	}
}
