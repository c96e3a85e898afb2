package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner"
)

func destroyCommand(a *app) *cobra.Command {
	var yes, asJSON bool
	var wait time.Duration
	c := &cobra.Command{
		Use: "destroy [DIR]", Short: "Stop every service and remove what is deployed", Args: atMost(1, "one folder"),
		Long: `Stops every service and removes rule files. Runs, models and artifacts remain: the
next apply reuses them, and tenon gc removes old ones. To remove everything,
delete the state folder afterwards. A controller that tenon run --detach started
ends as well.`,
		Example: "  tenon destroy\n  tenon destroy --yes",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if asJSON && !yes {
				return errUnasked
			}
			return a.withApplied(ctx, folder(args), func(w *project.Workspace) (err error) {
				s, err := w.Lock(ctx, "tenon destroy", wait)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, s.Release(ctx)) }()
				units, err := w.Deployed(ctx)
				if err != nil {
					return err
				}
				slices.Sort(units)
				if len(units) > 0 {
					if err := s.CheckProtection(ctx, nil); err != nil {
						return err
					}
				}
				if err := a.confirmDestroy(w.Env(), units, yes, asJSON); err != nil {
					return err
				}
				items := make([]planner.Item, len(units))
				for i, u := range units {
					items[i] = planner.Item{Unit: u, Action: planner.Delete}
				}
				view := a.newView(asJSON, &planner.Plan{Items: items})
				view.again = a.again("tenon destroy")
				result, err := s.Destroy(ctx, project.ApplyOptions{Events: view.event})
				if err == nil && result.Revision == 0 {
					if asJSON {
						return a.printJSONLine(event{Type: "nothing"})
					}
					return nil
				}
				return view.end(ctx, result, err)
			})
		},
	}
	a.stateFlag(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	c.Flags().BoolVar(&asJSON, "json", false, "print events as JSON, one per line; needs --yes")
	c.Flags().DurationVar(&wait, "lock-timeout", 0, "wait up to `DURATION`, such as 10m, for an apply to end")
	return c
}

// confirmDestroy shows what will be destroyed, and asks for confirmation.
func (a *app) confirmDestroy(env string, units []string, yes, asJSON bool) error {
	if len(units) == 0 && !asJSON {
		fmt.Fprintln(a.stdout, nothingDeployed(env))
	}
	what := "Destroy " + plural(int64(len(units)), "unit")
	if env != "" {
		what += " of the environment " + env
	}
	if yes && env != "" && len(units) > 0 && !asJSON {
		fmt.Fprintln(a.stdout, what)
	}
	if yes || len(units) == 0 {
		return nil
	}
	a.printDeletes(units)
	if err := a.confirm(what + "?"); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	return nil
}

// printDeletes lists units that are to be removed.
func (a *app) printDeletes(units []string) {
	for _, u := range units {
		fmt.Fprintf(a.stdout, "  %s %s\n", a.paint(red, "-"), u)
	}
}
