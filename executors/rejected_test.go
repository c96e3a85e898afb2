package executors_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// with changes one unit of a system.
func with(units []ir.Unit, id string, f func(u *ir.Unit)) []ir.Unit {
	f(&units[slices.IndexFunc(units, func(u ir.Unit) bool { return u.ID == id })])
	return units
}

// otherwise is another version of [released]: its service has other parameters and another port.
func otherwise(n string) []ir.Unit {
	return with(released(n), late, func(u *ir.Unit) {
		u.Params = []byte(`{"other":true}`)
		u.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 9090, Ready: "/readyz", Replicas: 1}
	})
}

// rollback restores a revision.
func (b *bench) rollback(number int) error {
	b.Helper()
	all, err := b.store.Revisions(b.Context(), 0)
	b.ok(err)
	r := all[slices.IndexFunc(all, func(r state.Revision) bool { return r.Number == number })]
	past, then := planner.Past{Revision: r.Number, System: new(ir.System)}, new(planner.Plan)
	for digest, v := range map[string]any{r.IR: past.System, r.Deployed: &past.Deployed, r.Plan: then} {
		text, err := b.arts.Bytes(b.Context(), digest)
		b.ok(err)
		b.ok(json.Unmarshal(text, v))
	}
	past.Rejected = then.Rejected()
	p, err := planner.PlanRollback(b.Context(), past, planner.Inputs{
		Dir: filepath.Dir(b.dir), State: b.store, Artifacts: b.arts, Digests: planner.NewFileDigests(b.dir), Inspector: b.fake,
	})
	if err == nil {
		_, err = executors.Apply(b.Context(), p, b.options())
	}
	return err
}

// A revision whose declared version was rejected has the champion: a rollback restores that one,
// whatever distinguishes the two, and the note that the other one was rejected.
func TestARollbackRestoresTheChampion(t *testing.T) {
	for name, second := range map[string][]ir.Unit{
		"of another model":      released("2"),
		"of another definition": otherwise("1"),
		"of both":               otherwise("2"),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.mustApply(released("1")...)
			champion := b.current(late)
			b.mustApply(second...)
			challenger := b.current(late).Route.Challenger().Name
			b.ok(b.reject())
			res := b.mustApply(append(second, table("sources/b", `{}`))...)
			if c := b.current(late); c.Key != champion.Key {
				t.Fatalf("the champion is %s, current %s", champion.Key, c.Key)
			}
			b.mustApply(system("3")...)
			if c := b.collect(executors.Retention{Revisions: 2}); c.Oldest[""] != res.Revision {
				t.Fatalf("it keeps @%d on", c.Oldest[""])
			} else {
				b.ok(c.Remove(t.Context()))
			}
			b.ok(b.rollback(res.Revision))
			b.alone()
			c, task := b.current(late), b.fake.last[late]
			if c.Key != champion.Key || task.Inputs["model"].Version != 1 || task.Unit.Endpoint.Port != 8080 || task.Route != nil {
				t.Errorf("current %+v, task %+v", c, task)
			}
			if u, err := b.store.Unit(t.Context(), late); err != nil || u.Digest != champion.Definition {
				t.Errorf("recorded is %+v, %v", u, err)
			}
			if c.Route == nil || c.Route.Rejected == nil || c.Route.Rejected.Name != challenger {
				t.Errorf("the route is %+v, without the version that was rejected", c.Route)
			}
			// There is nothing left to do.
			b.ok(b.rollback(res.Revision))
			b.mustApply(append(second, table("sources/b", `{}`))...)
			if now := b.current(late); now.Handle.ID != c.Handle.ID {
				t.Error("it was started again")
			}
		})
	}
}

// Where the service is what it was then, and another version was rejected meanwhile, a rollback only
// restores the note.
func TestARollbackRestoresWhichVersionWasRejected(t *testing.T) {
	b := newBench(t)
	b.mustApply(released("1")...)
	b.mustApply(released("2")...)
	b.ok(b.reject())
	res := b.mustApply(append(released("2"), table("sources/b", `{}`))...)
	before := b.current(late)
	b.mustApply(released("3")...)
	b.ok(b.reject())
	started := b.current(late)
	if before.Route.Rejected.Name == started.Route.Rejected.Name {
		t.Fatalf("both times, %s was rejected", before.Route.Rejected.Name)
	}
	b.ok(b.rollback(res.Revision))
	c := b.current(late)
	if c.Handle.ID != started.Handle.ID || c.Route.Rejected.Name != before.Route.Rejected.Name || c.Route.Serial != started.Route.Serial {
		t.Errorf("current %+v, route %+v; want the note %+v", c, c.Route, before.Route.Rejected)
	}
	b.mustApply(append(released("2"), table("sources/b", `{}`))...)
	if now := b.current(late); now.Handle.ID != c.Handle.ID {
		t.Error("the rejected version was released again")
	}
}

// A rollback to the challenger's revision deploys it, even while its rejection is unfinished.
func TestARollbackDeploysWhatWasJustRejected(t *testing.T) {
	b := newBench(t)
	b.mustApply(released("1")...)
	res := b.mustApply(released("2")...)
	challenger := b.current(late)
	to := planner.Aborted(challenger.Route, time.Now(), "aborted by hand")
	to.Rejected = &state.Rejected{Name: "late v2", Key: challenger.Key, Reason: to.Reason}
	b.ok(b.lease.SetRoute(t.Context(), late, to))
	b.ok(b.rollback(res.Revision))
	b.alone()
	if c := b.current(late); c.Key != challenger.Key || c.Route != nil || c.Handle.ID == challenger.Handle.ID || b.fake.last[late].Route != nil {
		t.Errorf("current %+v, route %+v", c, c.Route)
	}
}

// The apply that made the challenger the champion was killed before it said so to the process. A
// new version is released beside the new champion.
func TestTheNewChampionIsKnownAfterAKill(t *testing.T) {
	b := newBench(t)
	b.mustApply(released("1")...)
	b.mustApply(released("2")...)
	b.fake.failed = fmt.Errorf("no answer")
	if err := b.reroute(planner.Finished(b.current(late).Route, time.Now(), "good")); err == nil {
		t.Fatal("no error")
	}
	b.fake.failed = nil
	b.mustApply(released("3")...)
	b.alone()
	if got := b.weights(); got != "late v2 90, late v3 10" {
		t.Errorf("weights %s", got)
	}
	if v := b.fake.last[late].Beside["late v2"].Inputs["model"].Version; v != 2 {
		t.Errorf("beside it is version %d", v)
	}
}

// While a version is rejected, what reads the endpoint of its service gets that of the champion.
func TestConsumersFollowTheChampion(t *testing.T) {
	reader := func(params string) ir.Unit {
		u := table("features/f", params)
		u.Inputs = []ir.Input{{Port: "api", Unit: late, From: "endpoint", Kind: ir.EndpointOf}}
		return u
	}
	for name, second := range map[string]func(n string) []ir.Unit{
		"known when planned": func(string) []ir.Unit { return otherwise("2") },
		"known later": func(n string) []ir.Unit {
			return with(otherwise("2"), "sources/a", func(u *ir.Unit) { u.Params = []byte(n) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.mustApply(released("1")...)
			b.mustApply(second(`{"a":1,"always":"same"}`)...)
			b.ok(b.reject())
			b.mustApply(append(second(`{"a":2,"always":"same"}`), reader(`{}`))...)
			if path := b.fake.last["features/f"].Inputs["api"].Path; path != "http://127.0.0.1:8080" {
				t.Errorf("it reads from %q, but the champion listens on port 8080", path)
			}
		})
	}
}
