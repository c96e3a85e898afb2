package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/protect"
	"github.com/tenon-ml/tenon/planner"
)

func planCommand(a *app) *cobra.Command {
	var asJSON, detailed, all, data bool
	var out string
	var o project.PlanOptions
	c := &cobra.Command{
		Use: "plan [DIR]", Short: "Show what apply would change, and why", Args: atMost(1, "one folder"),
		Long: `Compares the system with what is deployed and shows, for every unit, the action, the
reason, and how long it took before. If OpenTofu or Terraform is in $PATH, it also shows
the resources that a target in a cloud needs.

Actions: run, reuse (jobs); create, update, replace, delete, none (services and
records). "run?" means run unless its inputs turn out unchanged.`,
		Example: `  tenon plan
  tenon plan -t env=prod --out prod.plan && tenon apply prod.plan
  tenon plan --detailed-exitcode     0 nothing to do, 1 error, 2 changes
  tenon plan --check-data            also ask databases and servers for the columns of sources
  tenon plan --rerun sources/flights
  tenon plan --like ../churn         estimate new jobs from what similar ones of another system took`,
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
			var looked []project.Looked
			if data {
				if looked, err = a.checkData(c.Context(), of, r, asJSON); err != nil {
					return err
				}
			}
			o.Quotas = true
			p, err := w.Plan(c.Context(), r, o)
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(planDocument(p, looked))
			} else {
				err = errors.Join(a.printPlan(p, all), a.printLooked(looked, data))
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
	c.Flags().BoolVar(&data, "check-data", false, "also compare data that is elsewhere with its source, without reading rows")
	c.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit with 0 if nothing changes, 1 on error, 2 if something changes")
	c.Flags().StringVarP(&out, "out", "o", "", "write the plan to `FILE`, for tenon apply FILE")
	planFlags(c, &o)
	return c
}

// checkData compares data that is elsewhere with the schemas of its sources. Faults are
// printed as those of the system, or as JSON.
func (a *app) checkData(ctx context.Context, of *project.Project, r *compiler.Result, asJSON bool) ([]project.Looked, error) {
	looked, err := of.Look(ctx, r)
	if err != nil {
		return nil, err
	}
	err = of.LookError(looked)
	if err == nil || !asJSON {
		return looked, err
	}
	if err := a.printJSON(struct {
		Data []project.Looked `json:"data"`
	}{looked}); err != nil {
		return nil, err
	}
	return nil, errReported
}

// printLooked says what data was compared.
func (a *app) printLooked(looked []project.Looked, asked bool) error {
	if !asked {
		return nil
	}
	n := 0
	for _, l := range looked {
		if l.Skipped == "" {
			n++
			continue
		}
		if _, err := fmt.Fprintf(a.stdout, "The data of %s was not checked: %s\n", l.Unit, l.Skipped); err != nil {
			return err
		}
	}
	text := "No source fetches data whose columns can be checked"
	if len(looked) > 0 {
		text = fmt.Sprintf("Checked the columns of the data of %s", plural(int64(n), "source"))
	}
	_, err := fmt.Fprintln(a.stdout, text)
	return err
}

// planFlags adds the flags of commands that make a plan.
func planFlags(c *cobra.Command, o *project.PlanOptions) {
	o.Infrastructure = true
	c.Flags().StringArrayVar(&o.Rerun, "rerun", nil, "run this `UNIT` or entity even if nothing changed (repeatable)")
	c.Flags().StringArrayVar(&o.Like, "like", nil, "estimate new jobs from the system in `DIR`, or a state's URL (repeatable)")
	c.Flags().BoolVar(&o.Pull, "pull", false, "resolve the names of images again")
}

// writePlan writes a plan to a file and reports that, unless quiet.
func (a *app) writePlan(p *planner.Plan, out string, quiet bool) error {
	if err := planner.Write(out, p); err != nil || quiet {
		return err
	}
	approve := ""
	if p.Protect != nil && p.Protect.Approvals > 0 {
		approve = fmt.Sprintf("It needs %s of others: tenon approve %s\n", plural(int64(p.Protect.Approvals), "approval"), out)
	}
	_, err := fmt.Fprintf(a.stdout, "\nSaved the plan to %s. Apply exactly this plan with: tenon apply %s\n%s", out, out, approve)
	return err
}

// changes reports whether an item of a plan changes what is deployed. Restoring the
// result of an earlier run counts.
func changes(i planner.Item) bool { return i.Action.Changes() || i.Restores() }

// planDocument returns the JSON form of a plan, without its code.
func planDocument(p *planner.Plan, looked []project.Looked) any {
	return struct {
		Version int               `json:"plan"`
		System  string            `json:"system"`
		Env     string            `json:"env,omitempty"`
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
		// The rules of a protected environment.
		Protect *protect.Rules `json:"protect,omitempty"`
		// What it costs, if a pool has a price, and why the budget refuses it.
		Costs    *planner.Costs `json:"costs,omitempty"`
		Exceeded string         `json:"exceeded,omitempty"`
		// What services cost that it starts on machines of their own.
		PerHour []planner.PerHour `json:"per_hour,omitempty"`
		// What services cost that are paid for by requests.
		PerRequest []planner.PerRequest `json:"per_request,omitempty"`
		// What is fetched from a cloud, and what that costs.
		Transfer *planner.Transfer `json:"transfer,omitempty"`
		// Which target was chosen of several, and why.
		Choice *planner.Choice `json:"choice,omitempty"`
		// Whether the limits of the account allow it.
		Quotas *planner.Quotas `json:"quotas,omitempty"`
		// What happens to the resources of the target, before units run and after.
		Infrastructure *planner.Infrastructure `json:"infrastructure,omitempty"`
		// What a look at the data of sources found.
		Data []project.Looked `json:"data,omitempty"`
	}{p.Version, p.System.Name, p.State.Env, p.System.Target.Name, p.State, p.BackTo, p.Moves, p.Images, p.Python, p.Items, p.Summary(), p.Prepare, p.Preparing(), p.Taken, p.Warnings, p.Protect, p.Costs(), message(p.CheckBudget()), p.PerHour, p.PerRequest, p.Transfer, p.Choice, p.Quotas, withoutFiles(p.Infrastructure), looked}
}

// withoutFiles leaves out what only an apply needs.
func withoutFiles(i *planner.Infrastructure) *planner.Infrastructure {
	if i == nil {
		return nil
	}
	shown := *i
	shown.Files, shown.Beside, shown.Sealed = nil, nil, nil
	return &shown
}
