package facts

import (
	"slices"
	"strings"
)

// Rows are told apart by names, see [Origin.Row]. Two names stand for the same row of a
// table if the columns of a key of it are joined by equality.

// pairs collects, for two rows of one root table, the columns of it that are equal.
type pair struct{ a, b, table string }

// join uses the conditions of joins and filters to find instances of one row.
func (a *analysis) join(conditions []*expr, s *scope) {
	for _, e := range conditions {
		if e.kind != equal || e.args[0].kind != column || e.args[1].kind != column {
			continue
		}
		l, ok1 := a.resolve(e.args[0].names, s)
		r, ok2 := a.resolve(e.args[1].names, s)
		if ok1 && ok2 {
			a.equate(&l, &r, s)
		}
	}
	a.settle(s)
}

// equate notes that two columns are equal in all rows of the result.
func (a *analysis) equate(l, r *Column, s *scope) {
	a.equals(l, r)
	x, ok1 := sole(l.Origins)
	y, ok2 := sole(r.Origins)
	if !ok1 || !ok2 || l.Partial || r.Partial {
		return
	}
	if x.Use != Copied || y.Use != Copied || x.Root != y.Root || x.Row == "" || y.Row == "" || x.Row == y.Row {
		return
	}
	p := pair{min(x.Row, y.Row), max(x.Row, y.Row), x.Table}
	if s.equal == nil {
		s.equal = map[pair][]string{}
	}
	s.equal[p] = append(s.equal[p], x.Column)
}

// settle joins the rows whose keys are equal.
func (a *analysis) settle(s *scope) {
	for p, columns := range s.equal {
		if a.identify(p.table, columns) {
			if x, y := a.row(p.a), a.row(p.b); x != y {
				a.same[max(x, y)] = min(x, y)
			}
		}
	}
}

// identify reports whether columns identify a row of a table.
func (a *analysis) identify(table string, columns []string) bool {
	return slices.ContainsFunc(a.keys[table], func(key []string) bool {
		return len(key) > 0 && !slices.ContainsFunc(key, func(k string) bool { return !slices.Contains(columns, k) })
	})
}

// row returns the name that stands for all names of a row.
func (a *analysis) row(name string) string {
	for a.same[name] != "" {
		name = a.same[name]
	}
	return name
}

func (a *analysis) canonical(origins []Origin) []Origin {
	origins = slices.Clone(origins)
	for i := range origins {
		o := &origins[i]
		o.Row, o.Later.Row, o.Set = a.row(o.Row), a.row(o.Later.Row), a.row(o.Set)
		if len(o.By) > 0 {
			o.of, o.By = a.row(o.of), a.closed(o.By)
			o.Includes = o.included()
		}
	}
	return merge(origins)
}

// group returns what the rows of a SELECT that aggregates are grouped by. In a subquery, the
// columns that equal one outside of it are among them.
func (a *analysis) group(q *query, conditions []*expr, s *scope) *group {
	g := &group{by: map[[2]string][]string{}}
	for _, e := range append(q.grouping(), correlated(conditions, s)...) {
		if e.kind != column {
			continue
		}
		c, ok := a.resolve(e.names, s)
		o, one := sole(c.Origins)
		if !ok || !one || o.Use != Copied || o.Row == "" {
			continue
		}
		at := [2]string{a.row(o.Row), o.Table}
		g.by[at] = append(g.by[at], o.Column)
	}
	return g
}

// grouping returns the expressions that a query groups by.
func (q *query) grouping() []*expr {
	if q.grouped {
		return slices.DeleteFunc(slices.Clone(q.items), aggregates)
	}
	groups := slices.Clone(q.groups)
	for i, e := range groups {
		if e.kind == constant && e.number != nil && *e.number >= 1 && int(*e.number) <= len(q.items) {
			groups[i] = q.items[*e.number-1]
		}
	}
	return groups
}

// single reports whether a group has a single row of the origin's table.
func (a *analysis) single(g *group, o Origin) bool {
	return o.Row != "" && a.identify(o.Table, g.by[[2]string{a.row(o.Row), o.Table}])
}

// resolve returns the column that a name stands for.
func (a *analysis) resolve(names []string, s *scope) (Column, bool) {
	for first := s; s != nil; s = s.outer {
		for _, p := range slices.Backward(s.bound) {
			if strings.EqualFold(p.Name, names[0]) {
				return field(p, names[1:]), true
			}
		}
		if c, ok := s.column(names); ok {
			if s != first {
				a.outer++
				c.attr = 0
			}
			return c, true
		}
		if slices.ContainsFunc(s.tables, func(r relation) bool { return r.unknown && (len(names) == 1 || strings.EqualFold(r.alias, names[0])) }) {
			return Column{}, false
		}
	}
	return Column{}, false
}

func (s *scope) column(names []string) (Column, bool) {
	if _, c, path := s.find(names); c != nil {
		return field(*c, path), true
	}
	if c, ok := s.aliases[strings.ToLower(names[0])]; ok {
		return field(c, names[1:]), true
	}
	return Column{}, false
}

// find returns the column of a table of FROM that a name begins with, and the names of the
// fields after it.
func (s *scope) find(names []string) (*relation, *Column, []string) {
	for i := range len(names) - 1 { // a table may be qualified by its schema
		for t := range s.tables {
			if t := &s.tables[t]; strings.EqualFold(t.alias, names[i]) {
				if c := column1([]relation{*t}, names[i+1]); c != nil {
					return t, c, names[i+2:]
				}
			}
		}
	}
	if m := s.merged[strings.ToLower(names[0])]; m != nil {
		return m, &m.Columns[0], names[1:]
	}
	for t := range s.tables {
		if c := column1(s.tables[t:t+1], names[0]); c != nil {
			return &s.tables[t], c, names[1:]
		}
	}
	return nil, nil, nil
}

// binds reports whether a name is that of a parameter of a lambda.
func (s *scope) binds(names []string) bool {
	return slices.ContainsFunc(s.bound, func(p Column) bool { return strings.EqualFold(p.Name, names[0]) })
}

// field returns a field of a struct, or the column itself.
func field(c Column, path []string) Column {
	for i, name := range path {
		f := c.field(name)
		if f == nil {
			return c.whole(path[i:])
		}
		c = *f
	}
	return c
}

// whole returns a field of which nothing more is known than of its struct.
func (c Column) whole(path []string) Column {
	return Column{Name: path[len(path)-1], Origins: through(c.Origins, Computed), Partial: c.Partial, Offset: c.Offset, bound: true}
}

// numbered returns the column at a position among those of all tables.
func (s *scope) numbered(index int) (Column, bool) {
	for _, t := range s.tables {
		if t.unknown || index < 1 {
			break
		}
		if index <= len(t.Columns) {
			return t.Columns[index-1], true
		}
		index -= len(t.Columns)
	}
	return Column{}, false
}

// within returns a scope with the parameters of a lambda, whose values are not known.
func (s *scope) within(params []string) *scope {
	inner := *s
	inner.bound = slices.Clone(s.bound)
	for _, p := range params {
		inner.bound = append(inner.bound, Column{Name: p})
	}
	return &inner
}
