package facts

import (
	"slices"
	"strings"
)

// Groups returns the columns that make the groups of a fitted origin. There are none if it
// comes from all rows.
func (o Origin) Groups() []Root {
	var all []Root
	for g := range strings.SplitSeq(o.Group, "\n") {
		if table, column, ok := strings.Cut(g, "\t"); ok {
			all = append(all, Root{table, column})
		}
	}
	return all
}

// groups names the columns that expressions group by, or returns false if one of them is
// not a column of a row.
func (a *analysis) groups(by []*expr, s *scope) (string, bool) {
	var all []string
	for _, e := range by {
		if e.kind != column {
			return "", false
		}
		c, ok := a.resolve(e.names, s)
		if !ok || len(c.Origins) != 1 || c.Partial || c.Origins[0].Use != Copied || c.Origins[0].Row == "" {
			return "", false
		}
		all = append(all, c.Origins[0].Table+"\t"+c.Origins[0].Column)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "\n"), true
}

// groupsOf names the columns that a SELECT over one table groups by. In a subquery, those
// that equal a column outside of it are among them.
func (a *analysis) groupsOf(q *query, conditions []*expr, s *scope) (string, bool) {
	if len(s.tables) != 1 {
		return "", false
	}
	by := q.grouping()
	for _, e := range conditions {
		if e.kind != equal {
			continue // a column is present
		}
		if e.args[0].kind != column || e.args[1].kind != column {
			return "", false
		}
		for i, x := range e.args {
			_, inside := s.column(x.names)
			_, other := s.column(e.args[1-i].names)
			switch {
			case inside && other:
				return "", false
			case inside:
				by = append(by, x)
			}
		}
	}
	return a.groups(by, s)
}

// everything reports whether a window function makes a value of all rows of a partition.
func (e *expr) everything() bool {
	all := e.end == "UNBOUNDED_FOLLOWING" || len(e.orders) == 0 && strings.HasPrefix(e.end, "CURRENT_ROW_RANGE")
	return aggregate[e.name] && !e.filter && e.start == "UNBOUNDED_PRECEDING" && all
}

// placed reports whether a window function gives the place of a value among those of all
// rows of a partition.
func (e *expr) placed() bool {
	return e.name == "percent_rank" || e.name == "cume_dist" || e.name == "ntile"
}

// timed reports whether expressions may order rows by their time, whose place says little
// about values.
func (a *analysis) timed(by []*expr, s *scope) bool {
	return slices.ContainsFunc(by, func(e *expr) bool {
		if e.kind != column {
			return true
		}
		c, ok := a.resolve(e.names, s)
		return !ok || !strings.Contains(c.Type, "int") && !strings.HasPrefix(c.Type, "float")
	})
}
