package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/planner/state"
)

func cancelCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "cancel [DIR]", Short: "End an apply that goes on in the cluster", Args: atMost(1, "one folder"),
		Long: `Ends what tenon apply --detach has begun: nothing more is started, and what runs is
ended in order. What was done is kept, and the next apply goes on from there.`,
		Example: "  tenon cancel\n  tenon cancel churn",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return a.withApplied(ctx, folder(args), func(w *workspace) error {
				last, err := w.store.Revisions(ctx, 1)
				if err != nil {
					return err
				}
				if len(last) == 0 || last[0].Outcome != state.Started {
					fmt.Fprintln(a.stdout, "No apply is under way.")
					return nil
				}
				x, name, err := a.detachedOf(ctx, w, last[0])
				if err != nil {
					return err
				}
				if x == nil {
					return errors.New("the apply does not run in the cluster: interrupt it where it runs")
				}
				fmt.Fprintf(a.stderr, "ending Job %s ...\n", name)
				if err := x.EndDetached(ctx, name); err != nil {
					return err
				}
				r, err := w.store.Revision(ctx, last[0].Number)
				if err != nil {
					return err
				}
				if r.Outcome != state.Started {
					_, err = fmt.Fprintf(a.stdout, "Revision %d is %s. tenon apply goes on from here.\n", r.Number, r.Outcome)
					return err
				}
				// Its pod was not there, or had no time to say so.
				now, err := a.underWayIn(ctx, w, *r)
				if err != nil {
					return err
				}
				if len(now.Units) == 0 {
					_, err = fmt.Fprintf(a.stdout, "Revision %d is killed. tenon apply goes on from here.\n", r.Number)
					return err
				}
				names := make([]string, len(now.Units))
				for i, u := range now.Units {
					names[i] = u.Unit
				}
				return fmt.Errorf("revision %d is killed, and no pod of it was there to end %s: tenon apply goes on from here, tenon destroy ends all", r.Number, strings.Join(names, ", "))
			})
		},
	}
	a.stateFlag(c)
	return c
}
