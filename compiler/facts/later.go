package facts

import (
	"slices"
	"strings"
)

// A Moment is the time of a row: its column in that row.
type Moment struct {
	Root
	Row string
}

// A bound is what a condition says about two times: x <= y + shift, or x < y + shift.
type bound struct {
	x, y  *expr
	ahead bool // the shift is positive, so that x may be later than y
	at    int
}

// later notes which tables of a scope have rows that conditions select although they may be
// later than a row that they are joined with. A time is the timestamp of its table: a row is
// not known before it. Another column, such as the day of a holiday, may lie ahead.
func (a *analysis) later(conditions []*expr, s *scope) {
	var all []bound
	for _, e := range conditions {
		all = append(all, bounds(e)...)
	}
	for _, b := range all {
		for _, way := range [][2]*expr{{b.x, b.y}, {b.y, b.x}} {
			// The second way: nothing keeps y from being later than x.
			if way[0] == b.x && !b.ahead {
				continue
			}
			a.mayFollow(way[0], way[1], b.at, all, s)
		}
	}
}

// mayFollow marks the values of the table of x as perhaps later than the time y, unless
// another condition keeps x before y.
func (a *analysis) mayFollow(x, y *expr, at int, all []bound, s *scope) {
	t, of := s.lookup(x.names)
	if t == nil || of == nil {
		return // of another scope
	}
	mx, ok1 := a.moment(x, s)
	my, ok2 := a.moment(y, s)
	if !ok1 || !ok2 || mx == my {
		return
	}
	for _, b := range all {
		bx, ok1 := a.moment(b.x, s)
		by, ok2 := a.moment(b.y, s)
		if ok1 && ok2 && !b.ahead && bx == mx && by == my {
			return
		}
	}
	for i := range t.Columns {
		t.Columns[i].Origins = slices.Clone(t.Columns[i].Origins)
		for j := range t.Columns[i].Origins {
			if o := &t.Columns[i].Origins[j]; o.Row == mx.Row && o.Later == (Moment{}) {
				o.Later, o.Site = my, Site{At: at + 1}
			}
		}
	}
}

// moment returns the timestamp of a row that an expression is.
func (a *analysis) moment(e *expr, s *scope) (Moment, bool) {
	if e.kind != column || s.binds(e.names) {
		return Moment{}, false
	}
	c, ok := a.resolve(e.names, s)
	if !ok || c.Partial {
		return Moment{}, false
	}
	o, one := sole(c.Origins)
	return Moment{o.Root, o.Row}, one && o.Time && o.Use == Copied && o.Row != ""
}

// bounds returns what a condition says about two columns.
func bounds(e *expr) []bound {
	switch {
	case e.op == "between" && len(e.args) == 3:
		return slices.Concat(boundsOn(">=", e.args[0], e.args[1], e.at), boundsOn("<=", e.args[0], e.args[2], e.at))
	case len(e.args) == 2 && mirrored[e.op] != "":
		return boundsOn(e.op, e.args[0], e.args[1], e.at)
	}
	return nil
}

func boundsOn(op string, l, r *expr, at int) []bound {
	x, by1, ok1 := shifted(l)
	y, by2, ok2 := shifted(r)
	if !ok1 || !ok2 || by1 != 0 && by2 != 0 {
		return nil
	}
	by := by2 - by1 // x op y + by
	switch op {
	case "<", "<=":
		return []bound{{x, y, by > 0, at}}
	case ">", ">=":
		return []bound{{y, x, by < 0, at}}
	case "=":
		return []bound{{x, y, by > 0, at}, {y, x, by < 0, at}}
	}
	return nil
}

// shifted returns the column that an expression is, and the sign of what is added to it.
func shifted(e *expr) (of *expr, sign int, ok bool) {
	switch {
	case e.kind == column:
		return e, 0, true
	case e.typ == "OPERATOR_CAST" && len(e.args) == 1:
		return shifted(e.args[0])
	case e.kind == call && len(e.args) == 2 && (e.name == "+" || e.name == "-") && e.args[0].kind == column:
		if sign = span(e.args[1]); e.name == "-" {
			sign = -sign
		}
		return e.args[0], sign, sign != 0
	}
	return nil, 0, false
}

// span returns the sign of a constant length of time, or 0 if it is not known.
func span(e *expr) int {
	switch {
	case e.kind == constant && e.value != nil:
		text := strings.TrimSpace(e.value.Text)
		first := strings.TrimLeft(text, "0. ")
		switch {
		case strings.HasPrefix(text, "-") || strings.Contains(text, "ago"):
			return -1
		case first != "" && first[0] >= '1' && first[0] <= '9':
			return 1
		}
	case (e.typ == "OPERATOR_CAST" || e.kind == call && (strings.HasPrefix(e.name, "to_") || e.name == "trunc")) && len(e.args) == 1:
		return span(e.args[0])
	}
	return 0
}
