package control

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

var errOver = errors.New("the test is over")

// A fakeClock moves only when somebody sleeps, and can be set.
type fakeClock struct {
	wall    time.Time
	elapsed time.Duration
	until   time.Duration      // when the test is over
	end     context.CancelFunc // the context of the controller
	slept   func()             // called after each sleep
}

func (c *fakeClock) Now() time.Time         { return c.wall }
func (c *fakeClock) Elapsed() time.Duration { return c.elapsed }

func (c *fakeClock) Sleep(_ context.Context, d time.Duration) {
	c.elapsed += d
	c.wall = c.wall.Add(d)
	if c.slept != nil {
		c.slept()
	}
	if c.elapsed >= c.until {
		c.end()
	}
}

// A record is what outlives a controller: what the state would hold.
type record struct {
	controller *state.Controller
	revision   int
	mended     []mended // newest first
	faults     []planner.Fault
	sight      Sight
	errs       map[string]error // by method
	calls      []string
	mend       func(units []string) error // nil mends
	acts       []state.LoopAct            // of the one loop, newest first
	decide     func(now time.Time) planner.LoopDecision
	carry      func(number int64, d planner.LoopDecision) (Acted, error)
}

type mended struct {
	unit string
	at   time.Duration
}

// A fakeEngine is an engine over a record.
type fakeEngine struct {
	r     *record
	clock *fakeClock
}

func (e fakeEngine) call(name string) error {
	e.r.calls = append(e.r.calls, name)
	method, _, _ := strings.Cut(name, " ")
	return e.r.errs[method]
}

func (e fakeEngine) Look(context.Context) (*Sight, error) {
	if err := e.r.errs["look"]; err != nil {
		return nil, err
	}
	s := e.r.sight
	s.Revision, s.Faults = e.r.revision, slices.Clone(e.r.faults)
	for _, m := range e.r.mended {
		s.Mended = append(s.Mended, planner.Mended{Unit: m.unit, Ago: e.clock.elapsed - m.at})
	}
	return &s, nil
}

func (e fakeEngine) Continue(context.Context) (Acted, error) {
	err := e.call("continue")
	if err == nil {
		e.r.sight.Killed = ""
	}
	return Acted{Revision: e.r.revision}, err
}

func (e fakeEngine) Mend(_ context.Context, units []string, _ string) (Acted, error) {
	if err := e.call("mend " + strings.Join(units, ",")); err != nil {
		return Acted{}, err
	}
	e.r.revision++
	for _, u := range units {
		e.r.mended = slices.Insert(e.r.mended, 0, mended{u, e.clock.elapsed})
	}
	if e.r.mend != nil {
		if err := e.r.mend(units); err != nil {
			return Acted{Units: units, Revision: e.r.revision}, err
		}
	}
	e.r.faults = slices.DeleteFunc(e.r.faults, func(f planner.Fault) bool { return slices.Contains(units, f.Unit) })
	return Acted{Units: units, Revision: e.r.revision}, nil
}

func (e fakeEngine) Step(_ context.Context, unit string) ([]Acted, error) {
	err := e.call("step " + unit)
	if err == nil {
		e.r.sight.Releases = nil
	}
	return []Acted{{Revision: e.r.revision}}, err
}

func (e fakeEngine) Controller(context.Context) (*state.Controller, error) {
	if e.r.controller == nil {
		return nil, nil
	}
	c := *e.r.controller
	return &c, nil
}

func (e fakeEngine) SetController(_ context.Context, c, over *state.Controller) error {
	if now := e.r.controller; now != nil && now.ID != c.ID && (over == nil || over.ID != now.ID || over.Beat != now.Beat) {
		return state.ErrAnotherController
	}
	c.Beat++
	set := *c
	e.r.controller = &set
	return nil
}

func (e fakeEngine) EndController(_ context.Context, id string) error {
	if e.r.controller != nil && e.r.controller.ID == id {
		e.r.controller = nil
	}
	return nil
}

func (e fakeEngine) Close() error { return nil }

// watch runs a controller for a while, and returns its events as text with the seconds at which they
// happened.
func watch(t *testing.T, r *record, clock *fakeClock, d time.Duration, o Options) []string {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	if clock.wall.IsZero() {
		clock.wall = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	}
	clock.until, clock.end = clock.elapsed+d, func() { cancel(errOver) }
	began := clock.elapsed
	var got []string
	o.Clock, o.Every = clock, cmp.Or(o.Every, 5*time.Second)
	o.Events = func(e Event) {
		text := strings.TrimSpace(strings.Join([]string{string(e.Type), e.Unit, e.Message, e.Error}, " "))
		got = append(got, (clock.elapsed-began).String()+" "+strings.Join(strings.Fields(text), " "))
	}
	if err := Run(ctx, func(context.Context) (Engine, error) { return fakeEngine{r, clock}, r.errs["open"] }, o); err != nil {
		got = append(got, "error "+err.Error())
	}
	return got
}

func (e fakeEngine) Measure(_ context.Context, monitor string, now time.Time) (string, error) {
	err := e.call("measure " + monitor)
	for i := range e.r.sight.Monitors {
		if m := &e.r.sight.Monitors[i]; m.Unit == monitor && err == nil {
			m.Last = now
		}
	}
	return "ok", err
}

func (e fakeEngine) Read(_ context.Context, loop, unit string) (Acted, error) {
	err := e.call("read " + unit + " for " + loop)
	if err == nil {
		e.r.revision++
	}
	return Acted{Revision: e.r.revision}, err
}

func (e fakeEngine) Decide(_ context.Context, _ string, now time.Time) (planner.LoopDecision, error) {
	if e.r.decide == nil {
		return planner.LoopDecision{}, nil
	}
	return e.r.decide(now), nil
}

func (e fakeEngine) Record(_ context.Context, loop string, d planner.LoopDecision, now time.Time) (int64, error) {
	if err := e.call("record " + string(d.Act)); err != nil {
		return 0, err
	}
	a := d.Entry(loop, now)
	a.Number = int64(len(e.r.acts) + 1)
	e.r.acts = slices.Insert(e.r.acts, 0, a)
	return a.Number, nil
}

func (e fakeEngine) CarryOut(_ context.Context, _ string, number int64, d planner.LoopDecision) (Acted, error) {
	if err := e.call("carry out " + string(d.Act)); err != nil {
		return Acted{}, err
	}
	if e.r.carry == nil {
		return Acted{Message: "there is nothing to do"}, nil
	}
	return e.r.carry(number, d)
}
