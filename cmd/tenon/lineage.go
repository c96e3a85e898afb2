package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/lineage"
)

func lineageCommand(a *app) *cobra.Command {
	var asJSON, down bool
	var dir string
	c := &cobra.Command{
		Use: "lineage UNIT[.PORT][.COLUMN]", Short: "Show where a column comes from, or what depends on it",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{fmt.Errorf("tenon lineage takes one column, such as features.orders.share, but got %s; see tenon lineage --help", plural(int64(len(args)), "argument"))}
			}
			return nil
		},
		Long: `Shows the path from a column back to the data: each column that it comes from, how,
and where that is written. A model has its inputs and its label as columns. Without
a column, it shows all columns of the unit. A unit with several outputs needs the
port.

With --down, it shows the columns, models and deployments that depend on a column.

A query says how each of its columns comes from its inputs: copied, computed from
the row, windowed or aggregated over several rows, or decided by a condition, a
group or an order. What a program makes of its inputs is not known: each of its
columns may come from every column that it reads.`,
		Example: `  tenon lineage features.orders.share      where a column comes from
  tenon lineage models.late.age            an input of a model
  tenon lineage models.late                all inputs and the label of a model
  tenon lineage sources.orders.refund --down
                                           what depends on a column`,
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.project(dir)
			if err != nil {
				return err
			}
			t, err := p.Trace(c.Context(), args[0], down)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(t)
			}
			return a.printTrace(t)
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.tagFlag(c)
	c.Flags().BoolVar(&down, "down", false, "show what depends on the column")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.ValidArgsFunction = func(c *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.completeColumns(c.Context(), dir, toComplete), cobra.ShellCompDirectiveNoFileComp
	}
	return c
}

// completeColumns completes the names of tables and columns.
func (a *app) completeColumns(ctx context.Context, dir, toComplete string) (names []string) {
	p, err := a.project(dir)
	if err != nil {
		return nil
	}
	l, err := p.Lineage(ctx)
	if err != nil {
		return nil
	}
	for _, t := range l.Tables {
		names = append(names, t.Name)
		for _, c := range t.Columns {
			names = append(names, t.Name+"."+c.Name)
		}
	}
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, toComplete) })
}

func (a *app) printTrace(t *project.Trace) error {
	var lines [][2]string // text, position
	write := func(s *lineage.Step, depth int) {
		text := strings.Repeat("  ", depth) + stepText(s, t.Down)
		lines = append(lines, [2]string{text, s.At})
	}
	var visit func(s *lineage.Step, depth int)
	visit = func(s *lineage.Step, depth int) {
		write(s, depth)
		for _, n := range s.Next {
			visit(n, depth+1)
		}
	}
	for _, s := range t.Steps {
		visit(s, 0)
	}
	width := 0
	for _, l := range lines {
		width = max(width, min(len(l[0]), 90))
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%s  %s", pad(l[0], width), a.paint(faint, l[1])), " ") + "\n")
	}
	if t.Down && !slices.ContainsFunc(t.Steps, func(s *lineage.Step) bool { return len(s.Next) > 0 }) {
		b.WriteString("\nNothing depends on it.\n")
	}
	if len(t.Rows) > 0 {
		b.WriteString("\nRows are selected:\n")
		for _, r := range t.Rows {
			by := r.By
			if r.Partial {
				by = append(slices.Clone(by), "perhaps others")
			}
			fmt.Fprintf(&b, "  %s by %s\n", r.Table, strings.Join(by, ", "))
		}
	}
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}

// stepText describes a step: how the column above comes from this one, or with down how
// this one comes from the column above.
func stepText(s *lineage.Step, down bool) string {
	var notes []string
	switch {
	case s.Role == "input":
		notes = append(notes, "an input of the model")
	case s.Role == "label":
		notes = append(notes, "the label of the model")
	}
	if s.Whole {
		notes = append(notes, "over all rows")
	}
	switch {
	case s.Future:
		notes = append(notes, fmt.Sprintf("includes rows later than the timestamp %q", s.Later))
	case s.Later != "":
		notes = append(notes, fmt.Sprintf("includes later rows by %q", s.Later))
	}
	switch {
	case s.Made == "":
	case s.Kind != ir.Table:
		notes = append(notes, s.Made)
	case down:
		notes = append(notes, fmt.Sprintf("made by %s, in any of its columns", s.Made))
	default:
		notes = append(notes, fmt.Sprintf("made by %s, from any column of its inputs", s.Made))
	}
	if s.Repeated {
		notes = append(notes, "as above")
	}
	text := s.Name
	switch {
	case s.Use == "":
	case down && s.Kind != ir.Table && s.Use == lineage.Perhaps:
		text = "used by " + s.Name
	case down:
		text = upwards[s.Use] + " " + s.Name
	default:
		text = downwards[s.Use] + " " + s.Name
	}
	if len(s.Columns) > 0 {
		text += ": " + strings.Join(few(s.Columns), ", ")
	}
	if len(notes) > 0 {
		text += " (" + strings.Join(notes, "; ") + ")"
	}
	return text
}

// downwards say how a column comes from the one below it.
var downwards = map[string]string{
	"copied": "copied from", "computed": "computed from", "windowed": "windowed over", "aggregated": "aggregated from",
	lineage.Decides: "decided by", lineage.Passed: "from", lineage.Perhaps: "perhaps from any column of",
}

// upwards say what becomes of the column above.
var upwards = map[string]string{
	"copied": "copied to", "computed": "used to compute", "windowed": "windowed to", "aggregated": "aggregated to",
	lineage.Decides: "decides about", lineage.Passed: "passed to", lineage.Perhaps: "perhaps used by", lineage.Selects: "selects the rows of",
}
