package project

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
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

// challengerRows finds how many rows of the challenger the newest measurement of each judge is about.
func (w *Workspace) challengerRows(ctx context.Context, judges []string, r *planner.LoopRelease) error {
	r.Rows = map[string]int64{}
	for _, id := range judges {
		last, err := w.store.Measurements(ctx, id, time.Time{}, 1)
		if err != nil {
			return err
		}
		if len(last) == 0 || len(last[0].Report) == 0 {
			continue
		}
		if a, err := ReportOf(&last[0]); err != nil {
			return err
		} else if a.Challenger != nil {
			r.Rows[id] = *a.Challenger
		}
	}
	return nil
}

// countRows counts the rows of the tables that a loop waits for, now and when its model was trained last.
func (w *Workspace) countRows(ctx context.Context, l *ir.Loop, current map[string]state.Current, revisions []state.Revision, s *planner.LoopState) error {
	var then state.Deployed // when the newest version of the model was registered
	for _, t := range l.When {
		c, ok := current[t.Data]
		if t.Data == "" || !ok {
			continue
		}
		if then == nil {
			registered := current[l.Model+"/register"].Revision
			i := slices.IndexFunc(revisions, func(r state.Revision) bool { return r.Number == registered && r.Deployed != "" })
			if i < 0 {
				return nil // not known: that revision did not complete, or is not kept any more
			}
			if err := w.recorded(ctx, &revisions[i], "list of what was deployed", revisions[i].Deployed, &then); errors.Is(err, artifact.ErrMissing) {
				return nil
			} else if err != nil {
				return err
			}
		}
		now, err := w.rowsOf(ctx, c.Run, t.Port)
		if err != nil {
			return err
		}
		before, err := w.rowsOf(ctx, then[t.Data].Run, t.Port)
		if err != nil {
			return err
		}
		if now == nil || before == nil {
			continue
		}
		if s.Total == nil {
			s.Rows, s.Total = map[string]int64{}, map[string]int64{}
		}
		s.Total[t.Data], s.Rows[t.Data] = *now, *now-*before
	}
	return nil
}

// rowsOf returns the rows of a table that a run made, or nil if the run is not recorded any more.
func (w *Workspace) rowsOf(ctx context.Context, run int64, port string) (*int64, error) {
	r, err := w.store.Run(ctx, run)
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rows := r.Outputs[port].Rows
	return &rows, nil
}
