package azure_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/azure"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/planner/state"
)

// An outage is Azure as seen by a tenon that is killed at one of its calls: before Azure gets it, or after, without its
// answer. From then on no call arrives.
type outage struct {
	next   http.RoundTripper
	at     int // number of the call, from 1
	before bool

	mu sync.Mutex
	n  int
}

// A killedError ends a call that is not repeated.
type killedError struct{ error }

func (killedError) NonRetriable() {}

func (o *outage) RoundTrip(r *http.Request) (*http.Response, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	killed := killedError{errors.New("killed")}
	if o.n++; o.n > o.at || o.n == o.at && o.before {
		return nil, killed
	}
	answer, err := o.next.RoundTrip(r)
	if err == nil && o.n == o.at {
		return nil, errors.Join(killed, answer.Body.Close())
	}
	return answer, err
}

// doomed makes the executor of a tenon that is killed at a call.
func (l *lab) doomed(t *testing.T, system string, at int, before bool) *azure.Executor {
	e := l.executor(t, system)
	azure.Wrap(e, func(next http.RoundTripper) http.RoundTripper { return &outage{next: next, at: at, before: before} })
	return e
}

// An apply and a destroy are killed at each call of Azure. The job runs once, and nothing of it is left.
func TestKilledAtEachCall(t *testing.T) {
	l := newLab(t)
	const calls = 9 // of a destroy at most; an apply has fewer
	for at := 1; at <= calls; at++ {
		for _, before := range []bool{true, false} {
			name := fmt.Sprintf("%d-%v", at, before)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				system := "killed-" + name
				doomed := func() *azure.Executor { return l.doomed(t, system, at, before) }
				task := cloudtest.Task(t, name, "exit", "0")
				ok(t, l.provision(system, task.Unit))
				_, err := doomed().Apply(t.Context(), task, nil)
				if at <= 4 && err == nil {
					t.Errorf("an apply that is killed at call %d succeeds", at)
				}
				e := l.executor(t, system)
				h, err := e.Apply(t.Context(), task, nil)
				ok(t, err)
				st, err := e.Wait(t.Context(), h)
				ok(t, err)
				ids, err := l.Executions(azure.RunName(l.options(t, system), task))
				ok(t, err)
				if st.Phase != state.Succeeded || len(ids) != 1 {
					t.Errorf("%+v after the executions %v", st, ids)
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

// The handle of a start that was destroyed does not end the next start of the task.
func TestAStartAfterADestroyIsAnother(t *testing.T) {
	l := newLab(t)
	e, task := l.executor(t, "again"), cloudtest.Task(t, "again", "sleep", "1h")
	ok(t, l.provision("again", task.Unit))
	var handles []state.Handle
	for range 2 {
		h, err := e.Apply(t.Context(), task, nil)
		ok(t, err)
		handles = append(handles, h)
		ok(t, e.Destroy(t.Context(), handles[0]))
	}
	for i, want := range []state.Phase{state.Absent, state.Running} {
		if st, err := e.Inspect(t.Context(), handles[i]); err != nil || st.Phase != want {
			t.Errorf("start %d: %+v, %v", i+1, st, err)
		}
	}
	ok(t, e.Destroy(t.Context(), handles[1]))
}

// What is missing on Azure, or cannot be had there, becomes an error that says what to change.
func TestFaultsSayWhatToChange(t *testing.T) {
	l := newLab(t)
	e, task := l.executor(t, "faults"), cloudtest.Task(t, "faults", "exit", "0")
	refused := func(want string) {
		t.Helper()
		if _, err := e.Apply(t.Context(), task, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	refused("apply what tenon compile --format=terraform writes")
	ok(t, l.provision("faults"))
	other := task.Unit
	other.ID, other.Entity = "steps/other", "steps/other"
	ok(t, l.provision("faults", other))
	refused("there is no Microsoft.ManagedIdentity/userAssignedIdentities/tenon-faults-steps-killed-faults: apply the infrastructure")
	ok(t, l.provision("faults", task.Unit))
	task.Unit.Secrets, task.Env = []ir.Secret{{Name: "TOKEN", Env: "TOKEN"}}, map[string]string{"TOKEN": "correct-horse"}
	refused("secret TOKEN: write the secret TOKEN-")
	task.Unit.Secrets = nil
	for said, want := range map[string]string{
		"ImagePullFailure: manifest unknown": "its image is not in the registry: plan and apply again, which pushes it (Azure: ImagePullFailure: manifest unknown)",
		"Something unknown.":                 "Something unknown.",
	} {
		ok(t, l.Refuse(said))
		h, err := e.Apply(t.Context(), task, nil)
		ok(t, err)
		if st, err := e.Wait(t.Context(), h); err != nil || st.Phase != state.Failed || st.Message != want {
			t.Errorf("got %+v, %v, want %q", st, err, want)
		}
		ok(t, e.Destroy(t.Context(), h))
	}
}

// Without the rights that are written, a job cannot store its output.
func TestRightsAreNeeded(t *testing.T) {
	l := newLab(t)
	cloudtest.RightsAreNeeded(t, l.executor(t, "rights"), func(u ir.Unit) error { return l.provision("rights", u) })
}

// A unit with a GPU runs in a workload profile that has one, which its environment needs.
func TestGPUsHaveAProfile(t *testing.T) {
	l := newLab(t)
	e, task := l.executor(t, "gpus"), cloudtest.Task(t, "gpus", "exit", "0")
	ok(t, l.provision("gpus", task.Unit))
	task.Unit.Needs = ir.Resources{GPU: 1, GPUMemory: 40 << 30}
	if _, err := e.Apply(t.Context(), task, nil); err == nil || !strings.Contains(err.Error(), "its environment lacks the workload profile of its GPU: apply the infrastructure") {
		t.Errorf("without the profile: %v", err)
	}
	ok(t, l.provision("gpus", task.Unit))
	h, err := e.Apply(t.Context(), task, nil)
	ok(t, err)
	if st, err := e.Wait(t.Context(), h); err != nil || st.Phase != state.Succeeded {
		t.Errorf("%+v, %v", st, err)
	}
	ok(t, e.Destroy(t.Context(), h))
}
