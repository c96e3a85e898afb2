package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/lang/diag"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

func logsCommand(a *app) *cobra.Command {
	var follow bool
	var dir string
	c := &cobra.Command{
		Use: "logs [UNIT]", Short: "Print the log of a unit's last run, or of a detached apply", Args: atMost(1, "one unit"), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Prints what the last run of a unit wrote to its standard output and error. Without a
unit it prints what the last tenon apply --detach has said.`,
		Example: "  tenon logs models/late/train\n  tenon logs deployments/api -f\n  tenon logs -f",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			quietly := func() bool { return true } // an interrupt ends nothing but this
			a.leave.Store(&quietly)
			if len(args) == 0 && !state.IsURL(a.stateAt()) { // only such a state is of detached applies
				return oneUnit(c, args)
			}
			return a.withApplied(ctx, dir, func(w *workspace) error {
				if len(args) == 0 {
					return a.detachedLog(ctx, w, follow)
				}
				run, err := a.lastRun(ctx, w, unitName(args[0]))
				if err != nil {
					return err
				}
				h, err := w.inCluster(ctx, run)
				switch {
				case err != nil:
					return err
				case h != nil:
					return a.clusterLog(ctx, w, *h, follow)
				}
				return a.copyLog(ctx, w, run, follow)
			})
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on as the log grows, until the unit ends or you interrupt")
	return c
}

// lastRun is the newest run of a unit, running or not, or the one that it reuses. That an old service was
// ended is an entry of the journal, but no run.
func (a *app) lastRun(ctx context.Context, w *workspace, unit string) (*state.Run, error) {
	runs, err := w.store.Runs(ctx, unit, 20)
	if err != nil {
		return nil, err
	}
	for i := range runs {
		if runs[i].Attempt > 0 {
			return &runs[i], nil
		}
	}
	standing, err := standingRuns(ctx, w)
	if err != nil {
		return nil, err
	}
	if run, ok := standing[unit]; ok { // of another unit that is the same
		return &run, nil
	}
	return nil, a.unknownUnit(ctx, w, unit)
}

func (a *app) unknownUnit(ctx context.Context, w *workspace, unit string) error {
	current, err := w.store.Current(ctx)
	if err != nil {
		return err
	}
	var names []string
	for n := range current {
		names = append(names, n)
	}
	hint := diag.DidYouMean(unit, names)
	if hint != "" {
		hint = ": " + hint
	}
	return fmt.Errorf("no run of a unit %q is recorded%s", unit, hint)
}

func (a *app) copyLog(ctx context.Context, w *workspace, run *state.Run, follow bool) error {
	if run.Log == "" {
		return fmt.Errorf("%s has no log: tenon itself writes it", run.Unit)
	}
	path := filepath.Join(w.dir, filepath.FromSlash(run.Log))
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return a.sharedLog(ctx, w, run)
	}
	if err != nil {
		return fmt.Errorf("read the log of %s: %w", run.Unit, err)
	}
	defer f.Close()
	for {
		if _, err := io.Copy(a.stdout, f); err != nil {
			return fmt.Errorf("print the log of %s: %w", run.Unit, err)
		}
		if !follow || !a.alive(ctx, w, run) {
			_, err := io.Copy(a.stdout, f)
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// sharedLog prints a log that another machine has.
func (a *app) sharedLog(ctx context.Context, w *workspace, run *state.Run) error {
	b, err := w.artifacts.Log(ctx, path.Base(path.Dir(run.Log)))
	if errors.Is(err, artifact.ErrMissing) && w.shared == nil {
		return fmt.Errorf("the log of %s is no longer there", run.Unit)
	}
	if errors.Is(err, artifact.ErrMissing) {
		return fmt.Errorf("the log of %s is not on this machine, nor in %s", run.Unit, w.shared.url)
	}
	if err == nil {
		_, err = a.stdout.Write(b)
	}
	if err != nil {
		return fmt.Errorf("print the log of %s: %w", run.Unit, err)
	}
	return nil
}

// detachedLog prints what the detached apply of the last revision has said.
func (a *app) detachedLog(ctx context.Context, w *workspace, follow bool) error {
	last, err := w.store.Revisions(ctx, 1)
	if err != nil {
		return err
	}
	if len(last) > 0 {
		x, name, err := a.detachedOf(ctx, w, last[0])
		if err != nil {
			return err
		}
		st := state.Status{Phase: state.Absent}
		if x != nil {
			if st, err = x.DetachedStatus(ctx, name); err != nil {
				return err
			}
		}
		if st.Phase != state.Absent {
			if err := x.DetachedLog(ctx, name, a.stdout, follow); err != nil && ctx.Err() == nil {
				return err
			}
			return nil
		}
	}
	return &usageError{errors.New("the last apply was not detached: name a unit, such as models/late/train; tenon status lists them")}
}

// inCluster is the handle of what has its log in the cluster, or nil: a service that
// stands, and a job that another machine follows. That of other jobs is in the
// folder of their run.
func (w *workspace) inCluster(ctx context.Context, run *state.Run) (*state.Handle, error) {
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	if c := current[run.Unit]; c.Handle != nil && c.Key == run.Key {
		return ofCluster(c.Handle), nil
	}
	if run.Outcome != state.Started || exists(filepath.Join(w.dir, filepath.FromSlash(run.Log))) {
		return nil, nil
	}
	pending, err := w.store.Pending(ctx)
	for _, p := range pending {
		if p.Run.ID == run.ID {
			return ofCluster(p.Handle), nil
		}
	}
	return nil, err
}

func ofCluster(h *state.Handle) *state.Handle {
	if h == nil || h.Executor != kubernetes.Name {
		return nil
	}
	return h
}

func (a *app) clusterLog(ctx context.Context, w *workspace, h state.Handle, follow bool) error {
	x, err := a.executor(ir.Target{Executor: h.Executor}, setting{dir: w.dir})
	if err != nil {
		return err
	}
	l, ok := x.(executors.Logger)
	if !ok {
		return fmt.Errorf("the executor %q keeps no logs", h.Executor)
	}
	if err := l.Logs(ctx, h, a.stdout, follow); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// alive reports whether a run still writes: a job that is under way, or a
// service that stands.
func (a *app) alive(ctx context.Context, w *workspace, run *state.Run) bool {
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
	x, err := a.executor(ir.Target{Executor: c.Handle.Executor}, setting{dir: w.dir})
	if err != nil {
		return false
	}
	s, err := x.Inspect(ctx, *c.Handle)
	return err == nil && (s.Phase == state.Ready || s.Phase == state.Running)
}
