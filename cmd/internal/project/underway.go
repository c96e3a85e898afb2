package project

import (
	"context"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/planner/state"
)

// UnderWay describes an apply that has not finished.
type UnderWay struct {
	Holder  *state.Holder `json:"holder,omitempty"`  // of the lock
	Job     string        `json:"job,omitempty"`     // in the cluster
	Phase   state.Phase   `json:"phase,omitempty"`   // of the job
	Message string        `json:"message,omitempty"` // about the phase
	Units   []AtWork      `json:"units"`
}

// AtWork is a running unit.
type AtWork struct {
	Unit    string    `json:"unit"`
	Attempt int       `json:"attempt"`
	Started time.Time `json:"started"`
	Waits   string    `json:"message,omitempty"` // what it waits for
}

// underWay inspects an unfinished revision.
func (w *Workspace) underWay(ctx context.Context, r state.Revision) (*UnderWay, error) {
	pending, err := w.store.Pending(ctx)
	if err != nil {
		return nil, err
	}
	of, err := route(anyTarget, w.setupApart(), nil)
	if err != nil {
		return nil, err
	}
	u := &UnderWay{Units: []AtWork{}}
	for _, p := range pending {
		if p.Run.Attempt == 0 { // the end of a service
			continue
		}
		at := AtWork{Unit: p.Run.Unit, Attempt: p.Run.Attempt, Started: p.Run.Started}
		if p.Handle != nil {
			if st, err := of.Inspect(ctx, *p.Handle); err == nil && st.Phase == state.Running {
				at.Waits = st.Message
			}
		}
		u.Units = append(u.Units, at)
	}
	order, err := w.order(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(u.Units, func(a, b AtWork) int { return order(a.Unit, b.Unit) })
	held, err := w.store.Holder(ctx)
	if err != nil {
		return nil, err
	}
	if held != nil {
		u.Holder = &held.Holder
	}
	st := state.Status{Phase: state.Absent}
	d, err := w.detachedIn(ctx, r)
	if err == nil && d != nil {
		st, err = d.Status(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && !w.unshared(err):
		st = state.Status{Phase: Unknown, Message: err.Error()}
	}
	if st.Phase != state.Absent {
		u.Phase, u.Message = st.Phase, st.Message
		if d != nil {
			u.Job = d.Job().Name
		}
	}
	return u, nil
}
