package azure

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
)

// A followed task is a job or a service that somebody waits for.
type followed struct {
	e    *Executor
	st   taskState
	soon bool // do not wait between queries of Log Analytics

	execution string            // its name, once it is known
	seen      int               // lines of its log that were read
	asked     time.Time         // when Log Analytics was asked last
	read      int64             // bytes of the log of a job of Azure Machine Learning that were read
	began     time.Time         // when such a job began to run, once it is known
	tails     map[string]string // ends of the logs of deployments at an endpoint that were read, by variant
	queued    time.Time         // since when it was seen to wait for a node
}

// missing is how long Container Apps may take to list an execution.
const missing = time.Minute

// prompt is how long a job may take to start without a word about it.
const prompt = 10 * time.Second

// Look returns the status of the job, and its result if it has ended and stored one.
func (f *followed) Look(ctx context.Context) (state.Status, *pod.Result, error) {
	absent := state.Status{Phase: state.Absent}
	if f.st.Service != "" {
		now, err := f.lookService(ctx)
		return now, nil, err
	}
	if f.st.Endpoint != "" {
		now, err := f.lookHosted(ctx)
		return now, nil, err
	}
	if f.st.Workspace != "" {
		return f.lookML(ctx)
	}
	var job appJob
	there, err := f.e.client.job(ctx, f.st, &job)
	if err != nil || !there || job.Tags[tagToken] != f.st.Token {
		return absent, nil, err
	}
	runs, err := f.e.client.executions(ctx, f.st)
	if err != nil {
		return absent, nil, err
	}
	f.e.mu.Lock()
	since := f.e.begun[f.st.start()]
	f.e.mu.Unlock()
	if since.IsZero() {
		since = job.System.Created
	}
	if len(runs) == 0 {
		if time.Since(since) > missing {
			return state.Status{Phase: state.Failed, Message: "Container Apps have started no execution of it, or somebody has removed it: apply again"}, nil, nil
		}
		return queued(since), nil, nil
	}
	x := runs[0]
	f.execution = x.Name
	if !x.over() {
		if x.Properties.Status == "Running" {
			return state.Status{Phase: state.Running, Started: x.Properties.Started.UTC()}, nil, nil
		}
		return queued(since), nil, nil
	}
	res, err := f.e.run(f.st).Result(ctx)
	if err != nil {
		return absent, nil, err
	}
	why := ""
	if res == nil {
		why = f.why(ctx)
	}
	return statusOf(x, why, res), res, nil
}

// queued returns the status of a job that does not run yet.
func queued(since time.Time) state.Status {
	now := state.Status{Phase: state.Running, Queued: true}
	if time.Since(since) > prompt {
		now.Message = preparing
	}
	return now
}

// statusOf returns the status of an execution that has ended. What tenon-pod stored may be missing, and then what the
// log of the system says counts.
func statusOf(x appExecution, why string, res *pod.Result) state.Status {
	st := state.Status{Phase: state.Failed, Started: x.Properties.Started.UTC(), Finished: x.Properties.Ended.UTC()}
	switch {
	case res != nil:
		cloud.Ended(&st, res)
		st.Over = st.Phase == state.Succeeded
	case why != "":
		st.Message, st.Lacking = why, cloud.Lacks(why, lacking)
	case x.Properties.Status == "Stopped":
		st.Message = "it was stopped on Azure"
	case x.Properties.Status == "Succeeded":
		st.Message = "its result is not in the container of blobs"
	default:
		st.Message = "it failed before it stored a result, because its container did not start, had too little memory, or took longer than its timeout: " +
			"the system log of the environment says which, a few minutes later"
	}
	return st
}

// why returns what the log of the system says about the end of an execution, or a revision, if it says something already.
func (f *followed) why(ctx context.Context) string {
	workspace, err := f.e.log(ctx, f.st)
	if err != nil {
		return ""
	}
	of := fmt.Sprintf("JobName_s == '%s' and ExecutionName_s == '%s'", f.st.Run, f.execution)
	if f.st.Service != "" {
		of = fmt.Sprintf("ContainerAppName_s == '%s' and RevisionName_s == '%s'", f.st.Service, f.st.start())
	}
	lines, err := f.e.client.query(ctx, workspace,
		"ContainerAppSystemLogs_CL | where "+of+" and Type_s != 'Normal' | order by TimeGenerated desc | take 20 | project strcat(Reason_s, ': ', Log_s)")
	if err != nil {
		return ""
	}
	return explain(lines)
}

// Abandon ends a job of Azure Machine Learning that waits for a node. A job on Container Apps makes one attempt, so that
// one that has failed starts no more.
func (f *followed) Abandon(ctx context.Context) error {
	if f.st.Workspace == "" || f.st.Endpoint != "" {
		return nil
	}
	return f.e.endML(ctx, f.st, []mlJob{{Name: f.st.start()}})
}

// mostLines is how many lines of a log are asked for in one query.
const mostLines = 5000

// Printed returns the lines that the job has printed after those of the last call. They arrive in Log Analytics after
// minutes, and some late: the container of blobs has all of them at the end.
func (f *followed) Printed(ctx context.Context) ([]byte, error) {
	if f.st.Endpoint != "" {
		return f.printedHosted(ctx)
	}
	if f.st.Workspace != "" {
		return f.printedML(ctx)
	}
	of := fmt.Sprintf("ContainerAppName_s == '%s' and RevisionName_s == '%s'", f.st.Service, f.st.start())
	if f.st.Service == "" {
		of = fmt.Sprintf("ContainerJobName_s == '%s' and ContainerGroupName_s startswith '%s'", f.st.Run, f.execution)
	}
	if f.st.Service == "" && f.execution == "" || !f.soon && time.Since(f.asked) < f.e.opts.LogPause {
		return nil, nil
	}
	workspace, err := f.e.log(ctx, f.st)
	if err != nil {
		return nil, err
	}
	f.asked = time.Now()
	var text strings.Builder
	for {
		lines, err := f.e.client.query(ctx, workspace, fmt.Sprintf(
			"ContainerAppConsoleLogs_CL | where %s | order by _timestamp_d asc, TimeGenerated asc | extend n = row_number() | where n > %d | take %d | project Log_s",
			of, f.seen, mostLines))
		if err != nil {
			return []byte(text.String()), passing(err)
		}
		for _, line := range lines {
			text.WriteString(line)
			text.WriteByte('\n')
		}
		if f.seen += len(lines); len(lines) < mostLines {
			return []byte(text.String()), nil
		}
	}
}

// passing returns nil for an error of Log Analytics that another query may not have: nothing but what people see
// meanwhile depends on it.
func passing(err error) error {
	if isStatus(err, 429) || isStatus(err, 500) || isStatus(err, 502) || isStatus(err, 503) || isStatus(err, 504) {
		return nil
	}
	return explainCall("read the log of the job", err)
}

// log returns the customer id of the workspace with the log of a task.
func (e *Executor) log(ctx context.Context, st taskState) (string, error) {
	id := "/subscriptions/" + st.Subscription + "/resourceGroups/" + st.Group + "/providers/Microsoft.OperationalInsights/workspaces/" + st.Log
	e.mu.Lock()
	known := e.workspaces[id]
	e.mu.Unlock()
	if known != "" {
		return known, nil
	}
	p, err := e.client.property(ctx, id, workspaceVersion)
	if err != nil {
		return "", err
	}
	e.mu.Lock()
	e.workspaces[id] = p.Properties.Customer
	e.mu.Unlock()
	return p.Properties.Customer, nil
}
