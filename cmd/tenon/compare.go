package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/cmd/internal/report"
	"github.com/tenon-ml/tenon/planner/artifact"
)

func compareCommand(a *app) *cobra.Command {
	var dir string
	var page pageFlags
	c := &cobra.Command{
		Use: "compare [UNIT] @N @M", Short: "Compare a unit as two revisions left it", Args: twoRevisions,
		Long: `Compares a unit, or an entity such as models/late, as it was after two revisions. It
prints the metrics with their differences, the fields that differ in its definition and
in those that it reads from, and the data that differs. Without UNIT, it compares the
only model of the system.

It also writes a page with both reports side by side, with their curves in one plot, and
opens it in the browser if there is a terminal. See tenon open.`,
		Example: `  tenon compare @3 @7
  tenon compare models/late @3 @7 --no-browser
  tenon compare @3 @7 --out pull-request.html
  tenon compare @3 @7 --json`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := page.check(); err != nil {
				return err
			}
			name := ""
			if len(args) == 3 {
				name = args[0]
			}
			before, after := args[len(args)-2], args[len(args)-1]
			p, err := a.project(dir)
			if err != nil {
				return err
			}
			compared, err := p.CompareRevisions(c.Context(), name, before, after)
			if err != nil {
				return err
			}
			if page.asJSON {
				return a.printJSON(compared)
			}
			html, err := report.Comparison(compared)
			if err != nil {
				return err
			}
			if err := a.printCompared(compared); err != nil {
				return err
			}
			page.Name = compared.Name + compared.Before.At() + compared.After.At()
			return a.showPage(p, page, html)
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	page.add(c)
	c.ValidArgsFunction = func(c *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 && !strings.HasPrefix(toComplete, "@") {
			return a.completeUnits(&dir)(c, args, toComplete)
		}
		return a.completeRevisions(c.Context(), dir), cobra.ShellCompDirectiveNoFileComp
	}
	return c
}

// twoRevisions requires two revisions, after the name of a unit or alone.
func twoRevisions(_ *cobra.Command, args []string) error {
	revisions := 0
	for _, arg := range args {
		if strings.HasPrefix(arg, "@") {
			revisions++
		}
	}
	if revisions != 2 || len(args) > 3 || strings.HasPrefix(args[0], "@") != (len(args) == 2) {
		return &usageError{fmt.Errorf("tenon compare takes two revisions, such as tenon compare models/late @3 @7; see tenon compare --help")}
	}
	return nil
}

// printCompared prints what differs, for people.
func (a *app) printCompared(c *project.Compared) error {
	fmt.Fprintf(a.stdout, "%s  %s -> %s\n", a.paint(bold, c.Name), c.Before.At(), c.After.At())
	if len(c.Metrics) > 0 {
		fmt.Fprintln(a.stdout)
		t := table(a.stdout)
		fmt.Fprintf(t, "  METRIC\t%s\t%s\tCHANGE\n", c.Before.At(), c.After.At())
		for _, m := range report.Metrics(c) {
			name, change := report.MetricName(c, m), "-"
			if m.Change != nil {
				change = report.Change(*m.Change)
			}
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\n", printable(name), orUndefined(m.Before), orUndefined(m.After), change, m.Verdict)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if !c.SameRows {
		fmt.Fprintln(a.stdout, "\nThe two were evaluated on different test rows.")
	}
	var b strings.Builder
	if len(c.Changes) > 0 {
		b.WriteString("\nDefinitions:\n")
		seen := repeats{}
		for _, e := range c.Changes {
			e.Effect = nil // on others, which is not asked here
			for i := range e.Fields {
				e.Fields[i].Effect = nil
			}
			a.writeEntity(&b, e, seen)
		}
	}
	if len(c.Inputs) > 0 {
		b.WriteString("\nInputs:\n")
		for _, i := range c.Inputs {
			fmt.Fprintf(&b, "  %s  %s: %s -> %s\n", i.Unit, printable(i.Name), orDash(artifact.Short(i.Before)), orDash(artifact.Short(i.After)))
		}
	}
	if len(c.Changes)+len(c.Inputs) == 0 {
		b.WriteString("\nNeither definitions nor inputs differ.\n")
	}
	b.WriteByte('\n')
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}

func orUndefined(v *float64) string {
	if v == nil {
		return "-"
	}
	return number(*v)
}
