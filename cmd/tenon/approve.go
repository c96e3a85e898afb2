package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
)

func approveCommand(a *app) *cobra.Command {
	var yes, asJSON bool
	c := &cobra.Command{
		Use: "approve PLANFILE", Short: "Approve a saved plan for a protected environment",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{fmt.Errorf("tenon approve takes one plan file, but got %s; see tenon approve --help", plural(int64(len(args)), "argument"))}
			}
			return nil
		},
		Long: `Shows a plan that somebody else has saved with --out, asks for confirmation, and
records in the state that you approve it: this very file, for its environment. An
environment with protect: approvals: 1 takes only such plans. Your approval does
not count if you apply the plan yourself.

Who you are is the user of the operating system, or the CI job.`,
		Example: `  tenon plan -e prod --out prod.plan
  tenon approve prod.plan                somebody else
  tenon apply prod.plan`,
		RunE: func(c *cobra.Command, args []string) error {
			if asJSON && !yes {
				return errUnasked
			}
			plan, err := a.readPlan(args[0])
			if err != nil {
				return err
			}
			dir := plan.Dir
			if _, err := os.Stat(dir); err != nil {
				dir = "." // the plan comes from another machine
			}
			p, err := a.project(dir)
			if err != nil {
				return err
			}
			if !asJSON {
				if err := a.printPlan(plan, false); err != nil {
					return err
				}
				if plan.BackTo == 0 {
					fmt.Fprintf(a.stdout, "\nRules of %s once it is applied: %s\n", environmentNamed(plan.State.Env), plan.Protect)
				}
			}
			if !yes {
				if err := a.confirm("Approve this plan?"); err != nil {
					return err
				}
			}
			done, err := p.Approve(c.Context(), plan)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSONLine(struct {
					Type string `json:"type"`
					*project.Approved
				}{"approved", done})
			}
			_, err = fmt.Fprintf(a.stdout, "\nApproved as %s: the plan has %s and needs %d of others than the one who applies it.\n",
				done.By, plural(int64(len(done.Approvals)), "approval"), done.Needed)
			return err
		},
	}
	a.stateFlag(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON; needs --yes")
	return c
}
