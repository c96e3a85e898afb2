package project

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/control"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// Measure implements [control.Engine]. Before, it reads the table of the monitor again.
func (c *controlled) Measure(ctx context.Context, monitor string, now time.Time) (string, error) {
	stale := c.refresh(ctx, monitor)
	m, err := c.Workspace.Measure(ctx, monitor, now)
	if err != nil {
		return "", errors.Join(err, stale)
	}
	verdict := m.Verdict
	if m.Reason != "" {
		verdict += ": " + m.Reason
	}
	if stale != nil {
		verdict += fmt.Sprintf(" (its table could not be read again: %v)", stale)
	}
	return verdict, nil
}

// refresh makes the labels of a monitor, or the table whose age it measures, again if their data has changed: it
// becomes known while nobody applies anything. They stay as they are while another command has the lock.
func (c *controlled) refresh(ctx context.Context, monitor string) error {
	u, err := c.store.Unit(ctx, monitor)
	if err == nil && u.Monitor != nil && u.Monitor.Experiment != nil { // the outcomes are those of its metric
		u, err = c.store.Unit(ctx, u.Monitor.Experiment.Of)
	}
	if err != nil {
		return err
	}
	reason := "labels of " + monitor
	i := slices.IndexFunc(u.Inputs, func(in ir.Input) bool { return in.Port == ir.MonitorLabels })
	if u.Monitor.Freshness != nil {
		i, reason = 0, "data of "+monitor
	}
	if i < 0 {
		return nil
	}
	done, err := c.readAgain(ctx, u.Inputs[i].Unit, reason)
	if held := (*state.HeldError)(nil); errors.As(err, &held) {
		return nil
	}
	if err == nil && done.Revision == 0 && done.Message != "" {
		err = errors.New(done.Message)
	}
	return err
}

// Read implements [control.Engine].
func (c *controlled) Read(ctx context.Context, loop, unit string) (control.Acted, error) {
	acts, err := c.store.LoopActs(ctx, loop, time.Time{}, 0)
	if err != nil || planner.PausedBy(acts) != nil {
		return control.Acted{}, err
	}
	return c.readAgain(ctx, unit, "data of "+loop)
}

// readAgain makes a unit with a table again if its data has changed, as a revision. What else reads it stays as it
// is. If nothing may be read now, the message says why.
func (c *controlled) readAgain(ctx context.Context, unit, reason string) (done control.Acted, err error) {
	entity, _ := ir.SplitID(unit)
	err = c.locked(ctx, func(s *Session, _ *state.Revision) error {
		_, revisions, err := c.now(ctx)
		if err != nil {
			return err
		}
		// After an apply that failed, what is declared is not what is deployed.
		var seen planner.LoopState
		if err := c.heedPeople(ctx, &seen, revisions); err != nil {
			return err
		}
		if seen.Busy != "" {
			done.Message = seen.Busy
			return nil
		}
		p, err := c.planSome(ctx, planner.Options{Only: []string{entity}, Upstream: true})
		if err != nil || !p.Changes() {
			return err
		}
		pins, err := c.store.Pins(ctx)
		if err != nil {
			return err
		}
		for _, i := range p.Items {
			entity, _ := ir.SplitID(i.Unit)
			if pin := planner.PinOf(ir.Loop{Model: entity}, pins); pin != nil && i.Action.Changes() {
				done.Message = fmt.Sprintf("%s is pinned by %s", pin.Unit, pin.By)
				return nil
			}
		}
		p.Cause = &planner.Cause{Act: string(state.Refresh), Reason: reason}
		result, err := s.mend(ctx, p, c.apply, executors.Refresh)
		done = actedIn(result)
		return err
	})
	return done, err
}

// Decide implements [control.Engine].
func (c *controlled) Decide(ctx context.Context, loop string, now time.Time) (planner.LoopDecision, error) {
	u, err := c.loop(ctx, loop)
	if err != nil {
		return planner.LoopDecision{}, err
	}
	s, err := c.LoopState(ctx, u)
	if err != nil {
		return planner.LoopDecision{}, err
	}
	return planner.DecideLoop(*u.Loop, *s, now), nil
}

// loop returns a loop as it was applied.
func (c *controlled) loop(ctx context.Context, id string) (*ir.Unit, error) {
	u, err := c.store.Unit(ctx, id)
	if err == nil && u.Loop == nil {
		err = fmt.Errorf("%s is not a loop any more", id)
	}
	return u, err
}

// Record implements [control.Engine].
func (c *controlled) Record(ctx context.Context, loop string, d planner.LoopDecision, now time.Time) (int64, error) {
	if d.Act == state.LoopRetrain || d.Act == state.LoopRollback {
		return c.store.ClaimLoopAct(ctx, d.Entry(loop, now), d.Seen, d.Units)
	}
	return c.store.AddLoopAct(ctx, d.Entry(loop, now))
}

// CarryOut implements [control.Engine].
func (c *controlled) CarryOut(ctx context.Context, loop string, number int64, d planner.LoopDecision) (done control.Acted, err error) {
	cause := planner.Cause{Act: string(d.Act), Loop: loop, Number: number, Reason: d.Reason}
	err = c.locked(ctx, func(s *Session, last *state.Revision) (err error) {
		u, err := c.loop(ctx, loop)
		if err != nil {
			return err
		}
		// A person may have pinned something, or rolled back, before this had the lock.
		seen, err := c.loopState(ctx, u)
		if err != nil {
			return err
		}
		if now := planner.DecideLoop(*u.Loop, *seen, time.Now()); now.Act != d.Act || now.Of != number {
			return state.ErrOvertaken
		}
		if d.Act == state.LoopRollback && d.Detail.Abort != "" {
			done, err = s.abortFor(ctx, d.Detail.Abort, cause, c.apply)
			return err
		}
		p, err := c.planFor(ctx, s, last, u.Loop, cause, d.Detail.Back)
		if err != nil {
			return err
		}
		if !p.Changes() {
			done.Message = "there is nothing to do: everything is as it would be afterwards"
			return nil
		}
		if d.Act == state.LoopRetrain && tookBack(seen.Acts) {
			if p, err = c.settled(ctx, s, last, u.Loop, p); err != nil {
				return err
			}
			if !trains(p, u.Loop.Model) {
				done.Message = "there is nothing to train: the data is as it was for the version that was taken back"
				return nil
			}
		}
		if err := errors.Join(p.CheckBudget(), s.CheckProtection(ctx, p), s.CheckSecrets(p), s.CheckPreparations(ctx, p)); err != nil {
			return err
		}
		result, err := s.Apply(ctx, p, c.apply)
		done = actedIn(result)
		return err
	})
	return ended(ctx, done, err)
}

// trains reports whether a plan trains a model, or may.
func trains(p *planner.Plan, model string) bool {
	return slices.ContainsFunc(p.Items, func(i planner.Item) bool {
		entity, _ := ir.SplitID(i.Unit)
		return entity == model && i.Kind == ir.Job && i.Action == planner.Run
	})
}

// settled returns the plan of a training once it is known whether it trains. A source that is read again because of its
// max_age may come out the same. Then the version that was taken back is that of the same key, and the plan would deploy it.
// So what the model reads is made first, in a revision that deploys nothing.
func (c *controlled) settled(ctx context.Context, s *Session, last *state.Revision, l *ir.Loop, p *planner.Plan) (*planner.Plan, error) {
	open := slices.ContainsFunc(p.Items, func(i planner.Item) bool {
		entity, _ := ir.SplitID(i.Unit)
		return entity == l.Model && i.Kind == ir.Job && i.Action == planner.Run && i.Unless
	})
	if continued, err := c.continues(ctx, last, p.Cause); continued || err != nil || !open {
		return p, err
	}
	now := time.Now()
	upstream, err := c.planSome(ctx, planner.Options{Only: []string{l.Model}, Upstream: true})
	if err != nil {
		return nil, err
	}
	var entities []string
	for _, i := range upstream.Items {
		if entity, _ := ir.SplitID(i.Unit); entity != l.Model && !slices.Contains(entities, entity) {
			entities = append(entities, entity)
		}
	}
	if len(entities) == 0 {
		return p, nil
	}
	if upstream, err = c.planSome(ctx, planner.Options{Only: entities, Upstream: true}); err != nil {
		return nil, err
	}
	if upstream.Changes() {
		upstream.Cause = &planner.Cause{Act: string(state.Refresh), Reason: "data of " + p.Cause.Loop}
		if err := errors.Join(upstream.CheckBudget(), s.CheckProtection(ctx, upstream), s.CheckSecrets(upstream), s.CheckPreparations(ctx, upstream)); err != nil {
			return nil, err
		}
		if _, err := s.mend(ctx, upstream, c.apply, executors.Refresh); err != nil {
			return nil, fmt.Errorf("read the data of %s: %w", l.Model, err)
		}
	}
	// As of then, what was just made is not too old.
	cause := p.Cause
	if p, err = c.planSomeAt(ctx, planner.Options{Only: []string{l.Model}}, now); err == nil {
		p.Cause = cause
	}
	return p, err
}

// tookBack reports whether what a loop did last, with a revision, was to take a version back. acts are
// its record, newest first.
func tookBack(acts []state.LoopAct) bool {
	i := slices.IndexFunc(acts, func(a state.LoopAct) bool {
		return a.Act == state.LoopRolledBack || a.Act == state.LoopRetrained && a.Revision > 0
	})
	return i >= 0 && acts[i].Act == state.LoopRolledBack
}

// actedIn returns what came of a revision, if one began.
func actedIn(r *executors.Result) (done control.Acted) {
	if r != nil {
		done.Revision = r.Revision
	}
	return done
}

// ended separates what failed from what has to be tried again: a revision that ended says itself how, and an error
// before it began is final unless it is of the state.
func ended(ctx context.Context, done control.Acted, err error) (control.Acted, error) {
	held, unreachable := (*state.HeldError)(nil), (*state.UnreachableError)(nil)
	switch {
	case err == nil:
		return done, nil
	case ctx.Err() != nil, errors.As(err, &held), errors.As(err, &unreachable), errors.Is(err, state.ErrFenced), errors.Is(err, state.ErrOvertaken), errors.Is(err, executors.ErrMoved):
		return done, err
	case done.Revision == 0:
		return control.Acted{Refused: true, Message: err.Error()}, nil
	}
	return done, nil
}

// planFor returns the plan of a training, or of a rollback to a revision. If a controller was killed while it
// carried out the same, it is the plan of then.
func (c *controlled) planFor(ctx context.Context, s *Session, last *state.Revision, l *ir.Loop, cause planner.Cause, back int) (p *planner.Plan, err error) {
	if continued, err := c.continues(ctx, last, &cause); err != nil {
		return nil, err
	} else if continued {
		return c.begun(ctx, last)
	}
	if cause.Act == string(state.LoopRollback) {
		r, err := c.revision(ctx, back)
		if err != nil {
			return nil, err
		}
		p, err = c.PlanRollback(ctx, r)
		if err != nil {
			return nil, err
		}
	} else if p, err = c.planSome(ctx, planner.Options{Only: []string{l.Model}}); err != nil {
		return nil, err
	}
	p.Cause = &cause
	return p, nil
}

// continues reports whether the last revision carries out the same cause, and was killed.
func (c *controlled) continues(ctx context.Context, last *state.Revision, cause *planner.Cause) (bool, error) {
	of, err := c.causeOf(ctx, *last)
	return err == nil && last.Outcome == state.Started && of != nil && of.Loop == cause.Loop && of.Number == cause.Number, err
}

// planSome returns the plan for some entities on the data as it is now, as they were applied last.
func (c *controlled) planSome(ctx context.Context, o planner.Options) (*planner.Plan, error) {
	return c.planSomeAt(ctx, o, time.Time{})
}

// planSomeAt is planSome with the ages as of a time, or now if that is zero.
func (c *controlled) planSomeAt(ctx context.Context, o planner.Options, at time.Time) (*planner.Plan, error) {
	last, err := c.declared(ctx)
	if err != nil {
		return nil, err
	}
	sys, err := c.system(ctx, last)
	if err != nil {
		return nil, err
	}
	in, err := c.inputs(ctx, sys)
	if err != nil {
		return nil, err
	}
	in.Options, in.Blobs = o, c.code(ctx, sys.Units)
	if !at.IsZero() {
		in.Now = at
	}
	if !sys.RunsImages() {
		in.Python, err = c.pythons(ctx, sys, nil)
	} else { // names may mean other images by now, and not everybody who controls can ask what
		var then *planner.Plan
		if then, err = c.recordedPlan(ctx, last); err == nil {
			in.Images, in.Python = then.Images, then.Python
		}
	}
	if err != nil {
		return nil, err
	}
	p, err := planner.Make(ctx, sys, in)
	if err != nil {
		return nil, err
	}
	p.Protect, err = c.currentRules(ctx)
	return p, err
}

// abortFor ends a release because of a loop.
func (s *Session) abortFor(ctx context.Context, unit string, cause planner.Cause, o ApplyOptions) (control.Acted, error) {
	o.Cause = &cause
	r, err := s.releaseNow(ctx, unit)
	if err != nil {
		return control.Acted{}, err
	}
	if !r.InProgress() {
		return control.Acted{Message: "its release has ended"}, nil
	}
	change, err := s.abort(ctx, r, rejection(r, cause.Reason), o)
	if change == nil {
		return control.Acted{}, err
	}
	return control.Acted{Revision: change.Revision}, err
}
