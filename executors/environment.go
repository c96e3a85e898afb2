package executors

import (
	"context"
	"errors"
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

// leaveOthers takes the GPUs of what other environments have deployed, or run now.
func (w *walk) leaveOthers(ctx context.Context, pools ledger) error {
	envs, err := w.o.Store.Environments(ctx)
	if err != nil {
		return err
	}
	for _, env := range envs {
		if env == w.environment() {
			continue
		}
		s := w.o.Store.In(env)
		current, err := s.Current(ctx)
		if err != nil {
			return err
		}
		runs, err := s.CurrentRuns(ctx)
		if err != nil {
			return err
		}
		for _, unit := range sortedKeys(runs) {
			if current[unit].Kind == ir.Service {
				pools.takeParts(pools.leased(claim{pool: MachinePool}, runs[unit].Devices))
			}
		}
		pending, err := s.Pending(ctx)
		if err != nil {
			return err
		}
		for _, p := range pending {
			pools.takeParts(pools.leased(claim{pool: MachinePool}, p.Run.Devices))
		}
	}
	return nil
}

func environmentNamed(env string) string {
	if env == "" {
		return "the environment without a name"
	}
	return "the environment " + env
}
