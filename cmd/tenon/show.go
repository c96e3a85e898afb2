package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

func showCommand(a *app) *cobra.Command {
	var asJSON bool
	var dir string
	var rows int
	c := &cobra.Command{
		Use: "show UNIT | @N", Short: "Show a unit with its lineage, or a revision", Args: oneUnit, ValidArgsFunction: a.completeUnits(&dir),
		Long: `Shows a unit: its definition, the inputs, outputs and metrics of its last run, and
its lineage back to the data. An entity such as models/late shows all of its units.

A revision such as @3 shows the apply and the result of each unit; with --json also
its IR and its plan. @ is the newest revision.`,
		Example: "  tenon show models/late/train\n  tenon show models/late\n  tenon show features/departures --rows 5\n  tenon show @3",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return a.withApplied(ctx, dir, func(w *project.Workspace) error {
				if strings.HasPrefix(args[0], "@") {
					return a.showRevision(ctx, w, args[0], asJSON)
				}
				units, err := w.Units(ctx, args[0])
				if err != nil {
					return err
				}
				switch {
				case asJSON && len(units) == 1:
					return a.printJSON(units[0])
				case asJSON:
					return a.printJSON(units)
				}
				for i, u := range units {
					if i > 0 {
						fmt.Fprintln(a.stdout)
					}
					a.printUnit(u, i == len(units)-1)
					tables, err := w.Preview(ctx, u, rows)
					if err != nil {
						return err
					}
					if err := a.printTables(tables); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().IntVar(&rows, "rows", 0, "print the first `N` rows of its tables")
	return c
}

func (a *app) printUnit(s *project.Unit, withLineage bool) {
	out, u := a.stdout, s.Unit
	fmt.Fprintf(out, "%s  %s, %s\n", a.paint(bold, u.ID), u.Kind, u.Component)
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(out, "  %-11s %s\n", name, text)
		}
	}
	row("declared", u.Pos.String())
	row("definition", artifact.Short(u.Digest))
	row("rules", s.Rules)
	if st := s.Status; st != nil && u.Kind == ir.Service {
		row("service", strings.TrimSpace(fmt.Sprintf("%s %s %s", st.Endpoint, st.Phase, st.Message)))
	}
	if s.Unstable != nil {
		row("audit", fmt.Sprintf("not deterministic: %s differed in revision %d", strings.Join(s.Unstable.Ports, " and "), s.Unstable.Revision))
	}
	if r := s.Run; r != nil {
		text := fmt.Sprintf("revision %d, %s, %s", r.Revision, r.Started.Local().Format(time.DateTime), took(r.Took()))
		row("run", text)
		if r.Prepared > 0 {
			row("prepared", "in "+took(r.Prepared)+", before it started")
		}
		row("used", usageLine(r.Usage))
		for i, d := range r.Devices {
			title := "devices"
			if i > 0 {
				title = ""
			}
			row(title, d)
		}
	}
	if ref := u.Code.Image; ref != "" {
		digest := ""
		if s.Run != nil {
			_, digest, _ = strings.Cut(s.Run.Inputs["image:"+ref], "@")
		}
		row("image", strings.TrimSpace(fmt.Sprintf("%s  %s", ref, a.paint(faint, artifact.Short(digest)))))
	}
	for i, p := range describeParams(s) {
		title := "params"
		if i > 0 {
			title = ""
		}
		row(title, p)
	}
	for _, in := range u.Inputs {
		digest := ""
		if s.Run != nil {
			digest = artifact.Short(s.Run.Inputs[in.Port])
		}
		from := in.Unit
		if in.Incumbent {
			from = "the model in service"
		}
		row("input", fmt.Sprintf("%s <- %s  %s", in.Port, from, a.paint(faint, digest)))
	}
	if s.Run != nil {
		for _, in := range slices.Sorted(maps.Keys(s.Run.Inputs)) {
			if path, ok := strings.CutPrefix(in, "file:"); ok {
				row("file", fmt.Sprintf("%s  %s", path, a.paint(faint, artifact.Short(s.Run.Inputs[in]))))
			}
		}
		for _, port := range slices.Sorted(maps.Keys(s.Run.Outputs)) {
			row("output", describeArtifact(port, s.Run.Outputs[port]))
			row("", s.Artifacts[port])
		}
		for i, name := range project.Estimates(s.Run.Metrics) {
			title := "metrics"
			if i > 0 {
				title = ""
			}
			row(title, fmt.Sprintf("%-32s %s", name, number(s.Run.Metrics[name])+project.IntervalText(s.Run.Metrics, name, number)))
		}
	}
	if withLineage {
		fmt.Fprintln(out, "  made from")
		printLineage(out, s.Lineage, "    ", map[string]bool{})
	}
}

// usageLine describes what a run used, as far as it is known.
func usageLine(u state.Usage) string {
	var parts []string
	if u.CPU > 0 {
		parts = append(parts, took(u.CPU)+" of cpu")
	}
	if u.PeakMem > 0 {
		parts = append(parts, bytesOf(u.PeakMem)+" of memory")
	}
	if u.ReadBytes > 0 {
		parts = append(parts, bytesOf(u.ReadBytes)+" read")
	}
	if u.WriteBytes > 0 {
		parts = append(parts, bytesOf(u.WriteBytes)+" written")
	}
	return strings.Join(parts, ", ")
}

// describeParams returns one line per parameter.
func describeParams(s *project.Unit) []string {
	var out []string
	for _, p := range s.Params() {
		out = append(out, p.Name+": "+clip(string(p.Value)))
	}
	return out
}

func describeArtifact(port string, art artifact.Artifact) string {
	text := fmt.Sprintf("%s: %s %s, %s", port, art.Kind, artifact.Short(art.Digest), bytesOf(art.Size))
	if art.Kind == string(ir.Table) {
		text += ", " + plural(art.Rows, "row")
	}
	return text
}

func printLineage(w io.Writer, l *project.Lineage, indent string, seen map[string]bool) {
	if seen[l.Unit] {
		fmt.Fprintf(w, "%s%s  (above)\n", indent, l.Unit)
		return
	}
	seen[l.Unit] = true
	fmt.Fprintf(w, "%s%s  %s\n", indent, l.Unit, artifact.Short(l.Digest))
	for _, f := range slices.Sorted(maps.Keys(l.Files)) {
		fmt.Fprintf(w, "%s  %s  %s\n", indent, f, artifact.Short(l.Files[f]))
	}
	for _, f := range l.From {
		printLineage(w, f, indent+"  ", seen)
	}
}

// printTables prints the beginnings of tables.
func (a *app) printTables(tables []project.Preview) error {
	for _, p := range tables {
		fmt.Fprintf(a.stdout, "\n%s, %d of %d rows\n", p.Port, len(p.Rows), p.Total)
		t := table(a.stdout)
		fmt.Fprintln(t, strings.Join(p.Columns, "\t"))
		for _, r := range p.Rows {
			fmt.Fprintln(t, strings.Join(r, "\t"))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}
