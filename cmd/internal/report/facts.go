package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

// unitTables are the facts about one unit, and its tables.
func unitTables(u *project.UnitReport) []*table {
	facts := &table{}
	facts.fact("kind", string(u.Kind)+", "+u.Component)
	facts.fact("declared", u.Declared)
	facts.fact("definition", short(u.Definition))
	facts.fact("run", runText(u.Run))
	if s := u.Status; s != nil {
		facts.fact("service", strings.Join(strings.Fields(s.Endpoint+" "+string(s.Phase)+" "+s.Message), " ")+", when the page was written")
	}
	if u.Unstable != nil {
		facts.fact("audit", fmt.Sprintf("not deterministic: %s differed in revision @%d", strings.Join(u.Unstable.Ports, " and "), u.Unstable.Revision))
	}
	if u.Run != nil {
		var used []string
		if u.Run.Usage.CPU > 0 {
			used = append(used, took(u.Run.Usage.CPU)+" of cpu")
		}
		if u.Run.Usage.PeakMem > 0 {
			used = append(used, fmt.Sprintf("%d MiB of memory", u.Run.Usage.PeakMem>>20))
		}
		facts.fact("used", strings.Join(used, ", "))
		facts.fact("devices", strings.Join(u.Run.Devices, ", "))
	}
	for _, in := range u.Inputs {
		facts.fact("from "+in.Name, strings.TrimSpace(in.From+" "+short(in.Digest)))
	}
	for _, o := range u.Outputs {
		facts.fact("to "+o.Port, outputText(o))
	}
	tables := []*table{facts}
	if len(u.Params) > 0 {
		params := &table{Title: "Parameters", Head: texts("parameter", "value")}
		for _, p := range u.Params {
			params.add(p.Name, string(p.Value))
		}
		tables = append(tables, params)
	}
	if len(u.Metrics) > 0 && u.Evaluation == nil {
		metrics := &table{Title: "Metrics", Class: "numbers", Head: texts("metric", "value")}
		for _, name := range slices.SortedFunc(slices.Values(project.Estimates(u.Metrics)), byImportance) {
			metrics.add(name, number(u.Metrics[name])+project.IntervalText(u.Metrics, name, number))
		}
		tables = append(tables, metrics)
	}
	for _, o := range u.Outputs {
		if len(o.Columns) > 0 {
			tables = append(tables, columnsTable(o))
		}
	}
	return tables
}

func outputText(o project.OutputFacts) string {
	parts := []string{string(o.Kind)}
	if o.Digest != "" && o.Kind != ir.EndpointOf {
		parts[0] += " " + short(o.Digest)
		parts = append(parts, fmt.Sprintf("%d bytes", o.Size))
	}
	if o.Kind == ir.Table && o.Digest != "" {
		parts = append(parts, fmt.Sprintf("%d rows", o.Rows))
	}
	return strings.Join(parts, ", ")
}

func columnsTable(o project.OutputFacts) *table {
	t := &table{Title: fmt.Sprintf("Columns of %s", o.Port), Head: texts("column", "type", "nulls", "declared", "description")}
	if len(o.Keys) > 0 {
		t.Note = "Keys: " + strings.Join(o.Keys, ", ") + "."
	}
	for _, c := range o.Columns {
		nulls := "–"
		if o.Digest != "" {
			nulls = fmt.Sprint(c.Nulls)
			if o.Rows > 0 && c.Nulls > 0 {
				nulls += fmt.Sprintf(" (%s%%)", number(math.Round(1000*float64(c.Nulls)/float64(o.Rows))/10))
			}
		}
		var facts []string
		for _, f := range []struct {
			there bool
			text  string
		}{
			{c.Nullable, "nullable"}, {c.Unique, "unique"}, {c.NaN, "nan"}, {c.JSON, "json"}, {c.Min != "", "min " + string(c.Min)},
			{c.Max != "", "max " + string(c.Max)}, {len(c.Values) > 0, "one of " + strings.Join(c.Values, ", ")}, {c.Unit != "", "in " + c.Unit},
		} {
			if f.there {
				facts = append(facts, f.text)
			}
		}
		t.add(c.Name, c.Type, nulls, strings.Join(facts, ", "), c.Description)
	}
	return t
}

// changedTables are what differs between two revisions besides the metrics.
func changedTables(c *project.Compared) []*table {
	definitions := &table{Title: "Definitions that differ", Head: texts("entity", "field", c.Before.At(), c.After.At())}
	for _, e := range c.Changes {
		name := e.Entity
		if e.Was != "" {
			name += " (was " + e.Was + ")"
		}
		switch {
		case e.Change == planner.Added:
			definitions.add(name, "", "", "added")
		case e.Change == planner.Removed:
			definitions.add(name, "", "", "removed")
		case e.Change == planner.Follows:
			definitions.add(name, "", "", "follows from its inputs")
		case len(e.Fields) == 0:
			definitions.add(name, "", "", string(e.Change))
		}
		for _, f := range e.Fields {
			definitions.add(name, f.Field, string(f.Before), string(f.After))
		}
	}
	inputs := &table{Title: "Inputs that differ", Head: texts("unit", "input", c.Before.At(), c.After.At())}
	for _, i := range c.Inputs {
		inputs.add(i.Unit, i.Name, cmp.Or(short(i.Before), "–"), cmp.Or(short(i.After), "–"))
	}
	var all []*table
	for _, t := range []*table{definitions, inputs} {
		if len(t.Rows) == 0 {
			t.Head, t.Note = nil, "None."
		}
		all = append(all, t)
	}
	return all
}

// lineageTable lists a unit with its origins, each below what is made from it.
func lineageTable(l *project.Lineage) *table {
	if l == nil {
		return nil
	}
	t := &table{Title: "Made from", Head: texts("unit or file", "digest")}
	seen := map[string]bool{}
	var add func(l *project.Lineage, indent string)
	add = func(l *project.Lineage, indent string) {
		if seen[l.Unit] {
			t.add(indent+l.Unit, "above")
			return
		}
		seen[l.Unit] = true
		t.add(indent+l.Unit, short(l.Digest))
		indent += strings.Repeat("\u00a0", 4)
		for _, f := range slices.Sorted(maps.Keys(l.Files)) {
			t.add(indent+f, short(l.Files[f]))
		}
		for _, from := range l.From {
			add(from, indent)
		}
	}
	add(l, "")
	return t
}
