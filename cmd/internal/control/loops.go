package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// mostDecisions bounds how many decisions a loop makes in one round.
const mostDecisions = 10

// measurements lists the monitors, each due when its last measurement is old enough. One that is of the
// future was made before the clock was set back, and says nothing of when the next one is due.
func (c *controller) measurements(s *Sight) (all []task) {
	now := c.o.Clock.Now()
	for _, m := range s.Monitors {
		t := task{key: "measure " + m.Unit, what: "measure " + m.Unit, free: true}
		if due := m.Last.Add(m.Every).Sub(now); !m.Last.IsZero() && !m.Last.After(now) && due > 0 {
			t.wait = due
		}
		t.do = func(ctx context.Context) (time.Duration, error) {
			verdict, err := c.engine.Measure(ctx, m.Unit, c.o.Clock.Now())
			if err == nil {
				c.say(Event{Type: Measured, Unit: m.Unit, Message: verdict})
			}
			return m.Every, err
		}
		all = append(all, t)
	}
	return all
}

// reads reads the tables that loops wait for again, each when the last time is old enough. A controller that
// begins reads all of them.
func (c *controller) reads(s *Sight) (all []task) {
	now := c.o.Clock.Elapsed()
	for _, l := range s.Loops {
		for _, table := range l.Tables {
			t := task{key: "read " + table.Unit, what: "read " + table.Unit}
			read := [2]string{l.Unit, table.Unit} // a loop that is paused reads nothing for others
			if last, ok := c.read[read]; ok {
				t.wait = max(last+table.Every-now, 0)
			}
			t.do = func(ctx context.Context) (time.Duration, error) {
				done, err := c.engine.Read(ctx, l.Unit, table.Unit)
				if err != nil {
					return 0, err
				}
				c.read[read] = c.o.Clock.Elapsed()
				if done.Revision > 0 {
					c.say(Event{Type: Read, Unit: table.Unit, Revision: done.Revision, Message: "for " + l.Unit})
				}
				return table.Every, nil
			}
			all = append(all, t)
		}
	}
	return all
}

// loops lets each loop decide. Until it has, the releases that it judges do not go on.
func (c *controller) loops(s *Sight) (all []task) {
	clear(c.holds)
	for _, l := range s.Loops {
		for _, unit := range l.Judges {
			c.holds[unit] = l.Unit + " has not decided yet"
		}
		all = append(all, task{key: "loop " + l.Unit, what: l.Unit + " decides", do: func(ctx context.Context) (time.Duration, error) { return c.decide(ctx, l) }})
	}
	return all
}

// decide does what a loop decides until that is to wait. What begins is recorded before anything is
// done, and what has ended is found in the revisions, so it does not matter when a controller is killed.
func (c *controller) decide(ctx context.Context, l Loop) (time.Duration, error) {
	for range mostDecisions {
		now := c.o.Clock.Now()
		d, err := c.engine.Decide(ctx, l.Unit, now)
		if err != nil {
			return 0, err
		}
		if d.Act == "" {
			c.judged(l, d)
			c.once("waits "+l.Unit, Event{Type: Waits, Unit: l.Unit, Message: d.Reason})
			if d.Until.IsZero() {
				return 0, nil
			}
			return max(d.Until.Sub(now), time.Millisecond), nil
		}
		begins := d.Act == state.LoopRetrain || d.Act == state.LoopRollback
		number := d.Of
		if !begins || number == 0 {
			if number, err = c.record(ctx, l, d, now); errors.Is(err, state.ErrOvertaken) {
				continue
			} else if err != nil {
				return 0, err
			}
		}
		if !begins {
			if d.Act == state.LoopHold {
				c.judged(l, d)
			}
			continue
		}
		if err := c.carryOut(ctx, l, number, d); err != nil && !errors.Is(err, state.ErrOvertaken) {
			return 0, err
		}
	}
	return 0, fmt.Errorf("%s made %d decisions in a row, and goes on later", l.Unit, mostDecisions)
}

// record records a decision and reports it.
func (c *controller) record(ctx context.Context, l Loop, d planner.LoopDecision, now time.Time) (int64, error) {
	number, err := c.engine.Record(ctx, l.Unit, d, now)
	if err == nil {
		c.say(Event{Type: Decided, Unit: l.Unit, Revision: d.Revision, Message: fmt.Sprintf("%s: %s", d.Act, d.Reason)})
	}
	return number, err
}

// carryOut does what a loop began. If a revision came of it, the next decision records how that ended.
func (c *controller) carryOut(ctx context.Context, l Loop, number int64, d planner.LoopDecision) error {
	done, err := c.engine.CarryOut(ctx, l.Unit, number, d)
	if err != nil || done.Revision > 0 {
		return err
	}
	end := planner.LoopDecision{Act: state.LoopRetrained, Of: number, Cause: d.Cause, Reason: done.Message}
	switch {
	case done.Refused:
		end.Act = state.LoopFailed
	case d.Act == state.LoopRollback:
		end.Act = state.LoopRolledBack
	}
	if _, err = c.record(ctx, l, end, c.o.Clock.Now()); errors.Is(err, state.ErrOvertaken) {
		return nil
	}
	return err
}

// judged notes whether the releases that a loop judges may go on.
func (c *controller) judged(l Loop, d planner.LoopDecision) {
	for _, unit := range l.Judges {
		if d.Step {
			delete(c.holds, unit)
		} else {
			c.holds[unit] = d.Reason
		}
	}
}
