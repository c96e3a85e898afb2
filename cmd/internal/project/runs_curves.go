package project

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/outputs"
	"github.com/tenon-ml/tenon/internal/curve"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// RunCurves is a run with the metrics that it has logged over time.
type RunCurves struct {
	TrackedRun
	curve.Curves
}

// Running reports whether the run may still log something.
func (r *RunCurves) Running() bool { return r.Outcome == state.Started }

// CurvesOf returns runs with their curves, in the order of the names: the number of a run, or a unit or an entity, which
// stands for its newest run. If an attempt resumed from a checkpoint, its curves begin with those of earlier attempts.
func (w *Workspace) CurvesOf(ctx context.Context, names []string) ([]RunCurves, error) {
	all, err := w.tracked(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]RunCurves, 0, len(names))
	for _, name := range names {
		var found []TrackedRun
		if id, numErr := strconv.ParseInt(name, 10, 64); numErr == nil {
			found, err = runsWithIDs(all, []int64{id})
		} else {
			found, err = w.runsNamed(ctx, all, name)
		}
		if err != nil {
			return nil, err
		}
		r := RunCurves{TrackedRun: found[0]}
		if r.Curves, err = w.joinedCurves(ctx, r.TrackedRun); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// joinedCurves returns the curves of a run and of the attempts that it continues.
func (w *Workspace) joinedCurves(ctx context.Context, t TrackedRun) (curve.Curves, error) {
	runs, err := w.store.Runs(ctx, t.Unit, 0)
	if err != nil {
		return curve.Curves{}, err
	}
	i := slices.IndexFunc(runs, func(r state.Run) bool { return r.ID == t.ID })
	if i < 0 {
		return curve.Curves{}, &RequestError{fmt.Errorf("the run %d was removed meanwhile", t.ID)}
	}
	out, err := w.curvesOf(ctx, &runs[i])
	if err != nil {
		return curve.Curves{}, err
	}
	if len(out.Curves) == 0 {
		return *out, nil
	}
	for _, earlier := range runs[i+1:] { // newest first
		if earlier.Key != runs[i].Key || earlier.Outcome == state.Done {
			continue
		}
		before, err := w.curvesOf(ctx, &earlier)
		if err != nil {
			return *out, err
		}
		out.Continue(before)
	}
	return *out, nil
}

// curvesOf reads what one run has logged. It is empty if it has logged nothing, or if that no longer exists.
func (w *Workspace) curvesOf(ctx context.Context, r *state.Run) (*curve.Curves, error) {
	if r.Log == "" {
		return &curve.Curves{}, nil
	}
	folder := path.Dir(r.Log)
	dir := filepath.Join(w.dir, filepath.FromSlash(folder))
	b, err := os.ReadFile(filepath.Join(dir, executors.CurvesFile))
	if errors.Is(err, fs.ErrNotExist) {
		f, openErr := outputs.Open(filepath.Join(dir, executors.ProgressFile))
		if openErr == nil {
			defer f.Close()
			return curve.Read(f)
		}
		b, err = w.artifacts.Curves(ctx, path.Base(folder))
		if errors.Is(err, artifact.ErrMissing) {
			return &curve.Curves{}, nil
		}
	}
	var out *curve.Curves
	if err == nil {
		out, err = curve.Parse(b)
	}
	if err != nil {
		return nil, fmt.Errorf("read the curves of run %d of %s: %w", r.ID, r.Unit, err)
	}
	return out, nil
}

// OnlyCurves leaves the named metrics, or all if there are no names. A name that no run has is an error, unless one still
// runs.
func OnlyCurves(runs []RunCurves, names []string) error {
	if len(names) == 0 {
		return nil
	}
	running := slices.ContainsFunc(runs, func(r RunCurves) bool { return r.Running() })
	if missing := NotLogged(runs, names); len(missing) > 0 && !running {
		return &RequestError{errors.New(missing[0])}
	}
	for _, r := range runs {
		maps.DeleteFunc(r.Curves.Curves, func(name string, _ *curve.Curve) bool { return !slices.Contains(names, name) })
	}
	return nil
}

// NotLogged returns a text for each of the names that no run has logged over time. It returns none before the first value.
func NotLogged(runs []RunCurves, names []string) (texts []string) {
	known := map[string]bool{}
	for _, r := range runs {
		for name := range r.Curves.Curves {
			known[name] = true
		}
	}
	for _, name := range names {
		if len(known) > 0 && !known[name] {
			texts = append(texts, fmt.Sprintf("no run has logged %s over time%s", name, hinted(name, slices.Sorted(maps.Keys(known)))))
		}
	}
	return texts
}
