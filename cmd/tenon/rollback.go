package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler/ir"
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
				p, err := a.rollback(ctx, dir, w, r)
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

// rollbackTo is the revision that is asked for, or else the one before.
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
	if len(all) == 0 {
		return nil, errNoRevision
	}
	now, err := w.standsNow(ctx)
	if err != nil {
		return nil, err
	}
	if r := earlier(all, now); r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("no earlier revision was applied whole%s", thereIs(all))
}

// earlier is the revision to go back to, of all, newest first; now is the digest
// of what stands. An apply that did not come to its end goes back to what stood
// before it, and a rollback that did not, to where it was going.
func earlier(all []state.Revision, now string) *state.Revision {
	if last := all[0]; last.Standing == "" {
		if last.Act == state.Rollback {
			return numbered(all, last.BackTo)
		}
		now = ""
	}
	before := position(all)
	for i := range all {
		r := &all[i]
		if r.Number <= before && r.Standing != "" && r.Standing != now && r.Act != state.Destroy {
			return r
		}
	}
	return nil
}

// numbered is the revision of that number, or nil if it was removed.
func numbered(all []state.Revision, number int) *state.Revision {
	for i := range all {
		if all[i].Number == number {
			return &all[i]
		}
	}
	return nil
}

// position is the number of the revision where a search for an earlier one
// begins. A rollback counts as the revision that it brought back.
func position(all []state.Revision) int {
	at := &all[0]
	for at.Act == state.Rollback {
		back := numbered(all, at.BackTo)
		if back == nil {
			return at.BackTo
		}
		at = back
	}
	return at.Number
}

// notWhole tells why a revision cannot be brought back, and which can.
func (w *workspace) notWhole(ctx context.Context, r *state.Revision) error {
	all, err := w.store.Revisions(ctx, 0)
	if err != nil {
		return err
	}
	why := "it failed, so the system never stood so"
	switch r.Outcome {
	case state.Done:
		why = "an older tenon applied it and did not record what stood"
	case state.Started:
		why = "it has not ended"
	case state.Killed:
		why = "it was killed, so the system never stood so"
	case state.Canceled:
		why = "it was stopped, so the system never stood so"
	}
	return fmt.Errorf("@%d cannot be brought back: %s%s", r.Number, why, thereIs(all))
}

// thereIs names the newest revisions that can be brought back.
func thereIs(all []state.Revision) string {
	var whole []string
	for _, r := range all {
		if r.Standing != "" && r.Act != state.Destroy && len(whole) < 5 {
			whole = append(whole, fmt.Sprintf("@%d", r.Number))
		}
	}
	if len(whole) == 0 {
		return ""
	}
	return "; there is " + strings.Join(whole, ", ")
}

// recall makes the plan that brings a revision back.
func (a *app) rollback(ctx context.Context, dir string, w *workspace, r *state.Revision) (*planner.Plan, error) {
	sys, err := w.system(ctx, r)
	if err != nil {
		return nil, err
	}
	past := planner.Past{Revision: r.Number, System: sys, Check: w.artifacts.Check}
	if err := w.recorded(ctx, r, "record of what stood", r.Standing, &past.Standing); err != nil {
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
	in, err := a.inputs(ctx, dir, w, sys)
	if err != nil {
		return nil, err
	}
	if sys.Target.Base() != "" {
		then, err := w.recordedPlan(ctx, r)
		if err != nil {
			return nil, err
		}
		in.Images = then.Images
	}
	p, err := planner.PlanRollback(ctx, past, in)
	if err != nil {
		return nil, fmt.Errorf("%w\nTo make it anew, apply the sources of that time", err)
	}
	var starts []ir.Unit
	for _, i := range p.Items {
		if u := sys.Unit(i.Unit); u != nil && i.Action.Changes() {
			starts = append(starts, *u)
		}
	}
	p.Blobs = w.code(ctx, starts)
	for _, u := range starts {
		for _, digest := range codeOf(u) {
			if p.Blobs[digest] == nil {
				return nil, fmt.Errorf("%s cannot be brought back: its code is not kept any more (%s)", u.ID, short(digest))
			}
		}
	}
	return p, nil
}
