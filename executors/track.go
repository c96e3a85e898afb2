package executors

import (
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A Tracker follows the attempts of jobs. Its methods may be called at the same time, and must not take long. What it does
// changes no result. Results that are reused make no attempt, and an audit is not tracked.
type Tracker interface {
	// Began is called when an attempt begins, and again for one that is adopted from a killed apply.
	Began(u *ir.Unit, r state.Run)
	// Logged is called for each line of values. For an attempt that was adopted, it begins with the first one again.
	Logged(u *ir.Unit, r state.Run, p step.Progress)
	// Ended is called once the end is recorded. Of each input, made has the run that made it.
	Ended(u *ir.Unit, r state.Run, made map[string]state.Run)
}

// track returns the tracker of a call, or nil.
func (c *call) track() Tracker {
	if c.n.unit.Kind != ir.Job || c.n.audit {
		return nil
	}
	return c.o.Tracker
}

// tracked passes on the end of an attempt.
func (c *call) tracked() {
	t := c.track()
	if t == nil {
		return
	}
	made := map[string]state.Run{}
	for _, in := range c.n.unit.Inputs {
		if _, r := c.input(c.n.unit, in.Port); r != nil {
			made[in.Port] = *r
		}
	}
	t.Ended(c.n.unit, c.run, made)
}
