package gcp_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/executors/gcp"
	"github.com/tenon-ml/tenon/planner/state"
)

// A mortal is Google Cloud as seen by a tenon that is killed at one of its calls: before Google gets it,
// or after, without its answer. From then on it calls nothing.
type mortal struct {
	next   http.RoundTripper
	at     int // number of the call, from 1
	before bool

	mu sync.Mutex
	n  int
}

var errKilled = errors.New("killed")

func (m *mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n++; m.n > m.at || m.n == m.at && m.before {
		return nil, errKilled
	}
	answer, err := m.next.RoundTrip(r)
	if err == nil && m.n == m.at {
		return nil, errors.Join(errKilled, answer.Body.Close())
	}
	return answer, err
}

// An apply and a destroy are killed at each call of Google Cloud. The job runs once, and nothing of it is left.
func TestKilledAtEachCall(t *testing.T) {
	l := newLab(t)
	named := func(system string) func(*gcp.Options) { return func(o *gcp.Options) { o.System = system } }
	doomed := func(t *testing.T, system string, at int, before bool) *gcp.Executor {
		e := l.executor(t, named(system))
		gcp.Wrap(e, func(next http.RoundTripper) http.RoundTripper { return &mortal{next: next, at: at, before: before} })
		return e
	}
	const applies, calls = 2, 9 // calls of an apply, and at most of a destroy
	for at := 1; at <= calls; at++ {
		for _, before := range []bool{true, false} {
			name := fmt.Sprintf("%d-%v", at, before)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				system := "killed-" + name
				task := cloudtest.Task(t, name, "exit", "0")
				ok(t, l.provision(system, task.Unit))
				if _, err := doomed(t, system, at, before).Apply(t.Context(), task, nil); (err == nil) != (at > applies) {
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
					t.Errorf("%+v after the executions %v", st, ids)
				}
				_ = doomed(t, system, at, before).Destroy(t.Context(), h) // which may come to its end
				ok(t, e.Destroy(t.Context(), h))
				if found, err := e.Find(t.Context(), task.Name, task.Dir); err != nil || found != nil {
					t.Errorf("it has left %v, %v", found, err)
				}
			})
		}
	}
}

// A destroy right after the start ends the program, whether Cloud Run has started it or not, and a start under
// the same name is another one, which the handle of the first does not end.
func TestAStartAfterADestroyIsAnother(t *testing.T) {
	l := newLab(t)
	e, task := l.executor(t, func(o *gcp.Options) { o.System = "again" }), cloudtest.Task(t, "again", "sleep", "1h")
	ok(t, l.provision("again", task.Unit))
	first, err := e.Apply(t.Context(), task, nil)
	ok(t, err)
	ok(t, e.Destroy(t.Context(), first))
	second, err := e.Apply(t.Context(), task, nil)
	ok(t, err)
	ok(t, e.Destroy(t.Context(), first))
	if st, err := e.Inspect(t.Context(), first); err != nil || st.Phase != state.Absent {
		t.Errorf("the first start: %+v, %v", st, err)
	}
	if st, err := e.Inspect(t.Context(), second); err != nil || st.Phase != state.Running {
		t.Errorf("the second start: %+v, %v", st, err)
	}
	ok(t, e.Destroy(t.Context(), second))
}

// Without the rights that are written, a job cannot store its output.
func TestRightsAreNeeded(t *testing.T) {
	l := newLab(t)
	e := l.executor(t, func(o *gcp.Options) { o.System = "rights" })
	cloudtest.RightsAreNeeded(t, e, func(u ir.Unit) error { return l.provision("rights", u) })
}

// What is missing on Google Cloud, or cannot be had there, becomes an error that says what to change.
func TestFaultsSayWhatToChange(t *testing.T) {
	l := newLab(t)
	e, task := l.executor(t, func(o *gcp.Options) { o.System = "faults" }), cloudtest.Task(t, "faults", "exit", "0")
	_, err := e.Apply(t.Context(), task, nil)
	if err == nil || !strings.Contains(err.Error(), "the infrastructure has the bucket and the rights: apply what") {
		t.Errorf("without a bucket: %v", err)
	}
	ok(t, l.provision("faults"))
	_, err = e.Apply(t.Context(), task, nil)
	if want := "the service account of the unit does not exist, for which apply the infrastructure"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("without an account: got %v, want %q", err, want)
	}
	task.Unit.Secrets, task.Env = []ir.Secret{{Name: "TOKEN", Env: "TOKEN"}}, map[string]string{"TOKEN": "correct-horse"}
	_, err = e.Apply(t.Context(), task, nil)
	if want := "there is no secret projects/acme-ml-1/secrets/tenon-faults-TOKEN in Secret Manager: apply the infrastructure"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("without a secret: got %v, want %q", err, want)
	}
	task.Unit.Secrets = nil
	ok(t, l.provision("faults", task.Unit))
	ok(t, l.Refuse("CONTAINER_MISSING", "Image 'x' not found."))
	h, err := e.Apply(t.Context(), task, nil)
	ok(t, err)
	st, err := e.Wait(t.Context(), h)
	ok(t, err)
	if want := "its image is not in the repository: plan and apply again, which pushes it (Google Cloud: Image 'x' not found)"; st.Phase != state.Failed || st.Message != want {
		t.Errorf("got %+v, want %q", st, want)
	}
	ok(t, e.Destroy(t.Context(), h))
}
