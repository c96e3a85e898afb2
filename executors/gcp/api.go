package gcp

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// What is sent to and read from the APIs. Fields have the names and meanings of version 2 of
// run.googleapis.com and logging.googleapis.com, and version 1 of secretmanager.googleapis.com.
type (
	runJob struct {
		Name                string            `json:"name,omitempty"`
		Labels              map[string]string `json:"labels,omitempty"`
		Annotations         map[string]string `json:"annotations,omitempty"`
		Template            *runTemplate      `json:"template,omitempty"`
		StartExecutionToken string            `json:"startExecutionToken,omitempty"`
		CreateTime          time.Time         `json:"createTime,omitzero"`
		Reconciling         bool              `json:"reconciling,omitempty"`
		TerminalCondition   *runCondition     `json:"terminalCondition,omitempty"`
	}
	runTemplate struct { // of executions
		TaskCount int               `json:"taskCount"`
		Labels    map[string]string `json:"labels,omitempty"`
		Template  runTask           `json:"template"`
	}
	runTask struct { // its template
		Containers     []runContainer `json:"containers"`
		MaxRetries     int            `json:"maxRetries"` // 0 has to be said: the default is 3
		Timeout        string         `json:"timeout"`
		ServiceAccount string         `json:"serviceAccount"`
		Environment    string         `json:"executionEnvironment"`
		VPC            *runVPC        `json:"vpcAccess,omitempty"`
		Node           *runNode       `json:"nodeSelector,omitempty"`
		OneZone        bool           `json:"gpuZonalRedundancyDisabled,omitempty"`
	}
	runNode struct { // of containers with a GPU
		Accelerator string `json:"accelerator"`
	}
	runContainer struct {
		Image        string       `json:"image"`
		Command      []string     `json:"command"`
		Args         []string     `json:"args"`
		Env          []runEnv     `json:"env,omitempty"`
		Resources    runResources `json:"resources"`
		Ports        []runPort    `json:"ports,omitempty"`
		StartupProbe *runProbe    `json:"startupProbe,omitempty"`
	}
	runResources struct {
		Limits map[string]string `json:"limits"`
		Idle   *bool             `json:"cpuIdle,omitempty"` // a service has its cores during requests only
	}
	runEnv struct {
		Name   string    `json:"name"`
		Source runSource `json:"valueSource"`
	}
	runSource struct {
		Secret runSecret `json:"secretKeyRef"`
	}
	runSecret struct {
		Secret  string `json:"secret"`
		Version string `json:"version"`
	}
	runVPC struct {
		Egress     string         `json:"egress"`
		Interfaces []runInterface `json:"networkInterfaces"`
	}
	runInterface struct {
		Network    string `json:"network"`
		Subnetwork string `json:"subnetwork"`
	}
	runCondition struct {
		Type            string `json:"type"`
		State           string `json:"state"`
		Message         string `json:"message"`
		Reason          string `json:"reason"`
		ExecutionReason string `json:"executionReason"`
		RevisionReason  string `json:"revisionReason"`
	}
	runExecution struct {
		Name           string         `json:"name"`
		CreateTime     time.Time      `json:"createTime"`
		StartTime      time.Time      `json:"startTime"`
		CompletionTime time.Time      `json:"completionTime"`
		SucceededCount int            `json:"succeededCount"`
		RunningCount   int            `json:"runningCount"`
		Conditions     []runCondition `json:"conditions"`
	}
	runAttempt struct {
		ExitCode   int `json:"exitCode"`
		TermSignal int `json:"termSignal"`
		Status     struct {
			Message string `json:"message"`
		} `json:"status"`
	}
	runTasks struct {
		Tasks []struct {
			LastAttemptResult *runAttempt `json:"lastAttemptResult"`
		} `json:"tasks"`
	}
	logQuery struct {
		Names     []string `json:"resourceNames"`
		Filter    string   `json:"filter"`
		Order     string   `json:"orderBy"`
		Size      int      `json:"pageSize"`
		PageToken string   `json:"pageToken,omitempty"`
	}
	logEntries struct {
		Entries []logEntry `json:"entries"`
		Next    string     `json:"nextPageToken"`
	}
	logEntry struct {
		ID        string         `json:"insertId"`
		Timestamp time.Time      `json:"timestamp"`
		Text      string         `json:"textPayload"`
		JSON      map[string]any `json:"jsonPayload"`
		Resource  struct {
			Type string `json:"type"`
		} `json:"resource"`
	}
	secretPayload struct {
		Data string `json:"data"` // base64
	}
	secretVersion struct {
		Name    string        `json:"name,omitempty"`
		Payload secretPayload `json:"payload"`
	}
)

// States of conditions.
const (
	failed    = "CONDITION_FAILED"
	succeeded = "CONDITION_SUCCEEDED"
)

// completed returns the condition that says how an execution has ended, once it has.
func (x *runExecution) completed() (c runCondition, ok bool) {
	for _, c = range x.Conditions {
		if c.Type == "Completed" {
			return c, c.State == failed || c.State == succeeded
		}
	}
	return runCondition{}, false
}

// jobs is the name of the jobs of a region, job and execution those of one of them.
func (st taskState) jobs() string {
	return "projects/" + st.Project + "/locations/" + st.Region + "/jobs"
}
func (st taskState) job() string       { return st.jobs() + "/" + st.Run }
func (st taskState) execution() string { return st.job() + "/executions/" + st.start() }

// get reads something of Cloud Run. It reports whether it exists.
func (c *client) get(ctx context.Context, name string, out any) (bool, error) {
	err := c.call(ctx, http.MethodGet, c.run+"/v2/"+name, nil, out)
	if isStatus(err, http.StatusNotFound) {
		return false, nil
	}
	return err == nil, explainCall("look at "+name, err)
}

// create makes a job and its only execution. It reports whether it did: another may have the name.
func (c *client) create(ctx context.Context, st taskState, job runJob) (bool, error) {
	err := c.call(ctx, http.MethodPost, c.run+"/v2/"+st.jobs()+"?"+url.Values{"jobId": {st.Run}}.Encode(), job, nil)
	if isStatus(err, http.StatusConflict) {
		return false, nil
	}
	return err == nil, explainCall("create the job "+st.Run, err)
}

// cancel asks an execution to end. It may have ended.
func (c *client) cancel(ctx context.Context, execution string) error {
	err := c.call(ctx, http.MethodPost, c.run+"/v2/"+execution+":cancel", struct{}{}, nil)
	if isStatus(err, http.StatusNotFound) || isStatus(err, http.StatusBadRequest) {
		return nil // whoever waits for its end sees it
	}
	return explainCall("end "+execution, err)
}

// remove removes a job. It may be gone.
func (c *client) remove(ctx context.Context, job string) error {
	err := c.call(ctx, http.MethodDelete, c.run+"/v2/"+job, nil, nil)
	if isStatus(err, http.StatusNotFound) {
		return nil
	}
	return explainCall("remove "+job, err)
}

// attempt returns how the only attempt of an execution ended, or nil.
func (c *client) attempt(ctx context.Context, execution string) (*runAttempt, error) {
	var all runTasks
	if _, err := c.get(ctx, execution+"/tasks", &all); err != nil || len(all.Tasks) == 0 {
		return nil, err
	}
	return all.Tasks[0].LastAttemptResult, nil
}

// entries returns a page of a log.
func (c *client) entries(ctx context.Context, q logQuery) (page logEntries, err error) {
	body, err := json.Marshal(q)
	if err != nil {
		return page, err
	}
	err = c.once(ctx, http.MethodPost, c.logging+"/v2/entries:list", body, &page) // another look follows
	return page, err
}

// secretValue returns the latest value of a secret, and its version. It reports whether it has one.
func (c *client) secretValue(ctx context.Context, name string) (value, version string, ok bool, err error) {
	var v secretVersion
	err = c.call(ctx, http.MethodGet, c.secrets+"/v1/"+name+"/versions/latest:access", nil, &v)
	if isStatus(err, http.StatusNotFound) {
		return "", "", false, nil
	}
	if err != nil {
		return "", "", false, explainCall("read the secret "+name, err)
	}
	b, err := base64.StdEncoding.DecodeString(v.Payload.Data)
	return string(b), v.Name, err == nil, err
}

// addSecret adds a version to a secret, and returns its name.
func (c *client) addSecret(ctx context.Context, name, value string) (string, error) {
	var v secretVersion
	in := map[string]any{"payload": secretPayload{base64.StdEncoding.EncodeToString([]byte(value))}}
	err := c.call(ctx, http.MethodPost, c.secrets+"/v1/"+name+":addVersion", in, &v)
	return v.Name, err
}
