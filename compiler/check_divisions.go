package compiler

import (
	"fmt"
	"math"
	"slices"

	"github.com/tenon-ml/tenon/compiler/facts"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// checkModels refuses models that have nothing to learn or to be tested on, as far as facts
// prove it: a label with one value, a split by a group of which there is one, or one at a
// time that is not among those of the rows.
func (c *checker) checkModels(f *factory) error {
	for _, id := range c.order {
		e := c.entities[id]
		table := e.input("table")
		if e.component.Section != "models" || c.broken[id] || table == nil || table.out == nil || c.broken[table.from] {
			continue
		}
		t, err := f.table(table.out)
		if err != nil {
			return err
		}
		d := divisions{checker: c, factory: f, model: e, table: table.out, facts: t}
		d.label()
		split, _ := e.fields.at("test").(object)
		component, err := c.component(stringOf(split.get("component")))
		if err != nil || component.Divides == nil {
			continue
		}
		switch component.Divides.By {
		case "groups":
			d.groups(component.Divides.Column, stringOf(split.get(component.Divides.Column)))
		case "time":
			for name, k := range component.Columns {
				if k.Type == "time" && len(component.Times) == 1 {
					if err := d.time(component.Times[0], stringOf(split.get(component.Times[0])), stringOf(split.get(name))); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

type divisions struct {
	*checker
	factory *factory
	model   *entity
	table   *out
	facts   facts.Table
}

// constant returns the only value that a column has, or false.
func (d *divisions) constant(name string) (string, bool) {
	column, declared := d.facts.Column(name), d.table.schema.Column(name)
	if column == nil || declared == nil || declared.Nullable || declared.NaN {
		return "", false
	}
	r := column.Within()
	if !r.Constant() {
		return "", false
	}
	if r.Kind == facts.Texts {
		return "'" + r.String() + "'", true
	}
	return r.String(), true
}

func (d *divisions) label() {
	name := d.model.string("label")
	value, ok := d.constant(name)
	if !ok {
		return
	}
	d.fail(d.model, diag.Diagnostic{
		Message: fmt.Sprintf("the label of %s has only one value, %s", d.model, value),
		Wanted:  "a label with at least two values",
		Spans:   append([]diag.Span{d.sys.At("", d.model.path("label")...)}, d.why(name)...),
		Hint:    "keep rows with other values, or predict another column",
	})
}

func (d *divisions) groups(field, name string) {
	value, ok := d.constant(name)
	if !ok {
		return
	}
	d.fail(d.model, diag.Diagnostic{
		Message: fmt.Sprintf("the test part of %s takes whole groups of %q, of which there is only one, %s", d.model, name, value),
		Wanted:  "at least two groups",
		Spans:   append([]diag.Span{d.sys.At("", d.model.path("test", field)...)}, d.why(name)...),
		Hint:    "split by another column, or keep rows of other groups",
	})
}

func (d *divisions) time(field, after, name string) error {
	at, ok := facts.ParseTime(after)
	column := d.facts.Column(name)
	if !ok || column == nil {
		return nil
	}
	boundary, r := float64(at.UnixMicro()), column.Within()
	if declared := d.table.schema.Column(name); r.Kind != facts.Times || declared == nil {
		return nil
	} else if declared.Type == "date" {
		const day = 24 * 60 * 60 * 1e6
		boundary = math.Floor(boundary/day) * day
	}
	part, when := "test", "from "+after+" on"
	switch {
	case r.High < boundary:
	case r.Low >= boundary:
		part, when = "training", "before "+after
	default:
		return d.fileTimes(field, after, column, boundary)
	}
	d.fail(d.model, diag.Diagnostic{
		Message: fmt.Sprintf("the %s part of %s is empty: no row has %q %s", part, d.model, name, when),
		Wanted:  "a time within those of the rows: " + r.String(), Found: after,
		Spans: append([]diag.Span{d.sys.At("", d.model.path("test", field)...)}, d.why(name)...),
	})
	return nil
}

// fileTimes refuses a split at a time that is not among those of the file that the rows come
// from.
func (d *divisions) fileTimes(field, after string, column *facts.Column, boundary float64) error {
	o, name := d.table, column.Name
	for made := d.made(o, name); made != nil; made = d.made(o, name) {
		in := o.entity.input(made.Of.Input)
		if in == nil || in.out == nil {
			return nil
		}
		o, name = in.out, made.Of.Column
	}
	file, times, known, err := d.timesOf(o, name)
	if err != nil || !known {
		return err
	}
	part, when := "test", "from "+after+" on"
	switch {
	case float64(times[1]) < boundary:
	case float64(times[0]) >= boundary:
		part, when = "training", "before "+after
	default:
		return nil
	}
	r := facts.Range{Kind: facts.Times, Low: float64(times[0]), High: float64(times[1])}
	label := fmt.Sprintf("%s is %s", name, r)
	spans := []diag.Span{d.sys.At("", d.model.path("test", field)...), d.columnSpan(file.entity, name)}
	for _, name := range file.files {
		spans = append(spans, diag.Span{Pos: diag.Pos{File: d.named(name)}, Label: label})
		label = "and here"
	}
	d.fail(d.model, diag.Diagnostic{
		Message: fmt.Sprintf("the %s part of %s is empty: no row has %q %s", part, d.model, column.Name, when),
		Wanted:  "a time within those of the rows: " + r.String(), Found: after,
		Spans: spans,
	})
	return nil
}

// splitsByTime reports whether a model is split at a time.
func (c *checker) splitsByTime() bool {
	for _, e := range c.entities {
		split, _ := e.fields.at("test").(object)
		if component, err := c.component(stringOf(split.get("component"))); err == nil && component.Divides != nil && component.Divides.By == "time" {
			return true
		}
	}
	return false
}

// made returns what a query gives for a column of its table, or nil if no query makes it.
func (d *divisions) made(o *out, name string) *facts.Column {
	i := slices.IndexFunc(d.factory.made[o], func(c facts.Column) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &d.factory.made[o][i]
}

// why returns what decides which values a column has: the conditions that select rows, and
// where the value is computed or declared.
func (d *divisions) why(name string) []diag.Span {
	var spans []diag.Span
	o := d.table
	for {
		e := o.entity
		made := d.made(o, name)
		if made == nil {
			break
		}
		for _, offset := range made.Narrowed {
			s := d.sqlSpan(e, e.string(e.component.SQL), offset)
			s.Label = "only rows with this condition are left"
			spans = append(spans, s)
		}
		in := e.input(made.Of.Input)
		if in == nil || in.out == nil {
			if len(spans) == 0 && made.Offset >= 0 {
				s := d.sqlSpan(e, e.string(e.component.SQL), made.Offset)
				s.Label = fmt.Sprintf("this is %s", made.Range)
				spans = append(spans, s)
			}
			break
		}
		o, name = in.out, made.Of.Column
	}
	if len(spans) == 0 {
		return []diag.Span{d.tableColumn(o, name)}
	}
	return spans
}

// unbounded forgets the range of a column whose values are rounded or may be NaN.
func unbounded(c *facts.Column, col *ir.Column) {
	if col == nil || col.NaN || col.Type == "float32" {
		c.Range = facts.Range{}
	}
}
