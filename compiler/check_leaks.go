package compiler

import (
	"fmt"
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

// A cell is a value of a row of a root table.
type cell struct {
	facts.Root
	row string
}

// cells returns the values of the row that a column is made of.
func cells(c *facts.Column, most facts.Use) map[cell]facts.Origin {
	all := map[cell]facts.Origin{}
	for _, o := range c.Origins {
		if o.OfRow() && o.Use <= most {
			all[cell{o.Root, o.Row}] = o
		}
	}
	return all
}

// own finds inputs that are made of all the values that the label is made of, each by
// itself or together.
func (l *leaks) own() *diag.Diagnostic {
	label := cells(l.label, facts.Computed)
	if len(label) == 0 {
		return nil
	}
	covers := func(columns []*facts.Column) bool {
		have := map[cell]bool{}
		for _, c := range columns {
			for at := range cells(c, facts.Windowed) {
				have[at] = true
			}
		}
		for at := range label {
			if !have[at] {
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
		for at := range cells(in, facts.Windowed) {
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
			if _, ok := label[cell{o.Root, o.Row}]; !ok || !o.OfRow() {
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
	copied := true
	for at, o := range label {
		from = append(from, at.Column)
		copied = copied && o.Use == facts.Copied
	}
	slices.Sort(from)
	text := fmt.Sprintf("the label %s is computed from %s, in the same row", l.label.Name, listed(slices.Compact(from)))
	if copied {
		text = fmt.Sprintf("the label %s has the same values", l.label.Name)
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
	for _, o := range in.Origins {
		if o.Whole {
			whole[o.Root] = true
			path = o.Path
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
			l.factory.defined(l.checker, l.table, in.Name, fmt.Sprintf("%s aggregates the label over all rows, also the row itself and those of the test part", in.Name)),
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
		if o.Ahead == (facts.Root{}) || !slices.ContainsFunc(timestamp.Origins, func(t facts.Origin) bool { return t.OfRow() && t.Root == o.Ahead }) {
			continue
		}
		return &diag.Diagnostic{
			Message: fmt.Sprintf("%s learns from later rows", l.model),
			Path:    strings.Join(append(slices.Clone(o.Path), l.model.String()), " -> "),
			Spans: []diag.Span{
				l.factory.defined(l.checker, l.table, in.Name, fmt.Sprintf("%s reads rows later than %q, the timestamp of %s", in.Name, l.table.timestamp, l.table.entity)),
				l.sys.At("", l.model.path("in", "table")...),
			},
			Hint: fmt.Sprintf("end the frame at the row itself or earlier; set exclude: [%q]; or set known: [%[1]q] if that is known when a prediction is made", in.Name),
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
