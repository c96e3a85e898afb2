package planner_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

func TestDecideMend(t *testing.T) {
	dead := planner.Fault{Unit: "deployments/api", Why: "process died: exit 1"}
	ago := func(all ...time.Duration) (past []planner.Mended) {
		for _, a := range all {
			past = append(past, planner.Mended{Unit: dead.Unit, Ago: a})
		}
		return past
	}
	const s, m = time.Second, time.Minute
	for _, c := range []struct {
		name   string
		f      planner.Fault
		past   []planner.Mended
		mend   bool
		wait   time.Duration
		reason string
	}{
		{"the first time", dead, nil, true, 0, "process died: exit 1"},
		{"soon after an attempt", dead, ago(3 * s), false, 7 * s, "process died: exit 1; 1 attempt, the next one is 10s after the last"},
		{"after the pause", dead, ago(10 * s), true, 0, "process died: exit 1, after 1 attempt"},
		{"the pause doubles", dead, ago(15*s, 30*s), false, 5 * s, "process died: exit 1; 2 attempts, the next one is 20s after the last"},
		{"up to a limit", dead, ago(9*m, 15*m, 20*m, 24*m, 26*m, 28*m, 29*m, 30*m, 31*m), false, 1 * m, "process died: exit 1; 9 attempts, the next one is 10m after the last"},
		{"it ran for long", dead, ago(21 * m), true, 0, "process died: exit 1"},
		{"it ran for long before the last attempts", dead, ago(12*s, 30*m), true, 0, "process died: exit 1, after 1 attempt"},
		{"another unit was mended", dead, []planner.Mended{{Unit: "deployments/b"}}, true, 0, "process died: exit 1"},
		{"it may be busy", planner.Fault{Unit: "deployments/api", Why: "it runs but is not ready", Silent: true, For: 10 * s}, nil, false, 20 * s, "it may be busy: it runs but is not ready"},
		{"it is silent for long", planner.Fault{Unit: "deployments/api", Why: "it runs but is not ready", Silent: true, For: 30 * s}, nil, true, 0, "it runs but is not ready"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := planner.DecideMend(c.f, c.past)
			if want := (planner.MendDecision{Mend: c.mend, Wait: c.wait, Reason: c.reason}); d != want {
				t.Errorf("got %+v, want %+v", d, want)
			}
		})
	}
}

// A training plans the model, what it reads from and what reads from it. Everything else stays as it is.
func TestPlanOfSomeEntities(t *testing.T) {
	w := world1(t)
	w.data("a.csv", "1")
	w.data("b.csv", "1")
	units := func(b string) *ir.System {
		return sys(
			job("sources/a", files("a.csv")), job("sources/b", files("b.csv"), params(b)),
			job("models/late", reads("rows", "sources/a.table")), service("deployments/late", reads("model", "models/late.table"), reads("b", "sources/b.table")),
			job("models/other", reads("rows", "sources/a.table")), service("deployments/other", reads("model", "models/other.table")),
		)
	}
	w.apply(w.plan(units(`{}`)))
	w.data("a.csv", "2")
	w.data("b.csv", "2")
	only := func(s *ir.System) (*planner.Plan, error) {
		return planner.Make(t.Context(), s, planner.Inputs{
			Dir: w.dir, State: w.store, Artifacts: w, Digests: w.digests, Inspector: w, Options: planner.Options{Only: []string{"models/late"}, Now: w.now},
		})
	}
	// What is declared otherwise, such as sources/b, stays as well.
	p, err := only(units(`{"other":true}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"run sources/a: input a.csv (# -> #)",
		"run models/late unless same: input sources/a.table",
		"update deployments/late unless same: input models/late.table",
	}
	got := lines(p)
	for i := range got {
		got[i], _, _ = strings.Cut(got[i], ":")
	}
	for i := range want {
		want[i], _, _ = strings.Cut(want[i], ":")
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(p.Items) != 6 || len(p.Files) != 1 {
		t.Errorf("%d items, files %v", len(p.Items), p.Files)
	}
	// Upstream, nothing that reads from it is planned.
	p, err = planner.Make(t.Context(), units(`{}`), planner.Inputs{
		Dir: w.dir, State: w.store, Artifacts: w, Digests: w.digests, Inspector: w, Options: planner.Options{Only: []string{"sources/a"}, Upstream: true, Now: w.now},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := lines(p); len(got) != 1 || !strings.HasPrefix(got[0], "run sources/a: ") {
		t.Errorf("upstream: %q", got)
	}
	with := units(`{}`)
	with.Units = append(with.Units, sys(job("features/new", reads("b", "sources/b.table"))).Units...)
	if _, err := only(with); err == nil || !strings.Contains(err.Error(), "plan features/new: it was never applied: run tenon apply first") {
		t.Errorf("a unit that is not deployed: %v", err)
	}
}
