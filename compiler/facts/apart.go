package facts

import (
	"slices"
	"strings"
)

// setApart marks the rows of tables that a SELECT chooses by more than equal values, see
// [Origin.Apart].
func (a *analysis) setApart(q *query, conditions []*expr, s *scope) {
	rows, all := map[string]bool{}, q.limited
	for _, e := range conditions {
		of, timed := a.rowsOf(e, s)
		switch {
		case e.kind == other && len(e.args) == 0:
			all = true // a join that is not understood
		case e.kind == notNull || len(of) < 2 && !timed || e.kind == equal && a.copied(e.args[0], s) && a.copied(e.args[1], s):
		default:
			for row := range of {
				rows[row] = true
			}
		}
	}
	for name := range usings(q.from) {
		columns, computed := map[string]bool{}, false
		for _, t := range s.tables {
			if c := column1([]relation{t}, name); c != nil {
				for _, o := range c.Origins {
					columns[a.row(o.Row)] = true
					computed = computed || o.Use != Copied
				}
			}
		}
		for row := range columns {
			rows[row] = rows[row] || computed
		}
	}
	for i := range s.tables {
		for j := range s.tables[i].Columns {
			s.tables[i].Columns[j].walk(func(c *Column) {
				for k := range c.Origins {
					o := &c.Origins[k]
					o.Apart = o.Apart || o.Row != "" && (all || rows[a.row(o.Row)])
				}
			})
		}
	}
}

// rowsOf returns the rows that a condition is about, and whether it is about a time.
func (a *analysis) rowsOf(e *expr, s *scope) (rows map[string]bool, timed bool) {
	rows = map[string]bool{}
	var walk func(e *expr)
	walk = func(e *expr) {
		if e.kind == column && !s.binds(e.names) {
			c, _ := a.resolve(e.names, s)
			for _, o := range c.Origins {
				if o.Row != "" {
					rows[a.row(o.Row)] = true
				}
			}
			timed = timed || strings.HasPrefix(c.Type, "timestamp") || c.Type == "date"
		}
		for _, x := range slices.Concat(e.args, e.orders, e.partitions) {
			walk(x)
		}
	}
	walk(e)
	return rows, timed
}

// copied reports whether an expression is a column of a root table, perhaps converted to
// another type.
func (a *analysis) copied(e *expr, s *scope) bool {
	if e.to != "" && len(e.args) == 1 {
		return a.copied(e.args[0], s)
	}
	if e.kind != column {
		return false
	}
	c, ok := a.resolve(e.names, s)
	return ok && !c.Partial && !slices.ContainsFunc(c.Origins, func(o Origin) bool { return o.Use != Copied })
}

// usings returns the columns of USING in a FROM clause.
func usings(f *source) map[string]bool {
	all := map[string]bool{}
	var walk func(f *source)
	walk = func(f *source) {
		if f == nil {
			return
		}
		for _, name := range f.using {
			all[name] = true
		}
		walk(f.left)
		walk(f.right)
	}
	walk(f)
	return all
}
