package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

func approveCommand(a *app) *cobra.Command {
	var yes, asJSON, destroy bool
	c := &cobra.Command{
		Use: "approve PLANFILE | --destroy [DIR]", Short: "Approve a saved plan for a protected environment, or its destruction",
		Args: func(c *cobra.Command, args []string) error {
			if destroy {
				return atMost(1, "one folder")(c, args)
			}
			if len(args) != 1 {
				return &usageError{fmt.Errorf("tenon approve takes one plan file, but got %s; see tenon approve --help", plural(int64(len(args)), "argument"))}
			}
			return nil
		},
		Long: `Shows a plan that somebody else has saved with --out, asks for confirmation, and
records in the state that you approve it: this very file, for its environment. An
environment with protect: approvals: 1 takes only such plans. Your approval does
not count if you apply the plan yourself.

With --destroy, it shows what is deployed in the environment, and records that you approve
to destroy it. This counts until anything changes there.

Who you are is the user of the operating system, or the CI job.`,
		Example: `  tenon plan -e prod --out prod.plan
  tenon approve prod.plan                somebody else
  tenon apply prod.plan
  tenon approve --destroy -e prod        somebody else, before tenon destroy -e prod`,
		RunE: func(c *cobra.Command, args []string) error {
			if asJSON && !yes {
				return errUnasked
			}
			var p *project.Project
			var plan *planner.Plan
			var seen string
			var err error
			if destroy {
				p, seen, err = a.showDestroy(c.Context(), folder(args), asJSON)
			} else {
				p, plan, err = a.showPlan(args[0], asJSON)
			}
			if err != nil {
				return err
			}
			what := "this plan"
			if destroy {
				what = "to destroy this"
			}
			if !yes {
				if err := a.confirm(fmt.Sprintf("Approve %s?", what)); err != nil {
					return err
				}
			}
			done, err := p.Approve(c.Context(), plan, seen)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSONLine(struct {
					Type string `json:"type"`
					*project.Approved
				}{"approved", done})
			}
			_, err = fmt.Fprintf(a.stdout, "\nApproved as %s: it has %s and needs %d of others than the one who does it.\n",
				done.By, plural(int64(len(done.Approvals)), "approval"), done.Needed)
			return err
		},
	}
	a.stateFlag(c)
	c.Flags().BoolVar(&destroy, "destroy", false, "approve to destroy what is deployed in the environment")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON; needs --yes")
	return c
}

// showPlan reads the plan to approve, and prints it.
func (a *app) showPlan(path string, asJSON bool) (*project.Project, *planner.Plan, error) {
	plan, err := a.readPlan(path)
	if err != nil {
		return nil, nil, err
	}
	dir := plan.Dir
	if _, err := os.Stat(dir); err != nil {
		dir = "." // the plan comes from another machine
	}
	p, err := a.project(dir)
	if err != nil || asJSON {
		return p, plan, err
	}
	if err := a.printPlan(plan, false); err != nil {
		return nil, nil, err
	}
	if plan.BackTo == 0 {
		fmt.Fprintf(a.stdout, "\nRules of %s once it is applied: %s\n", state.EnvironmentNamed(plan.State.Env), plan.Protect)
	}
	return p, plan, nil
}

// showDestroy prints what a destroy to approve removes, and returns its digest.
func (a *app) showDestroy(ctx context.Context, dir string, asJSON bool) (_ *project.Project, seen string, err error) {
	p, err := a.project(dir)
	if err != nil || asJSON {
		return p, "", err
	}
	err = p.WithApplied(ctx, func(w *project.Workspace) error {
		units, digest, err := w.ToDestroy(ctx)
		if err != nil {
			return err
		}
		if seen = digest; len(units) == 0 {
			fmt.Fprintln(a.stdout, nothingDeployed(w.Env()))
		}
		a.printDeletes(units)
		return nil
	})
	return p, seen, err
}
