package azure

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/executors/cloud"
)

// Online endpoints of Azure Machine Learning, with the names of version [learningVersion] of its API.
type (
	mlEndpoint struct {
		Name       string            `json:"name,omitempty"`
		Location   string            `json:"location"`
		Tags       map[string]string `json:"tags,omitempty"`
		Identity   *appIdentity      `json:"identity,omitempty"`
		Properties mlEntrance        `json:"properties"`
	}
	mlEntrance struct {
		Auth    string         `json:"authMode"`
		Traffic map[string]int `json:"traffic"` // percent, by deployment
		State   string         `json:"provisioningState,omitempty"`
		URL     string         `json:"scoringUri,omitempty"`
	}
	mlDeployment struct {
		Name       string            `json:"name,omitempty"`
		Location   string            `json:"location"`
		Tags       map[string]string `json:"tags,omitempty"`
		SKU        *mlSKU            `json:"sku,omitempty"`
		Properties mlServing         `json:"properties"`
		System     struct {
			Created time.Time `json:"createdAt,omitzero"`
		} `json:"systemData,omitzero"`
	}
	mlSKU struct {
		Name     string `json:"name"`
		Capacity int64  `json:"capacity"` // instances
	}
	mlServing struct {
		Type        string            `json:"endpointComputeType"`
		Environment string            `json:"environmentId"`
		Variables   map[string]string `json:"environmentVariables,omitempty"`
		Instance    string            `json:"instanceType"`
		Live        mlProbe           `json:"livenessProbe"`
		Ready       mlProbe           `json:"readinessProbe"`
		Requests    mlRequests        `json:"requestSettings"`
		Scale       mlScale           `json:"scaleSettings"`
		State       string            `json:"provisioningState,omitempty"`
	}
	mlProbe struct {
		Delay     string `json:"initialDelay"` // "PT10S"
		Period    string `json:"period"`
		Timeout   string `json:"timeout"`
		Failures  int64  `json:"failureThreshold"`
		Successes int64  `json:"successThreshold"`
	}
	mlRequests struct {
		AtOnce  int64  `json:"maxConcurrentRequestsPerInstance"`
		Timeout string `json:"requestTimeout"`
	}
	mlScale struct {
		Type string `json:"scaleType"`
	}
	mlInference struct {
		Live  mlRoute `json:"livenessRoute"`
		Ready mlRoute `json:"readinessRoute"`
		Score mlRoute `json:"scoringRoute"`
	}
	mlRoute struct {
		Path string `json:"path"`
		Port int    `json:"port"`
	}
)

const stateDeleting = "Deleting"

// busyState reports whether Azure changes an endpoint or a deployment in a state, and refuses other changes meanwhile.
func busyState(state string) bool {
	return slices.Contains([]string{"Creating", "Updating", "Scaling", stateDeleting}, state)
}

func (x *mlEndpoint) busy() bool     { return busyState(x.Properties.State) }
func (d *mlDeployment) serves() bool { return d.Properties.State == "Succeeded" }

// deployment returns the name of the deployment of a variant.
func (st taskState) deployment(variant string) string {
	return "t" + st.Run[len(st.Run)-jobDigits:] + "-" + variant
}

func (st taskState) endpointID(below ...string) string {
	return st.learningID(append([]string{"onlineEndpoints", st.Endpoint}, below...)...)
}

func (st taskState) deploymentID(variant string) string {
	return st.endpointID("deployments", st.deployment(variant))
}

// endpoint reads the endpoint of a task, or returns nil.
func (c *client) endpoint(ctx context.Context, st taskState) (*mlEndpoint, error) {
	x := &mlEndpoint{}
	there, err := c.get(ctx, "the endpoint "+st.Endpoint, forManager, c.resource(st.endpointID(), learningVersion), x)
	if err != nil || !there {
		return nil, err
	}
	return x, nil
}

// deploymentsAt returns all deployments at the endpoint of a task.
func (c *client) deploymentsAt(ctx context.Context, st taskState) ([]mlDeployment, error) {
	return listAt[mlDeployment](ctx, c, "the deployments at "+st.Endpoint, c.resource(st.endpointID("deployments"), learningVersion))
}

// makeML makes or changes an endpoint or a deployment. It returns the URL of the operation that goes on after the answer, and
// reports false if Azure still works on another change.
func (c *client) makeML(ctx context.Context, what, id string, in any) (operation string, began bool, err error) {
	header, err := c.send(ctx, http.MethodPut, forManager, c.resource(id, learningVersion), in, nil)
	if isStatus(err, http.StatusConflict) {
		return "", false, nil
	}
	if err != nil {
		return "", false, explainEndpoint(what, err)
	}
	operation = header.Get("Azure-AsyncOperation")
	if operation != "" && !strings.HasPrefix(operation, c.manager+"/") {
		return "", false, foreign(operation)
	}
	return operation, true, nil
}

// dropML removes an endpoint with its deployments, or a deployment. It may be gone, or Azure may still change it.
func (c *client) dropML(ctx context.Context, what, id string) error {
	err := c.call(ctx, http.MethodDelete, forManager, c.resource(id, learningVersion), nil, nil)
	if isStatus(err, http.StatusNotFound) || isStatus(err, http.StatusConflict) {
		return nil // whoever waits for its end looks again
	}
	return explainCall("remove "+what, err)
}

// operated waits until an operation has ended, and returns its error.
func (e *Executor) operated(ctx context.Context, what, at string, explain func(string, error) error) error {
	for pause := e.opts.Pause / 2; at != ""; pause = min(2*pause, e.opts.Longest) {
		over, failed, err := e.client.operation(ctx, what, at)
		if err != nil || failed != nil {
			if err == nil {
				err = explain(what, failed)
			}
			return err
		}
		if over {
			return nil
		}
		if err := cloud.Sleep(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

// operation reports whether an operation has ended, and with which error.
func (c *client) operation(ctx context.Context, what, at string) (over bool, failed, err error) {
	var now operation
	there, err := c.get(ctx, what, forManager, at, &now)
	switch {
	case err != nil:
		return false, nil, err
	case !there || now.Status == "Succeeded":
		return true, nil, nil
	case now.Status == "Failed" || now.Status == "Canceled":
		return true, refused(http.StatusBadRequest, []byte(`{"error":`+string(now.Error)+`}`)), nil
	}
	return false, nil, nil
}

// mostTail is how many lines of the log of a deployment are asked for.
const mostTail = 5000

// logHeading is the line after which the log of a deployment has what its container has printed.
const logHeading = "Container logs:\n"

// deploymentLog returns the last lines that an instance of a deployment has printed. A deployment without instances has none.
func (c *client) deploymentLog(ctx context.Context, st taskState, variant string) (string, error) {
	var out struct {
		Content string `json:"content"`
	}
	in := map[string]any{"containerType": "InferenceServer", "tail": mostTail}
	err := c.call(ctx, http.MethodPost, forManager, c.resource(st.deploymentID(variant), learningVersion, "getLogs"), in, &out)
	if isStatus(err, http.StatusNotFound) || isStatus(err, http.StatusBadRequest) || isStatus(err, http.StatusConflict) {
		return "", nil
	}
	if err != nil {
		return "", passing(err)
	}
	if _, printed, is := strings.Cut(out.Content, logHeading); is {
		return printed, nil
	}
	return out.Content, nil
}
