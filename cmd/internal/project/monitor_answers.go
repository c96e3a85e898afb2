package project

import (
	"context"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// compares returns the run of a monitor whose reference is that of what a service answers now. It is another than
// the newest one if a release was rejected: then the champion answers again, which an earlier run was about. The newest one
// may also be about a version that is trained and not deployed yet.
func (w *Workspace) compares(ctx context.Context, s *snapshot, u, service *ir.Unit, newest state.Run) (state.Run, error) {
	d := u.Monitor.Drift
	if d == nil || !d.Answers || d.Previous {
		return newest, nil
	}
	current, err := w.store.Current(ctx)
	if err != nil {
		return newest, err
	}
	i := slices.IndexFunc(service.Inputs, func(in ir.Input) bool { return in.Kind == ir.Model })
	if i < 0 {
		return newest, nil
	}
	served := s.runs[service.ID].Inputs[service.Inputs[i].Port]
	if route := current[service.ID].Route; route.Releasing() { // the challenger is judged
		if served, err = w.modelOf(ctx, service, *route.Challenger()); err != nil {
			return newest, err
		}
	}
	if served == newest.Inputs[ir.MonitorModel] {
		return newest, nil
	}
	earlier, err := w.store.Runs(ctx, u.ID, lookedBack)
	if err != nil {
		return newest, err
	}
	for _, r := range earlier {
		if r.Outcome == state.Done && r.Definition == newest.Definition && r.Inputs[ir.MonitorModel] == served {
			return r, nil
		}
	}
	return newest, nil
}
