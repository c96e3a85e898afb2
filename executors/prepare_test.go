package executors_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A preparer is a fake that prepares what units need, by unit.
type preparer struct {
	*fake
	needs map[string]string

	mu    sync.Mutex
	there map[string]bool
	fails map[string]int           // number of failures before a success
	holds map[string]chan struct{} // done when it is closed
	calls []string
}

func (p *preparer) Prepares(u ir.Unit, _ string) string { return p.needs[u.ID] }

func (p *preparer) Missing(u ir.Unit, _ string, _ []byte) *planner.Preparation {
	return &planner.Preparation{What: p.needs[u.ID]}
}

func (p *preparer) Prepare(ctx context.Context, t executors.Task, tell func(step.Progress)) error {
	name := p.needs[t.Unit.ID]
	p.mu.Lock()
	p.calls = append(p.calls, name)
	there, hold := p.there[name], p.holds[name]
	p.mu.Unlock()
	if there {
		return nil
	}
	tell(step.Progress{Message: "beginning"})
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	time.Sleep(time.Millisecond)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fails[name] > 0 {
		p.fails[name]--
		return errors.New("no way to the index")
	}
	p.there[name] = true
	tell(step.Progress{Done: 3, Total: 3, Message: "3 packages"})
	return nil
}

func newPreparer(b *bench, needs map[string]string) (*preparer, executors.Options) {
	p := &preparer{fake: b.fake, needs: needs, there: map[string]bool{}, fails: map[string]int{}, holds: map[string]chan struct{}{}}
	o := b.options()
	o.Executor = p
	return p, o
}

func TestEnvironmentsArePreparedOnceAndBeforeRuns(t *testing.T) {
	b := newBench(t)
	p, o := newPreparer(b, map[string]string{"features/b": "env", "features/c": "env"})
	p.holds["env"] = make(chan struct{})
	o.Parallel = 1 // a preparation does not count as a running unit
	units := []ir.Unit{table("sources/a", `{}`), table("features/b", `{"n":1}`), table("features/c", `{"n":2}`, "sources/a")}
	open := sync.OnceFunc(func() { close(p.holds["env"]) })
	b.watch = func(e executors.Event) {
		if e.Unit == "sources/a" && e.Type == executors.EventFinished { // while features/b waits
			go func() { time.Sleep(20 * time.Millisecond); open() }()
		}
	}
	if _, err := executors.Apply(t.Context(), b.plan(units), o); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.calls, []string{"env"}) {
		t.Errorf("prepared %v, want it once", p.calls)
	}
	var prepared *executors.Event
	waits := 0
	for i, e := range b.events {
		switch {
		case e.Waits == "env is being prepared":
			waits++
		case e.Type == executors.EventPrepared:
			prepared = &b.events[i]
		case e.Type == executors.EventStarted && e.Unit != "sources/a" && prepared == nil:
			t.Errorf("%s started before what it needs was there", e.Unit)
		}
	}
	if waits != 2 {
		t.Errorf("%d units said that they wait, want 2", waits)
	}
	if prepared == nil || prepared.What != "env" || prepared.Message != "3 packages" || prepared.Duration < 20*time.Millisecond ||
		!slices.Equal(prepared.Units, []string{"features/b", "features/c"}) {
		t.Errorf("the event is %+v", prepared)
	}
	run, err := b.store.Run(t.Context(), b.current("features/b").Run)
	b.ok(err)
	if run.Prepared < 20*time.Millisecond || run.Started.Before(prepared.Time) {
		t.Errorf("the run took %s to prepare, and began at %s, want after %s", run.Prepared, run.Started, prepared.Time)
	}
	times, err := b.store.PrepareTimes(t.Context())
	if err != nil || len(times) != 2 {
		t.Errorf("times to prepare: %v, %v", times, err)
	}

	b.events = nil
	if _, err := executors.Apply(t.Context(), b.plan(units, "features/b"), o); err != nil {
		t.Fatal(err)
	}
	if len(p.calls) != 2 || b.eventsOf("") != "" {
		t.Errorf("for what exists it reports %q after %v", b.eventsOf(""), p.calls)
	}
}

func TestAPreparationThatFailsFailsTheUnitsThatNeedIt(t *testing.T) {
	b := newBench(t)
	p, o := newPreparer(b, map[string]string{"features/b": "env", "features/c": "env", "features/d": "other"})
	p.fails["env"] = 99
	units := []ir.Unit{table("features/b", `{"n":1}`), table("features/c", `{"n":2}`), table("features/d", `{"n":3}`), table("features/e", `{}`, "features/b")}
	res, err := executors.Apply(t.Context(), b.plan(units), o)
	for _, unit := range []string{"features/b", "features/c"} {
		if u := failure(t, err, unit); u == nil || u.Err.Error() != "prepare: no way to the index" {
			t.Errorf("%s failed with %v", unit, u)
		}
		runs, err := b.store.Runs(t.Context(), unit, 0)
		if err != nil || len(runs) != 1 || runs[0].Outcome != state.Failure || !strings.Contains(runs[0].Error, "no way to the index") {
			t.Errorf("recorded of %s: %+v, %v", unit, runs, err)
		}
	}
	if res.Counts.Ran != 1 || len(res.Blocked) != 1 || len(b.fake.started("features/d")) != 1 {
		t.Errorf("of the others: %+v", res)
	}
	if pending, err := b.store.Pending(t.Context()); err != nil || len(pending) > 0 {
		t.Errorf("the journal holds %v, %v", pending, err)
	}
}

func TestAPreparationIsTriedAgainAsOftenAsItsUnit(t *testing.T) {
	b := newBench(t)
	p, o := newPreparer(b, map[string]string{"features/b": "env"})
	p.fails["env"] = 2
	u := table("features/b", `{}`)
	u.Retries = 2
	if _, err := executors.Apply(t.Context(), b.plan([]ir.Unit{u}), o); err != nil {
		t.Fatal(err)
	}
	if got := b.eventsOf("features/b"); got != "retried retried started finished" || len(p.calls) != 3 {
		t.Errorf("events %q after %v", got, p.calls)
	}
}

func TestACancelEndsPreparations(t *testing.T) {
	b := newBench(t)
	p, o := newPreparer(b, map[string]string{"features/b": "env"})
	p.holds["env"] = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	b.watch = func(e executors.Event) {
		if e.Waits != "" {
			cancel()
		}
	}
	res, err := executors.Apply(ctx, b.plan([]ir.Unit{table("features/b", `{}`)}), o)
	if !errors.Is(err, context.Canceled) || !slices.Equal(res.Canceled, []string{"features/b"}) || len(res.Failed) > 0 {
		t.Errorf("it ended with %v: %+v", err, res)
	}
	if runs, err := b.store.Runs(t.Context(), "", 0); err != nil || len(runs) > 0 {
		t.Errorf("recorded: %+v, %v", runs, err)
	}
}

// A preparation that only a unit needs that will not run is given up, so that the apply
// ends.
func TestPreparationWithoutWaitersIsCanceled(t *testing.T) {
	b := newBench(t)
	p, o := newPreparer(b, map[string]string{"features/b": "env"})
	p.holds["env"] = make(chan struct{}) // it would never end
	b.fake.behave["sources/a"] = behaviour{fails: 1}
	res, err := executors.Apply(t.Context(), b.plan([]ir.Unit{table("sources/a", `{}`), table("features/b", `{}`, "sources/a")}), o)
	if failure(t, err, "sources/a") == nil || len(res.Blocked) != 1 || len(res.Failed) != 1 {
		t.Errorf("it ended with %v: %+v", err, res)
	}
	if b.eventsOf("") != "preparing" {
		t.Errorf("it reports %q", b.eventsOf(""))
	}
}

func TestOnlyUnitsThatRunArePrepared(t *testing.T) {
	b := newBench(t)
	p, o := newPreparer(b, map[string]string{"features/b": "env"})
	units := func(n string) []ir.Unit {
		return []ir.Unit{table("sources/a", `{"n":`+n+`,"always":"same"}`), table("features/b", `{}`, "sources/a")}
	}
	for _, n := range []string{"1", "2"} {
		if _, err := executors.Apply(t.Context(), b.plan(units(n)), o); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.calls) != 1 {
		t.Errorf("prepared %v, although the inputs of features/b came out the same", p.calls)
	}
}
