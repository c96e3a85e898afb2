package facts

import (
	"fmt"
	"slices"
	"strings"
)

// A chosen is a column that a star stands for.
type chosen struct {
	name   string   // of the result
	ref    []string // by which the query may name it
	column Column
}

// starred returns the columns that a star stands for, or false if they are not known.
func (a *analysis) starred(e *expr, s *scope) ([]chosen, bool) {
	var all []chosen
	known := true
	add := func(table string, c Column, ref ...string) {
		name := strings.ToLower(c.Name)
		if slices.Contains(e.exclude, name) || slices.Contains(e.exclude, strings.ToLower(table)+"."+name) {
			return
		}
		if e.only != nil {
			is, ok := e.only(c.Name)
			if known = known && ok; !is {
				return
			}
		}
		as := c.Name
		if to, ok := e.rename[name]; ok {
			as = to
		}
		all = append(all, chosen{as, ref, c})
	}
	found := false
	for i, t := range s.tables {
		if e.table != "" && !strings.EqualFold(e.table, t.alias) {
			continue
		}
		if found = true; t.unknown {
			return nil, false
		}
		for _, c := range t.Columns {
			name := strings.ToLower(c.Name)
			if m := s.merged[name]; m != nil && e.table == "" && !s.hidden[fmt.Sprint(i, " ", name)] {
				add(t.alias, m.Columns[0], c.Name)
			} else if e.table != "" || !s.hidden[fmt.Sprint(i, " ", name)] {
				ref := []string{c.Name}
				if t.alias != "" {
					ref = []string{t.alias, c.Name}
				}
				add(t.alias, c, ref...)
			}
		}
	}
	if !found && e.table != "" { // the fields of a struct
		c, ok := a.resolve([]string{e.table}, s)
		if !ok || c.fields == nil {
			return nil, false
		}
		for _, f := range c.fields {
			if f.Name == "" {
				return nil, false
			}
			f.attr = 0
			add(e.table, f, e.table, f.Name)
		}
	}
	return all, known && (found || len(all) > 0)
}

// expand returns the columns of the result that a star stands for.
func (a *analysis) expand(e *expr, s *scope) ([]Column, bool) {
	var all []Column
	columns, ok := a.starred(e, s)
	for _, x := range columns {
		c := x.column
		if by := e.replace[strings.ToLower(c.Name)]; by != nil {
			c = a.item(by, s)
			c.made = by
			c.Range, c.ordered, c.Unit = a.rangeOf(by, s), a.ordered(by, s), a.unitOf(by, s)
		} else {
			a.passRange(&c, s, nil)
			c = a.passed(c, s)
		}
		c.Name = x.name
		all = append(all, c)
	}
	return all, ok
}

// spread returns a SELECT with an expression for each column that COLUMNS(...) stands for,
// or false if they are not known.
func (a *analysis) spread(q *query, s *scope) (*query, bool) {
	if !slices.ContainsFunc(slices.Concat(q.items, q.where), func(e *expr) bool { return each(e) != nil }) {
		return q, true
	}
	out := *q
	out.items, out.where = nil, nil
	for _, e := range q.items {
		all, ok := a.repeated(e, s)
		if !ok {
			return nil, false
		}
		out.items = append(out.items, all...)
	}
	for i, e := range q.where {
		all, ok := a.repeated(e, s)
		if !ok {
			return nil, false
		}
		out.where = append(out.where, all...)
		if i < q.wheres {
			out.wheres = len(out.where)
		}
	}
	return &out, true
}

// repeated returns an expression for each column that COLUMNS(...) in it stands for.
func (a *analysis) repeated(e *expr, s *scope) ([]*expr, bool) {
	first := each(e)
	if first == nil {
		return []*expr{e}, true
	}
	columns, ok := a.starred(first, s)
	if !ok || len(columns) == 0 || len(first.replace) > 0 || !e.sameColumns(first) {
		return nil, false
	}
	var refs [][]string
	for _, c := range columns {
		refs = append(refs, c.ref)
	}
	if e.unpacks() {
		return []*expr{e.unpacked(refs)}, true
	}
	var all []*expr
	for _, c := range columns {
		x := e.withColumn(c.ref)
		switch {
		case e.alias == "":
			x.alias = c.name
		case strings.Contains(e.alias, `\`): // a pattern that makes a name of each column's
			x.alias = ""
			if x.kind == column {
				return nil, false
			}
		}
		all = append(all, x)
	}
	return all, true
}

// sameColumns reports whether all COLUMNS(...) in an expression are the same.
func (e *expr) sameColumns(first *expr) bool {
	if e.kind == star && e.each {
		return e.text() == first.text()
	}
	return !slices.ContainsFunc(slices.Concat(e.args, e.orders, e.partitions), func(x *expr) bool { return !x.sameColumns(first) })
}

// lasting reports whether the rows of a SELECT stay if it takes lists apart: one of the lists
// has an element in each row.
func (a *analysis) lasting(items []*expr, s *scope) bool {
	some := false
	for _, e := range items {
		if u := e.unnests(); u != nil {
			if a.filled(u, s) {
				return true
			}
			some = true
		}
	}
	return !some
}

// filled reports whether a function of a list or of numbers certainly gives a row, or gives
// as many beside all rows.
func (a *analysis) filled(e *expr, s *scope) bool {
	if !slices.ContainsFunc(e.args, func(x *expr) bool { return !x.constant() }) {
		return true
	}
	if e.name != "unnest" || e.args[0].kind != call {
		return false
	}
	switch of := e.args[0]; of.name {
	case "list_value":
		return len(of.args) > 0
	case "struct_pack", "row":
		return true
	case "list", "array_agg":
		return !of.filter
	}
	return repeats(e) && a.nullAll(e.args[0].args, s, nil) == never
}

// pads reports whether a select list takes several lists apart, of which the shorter ones
// are filled up with nulls.
func pads(items []*expr) bool {
	var lengths []int
	var look func(e *expr)
	look = func(e *expr) {
		if e.kind == call && e.name == "unnest" {
			n := -len(lengths) - 1 // unlike all others
			if len(e.args) == 1 && e.args[0].kind == call && e.args[0].name == "list_value" {
				n = len(e.args[0].args)
			}
			lengths = append(lengths, n)
		}
		for _, x := range e.args {
			look(x)
		}
	}
	for _, e := range items {
		look(e)
	}
	slices.Sort(lengths)
	return len(slices.Compact(lengths)) > 1
}
