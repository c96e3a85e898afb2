package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/process"
	"github.com/tenon-ml/tenon/planner"
)

func destroyCommand(a *app) *cobra.Command {
	var yes, asJSON bool
	var wait time.Duration
	c := &cobra.Command{
		Use: "destroy [DIR]", Short: "End every service and take away what stands", Args: atMost(1, "one folder"),
		Long: `Ends every service, removes rule files, and forgets what stands. Runs, models and
artifacts remain: an apply afterwards reuses them, and tenon gc removes old
ones. To remove all of it, delete the state folder afterwards.`,
		Example: "  tenon destroy\n  tenon destroy --yes",
		RunE: func(c *cobra.Command, args []string) (err error) {
			ctx := c.Context()
			if asJSON && !yes {
				return errUnasked
			}
			w, err := a.openApplied(ctx, folder(args))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.close()) }()
			lease, err := a.lock(ctx, w, "tenon destroy", wait)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, lease.Release(context.WithoutCancel(ctx))) }()
			current, err := w.store.Current(ctx)
			if err != nil {
				return err
			}
			var units []string
			for u := range current {
				units = append(units, u)
			}
			slices.Sort(units)
			if len(units) == 0 && !asJSON {
				fmt.Fprintln(a.stdout, "Nothing stands.")
			}
			if !yes && len(units) > 0 {
				for _, u := range units {
					fmt.Fprintf(a.stdout, "  %s %s\n", a.paint(red, "-"), u)
				}
				if err := a.confirm(fmt.Sprintf("Destroy %s?", plural(int64(len(units)), "unit"))); err != nil {
					return err
				}
				fmt.Fprintln(a.stdout)
			}
			items := make([]planner.Item, len(units))
			for i, u := range units {
				items[i] = planner.Item{Unit: u, Action: planner.Delete}
			}
			view := a.newView(asJSON, &planner.Plan{Items: items})
			view.again = "tenon destroy"
			o, err := a.options(w, lease, ir.Target{Executor: process.Name}, setting{dir: w.dir}, view.event)
			if err != nil {
				return err
			}
			if err := a.endDetached(ctx, w); err != nil {
				return err
			}
			result, err := executors.Destroy(ctx, o)
			if err == nil && result.Revision == 0 {
				if asJSON {
					return a.printJSONLine(event{Type: "nothing"})
				}
				return nil
			}
			return view.end(ctx, result, err)
		},
	}
	a.stateFlag(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&asJSON, "json", false, "print one event a line, as JSON; needs --yes")
	c.Flags().DurationVar(&wait, "lock-timeout", 0, "wait up to `DURATION`, such as 10m, for an apply to end")
	return c
}
