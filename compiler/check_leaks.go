package compiler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/facts"
	"github.com/tenon-ml/tenon/internal/diag"
)

// checkLeaks refuses models that learn from what is not known when they predict: their own
// label, an aggregate of it over all rows, or rows that come later.
func (c *checker) checkLeaks(f *factory) error {
	for _, id := range c.order {
		e := c.entities[id]
		if e.component.Section != "models" || c.broken[id] {
			continue
		}
		table, model := e.input("table"), e.outs["model"]
		if table == nil || table.out == nil || model == nil || model.signature == nil || c.broken[table.from] {
			continue
		}
		t, err := f.table(table.out)
		if err != nil {
			return err
		}
		label := t.Column(e.string("label"))
		if label == nil {
			continue
		}
		l := leaks{checker: c, factory: f, model: e, table: table.out, facts: t, label: label}
		var known []*facts.Column
		for _, in := range model.signature.Input {
			column := t.Column(in.Name)
			switch {
			case column == nil:
			case slices.Contains(stringsOf(e.fields.get("known")), in.Name):
				known = append(known, column)
			default:
				l.inputs = append(l.inputs, column)
			}
		}
		if d := l.find(); d != nil {
			c.fail(e, *d)
			continue
		}
		inputs := l.inputs
		for _, column := range known {
			if l.inputs = append(slices.Clone(inputs), column); l.find() != nil {
				c.known[e.id()] = append(c.known[e.id()], column.Name)
			}
		}
	}
	return nil
}

// leaks finds the leaks of one model.
type leaks struct {
	*checker
	factory *factory
	model   *entity
	table   *out
	facts   facts.Table
	label   *facts.Column
	inputs  []*facts.Column
}

// find returns the first leak, or nil.
func (l *leaks) find() *diag.Diagnostic {
	if l.label.Partial {
		return nil
	}
	if d := l.own(); d != nil {
		return d
	}
	for _, in := range l.inputs {
		if d := l.averaged(in); d != nil {
			return d
		}
		if d := l.ahead(in); d != nil {
			return d
		}
	}
	if d := l.fitted(); d != nil {
		return d
	}
	return l.predicted()
}

// A cell is a value of a row of a root table, or what an aggregate or a window makes of
// several of them.
type cell struct {
	facts.Root
	row, set string
}

// cellOf returns the cell that an origin stands for.
func cellOf(o facts.Origin) cell {
	if o.OfRow() {
		return cell{o.Root, o.Row, ""}
	}
	return cell{o.Root, "", o.Set}
}

// cells returns the values of the row that a column is made of.
func cells(c *facts.Column, most facts.Use) map[cell]facts.Origin {
	all := map[cell]facts.Origin{}
	for _, o := range c.Origins {
		if o.OfRow() && o.Use <= most {
			all[cellOf(o)] = o
		}
	}
	return all
}

// summaries returns the values of aggregates and windows that a column is made of.
func summaries(c *facts.Column) map[cell]facts.Origin {
	all := map[cell]facts.Origin{}
	for _, o := range c.Origins {
		if !o.OfRow() && o.Set != "" && !o.Decides {
			all[cellOf(o)] = o
		}
	}
	return all
}

// determining returns the values that determine a label: those of its row, or without any
// those of aggregates and windows.
func determining(label *facts.Column) map[cell]facts.Origin {
	if all := cells(label, facts.Computed); len(all) > 0 {
		return all
	}
	return summaries(label)
}

// revealing returns the values that an input is made of.
func revealing(c *facts.Column) map[cell]facts.Origin {
	all := cells(c, facts.Windowed)
	maps.Copy(all, summaries(c))
	return all
}

// readsLabel reports whether an origin is one of the values that a label is made of, or of a
// row whose presence is the label.
func readsLabel(label map[cell]facts.Origin, o facts.Origin) bool {
	if _, ok := label[cellOf(o)]; ok {
		return true
	}
	if !o.OfRow() {
		return false
	}
	for at, l := range label {
		if l.Match && at.row == o.Row && at.Table == o.Table {
			return true
		}
	}
	return false
}

// own finds inputs that are made of all the values that the label is made of, each by
// itself or together.
func (l *leaks) own() *diag.Diagnostic {
	if slices.ContainsFunc(l.label.Origins, func(o facts.Origin) bool { return o.Ahead != (facts.Root{}) }) {
		return nil // what happens later decides
	}
	for _, label := range alternatives(determining(l.label)) {
		if d := l.reveals(label); d != nil {
			return d
		}
	}
	return nil
}

// alternatives returns the values of a label by the part of a UNION that has them.
func alternatives(label map[cell]facts.Origin) []map[cell]facts.Origin {
	var parts []string
	for _, o := range label {
		parts = append(parts, o.Part)
	}
	slices.Sort(parts)
	parts = slices.Compact(parts)
	if len(parts) > 1 && parts[0] == "" {
		parts = parts[1:] // what all parts have
	}
	var all []map[cell]facts.Origin
	for _, p := range parts {
		of := map[cell]facts.Origin{}
		for at, o := range label {
			if o.Part == p || o.Part == "" {
				of[at] = o
			}
		}
		all = append(all, of)
	}
	return all
}

// reveals finds inputs that are made of all these values.
func (l *leaks) reveals(label map[cell]facts.Origin) *diag.Diagnostic {
	covers := func(columns []*facts.Column) bool {
		have := map[cell]bool{}
		for _, c := range columns {
			for at := range revealing(c) {
				have[at] = true
			}
			for _, o := range c.Origins {
				if o.OfRow() {
					have[cell{facts.Root{Table: o.Table}, o.Row, ""}] = true
				}
			}
		}
		for at, o := range label {
			if !have[at] && !(o.Match && have[cell{facts.Root{Table: at.Table}, at.row, ""}]) {
				return false
			}
		}
		return true
	}
	var alone, together []*facts.Column
	for _, in := range l.inputs {
		if covers([]*facts.Column{in}) {
			alone = append(alone, in)
		}
		for at := range revealing(in) {
			if _, ok := label[at]; ok {
				together = append(together, in)
				break
			}
		}
	}
	switch {
	case len(alone) > 0:
		return l.report(label, alone, true)
	case covers(together):
		return l.report(label, together, false)
	}
	return nil
}

// report reports the inputs that reveal the label, each alone or all together.
func (l *leaks) report(label map[cell]facts.Origin, blamed []*facts.Column, alone bool) *diag.Diagnostic {
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s learns from its own label", l.model),
		Hint:    fmt.Sprintf("set %s, or %s if that is known when a prediction is made", listField("exclude", blamed), listField("known", blamed)),
	}
	if !alone {
		d.Hint = fmt.Sprintf("together, these inputs determine the label: exclude one of them, or set %s if they are known when a prediction is made", listField("known", blamed))
	}
	for _, in := range blamed {
		var from []string
		for _, o := range in.Origins {
			if !readsLabel(label, o) {
				continue
			}
			from = append(from, o.Column)
			if d.Path == "" {
				d.Path = strings.Join(append(slices.Clone(o.Path), l.model.String()), " -> ")
			}
		}
		slices.Sort(from)
		text := fmt.Sprintf("%s is computed from %s", in.Name, listed(slices.Compact(from)))
		if len(in.Origins) == 1 && in.Origins[0].Use == facts.Copied {
			text = fmt.Sprintf("%s is %s", in.Name, in.Origins[0].Column)
			if in.Origins[0].Column == in.Name {
				text = fmt.Sprintf("%s is an input", in.Name)
			}
		}
		d.Spans = append(d.Spans, l.factory.defined(l.checker, l.table, in.Name, text))
	}
	var from []string
	copied, aggregated, match := true, false, ""
	for at, o := range label {
		from = append(from, at.Column)
		copied, aggregated = copied && o.Use == facts.Copied, aggregated || at.set != ""
		if id, _ := cutPath(at.Table); o.Match && l.entities[id] != nil {
			match = l.entities[id].String()
		}
	}
	slices.Sort(from)
	text := fmt.Sprintf("the label %s is computed from %s, in the same row", l.label.Name, listed(slices.Compact(from)))
	switch {
	case copied:
		text = fmt.Sprintf("the label %s has the same values", l.label.Name)
	case match != "":
		text = fmt.Sprintf("the label %s shows whether there is a row of %s", l.label.Name, match)
	case aggregated:
		text = fmt.Sprintf("the label %s is computed from the same aggregate of %s", l.label.Name, listed(slices.Compact(from)))
	}
	d.Spans = append(d.Spans, l.factory.defined(l.checker, l.table, l.label.Name, text), l.sys.At("the label", l.model.path("label")...))
	return &d
}

// averaged finds an input that aggregates the values that the label is made of over all
// rows, so that the row itself and later ones are among them.
func (l *leaks) averaged(in *facts.Column) *diag.Diagnostic {
	label := cells(l.label, facts.Computed)
	whole := map[facts.Root]bool{}
	var path []string
	var site facts.Site
	for _, o := range in.Origins {
		if o.Whole {
			whole[o.Root] = true
			path, site = o.Path, o.Site
		}
	}
	if len(label) == 0 {
		return nil
	}
	for at := range label {
		if !whole[at.Root] {
			return nil
		}
	}
	return &diag.Diagnostic{
		Message: fmt.Sprintf("%s learns from an aggregate of its own label", l.model),
		Path:    strings.Join(append(slices.Clone(path), l.model.String()), " -> "),
		Spans: []diag.Span{
			l.factory.construct(l.checker, l.table, in.Name, site, fmt.Sprintf("%s aggregates the label over all rows, also the row itself and those of the test part", in.Name)),
			l.factory.defined(l.checker, l.table, l.label.Name, "the label "+l.label.Name),
			l.sys.At("the label", l.model.path("label")...),
		},
		Hint: fmt.Sprintf("aggregate earlier rows only, by a window that ends before the row or a join on an earlier time; set exclude: [%q]; or set known: [%[1]q] if that is known when a prediction is made", in.Name),
	}
}

// ahead finds out whether an input reads rows later than its own.
func (l *leaks) ahead(in *facts.Column) *diag.Diagnostic {
	timestamp := l.facts.Column(l.table.timestamp)
	if timestamp == nil {
		return nil
	}
	for _, o := range in.Origins {
		framed := o.Ahead != (facts.Root{}) && slices.ContainsFunc(timestamp.Origins, func(t facts.Origin) bool { return t.OfRow() && t.Root == o.Ahead })
		joined := o.Later != (facts.Moment{}) && slices.ContainsFunc(timestamp.Origins, func(t facts.Origin) bool {
			return t.Use == facts.Copied && facts.Moment{Root: t.Root, Row: t.Row} == o.Later
		})
		if !framed && !joined {
			continue
		}
		fix := "end the frame at the row itself or earlier"
		if joined {
			fix = "select only rows at this time or earlier"
		}
		return &diag.Diagnostic{
			Message: fmt.Sprintf("%s learns from later rows", l.model),
			Path:    strings.Join(append(slices.Clone(o.Path), l.model.String()), " -> "),
			Spans: []diag.Span{
				l.factory.construct(l.checker, l.table, in.Name, o.Site, fmt.Sprintf("%s reads rows later than %q, the timestamp of %s", in.Name, l.table.timestamp, l.table.entity)),
				l.sys.At("", l.model.path("in", "table")...),
			},
			Hint: fmt.Sprintf("%s; set exclude: [%q]; or set known: [%[2]q] if that is known when a prediction is made", fix, in.Name),
		}
	}
	return nil
}

// listField returns a field of a model with the names of columns.
func listField(name string, columns []*facts.Column) string {
	var all []string
	for _, c := range columns {
		all = append(all, fmt.Sprintf("%q", c.Name))
	}
	return name + ": [" + strings.Join(all, ", ") + "]"
}

// listed joins words as prose.
func listed(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}
