package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

func planCommand(a *app) *cobra.Command {
	var asJSON, detailed, all bool
	var out string
	var o project.PlanOptions
	c := &cobra.Command{
		Use: "plan [DIR]", Short: "Show what apply would change, and why", Args: atMost(1, "one folder"),
		Long: `Compares the system with what is deployed and shows, for every unit, the action, the
reason, and how long it took before.

Actions: run, reuse (jobs); create, update, replace, delete, none (services and
records). "run?" means run unless its inputs turn out unchanged.`,
		Example: `  tenon plan
  tenon plan -t env=prod --out prod.plan && tenon apply prod.plan
  tenon plan --detailed-exitcode     0 nothing to do, 1 error, 2 changes
  tenon plan --rerun sources/flights`,
		RunE: func(c *cobra.Command, args []string) (err error) {
			of, err := a.project(folder(args))
			if err != nil {
				return err
			}
			r, w, err := of.CompileAndOpen(c.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.Close()) }()
			p, err := w.Plan(c.Context(), r, o)
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(planDocument(p))
			} else {
				err = a.printPlan(p, all)
			}
			if err != nil {
				return err
			}
			if out != "" {
				if err := a.writePlan(p, out, asJSON); err != nil {
					return err
				}
			}
			if detailed && p.Changes() {
				return errChanges
			}
			return nil
		},
	}
	a.systemFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&all, "all", false, "also show units that do not change")
	c.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit with 0 if nothing changes, 1 on error, 2 if something changes")
	c.Flags().StringVarP(&out, "out", "o", "", "write the plan to `FILE`, for tenon apply FILE")
	planFlags(c, &o)
	return c
}

// planFlags adds the flags of commands that make a plan.
func planFlags(c *cobra.Command, o *project.PlanOptions) {
	c.Flags().StringArrayVar(&o.Rerun, "rerun", nil, "run this `UNIT` or entity even if nothing changed (repeatable)")
	c.Flags().BoolVar(&o.Pull, "pull", false, "resolve the names of images again")
}

// writePlan writes a plan to a file and reports that, unless quiet.
func (a *app) writePlan(p *planner.Plan, out string, quiet bool) error {
	if err := planner.Write(out, p); err != nil || quiet {
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "\nSaved the plan to %s. Apply exactly this plan with: tenon apply %s\n", out, out)
	return err
}

// changes reports whether an item of a plan changes what is deployed. Restoring the
// result of an earlier run counts.
func changes(i planner.Item) bool { return i.Action.Changes() || i.Restores() }

// planDocument returns the JSON form of a plan, without its code.
func planDocument(p *planner.Plan) any {
	return struct {
		Version int               `json:"plan"`
		System  string            `json:"system"`
		Target  string            `json:"target"`
		State   any               `json:"state"`
		BackTo  int               `json:"back_to,omitempty"`
		Moves   []ir.Move         `json:"moves,omitempty"`
		Images  map[string]string `json:"images,omitempty"`
		Python  map[string]string `json:"python,omitempty"`
		Items   []planner.Item    `json:"items"`
		Summary planner.Summary   `json:"summary"`
		// What has to be prepared before units can start.
		Prepare   []planner.Preparation  `json:"prepare,omitempty"`
		Preparing planner.PrepareSummary `json:"preparing,omitzero"`
		// Addresses of services that something else has.
		Taken    []planner.Taken `json:"taken,omitempty"`
		Warnings []ir.Warning    `json:"warnings,omitempty"`
	}{p.Version, p.System.Name, p.System.Target.Name, p.State, p.BackTo, p.Moves, p.Images, p.Python, p.Items, p.Summary(), p.Prepare, p.Preparing(), p.Taken, p.Warnings}
}
