package project

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/logfile"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// Logs copies the log of a unit's last run. With follow, it continues until the unit ends
// or ctx is done.
func (w *Workspace) Logs(ctx context.Context, unit string, to io.Writer, follow bool) error {
	run, err := w.lastRun(ctx, unitName(unit))
	if err != nil {
		return err
	}
	h, err := w.logElsewhere(ctx, run)
	switch {
	case err != nil:
		return err
	case h != nil:
		return w.copyLogOf(ctx, *h, to, follow)
	}
	return w.copyLog(ctx, run, to, follow)
}

// DetachedLog copies the log of the last apply, if it was detached.
func (w *Workspace) DetachedLog(ctx context.Context, to io.Writer, follow bool) error {
	last, err := w.store.Revisions(ctx, 1)
	if err != nil {
		return err
	}
	if len(last) > 0 {
		d, err := w.detachedIn(ctx, last[0])
		if err != nil {
			return err
		}
		st := state.Status{Phase: state.Absent}
		if d != nil {
			if st, err = d.Status(ctx); err != nil {
				return err
			}
		}
		if st.Phase != state.Absent {
			if err := d.Log(ctx, to, follow); err != nil && ctx.Err() == nil {
				return err
			}
			return nil
		}
	}
	return &RequestError{errors.New("the last apply was not detached: name a unit, such as models/late/train; tenon status lists them")}
}

// lastRun returns the newest run of a unit, running or not, or the one that it reuses. It
// ignores the end of an old service, which has an entry in the journal but is not a run.
func (w *Workspace) lastRun(ctx context.Context, unit string) (*state.Run, error) {
	runs, err := w.store.Runs(ctx, unit, 20)
	if err != nil {
		return nil, err
	}
	for i := range runs {
		if runs[i].Attempt > 0 {
			return &runs[i], nil
		}
	}
	current, err := w.currentRuns(ctx)
	if err != nil {
		return nil, err
	}
	if run, ok := current[unit]; ok { // of another, equal unit
		return &run, nil
	}
	return nil, w.unknownUnit(ctx, unit)
}

func (w *Workspace) unknownUnit(ctx context.Context, unit string) error {
	names, err := w.Deployed(ctx)
	if err != nil {
		return err
	}
	hint := diag.DidYouMean(unit, names)
	if hint != "" {
		hint = ": " + hint
	}
	return fmt.Errorf("no recorded run of a unit %q%s", unit, hint)
}

func (w *Workspace) copyLog(ctx context.Context, run *state.Run, to io.Writer, follow bool) error {
	if run.Log == "" {
		return fmt.Errorf("%s has no log: tenon writes it without running a program", run.Unit)
	}
	f, err := logfile.Open(filepath.Join(w.dir, filepath.FromSlash(run.Log)))
	if errors.Is(err, os.ErrNotExist) {
		return w.sharedLog(ctx, run, to)
	}
	if err != nil {
		return fmt.Errorf("read the log of %s: %w", run.Unit, err)
	}
	defer f.Close()
	if err := followLog(ctx, f, to, func() bool { return follow && w.alive(ctx, run) }); err != nil {
		return fmt.Errorf("print the log of %s: %w", run.Unit, err)
	}
	return nil
}

// followLog copies a log until it does not grow any more, or ctx is done.
func followLog(ctx context.Context, f io.Reader, to io.Writer, grows func() bool) error {
	for {
		if _, err := io.Copy(to, f); err != nil {
			return err
		}
		if !grows() {
			_, err := io.Copy(to, f)
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// sharedLog copies a log from another machine.
func (w *Workspace) sharedLog(ctx context.Context, run *state.Run, to io.Writer) error {
	b, err := w.artifacts.Log(ctx, path.Base(path.Dir(run.Log)))
	if errors.Is(err, artifact.ErrMissing) && w.shared == nil {
		return fmt.Errorf("the log of %s no longer exists", run.Unit)
	}
	if errors.Is(err, artifact.ErrMissing) {
		return fmt.Errorf("the log of %s is neither on this machine nor in %s", run.Unit, w.shared.url)
	}
	if err == nil {
		_, err = to.Write(b)
	}
	if err != nil {
		return fmt.Errorf("print the log of %s: %w", run.Unit, err)
	}
	return nil
}

// logElsewhere returns the handle of a run whose log its executor keeps on other
// machines, or nil. This is the case for a deployed service, or a job that another
// machine follows. The log of every other job is in the folder of its run.
func (w *Workspace) logElsewhere(ctx context.Context, run *state.Run) (*state.Handle, error) {
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	if c := current[run.Unit]; c.Handle != nil && c.Key == run.Key {
		return w.ifRemote(c.Handle), nil
	}
	if run.Outcome != state.Started || exists(filepath.Join(w.dir, filepath.FromSlash(run.Log))) {
		return nil, nil
	}
	pending, err := w.store.Pending(ctx)
	for _, p := range pending {
		if p.Run.ID == run.ID {
			return w.ifRemote(p.Handle), nil
		}
	}
	return nil, err
}

func (w *Workspace) ifRemote(h *state.Handle) *state.Handle {
	if h == nil || !w.remote(*h) {
		return nil
	}
	return h
}

func (w *Workspace) copyLogOf(ctx context.Context, h state.Handle, to io.Writer, follow bool) error {
	x, err := all.New(ir.Target{Executor: h.Executor}, w.setupApart())
	if err != nil {
		return err
	}
	l, ok := x.(executors.Logger)
	if !ok {
		return fmt.Errorf("the executor %q keeps no logs", h.Executor)
	}
	if err := l.Logs(ctx, h, to, follow); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// alive reports whether a run still writes to its log: a running job, or a deployed
// service.
func (w *Workspace) alive(ctx context.Context, run *state.Run) bool {
	r, err := w.store.Run(ctx, run.ID)
	if err != nil || r == nil {
		return false
	}
	if r.Outcome == state.Started {
		return true
	}
	current, err := w.store.Current(ctx)
	c, ok := current[run.Unit]
	if err != nil || !ok || c.Handle == nil || c.Key != run.Key {
		return false
	}
	x, err := all.New(ir.Target{Executor: c.Handle.Executor}, w.setupApart())
	if err != nil {
		return false
	}
	s, err := x.Inspect(ctx, *c.Handle)
	return err == nil && (s.Phase == state.Ready || s.Phase == state.Running)
}
