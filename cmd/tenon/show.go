package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// A shown is what tenon show tells of a unit.
type shown struct {
	Unit      *ir.Unit          `json:"unit"`
	Run       *state.Run        `json:"run,omitempty"`
	Status    *unitStatus       `json:"status,omitempty"`
	Unstable  *state.Unstable   `json:"unstable,omitempty"`
	Artifacts map[string]string `json:"artifacts,omitempty"` // port -> path
	Lineage   *lineage          `json:"lineage"`
	Runs      []state.Run       `json:"runs,omitempty"`
}

// A lineage is a unit with what it was made from.
type lineage struct {
	Unit   string            `json:"unit"`
	Digest string            `json:"digest,omitempty"`
	Files  map[string]string `json:"files,omitempty"`
	From   []*lineage        `json:"from,omitempty"`
}

func showCommand(a *app) *cobra.Command {
	var asJSON bool
	var dir string
	var rows int
	c := &cobra.Command{
		Use: "show UNIT | @N", Short: "Show a unit with its lineage, or a revision", Args: oneUnit, ValidArgsFunction: a.completeUnits(&dir),
		Long: `Shows what a unit is, what its last run read and made, its metrics, and what it
was made from, back to the data. An entity such as models/late shows all of its
units.

A revision such as @3 shows what that apply was, and what became of each unit; with
--json also its IR and its plan. @ is the newest.`,
		Example: "  tenon show models/late/train\n  tenon show models/late\n  tenon show features/departures --rows 5\n  tenon show @3",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return a.withApplied(ctx, dir, func(w *workspace) error {
				if strings.HasPrefix(args[0], "@") {
					return a.showRevision(ctx, w, args[0], asJSON)
				}
				units, err := a.unitsNamed(ctx, w, args[0])
				if err != nil {
					return err
				}
				var all []*shown
				for _, u := range units {
					s, err := a.look(ctx, w, u)
					if err != nil {
						return err
					}
					all = append(all, s)
				}
				if asJSON {
					if len(all) == 1 {
						return a.printJSON(all[0])
					}
					return a.printJSON(all)
				}
				for i, s := range all {
					if i > 0 {
						fmt.Fprintln(a.stdout)
					}
					a.printShown(s, i == len(all)-1)
					if err := a.printRows(ctx, w, s, rows); err != nil {
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

// unitsNamed finds a unit, or the units of an entity. A dot may stand for a
// slash, as in the language.
func (a *app) unitsNamed(ctx context.Context, w *workspace, name string) ([]string, error) {
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range []string{name, unitName(name)} {
		if _, ok := current[n]; ok {
			return []string{n}, nil
		}
		var units []string
		for u := range current {
			if strings.HasPrefix(u, n+"/") {
				units = append(units, u)
			}
		}
		if len(units) > 0 {
			slices.SortFunc(units, inOrder)
			return units, nil
		}
	}
	if runs, err := w.store.Runs(ctx, name, 1); err == nil && len(runs) > 0 {
		return nil, fmt.Errorf("%s does not stand: its last run %s; see tenon logs %s", name, runs[0].Outcome, name)
	}
	return nil, a.unknownUnit(ctx, w, name)
}

func (a *app) look(ctx context.Context, w *workspace, id string) (*shown, error) {
	u, err := w.store.Unit(ctx, id)
	if err != nil {
		return nil, err
	}
	standing, err := standingRuns(ctx, w)
	if err != nil {
		return nil, err
	}
	s := &shown{Unit: u, Artifacts: map[string]string{}}
	if run, ok := standing[id]; ok {
		s.Run = &run
		for port, art := range run.Outputs {
			s.Artifacts[port] = w.artifacts.Path(art.Digest)
		}
	}
	statuses, err := a.unitStatuses(ctx, w)
	if err != nil {
		return nil, err
	}
	for i := range statuses {
		if statuses[i].Unit == id {
			s.Status = &statuses[i]
		}
	}
	unstable, err := w.store.Unstable(ctx)
	if err != nil {
		return nil, err
	}
	if mark, ok := unstable[id]; ok && mark.Definition == u.Digest {
		s.Unstable = &mark
	}
	if s.Lineage, err = a.lineage(ctx, w, standing, id, map[string]*lineage{}); err != nil {
		return nil, err
	}
	s.Runs, err = w.store.Runs(ctx, id, 10)
	return s, err
}

// standingRuns are the runs behind what stands, whole.
func standingRuns(ctx context.Context, w *workspace) (map[string]state.Run, error) {
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	runs := map[string]state.Run{}
	for id, c := range current {
		run, err := w.store.Run(ctx, c.Run)
		if errors.Is(err, state.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		runs[id] = *run
	}
	return runs, nil
}

func (a *app) lineage(ctx context.Context, w *workspace, standing map[string]state.Run, id string, seen map[string]*lineage) (*lineage, error) {
	if l, ok := seen[id]; ok {
		return l, nil
	}
	l := &lineage{Unit: id, Files: map[string]string{}}
	seen[id] = l
	u, err := w.store.Unit(ctx, id)
	if err != nil || u == nil {
		return l, err
	}
	run := standing[id]
	for _, port := range slices.Sorted(maps.Keys(run.Outputs)) {
		l.Digest = run.Outputs[port].Digest
		break
	}
	for in, digest := range run.Inputs {
		if path, ok := strings.CutPrefix(in, "file:"); ok {
			l.Files[path] = digest
		}
	}
	for _, in := range u.Inputs {
		if in.Incumbent || slices.ContainsFunc(l.From, func(f *lineage) bool { return f.Unit == in.Unit }) {
			continue
		}
		from, err := a.lineage(ctx, w, standing, in.Unit, seen)
		if err != nil {
			return nil, err
		}
		l.From = append(l.From, from)
	}
	return l, nil
}

func (a *app) printShown(s *shown, withLineage bool) {
	out, u := a.stdout, s.Unit
	fmt.Fprintf(out, "%s  %s, %s\n", a.paint(bold, u.ID), u.Kind, u.Component)
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(out, "  %-11s %s\n", name, text)
		}
	}
	row("declared", u.Pos.String())
	row("definition", short(u.Digest))
	if st := s.Status; st != nil && u.Kind == ir.Service {
		row("service", strings.TrimSpace(fmt.Sprintf("%s %s %s", st.Endpoint, st.Phase, st.Message)))
	}
	if s.Unstable != nil {
		row("audit", fmt.Sprintf("not deterministic: %s came out otherwise in revision %d", strings.Join(s.Unstable.Ports, " and "), s.Unstable.Revision))
	}
	if r := s.Run; r != nil {
		text := fmt.Sprintf("revision %d, %s, %s", r.Revision, r.Started.Local().Format(time.DateTime), took(r.Took()))
		row("run", text)
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
		row("image", strings.TrimSpace(fmt.Sprintf("%s  %s", ref, a.paint(faint, short(digest)))))
	}
	for i, p := range describeParams(u.Params) {
		title := "params"
		if i > 0 {
			title = ""
		}
		row(title, p)
	}
	for _, in := range u.Inputs {
		digest := ""
		if s.Run != nil {
			digest = short(s.Run.Inputs[in.Port])
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
				row("file", fmt.Sprintf("%s  %s", path, a.paint(faint, short(s.Run.Inputs[in]))))
			}
		}
		for _, port := range slices.Sorted(maps.Keys(s.Run.Outputs)) {
			row("output", describeArtifact(port, s.Run.Outputs[port]))
			row("", s.Artifacts[port])
		}
		for i, name := range slices.Sorted(maps.Keys(s.Run.Metrics)) {
			title := "metrics"
			if i > 0 {
				title = ""
			}
			row(title, fmt.Sprintf("%-32s %s", name, number(s.Run.Metrics[name])))
		}
	}
	if withLineage {
		fmt.Fprintln(out, "  made from")
		printLineage(out, s.Lineage, "    ", map[string]bool{})
	}
}

// usageLine tells what a run took, as far as that is known.
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

// describeParams writes one parameter a line.
func describeParams(params json.RawMessage) []string {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(params, &fields); err != nil {
		return nil
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		out = append(out, name+": "+clip(string(fields[name])))
	}
	return out
}

func describeArtifact(port string, art artifact.Artifact) string {
	text := fmt.Sprintf("%s: %s %s, %s", port, art.Kind, short(art.Digest), bytesOf(art.Size))
	if art.Kind == string(ir.Table) {
		text += ", " + plural(art.Rows, "row")
	}
	return text
}

func printLineage(w io.Writer, l *lineage, indent string, seen map[string]bool) {
	if seen[l.Unit] {
		fmt.Fprintf(w, "%s%s  (above)\n", indent, l.Unit)
		return
	}
	seen[l.Unit] = true
	fmt.Fprintf(w, "%s%s  %s\n", indent, l.Unit, short(l.Digest))
	for _, f := range slices.Sorted(maps.Keys(l.Files)) {
		fmt.Fprintf(w, "%s  %s  %s\n", indent, f, short(l.Files[f]))
	}
	for _, f := range l.From {
		printLineage(w, f, indent+"  ", seen)
	}
}

// printRows prints the first rows of a unit's tables.
func (a *app) printRows(ctx context.Context, w *workspace, s *shown, n int) error {
	if n <= 0 || s.Run == nil {
		return nil
	}
	for _, port := range slices.Sorted(maps.Keys(s.Artifacts)) {
		if s.Run.Outputs[port].Kind != string(ir.Table) {
			continue
		}
		if err := w.artifacts.Fetch(ctx, s.Run.Outputs[port].Digest); err != nil {
			return fmt.Errorf("read the table %s of %s: %w", port, s.Unit.ID, err)
		}
		p, err := a.duck.Preview(ctx, s.Artifacts[port], n)
		if err != nil {
			return fmt.Errorf("read the table %s of %s: %w", port, s.Unit.ID, err)
		}
		fmt.Fprintf(a.stdout, "\n%s, %d of %d rows\n", port, len(p.Rows), p.Total)
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
