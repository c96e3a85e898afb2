package planner_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
)

// A job that never ran is estimated from one of the same component and stage, scaled by the rows
// that both read. A budget does not rely on it.
func TestANewJobIsEstimatedFromASimilarOne(t *testing.T) {
	w := world1(t)
	cpu := needing(ir.Resources{MilliCPU: 10000}, 0, 0) // 1 USD/h
	large := func(u *ir.Unit) { u.Component = "large" }
	wide := func(u *ir.Unit) { u.Component = "wide" }
	runs := func(file string) func(*ir.Unit) { // a program of the user's
		return func(u *ir.Unit) { u.Code.Command = []string{"python", file} }
	}
	old := []ir.Unit{
		job("sources/a"), job("sources/b"),
		job("features/one", cpu, reads("in", "sources/a.table")),
		job("features/two", cpu, reads("a", "sources/a.table"), reads("b", "sources/b.table")),
		job("features/three", cpu, large, reads("in", "sources/a.table")),
		job("features/script", cpu, wide, runs("a.py"), reads("in", "sources/a.table")),
	}
	w.took = time.Hour
	w.apply(w.plan(priced(ir.Budget{}, old...)))

	budget := 100 * money.One
	p := w.plan(priced(ir.Budget{Apply: &budget}, append(old,
		job("sources/c", params(`{"n":1}`)),
		job("features/double", cpu, reads("a", "sources/a.table"), reads("b", "sources/b.table"), params(`{"n":1}`)),
		job("features/large", cpu, large, reads("a", "sources/a.table"), reads("b", "sources/b.table")),
		job("features/later", cpu, large, reads("in", "sources/c.table")), // its rows are not known yet
		job("features/wide", cpu, wide, runs("b.py"), reads("in", "sources/a.table")),
	)...))
	got := map[string]planner.Estimate{}
	for _, it := range p.Items {
		if it.Action == planner.Run {
			got[it.Unit] = it.Estimate
		}
	}
	want := map[string]planner.Estimate{
		"sources/c":       {Runs: 1, Time: time.Hour, From: "sources/a"},
		"features/double": {Runs: 1, Time: time.Hour, From: "features/two", Rows: 20, FromRows: 20},
		"features/large":  {Runs: 1, Time: 2 * time.Hour, From: "features/three", Rows: 20, FromRows: 10},
		"features/later":  {Runs: 1, Time: time.Hour, From: "features/three"},
		"features/wide":   {},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("estimates (-want +got):\n%s", d)
	}
	if s := p.Summary(); s.Similar != 4 || s.Limit != 0 || s.Time.Time != 2*time.Hour {
		t.Errorf("summary %+v", s)
	}
	// Source c asks for nothing and costs nothing.
	c := p.Costs()
	if c.Similar != 3 || c.Apply != 4*money.One || c.Limit != 0 || len(c.Unlimited) != 4 || len(c.Unknown) != 1 {
		t.Errorf("costs %+v", c)
	}
	if err := p.CheckBudget(); err == nil {
		t.Error("a budget relies on jobs that are like others")
	}
}

// A job that resembles none of its own system is estimated from another system, of which more than one environment
// may have recorded something.
func TestANewSystemIsEstimatedFromAnother(t *testing.T) {
	other := world1(t)
	large := func(u *ir.Unit) { u.Component = "large" }
	other.took = time.Hour
	other.apply(other.plan(sys(
		job("sources/a"), job("sources/b"),
		job("features/one", large, reads("in", "sources/a.table")),
		job("features/two", large, reads("a", "sources/a.table"), reads("b", "sources/b.table")),
	)))
	recorded, err := planner.Remember(t.Context(), "../other", []planner.State{other.store.In("empty"), other.store})
	if err != nil {
		t.Fatal(err)
	}

	w := world1(t)
	w.took = time.Minute
	old := []ir.Unit{job("sources/x")}
	w.apply(w.plan(sys(old...)))
	w.others = []*planner.Recorded{recorded}
	p := w.plan(sys(append(old,
		job("sources/y", params(`{"n":1}`)), // resembles a job of its own system
		job("features/f", large, reads("in", "sources/x.table")),
		job("features/g", large, reads("in", "sources/y.table")), // its rows are not known yet
		job("features/h", params(`{"n":2}`)),
	)...))
	got := map[string]planner.Estimate{}
	for _, it := range p.Items {
		if it.Action == planner.Run {
			got[it.Unit] = it.Estimate
		}
	}
	want := map[string]planner.Estimate{
		"sources/y":  {Runs: 1, Time: time.Minute, From: "sources/x"},
		"features/f": {Runs: 1, Time: time.Hour, From: "features/one", Of: "../other", Rows: 10, FromRows: 10},
		"features/g": {Runs: 1, Time: time.Hour, From: "features/one", Of: "../other"},
		"features/h": {},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("estimates (-want +got):\n%s", d)
	}
}

// What nothing is known of takes at most what timeouts and retries allow.
func TestTheLengthOfANewPlanIsLimitedByTimeouts(t *testing.T) {
	limited := func(timeout time.Duration, retries int) func(*ir.Unit) {
		return needing(ir.Resources{}, timeout, retries)
	}
	for name, c := range map[string]struct {
		units []ir.Unit
		want  time.Duration
	}{
		"one after the other": {[]ir.Unit{job("sources/a", limited(time.Minute, 1)), job("features/b", limited(time.Hour, 0), reads("in", "sources/a.table"))}, time.Hour + 2*time.Minute},
		"side by side":        {[]ir.Unit{job("sources/a", limited(time.Minute, 1)), job("features/b", limited(time.Hour, 0))}, time.Hour},
		"one without timeout": {[]ir.Unit{job("sources/a", limited(0, 0)), job("features/b", limited(time.Hour, 0))}, 0},
	} {
		if got := world1(t).plan(sys(c.units...)).Summary().Limit; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
