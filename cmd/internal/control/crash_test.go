package control

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// A revision is what an engine began for an act of a loop.
type revision struct {
	number int64 // of the act
	ended  bool
}

// A mortal engine counts writes and dies before or after one of them.
type mortal struct {
	fakeEngine
	writes, dies int
	revisions    *[]revision
}

// killed is what a controller that dies panics with.
type killed struct{}

// write makes a change, unless the controller dies first.
func (m *mortal) write(change func()) {
	if m.writes++; m.writes == m.dies {
		panic(killed{})
	}
	change()
	if m.writes++; m.writes == m.dies {
		panic(killed{})
	}
}

var retrain = ir.Loop{Model: "models/late", When: []ir.LoopTrigger{{Schedule: "0 3 * * *", Zone: "UTC"}}, CatchUp: ir.CatchUpOnce}

func (m *mortal) Decide(_ context.Context, _ string, now time.Time) (planner.LoopDecision, error) {
	s := planner.LoopState{Acts: m.r.acts, Since: day(1)}
	for i, r := range *m.revisions {
		if r.ended && len(m.r.acts) > 0 && r.number == m.r.acts[0].Number {
			s.Ended = &planner.LoopRevision{Number: i + 1, Outcome: state.Done}
		}
	}
	return planner.DecideLoop(retrain, s, now), nil
}

func (m *mortal) Record(ctx context.Context, loop string, d planner.LoopDecision, now time.Time) (n int64, err error) {
	m.write(func() { n, err = m.fakeEngine.Record(ctx, loop, d, now) })
	return n, err
}

func (m *mortal) CarryOut(_ context.Context, _ string, number int64, _ planner.LoopDecision) (Acted, error) {
	all := m.revisions
	if n := len(*all); n == 0 || (*all)[n-1].ended {
		m.write(func() { *all = append(*all, revision{number: number}) })
	}
	m.write(func() { (*all)[len(*all)-1].ended = true })
	return Acted{Revision: len(*all)}, nil
}

func (m *mortal) Mend(ctx context.Context, units []string, reason string) (a Acted, err error) {
	m.write(func() { a, err = m.fakeEngine.Mend(ctx, units, reason) })
	return a, err
}

func day(n int) time.Time { return time.Date(2026, 3, n, 12, 0, 0, 0, time.UTC) }

// A controller that is killed at any moment does nothing twice, and its successor forgets nothing.
func TestControllerKilledAtEveryMoment(t *testing.T) {
	for dies := 1; ; dies++ {
		r, clock := &record{faults: died()}, &fakeClock{wall: day(2), end: func() {}}
		r.sight.Loops = []Loop{{Unit: "loops/late"}}
		var revisions []revision
		m := &mortal{fakeEngine{r, clock}, 0, dies, &revisions}
		rounds := func() (died bool) {
			defer func() {
				if v := recover(); v != nil {
					if _, ok := v.(killed); !ok {
						panic(v)
					}
					died = true
					r.controller.Gone = true // which others notice
				}
			}()
			c := &controller{
				o: Options{Every: time.Second, Clock: clock, Events: func(Event) {}}, engine: m,
				self: state.Controller{ID: fmt.Sprint(m.writes)}, fails: map[string]*failure{}, said: map[string]string{}, faults: map[string]fault{}, holds: map[string]string{},
			}
			for range 3 {
				c.round(t.Context())
				clock.elapsed += time.Second
			}
			return false
		}
		died := rounds()
		if died && rounds() {
			t.Fatal("it died twice")
		}
		if len(r.mended) != 1 || len(r.faults) != 0 {
			t.Errorf("killed at %d: the service was mended %d times", dies, len(r.mended))
		}
		if len(revisions) != 1 || !revisions[0].ended || len(r.acts) != 2 || r.acts[0].Act != state.LoopRetrained || r.acts[0].Of != revisions[0].number || r.acts[0].Revision != 1 {
			t.Errorf("killed at %d: revisions %+v, acts %+v", dies, revisions, r.acts)
		}
		if !died {
			if dies < 10 {
				t.Errorf("only %d moments", dies)
			}
			return
		}
	}
}

// A schedule that fired does not fire again when the clock is set back, and one that was missed
// while the machine slept is caught up once.
func TestLoopWhenTheClockJumps(t *testing.T) {
	r, clock := &record{}, &fakeClock{wall: day(2)}
	r.sight.Loops = []Loop{{Unit: "loops/late"}}
	var revisions []revision
	m := &mortal{fakeEngine{r, clock}, 0, -1, &revisions}
	c := &controller{
		o: Options{Every: time.Second, Clock: clock, Events: func(Event) {}}, engine: m,
		fails: map[string]*failure{}, said: map[string]string{}, faults: map[string]fault{}, holds: map[string]string{},
	}
	for i, step := range []struct {
		at   time.Time
		want int // trainings until then
	}{
		{day(2), 1}, {day(2).Add(-10 * time.Hour), 1}, {day(1), 1}, {day(2).Add(time.Hour), 1}, {day(9), 2}, {day(9).Add(time.Hour), 2},
	} {
		clock.wall = step.at
		c.round(t.Context())
		if len(revisions) != step.want {
			t.Errorf("step %d: %d trainings, want %d", i, len(revisions), step.want)
		}
	}
}

func TestMonitorsAreMeasuredWhenDue(t *testing.T) {
	r, clock := &record{}, &fakeClock{wall: day(2)}
	r.sight.Monitors = []Monitor{{Unit: "monitors/inputs", Every: time.Minute}}
	r.sight.Held = &state.HeldError{} // which does not matter
	equal(t, watch(t, r, clock, 2*time.Minute, Options{}),
		"0s started watching",
		"0s waits another process holds the lock",
		"0s measured monitors/inputs ok",
		"1m0s measured monitors/inputs ok",
		"2m0s stopped the test is over")
	r.sight.Monitors[0].Last = clock.wall.Add(24 * time.Hour) // the clock was set back
	watch(t, r, clock, time.Second, Options{})
	if r.sight.Monitors[0].Last.After(clock.wall) {
		t.Error("it waits for the time at which it was measured last")
	}
}

// A loop holds back the next step of a release that it judges, but not its end.
func TestLoopsJudgeReleases(t *testing.T) {
	for _, c := range []struct {
		name       string
		step, next bool
		want       int
	}{{"not yet", false, true, 0}, {"it goes on", true, true, 1}, {"it is rejected", false, false, 1}} {
		r := &record{}
		r.sight.Loops = []Loop{{Unit: "loops/late", Judges: []string{api}}}
		r.sight.Releases = []Release{{Unit: api, Due: true, Next: c.next}}
		r.decide = func(time.Time) planner.LoopDecision {
			return planner.LoopDecision{Reason: "monitors/truth has no verdict yet", Step: c.step}
		}
		watch(t, r, &fakeClock{}, time.Second, Options{})
		steps := 0
		for _, call := range r.calls {
			if call == "step "+api {
				steps++
			}
		}
		if steps != c.want {
			t.Errorf("%s: %d steps", c.name, steps)
		}
	}
}

// What cannot be done fails the act. What may be done later does not.
func TestActThatCannotBeDone(t *testing.T) {
	r := &record{}
	r.sight.Loops = []Loop{{Unit: "loops/late"}}
	r.decide = func(now time.Time) planner.LoopDecision {
		return planner.DecideLoop(retrain, planner.LoopState{Acts: r.acts, Since: day(1)}, now)
	}
	r.carry = func(int64, planner.LoopDecision) (Acted, error) {
		return Acted{Refused: true, Message: "it needs 1 approval"}, nil
	}
	clock := &fakeClock{wall: day(2)}
	watch(t, r, clock, time.Minute, Options{})
	if len(r.acts) < 2 || r.acts[len(r.acts)-2].Act != state.LoopFailed || r.acts[len(r.acts)-2].Reason != "it needs 1 approval" {
		t.Errorf("acts %+v", r.acts)
	}
	r.acts = nil
	r.carry = func(int64, planner.LoopDecision) (Acted, error) {
		return Acted{}, &state.HeldError{Holder: state.Holder{Command: "tenon apply"}}
	}
	watch(t, r, clock, time.Minute, Options{})
	if len(r.acts) != 1 || r.acts[0].Act != state.LoopRetrain {
		t.Errorf("acts %+v", r.acts)
	}
}
