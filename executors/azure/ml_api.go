package azure

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// learningVersion is the version of the API of Microsoft.MachineLearningServices, whose names the types below have.
const learningVersion = "2024-04-01"

type (
	mlJob struct {
		Name       string    `json:"name,omitempty"`
		Properties mlCommand `json:"properties"`
		System     struct {
			Created time.Time `json:"createdAt,omitzero"`
		} `json:"systemData,omitzero"`
	}
	mlCommand struct {
		Type        string            `json:"jobType"`
		Display     string            `json:"displayName,omitempty"`
		Experiment  string            `json:"experimentName,omitempty"`
		Command     string            `json:"command"` // of a shell
		Environment string            `json:"environmentId"`
		Compute     string            `json:"computeId"`
		Identity    *mlIdentity       `json:"identity,omitempty"`
		Variables   map[string]string `json:"environmentVariables,omitempty"`
		Limits      *mlLimits         `json:"limits,omitempty"`
		Resources   *mlResources      `json:"resources,omitempty"`
		Tags        map[string]string `json:"tags,omitempty"`
		Status      string            `json:"status,omitempty"`
	}
	mlIdentity struct {
		Type   string `json:"identityType"`
		Client string `json:"clientId"`
	}
	mlLimits struct {
		Type    string `json:"jobLimitsType"`
		Timeout string `json:"timeout"` // "PT3600S"
	}
	mlResources struct {
		Instances int `json:"instanceCount"`
	}
	mlEnvironment struct {
		Properties mlImage `json:"properties"`
	}
	mlImage struct {
		Image     string       `json:"image"`
		OS        string       `json:"osType"`
		Inference *mlInference `json:"inferenceConfig,omitempty"`
	}
	mlCluster struct {
		Properties struct {
			Properties mlNodes `json:"properties"`
		} `json:"properties"`
	}
	mlNodes struct {
		State  string    `json:"allocationState"` // "Steady" or "Resizing"
		Since  time.Time `json:"allocationStateTransitionTime"`
		Counts mlCounts  `json:"nodeStateCounts"`
		Errors []struct {
			Error mlError `json:"error"`
		} `json:"errors"` // of the last change of the number of nodes
	}
	mlCounts struct {
		Preparing int `json:"preparingNodeCount"`
	}
	mlError struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	// mlRun is what the history of runs says about a job, which the resource of the job does not.
	mlRun struct {
		Started time.Time         `json:"startTimeUtc,omitzero"`
		Ended   time.Time         `json:"endTimeUtc,omitzero"`
		Logs    map[string]string `json:"logFiles"` // URLs
		Error   struct {
			Error mlError `json:"error"`
		} `json:"error"`
	}
)

// over reports whether a job has ended.
func (j *mlJob) over() bool {
	return slices.Contains([]string{"Completed", "Failed", "Canceled"}, j.Properties.Status)
}

// runs reports whether the program of a job may have begun and has not ended.
func (j *mlJob) runs() bool {
	return slices.Contains([]string{"Running", "Finalizing", "CancelRequested", "NotResponding"}, j.Properties.Status)
}

// learningID returns the resource id of something in the workspace of Azure Machine Learning of a task.
func (st taskState) learningID(below ...string) string {
	return "/subscriptions/" + st.Subscription + "/resourceGroups/" + st.Group + "/providers/Microsoft.MachineLearningServices/workspaces/" +
		strings.Join(append([]string{st.Workspace}, below...), "/")
}

// mlJob reads a job by name. It reports whether it exists.
func (c *client) mlJob(ctx context.Context, st taskState, name string, out *mlJob) (bool, error) {
	return c.get(ctx, "the job "+name, forManager, c.resource(st.learningID("jobs", name), learningVersion), out)
}

// mlJobs returns all jobs with a tag of this name. Without a workspace there are none.
func (c *client) mlJobs(ctx context.Context, st taskState, tag string) ([]mlJob, error) {
	at := c.resource(st.learningID("jobs"), learningVersion) + "&" + url.Values{"jobType": {"Command"}, "listViewType": {"All"}, "tag": {tag}}.Encode()
	return listAt[mlJob](ctx, c, "the jobs of Azure Machine Learning", at)
}

// createML makes a job. A second call with its name makes no other.
func (c *client) createML(ctx context.Context, st taskState, job mlJob) error {
	return c.call(ctx, http.MethodPut, forManager, c.resource(st.learningID("jobs", st.start()), learningVersion), job, nil)
}

// cancelML asks a job to end, and reports whether Azure accepts that. A job may have ended, or not be ready to be asked yet.
func (c *client) cancelML(ctx context.Context, st taskState, name string) (accepted bool, err error) {
	err = c.call(ctx, http.MethodPost, forManager, c.resource(st.learningID("jobs", name), learningVersion, "cancel"), nil, nil)
	if isStatus(err, http.StatusNotFound) || isStatus(err, http.StatusBadRequest) || isStatus(err, http.StatusConflict) {
		return false, nil // whoever waits for its end sees it, or asks again
	}
	return err == nil, explainCall("end "+name, err)
}

// removeML removes a job that has ended. It may be gone, or be removed already.
func (c *client) removeML(ctx context.Context, st taskState, name string) error {
	err := c.call(ctx, http.MethodDelete, forManager, c.resource(st.learningID("jobs", name), learningVersion), nil, nil)
	if isStatus(err, http.StatusNotFound) || isStatus(err, http.StatusConflict) {
		return nil
	}
	return explainCall("remove "+name, err)
}

// environment makes sure that the workspace knows an image, and returns the resource id of that. The same image, asked at the
// same paths, has the same id.
func (c *client) environment(ctx context.Context, st taskState, name string, is mlImage) (string, error) {
	text, err := json.Marshal(is)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	id := st.learningID("environments", name, "versions", hex.EncodeToString(sum[:16]))
	at := c.resource(id, learningVersion)
	there, err := c.get(ctx, "the environment "+name, forManager, at, &mlEnvironment{})
	if err == nil && !there {
		err = explainML("make the environment "+name, c.call(ctx, http.MethodPut, forManager, at, mlEnvironment{is}, nil))
	}
	return id, err
}

// clusterErrors returns what a cluster says about nodes that it cannot get for a job of that time. Its errors are those of its last
// change, which may be older than the job, or be followed by one that is under way.
func (c *client) clusterErrors(ctx context.Context, id string, job time.Time) (all []mlError, err error) {
	var is mlCluster
	if _, err := c.get(ctx, "the cluster of the job", forManager, c.resource(id, learningVersion), &is); err != nil {
		return nil, err
	}
	nodes := is.Properties.Properties
	if nodes.State == "Resizing" || nodes.Counts.Preparing > 0 || !nodes.Since.IsZero() && nodes.Since.Before(job) {
		return nil, nil
	}
	for _, x := range nodes.Errors {
		all = append(all, x.Error)
	}
	return all, nil
}

// runOf returns what the history of runs says about a job.
func (c *client) runOf(ctx context.Context, st taskState, location string) (r mlRun, err error) {
	at := strings.Replace(c.learning, "*", location, 1) + "/history/v1.0" + st.learningID("experiments", st.Log, "runs", st.start(), "details")
	return r, explainCall("look at the run "+st.start(), c.call(ctx, http.MethodGet, forML, at, nil, &r))
}

// mostRead is how many bytes of a log are read in one call.
const mostRead = 4 << 20

// tail returns what a file at a URL, which needs no credentials, has after some bytes. It reads at most [mostRead].
func (c *client) tail(ctx context.Context, at string, from int64) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	if r.URL.Scheme != "https" {
		return nil, fmt.Errorf("azure names a log at %s, which is not encrypted", r.URL.Host)
	}
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+mostRead-1))
	answer, err := c.plain.Do(r)
	if err != nil {
		var is *url.Error
		if errors.As(err, &is) {
			err = is.Err // without the URL, which has a signature
		}
		return nil, fmt.Errorf("%s: %w", r.URL.Host, err)
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable, http.StatusNotFound: // nothing more yet
		return nil, nil
	case http.StatusPartialContent:
	case http.StatusOK: // all of it, as of an empty file
		if _, err := io.CopyN(io.Discard, answer.Body, from); err != nil {
			return nil, err
		}
	default:
		return nil, &refusal{status: answer.StatusCode, code: strconv.Itoa(answer.StatusCode), message: "the log of the job cannot be read"}
	}
	return io.ReadAll(io.LimitReader(answer.Body, mostRead))
}
