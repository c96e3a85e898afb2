package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func adoptCommand(a *app) *cobra.Command {
	var asJSON bool
	var wait time.Duration
	c := &cobra.Command{
		Use: "adopt [DIR]", Short: "Use a state that was copied, moved or restored", Args: atMost(1, "one folder"),
		Long: `Tenon refuses a state folder that is a copy of another one, that was moved while
its services ran, or whose database was restored from a backup: the state would
not know what runs, and would start a second copy of it.

tenon adopt makes such a folder usable where it is. A copy becomes an independent
system, and the services of the original keep running. Otherwise, what the folder
started is stopped. Runs, models and artifacts remain, and the next apply starts
the services.`,
		Example: "  cp -r churn churn-experiment\n  tenon adopt churn-experiment",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			p, err := a.project(folder(args))
			if err != nil {
				return err
			}
			done, err := p.Adopt(ctx, "tenon adopt", wait)
			switch {
			case err != nil:
				return err
			case asJSON:
				return a.printJSON(done)
			case done == nil:
				_, err = fmt.Fprintln(a.stdout, "Nothing to adopt: the state is where it was last used.")
				return err
			case done.Copied:
				_, err = fmt.Fprintf(a.stdout, "%s is now an independent system. What runs belongs to %s.\n", done.Dir, done.From)
				return err
			}
			for _, u := range done.Ended {
				fmt.Fprintf(a.stdout, "  %s %s\n", a.paint(red, "-"), u)
			}
			_, err = fmt.Fprintf(a.stdout, "Adopted %s. Run tenon apply to start its services again.\n", done.Dir)
			return err
		},
	}
	a.placeFlag(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print what was done as JSON")
	c.Flags().DurationVar(&wait, "lock-timeout", 0, "wait up to `DURATION`, such as 10m, for an apply to end")
	return c
}
