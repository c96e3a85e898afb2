package project

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// A Revision is an apply with the outcome of each unit.
type Revision struct {
	state.Revision
	Units []Outcome `json:"units"`
	// From is what it promoted, or nil.
	From *planner.Origin `json:"from,omitempty"`
	// Cause says why a controller made it, or is nil.
	Cause *planner.Cause `json:"cause,omitempty"`
	// Current reports whether what it applied is still deployed.
	Current bool `json:"-"`
}

// An Outcome is what a revision did with one unit.
type Outcome struct {
	Unit     string             `json:"unit"`
	Kind     ir.Kind            `json:"kind,omitempty"`
	Action   planner.Action     `json:"action"` // as planned
	Did      string             `json:"did"`    // "ran", "reused", "failed", ...
	Attempts int                `json:"attempts,omitempty"`
	Took     time.Duration      `json:"took_ns,omitempty"`
	Usage    state.Usage        `json:"usage,omitzero"` // of the last attempt
	Metrics  map[string]float64 `json:"metrics,omitempty"`
	Reasons  []planner.Reason   `json:"reasons,omitempty"`
	Error    string             `json:"error,omitempty"`
}

// NotRun is the outcome of a unit that depends on a failed one.
const NotRun = "not run"

// History returns the newest revisions; a limit of 0 means all.
func (w *Workspace) History(ctx context.Context, limit int) ([]Revision, error) {
	revisions, err := w.store.Revisions(ctx, 0)
	if err != nil || len(revisions) == 0 {
		return []Revision{}, err
	}
	newest := revisions
	if limit > 0 {
		newest = revisions[:min(limit, len(revisions))]
	}
	now, err := w.deployedDigest(ctx, &revisions[0])
	if err != nil {
		return nil, err
	}
	out := make([]Revision, len(newest))
	for i, r := range newest {
		if out[i], err = w.outcomes(ctx, r, revisions); err != nil {
			return nil, err
		}
		out[i].Current = r.Deployed == now && r.Deployed != ""
	}
	return out, nil
}

// Revisions returns the newest revisions as recorded.
func (w *Workspace) Revisions(ctx context.Context, limit int) ([]state.Revision, error) {
	return w.store.Revisions(ctx, limit)
}

// System returns the system as a revision applied it.
func (w *Workspace) System(ctx context.Context, number int) (*ir.System, error) {
	r, err := w.revision(ctx, number)
	if err != nil {
		return nil, err
	}
	return w.system(ctx, r)
}

// outcomes derives what a revision did from its plan and its runs, given all revisions.
func (w *Workspace) outcomes(ctx context.Context, r state.Revision, all []state.Revision) (Revision, error) {
	out := Revision{Revision: r, Units: []Outcome{}}
	p, err := w.recordedPlan(ctx, &r)
	if errors.Is(err, artifact.ErrMissing) {
		return out, nil // it was removed by hand
	}
	if err != nil {
		return out, err
	}
	out.From, out.Cause = p.From, p.Cause
	runs, err := w.store.RunsOf(ctx, r.Number)
	if err != nil {
		return out, err
	}
	now := namesSince(r, all)
	byUnit := map[string][]state.Run{}
	for _, run := range runs {
		if run.Attempt > 0 { // otherwise it is the end of a replaced service
			byUnit[run.Unit] = append(byUnit[run.Unit], run)
		}
	}
	held := map[string]bool{} // blocked by a failed unit
	for _, i := range p.Items {
		name := i.Unit
		if renamed, ok := now[name]; ok {
			name = renamed
		}
		o := outcomeOf(r, i, byUnit[name])
		if u := p.System.Unit(i.Unit); u != nil && slices.ContainsFunc(u.Inputs, func(in ir.Input) bool { return held[in.Unit] && !in.Incumbent }) && len(byUnit[name]) == 0 {
			o.Did = NotRun
		}
		held[i.Unit] = slices.Contains(unfinished, o.Did)
		out.Units = append(out.Units, o)
	}
	return out, nil
}

// unfinished lists the outcomes of a unit after which its readers did not run.
var unfinished = []string{"failed", "killed", "stopped", NotRun}

func outcomeOf(r state.Revision, i planner.Item, runs []state.Run) Outcome {
	o := Outcome{Unit: i.Unit, Kind: i.Kind, Action: i.Action, Reasons: i.Reasons, Attempts: len(runs)}
	if len(runs) == 0 {
		o.Did = withoutRun(r, i)
		return o
	}
	last := runs[len(runs)-1]
	o.Usage, o.Metrics, o.Error = last.Usage, last.Metrics, last.Error
	if !last.Finished.IsZero() {
		o.Took = last.Took()
	}
	switch last.Outcome {
	case state.Done:
		o.Did = past[i.Action]
	case state.Failure:
		o.Did = "failed"
	case state.Audited:
		o.Did = "audited"
	case state.Canceled:
		o.Did = "stopped"
	default:
		o.Did = "killed"
	}
	return o
}

// past maps an action to its outcome.
var past = map[planner.Action]string{
	planner.Run: "ran", planner.Reuse: "reused", planner.Create: "created", planner.Update: "updated",
	planner.Replace: "replaced", planner.Delete: "deleted", planner.None: "unchanged", planner.Release: "released",
}

// withoutRun returns the outcome of a unit that has no run in the revision.
func withoutRun(r state.Revision, i planner.Item) string {
	switch {
	case i.Action == planner.Release && r.Outcome == state.Done:
		return past[i.Action]
	case !i.Action.Changes(), r.Outcome == state.Done && i.Action == planner.Delete:
		return past[i.Action]
	case r.Outcome == state.Killed || r.Outcome == state.Started:
		return "not finished"
	case r.Outcome == state.Failure && i.Unless && i.Kind == ir.Job:
		return past[planner.Reuse] // its inputs are complete, or it would be blocked
	case r.Outcome != state.Done && (i.Unless || i.Action == planner.Delete):
		return "not known" // it leaves no run, done or not
	case r.Outcome != state.Done:
		return NotRun
	case i.Kind == ir.Job:
		return past[planner.Reuse]
	}
	return past[planner.None]
}
