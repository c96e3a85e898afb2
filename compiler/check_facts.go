package compiler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/facts"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// checkFacts checks what columns mean: queries against the values that their inputs may
// have, and models for leaks.
func (c *checker) checkFacts(ctx context.Context) error {
	f := newFactory(c.program)
	for _, id := range c.order {
		e := c.entities[id]
		o := e.outs["out"]
		if e.typing == nil || o == nil || c.broken[id] {
			continue
		}
		t, err := f.table(o)
		if err != nil {
			return err
		}
		c.checkNulls(f, e, o)
		for _, finding := range t.Findings {
			if finding.Kind == facts.Idle {
				c.warnIdle(e, finding)
				continue
			}
			c.fail(e, c.found(e, finding))
		}
		c.checkRanges(f, e, o, c.checkConstants(e, o, t))
		c.checkUnits(f, e, o)
		c.checkKeys(e, o, t)
	}
	if err := c.checkModels(f); err != nil {
		return err
	}
	if err := c.checkLeaks(f); err != nil {
		return err
	}
	if err := c.checkUnavailable(f); err != nil {
		return err
	}
	if err := c.checkRequests(ctx, f); err != nil {
		return err
	}
	return c.checkPrivate()
}

// found describes a finding of a query.
func (c *checker) found(e *entity, f facts.Finding) diag.Diagnostic {
	at := c.sqlSpan(e, e.string(e.component.SQL), f.Offset)
	if f.Kind == facts.WithNull {
		at.Label = ""
		return diag.Diagnostic{
			Message: fmt.Sprintf("the SQL of %s compares with NULL, which is never true", e),
			Spans:   []diag.Span{at},
			Hint:    "write IS NULL or IS NOT NULL",
		}
	}
	switch f.Kind {
	case facts.NoDate:
		at.Label = ""
		return diag.Diagnostic{
			Message: fmt.Sprintf("the SQL of %s has a text that is not a valid %s", e, ir.Types[f.Columns[0].Type]),
			Found:   written(f.Constant), Spans: []diag.Span{at}, Hint: literalHints[ir.Types[f.Columns[0].Type]],
		}
	case facts.OtherZone:
		return c.otherZone(e, f, at)
	case facts.OtherUnit:
		return c.otherUnit(e, f)
	case facts.Apart:
		at.Label = "the left side is " + f.Ranges[0].String() + ", the right side " + f.Ranges[1].String()
		d := diag.Diagnostic{Message: fmt.Sprintf("a condition of %s is never true: its two sides have no values that satisfy it", e), Spans: []diag.Span{at}}
		if in := e.input(f.Of.Input); in != nil && in.out != nil {
			s := c.tableColumn(in.out, f.Of.Column)
			s.Label = f.Of.Column + " is " + allowed(*in.out.schema.Column(f.Of.Column))
			d.Spans = append(d.Spans, s)
		}
		return d
	case facts.Conflict:
		at.Label = "for this, " + f.Column + " is " + f.Ranges[0].String()
		other := c.sqlSpan(e, e.string(e.component.SQL), f.Other)
		other.Label = "but here, " + f.Column + " is " + f.Ranges[1].String()
		return diag.Diagnostic{Message: fmt.Sprintf("two conditions of %s are never true together: they exclude all values of %s", e, f.Column), Spans: []diag.Span{at, other}}
	case facts.Unreached:
		at.Label = "this is never true here"
		other := c.sqlSpan(e, e.string(e.component.SQL), f.Other)
		other.Label = "this comes first, and is true whenever the other condition is"
		return diag.Diagnostic{
			Message: fmt.Sprintf("a CASE of %s has a condition that never decides", e), Spans: []diag.Span{at, other},
			Hint: "put the narrower condition first",
		}
	case facts.NoSuchPart:
		return diag.Diagnostic{
			Message: fmt.Sprintf("the SQL of %s compares %s with a value that it cannot have", e, f.Column),
			Wanted:  f.Ranges[0].String(), Found: written(f.Constant), Spans: []diag.Span{at},
		}
	case facts.OtherLetters:
		convert := map[string]func(string) string{"upper": strings.ToUpper, "lower": strings.ToLower}[f.Column]
		return diag.Diagnostic{
			Message: fmt.Sprintf("the SQL of %s compares a text in %s case with one that is not", e, f.Column),
			Found:   written(f.Constant),
			Spans:   []diag.Span{at},
			Hint:    fmt.Sprintf("write '%s'", convert(f.Text)),
		}
	}
	d := diag.Diagnostic{Found: written(f.Constant), Spans: []diag.Span{at}}
	if f.Kind == facts.NoSuchValue {
		d.Message = fmt.Sprintf("the SQL of %s compares %s with a value that it cannot have", e, f.Column)
	} else {
		d.Message = fmt.Sprintf("a condition of %s is never true: no value of %s satisfies it", e, f.Column)
	}
	if in := e.input(f.Of.Input); in != nil && in.out != nil {
		if col := in.out.schema.Column(f.Of.Column); col != nil {
			d.Wanted = allowed(*col)
			d.Spans = append(d.Spans, c.columnSpan(in.out.entity, col.Name))
			if !f.Number {
				d.Hint = nearest(f.Text, col.Values)
			}
		}
	}
	return d
}

// checkConstants refuses constants that a query gives for a column and that the declaration
// of the column does not allow. It returns these columns.
func (c *checker) checkConstants(e *entity, o *out, t facts.Table) map[string]bool {
	reported := map[string]bool{}
	for _, column := range t.Columns {
		declared := o.schema.Column(column.Name)
		if declared == nil {
			continue
		}
		for _, v := range column.Constants {
			if domain(declared).Allows(v) {
				continue
			}
			d := diag.Diagnostic{
				Message: fmt.Sprintf("the SQL of %s gives %s a value that its schema does not allow", e, column.Name),
				Wanted:  allowed(*declared),
				Found:   written(v),
				Spans:   []diag.Span{c.sqlSpan(e, e.string(e.component.SQL), v.Offset), c.columnSpan(e, column.Name)},
			}
			if !v.Number {
				d.Hint = nearest(v.Text, declared.Values)
			}
			c.fail(e, d)
			reported[column.Name] = true
		}
	}
	return reported
}

// domain returns what a declared column may contain. Bounds of floats that are rounded or
// that may be NaN say nothing about comparisons.
func domain(col *ir.Column) facts.Domain {
	if col == nil || col.NaN || col.Type == "float32" {
		return facts.Domain{}
	}
	return facts.Domain{Values: col.Values, Min: col.Min.String(), Max: col.Max.String()}
}

// allowed describes the values of a column.
func allowed(col ir.Column) string {
	if len(col.Values) > 0 {
		return "one of " + strings.Join(col.Values, ", ")
	}
	var all []string
	if col.Min != "" {
		all = append(all, "at least "+col.Min.String())
	}
	if col.Max != "" {
		all = append(all, "at most "+col.Max.String())
	}
	return strings.Join(all, ", ")
}

// written returns a constant as SQL has it.
func written(c facts.Constant) string {
	if !c.Number {
		return "'" + c.Text + "'"
	}
	return c.Text
}

// A factory makes the facts of tables, each once.
type factory struct {
	*program
	tables map[*out]facts.Table
	keys   map[string][][]string   // that identify a row, by root table
	nulls  map[*out][]nullColumn   // of queries
	made   map[*out][]facts.Column // what queries give, without what is declared
	given  *out                    // a table whose query does not count, see checkUnavailable

	follows  bool // see following
	followed *factory
}

func newFactory(p *program) *factory {
	return &factory{
		program: p, tables: map[*out]facts.Table{}, keys: map[string][][]string{},
		nulls: map[*out][]nullColumn{}, made: map[*out][]facts.Column{},
	}
}

// table returns the facts of a table.
func (f *factory) table(o *out) (facts.Table, error) {
	if t, ok := f.tables[o]; ok {
		return t, nil
	}
	f.tables[o] = facts.Table{} // ends a cycle, which is a fault of its own
	t, err := f.make(o)
	if err != nil {
		return t, err
	}
	if o.entity.typing != nil {
		f.made[o] = slices.Clone(t.Columns)
	}
	for i := range t.Columns {
		column := &t.Columns[i]
		unbounded(column, o.schema.Column(column.Name))
		f.nulls[o] = append(f.nulls[o], nullColumn{column.Name, column.Null})
		column.Origins = slices.Clone(column.Origins)
		column.Domain = domain(o.schema.Column(column.Name))
		f.declare(column, o)
		for j := range column.Origins {
			origin := &column.Origins[j]
			origin.Path = append(slices.Clone(origin.Path), o.entity.String()+"."+column.Name)
			if origin.Site.At > 0 && origin.Site.Query == "" {
				origin.Site.Query = o.entity.id()
			}
		}
	}
	t.ID = o.entity.id() + "." + o.port
	t.References = slices.Concat(t.References, references(o))
	t.Keys = declaredKeys(o)
	f.tables[o] = t
	return t, nil
}

func (f *factory) make(o *out) (facts.Table, error) {
	e := o.entity
	if e.rows != nil && o != f.given {
		return f.rowTable(o)
	}
	if e.typing == nil || e.typing.Tree == nil || e.typing.err != nil || o == f.given {
		return f.root(o), nil
	}
	inputs := map[string]facts.Table{}
	for _, p := range e.ports {
		if p.out == nil {
			return f.root(o), nil
		}
		t, err := f.table(p.out)
		if err != nil {
			return t, err
		}
		inputs[p.name] = t
	}
	var names []string
	for _, c := range e.typing.Columns {
		names = append(names, c.Name)
	}
	t, err := facts.Query(e.typing.Tree, inputs, f.keys, names)
	if err != nil {
		return t, fmt.Errorf("analyse the SQL of %s: %w", e, err)
	}
	return t, nil
}

// root returns the facts of a table that no query makes.
func (f *factory) root(o *out) facts.Table {
	id := o.entity.id() + "." + o.port
	all := map[string]bool{id: true}
	f.sources(o.entity, all)
	t := facts.Table{From: slices.Sorted(maps.Keys(all))}
	for _, c := range o.schema {
		root := facts.Root{Table: id, Column: c.Name}
		t.Columns = append(t.Columns, facts.Column{Name: c.Name, Origins: []facts.Origin{{Root: root, Row: "row", Time: c.Name == o.timestamp}}, Offset: -1})
	}
	f.keys[id] = declaredKeys(o)
	return t
}

// construct returns the part of a query that gives a value of a column, or where the column
// gets its values.
func (f *factory) construct(c *checker, o *out, column string, site facts.Site, label string) diag.Span {
	e := c.entities[site.Query]
	if site.At == 0 || e == nil {
		return f.defined(c, o, column, label)
	}
	s := c.sqlSpan(e, e.string(e.component.SQL), site.At-1)
	s.Label = label
	return s
}

// defined returns where a column gets its values: in the query that computes it, or where
// a source declares it.
func (f *factory) defined(c *checker, o *out, column, label string) diag.Span {
	for {
		e := o.entity
		t := f.tables[o]
		col := t.Column(column)
		if col == nil || e.typing == nil && e.rows == nil {
			break
		}
		if in := e.input(col.Of.Input); in != nil && in.out != nil {
			o, column = in.out, col.Of.Column
			continue
		}
		if e.rows != nil && e.rows.at.Pos.Line > 0 {
			s := e.rows.at
			s.Label = label
			return s
		}
		if e.typing != nil && col.Offset >= 0 {
			s := c.sqlSpan(e, e.string(e.component.SQL), col.Offset)
			s.Label = label
			return s
		}
		break
	}
	s := c.columnSpan(o.entity, column)
	s.Label = label
	return s
}
