package gcp_test

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
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/executors/gcp"
	"github.com/tenon-ml/tenon/planner/state"
)

// serving makes a task of a service of a system of its own.
func serving(t *testing.T, name string, args ...string) executors.Task {
	t.Helper()
	task := cloudtest.Task(t, name, args...)
	task.Unit.Kind, task.Unit.ID, task.Unit.Entity, task.Unit.Outputs = ir.Service, "deployments/api", "deployments/api", nil
	task.Unit.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/ready", Replicas: 1}
	return task
}

// asks returns which task answers at the address of.
func (l *lab) asks(t *testing.T, h state.Handle) string {
	t.Helper()
	resp, err := http.Get(h.Endpoint)
	ok(t, err)
	b, err := io.ReadAll(resp.Body)
	ok(t, errors.Join(err, resp.Body.Close()))
	return string(b)
}

func (l *lab) has(t *testing.T, system string) (names []string) {
	t.Helper()
	all, err := l.Services()
	ok(t, err)
	for _, name := range all {
		if strings.Contains(name, "/tenon-"+system+"-") {
			names = append(names, name)
		}
	}
	return names
}

// An apply, its wait and a destroy of a service are killed at each call of Google Cloud. There is one revision, which
// answers, and nothing is left of it.
func TestServicesKilledAtEachCall(t *testing.T) {
	l := newLab(t)
	named := func(system string) func(*gcp.Options) { return func(o *gcp.Options) { o.System = system } }
	const calls = 14 // of an apply and its wait, and more than of a destroy
	for at := 1; at <= calls; at++ {
		for _, before := range []bool{true, false} {
			name := fmt.Sprintf("%d-%v", at, before)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				system := "cut-" + name
				doomed := func() *gcp.Executor {
					e := l.executor(t, named(system))
					gcp.Wrap(e, func(next http.RoundTripper) http.RoundTripper { return &mortal{next: next, at: at, before: before} })
					return e
				}
				old, next := serving(t, "old", "serve"), serving(t, "next", "serve")
				ok(t, l.provision(system, old.Unit))
				e := l.executor(t, named(system))
				was, err := e.Apply(t.Context(), old, nil)
				ok(t, err)
				st, err := e.Wait(t.Context(), was)
				ok(t, err)
				if st.Phase != state.Ready || l.asks(t, was) != old.Name {
					t.Fatalf("%+v, and %s answers", st, l.asks(t, was))
				}
				d := doomed()
				if h, err := d.Apply(t.Context(), next, &was); err == nil {
					_, _ = d.Wait(t.Context(), h)
				}
				h, err := e.Apply(t.Context(), next, &was)
				ok(t, err)
				st, err = e.Wait(t.Context(), h)
				ok(t, err)
				if st.Phase != state.Ready || l.asks(t, h) != next.Name || h.Endpoint != was.Endpoint {
					t.Errorf("%+v, and %s answers at %s, before at %s", st, l.asks(t, h), h.Endpoint, was.Endpoint)
				}
				o := l.options(t)
				o.System = system
				ids, err := l.Executions(gcp.RunName(o, next))
				ok(t, err)
				if len(ids) != 1 {
					t.Errorf("it has started %v", ids)
				}
				for _, h := range []state.Handle{was, h} {
					_ = doomed().Destroy(t.Context(), h) // which may come to its end
					ok(t, e.Destroy(t.Context(), h))
				}
				for _, task := range []executors.Task{old, next} {
					if found, err := e.Find(t.Context(), task.Name, task.Dir); err != nil || found != nil {
						t.Errorf("it has left %v, %v", found, err)
					}
				}
				if left := l.has(t, system); len(left) > 0 {
					t.Errorf("it has left %v", left)
				}
			})
		}
	}
}

// A version that never becomes ready is given up, and gets no request. Cloud Run keeps the newest revision: it
// goes with the next one, and the same task may start again.
func TestAVersionThatIsGivenUp(t *testing.T) {
	l := newLab(t)
	e := l.executor(t, func(o *gcp.Options) { o.System = "given-up" })
	old, bad, next := serving(t, "a", "serve"), serving(t, "b", "exit", "7"), serving(t, "c", "serve")
	ok(t, l.provision("given-up", old.Unit))
	start := func(task executors.Task, prior *state.Handle) (state.Handle, state.Status) {
		t.Helper()
		h, err := e.Apply(t.Context(), task, prior)
		ok(t, err)
		st, err := e.Wait(t.Context(), h)
		ok(t, err)
		return h, st
	}
	was, _ := start(old, nil)
	for range 2 {
		h, st := start(bad, &was)
		if want := "its program ended, or was not ready 4 minutes after it had started"; st.Phase != state.Failed || !strings.Contains(st.Message, want) {
			t.Errorf("got %+v, want %q", st, want)
		}
		ok(t, e.Destroy(t.Context(), h))
		if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Absent {
			t.Errorf("given up: %+v, %v", st, err)
		}
		if found, err := e.Find(t.Context(), bad.Name, bad.Dir); err != nil || found != nil {
			t.Errorf("given up: %v, %v", found, err)
		}
		if by := l.asks(t, was); by != old.Name {
			t.Errorf("%s answers", by)
		}
	}
	h, st := start(next, &was)
	if by := l.asks(t, h); st.Phase != state.Ready || by != next.Name {
		t.Errorf("%+v, and %s answers", st, by)
	}
	ok(t, e.Destroy(t.Context(), h)) // after it was promoted: the former one answers again
	if by := l.asks(t, was); by != old.Name {
		t.Errorf("%s answers", by)
	}
	ok(t, e.Destroy(t.Context(), was))
	if left := l.has(t, "given-up"); len(left) > 0 {
		t.Errorf("it has left %v", left)
	}
}

// A service that somebody else has made is not touched.
func TestServicesOfOthersStay(t *testing.T) {
	l := newLab(t)
	mine := l.executor(t, func(o *gcp.Options) { o.System, o.State = "others", "mine" })
	theirs := l.executor(t, func(o *gcp.Options) { o.System, o.State = "others", "theirs" })
	task := serving(t, "a", "serve")
	ok(t, l.provision("others", task.Unit))
	h, err := mine.Apply(t.Context(), task, nil)
	ok(t, err)
	_, err = theirs.Apply(t.Context(), task, nil)
	if want := "already has the service tenon-others-deployments-api of deployments/api of another state: choose another prefix or region"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if found, err := theirs.Find(t.Context(), task.Name, task.Dir); err != nil || found != nil {
		t.Errorf("it finds %v, %v", found, err)
	}
	if left := l.has(t, "others"); len(left) != 1 {
		t.Errorf("there are %v", left)
	}
	ok(t, mine.Destroy(t.Context(), h))
	if _, err := os.Stat(filepath.Join(task.Dir, "log")); err != nil {
		t.Errorf("its log: %v", err)
	}
}
