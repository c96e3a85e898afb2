package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/process"
	"github.com/tenon-ml/tenon/planner/state"
)

// underWay is what an apply does that has not come to its end.
type underWay struct {
	Holder *state.Holder `json:"holder,omitempty"` // who has the lock
	Job    string        `json:"job,omitempty"`    // in the cluster
	Phase  state.Phase   `json:"phase,omitempty"`  // of it
	Why    string        `json:"message,omitempty"`
	Units  []atWork      `json:"units"`
}

// atWork is a unit that runs.
type atWork struct {
	Unit    string    `json:"unit"`
	Attempt int       `json:"attempt"`
	Started time.Time `json:"started"`
	Waits   string    `json:"message,omitempty"` // why it does not go on
}

// String tells who goes on with it, or that nobody does.
func (u *underWay) String() string {
	switch {
	case u.Phase == state.Failed:
		return fmt.Sprintf("Job %s has ended: %s; tenon logs tells more, and tenon apply goes on from here", u.Job, cmp.Or(u.Why, "nothing says why"))
	case u.Phase == unknown && u.Holder == nil:
		return "may go on in the cluster, which cannot be asked: " + u.Why
	case u.Phase == unknown:
		return fmt.Sprintf("goes on in process %d on %s, or in the cluster, which cannot be asked: %s", u.Holder.PID, u.Holder.Host, u.Why)
	case u.Job != "" && u.Why != "":
		return fmt.Sprintf("goes on in the cluster, as Job %s: %s", u.Job, u.Why)
	case u.Job != "":
		return fmt.Sprintf("goes on in the cluster, as Job %s; tenon logs -f follows it", u.Job)
	case u.Holder != nil:
		return fmt.Sprintf("goes on in process %d on %s", u.Holder.PID, u.Holder.Host)
	}
	return "was killed; tenon apply goes on from here"
}

// underWayIn tells what is going on in a revision that has not ended.
func (a *app) underWayIn(ctx context.Context, w *workspace, r state.Revision) (*underWay, error) {
	pending, err := w.store.Pending(ctx)
	if err != nil {
		return nil, err
	}
	of, err := a.route(ir.Target{Executor: process.Name}, setting{dir: w.dir}, nil)
	if err != nil {
		return nil, err
	}
	u := &underWay{Units: []atWork{}}
	for _, p := range pending {
		if p.Run.Attempt == 0 { // the end of a service
			continue
		}
		at := atWork{Unit: p.Run.Unit, Attempt: p.Run.Attempt, Started: p.Run.Started}
		if p.Handle != nil {
			if st, err := of.Inspect(ctx, *p.Handle); err == nil && st.Phase == state.Running {
				at.Waits = st.Message
			}
		}
		u.Units = append(u.Units, at)
	}
	slices.SortFunc(u.Units, func(a, b atWork) int { return inOrder(a.Unit, b.Unit) })
	held, err := w.store.Holder(ctx)
	if err != nil {
		return nil, err
	}
	if held != nil {
		u.Holder = &held.Holder
	}
	st := state.Status{Phase: state.Absent}
	x, name, err := a.detachedOf(ctx, w, r)
	if err == nil && x != nil {
		st, err = x.DetachedStatus(ctx, name)
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && !w.unshared(err):
		st = state.Status{Phase: unknown, Message: err.Error()}
	}
	if st.Phase != state.Absent {
		u.Job, u.Phase, u.Why = name, st.Phase, st.Message
	}
	return u, nil
}
