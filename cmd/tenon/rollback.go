package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
)

func rollbackCommand(a *app) *cobra.Command {
	var o consent
	var dir, out string
	var wait time.Duration
	c := &cobra.Command{
		Use: "rollback [@N]", Short: "Restore the system as it was after a revision", Args: atMost(1, "one revision, such as @3"),
		Long: `Restores everything that was deployed at the end of a revision: results, models,
services and rule files. It uses only what is recorded: nothing is trained again,
no source is read, and data may have changed or been deleted. It shows a plan
first, and creates a new revision. The infrastructure that Tenon applies gets the
configuration that it had then.

The default is the previous revision. The sources of the system do not change:
restore them as well, or the next tenon apply deploys them again.`,
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
			return a.withApplied(ctx, dir, func(w *project.Workspace) (err error) {
				s, err := w.Lock(ctx, "tenon rollback", wait)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, s.Release(ctx)) }()
				if err := errors.Join(a.settleReleases(ctx, s), s.RecoverInfrastructure(ctx)); err != nil {
					return err
				}
				to := ""
				if len(args) > 0 {
					to = args[0]
				}
				r, err := w.RollbackTo(ctx, to)
				if err != nil {
					return err
				}
				p, err := w.PlanRollback(ctx, r)
				if err != nil {
					return err
				}
				if !o.json {
					fmt.Fprintf(a.stdout, "Rollback to @%d of %s\n", r.Number, r.Started.Local().Format(time.DateTime))
				}
				if out != "" {
					if !o.json {
						if err := a.printPlan(p, false); err != nil {
							return err
						}
					}
					return a.writePlan(p, out, o.json)
				}
				return a.carryOut(ctx, p, s, o)
			})
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	o.flags(c)
	c.Flags().StringVarP(&out, "out", "o", "", "write the plan to `FILE` and stop")
	c.Flags().DurationVar(&wait, "lock-timeout", 0, "wait up to `DURATION`, such as 10m, for an apply to end")
	return c
}
