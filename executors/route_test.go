package executors_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
)

// apart is an executor whose services have their own ports.
type apart struct{ *fake }

func (apart) OwnPorts() bool { return true }

// A service that moves to another executor keeps running until the new one is ready,
// unless the two share a port.
func TestAServiceMovesToAnotherExecutor(t *testing.T) {
	for name, c := range map[string]struct {
		from, to bool // has its own ports
		stays    bool
	}{
		"on the same machine":   {false, false, false},
		"to where it has ports": {false, true, true},
		"from where it has":     {true, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			fakes, made := map[string]*fake{"from": newFake(), "to": newFake()}, map[string]executors.Executor{}
			for x, own := range map[string]bool{"from": c.from, "to": c.to} {
				if made[x] = fakes[x]; own {
					made[x] = apart{fakes[x]}
				}
			}
			r, err := executors.Route("to", []string{"from", "to"}, func(x string) (executors.Executor, error) { return made[x], nil })
			b.ok(err)
			task := executors.Task{Unit: service("deployments/api", `{}`), Name: "old", Dir: t.TempDir()}
			prior, err := fakes["from"].Apply(t.Context(), task, nil)
			b.ok(err)
			task.Name = "new"
			_, err = r.Apply(t.Context(), task, &state.Handle{Executor: "from", ID: prior.ID, Data: prior.Data})
			b.ok(err)
			if stays := len(fakes["from"].alive()) > 0; stays != c.stays {
				t.Errorf("the old one stays: %t, want %t", stays, c.stays)
			}
		})
	}
}

// limited is an executor whose account has a quota of 0.
type limited struct{ *fake }

func (limited) Admit(_ context.Context, units []ir.Unit) (bool, error) {
	return true, &executors.LackingError{Err: errors.New(units[0].ID + " needs 1 and the account has 0")}
}

// A quota that is too small ends an apply before it begins a revision.
func TestAQuotaThatIsTooSmall(t *testing.T) {
	b := newBench(t)
	units := []ir.Unit{table("sources/a", `{"v":1}`)}
	for i := range units {
		b.ok(units[i].Define())
	}
	o := b.options()
	var err error
	o.Executor, err = executors.Route("limited", []string{"limited"}, func(string) (executors.Executor, error) { return limited{b.fake}, nil })
	b.ok(err)
	result, err := executors.Apply(t.Context(), b.plan(units), o)
	if executors.Lacking(result, err) == nil || result != nil || len(b.fake.tasks) > 0 {
		t.Errorf("the error is %v, with the result %+v and %d tasks", err, result, len(b.fake.tasks))
	}
}
