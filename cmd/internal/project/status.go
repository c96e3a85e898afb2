package project

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// A Status is what is deployed and what is in progress.
type Status struct {
	Failed   []state.Run     `json:"failed"` // in the last revision, the last attempt of each unit
	Revision *state.Revision `json:"revision,omitempty"`
	UnderWay *UnderWay       `json:"under_way,omitempty"`
	Units    []UnitStatus    `json:"units"`
	// Controller is the process of tenon run that watches the environment, or nil.
	Controller *state.Controller `json:"controller,omitempty"`
}

// A UnitStatus is the status of a deployed unit.
type UnitStatus struct {
	Unit     string             `json:"unit"`
	Kind     ir.Kind            `json:"kind"`
	Phase    state.Phase        `json:"phase"`
	Message  string             `json:"message,omitempty"`
	Endpoint string             `json:"endpoint,omitempty"`
	Release  string             `json:"release,omitempty"` // which versions of a service answer: "late v3 (champion) 90 %, late v4 10 %"
	Since    time.Time          `json:"since"`
	Took     time.Duration      `json:"took_ns,omitempty"`
	Metrics  map[string]float64 `json:"metrics,omitempty"`
}

// Unknown is the phase of a unit whose status is not available.
const Unknown state.Phase = "unknown"

// Status inspects everything that is deployed, and an unfinished apply.
func (w *Workspace) Status(ctx context.Context) (*Status, error) {
	order, err := w.order(ctx)
	if err != nil {
		return nil, err
	}
	units, err := w.unitStatuses(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(units, func(a, b UnitStatus) int { return order(a.Unit, b.Unit) })
	s := &Status{Units: units}
	if s.Controller, err = w.store.Controller(ctx); err != nil {
		return nil, err
	}
	last, err := w.store.Revisions(ctx, 1)
	if err != nil || len(last) == 0 {
		return s, err
	}
	s.Revision = &last[0]
	if s.Failed, err = w.failedIn(ctx, last[0], order); err != nil {
		return nil, err
	}
	if last[0].Outcome == state.Started {
		s.UnderWay, err = w.underWay(ctx, last[0])
	}
	return s, err
}

func (w *Workspace) unitStatuses(ctx context.Context) ([]UnitStatus, error) {
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	runs, err := w.currentRuns(ctx)
	if err != nil {
		return nil, err
	}
	x, err := route(anyTarget, w.setupApart(), nil)
	if err != nil {
		return nil, err
	}
	out := []UnitStatus{}
	for id, c := range current {
		s := UnitStatus{Unit: id, Kind: c.Kind, Phase: state.Succeeded, Since: c.Since}
		if run, ok := runs[id]; ok {
			s.Took, s.Metrics = run.Took(), run.Metrics
		}
		if c.Handle != nil {
			st, err := x.Inspect(ctx, *c.Handle)
			switch {
			case ctx.Err() != nil:
				return nil, context.Cause(ctx)
			case err != nil: // the others can still be shown
				st = state.Status{Phase: Unknown, Message: err.Error()}
			}
			s.Phase, s.Message = st.Phase, st.Message
			if u, err := w.store.Unit(ctx, id); err == nil && u != nil && u.Endpoint != nil {
				s.Endpoint = cmp.Or(c.Handle.Endpoint, EndpointURL(u.Endpoint))
				if says := w.differs(u, c.Handle.ID); says != "" && s.Phase == state.Ready {
					s.Message = strings.TrimPrefix(s.Message+"; "+says, "; ")
				}
			}
		}
		if r := c.Route; r != nil && len(r.Versions) == 2 {
			s.Release = fmt.Sprintf("%s (champion) %d %%, %s %d %%", r.Champion().Name, r.Champion().Weight, r.Challenger().Name, r.Challenger().Weight)
		}
		out = append(out, s)
	}
	return out, nil
}

// failedIn returns the failed runs of a revision, the last attempt of each unit.
func (w *Workspace) failedIn(ctx context.Context, r state.Revision, order func(a, b string) int) ([]state.Run, error) {
	runs, err := w.store.RunsOf(ctx, r.Number)
	if err != nil {
		return nil, err
	}
	last := map[string]state.Run{}
	for _, run := range runs {
		if prev, ok := last[run.Unit]; !ok || run.ID > prev.ID {
			last[run.Unit] = run
		}
	}
	failed := []state.Run{}
	for _, run := range last {
		if run.Outcome == state.Failure {
			failed = append(failed, run)
		}
	}
	slices.SortFunc(failed, func(a, b state.Run) int { return order(a.Unit, b.Unit) })
	return failed, nil
}

// EndpointURL returns the address of a service as declared by its unit.
func EndpointURL(e *ir.Endpoint) string { return e.URL() }
