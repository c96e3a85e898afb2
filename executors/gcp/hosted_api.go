package gcp

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Models and endpoints of Vertex AI, with the names of version 1 of aiplatform.googleapis.com.
type (
	hostedModel struct {
		Name      string            `json:"name,omitempty"`
		Display   string            `json:"displayName,omitempty"`
		Labels    map[string]string `json:"labels,omitempty"`
		Container *modelContainer   `json:"containerSpec,omitempty"`
	}
	modelContainer struct {
		Image   string      `json:"imageUri"`
		Command []string    `json:"command"`
		Args    []string    `json:"args"`
		Env     []customEnv `json:"env"`
		Ports   []runPort   `json:"ports"`
		Predict string      `json:"predictRoute"`
		Health  string      `json:"healthRoute"`
		Timeout string      `json:"deploymentTimeout"`
	}
	hostedModels struct {
		Models []hostedModel `json:"models"`
		Next   string        `json:"nextPageToken"`
	}
	hostedEndpoint struct {
		Name     string            `json:"name,omitempty"`
		Display  string            `json:"displayName,omitempty"`
		Labels   map[string]string `json:"labels,omitempty"`
		Etag     string            `json:"etag,omitempty"`
		Deployed []deployedModel   `json:"deployedModels,omitempty"`
		Traffic  map[string]int    `json:"trafficSplit,omitempty"` // percent, by id of a deployed model
	}
	deployedModel struct {
		ID         string          `json:"id"` // of at most 10 digits
		Model      string          `json:"model"`
		Display    string          `json:"displayName"`
		Account    string          `json:"serviceAccount"`
		Resources  hostedResources `json:"dedicatedResources"`
		CreateTime time.Time       `json:"createTime,omitzero"`
	}
	hostedResources struct {
		Machine customMachine  `json:"machineSpec"`
		Least   int64          `json:"minReplicaCount"`
		Most    int64          `json:"maxReplicaCount"`
		Metrics []hostedMetric `json:"autoscalingMetricSpecs,omitempty"`
	}
	hostedMetric struct {
		Name   string `json:"metricName"`
		Target int    `json:"target"` // percent
	}
	// An operation is a call that goes on after its answer.
	operation struct {
		Name  string       `json:"name"`
		Done  bool         `json:"done"`
		Error *customError `json:"error"`
	}
	operations struct {
		Operations []operation `json:"operations"`
		Next       string      `json:"nextPageToken"`
	}
)

// place is the name of the region in Vertex AI, endpoint that of the unit's endpoint, and model that of a variant's model.
func (st taskState) place() string    { return "projects/" + st.Project + "/locations/" + st.Region }
func (st taskState) endpoint() string { return st.place() + "/endpoints/" + st.Endpoint }
func (st taskState) model(variant string) string {
	return st.place() + "/models/" + st.Run + "-" + variant
}

// runs returns the deployed models of a task, by variant.
func (x *hostedEndpoint) runs(st taskState) map[string]deployedModel {
	own := map[string]deployedModel{}
	for _, d := range x.Deployed {
		for variant := range st.Versions {
			if d.ID == st.deployed(variant) {
				own[variant] = d
			}
		}
	}
	return own
}

// share returns how many percent of the requests go to the versions of a task.
func (x *hostedEndpoint) share(st taskState) (percent int) {
	for _, d := range x.runs(st) {
		percent += x.Traffic[d.ID]
	}
	return percent
}

// changing reports whether Vertex AI refuses a call because another one has not ended, or because what it makes exists.
// Then another look says what to do.
func changing(err error) bool {
	var api *refusal
	return busy(err) || errors.As(err, &api) && (api.status == "FAILED_PRECONDITION" || api.status == "ABORTED") && strings.Contains(strings.ToLower(api.message), "other operations")
}

// vertexGet reads something of Vertex AI. It reports whether it exists.
func (c *client) vertexGet(ctx context.Context, st taskState, name string, out any) (bool, error) {
	err := c.call(ctx, http.MethodGet, c.vertexAt(st.Region)+"/v1/"+name, nil, out)
	if isStatus(err, http.StatusNotFound) {
		return false, nil
	}
	return err == nil, explainCall("look at "+name, err)
}

// vertexBegin begins an operation. What has gone is not removed again: the operation is then nil. So it is if another call
// came in between.
func (c *client) vertexBegin(ctx context.Context, st taskState, what, method, name string, in any) (*operation, error) {
	op := &operation{}
	err := c.call(ctx, method, c.vertexAt(st.Region)+"/v1/"+name, in, op)
	if changing(err) || method == http.MethodDelete && isStatus(err, http.StatusNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, explainHosted(what, err)
	}
	return op, nil
}

func (c *client) createEndpoint(ctx context.Context, st taskState, x hostedEndpoint) (*operation, error) {
	return c.vertexBegin(ctx, st, "create the endpoint "+st.Endpoint, http.MethodPost, st.place()+"/endpoints?"+url.Values{"endpointId": {st.Endpoint}}.Encode(), x)
}

func (c *client) uploadModel(ctx context.Context, st taskState, id string, m hostedModel) (*operation, error) {
	in := map[string]any{"modelId": id, "model": m}
	return c.vertexBegin(ctx, st, "upload the model "+id, http.MethodPost, st.place()+"/models:upload", in)
}

// deployModel gives a model machines at an endpoint. Requests go where they went before.
func (c *client) deployModel(ctx context.Context, st taskState, d deployedModel) (*operation, error) {
	return c.vertexBegin(ctx, st, "deploy "+d.Display, http.MethodPost, st.endpoint()+":deployModel", map[string]any{"deployedModel": d})
}

// undeployModel takes the machines of a model away, which gets no requests or is the last one.
func (c *client) undeployModel(ctx context.Context, st taskState, id string) (*operation, error) {
	return c.vertexBegin(ctx, st, "undeploy a model of "+st.Endpoint, http.MethodPost, st.endpoint()+":undeployModel", map[string]any{"deployedModelId": id})
}

// vertexRemove removes a model or an endpoint.
func (c *client) vertexRemove(ctx context.Context, st taskState, name string) (*operation, error) {
	return c.vertexBegin(ctx, st, "remove "+name, http.MethodDelete, name, nil)
}

// split divides the requests of an endpoint, and gives it labels besides those that it has, unless somebody else has changed
// it since it was read. It reports whether it did.
func (c *client) split(ctx context.Context, st taskState, was *hostedEndpoint, traffic map[string]int, labels map[string]string) (bool, error) {
	all := maps.Clone(was.Labels)
	maps.Copy(all, labels)
	at := c.vertexAt(st.Region) + "/v1/" + st.endpoint() + "?updateMask=trafficSplit,labels"
	err := c.call(ctx, http.MethodPatch, at, hostedEndpoint{Display: was.Display, Etag: was.Etag, Labels: all, Traffic: traffic}, nil)
	if changing(err) || isStatus(err, http.StatusPreconditionFailed) {
		return false, nil
	}
	return err == nil, explainHosted("divide the requests of the endpoint "+st.Endpoint, err)
}

// running returns the name of an operation that changes an endpoint now, or "".
func (c *client) running(ctx context.Context, st taskState) (string, error) {
	q := url.Values{}
	for {
		var page operations
		there, err := c.vertexGet(ctx, st, st.endpoint()+"/operations?"+q.Encode(), &page)
		if err != nil || !there {
			return "", err
		}
		if i := slices.IndexFunc(page.Operations, func(o operation) bool { return !o.Done }); i >= 0 {
			return page.Operations[i].Name, nil
		}
		if page.Next == "" {
			return "", nil
		}
		q.Set("pageToken", page.Next)
	}
}

// cancelOperation asks an operation to end, which it does some time later or not at all.
func (c *client) cancelOperation(ctx context.Context, st taskState, name string) error {
	err := c.call(ctx, http.MethodPost, c.vertexAt(st.Region)+"/v1/"+name+":cancel", struct{}{}, nil)
	if isStatus(err, http.StatusNotFound) || isStatus(err, http.StatusBadRequest) {
		return nil // whoever waits for its end sees it
	}
	return explainCall("cancel "+name, err)
}

// modelsOf returns all models with a label.
func (c *client) modelsOf(ctx context.Context, st taskState, label, value string) (all []hostedModel, err error) {
	q := url.Values{"filter": {"labels." + label + "=" + value}}
	for {
		var page hostedModels
		if err := c.call(ctx, http.MethodGet, c.vertexAt(st.Region)+"/v1/"+st.place()+"/models?"+q.Encode(), nil, &page); err != nil {
			if nothingThere(err) {
				return nil, nil
			}
			return nil, explainCall("list the models of Vertex AI", err)
		}
		all = append(all, page.Models...)
		if page.Next == "" {
			return all, nil
		}
		q.Set("pageToken", page.Next)
	}
}

// nothingThere reports whether nothing was ever made with an API: it is off, or the region has no Vertex AI.
func nothingThere(err error) bool {
	r := (*refusal)(nil)
	return errors.As(err, &r) && (r.reason == "SERVICE_DISABLED" || r.code == http.StatusNotFound)
}
