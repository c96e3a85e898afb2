package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/internal/duration"
)

func monitorPlanCommand(a *app) *cobra.Command {
	var asJSON bool
	var dir, over string
	c := &cobra.Command{
		Use: "plan [EXPERIMENT]", Short: "Say how long an experiment takes and what it can find", Args: oneMonitor(), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Says, before a release begins, what a monitor.#Experiment can find in each of its steps: how
many units come within the horizon, the least difference that is found by then, and how long it
takes to find min_effect. How fast units come and how much they vary is taken from recorded
requests. The name may be left out if there is one experiment.`,
		Example: `  tenon monitor plan revenue
  tenon monitor plan revenue --over 28d --json`,
		RunE: func(c *cobra.Command, args []string) error {
			now := time.Now()
			since, err := sinceTime(over)
			if err != nil {
				return err
			}
			return a.withApplied(c.Context(), dir, func(w *project.Workspace) error {
				p, err := w.PlanExperiment(c.Context(), first(args), now.Sub(since), now)
				switch {
				case err != nil:
					return err
				case asJSON:
					return a.printJSON(p)
				}
				return a.printExperimentPlan(p)
			})
		},
	}
	a.monitorFlags(c, &dir)
	c.Flags().StringVar(&over, "over", "14d", "plan with the requests of the last `TIME`, such as 12h or 28d, or after a date")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) printExperimentPlan(p *project.ExperimentPlan) error {
	x := p.Monitor.Experiment
	unit := "request"
	if x.Unit != nil {
		unit = "value of " + x.Unit.Name
	}
	fmt.Fprintf(a.stdout, "%s  %s of %s, alpha %s, power %s, least effect %s, horizon %s\n", a.paint(bold, p.Unit), x.Metric.Aggregate, x.Of, number(x.Alpha), number(x.Power), number(x.MinEffect), duration.Text(x.Horizon))
	fmt.Fprintf(a.stdout, "  %s, each a %s, from %s to %s: %s %s, standard deviation %s\n", plural(p.Units, "unit"), unit,
		p.Begin.Local().Format(time.DateTime), p.End.Local().Format(time.DateTime), x.Metric.Aggregate, number(p.Value), number(p.Deviation))
	for _, note := range p.Notes {
		fmt.Fprintln(a.stdout, "  note: "+printable(note))
	}
	t := table(a.stdout)
	fmt.Fprintln(t, "  STEP\tUNITS WITHIN HORIZON\tFINDS\tAT ONE LOOK\tHALF OF THE TIME\tWITH THE POWER")
	for _, s := range p.Steps {
		fmt.Fprintf(t, "  %s %%\t%d\t%s\t%s\t%s\t%s\n", number(100*s.Share), s.Units, figureNumber(s.Effect), figureNumber(s.Fixed), within(s.Half), within(s.Time))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "  expected_units: %d would make the interval narrowest where it decides about the least effect\n", p.Expected)
	return err
}

// within writes a length of time that may be too long.
func within(d *time.Duration) string {
	if d == nil {
		return "-"
	}
	return took(*d)
}
