package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

func rollbackCommand(a *app) *cobra.Command {
	var o consent
	var dir, out string
	var wait time.Duration
	c := &cobra.Command{
		Use: "rollback [@N]", Short: "Bring the whole system back to an applied revision", Args: atMost(1, "one revision, such as @3"),
		Long: `Brings back what stood at the end of a revision: every result, model, service and
rule file, as one act, from what is recorded. Nothing is trained again, the sources
are not read, and data may have changed or be gone. It is shown as a plan first,
and is a new revision afterwards.

Without a revision it is the one before. The sources of the system are not touched:
the next tenon apply goes forward again unless they are brought back as well.`,
		Example: `  tenon rollback
  tenon rollback @3
  tenon rollback @3 --out back.plan     only the plan, for tenon apply back.plan`,
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeRevisions(c.Context(), dir), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if o.json && !o.yes {
				return errUnasked
			}
			return a.withApplied(ctx, dir, func(w *workspace) (err error) {
				lease, err := a.lock(ctx, w, "tenon rollback", wait)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, lease.Release(context.WithoutCancel(ctx))) }()
				r, err := w.rollbackTo(ctx, args)
				if err != nil {
					return err
				}
				p, err := a.recall(ctx, dir, w, r)
				if err != nil {
					return err
				}
				if !o.json {
					fmt.Fprintf(a.stdout, "Back to @%d of %s\n", r.Number, r.Started.Local().Format(time.DateTime))
				}
				if out != "" {
					if !o.json {
						if err := a.printPlan(p, false); err != nil {
							return err
						}
					}
					return a.writePlan(p, out, o.json)
				}
				return a.carryOut(ctx, p, w, lease, o)
			})
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	o.flags(c)
	c.Flags().StringVarP(&out, "out", "o", "", "write the plan to `FILE` and do nothing more")
	c.Flags().DurationVar(&wait, "lock-timeout", 0, "wait up to `DURATION`, such as 10m, for an apply to end")
	return c
}

// rollbackTo is the revision that is asked for, or else the newest one before the
// one that stands. A revision that is itself a rollback counts as the one it
// brought back, so that to roll back twice goes back twice.
func (w *workspace) rollbackTo(ctx context.Context, args []string) (*state.Revision, error) {
	if len(args) > 0 {
		r, err := w.revisionNamed(ctx, args[0])
		switch {
		case err != nil:
		case r.Standing == "":
			err = w.notWhole(ctx, r)
		case r.Act == state.Destroy:
			err = fmt.Errorf("@%d took everything away: tenon destroy does that again", r.Number)
		}
		return r, err
	}
	all, err := w.store.Revisions(ctx, 0)
	if err != nil {
		return nil, err
	}
	now, err := w.standsNow(ctx)
	if err != nil {
		return nil, err
	}
	for before := position(all); before > 0; {
		r := all[len(all)-before] // newest first, numbered from 1
		if r.Standing != "" && r.Standing != now && r.Act != state.Destroy {
			return &r, nil
		}
		before--
	}
	return nil, errors.New("there is no earlier revision that was applied whole; see tenon history")
}

// position is the number of the revision where a search for an earlier one
// begins.
func position(newestFirst []state.Revision) int {
	if len(newestFirst) == 0 {
		return 0
	}
	at := newestFirst[0]
	for at.Act == state.Rollback {
		at = newestFirst[len(newestFirst)-at.BackTo]
	}
	return at.Number
}

// notWhole tells why a revision cannot be brought back, and which can.
func (w *workspace) notWhole(ctx context.Context, r *state.Revision) error {
	all, err := w.store.Revisions(ctx, 0)
	if err != nil {
		return err
	}
	var whole []string
	for _, other := range all {
		if other.Standing != "" && other.Act != state.Destroy && len(whole) < 5 {
			whole = append(whole, fmt.Sprintf("@%d", other.Number))
		}
	}
	why := fmt.Sprintf("it %s, so the system never stood so", r.Outcome)
	switch r.Outcome {
	case state.Done:
		why = "an older tenon applied it and did not record what stood"
	case state.Started:
		why = "it has not ended"
	}
	if len(whole) == 0 {
		return fmt.Errorf("@%d cannot be brought back: %s", r.Number, why)
	}
	return fmt.Errorf("@%d cannot be brought back: %s; there is %s", r.Number, why, strings.Join(whole, ", "))
}

// recall makes the plan that brings a revision back.
func (a *app) recall(ctx context.Context, dir string, w *workspace, r *state.Revision) (*planner.Plan, error) {
	sys, err := w.system(r)
	if err != nil {
		return nil, err
	}
	past := planner.Past{Revision: r.Number, System: sys}
	if err := w.recorded(r, "record of what stood", r.Standing, &past.Standing); err != nil {
		return nil, err
	}
	all, err := w.store.Revisions(ctx, 0)
	if err != nil {
		return nil, err
	}
	for _, later := range slices.Backward(all) {
		if later.Number > r.Number {
			past.Moves = append(past.Moves, later.Moves...)
		}
	}
	x, err := a.executor(past.System.Target.Executor)
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the system: %w", err)
	}
	p, err := planner.Recall(ctx, past, planner.Inputs{
		Dir: abs, State: w.store, Artifacts: w.artifacts, Digests: a.digests(w), Inspector: x, Written: executors.Written(w.dir),
	})
	if err != nil {
		return nil, fmt.Errorf("%w\nTo make it anew, apply the sources of that time", err)
	}
	var starts []ir.Unit
	for _, i := range p.Items {
		if u := sys.Unit(i.Unit); u != nil && i.Action.Changes() {
			starts = append(starts, *u)
		}
	}
	p.Blobs = w.code(starts)
	for _, u := range starts {
		for _, digest := range codeOf(u) {
			if p.Blobs[digest] == nil {
				return nil, fmt.Errorf("%s cannot be brought back: its code is not kept any more (%s)", u.ID, short(digest))
			}
		}
	}
	return p, nil
}
