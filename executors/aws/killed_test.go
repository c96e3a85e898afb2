package aws_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/batch"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/aws"
	"github.com/tenon-ml/tenon/planner/state"
)

// A mortal is AWS Batch as seen by a tenon that is killed at one of its calls: before AWS gets it,
// or after, without its answer. From then on it calls nothing.
type mortal struct {
	aws.BatchAPI
	at     int // number of the call, from 1
	before bool

	mu sync.Mutex
	n  int
}

var errKilled = errors.New("killed")

func call[In, Out any](m *mortal, ctx context.Context, in In, do func(context.Context, In, ...func(*batch.Options)) (Out, error)) (out Out, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n++; m.n > m.at || m.n == m.at && m.before {
		return out, errKilled
	}
	answer, err := do(ctx, in)
	if m.n == m.at {
		return out, errKilled
	}
	return answer, err
}

func (m *mortal) RegisterJobDefinition(ctx context.Context, in *batch.RegisterJobDefinitionInput, _ ...func(*batch.Options)) (*batch.RegisterJobDefinitionOutput, error) {
	return call(m, ctx, in, m.BatchAPI.RegisterJobDefinition)
}

func (m *mortal) DescribeJobDefinitions(ctx context.Context, in *batch.DescribeJobDefinitionsInput, _ ...func(*batch.Options)) (*batch.DescribeJobDefinitionsOutput, error) {
	return call(m, ctx, in, m.BatchAPI.DescribeJobDefinitions)
}

func (m *mortal) DeregisterJobDefinition(ctx context.Context, in *batch.DeregisterJobDefinitionInput, _ ...func(*batch.Options)) (*batch.DeregisterJobDefinitionOutput, error) {
	return call(m, ctx, in, m.BatchAPI.DeregisterJobDefinition)
}

func (m *mortal) SubmitJob(ctx context.Context, in *batch.SubmitJobInput, _ ...func(*batch.Options)) (*batch.SubmitJobOutput, error) {
	return call(m, ctx, in, m.BatchAPI.SubmitJob)
}

func (m *mortal) ListJobs(ctx context.Context, in *batch.ListJobsInput, _ ...func(*batch.Options)) (*batch.ListJobsOutput, error) {
	return call(m, ctx, in, m.BatchAPI.ListJobs)
}

func (m *mortal) DescribeJobs(ctx context.Context, in *batch.DescribeJobsInput, _ ...func(*batch.Options)) (*batch.DescribeJobsOutput, error) {
	return call(m, ctx, in, m.BatchAPI.DescribeJobs)
}

func (m *mortal) TerminateJob(ctx context.Context, in *batch.TerminateJobInput, _ ...func(*batch.Options)) (*batch.TerminateJobOutput, error) {
	return call(m, ctx, in, m.BatchAPI.TerminateJob)
}

func (m *mortal) DescribeJobQueues(ctx context.Context, in *batch.DescribeJobQueuesInput, _ ...func(*batch.Options)) (*batch.DescribeJobQueuesOutput, error) {
	return call(m, ctx, in, m.BatchAPI.DescribeJobQueues)
}

func (m *mortal) DescribeComputeEnvironments(ctx context.Context, in *batch.DescribeComputeEnvironmentsInput, _ ...func(*batch.Options)) (*batch.DescribeComputeEnvironmentsOutput, error) {
	return call(m, ctx, in, m.BatchAPI.DescribeComputeEnvironments)
}

// job makes a task of a system of its own, whose program counts its starts.
func job(t *testing.T, name string, args ...string) executors.Task {
	t.Helper()
	root := t.TempDir()
	task := executors.Task{
		Unit: ir.Unit{
			ID: "steps/killed/" + name, Entity: "steps/killed", Kind: ir.Job, Component: "command",
			Code:    ir.Code{Runtime: ir.Command, Command: append([]string{"/bin/program"}, args...)},
			Outputs: []ir.Output{{Port: "out", Kind: ir.File}},
		},
		Key: "00", Name: "killed-" + name, Image: os.Getenv(imageVar), Dir: filepath.Join(root, "run"), Code: filepath.Join(root, "code"),
	}
	for _, dir := range []string{task.Dir, task.Code} {
		ok(t, os.MkdirAll(dir, 0o755))
	}
	return task
}

// An apply and a destroy are killed at each call of AWS Batch. The job runs once, and a sweep by
// tags finds nothing of it.
func TestKilledAtEachCall(t *testing.T) {
	l := newLab(t)
	doomed := func(t *testing.T, system string, at int, before bool) *aws.Executor {
		e := l.executor(t, func(o *aws.Options) { o.System = system })
		aws.Wrap(e, func(b aws.BatchAPI) aws.BatchAPI { return &mortal{BatchAPI: b, at: at, before: before} })
		return e
	}
	const applies, calls = 7, 9 // calls of an apply, and at most of a destroy
	for at := 1; at <= calls; at++ {
		for _, before := range []bool{true, false} {
			name := fmt.Sprintf("%d-%v", at, before)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				system := "killed-" + name
				task := job(t, name, "exit", "0")
				ok(t, l.provision(t.Context(), system, task.Unit))
				if _, err := doomed(t, system, at, before).Apply(t.Context(), task, nil); (err == nil) != (at > applies) {
					t.Errorf("an apply that is killed at call %d gives %v, and it makes %d", at, err, applies)
				}
				e := l.executor(t, func(o *aws.Options) { o.System = system })
				h, err := e.Apply(t.Context(), task, nil)
				ok(t, err)
				st, err := e.Wait(t.Context(), h)
				ok(t, err)
				if st.Phase != state.Succeeded || l.Starts(t, task) != 1 {
					t.Errorf("%+v after %d starts", st, l.Starts(t, task))
				}
				_ = doomed(t, system, at, before).Destroy(t.Context(), h) // which may come to its end
				ok(t, e.Destroy(t.Context(), h))
				left, err := l.Left(t.Context(), system)
				ok(t, err)
				if len(left) > 0 {
					t.Errorf("it has left %v", left)
				}
			})
		}
	}
}

// A forgetful AWS Batch lists no jobs at first.
type forgetful struct {
	aws.BatchAPI
	lists atomic.Int32 // how many empty lists come first
}

func (f *forgetful) ListJobs(ctx context.Context, in *batch.ListJobsInput, o ...func(*batch.Options)) (*batch.ListJobsOutput, error) {
	if f.lists.Add(-1) >= 0 {
		return &batch.ListJobsOutput{}, nil
	}
	return f.BatchAPI.ListJobs(ctx, in, o...)
}

// AWS Batch may list a job some time after it was submitted. A destroy ends it all the same, also if
// the apply was killed before it knew the job.
func TestDestroyOfAJobThatIsNotListedYet(t *testing.T) {
	l := newLab(t)
	for name, known := range map[string]bool{"known": true, "unknown": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			system := "listed-" + name
			task := job(t, system, "sleep", "1h")
			ok(t, l.provision(t.Context(), system, task.Unit))
			e := l.executor(t, func(o *aws.Options) { o.System = system })
			h, err := e.Apply(t.Context(), task, nil)
			ok(t, err)
			late := l.executor(t, func(o *aws.Options) { o.System = system })
			f := &forgetful{}
			f.lists.Store(2)
			aws.Wrap(late, func(b aws.BatchAPI) aws.BatchAPI { f.BatchAPI = b; return f })
			if !known {
				found, err := late.Find(t.Context(), task.Name, task.Dir)
				ok(t, err)
				h = *found
				f.lists.Store(1)
			}
			ok(t, late.Destroy(t.Context(), h))
			left, err := l.Left(t.Context(), system)
			ok(t, err)
			if len(left) > 0 {
				t.Errorf("it has left %v", left)
			}
		})
	}
}
