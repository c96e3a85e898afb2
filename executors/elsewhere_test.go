package executors_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/records"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/internal/test/postgrestest"
	"github.com/tenon-ml/tenon/planner/state"
)

// A revision that one machine has begun continues where others apply the plan.
func TestStartedRevisionContinues(t *testing.T) {
	b := newBench(t)
	units := system("1")
	for i := range units {
		b.ok(units[i].Define())
	}
	p := b.plan(units)
	number, err := executors.Begin(t.Context(), p, b.options())
	b.ok(err)
	if len(b.fake.started("sources/a")) > 0 {
		t.Error("it does more than begin")
	}
	res, err := executors.Apply(t.Context(), p, b.options())
	b.ok(err)
	all, err := b.store.Revisions(t.Context(), 0)
	b.ok(err)
	if res.Revision != number || len(all) != 1 || all[0].Outcome != state.Done {
		t.Errorf("revision %d was begun, %d went on; the state has %+v", number, res.Revision, all)
	}
	if _, err := executors.Apply(t.Context(), p, b.options()); err == nil {
		t.Error("a plan is applied again that has been applied")
	}
}

// A job that another machine has started is adopted without a folder of its run.
func TestAJobIsAdoptedFromAnotherMachine(t *testing.T) {
	b := newBench(t)
	b.fake.behave["sources/a"] = behaviour{takes: 30 * time.Millisecond}
	r := b.began(table("sources/a", `{}`), true)
	name := executors.TaskName("", r.Unit, r.Key, 1)
	b.ok(files.RemoveAll(filepath.Join(b.dir, "runs", name)))
	b.mustApply(table("sources/a", `{}`))
	if got := b.fake.started("sources/a"); len(got) != 1 {
		t.Errorf("started %v", got)
	}
}

// The rules of a shared state are brought to each machine.
func TestRulesAreBroughtFromAnotherMachine(t *testing.T) {
	b := newBench(t)
	b.mustApply(ir.Unit{
		ID: "slos/late", Entity: "slos/late", Kind: ir.Record, Component: "slo.rules",
		Params:  []byte(`{"content":"groups: []","file":"late.rules.yml"}`),
		Outputs: []ir.Output{{Port: "rules", Kind: ir.File}},
	})
	here := t.TempDir()
	for _, old := range []string{"gone.rules.yml", "late.rules.yml"} {
		b.ok(os.MkdirAll(filepath.Join(here, "rules"), 0o755))
		b.ok(os.WriteFile(filepath.Join(here, "rules", old), []byte("old"), 0o644))
	}
	for _, dir := range []string{here, t.TempDir()} {
		b.ok(records.New(dir, nil, nil).Sync(t.Context(), b.store))
		found, err := filepath.Glob(filepath.Join(dir, "rules", "*"))
		b.ok(err)
		if len(found) != 1 || filepath.Base(found[0]) != "late.rules.yml" {
			t.Fatalf("there are %v", found)
		}
		if text, err := os.ReadFile(found[0]); err != nil || string(text) != "groups: []" {
			t.Errorf("%s: %q, %v", found[0], text, err)
		}
	}
}

// An apply that can no longer reach a shared state leaves what runs: a successor may be
// continuing it.
func TestLostStateLeavesRunningTasks(t *testing.T) {
	b := newBench(t)
	db := postgrestest.Start(t)
	url := db.URL()
	_, schema, _ := strings.Cut(url, "schema=")
	b.ok(b.store.Close())
	var err error
	b.store, err = state.Open(t.Context(), url)
	b.ok(err)
	b.lock()
	b.fake.behave["sources/long"] = behaviour{hangs: true}
	b.fake.behave["sources/short"] = behaviour{
		takes:  time.Second, // by then the other one runs
		leaves: func(string) error { return db.Exec(context.Background(), "DROP SCHEMA "+schema+" CASCADE") },
	}
	if _, err := b.apply(table("sources/long", `{"n":1}`), table("sources/short", `{"n":2}`)); err == nil {
		t.Error("the state is gone, and the apply has done well")
	}
	if alive := b.fake.alive(); !slices.ContainsFunc(alive, func(task string) bool { return strings.HasPrefix(task, "sources-long-") }) {
		t.Errorf("alive: %v", alive)
	}
}

// A unit whose write failed does not keep the file of the unit that it succeeds.
func TestRulesOfAUnitThatWasNeverWrittenAreRemoved(t *testing.T) {
	b := newBench(t)
	rules := func(id string, from ...string) ir.Unit {
		u := unit(id, `{"content":"groups: []","file":"late.rules.yml"}`, ir.Output{Port: "rules", Kind: ir.File}, from...)
		u.Kind, u.Component = ir.Record, "slo.rules"
		return u
	}
	b.mustApply(rules("slos/old"))
	b.fake.behave["sources/a"] = behaviour{fails: 1}
	if _, err := b.apply(table("sources/a", `{}`), rules("slos/new", "sources/a")); err == nil {
		t.Fatal("the apply did not fail")
	}
	b.mustApply(table("sources/a", `{}`))
	if found, err := filepath.Glob(filepath.Join(b.dir, "rules", "*")); err != nil || len(found) > 0 {
		t.Errorf("there are %v, %v", found, err)
	}
}
