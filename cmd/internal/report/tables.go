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
)

// A table is a table of texts. A nil table is not shown.
type table struct {
	Title string
	Of    string // the side
	Class string
	Note  string
	Head  []cell
	Rows  [][]cell
}

// A cell has a text, and may be shaded or have a bar.
type cell struct {
	Text  string
	Class string
	Hint  string  // appears under the pointer
	Shade float64 // 0 to 1
	Bars  []bar
}

// A bar is a part of the width of its cell.
type bar struct {
	Class string
	Width float64 // percent
}

// longest is how much of a text of a user's fits into a cell.
const longest = 60

func texts(all ...string) []cell {
	cells := make([]cell, len(all))
	for i, t := range all {
		cells[i] = cell{Text: t}
		if r := []rune(t); len(r) > longest {
			cells[i].Text, cells[i].Hint = string(r[:longest-1])+"…", t
		}
	}
	return cells
}

func (t *table) add(cells ...string) { t.Rows = append(t.Rows, texts(cells...)) }

// fact adds a row of a name and a text, unless that is empty.
func (t *table) fact(name, text string) {
	if text != "" {
		t.Rows = append(t.Rows, []cell{{Text: name, Class: "label"}, {Text: text}})
	}
}

// order lists the metrics that people look at first.
var order = []string{
	"rows", "roc_auc", "average_precision", "accuracy", "balanced_accuracy", "f1", "precision", "recall", "log_loss", "brier_score_loss",
	"matthews_corrcoef", "r2", "mean_absolute_error", "root_mean_squared_error", "median_absolute_error",
}

func byImportance(a, b string) int {
	rank := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order)
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
}

func ordered[V any](m map[string]V) []string { return slices.SortedFunc(maps.Keys(m), byImportance) }

// value writes a number that may be undefined.
func value(v *float64) string {
	if v == nil {
		return "–"
	}
	return number(*v)
}

// interval writes the ends of an interval that may be undefined.
func interval(of map[string][2]float64, name string) string {
	ends, ok := of[name]
	if !ok {
		return "–"
	}
	return number(ends[0]) + " to " + number(ends[1])
}

func metricsTable(e *project.Evaluation) *table {
	if len(e.Metrics) == 0 {
		return nil
	}
	t := &table{Title: "Metrics", Class: "numbers", Head: texts("metric", "value")}
	if len(e.Unquantized) > 0 {
		t.Head = append(t.Head, texts("before it was quantized")...)
	}
	if len(e.Baseline) > 0 {
		t.Head = append(t.Head, texts("baseline")...)
	}
	if len(e.Serving) > 0 {
		name := "in service"
		if e.ServingVersion > 0 {
			name += fmt.Sprintf(", version %d", e.ServingVersion)
		}
		t.Head = append(t.Head, texts(name)...)
	}
	if e.Intervals != nil {
		t.Head = slices.Insert(t.Head, 2, texts(e.Intervals.Title())...)
	}
	for _, name := range ordered(e.Metrics) {
		row := texts(name+direction(e.HigherIsBetter, name), value(e.Metrics[name]))
		if e.Intervals != nil {
			row = append(row, texts(interval(e.Intervals.Metrics, name))...)
		}
		if len(e.Unquantized) > 0 {
			row = append(row, texts(value(e.Unquantized[name]))...)
		}
		if len(e.Baseline) > 0 {
			row = append(row, texts(value(e.Baseline[name]))...)
		}
		if len(e.Serving) > 0 {
			row = append(row, texts(value(e.Serving[name]))...)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// direction says which values of a metric are good, if that is not usual.
func direction(higher map[string]bool, name string) string {
	if up, known := higher[name]; known && !up {
		return " (lower is better)"
	}
	return ""
}

func changesTable(c *project.Compared) *table {
	if len(c.Metrics) == 0 {
		return nil
	}
	t := &table{Title: "Metrics", Class: "numbers", Head: texts("metric", c.Before.At(), c.After.At(), "change", "")}
	for _, m := range Metrics(c) {
		name := MetricName(c, m)
		change := "–"
		if m.Change != nil {
			change = Change(*m.Change)
		}
		row := texts(name, value(m.Before), value(m.After), change, string(m.Verdict))
		row[3].Class, row[4].Class = string(m.Verdict), string(m.Verdict)
		t.Rows = append(t.Rows, row)
	}
	return t
}

// Metrics returns the metrics of each unit in the order in which people look at them.
func Metrics(c *project.Compared) []project.MetricChange {
	var units []string
	for _, m := range c.Metrics {
		if !slices.Contains(units, m.Unit) {
			units = append(units, m.Unit)
		}
	}
	return slices.SortedStableFunc(slices.Values(c.Metrics), func(a, b project.MetricChange) int {
		return cmp.Or(cmp.Compare(slices.Index(units, a.Unit), slices.Index(units, b.Unit)), byImportance(a.Name, b.Name))
	})
}

// MetricName names a metric, with its stage unless it is the evaluation's.
func MetricName(c *project.Compared, m project.MetricChange) string {
	_, stage := ir.SplitID(m.Unit)
	if u := c.After.Evaluated(); stage == "" || len(c.After.Units) == 1 || u != nil && u.Unit == m.Unit {
		return m.Name
	}
	return stage + ": " + m.Name
}

// Change writes a difference with its sign.
func Change(v float64) string {
	if v > 0 {
		return "+" + number(v)
	}
	return number(v)
}

func confusionTable(s side) *table {
	d := s.Details
	if d.Confusion == nil {
		return nil
	}
	names := slices.Clone(d.Classes)
	if d.Others > 0 {
		names = append(names, fmt.Sprintf("%d others", d.Others))
	}
	t := &table{Title: "Confusion", Of: s.Name, Class: "confusion " + s.class(), Head: texts(append([]string{"actual \\ predicted"}, names...)...)}
	if len(names) > 5 {
		t.Class += " many"
	}
	t.Note = "Rows of the test set, and their share of the actual class."
	if h := d.Threshold; h != nil && h.Reason == "" {
		t.Note += fmt.Sprintf(" A score of at least %s is predicted as %s.", number(h.Value), d.Positive)
	} else if h != nil {
		t.Note += " No threshold: " + h.Reason + "."
	}
	for i, counts := range d.Confusion.Counts {
		if i >= len(names) || i >= len(d.Confusion.Shares) {
			break
		}
		row := texts(names[i])
		row[0].Class = "label"
		for j, n := range counts {
			k := cell{Text: fmt.Sprint(n)}
			if j < len(d.Confusion.Shares[i]) && d.Confusion.Shares[i][j] != nil {
				k.Shade = *d.Confusion.Shares[i][j]
				k.Hint = number(100*k.Shade) + "% of the row"
				if len(names) <= 5 {
					k.Text += fmt.Sprintf(" (%.0f%%)", 100*k.Shade)
				}
			}
			if k.Shade > 0.55 {
				k.Class = "dark"
			}
			row = append(row, k)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// below separates the values of two sides that are on two lines.
const below = "\n→\u00a0"

// both writes the values of the sides in one cell.
func both(values []string) string { return strings.Join(values, " → ") }

func classesTable(sides []side) *table {
	t := &table{Title: "Classes", Class: "numbers", Head: texts("class", "rows", "predicted", "precision", "recall", "f1")}
	if sides[0].Details.Positive == "" { // otherwise they are metrics of the model
		t.Head = append(t.Head, texts("ROC area", "average precision")...)
	}
	if len(sides) == 2 {
		t.Note = "Each cell has " + sides[0].Name + " → " + sides[1].Name + "."
	}
	var names []string
	for _, s := range sides {
		for _, c := range s.Details.PerClass {
			if !slices.Contains(names, c.Class) {
				names = append(names, c.Class)
			}
		}
	}
	for _, name := range names {
		columns := make([][]string, len(t.Head)-1)
		var hints []string
		for _, s := range sides {
			for i, text := range s.classRow(name, &hints)[:len(columns)] {
				columns[i] = append(columns[i], text)
			}
		}
		row := texts(name)
		for _, c := range columns {
			row = append(row, texts(both(c))...)
		}
		if len(hints) > 0 {
			row[0].Hint = strings.Join(hints, "; ")
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// classRow are the cells of one class.
func (s side) classRow(name string, hints *[]string) []string {
	row := slices.Repeat([]string{"–"}, 7)
	for _, c := range s.Details.PerClass {
		if c.Class != name {
			continue
		}
		copy(row, []string{fmt.Sprint(c.Rows), fmt.Sprint(c.Predicted), value(c.Precision), value(c.Recall), value(c.F1)})
		for _, m := range slices.Sorted(maps.Keys(c.Reasons)) {
			*hints = append(*hints, m+": "+c.Reasons[m])
		}
	}
	for _, c := range s.Details.Curves {
		if c.Class != name {
			continue
		}
		if c.ROC.Reason == "" {
			row[5] = number(c.ROC.Area)
		}
		if c.PrecisionRecall.Reason == "" {
			row[6] = number(c.PrecisionRecall.AveragePrecision)
		}
	}
	return row
}

func quantilesTable(sides []side) *table {
	t := &table{Title: "Quantiles of the residuals", Class: "numbers", Head: texts("quantile")}
	for _, s := range sides {
		q := s.Details.Quantiles
		if q == nil || q.Reason != "" {
			continue
		}
		t.Head = append(t.Head, texts(cmp.Or(s.Name, "actual - predicted"))...)
		for i := range min(len(q.Of), len(q.Values)) {
			if i == len(t.Rows) {
				t.add(number(100*q.Of[i]) + "%")
			}
			t.Rows[i] = append(t.Rows[i], texts(number(q.Values[i]))...)
		}
	}
	if len(t.Rows) == 0 {
		return nil
	}
	return t
}

func importancesTable(sides []side) *table {
	t := &table{Title: "Importances", Class: "importances", Head: texts("feature", "")}
	var notes, names, kinds []string
	values := make([]map[string]float64, len(sides))
	largest, negative := 0.0, false
	for i, s := range sides {
		m := s.Details.Importances
		prefix := ""
		if s.Name != "" {
			prefix = s.Name + ": "
		}
		switch {
		case m == nil:
			continue
		case m.Reason != "":
			notes = append(notes, prefix+m.Reason)
			continue
		}
		note := m.Kind
		if m.Others > 0 {
			note += fmt.Sprintf("; %d more features are less important", m.Others)
		}
		notes, kinds = append(notes, prefix+note), append(kinds, note)
		t.Head = append(t.Head, texts(s.Name)...)
		values[i] = map[string]float64{}
		for _, f := range m.Features {
			values[i][f.Name] = f.Value
			largest = max(largest, math.Abs(f.Value))
			if !slices.Contains(names, f.Name) {
				names = append(names, f.Name)
			}
		}
	}
	if len(kinds) == 2 && kinds[0] == kinds[1] {
		notes = kinds[:1]
	}
	t.Note = strings.Join(notes, ". ")
	if t.Note == "" {
		return nil
	}
	if len(names) == 0 {
		t.Head = nil
	}
	for _, name := range names {
		row := append(texts(name), cell{Class: "bars"})
		for i, of := range values {
			if of == nil {
				continue
			}
			v, ok := of[name]
			if !ok {
				row = append(row, cell{Text: "–"})
				continue
			}
			class := sides[i].class()
			if v < 0 {
				class, negative = class+" negative", true
			}
			row[1].Bars = append(row[1].Bars, bar{class, math.Round(1000*math.Abs(v)/max(largest, math.SmallestNonzeroFloat64)) / 10})
			row = append(row, cell{Text: number(v)})
		}
		t.Rows = append(t.Rows, row)
	}
	if negative {
		t.Note += ". Pale bars are negative"
	}
	return t
}

// segmentTables are the metrics by the values of columns.
func segmentTables(sides []side) []*table {
	var columns []string
	for _, s := range sides {
		for _, g := range s.Details.Segments {
			if !slices.Contains(columns, g.Column) {
				columns = append(columns, g.Column)
			}
		}
	}
	var tables []*table
	for _, column := range columns {
		tables = append(tables, segmentTable(sides, column))
	}
	return tables
}

func segmentTable(sides []side, column string) *table {
	t := &table{Title: "By " + column, Class: "numbers wide"}
	var groups, metrics []string
	found := make([]map[string]project.Group, len(sides))
	for i, s := range sides {
		found[i] = map[string]project.Group{}
		for _, of := range s.Details.Segments {
			if of.Column != column {
				continue
			}
			for _, g := range of.Groups {
				found[i][g.Group] = g
				if !slices.Contains(groups, g.Group) {
					groups = append(groups, g.Group)
				}
				for m := range g.Metrics {
					if !slices.Contains(metrics, m) {
						metrics = append(metrics, m)
					}
				}
			}
		}
	}
	slices.SortFunc(metrics, byImportance)
	t.Head = texts(append([]string{column, "rows"}, metrics...)...)
	for i := range t.Head[2:] {
		t.Head[2+i].Text = strings.ReplaceAll(t.Head[2+i].Text, "_", "_\u200b") // where a line may break
	}
	if len(sides) == 2 {
		t.Note = "Each cell has " + sides[0].Name + " → " + sides[1].Name + "."
	}
	for _, name := range groups {
		row := texts(name)
		var hints, rows []string
		for _, of := range found {
			g, ok := of[name]
			if !ok {
				rows = append(rows, "–")
				continue
			}
			rows = append(rows, fmt.Sprint(g.Rows))
			if g.Reason != "" {
				hints = append(hints, g.Reason)
			}
			hints = append(hints, g.Reasons...)
		}
		row = append(row, texts(strings.Join(rows, below))...)
		for _, m := range metrics {
			var cells []string
			for _, of := range found {
				cells = append(cells, value(of[name].Metrics[m]))
			}
			row = append(row, texts(strings.Join(cells, below))...)
		}
		if len(hints) > 0 {
			row[0].Hint = strings.Join(hints, "; ")
			row[1].Text += " *"
			row[1].Hint = row[0].Hint
		}
		t.Rows = append(t.Rows, row)
	}
	if slices.ContainsFunc(t.Rows, func(r []cell) bool { return strings.HasSuffix(r[1].Text, " *") }) {
		t.Note = strings.TrimSpace(t.Note + " *: " + strings.Join(distinctHints(t.Rows), "; ") + ".")
	}
	return t
}

func distinctHints(rows [][]cell) []string {
	var all []string
	for _, r := range rows {
		if h := r[1].Hint; h != "" && !slices.Contains(all, h) {
			all = append(all, h)
		}
	}
	return all
}
