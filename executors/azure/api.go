package azure

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Versions of the APIs of resources.
const (
	appsVersion      = "2025-01-01"
	identityVersion  = "2023-01-31"
	workspaceVersion = "2023-09-01"
	registryVersion  = "2023-07-01"
)

// What is sent to and read from Container Apps. Fields have the names and meanings of version 2025-01-01 of
// Microsoft.App.
type (
	appJob struct {
		Location   string            `json:"location,omitempty"`
		Tags       map[string]string `json:"tags,omitempty"`
		Identity   *appIdentity      `json:"identity,omitempty"`
		Properties appJobProperties  `json:"properties"`
		System     struct {
			Created time.Time `json:"createdAt,omitzero"`
		} `json:"systemData,omitzero"`
	}
	appIdentity struct {
		Type string              `json:"type"`
		IDs  map[string]struct{} `json:"userAssignedIdentities"`
	}
	appJobProperties struct {
		Environment   string       `json:"environmentId,omitempty"`
		Profile       string       `json:"workloadProfileName,omitempty"`
		Configuration *appSettings `json:"configuration,omitempty"`
		Template      *appTemplate `json:"template,omitempty"`
		State         string       `json:"provisioningState,omitempty"`
	}
	appSettings struct {
		Trigger    string        `json:"triggerType"`
		Timeout    int64         `json:"replicaTimeout"` // seconds
		Retries    int           `json:"replicaRetryLimit"`
		Manual     appManual     `json:"manualTriggerConfig"`
		Registries []appRegistry `json:"registries"`
		Secrets    []appSecret   `json:"secrets,omitempty"`
	}
	appManual struct {
		Parallelism int `json:"parallelism"`
		Completions int `json:"replicaCompletionCount"`
	}
	appRegistry struct {
		Server   string `json:"server"`
		Identity string `json:"identity"`
	}
	appSecret struct {
		Name     string `json:"name"`
		URL      string `json:"keyVaultUrl"`
		Identity string `json:"identity"`
	}
	appTemplate struct {
		Containers []appContainer `json:"containers"`
	}
	appContainer struct {
		Name      string       `json:"name"`
		Image     string       `json:"image"`
		Command   []string     `json:"command"`
		Args      []string     `json:"args"`
		Env       []appEnv     `json:"env"`
		Probes    []appProbe   `json:"probes,omitempty"`
		Resources appResources `json:"resources"`
	}
	appEnv struct {
		Name   string `json:"name"`
		Value  string `json:"value,omitempty"`
		Secret string `json:"secretRef,omitempty"`
	}
	appResources struct {
		CPU    float64 `json:"cpu"`
		Memory string  `json:"memory"`
	}
	appExecution struct {
		Name       string `json:"name"`
		Properties struct {
			Status  string    `json:"status"`
			Started time.Time `json:"startTime,omitzero"`
			Ended   time.Time `json:"endTime,omitzero"`
		} `json:"properties"`
	}
	// A named resource has properties that are read.
	appProperties struct {
		Properties struct {
			Client   string `json:"clientId"`   // of an identity
			Customer string `json:"customerId"` // of a workspace
		} `json:"properties"`
	}
	logQuery struct {
		Query    string `json:"query"`
		Timespan string `json:"timespan"`
	}
	logTables struct {
		Tables []struct {
			Rows [][]string `json:"rows"`
		} `json:"tables"`
	}
)

// over reports whether an execution has ended.
func (x appExecution) over() bool {
	return slices.Contains([]string{"Succeeded", "Failed", "Stopped", "Degraded"}, x.Properties.Status)
}

// id returns the resource id of a task's job.
func (st taskState) id() string {
	return "/subscriptions/" + st.Subscription + "/resourceGroups/" + st.Group + "/providers/Microsoft.App/jobs/" + st.Run
}

// job reads the job of a task. It reports whether there is one.
func (c *client) job(ctx context.Context, st taskState, out *appJob) (bool, error) {
	return c.get(ctx, "the job "+st.Run, forManager, c.resource(st.id(), appsVersion), out)
}

// create makes a job, or replaces it.
func (c *client) create(ctx context.Context, st taskState, job appJob) error {
	return explainApp("create the job "+st.Run, c.call(ctx, http.MethodPut, forManager, c.resource(st.id(), appsVersion), job, nil))
}

// start starts an execution of a job. It is not repeated.
func (c *client) start(ctx context.Context, st taskState) error {
	return c.call(once(ctx), http.MethodPost, forManager, c.resource(st.id(), appsVersion, "start"), nil, nil)
}

// executions returns those of a job, the first to start first. The job may be gone.
func (c *client) executions(ctx context.Context, st taskState) (all []appExecution, err error) {
	all, err = list[appExecution](ctx, c, "the executions of "+st.Run, st.id()+"/executions")
	slices.SortFunc(all, func(a, b appExecution) int {
		return cmp.Or(a.Properties.Started.Compare(b.Properties.Started), cmp.Compare(a.Name, b.Name))
	})
	return all, err
}

// stop asks an execution to end. It may have ended.
func (c *client) stop(ctx context.Context, st taskState, execution string) error {
	err := c.call(ctx, http.MethodPost, forManager, c.resource(st.id(), appsVersion, "executions", execution, "stop"), nil, nil)
	if isStatus(err, http.StatusNotFound) || isStatus(err, http.StatusBadRequest) || isStatus(err, http.StatusConflict) {
		return nil // whoever waits for its end sees it
	}
	return explainCall("end "+execution, err)
}

// remove removes a job. It may be gone.
func (c *client) remove(ctx context.Context, st taskState) error {
	err := c.call(ctx, http.MethodDelete, forManager, c.resource(st.id(), appsVersion), nil, nil)
	if isStatus(err, http.StatusNotFound) {
		return nil
	}
	return explainCall("remove the job "+st.Run, err)
}

// property reads a resource that the infrastructure has.
func (c *client) property(ctx context.Context, id, version string) (p appProperties, err error) {
	there, err := c.get(ctx, id, forManager, c.resource(id, version), &p)
	if err == nil && !there {
		err = fmt.Errorf("there is no %s: %s", id[strings.Index(id, "/providers/")+len("/providers/"):], infrastructure)
	}
	return p, err
}

// query asks Log Analytics, and returns the first column of each row. A table that does not exist yet has none. It is
// not repeated: another look follows.
func (c *client) query(ctx context.Context, workspace, text string) (rows []string, err error) {
	var all logTables
	err = c.call(once(ctx), http.MethodPost, forLogs, c.logs+"/v1/workspaces/"+workspace+"/query", logQuery{text, "P8D"}, &all)
	if isStatus(err, http.StatusBadRequest) {
		return nil, nil
	}
	for _, t := range all.Tables {
		for _, r := range t.Rows {
			if len(r) > 0 {
				rows = append(rows, r[0])
			}
		}
	}
	return rows, err
}
