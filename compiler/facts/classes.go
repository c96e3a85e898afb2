package facts

import "slices"

// A Cell is a column of a row of a root table.
type Cell struct {
	Root
	Row string
}

// A Class is a list of cells that are equal in all rows of a table. The first one is that of
// which the class was made.
type Class []Cell

// has reports whether a cell is among those of the class.
func (c Class) has(x Cell) bool { return slices.Contains(c, x) }

// cell returns the cell that a column is a copy of.
func (c Column) cell() (Cell, bool) {
	o, one := sole(c.Origins)
	return Cell{o.Root, o.Row}, one && !c.Partial && o.Use == Copied && o.Row != ""
}

// equals notes that two columns are equal, whatever tables they come from.
func (a *analysis) equals(l, r *Column) {
	x, ok1 := l.cell()
	y, ok2 := r.cell()
	if ok1 && ok2 && x != y {
		a.equal = append(a.equal, [2]Cell{x, y})
	}
}

// grouped returns the cells that the rows of a SELECT are grouped by, if its aggregates are
// made of all rows of such a group: nothing but the values of these cells selects the rows.
// In a subquery, the cells that equal a column outside of it are among them. It returns nil
// if there are others than columns.
func (a *analysis) grouped(q *query, conditions []*expr, s *scope) []Class {
	if q.limited || q.sets != nil || slices.ContainsFunc(s.tables, func(r relation) bool { return r.Filtered || r.unknown }) {
		return nil
	}
	var by []Class
	add := func(e *expr) bool {
		c, ok := a.resolve(e.names, s)
		x, one := c.cell()
		if ok = ok && one; ok && !slices.ContainsFunc(by, func(c Class) bool { return c[0] == x }) {
			by = append(by, Class{x})
		}
		return ok
	}
	for _, e := range append(q.grouping(), correlated(conditions, s)...) {
		if e.kind != column || !add(e) {
			return nil
		}
	}
	for _, e := range conditions[:len(conditions)-len(q.where)+q.wheres] { // HAVING and QUALIFY select groups
		if selects(e) && !a.within(e, by, s) {
			return nil
		}
	}
	return by
}

// correlated returns the columns of a subquery that equal one outside of it.
func correlated(conditions []*expr, s *scope) (all []*expr) {
	for _, e := range conditions {
		if e.kind != equal || e.args[0].kind != column || e.args[1].kind != column {
			continue
		}
		for i, x := range e.args {
			_, inside := s.column(x.names)
			if _, other := s.column(e.args[1-i].names); inside && !other {
				all = append(all, x)
			}
		}
	}
	return all
}

// partition returns the cells by which a window function divides the rows of a SELECT, if it
// makes one value of all rows of a partition.
func (a *analysis) partition(e *expr, s *scope) []Class {
	if !s.whole || !e.everything() || !e.current {
		return nil
	}
	var by []Class
	for _, x := range e.partitions {
		if x.kind != column {
			return nil
		}
		c, ok := a.resolve(x.names, s)
		cell, one := c.cell()
		if !ok || !one {
			return nil
		}
		by = append(by, Class{cell})
	}
	return by
}

// within reports whether a condition is only about the cells that make groups, so that it
// selects all rows of a group or none.
func (a *analysis) within(e *expr, by []Class, s *scope) bool {
	switch {
	case e.kind == column:
		c, ok := a.resolve(e.names, s)
		x, one := c.cell()
		return ok && one && slices.ContainsFunc(by, func(c Class) bool { return c[0] == x })
	case e.kind == constant:
		return true
	case e.kind == subquery || e.kind == window || len(e.bound) > 0:
		return false
	}
	return len(e.args) > 0 && !slices.ContainsFunc(e.args, func(x *expr) bool { return !a.within(x, by, s) })
}

// closed returns the classes with all cells that are known to be equal by now.
func (a *analysis) closed(by []Class) []Class {
	all := make([]Class, len(by))
	for i, class := range by {
		var closed Class
		for _, x := range class {
			x.Row = a.row(x.Row)
			if !closed.has(x) {
				closed = append(closed, x)
			}
		}
		for n := 0; n < len(closed); n++ {
			for _, p := range a.equal {
				x, y := p[0], p[1]
				x.Row, y.Row = a.row(x.Row), a.row(y.Row)
				if x == closed[n] && !closed.has(y) {
					closed = append(closed, y)
				}
				if y == closed[n] && !closed.has(x) {
					closed = append(closed, x)
				}
			}
		}
		all[i] = closed
	}
	return all
}

// groupBy notes the cells by which an aggregate groups what it is made of: values of rows, or
// of other groups.
func (o *Origin) groupBy(e *expr, by []Class) {
	switch {
	case e.filter || !aggregate[e.name]:
		by = nil
	case o.Use <= Computed && o.Row != "":
		o.of, o.function = o.Row, e.functionOf()
	case len(o.By) == 0:
		by = nil
	default:
		o.function = ""
	}
	o.By, o.Includes = by, nil
}

// included returns other rows of the table of an aggregate that are among those that it is made
// of, because they have the values that these are grouped by.
func (o Origin) included() (rows []string) {
	if len(o.By) == 0 {
		return nil
	}
	for _, x := range o.By[0] {
		if x.Table == o.Table && x.Row != o.of && !slices.Contains(rows, x.Row) && !slices.ContainsFunc(o.By, func(c Class) bool {
			return !slices.ContainsFunc(c, func(inner Cell) bool {
				return inner.Table == o.Table && inner.Row == o.of && c.has(Cell{inner.Root, x.Row})
			})
		}) {
			rows = append(rows, x.Row)
		}
	}
	return rows
}

// uniteSets makes aggregates of the same rows by the same function one value.
func (a *analysis) uniteSets(columns []Column) {
	var all []Origin
	for _, c := range columns {
		for _, o := range c.Origins {
			if o.function == "" || o.Set == "" || len(o.By) == 0 {
				continue
			}
			o.By, o.of = a.closed(o.By), a.row(o.of)
			for _, x := range all {
				if s, t := a.row(x.Set), a.row(o.Set); s != t && x.Root == o.Root && x.function == o.function && x.sameRows(o) {
					a.same[max(s, t)] = min(s, t)
				}
			}
			all = append(all, o)
		}
	}
}

// sameRows reports whether two aggregates of one table are made of the rows of the same
// group.
func (o Origin) sameRows(p Origin) bool {
	columns := func(o Origin) (all []string) {
		for _, c := range o.By {
			for _, x := range c {
				if x.Table == o.Table && x.Row == o.of {
					all = append(all, x.Column)
				}
			}
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	x, y := columns(o), columns(p)
	if len(x) < len(o.By) || !slices.Equal(x, y) {
		return false
	}
	return !slices.ContainsFunc(x, func(name string) bool {
		mine, other := Cell{Root{o.Table, name}, o.of}, Cell{Root{p.Table, name}, p.of}
		return !slices.ContainsFunc(o.By, func(c Class) bool { return c.has(mine) && c.has(other) })
	})
}

// functionOf names an aggregate of one column, apart from the column, or returns "".
func (e *expr) functionOf() string {
	args := e.args[:min(e.nargs, len(e.args))]
	if e.filter || len(args) != 1 || args[0].kind != column || len(e.orders) > 0 {
		return ""
	}
	return e.name + " " + e.hash("children")
}

// setGroupsApart forgets by which cells aggregates are grouped if conditions select among
// the groups by something else, such as the time of their last row: they may be of rows from
// before.
func (a *analysis) setGroupsApart(q *query, conditions []*expr, s *scope) {
	for i := range s.tables {
		t := &s.tables[i]
		if !slices.ContainsFunc(t.Columns, func(c Column) bool {
			return slices.ContainsFunc(c.Origins, func(o Origin) bool { return len(o.By) > 0 })
		}) {
			continue
		}
		apart := q.limited
		for _, e := range conditions {
			apart = apart || e.kind == other && len(e.args) == 0 || selects(e) && a.names(e, t, s)
		}
		if !apart {
			continue
		}
		for j := range t.Columns {
			t.Columns[j].walk(func(c *Column) {
				c.Origins = slices.Clone(c.Origins)
				for k := range c.Origins {
					c.Origins[k].By = nil
				}
			})
		}
	}
}

// names reports whether an expression names a column of a table.
func (a *analysis) names(e *expr, t *relation, s *scope) bool {
	if e.kind == column && !s.binds(e.names) {
		of, _, _ := s.find(e.names)
		return of == t
	}
	return slices.ContainsFunc(slices.Concat(e.args, e.orders, e.partitions), func(x *expr) bool { return a.names(x, t, s) })
}

// marked returns the classes with other names of their rows.
func marked(by []Class, mark func(row string) string) []Class {
	all := make([]Class, len(by))
	for i, class := range by {
		for _, x := range class {
			x.Row = mark(x.Row)
			all[i] = append(all[i], x)
		}
	}
	return all
}
