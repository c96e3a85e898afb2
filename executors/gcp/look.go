package gcp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
)

// A followed task is a job or a service of Cloud Run that somebody waits for.
type followed struct {
	e    *Executor
	st   taskState
	soon bool // do not wait between calls of Cloud Logging

	from time.Time       // of the last entry of its log that was read
	seen map[string]bool // ids of those of that time
}

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
	if f.st.Custom != "" {
		return f.lookCustom(ctx)
	}
	var job runJob
	there, err := f.e.client.get(ctx, f.st.job(), &job)
	if err != nil || !there || job.Annotations[noteToken] != f.st.Token {
		return absent, nil, err
	}
	var x runExecution
	runs, err := f.e.client.get(ctx, f.st.execution(), &x)
	if err != nil {
		return absent, nil, err
	}
	if !runs {
		if c := job.TerminalCondition; c != nil && c.State == failed {
			why := explain(*c, nil)
			return state.Status{Phase: state.Failed, Message: why, Lacking: cloud.Lacks(why, lacking)}, nil, nil
		}
		if !job.Reconciling && time.Since(job.CreateTime) > settle {
			return state.Status{Phase: state.Failed, Message: "Cloud Run has started no execution of it, or somebody has removed it: apply again"}, nil, nil
		}
		return queued(job, runCondition{}), nil, nil
	}
	end, over := x.completed()
	if !over {
		if x.RunningCount == 0 {
			return queued(job, end), nil, nil
		}
		return state.Status{Phase: state.Running, Started: x.StartTime.UTC()}, nil, nil
	}
	res, err := f.e.run(f.st).Result(ctx)
	if err != nil {
		return absent, nil, err
	}
	var attempt *runAttempt
	if end.State == failed {
		if attempt, err = f.e.client.attempt(ctx, f.st.execution()); err != nil {
			return absent, nil, err
		}
	}
	return statusOf(x, end, attempt, res), res, nil
}

// settle is how long Cloud Run may take to note that it has begun with a job.
const settle = time.Minute

// prompt is how long a job may take to start without a word about it.
const prompt = 5 * time.Second

// queued returns the status of a job that does not run yet.
func queued(job runJob, c runCondition) state.Status {
	now := state.Status{Phase: state.Running, Queued: true}
	if time.Since(job.CreateTime) > prompt {
		if now.Message = explain(c, nil); now.Message == "" {
			now.Message = preparing
		}
	}
	return now
}

// statusOf returns the status of an execution that has ended. What tenon-pod stored may be missing.
func statusOf(x runExecution, end runCondition, attempt *runAttempt, res *pod.Result) state.Status {
	st := state.Status{Phase: state.Failed, Started: x.StartTime.UTC(), Finished: x.CompletionTime.UTC()}
	why := explain(end, attempt)
	if res != nil {
		cloud.Ended(&st, res)
		st.Over = st.Phase == state.Succeeded
		if known := known(end, attempt); known != "" && st.Phase == state.Failed && res.Fault == "" && !res.OutOfMemory {
			st.Message, st.Lacking = known, cloud.Lacks(known, lacking) // Cloud Run ended it, and the program had time to end
		}
		return st
	}
	if attempt != nil {
		st.ExitCode = attempt.ExitCode
		if attempt.TermSignal > 0 {
			st.Signal = unix.SignalName(unix.Signal(attempt.TermSignal))
		} else if attempt.ExitCode > 128 {
			st.Signal = unix.SignalName(unix.Signal(attempt.ExitCode - 128))
		}
	}
	st.Lacking = cloud.Lacks(why, lacking)
	switch st.Message = why; {
	case st.Message != "":
	case st.ExitCode != 0:
		st.Message = fmt.Sprintf("exit %d", st.ExitCode)
	default:
		st.Message = "its result is not in the bucket"
	}
	return st
}

// Abandon does nothing: an execution makes one attempt, so that one that has failed starts no more.
func (f *followed) Abandon(context.Context) error { return nil }

// pageSize is how many entries of a log are asked for in one call: the most that there are.
const pageSize = 1000

// Printed returns the lines that the job has printed after those of the last call. Cloud Logging may get
// some late: the bucket has all of them at the end. It is asked only as often as its quota allows, and
// not again at once if others have used it up.
func (f *followed) Printed(ctx context.Context) ([]byte, error) {
	if !f.e.mayLog(f.soon) {
		return nil, nil
	}
	q := logQuery{Names: []string{"projects/" + f.st.Project}, Order: "timestamp asc", Size: pageSize, Filter: fmt.Sprintf(
		`resource.type="cloud_run_job" AND resource.labels.job_name=%q AND resource.labels.location=%q AND labels."run.googleapis.com/execution_name"=%q`, f.st.Run, f.st.Region, f.st.start())}
	switch {
	case f.st.Service != "":
		q.Filter = f.st.serviceFilter()
	case f.st.Endpoint != "":
		q.Filter = f.st.hostedFilter()
	case f.st.Custom != "":
		q.Filter = fmt.Sprintf(`resource.type="ml_job" AND resource.labels.job_id=%q AND resource.labels.task_name="workerpool0-0"`, f.st.number())
	}
	if !f.from.IsZero() {
		q.Filter += fmt.Sprintf(" AND timestamp>=%q", f.from.Format(time.RFC3339Nano))
	}
	var lines bytes.Buffer
	for {
		page, err := f.e.client.entries(ctx, q)
		if isStatus(err, http.StatusTooManyRequests) || temporary(err) {
			return lines.Bytes(), nil
		}
		if err != nil {
			return lines.Bytes(), explainCall("read the log of the job", err)
		}
		for _, x := range page.Entries {
			if x.Timestamp.Equal(f.from) && f.seen[x.ID] {
				continue
			}
			if f.seen == nil || x.Timestamp.After(f.from) {
				f.from, f.seen = x.Timestamp, map[string]bool{}
			}
			f.seen[x.ID] = true
			lines.WriteString(x.line())
			lines.WriteByte('\n')
		}
		if q.PageToken = page.Next; page.Next == "" {
			return lines.Bytes(), nil
		}
	}
}

// line returns a line of output. Cloud Logging takes a line with an object in JSON apart.
func (x logEntry) line() string {
	if text, is := x.JSON["message"].(string); is && (x.Resource.Type == "ml_job" || x.Resource.Type == "aiplatform.googleapis.com/Endpoint") {
		return strings.TrimSuffix(text, "\n") // Vertex AI puts each line into an object
	}
	if x.JSON != nil {
		if b, err := json.Marshal(x.JSON); err == nil {
			return string(b)
		}
	}
	return x.Text
}

// mayLog reports whether Cloud Logging may be called now.
func (e *Executor) mayLog(soon bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !soon && time.Since(e.logged) < e.opts.LogPause {
		return false
	}
	e.logged = time.Now()
	return true
}
