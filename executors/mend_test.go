package executors_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// planMend plans the repair of units, as the last revision declares the system.
func (b *bench) planMend(units ...string) (*planner.Plan, error) {
	b.Helper()
	last, err := b.store.Revisions(b.Context(), 1)
	b.ok(err)
	text, err := b.arts.Bytes(b.Context(), last[0].IR)
	b.ok(err)
	sys := new(ir.System)
	b.ok(json.Unmarshal(text, sys))
	o := b.options()
	return planner.PlanMend(b.Context(), sys, units, planner.Inputs{
		Dir: filepath.Dir(b.dir), State: b.store, Artifacts: b.arts, Digests: planner.NewFileDigests(b.dir), Inspector: b.fake, Written: o.Records.Lost,
	})
}

// mend repairs units and returns the number of those that it made.
func (b *bench) mend(units ...string) int {
	b.Helper()
	p, err := b.planMend(units...)
	b.ok(err)
	if len(p.Items) > 0 {
		_, err = executors.Mend(b.Context(), p, b.options())
		b.ok(err)
	}
	return len(p.Items)
}

// A service that died starts again as it was applied, although another version of the model was made and another
// one of the service is declared. What a killed apply left of other units stays.
func TestARepairMakesWhatWasApplied(t *testing.T) {
	b := newBench(t)
	b.mustApply(system("1")...)
	before := b.current(late)
	b.fake.behave[late] = behaviour{never: true}
	failing := with(system("2"), late, func(u *ir.Unit) { u.Params, u.Timeout = []byte(`{"other":true}`), 20*time.Millisecond })
	if _, err := b.apply(failing...); err == nil {
		t.Fatal("it did not fail")
	}
	delete(b.fake.behave, late)
	b.began(table("sources/other", `{}`), true)
	b.fake.fail(before.Handle.ID)
	if n := b.mend(late, "slos/late", "deployments/unknown"); n != 1 {
		t.Errorf("it made %d units", n)
	}
	c := b.current(late)
	task := b.fake.last[late]
	if c.Key != before.Key || c.Definition != before.Definition || c.Revision != before.Revision || c.Handle.ID == before.Handle.ID || task.Inputs["model"].Version != 1 {
		t.Errorf("before %+v, now %+v, task %+v", before, c, task)
	}
	if left, err := b.store.Pending(t.Context()); err != nil || len(left) != 1 || left[0].Run.Unit != "sources/other" {
		t.Errorf("the journal holds %+v, %v", left, err)
	}
	last, err := b.store.Revisions(t.Context(), 1)
	b.ok(err)
	if last[0].Act != state.Repair || last[0].Outcome != state.Done || last[0].Deployed != "" {
		t.Errorf("revision %+v", last[0])
	}
	if n := b.mend(late); n != 0 {
		t.Errorf("then it made %d units", n)
	}
}

// During a release, both versions start again with the same weights. After a rejection, the champion does.
func TestARepairKeepsTheVersionsOfARelease(t *testing.T) {
	b := newBench(t)
	b.mustApply(released("1")...)
	champion := b.current(late)
	b.mustApply(released("2")...)
	before := b.current(late)
	b.fake.fail(before.Handle.ID)
	if n := b.mend(late); n != 1 {
		t.Errorf("it made %d units", n)
	}
	if c := b.current(late); b.weights() != "late v1 90, late v2 10" || c.Key != before.Key || !c.Route.Releasing() || c.Route.Serial <= before.Route.Serial {
		t.Errorf("weights %s, current %+v", b.weights(), c)
	}
	if task := b.fake.last[late]; task.Version != "late v2" || task.Beside["late v1"].Key != champion.Key {
		t.Errorf("task %+v", task)
	}
	b.ok(b.reject())
	c := b.current(late)
	b.fake.fail(c.Handle.ID)
	b.mend(late)
	if now := b.current(late); now.Key != champion.Key || now.Handle.ID == c.Handle.ID || now.Route == nil || now.Route.Rejected == nil {
		t.Errorf("after the rejection: %+v", now)
	}
	b.alone()
}

func TestARepairWritesRulesAgain(t *testing.T) {
	b := newBench(t)
	b.mustApply(system("1")...)
	path := filepath.Join(b.dir, "rules", "late.rules.yml")
	b.ok(os.Remove(path))
	if n := b.mend("slos/late", late); n != 1 {
		t.Errorf("it made %d units", n)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
