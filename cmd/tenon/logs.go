package main

import (
	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
)

func logsCommand(a *app) *cobra.Command {
	var follow bool
	var dir string
	c := &cobra.Command{
		Use: "logs [UNIT]", Short: "Print the log of a unit's last run, or of a detached apply", Args: atMost(1, "one unit"), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Prints what the last run of a unit wrote to its standard output and error. Without a
unit, it prints the output of the last tenon apply --detach.`,
		Example: "  tenon logs models/late/train\n  tenon logs deployments/api -f\n  tenon logs -f",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			quietly := func() bool { return true } // an interrupt only ends this command
			a.leave.Store(&quietly)
			p, err := a.project(dir)
			if err != nil {
				return err
			}
			if len(args) == 0 && !p.Shared() { // only a shared state has detached applies
				return oneUnit(c, args)
			}
			return p.WithApplied(ctx, func(w *project.Workspace) error {
				if len(args) == 0 {
					return w.DetachedLog(ctx, a.stdout, follow)
				}
				return w.Logs(ctx, args[0], a.stdout, follow)
			})
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	c.Flags().BoolVarP(&follow, "follow", "f", false, "follow the log until the unit ends")
	return c
}
