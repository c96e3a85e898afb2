package gcp

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Custom jobs of Vertex AI, with the names of version 1 of aiplatform.googleapis.com.
type (
	customJob struct {
		Name       string            `json:"name,omitempty"` // ends with a number that Google chooses
		Display    string            `json:"displayName,omitempty"`
		Labels     map[string]string `json:"labels,omitempty"`
		Spec       *customSpec       `json:"jobSpec,omitempty"`
		State      string            `json:"state,omitempty"`
		CreateTime time.Time         `json:"createTime,omitzero"`
		StartTime  time.Time         `json:"startTime,omitzero"`
		EndTime    time.Time         `json:"endTime,omitzero"`
		Error      *customError      `json:"error,omitempty"`
	}
	customError struct {
		Message string `json:"message"`
	}
	customSpec struct {
		Pools          []customPool     `json:"workerPoolSpecs"`
		Scheduling     customScheduling `json:"scheduling"`
		ServiceAccount string           `json:"serviceAccount"`
	}
	customPool struct {
		Machine   customMachine   `json:"machineSpec"`
		Replicas  string          `json:"replicaCount"`
		Disk      customDisk      `json:"diskSpec"`
		Container customContainer `json:"containerSpec"`
	}
	customMachine struct {
		Type        string `json:"machineType"`
		Accelerator string `json:"acceleratorType,omitempty"`
		Count       int64  `json:"acceleratorCount,omitempty"`
	}
	customDisk struct {
		Type string `json:"bootDiskType"`
		Size int64  `json:"bootDiskSizeGb"`
	}
	customContainer struct {
		Image   string      `json:"imageUri"`
		Command []string    `json:"command"`
		Args    []string    `json:"args"`
		Env     []customEnv `json:"env"`
	}
	customEnv struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	customScheduling struct {
		Timeout        string `json:"timeout"`
		DisableRetries bool   `json:"disableRetries"` // Tenon repeats what fails
		Strategy       string `json:"strategy"`
	}
	customJobs struct {
		Jobs []customJob `json:"customJobs"`
		Next string      `json:"nextPageToken"`
	}
)

// over reports whether a job has ended.
func (j *customJob) over() bool {
	switch j.State {
	case "JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED", "JOB_STATE_PARTIALLY_SUCCEEDED":
		return true
	}
	return false
}

// customs is the name of the custom jobs of a region.
func (st taskState) customs() string {
	return "projects/" + st.Project + "/locations/" + st.Region + "/customJobs"
}

// vertexAt returns the URL of Vertex AI in a region.
func (c *client) vertexAt(region string) string {
	if c.vertex != "" {
		return c.vertex
	}
	return "https://" + region + "-aiplatform.googleapis.com"
}

// custom reads a custom job. It reports whether it exists.
func (c *client) custom(ctx context.Context, st taskState, out *customJob) (bool, error) {
	err := c.call(ctx, http.MethodGet, c.vertexAt(st.Region)+"/v1/"+st.Custom, nil, out)
	if isStatus(err, http.StatusNotFound) {
		return false, nil
	}
	return err == nil, explainCall("look at "+st.Custom, err)
}

// createCustom makes a custom job. It is not repeated: Google chooses the name, so that a call whose answer was
// lost may have made one.
func (c *client) createCustom(ctx context.Context, st taskState, body []byte) (j customJob, err error) {
	err = c.once(ctx, http.MethodPost, c.vertexAt(st.Region)+"/v1/"+st.customs(), body, &j)
	return j, err
}

// cancelCustom asks a custom job to end. It may have ended.
func (c *client) cancelCustom(ctx context.Context, st taskState, name string) error {
	err := c.call(ctx, http.MethodPost, c.vertexAt(st.Region)+"/v1/"+name+":cancel", struct{}{}, nil)
	if isStatus(err, http.StatusNotFound) || isStatus(err, http.StatusBadRequest) {
		return nil // whoever waits for its end sees it
	}
	return explainCall("end "+name, err)
}

// removeCustom removes a custom job that has ended. It may be gone.
func (c *client) removeCustom(ctx context.Context, st taskState, name string) error {
	err := c.call(ctx, http.MethodDelete, c.vertexAt(st.Region)+"/v1/"+name, nil, nil)
	if isStatus(err, http.StatusNotFound) {
		return nil
	}
	return explainCall("remove "+name, err)
}

// customsOf returns all custom jobs with a label.
func (c *client) customsOf(ctx context.Context, st taskState, label, value string) (all []customJob, err error) {
	q := url.Values{"filter": {"labels." + label + "=" + value}}
	for {
		var page customJobs
		if err := c.call(ctx, http.MethodGet, c.vertexAt(st.Region)+"/v1/"+st.customs()+"?"+q.Encode(), nil, &page); err != nil {
			if nothingThere(err) {
				return nil, nil
			}
			return nil, explainCall("list the custom jobs of Vertex AI", err)
		}
		all = append(all, page.Jobs...)
		if page.Next == "" {
			return all, nil
		}
		q.Set("pageToken", page.Next)
	}
}

// number returns what Google has chosen for a custom job, which its log has too.
func (st taskState) number() string { return st.Custom[strings.LastIndexByte(st.Custom, '/')+1:] }
