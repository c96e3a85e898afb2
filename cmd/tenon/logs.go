package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
)

func logsCommand(a *app) *cobra.Command {
	var follow, controller bool
	var dir string
	c := &cobra.Command{
		Use: "logs [UNIT]", Short: "Print the log of a unit's last run, or of a detached apply", Args: atMost(1, "one unit"), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Prints what the last run of a unit wrote to its standard output and error. Without a
unit, it prints the output of the last tenon apply --detach, and with --controller that of
the controller that tenon run --detach started.`,
		Example: "  tenon logs models/late/train\n  tenon logs deployments/api -f\n  tenon logs -f\n  tenon logs --controller -f",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			quietly := func() bool { return true } // an interrupt only ends this command
			a.leave.Store(&quietly)
			p, err := a.project(dir)
			if err != nil {
				return err
			}
			if controller && len(args) > 0 {
				return &usageError{errors.New("--controller prints the log of the controller: leave out the unit")}
			}
			if len(args) == 0 && !controller && !p.Shared() { // only a shared state has detached applies
				return oneUnit(c, args)
			}
			return p.WithApplied(ctx, func(w *project.Workspace) error {
				if controller {
					return w.ControllerLog(ctx, a.stdout, follow)
				}
				if len(args) == 0 {
					return w.DetachedLog(ctx, a.stdout, follow)
				}
				return w.Logs(ctx, args[0], a.stdout, follow)
			})
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	c.Flags().BoolVar(&controller, "controller", false, "print the log of the controller that was detached")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "follow the log until the unit ends")
	return c
}
