package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Apps of Container Apps, with the names and meanings of version 2025-01-01 of Microsoft.App.
type (
	app struct {
		Name       string            `json:"name,omitempty"`
		Location   string            `json:"location,omitempty"`
		Tags       map[string]string `json:"tags,omitempty"`
		Identity   *appIdentity      `json:"identity,omitempty"`
		Properties appService        `json:"properties"`
	}
	appService struct {
		Environment   string       `json:"environmentId,omitempty"`
		Profile       string       `json:"workloadProfileName,omitempty"`
		Configuration *appConfig   `json:"configuration,omitempty"`
		Template      *appRevision `json:"template,omitempty"`
		State         string       `json:"provisioningState,omitempty"`
	}
	appConfig struct {
		Mode       string        `json:"activeRevisionsMode,omitempty"`
		Ingress    *appIngress   `json:"ingress,omitempty"`
		Registries []appRegistry `json:"registries,omitempty"`
		Secrets    []appSecret   `json:"secrets,omitempty"`
	}
	appIngress struct {
		External *bool        `json:"external,omitempty"`
		Port     int          `json:"targetPort,omitempty"`
		Insecure *bool        `json:"allowInsecure,omitempty"`
		Traffic  []appTraffic `json:"traffic,omitempty"`
		Host     string       `json:"fqdn,omitempty"`
	}
	appTraffic struct {
		Revision string `json:"revisionName,omitempty"`
		Latest   bool   `json:"latestRevision,omitempty"`
		Weight   int    `json:"weight"`
	}
	appRevision struct { // a template of revisions
		Suffix     string         `json:"revisionSuffix,omitempty"`
		Grace      int64          `json:"terminationGracePeriodSeconds,omitempty"`
		Containers []appContainer `json:"containers"`
		Scale      appScale       `json:"scale"`
	}
	appScale struct {
		Least int64     `json:"minReplicas"`
		Most  int64     `json:"maxReplicas"`
		Rules []appRule `json:"rules,omitempty"`
	}
	appRule struct {
		Name string  `json:"name"`
		HTTP appHTTP `json:"http"`
	}
	appHTTP struct {
		Metadata map[string]string `json:"metadata"`
	}
	appProbe struct {
		Type     string  `json:"type"`
		HTTP     *appGet `json:"httpGet,omitempty"`
		TCP      *appTCP `json:"tcpSocket,omitempty"`
		Period   int     `json:"periodSeconds"`
		Timeout  int     `json:"timeoutSeconds"`
		Failures int     `json:"failureThreshold"`
	}
	appGet struct {
		Path string `json:"path"`
		Port int    `json:"port"`
	}
	appTCP struct {
		Port int `json:"port"`
	}
	revision struct {
		Name       string `json:"name"`
		Properties struct {
			Active      bool        `json:"active"`
			Created     time.Time   `json:"createdTime,omitzero"`
			Health      string      `json:"healthState"`
			Running     string      `json:"runningState"`
			Provisioned string      `json:"provisioningState"`
			Error       string      `json:"provisioningError"`
			Template    appRevision `json:"template"`
		} `json:"properties"`
	}
	page[T any] struct {
		Value []T    `json:"value"`
		Next  string `json:"nextLink"`
	}
	// An operation is what Azure does after it has answered.
	operation struct {
		Status string          `json:"status"`
		Error  json.RawMessage `json:"error"`
	}
)

// allTo sends all requests to a revision.
func allTo(name string) []appTraffic { return []appTraffic{{Revision: name, Weight: 100}} }

// traffic returns where requests go.
func (a *app) traffic() []appTraffic {
	if c := a.Properties.Configuration; c != nil && c.Ingress != nil {
		return c.Ingress.Traffic
	}
	return nil
}

// url returns where the app answers, or "" if that is not known yet.
func (a *app) url() string {
	if c := a.Properties.Configuration; c != nil && c.Ingress != nil && c.Ingress.Host != "" {
		return "https://" + c.Ingress.Host
	}
	return ""
}

// planned returns the suffix of the revision that the app was made with last.
func (a *app) planned() string {
	if t := a.Properties.Template; t != nil {
		return t.Suffix
	}
	return ""
}

// busy reports whether Azure works on the app, and refuses changes meanwhile.
func (a *app) busy() bool {
	return a.Properties.State == "InProgress" || a.Properties.State == "Deleting"
}

// gone reports whether a revision is, or is about to be, without replicas. Azure keeps it as a record.
func (r *revision) gone() bool {
	p := r.Properties
	return !p.Active || p.Provisioned == "Deprovisioning" || p.Provisioned == "Deprovisioned"
}

// apps is the resource id of the apps of a resource group, app that of the unit's, and revision that of the task's.
func (st taskState) apps() string {
	return "/subscriptions/" + st.Subscription + "/resourceGroups/" + st.Group + "/providers/Microsoft.App/containerApps"
}
func (st taskState) app() string      { return st.apps() + "/" + st.Service }
func (st taskState) revision() string { return st.app() + "/revisions/" + st.start() }

// app reads the app of a task. It reports whether there is one.
func (c *client) app(ctx context.Context, st taskState, out *app) (bool, error) {
	return c.get(ctx, "the app "+st.Service, forManager, c.resource(st.app(), appsVersion), out)
}

// list returns all resources of a list of Container Apps.
func list[T any](ctx context.Context, c *client, what, id string) (all []T, err error) {
	return listAt[T](ctx, c, what, c.resource(id, appsVersion))
}

// listAt returns all resources of a list at a URL.
func listAt[T any](ctx context.Context, c *client, what, at string) (all []T, err error) {
	for at != "" {
		var p page[T]
		if there, err := c.get(ctx, what, forManager, at, &p); err != nil || !there {
			return all, err
		}
		all = append(all, p.Value...)
		if at = p.Next; at != "" && !strings.HasPrefix(at, c.manager+"/") {
			return nil, foreign(at)
		}
	}
	return all, nil
}

func foreign(at string) error {
	return fmt.Errorf("azure names the next page at %s, which is not its own", at)
}

// revisions returns those of an app, also those that are no longer active. The app may be gone.
func (c *client) revisions(ctx context.Context, st taskState) ([]revision, error) {
	return list[revision](ctx, c, "the revisions of "+st.Service, st.app()+"/revisions")
}

// passes reports whether Azure refuses a change because it still makes another one, and not for good: such as
// ContainerAppOperationInProgress, ContainerAppLockConflict or ManagedEnvironmentOperationInProgress. One without a reason may pass, too.
func passes(err error) bool {
	var e *refusal
	if !errors.As(err, &e) || e.status != http.StatusConflict {
		return false
	}
	text := strings.ToLower(e.code + " " + e.message)
	return e.message == "" || slices.ContainsFunc([]string{"inprogress", "in progress", "lockconflict", "retry", "try again"}, func(part string) bool { return strings.Contains(text, part) })
}

// put makes an app, or another revision of it, and returns once Azure has done so. It reports false if Azure still
// works on the app.
func (e *Executor) put(ctx context.Context, st taskState, want app) (bool, error) {
	c, what := e.client, "make "+st.start()
	header, err := c.send(ctx, http.MethodPut, forManager, c.resource(st.app(), appsVersion), want, nil)
	if passes(err) {
		return false, nil
	}
	if err != nil {
		return false, explainApp(what, err)
	}
	at := header.Get("Azure-AsyncOperation")
	if at == "" {
		return true, nil
	}
	if !strings.HasPrefix(at, c.manager+"/") {
		return false, foreign(at)
	}
	err = e.operated(ctx, what, at, explainApp)
	return err == nil, err
}

// patch changes tags and the traffic of an app. It reports false if Azure still works on it.
func (c *client) patch(ctx context.Context, st taskState, change app) (bool, error) {
	err := c.call(ctx, http.MethodPatch, forManager, c.resource(st.app(), appsVersion), change, nil)
	if passes(err) || isStatus(err, http.StatusNotFound) {
		return false, nil
	}
	return err == nil, explainCall("change the app "+st.Service, err)
}

// deactivate ends the replicas of a revision. It may be gone.
func (c *client) deactivate(ctx context.Context, st taskState) error {
	err := c.call(ctx, http.MethodPost, forManager, c.resource(st.revision(), appsVersion, "deactivate"), nil, nil)
	if passes(err) || isStatus(err, http.StatusNotFound) {
		return nil // whoever waits for its end looks again
	}
	return explainCall("deactivate "+st.start(), err)
}

// removeApp removes an app with all of its revisions. It may be gone.
func (c *client) removeApp(ctx context.Context, st taskState) error {
	err := c.call(ctx, http.MethodDelete, forManager, c.resource(st.app(), appsVersion), nil, nil)
	if passes(err) || isStatus(err, http.StatusNotFound) {
		return nil
	}
	return explainCall("remove the app "+st.Service, err)
}
