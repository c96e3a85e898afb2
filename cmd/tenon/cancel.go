package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
)

func cancelCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "cancel [DIR]", Short: "Stop an apply that runs in the cluster", Args: atMost(1, "one folder"),
		Long: `Stops an apply that tenon apply --detach started. No more units start, and running
units are stopped cleanly. Results are kept, and the next apply continues from
there.`,
		Example: "  tenon cancel\n  tenon cancel churn",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return a.withApplied(ctx, folder(args), func(w *project.Workspace) error {
				done, err := w.Cancel(ctx)
				switch {
				case err != nil:
					return err
				case done == nil:
					_, err = fmt.Fprintln(a.stdout, "No apply is running.")
				case !done.Killed:
					_, err = fmt.Fprintf(a.stdout, "Revision %d is %s. Run tenon apply to continue.\n", done.Revision.Number, done.Revision.Outcome)
				case len(done.Left) == 0:
					_, err = fmt.Fprintf(a.stdout, "Revision %d is killed. Run tenon apply to continue.\n", done.Revision.Number)
				default:
					err = fmt.Errorf("revision %d is killed, but it had no pod left to stop %s: run tenon apply to continue, or tenon destroy to stop everything", done.Revision.Number, strings.Join(done.Left, ", "))
				}
				return err
			})
		},
	}
	a.stateFlag(c)
	return c
}
