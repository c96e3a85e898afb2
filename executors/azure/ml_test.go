package azure_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/azure"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/planner/state"
)

// A trained executor runs each job of the suite on Azure Machine Learning, because it has two GPUs.
type trained struct{ provided }

func gpus(t executors.Task) executors.Task {
	t.Unit.Needs.GPU, t.Unit.Network = 2, ir.NetworkOpen
	return t
}

func (x trained) Apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	if len(t.Unit.Secrets) == 0 && t.Unit.Seed == 0 { // secrets are refused, and the one with a seed compares its needs
		t = gpus(t)
	}
	return x.provided.Apply(ctx, t, prior)
}

// newLearning is newLab for jobs of Azure Machine Learning.
func newLearning(t testing.TB) *lab {
	l := newLab(t)
	l.Variable = "AZUREML_RUN_ID"
	return l
}

func TestConformanceOnAzureMachineLearning(t *testing.T) {
	l := newLearning(t)
	executortest.Run(t, executortest.Config{
		New:     func(t testing.TB) executors.Executor { return trained{provided{l.executor(t, "suite"), l}} },
		Program: "/bin/program", Image: cloudtest.Image(),
		Lacks:     []executortest.Feature{executortest.PIDs, executortest.SecretFile, executortest.Nodes, executortest.Placement, executortest.SecretKey},
		Unseen:    []executortest.Feature{executortest.NoNetwork}, // the fake has no networks
		JobsOnly:  true,
		Elsewhere: l,
	})
}

// An apply and a destroy are killed at each call of Azure. The program runs once, and nothing of it is left.
func TestCommandJobsKilledAtEachCall(t *testing.T) {
	l := newLearning(t)
	const applies, calls = 6, 8 // calls of an apply, and at most of a destroy
	for at := 1; at <= calls; at++ {
		for _, before := range []bool{true, false} {
			name := fmt.Sprintf("%d-%v", at, before)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				system := "learns-" + name
				doomed := func() *azure.Executor { return l.doomed(t, system, at, before) }
				task := gpus(cloudtest.Task(t, name, "exit", "0"))
				ok(t, l.provision(system, task.Unit))
				if _, err := doomed().Apply(t.Context(), task, nil); (err == nil) != (at > applies) {
					t.Errorf("an apply that is killed at call %d gives %v, and it makes %d", at, err, applies)
				}
				e := l.executor(t, system)
				h, err := e.Apply(t.Context(), task, nil)
				ok(t, err)
				st, err := e.Wait(t.Context(), h)
				ok(t, err)
				ids, err := l.Executions(azure.RunName(l.options(t, system), task))
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

// A late call creates a job that a look did not find yet: its start is not the one that is claimed, so that its container
// runs nothing, and it is removed with the task.
func TestAJobThatComesTooLateRunsNothing(t *testing.T) {
	l := newLearning(t)
	e, first := l.executor(t, "too-late"), l.executor(t, "too-late")
	task := gpus(cloudtest.Task(t, "too-late", "exit", "0"))
	ok(t, l.provision("too-late", task.Unit))
	var held *http.Request
	azure.Wrap(first, func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if held == nil && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/jobs/") {
				held = r // it is under way when its tenon is killed
			}
			if held != nil {
				return nil, killedError{errors.New("killed")}
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
	client, err := l.Client()
	ok(t, err)
	defer client.CloseIdleConnections()
	resp, err := client.Do(again)
	ok(t, err)
	ok(t, resp.Body.Close())
	st, err := e.Wait(t.Context(), h)
	ok(t, err)
	var ids, ran []string
	for end := time.Now().Add(10 * time.Second); len(ids) < 2 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		ids, err = l.Executions(azure.RunName(l.options(t, "too-late"), task))
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
	left, err := l.Commands()
	ok(t, err)
	for _, name := range left {
		if strings.HasPrefix(name, azure.RunName(l.options(t, "too-late"), task)) {
			t.Errorf("it has left %s", name)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What is missing, or cannot be had, becomes an error that says what to change. A job whose cluster gets no node does not
// wait forever.
func TestFaultsOfAzureMachineLearning(t *testing.T) {
	l := newLearning(t)
	e := l.executor(t, "ml-faults", func(o *azure.Options) { o.Stuck = 50 * time.Millisecond })
	task := cloudtest.Task(t, "ml-faults", "exit", "0")
	ok(t, l.provision("ml-faults", task.Unit))
	task = gpus(task)
	if _, err := e.Apply(t.Context(), task, nil); err == nil || !strings.Contains(err.Error(), "apply the infrastructure") {
		t.Errorf("without a workspace: %v", err)
	}
	ok(t, l.provision("ml-faults", task.Unit))
	ok(t, l.Refuse("create: The request exceeds the quota of cores."))
	if _, err := e.Apply(t.Context(), task, nil); err == nil || !strings.Contains(err.Error(), "raise that of their family") || !errors.As(err, new(*executors.LackingError)) {
		t.Errorf("without a quota: %v", err)
	}
	for said, want := range map[string]state.Status{
		"node: The specified subscription has a vCPU quota of 0": {Message: "raise that of their family under Quotas", Lacking: true},
		"Node was preempted": {Message: "its node was taken back", Interrupted: true},
		"Something unknown":  {Message: "Something unknown"},
	} {
		ok(t, l.Refuse(said))
		h, err := e.Apply(t.Context(), task, nil)
		ok(t, err)
		st, err := e.Wait(t.Context(), h)
		if err != nil || st.Phase != state.Failed || !strings.Contains(st.Message, want.Message) || st.Lacking != want.Lacking || st.Interrupted != want.Interrupted {
			t.Errorf("%s: got %+v, %v", said, st, err)
		}
		ok(t, e.Destroy(t.Context(), h))
	}
	if left, err := l.Commands(); err != nil || strings.Contains(strings.Join(left, " "), "ml-faults") {
		t.Errorf("it has left %v, %v", left, err)
	}
}
