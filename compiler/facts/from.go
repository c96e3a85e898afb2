package facts

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// from adds the tables of a FROM clause to the scope. It returns the conditions of joins,
// and false if it does not understand the clause.
func (a *analysis) from(f *source, s *scope, in *env) (on []*expr, ok bool) {
	if f == nil {
		return nil, true
	}
	if f.left == nil && f.right == nil {
		r, before, outer := relation{unknown: true}, a.instances, a.outer
		switch {
		case f.query != nil:
			r = a.query(f.query, in, s)
		case f.pivot != nil:
			r = a.pivot(f.pivot, in, s)
		case f.values != nil:
			r = a.values(f, s)
		case f.function != nil:
			r = a.function(f, s)
		case f.table != "":
			if found, ok := in.find(f.table); ok {
				r, before = found, -1
			}
		}
		once := false
		if a.outer > outer && f.query != nil {
			once = a.perRow(&r) // it differs from row to row
		}
		if f.query != nil && a.outer > outer && !r.one || f.function != nil && !a.filled(f.function, s) {
			s.guards = append(s.guards, unclear) // it may have no row for some of those beside it
		}
		beside := s.grain.rowAttrs()
		r.Filtered = r.Filtered || f.inexact
		if r.unknown {
			r.From = []string{unknownTable}
		}
		if f.inexact {
			r.all = ""
		}
		s.rows, s.partial = merge(s.rows, decisions(r.Rows)), s.partial || r.RowsPartial || r.unknown
		r = a.instance(r, f, before)
		s.grain.add(r.grain)
		switch {
		case once:
			s.grain.depends(beside, r.grain.rowAttrs()...)
		case f.function != nil && !r.unknown:
			s.numbers(r, f, beside)
		}
		s.tables = append(s.tables, r)
		return nil, true
	}
	if f.unknown {
		return nil, false
	}
	n0, g0 := len(s.tables), len(s.guards)
	leftPlace := s.place()
	left, ok := a.from(f.left, s, in)
	if !ok {
		return nil, false
	}
	n, g, rightPlace := len(s.tables), len(s.guards), s.place()
	right, ok := a.from(f.right, s, in)
	if !ok {
		return nil, false
	}
	on = slices.Concat(left, right, f.on)
	if f.inexact {
		on = append(on, &expr{kind: other}) // it selects
	}
	if f.natural {
		f.using = shared(s.tables[n0:n], s.tables[n:])
		if len(f.using) == 0 {
			return nil, false
		}
	}
	var pairs [][2]int
	var merges []func() int
	present := !f.inexact && f.kind != "RIGHT"
	for i, name := range f.using {
		l, r := s.using(name, n0, n), s.using(name, n, len(s.tables))
		if l == nil || r == nil {
			return nil, false
		}
		least := f.asof && i == len(f.using)-1 // the last column is not equal: it is the latest
		if !least {
			a.equate(l, r, s)
		}
		if l.Unit.Text != "" && r.Unit.Text != "" && l.Unit.Text != r.Unit.Text {
			a.find(Finding{Kind: OtherUnit, Constant: Constant{Offset: f.at}, Units: [2]Unit{l.Unit, r.Unit}})
		}
		if strings.HasPrefix(l.Type, "timestamp") && strings.HasPrefix(r.Type, "timestamp") && l.Type != r.Type {
			a.find(Finding{Kind: OtherZone, Constant: Constant{Offset: f.at}, Columns: [2]Column{*l, *r}})
		}
		s.rows, s.partial = merge(s.rows, decisions(l.Origins), decisions(r.Origins)), s.partial || l.Partial || r.Partial
		if l.attr != 0 && r.attr != 0 && !least {
			pairs = append(pairs, [2]int{l.attr, r.attr})
		}
		for i := n; i < len(s.tables); i++ {
			s.hidden[fmt.Sprint(i, " ", strings.ToLower(name))] = true
		}
		if f.kind == "RIGHT" || f.kind == "FULL" || f.kind == "OUTER" {
			left, right := *l, *r
			merges = append(merges, func() int { return a.eitherKey(name, f.kind, left, right, s, n0) })
			present = present && left.fact() == never && right.fact() == never
		}
	}
	a.settle(s)
	a.outerJoin(f, s, n0, n)
	switch f.kind { // what holds in the rows of a side does not where it has none
	case "LEFT":
		s.guards = s.guards[:g:g]
	case "RIGHT":
		s.guards = slices.Delete(slices.Clone(s.guards), g0, g)
	case "FULL", "OUTER":
		s.guards = s.guards[:g0:g0]
	}
	a.joined(f, s, leftPlace, rightPlace, pairs)
	var merged []int
	for _, merge := range merges {
		merged = append(merged, merge())
	}
	if present && len(merged) > 0 && len(pairs) == len(merged) {
		for _, p := range pairs { // null where there is no such row
			s.grain.depends(merged, p[0], p[1])
		}
	}
	if f.kind == "SEMI" || f.kind == "ANTI" {
		a.join(on, s)
		a.decide(on, s)
		s.tables = s.tables[:n]
		maps.DeleteFunc(s.merged, func(_ string, m *relation) bool { return m.at >= n })
		on = append(left, unclear.e)
		s.guards = append(s.guards, unclear)
	}
	return on, true
}

// unclear is a condition that is not understood.
var unclear = guard{&expr{kind: other}, isTrue}

// column1 returns the column of that name in the first table that has it.
func column1(tables []relation, name string) *Column {
	for _, t := range tables {
		for i := range t.Columns {
			if strings.EqualFold(t.Columns[i].Name, name) {
				return &t.Columns[i]
			}
		}
	}
	return nil
}

// instance returns a table as FROM names it. Its rows are told apart from those of other
// instances of the table, but not those that a subquery takes from around it: they belong to
// instances up to the one before it.
func (a *analysis) instance(r relation, f *source, before int) relation {
	a.instances++
	n := a.instances
	mark := fmt.Sprintf("%d/", n)
	if r.self {
		mark = fmt.Sprintf("%d~/", n)
	}
	told := func(name string) string {
		if name == "" || around(name, before) {
			return name
		}
		return mark + name
	}
	r.alias = strings.ToLower(f.alias)
	r.Columns = slices.Clone(r.Columns)
	for i := range r.Columns {
		c := &r.Columns[i]
		c.Offset = -1
		c.shape = c.shape.clone()
		c.walk(func(c *Column) {
			c.Origins = slices.Clone(c.Origins)
			for j := range c.Origins {
				o := &c.Origins[j]
				o.Row, o.Set, o.Later.Row = told(o.Row), told(o.Set), told(o.Later.Row)
				o.of, o.By = told(o.of), marked(o.By, told)
				if strings.Count(o.Row, "~") > deepest || strings.Count(o.Set, "~") > deepest {
					o.Use, o.Row, o.Set, o.Own = Aggregated, "", "", false
				}
			}
			c.Origins = merge(c.Origins)
			c.joins = slices.Clone(c.joins)
			for j := range c.joins {
				c.joins[j].id = mark + c.joins[j].id
				c.joins[j].without = slices.Clone(c.joins[j].without)
				for k := range c.joins[j].without {
					c.joins[j].without[k].row = mark + c.joins[j].without[k].row
				}
			}
			c.ties = slices.Clone(c.ties)
			for j := range c.ties {
				c.ties[j] = mark + c.ties[j]
			}
		})
	}
	r.rename(f.columns)
	a.identities(&r, f)
	return r
}

// deepest bounds the steps of a recursive query by which rows are told apart.
const deepest = 2

// around reports whether a row is of an instance up to the given one.
func around(row string, before int) bool {
	number, _, ok := strings.Cut(row, "/")
	n, err := strconv.Atoi(number)
	return ok && err == nil && n <= before
}

// shared returns the names of columns that both sides of a NATURAL join have.
func shared(left, right []relation) []string {
	var all []string
	for _, t := range left {
		if t.unknown {
			return nil
		}
		for _, c := range t.Columns {
			if column1(right, c.Name) != nil && !slices.Contains(all, c.Name) {
				all = append(all, c.Name)
			}
		}
	}
	if slices.ContainsFunc(right, func(t relation) bool { return t.unknown }) {
		return nil
	}
	return all
}

// using returns the column that USING names among the tables from one to before another.
func (s *scope) using(name string, from, to int) *Column {
	if m := s.merged[strings.ToLower(name)]; m != nil && m.at >= from && m.at < to {
		return &m.Columns[0]
	}
	return column1(s.tables[from:to], name)
}

// eitherKey notes that a column of USING is that of either table, as they were before the
// join: the right one's, or for a FULL join the one that is not null. It returns its attribute.
func (a *analysis) eitherKey(name, kind string, left, right Column, s *scope, n0 int) int {
	var tables []Table
	for _, t := range s.tables[n0:] {
		tables = append(tables, t.Table)
	}
	c := right
	c.Name = name
	if kind != "RIGHT" {
		c = Column{Name: name, Offset: -1, bound: true, Partial: left.Partial || right.Partial,
			Origins: merge(through(left.Origins, Computed), through(right.Origins, Computed)), attr: a.attr()}
		if left.fact() == never && right.fact() == never {
			c.Null = never
		}
		s.grain.depends(s.grain.rowAttrs(), c.attr)
		if left.attr != 0 && right.attr != 0 {
			s.grain.may([]int{c.attr}, left.attr, right.attr)
		}
	}
	s.merged[strings.ToLower(name)] = &relation{Table: Table{Columns: []Column{c}, From: from(tables...)}, at: n0}
	return c.attr
}

func (r *relation) rename(aliases []string) {
	if len(aliases) > len(r.Columns) {
		return
	}
	r.Columns = slices.Clone(r.Columns)
	for i, name := range aliases {
		r.Columns[i].Name = name
	}
}
