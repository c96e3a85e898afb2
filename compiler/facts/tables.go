package facts

import (
	"fmt"
	"slices"
	"strings"
)

// This file has the tables of FROM that are neither named nor a plain subquery.

// pivot returns the result of a PIVOT or an UNPIVOT.
func (a *analysis) pivot(p *pivot, in *env, s *scope) relation {
	source := a.query(p.source, in, s)
	if source.unknown {
		return source
	}
	var columns []string
	for _, c := range source.Columns {
		columns = append(columns, c.Name)
	}
	if q := p.query(columns); q != nil {
		return a.query(q, in, s)
	}
	return relation{unknown: true}
}

// values returns the table of VALUES.
func (a *analysis) values(f *source, s *scope) relation {
	one := row{attr: a.attr(), kind: RepeatedByTable, offset: f.start}
	r := relation{Table: Table{grain: &grain{rows: []row{one}}}, one: true}
	for i := range f.values[0] {
		var c Column
		distinct := map[string]bool{}
		for n, exprs := range f.values {
			if i >= len(exprs) {
				return relation{unknown: true}
			}
			x := a.item(exprs[i], s)
			if v := exprs[i].value; v != nil {
				distinct[v.Text] = true
			}
			null := c.Null
			if c = eitherOf(c, x); n == 0 {
				c = x.detached()
			}
			for _, n := range []Null{null, x.Null} {
				if n.Kind == NullValue {
					c.Null = n
					break
				}
			}
		}
		c.Name = fmt.Sprintf("col%d", i)
		c.attr = a.attr()
		r.grain.depends([]int{one.attr}, c.attr)
		if len(distinct) == len(f.values) {
			r.grain.depends([]int{c.attr}, one.attr)
		}
		r.Columns = append(r.Columns, c)
	}
	if len(f.values) == 1 {
		r.grain.depends(nil, one.attr)
	}
	r.grain.unclear()
	return r
}

// function returns the table of a function: of UNNEST, or of numbers.
func (a *analysis) function(f *source, s *scope) relation {
	e := f.function
	args := e.args[:min(e.nargs, len(e.args))]
	c := Column{Name: e.name, Offset: f.start, bound: true, attr: a.attr()}
	switch {
	case e.name == "unnest" && len(args) == 1:
		if elem := a.elem(args, s); elem != nil {
			a.scopes++
			x := elem.element(fmt.Sprintf("u%d/", a.scopes))
			c.Origins, c.Partial, c.Null, c.shape = x.Origins, x.Partial, x.Null, x.shape
			break
		}
		c.Origins, c.Partial = a.all(args, s)
	case e.name == "range" || e.name == "generate_series":
		c.Origins, c.Partial = a.all(args, s)
		c.Null = never
	default:
		return relation{unknown: true}
	}
	c.Origins = through(c.Origins, Computed)
	many := row{attr: a.attr(), kind: RepeatedByUnnest, offset: f.start}
	r := relation{Table: Table{Columns: []Column{c}, grain: &grain{rows: []row{many}}}, empty: true}
	if f.ordinality {
		r.Columns = append(r.Columns, Column{Name: "ordinality", Offset: f.start, Null: never, bound: true, attr: a.attr()})
	}
	for _, c := range r.Columns {
		r.grain.depends([]int{many.attr}, c.attr)
		r.grain.may([]int{c.attr}, many.attr)
	}
	if !repeats(e) {
		r.grain.unclear()
	}
	r.Rows, r.RowsPartial = a.counts(e, s)
	return r
}

// counts returns what decides how many rows UNNEST and the like make.
func (a *analysis) counts(e *expr, s *scope) ([]Origin, bool) {
	args := e.args[:min(e.nargs, len(e.args))]
	if len(args) == 1 && args[0].kind == call && args[0].name == "list_value" {
		return nil, false
	}
	return a.all(args, s)
}

// numbers adds that a row of a function is one for each number of what is beside it.
func (s *scope) numbers(r relation, f *source, beside []int) {
	last := r.Columns[len(r.Columns)-1]
	if f.ordinality || f.function.name != "unnest" {
		s.grain.depends(append(slices.Clone(beside), last.attr), r.grain.rowAttrs()...)
	}
}

// perRow changes the grain of a subquery that reads what is beside it. It reports whether
// the subquery has at most one row for each row of that.
func (a *analysis) perRow(r *relation) bool {
	if r.grain == nil || r.unknown || !r.grain.unique(nil) {
		r.grain = nil
		return false
	}
	one := row{attr: a.attr(), kind: RepeatedByTable, offset: -1}
	r.grain = &grain{rows: []row{one}}
	for i := range r.Columns {
		r.Columns[i].attr = a.attr()
		r.grain.depends([]int{one.attr}, r.Columns[i].attr)
	}
	return true
}

// recursive returns the result of a recursive query. Its rows are those of the first part
// and those that the second part makes of the rows before, which it reads by name, until
// there is nothing new to know.
func (a *analysis) recursive(q *query, in *env, around *scope) relation {
	base := a.query(q.parts[0], in, around)
	if base.unknown {
		return base
	}
	base.rename(q.aliases)
	before := base.before()
	instances, scopes := a.instances, a.scopes
	for range 12 {
		a.instances, a.scopes = instances, scopes // the same rows have the same names
		step := a.query(q.parts[1], &env{tables: map[string]relation{strings.ToLower(q.recursive): before}, outer: in}, around)
		if step.unknown || len(step.Columns) != len(base.Columns) {
			return relation{unknown: true}
		}
		all := a.unite(q, []relation{base, step}, in, around)
		all.Filtered = true
		next := all.before()
		if slices.EqualFunc(before.Columns, next.Columns, alike) && slices.EqualFunc(before.Rows, next.Rows, same) {
			return all
		}
		before = next
	}
	return relation{unknown: true}
}

// before returns a table as a recursive query reads it in its next step.
func (r relation) before() relation {
	r.self, r.one, r.empty, r.all, r.grain = true, false, true, "", nil
	r.Columns = slices.Clone(r.Columns)
	for i, c := range r.Columns {
		r.Columns[i] = c.detached()
		r.Columns[i].Name = c.Name
	}
	return r
}

func alike(x, y Column) bool {
	return x.Partial == y.Partial && x.Null == y.Null && slices.EqualFunc(x.Origins, y.Origins, same) &&
		slices.EqualFunc(x.fields, y.fields, alike) && (x.elem == nil) == (y.elem == nil) && (x.elem == nil || alike(*x.elem, *y.elem))
}

func same(x, y Origin) bool { return compare(x, y) == 0 }
