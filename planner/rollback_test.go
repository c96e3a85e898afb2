package planner_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// past returns what is deployed now, as a revision would record it.
func (w *world) past(s *ir.System) planner.Past {
	w.t.Helper()
	deployed, err := w.store.Deployed(context.Background(), s)
	if err != nil {
		w.t.Fatal(err)
	}
	return planner.Past{Revision: 1, System: s, Deployed: deployed}
}

func (w *world) rollback(p planner.Past) (*planner.Plan, error) {
	return planner.PlanRollback(context.Background(), p, planner.Inputs{Dir: w.dir, State: w.store, Artifacts: w, Digests: w.digests, Inspector: w})
}

func TestPlanRollback(t *testing.T) {
	first := sys(
		job("sources/a", files("a.csv")),
		job("models/m/train", reads("in", "sources/a.table"), params(`{"depth":1}`)),
		service("deployments/api", reads("in", "models/m/train.table")),
		service("deployments/old", params(`{"old":1}`)),
	)
	second := sys(
		job("sources/a", files("a.csv")),
		job("models/m/train", reads("in", "sources/a.table"), params(`{"depth":2}`)),
		service("deployments/api", reads("in", "models/m/train.table")),
		service("deployments/new", params(`{"new":1}`)),
	)
	applied := func(t *testing.T) (*world, planner.Past) {
		w := world1(t)
		w.data("a.csv", "1")
		w.apply(w.plan(first))
		past := w.past(first)
		w.data("a.csv", "2")
		w.apply(w.plan(second))
		return w, past
	}
	want := []string{
		"create deployments/old: new",
		"reuse sources/a: file a.csv (# -> #)",
		"reuse models/m/train: params.depth (2 -> 1); input in (10 rows, # -> 10 rows, #)",
		"update deployments/api: input in (10 rows, # -> 10 rows, #)",
		"delete deployments/new: no longer declared",
	}

	t.Run("brings everything back and runs nothing", func(t *testing.T) {
		w, past := applied(t)
		w.data("a.csv", "3") // current data does not matter
		p, err := w.rollback(past)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, lines(p)); d != "" {
			t.Error(d)
		}
		if p.BackTo != 1 {
			t.Errorf("it says it goes back to %d", p.BackTo)
		}
		for _, i := range p.Items {
			if i.Action != planner.Delete && i.Key != past.Deployed[i.Unit].Key {
				t.Errorf("%s: key %s, was current under %s", i.Unit, i.Key, past.Deployed[i.Unit].Key)
			}
		}
	})
	t.Run("a service that reads from a record is as it was declared", func(t *testing.T) {
		w := world1(t)
		registered := func(depth string) *ir.System {
			return sys(
				job("models/m/train", params(`{"depth":`+depth+`}`)),
				record("models/m/register", reads("model", "models/m/train.table"), puts("version")),
				service("deployments/api", reads("model", "models/m/register.version")),
			)
		}
		w.apply(w.plan(registered("1")))
		past := w.past(registered("1"))
		w.apply(w.plan(registered("2")))
		p, err := w.rollback(past)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range p.Items {
			if i.Pinned != nil {
				t.Errorf("%s is pinned, as if its version had been rejected", i.Unit)
			}
		}
	})
	t.Run("to the deployed revision there is nothing to do", func(t *testing.T) {
		w, _ := applied(t)
		p, err := w.rollback(w.past(second))
		if err != nil || p.Changes() {
			t.Errorf("%q, %v", lines(p), err)
		}
	})
	t.Run("a dead service is started again", func(t *testing.T) {
		w, _ := applied(t)
		clear(w.statuses)
		p, err := w.rollback(w.past(second))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"replace deployments/new: it is gone: no process runs", "replace deployments/api: it is gone: no process runs"}, lines(p)); d != "" {
			t.Error(d)
		}
	})
	t.Run("a result that has become too old is good", func(t *testing.T) {
		w := world1(t)
		s := sys(job("sources/a", func(u *ir.Unit) { u.MaxAge = 1 }))
		w.apply(w.plan(s))
		if p, err := w.rollback(w.past(s)); err != nil || p.Changes() {
			t.Errorf("%q, %v", lines(p), err)
		}
	})
	t.Run("all that is lost is named", func(t *testing.T) {
		w, past := applied(t)
		for _, unit := range []string{"sources/a", "models/m/train"} {
			r, err := w.store.RunFor(t.Context(), unit, past.Deployed[unit].Key)
			if err != nil {
				t.Fatal(err)
			}
			w.lost[r.Outputs["table"].Digest] = true
		}
		delete(past.Deployed, "deployments/old")
		_, err := w.rollback(past)
		for _, want := range []string{
			"roll back to revision 1: ", "sources/a: its artifact table is lost", "models/m/train: its artifact table is lost",
			"deployments/old: its deployment was not recorded",
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %s", err, want)
			}
		}
	})
	t.Run("a service does not become a job in silence", func(t *testing.T) {
		w := world1(t)
		batch := sys(job("deployments/api"))
		w.apply(w.plan(batch))
		past := w.past(batch)
		w.apply(w.plan(sys(service("deployments/api"))))
		if _, err := w.rollback(past); err == nil || !strings.Contains(err.Error(), "deployments/api: it was a job but is deployed as a service: run tenon destroy first") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("names are those of that time", func(t *testing.T) {
		w, _ := applied(t)
		past := w.past(second)
		past.Moves = []ir.Move{{From: "models/old/train", To: "models/m/train"}}
		past.System = sys(job("models/old/train", params(`{"depth":2}`), reads("in", "sources/a.table")), job("sources/a", files("a.csv")))
		past.Deployed["models/old/train"] = past.Deployed["models/m/train"]
		p, err := w.rollback(past)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]ir.Move{{From: "models/m/train", To: "models/old/train"}}, p.Moves); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"delete deployments/new: no longer declared", "delete deployments/api: no longer declared"}, lines(p)); d != "" {
			t.Error(d)
		}
	})
}

func TestMoves(t *testing.T) {
	train := func(name string) ir.Unit {
		return job(name+"/train", reads("in", "sources/a.table"), params(`{"depth":1}`))
	}
	api := func(model string) ir.Unit { return service("deployments/api", reads("in", model+"/train.table")) }
	api2 := func(unit string) ir.Unit { return service("deployments/api", reads("in", unit+".table")) }
	before := sys(job("sources/a"), train("models/a"), api("models/a"))
	for name, tt := range map[string]struct {
		moved []ir.Move
		after *ir.System
		moves []ir.Move
		want  []string
	}{
		"an entity goes on under another name": {
			[]ir.Move{{From: "models/a", To: "models/b"}}, sys(job("sources/a"), train("models/b"), api("models/b")),
			[]ir.Move{{From: "models/a/train", To: "models/b/train"}}, nil,
		},
		"twice renamed": {
			[]ir.Move{{From: "models/a", To: "models/b"}, {From: "models/b", To: "models/c"}}, sys(job("sources/a"), train("models/c"), api("models/c")),
			[]ir.Move{{From: "models/a/train", To: "models/c/train"}}, nil,
		},
		"renamed and changed": {
			[]ir.Move{{From: "deployments/api", To: "deployments/web"}},
			sys(job("sources/a"), train("models/a"), service("deployments/web", reads("in", "models/a/train.table"), params(`{"x":1}`))),
			[]ir.Move{{From: "deployments/api", To: "deployments/web"}}, []string{"update deployments/web: params.x ( -> 1)"},
		},
		"renamed, and one unit less": {
			[]ir.Move{{From: "models/a", To: "models/b"}}, sys(job("sources/a"), job("models/b/other", params(`{"o":1}`)), api2("models/b/other")),
			[]ir.Move{{From: "models/a/train", To: "models/b/train"}},
			[]string{"run models/b/other: new", "update deployments/api unless same: input in changes ( -> models/b/other)", "delete models/b/train: no longer declared"},
		},
		"what is declared still does not move": {
			[]ir.Move{{From: "models/a", To: "models/b"}}, sys(job("sources/a"), train("models/a"), train("models/b"), api("models/a")),
			nil, []string{"reuse models/b/train: new"},
		},
		"what was never deployed does not move": {
			[]ir.Move{{From: "models/x", To: "models/a"}}, before, nil, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := world1(t)
			w.apply(w.plan(before))
			tt.after.Moved = tt.moved
			p := w.plan(tt.after)
			if d := cmp.Diff(tt.moves, p.Moves); d != "" {
				t.Errorf("moves: %s", d)
			}
			if d := cmp.Diff(tt.want, lines(p)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAudit(t *testing.T) {
	w := world1(t)
	s := sys(job("a"), job("b"), job("c"), service("api"))
	w.apply(w.plan(s))
	if err := w.lease.MarkUnstable(t.Context(), state.Unstable{Unit: "c", Definition: s.Unit("c").Digest}); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		share float64
		draws []float64
		want  []string
	}{
		"all but what is known not to be deterministic": {1, []float64{0.5, 0.9}, []string{"a", "b"}},
		"a share":      {0.5, []float64{0.6, 0.1}, []string{"b"}},
		"at least one": {0.1, []float64{0.6, 0.6, 0.9}, []string{"b"}},
		"none":         {0, []float64{0, 0}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := w.plan(s)
			p.Audit(tt.share, func() float64 { d := tt.draws[0]; tt.draws = tt.draws[1:]; return d })
			var got []string
			for _, i := range p.Items {
				if i.Audit {
					got = append(got, i.Unit)
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
