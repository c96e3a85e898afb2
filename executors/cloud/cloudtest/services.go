package cloudtest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
)

// Services is a cloud in which services run that keep their address, and whose newest version may be given up.
type Services struct {
	// New makes an executor of a system and a state. Doomed makes one of a tenon that is killed at a call of the cloud,
	// from 1: before the cloud gets it, or after, without its answer.
	New    func(t *testing.T, system, lineage string) executors.Executor
	Doomed func(t *testing.T, system string, at int, before bool) executors.Executor
	// Provision makes the infrastructure of a system.
	Provision func(system string, units ...ir.Unit) error
	// Starts returns what has ever run a task of a system, and Left the services of a system.
	Starts func(t *testing.T, system string, task executors.Task) ([]string, error)
	Left   func(system string) ([]string, error)
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Serving makes a task of a service of a system of its own.
func Serving(t *testing.T, name string, args ...string) executors.Task {
	t.Helper()
	task := Task(t, name, args...)
	task.Unit.Kind, task.Unit.ID, task.Unit.Entity, task.Unit.Outputs = ir.Service, "deployments/api", "deployments/api", nil
	task.Unit.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/ready", Replicas: 1}
	return task
}

// answers returns which task answers at the address of a service.
func answers(t *testing.T, h state.Handle) string {
	t.Helper()
	resp, err := http.Get(h.Endpoint)
	ok(t, err)
	b, err := io.ReadAll(resp.Body)
	ok(t, errors.Join(err, resp.Body.Close()))
	return string(b)
}

// start applies a task and waits for it.
func start(t *testing.T, e executors.Executor, task executors.Task, prior *state.Handle) (state.Handle, state.Status) {
	t.Helper()
	h, err := e.Apply(t.Context(), task, prior)
	ok(t, err)
	st, err := e.(executors.Waiter).Wait(t.Context(), h)
	ok(t, err)
	return h, st
}

// absent checks that a system has no service, and nothing of tasks.
func (s Services) absent(t *testing.T, e executors.Executor, system string, tasks ...executors.Task) {
	t.Helper()
	for _, task := range tasks {
		if found, err := e.Find(t.Context(), task.Name, task.Dir); err != nil || found != nil {
			t.Errorf("it has left %v, %v", found, err)
		}
	}
	left, err := s.Left(system)
	ok(t, err)
	if len(left) > 0 {
		t.Errorf("it has left %v", left)
	}
}

// KilledAtEachCall kills an apply, its wait and a destroy of a service at each call of the cloud. There is one
// version, which answers, and nothing is left of it. calls are those of an apply and its wait, and more than of a
// destroy.
func (s Services) KilledAtEachCall(t *testing.T, calls int) {
	for at := 1; at <= calls; at++ {
		for _, before := range []bool{true, false} {
			name := fmt.Sprintf("%d-%v", at, before)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				system := "cut-" + name
				old, next := Serving(t, "old", "serve"), Serving(t, "next", "serve")
				ok(t, s.Provision(system, old.Unit))
				e := s.New(t, system, "")
				was, st := start(t, e, old, nil)
				if st.Phase != state.Ready || answers(t, was) != old.Name {
					t.Fatalf("%+v, and %s answers", st, answers(t, was))
				}
				d := s.Doomed(t, system, at, before)
				if h, err := d.Apply(t.Context(), next, &was); err == nil {
					_, _ = d.(executors.Waiter).Wait(t.Context(), h)
				}
				h, st := start(t, e, next, &was)
				if st.Phase != state.Ready || answers(t, h) != next.Name || h.Endpoint != was.Endpoint {
					t.Errorf("%+v, and %s answers at %s, before at %s", st, answers(t, h), h.Endpoint, was.Endpoint)
				}
				ids, err := s.Starts(t, system, next)
				ok(t, err)
				if len(ids) != 1 {
					t.Errorf("it has started %v", ids)
				}
				for _, h := range []state.Handle{was, h} {
					_ = s.Doomed(t, system, at, before).Destroy(t.Context(), h) // which may come to its end
					ok(t, e.Destroy(t.Context(), h))
				}
				s.absent(t, e, system, old, next)
			})
		}
	}
}

// GivenUp deploys a version that never becomes ready, twice, and gives it up. It gets no request. It says want at the
// beginning of its status.
func (s Services) GivenUp(t *testing.T, want string) {
	const system = "given-up"
	e := s.New(t, system, "")
	old, bad, next := Serving(t, "a", "serve"), Serving(t, "b", "exit", "7"), Serving(t, "c", "serve")
	ok(t, s.Provision(system, old.Unit))
	was, _ := start(t, e, old, nil)
	for range 2 {
		h, st := start(t, e, bad, &was)
		if st.Phase != state.Failed || !strings.HasPrefix(st.Message, want) {
			t.Errorf("got %+v, want %q", st, want)
		}
		ok(t, e.Destroy(t.Context(), h))
		if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Absent {
			t.Errorf("given up: %+v, %v", st, err)
		}
		if found, err := e.Find(t.Context(), bad.Name, bad.Dir); err != nil || found != nil {
			t.Errorf("given up: %v, %v", found, err)
		}
		if by := answers(t, was); by != old.Name {
			t.Errorf("%s answers", by)
		}
	}
	h, st := start(t, e, next, &was)
	if by := answers(t, h); st.Phase != state.Ready || by != next.Name {
		t.Errorf("%+v, and %s answers", st, by)
	}
	ok(t, e.Destroy(t.Context(), h)) // after it was promoted: the former one answers again
	if by := answers(t, was); by != old.Name {
		t.Errorf("%s answers", by)
	}
	ok(t, e.Destroy(t.Context(), was))
	s.absent(t, e, system)
}

// OthersStay checks that a service which another state has made is not touched, about which an apply says want.
func (s Services) OthersStay(t *testing.T, want string) {
	const system = "others"
	mine, theirs, task := s.New(t, system, "mine"), s.New(t, system, "theirs"), Serving(t, "a", "serve")
	ok(t, s.Provision(system, task.Unit))
	h, err := mine.Apply(t.Context(), task, nil)
	ok(t, err)
	if _, err = theirs.Apply(t.Context(), task, nil); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if found, err := theirs.Find(t.Context(), task.Name, task.Dir); err != nil || found != nil {
		t.Errorf("it finds %v, %v", found, err)
	}
	left, err := s.Left(system)
	ok(t, err)
	if len(left) != 1 {
		t.Errorf("there are %v", left)
	}
	ok(t, mine.Destroy(t.Context(), h))
	if _, err := os.Stat(filepath.Join(task.Dir, "log")); err != nil {
		t.Errorf("its log: %v", err)
	}
}
