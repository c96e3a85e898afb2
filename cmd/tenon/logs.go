package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/lang/diag"
	"github.com/tenon-ml/tenon/planner/state"
)

func logsCommand(a *app) *cobra.Command {
	var follow bool
	var dir string
	c := &cobra.Command{
		Use: "logs UNIT", Short: "Print the log of a unit's last run", Args: oneUnit, ValidArgsFunction: a.completeUnits(&dir),
		Long:    "Prints what the last run of a unit wrote to its standard output and error.",
		Example: "  tenon logs models/late/train\n  tenon logs deployments/api -f",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return a.withApplied(ctx, dir, func(w *workspace) error {
				run, err := a.lastRun(ctx, w, unitName(args[0]))
				if err != nil {
					return err
				}
				if h := standsInCluster(ctx, w, run); h != nil {
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
	path := filepath.Join(w.dir, filepath.FromSlash(run.Log))
	f, err := os.Open(path)
	if run.Log == "" || errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the log of %s is no longer there", run.Unit)
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

// standsInCluster is the handle of a service whose log the cluster has, or nil. That
// of a job is brought to the folder of its run.
func standsInCluster(ctx context.Context, w *workspace, run *state.Run) *state.Handle {
	current, err := w.store.Current(ctx)
	c, ok := current[run.Unit]
	if err != nil || !ok || c.Handle == nil || c.Key != run.Key || c.Handle.Executor != kubernetes.Name {
		return nil
	}
	return c.Handle
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
