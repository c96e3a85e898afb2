package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/lineage"
	"github.com/tenon-ml/tenon/planner"
)

// changeMarks mark how an entity changed.
var changeMarks = map[planner.Changed]struct{ mark, color string }{
	planner.Added:   {"+", green},
	planner.Removed: {"-", red},
	planner.Renamed: {">", blue},
	planner.Edited:  {"~", yellow},
	planner.Follows: {"~", faint},
}

// mostLines limits how much of a text difference is shown on a terminal.
const mostLines = 60

func (a *app) printDiff(d *project.Diff) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s -> %s\n", a.paint(bold, diffTitle(d)), d.Before.Name, d.After.Name)
	if d.Same() {
		b.WriteString("\nNothing differs.\n")
		_, err := fmt.Fprint(a.stdout, b.String())
		return err
	}
	if len(d.Entities) > 0 {
		b.WriteByte('\n')
	}
	seen := repeats{}
	for _, e := range d.Entities {
		a.writeEntity(&b, e, seen)
		for _, line := range columnLines(d.Columns[e.Entity]) {
			fmt.Fprintf(&b, "      %s\n", line)
		}
	}
	b.WriteString("\n" + diffSummary(d.Comparison) + "\n")
	if s := systemsDiffer(d); s != "" {
		b.WriteString(s + "\n")
	}
	if rows := impactRows(d.Impact); len(rows) > 0 {
		b.WriteString("\nAs a consequence:\n")
		for _, r := range rows {
			fmt.Fprintf(&b, "  %s  %s\n", a.paint(yellow, pad(r.what, 9)), wrap(r.names, 13, 100))
		}
	}
	b.WriteString("\n" + impactTime(d.Impact) + "\n")
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}

func diffTitle(d *project.Diff) string {
	if d.Before.System == d.After.System || d.Before.System == "" {
		return d.After.System
	}
	return d.Before.System + " -> " + d.After.System
}

func systemsDiffer(d *project.Diff) string {
	if d.Before.System == d.After.System || d.Before.System == "" {
		return ""
	}
	return "These are two different systems: applying one does not replace the other."
}

// repeats maps the texts that were shown to the entity that they were shown for. Several
// entities may run the same file.
type repeats map[string]string

// before returns the entity for which the same field was shown before, or "".
func (r repeats) before(entity string, f planner.FieldChange) string {
	key := f.Field + "\n" + f.Lines
	if first, ok := r[key]; ok || f.Lines == "" {
		return first
	}
	r[key] = entity
	return ""
}

func (a *app) writeEntity(b *strings.Builder, e planner.EntityChange, seen repeats) {
	m := changeMarks[e.Change]
	fmt.Fprintf(b, "  %s %s", a.paint(m.color, m.mark), a.paint(bold, e.Entity))
	if s := entityNote(e); s != "" {
		b.WriteString("  " + s)
	}
	b.WriteString(a.effect(e.Effect) + "\n")
	for _, f := range e.Fields {
		line := "      " + a.field(f)
		if first := seen.before(e.Entity, f); first != "" {
			f.Lines, line = "", line+"  as in "+first
		}
		b.WriteString(line + a.effect(f.Effect) + "\n")
		a.writeLines(b, f.Lines)
	}
}

// columnLines say which columns a change of a query affects, and who reads them.
func columnLines(c *lineage.Change) []string {
	switch {
	case c == nil:
		return nil
	case c.Unknown:
		return []string{"columns: unknown, because this version of tenon cannot analyse both queries"}
	case c.Same():
		return []string{"columns: none changed"}
	}
	var parts []string
	for _, p := range []struct {
		what  string
		names []string
	}{{"added", c.Added}, {"removed", c.Removed}, {"changed", c.Changed}, {"unchanged", c.Unchanged}} {
		if len(p.names) > 0 {
			parts = append(parts, p.what+" "+strings.Join(few(p.names), ", "))
		}
	}
	line := "columns: " + strings.Join(parts, "; ")
	if c.Rows {
		line += " (the query may select other rows)"
	}
	lines := []string{line}
	if len(c.Readers) > 0 {
		lines = append(lines, "read by "+strings.Join(few(c.Readers), ", "))
	}
	return lines
}

// entityNote describes what changed about an entity except its fields.
func entityNote(e planner.EntityChange) string {
	switch e.Change {
	case planner.Added, planner.Removed:
		return e.Component
	case planner.Renamed:
		return "was " + e.Was
	case planner.Follows:
		return "because of its inputs"
	}
	return ""
}

func (a *app) field(f planner.FieldChange) string {
	before, after := fieldValues(f)
	f.Field = printable(f.Field)
	switch {
	case f.Lines != "" && !isCode(f):
		return f.Field + ":"
	case f.Before == nil:
		after = "new, " + after
	case f.After == nil:
		before = "was " + before
	}
	switch {
	case before == "":
		return fmt.Sprintf("%s: %s", f.Field, a.paint(green, after))
	case after == "":
		return fmt.Sprintf("%s: %s", f.Field, a.paint(red, before))
	}
	return fmt.Sprintf("%s: %s -> %s", f.Field, a.paint(red, before), a.paint(green, after))
}

func isCode(f planner.FieldChange) bool { return strings.HasPrefix(f.Field, "code ") }

// fieldValues formats the values of a field for people, on one line.
func fieldValues(f planner.FieldChange) (before, after string) {
	if a, b := list(f.Before), list(f.After); a != nil && b != nil && len(f.Before)+len(f.After) > reasonLimit {
		if before, after = only("without ", a, b), only("with ", b, a); before+after != "" {
			return before, after
		}
	}
	before, after = value(f.Before), value(f.After)
	if f.Before == nil || f.After == nil {
		return clip(before), clip(after)
	}
	return clipBoth(before, after)
}

// list returns a list of plain values, or nil.
func list(raw json.RawMessage) []string {
	var l []any
	if json.Unmarshal(raw, &l) != nil {
		return nil
	}
	out := []string{}
	for _, v := range l {
		b, err := json.Marshal(v)
		if err != nil {
			return nil
		}
		out = append(out, value(b))
	}
	return out
}

// only lists the values of a that are not in b, if any.
func only(what string, a, b []string) string {
	out := slices.DeleteFunc(slices.Clone(a), func(v string) bool { return slices.Contains(b, v) })
	if len(out) == 0 {
		return ""
	}
	return clip(what + strings.Join(out, ", "))
}

// value formats a value for people: without quotes if it is unambiguous, and a column by
// what it allows.
func value(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		if s == "" || strings.ContainsAny(s, " \"") || s != printable(s) || json.Valid([]byte(s)) {
			return string(raw)
		}
		return s
	}
	var column struct {
		Type             string
		Nullable, Unique bool
		NaN, JSON        bool
		Min, Max         ir.Bound
		Values           json.RawMessage
	}
	if json.Unmarshal(raw, &column) != nil || column.Type == "" {
		return string(raw)
	}
	out := column.Type
	for _, p := range []struct {
		there bool
		text  string
	}{
		{column.Nullable, "nullable"}, {column.Unique, "unique"}, {column.NaN, "nan"}, {column.JSON, "json"},
		{column.Min != "", "min " + string(column.Min)}, {column.Max != "", "max " + string(column.Max)},
		{column.Values != nil, "values " + string(column.Values)},
	} {
		if p.there {
			out += ", " + p.text
		}
	}
	return out
}

func (a *app) effect(e *planner.Effect) string {
	switch {
	case e == nil:
		return ""
	case e.Breaking:
		return "  " + a.paint(red, "✗ "+breaksWhom(e))
	}
	return "  " + a.paint(faint, "✓ compatible")
}

// breaksWhom lists what a change breaks, and what it may break.
func breaksWhom(e *planner.Effect) string {
	var sure, maybe []string
	for _, b := range e.Breaks {
		switch b.Now {
		case "unchanged":
			maybe = append(maybe, b.Who)
		case "":
			sure = append(sure, b.Who)
		default:
			sure = append(sure, fmt.Sprintf("%s (%s too)", b.Who, b.Now))
		}
	}
	var parts []string
	if len(sure) > 0 {
		parts = append(parts, "breaks "+strings.Join(few(sure), ", "))
	}
	if len(maybe) > 0 {
		parts = append(parts, "may break "+strings.Join(few(maybe), ", "))
	}
	return strings.Join(parts, "; ")
}

func (a *app) writeLines(b *strings.Builder, text string) {
	all := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range all {
		line = printable(line)
		switch {
		case text == "":
			return
		case i == mostLines && len(all) > mostLines+1:
			fmt.Fprintf(b, "          %s\n", a.paint(faint, fmt.Sprintf("... %d more lines; --json has them", len(all)-i)))
			return
		case strings.HasPrefix(line, "@@"):
			line = a.paint(cyan, line)
		case strings.HasPrefix(line, "-"):
			line = a.paint(red, line)
		case strings.HasPrefix(line, "+"):
			line = a.paint(green, line)
		}
		fmt.Fprintf(b, "          %s\n", strings.TrimRight(line, " "))
	}
}

// diffSummary counts the differences, in one line.
func diffSummary(c *planner.Comparison) string {
	counts := map[planner.Changed]int{}
	for _, e := range c.Entities {
		counts[e.Change]++
	}
	var parts []string
	for _, k := range []planner.Changed{planner.Added, planner.Removed, planner.Renamed, planner.Edited} {
		if counts[k] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[k], k))
		}
	}
	if n := counts[planner.Follows]; n > 0 {
		parts = append(parts, fmt.Sprintf("%d because of their inputs", n))
	}
	line := strings.Join(parts, ", ")
	if line == "" {
		line = "no entity"
	}
	switch n := len(breakingChanges(c)); n {
	case 0:
		return "Diff: " + line + "."
	case 1:
		return "Diff: " + line + ". 1 breaking change."
	default:
		return fmt.Sprintf("Diff: %s. %d breaking changes.", line, n)
	}
}

// A breakingChange is a change that breaks something; without a field, it is the removal
// of the entity.
type breakingChange struct {
	entity, field string
	effect        *planner.Effect
}

func breakingChanges(c *planner.Comparison) []breakingChange {
	var out []breakingChange
	add := func(entity, field string, e *planner.Effect) {
		if e != nil && e.Breaking {
			out = append(out, breakingChange{entity, field, e})
		}
	}
	for _, e := range c.Entities {
		add(e.Entity, "", e.Effect)
		for _, f := range e.Fields {
			add(e.Entity, f.Field, f.Effect)
		}
	}
	return out
}

// An impactRow is one kind of impact, and the affected entities.
type impactRow struct {
	what  string
	names []string
}

func impactRows(i planner.Impact) []impactRow {
	var out []impactRow
	for _, k := range []struct {
		what     string
		affected []planner.Affected
	}{
		{"run", i.Run}, {"retrain", i.Retrain}, {"evaluate", i.Evaluate}, {"roll out", i.RollOut}, {"write", i.Write}, {"remove", i.Remove},
	} {
		var sure, unless []string
		for _, e := range k.affected {
			if e.Unless {
				unless = append(unless, e.Entity)
			} else {
				sure = append(sure, e.Entity)
			}
		}
		if len(sure) > 0 {
			out = append(out, impactRow{k.what, few(sure)})
		}
		if len(unless) > 0 {
			out = append(out, impactRow{k.what + "?", append(few(unless), "unless inputs turn out unchanged")})
		}
	}
	return out
}

// mostNames limits how many entities of one kind are named.
const mostNames = 12

func few(names []string) []string {
	if len(names) <= mostNames {
		return names
	}
	return append(slices.Clone(names[:mostNames-1]), fmt.Sprintf("and %d more", len(names)-mostNames+1))
}

// wrap joins names in lines of at most width characters, indented except for the first
// line.
func wrap(names []string, indent, width int) string {
	var b strings.Builder
	at := indent
	for i, n := range names {
		sep := ""
		if i > 0 {
			sep = ", "
		}
		if i > 0 && at+len(sep)+len(n) > width {
			sep = ",\n" + strings.Repeat(" ", indent)
			at = indent
		}
		b.WriteString(sep + n)
		at += len(sep) + len(n)
	}
	return b.String()
}

// impactTime describes the time that the impact takes, as far as it is known.
func impactTime(i planner.Impact) string {
	switch {
	case len(i.Items) == 0:
		return "Nothing runs as a consequence."
	case i.Jobs == 0:
		return "No job runs as a consequence."
	case i.Work.Runs == 0:
		return "The duration is unknown: there is no earlier run."
	}
	line := fmt.Sprintf("About %s", took(i.Time.Time))
	if i.Work.Time > i.Time.Time {
		line += fmt.Sprintf(", %s of work in total", took(i.Work.Time))
	}
	line += ", based on earlier runs."
	if i.Unknown > 0 {
		line += fmt.Sprintf(" %d of %s have no earlier run.", i.Unknown, plural(int64(i.Jobs), "job"))
	}
	return line
}
