package project

import (
	"context"
	"errors"
	"fmt"

	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// causeOf returns why a controller made a revision, or nil.
func (w *Workspace) causeOf(ctx context.Context, r state.Revision) (*planner.Cause, error) {
	if known, ok := w.causes.Load(r.Plan); ok {
		return known.(*planner.Cause), nil
	}
	p, err := w.recordedPlan(ctx, &r)
	if err != nil && !errors.Is(err, artifact.ErrMissing) {
		return nil, err
	}
	w.causes.Store(r.Plan, p.Cause)
	return p.Cause, nil
}

// declares reports whether a revision has the system as it was declared.
func declares(r state.Revision) bool { return r.Act == state.Apply || r.Act == state.Rollback }

// heedPeople keeps a loop from undoing what people did: it goes back nowhere if a person has applied
// something since its version was deployed, and waits if that did not complete, because then what is
// declared and what is deployed differ.
func (w *Workspace) heedPeople(ctx context.Context, s *planner.LoopState, revisions []state.Revision) error {
	for _, r := range revisions {
		destroyed := r.Act == state.Destroy
		if !declares(r) && !destroyed {
			continue
		}
		if cause, err := w.causeOf(ctx, r); err != nil {
			return err
		} else if cause != nil {
			continue
		}
		switch {
		case s.Busy != "":
		case destroyed:
			s.Busy = fmt.Sprintf("revision %d destroyed everything", r.Number)
		case r.Outcome != state.Done:
			s.Busy = fmt.Sprintf("revision %d did not complete (%s): run tenon apply or tenon rollback", r.Number, r.Outcome)
		}
		if s.Serving != nil && r.Number > s.Serving.Revision {
			s.Serving.Before = 0
		}
		return nil // the newest one of people decides
	}
	return nil
}
