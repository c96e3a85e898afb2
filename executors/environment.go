package executors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// elsewherePoll is how often to ask whether another environment has ended a run.
const elsewherePoll = 200 * time.Millisecond

// environment returns the environment of the apply.
func (w *walk) environment() string { return w.o.Store.Env() }

// madeSince reports whether another environment has made a result since this apply began. It
// is as good as one of this apply.
func (w *walk) madeSince(r *state.Run) bool {
	return r.Env != w.environment() && r.Outcome == state.Done && !r.Finished.Before(w.began)
}

// madeElsewhere reports whether another environment has made the result of a job since this
// apply began. The result is then current.
func (w *walk) madeElsewhere(ctx context.Context, n *work) (bool, error) {
	if n.unit.Kind != ir.Job || w.plan.BackTo > 0 {
		return false, nil
	}
	r, err := w.o.Store.RunFor(ctx, n.unit.ID, n.key)
	if errors.Is(err, state.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !w.madeSince(r) || !w.intact(n.unit, r) {
		return false, nil
	}
	return true, w.makeCurrent(ctx, n, r)
}

// beginAlone enters a run in the journal. If another environment makes the same result at the
// time, it waits until that has ended, and uses what it made.
func (w *walk) beginAlone(ctx context.Context, n *work, r state.Run) (made bool, id int64, err error) {
	if n.unit.Kind != ir.Job || w.plan.BackTo > 0 {
		id, err = w.o.Lease.Begin(context.WithoutCancel(ctx), r)
		return false, id, err
	}
	said := false
	for {
		if made, err := w.madeElsewhere(ctx, n); made || err != nil {
			return made, 0, err
		}
		id, err = w.o.Lease.BeginAlone(context.WithoutCancel(ctx), r)
		var by *state.ElsewhereRunError
		if !errors.As(err, &by) {
			return false, id, err
		}
		if !said {
			said = true
			w.events.send(Event{Unit: n.unit.ID, Type: EventProgress, Attempt: n.tries, Waits: by.Error()})
		}
		select {
		case <-ctx.Done():
			return false, 0, context.Cause(ctx)
		case <-time.After(elsewherePoll):
		}
	}
}

// An other is what a unit of another environment holds of the pools.
type other struct {
	state.Lent
	lease lease
}

// leaveOthers takes the GPUs that other environments hold now.
func (w *walk) leaveOthers(ctx context.Context, pools ledger) error {
	lent, err := w.o.Store.LentElsewhere(ctx)
	if err != nil {
		return err
	}
	for _, o := range w.others {
		pools.giveParts(o.lease)
	}
	w.others = w.others[:0]
	for _, l := range lent {
		o := other{l, pools.leased(claim{pool: MachinePool}, l.Devices)}
		pools.takeParts(o.lease)
		w.others = append(w.others, o)
	}
	return nil
}

// lookAtOthers takes what other environments hold now, after something may have changed.
func (w *walk) lookAtOthers(ctx context.Context) {
	if err := w.leaveOthers(ctx, w.sched.pools); err != nil && ctx.Err() == nil {
		w.stop(err)
	}
}

// awaitOthers handles the case that nothing runs, and units wait for GPUs that applies of other
// environments hold: it waits a little, and looks again. It returns false if no unit can start even
// without these.
func (w *walk) awaitOthers(ctx context.Context) bool {
	soon := w.sched.pools.clone()
	var holders []string
	for _, o := range w.others {
		if o.As == state.LentToRun {
			soon.giveParts(o.lease)
			holders = append(holders, fmt.Sprintf("%s of %s has %s", o.Unit, state.EnvironmentNamed(o.Env), strings.Join(o.Devices, ", ")))
		}
	}
	waits := false
	for _, i := range w.sched.queued {
		c := w.sched.nodes[i].claim
		if _, fits := soon.place(c); len(holders) == 0 || c.parts.Count == 0 || !fits {
			continue
		}
		waits = true
		if n := w.works[i]; !n.waits {
			n.waits = true
			w.events.send(Event{Unit: n.unit.ID, Type: EventProgress, Attempt: n.tries, Waits: strings.Join(holders, "; ")})
		}
	}
	if !waits {
		return false
	}
	select {
	case <-ctx.Done():
	case <-w.o.Lease.Lost():
		w.stop(state.ErrFenced)
	case <-time.After(elsewherePoll):
		w.lookAtOthers(ctx)
	}
	return true
}

// othersHold says which other environments hold GPUs of a pool without an end in sight.
func (w *walk) othersHold(pool string) string {
	text := ""
	for _, o := range w.others {
		if !slices.ContainsFunc(o.lease.grants, func(g grant) bool { return g.pool == pool }) {
			continue
		}
		text += fmt.Sprintf("; %s of %s has %s", o.Unit, state.EnvironmentNamed(o.Env), strings.Join(o.Devices, ", "))
		if o.As == state.LentLeft {
			text += ", left by an apply that was killed: apply that environment again"
		}
	}
	return text
}
