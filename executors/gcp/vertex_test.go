package gcp_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/gcp"
	"github.com/tenon-ml/tenon/planner/state"
)

// A trained executor runs each job of the suite with a GPU, on Vertex AI.
type trained struct{ provided }

func gpu(t executors.Task) executors.Task {
	t.Unit.Needs.GPU, t.Unit.Network = 1, ir.NetworkOpen
	return t
}

func (x trained) Apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	if len(t.Unit.Secrets) == 0 && t.Unit.Seed == 0 { // secrets are refused, and the one with a seed compares its needs
		t = gpu(t)
	}
	return x.provided.Apply(ctx, t, prior)
}

func TestConformanceOnVertexAI(t *testing.T) {
	l := newLab(t)
	executortest.Run(t, executortest.Config{
		New:     func(t testing.TB) executors.Executor { return trained{provided{l.executor(t), l}} },
		Program: "/bin/program", Image: cloudtest.Image(),
		Lacks:     []executortest.Feature{executortest.PIDs, executortest.SecretFile, executortest.Nodes, executortest.Placement, executortest.SecretKey},
		Unseen:    []executortest.Feature{executortest.NoNetwork}, // the fake has no networks
		JobsOnly:  true,
		Elsewhere: l,
	})
}

// An apply and a destroy of a job with a GPU are killed at each call of Google Cloud, and answers are lost. The program
// runs once, and nothing of it is left.
func TestCustomJobsKilledAtEachCall(t *testing.T) {
	l := newLab(t)
	named := func(system string) func(*gcp.Options) { return func(o *gcp.Options) { o.System = system } }
	const applies, calls = 2, 9 // calls of an apply, and at most of a destroy
	for at := 1; at <= calls; at++ {
		for _, before := range []bool{true, false} {
			name := fmt.Sprintf("%d-%v", at, before)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				system := "trains-" + name
				task := gpu(cloudtest.Task(t, name, "exit", "0"))
				ok(t, l.provision(system, task.Unit))
				doomed := func() *gcp.Executor {
					e := l.executor(t, named(system))
					gcp.Wrap(e, func(next http.RoundTripper) http.RoundTripper { return &mortal{next: next, at: at, before: before} })
					return e
				}
				if _, err := doomed().Apply(t.Context(), task, nil); (err == nil) != (at > applies) {
					t.Errorf("an apply that is killed at call %d gives %v, and it makes %d", at, err, applies)
				}
				e := l.executor(t, named(system))
				h, err := e.Apply(t.Context(), task, nil)
				ok(t, err)
				st, err := e.Wait(t.Context(), h)
				ok(t, err)
				o := l.options(t)
				o.System = system
				ids, err := l.Executions(gcp.RunName(o, task))
				ok(t, err)
				if st.Phase != state.Succeeded || len(ids) != 1 {
					t.Errorf("%+v after the starts %v", st, ids)
				}
				_ = doomed().Destroy(t.Context(), h) // which may come to its end
				ok(t, e.Destroy(t.Context(), h))
				if found, err := e.Find(t.Context(), task.Name, task.Dir); err != nil || found != nil {
					t.Errorf("it has left %v, %v", found, err)
				}
			})
		}
	}
}

// A late call creates a job that a look did not find yet: its start is not the one that is claimed, so that its container runs
// nothing, and it is removed with the task.
func TestAJobThatComesTooLateRunsNothing(t *testing.T) {
	l := newLab(t)
	e := l.executor(t, func(o *gcp.Options) { o.System = "too-late" })
	task := gpu(cloudtest.Task(t, "too-late", "exit", "0"))
	ok(t, l.provision("too-late", task.Unit))
	var held *http.Request
	first := l.executor(t, func(o *gcp.Options) { o.System = "too-late" })
	gcp.Wrap(first, func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/customJobs") {
				held = r // it is under way when its tenon is killed
				return nil, errKilled
			}
			return next.RoundTrip(r)
		})
	})
	if _, err := first.Apply(t.Context(), task, nil); err == nil {
		t.Fatal("it was not killed")
	}
	h, err := e.Apply(t.Context(), task, nil)
	ok(t, err)
	again := held.Clone(context.Background())
	again.Body, err = held.GetBody()
	ok(t, err)
	resp, err := http.DefaultClient.Do(again)
	ok(t, err)
	ok(t, resp.Body.Close())
	st, err := e.Wait(t.Context(), h)
	ok(t, err)
	o := l.options(t)
	o.System = "too-late"
	var ids, ran []string
	for end := time.Now().Add(10 * time.Second); len(ids) < 2 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		ids, err = l.Executions(gcp.RunName(o, task))
		ok(t, err)
	}
	for _, id := range ids {
		if _, err := os.Stat(filepath.Join(l.Work(id), "out")); err == nil {
			ran = append(ran, id)
		}
	}
	if st.Phase != state.Succeeded || len(ids) != 2 || len(ran) != 1 {
		t.Errorf("%+v: of %v, %v have run", st, ids, ran)
	}
	ok(t, e.Destroy(t.Context(), h))
	left, err := l.Customs()
	ok(t, err)
	for _, name := range left {
		for _, id := range ids {
			if strings.HasSuffix(name, strings.TrimPrefix(id, "custom-")) {
				t.Errorf("it has left %s", name)
			}
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
