package facts

import (
	"cmp"
	"math"
	"math/big"
	"slices"
	"strings"
)

// A guard is a condition that holds where an expression is evaluated.
type guard struct {
	e  *expr
	is truth
}

type truth int

const (
	isTrue truth = iota
	isFalse
	notTrue // false or null
)

// guard notes the conditions of a SELECT.
func (a *analysis) guard(q *query, s *scope) {
	for _, e := range q.where {
		if slices.Contains(q.where[q.wheres:], e) {
			s.after = append(s.after, guard{e, isTrue})
			continue
		}
		s.guards = append(s.guards, guard{e, isTrue})
	}
	a.narrow(s.guards, s)
}

// narrow notes which columns of the tables of a scope the conditions prove not to be null.
func (a *analysis) narrow(guards []guard, s *scope) {
	proven, _ := a.proven(guards, s)
	for c := range proven {
		s.match(c)
	}
}

// match notes that a column is not null. The outer joins of its table have a match then.
func (s *scope) match(c *Column) {
	if c == nil {
		return
	}
	joins := c.joins
	c.Null = never
	present := func(x *Column) {
		if slices.ContainsFunc(joins, func(m join) bool { return slices.Contains(x.ties, m.id) }) {
			x.Null = never
		}
		x.joins = slices.DeleteFunc(slices.Clone(x.joins), func(j join) bool {
			return slices.ContainsFunc(joins, func(m join) bool { return m.id == j.id })
		})
	}
	for i := range s.tables {
		for k := range s.tables[i].Columns {
			s.tables[i].Columns[k].walk(present)
		}
	}
	for _, m := range s.merged {
		m.Columns[0].walk(present)
	}
}

// proven returns the columns that conditions prove not to be null, and the outer joins that
// they prove to have a match.
func (a *analysis) proven(guards []guard, s *scope) (columns map[*Column]bool, joins map[string]bool) {
	columns, joins = map[*Column]bool{}, map[string]bool{}
	for _, g := range atoms(guards) {
		e, known := g.e, g.is != notTrue
		var present []*expr
		switch {
		case e.kind == notNull && g.is == isTrue, e.typ == "OPERATOR_IS_NULL" && g.is != isTrue:
			present = e.args
		case e.kind == equal && known, e.kind == column && known:
			present = []*expr{e}
		case e.kind == compares && known:
			present = []*expr{e}
			if e.op == "in" || e.op == "between" && g.is == isFalse {
				present = e.args[:1]
			}
		case e.kind == call && strict[e.name] && known:
			present = []*expr{e}
		}
		for _, x := range present {
			for _, names := range strictColumns(x) {
				if _, c := s.lookup(names); c != nil && !s.binds(names) {
					columns[c] = true
					for _, j := range c.joins {
						joins[j.id] = true
					}
				}
			}
		}
	}
	return columns, joins
}

// strictColumns returns the columns that make an expression null if they are.
func strictColumns(e *expr) [][]string {
	switch {
	case e.kind == column:
		return [][]string{e.names}
	case e.kind == equal, e.kind == compares && e.op != "in" && e.op != "between", e.typ == "OPERATOR_CAST",
		e.kind == compares && e.op == "between", e.kind == call && strict[e.name] && !e.filter:
		var all [][]string
		for _, x := range e.args {
			all = append(all, strictColumns(x)...)
		}
		return all
	}
	return nil
}

// atoms takes AND, OR and NOT apart as far as each part must hold.
func atoms(guards []guard) []guard {
	var all []guard
	for _, g := range guards {
		var parts []guard
		switch {
		case g.e.typ == "CONJUNCTION_AND" && g.is == isTrue, g.e.typ == "CONJUNCTION_OR" && g.is != isTrue:
			for _, x := range g.e.args {
				parts = append(parts, guard{x, g.is})
			}
		case g.e.typ == "OPERATOR_NOT" && g.is != notTrue && len(g.e.args) == 1:
			parts = []guard{{g.e.args[0], isTrue + isFalse - g.is}}
		}
		if parts == nil {
			all = append(all, g)
			continue
		}
		all = append(all, atoms(parts)...)
	}
	return all
}

// A variable is a column of a row of a table that no query makes.
type variable struct {
	Root
	row string
}

func (a *analysis) variable(c *Column) variable {
	return variable{c.Origins[0].Root, a.row(c.Origins[0].Row)}
}

// mentions reports whether conditions may select values of a column.
func (s *scope) mentions(a *analysis, c *Column, path []guard) bool {
	of := map[variable]bool{}
	for _, o := range c.Origins {
		of[variable{o.Root, a.row(o.Row)}] = true
	}
	var found func(e *expr) bool
	found = func(e *expr) bool {
		if e.kind == subquery || e.kind == other && len(e.args) == 0 && e.typ == "" {
			return true
		}
		if e.kind == column {
			x, ok := a.resolve(e.names, s)
			return !ok || x.Partial || slices.ContainsFunc(x.Origins, func(o Origin) bool { return o.Row == "" || of[variable{o.Root, a.row(o.Row)}] })
		}
		return slices.ContainsFunc(e.args, found)
	}
	return slices.ContainsFunc(slices.Concat(s.guards, s.after, path), func(g guard) bool { return found(g.e) })
}

// zero tells whether a divisor may be zero.
func (a *analysis) zero(e *expr, s *scope, guards, path []guard) Verdict {
	if e.value != nil && e.value.Number {
		if r, ok := new(big.Rat).SetString(e.value.Text); ok && r.Sign() != 0 {
			return Never
		}
		return Unknown
	}
	c := s.plain(e)
	if c == nil {
		return Unknown
	}
	if c.Domain.never("=", "0") {
		return Never
	}
	v := a.variable(c)
	if a.possible(guards, s, target{zero: v}) {
		return Maybe
	}
	return Unknown
}

// A target is what a row must have besides the conditions.
type target struct {
	null, zero variable             // a column that is null or zero
	join       string               // an outer join without a match
	own        map[variable]*Column // of which a value is made
	absent     *Column              // a computed column that is null
	ties       []string             // others that have none then
	without    []variable           // columns of which one is null then
}

// mostRows limits the rows that are tried.
const mostRows = 4000

// possible reports whether the declarations allow a row in which all conditions hold, by
// trying values around the constants of the conditions. It is false if it does not
// understand a condition.
func (a *analysis) possible(guards []guard, s *scope, t target) bool {
	if len(t.without) > 0 {
		return slices.ContainsFunc(t.without, func(v variable) bool {
			return a.possible(guards, s, target{null: v, join: t.join, ties: t.ties})
		})
	}
	w := &witness{analysis: a, scope: s, values: map[variable]any{}}
	return w.rows(guards, map[variable]*Column{}, t, func() bool { return true })
}

// rows visits the rows that are tried in which all conditions hold, until visit returns true.
// columns are those that it needs besides those of the conditions. It returns false if it
// does not understand a condition.
func (w *witness) rows(guards []guard, columns map[variable]*Column, t target, visit func() bool) bool {
	var kept []guard
	for _, g := range guards {
		if w.harmless(g, t) {
			continue
		}
		if !w.collect(g.e, columns) {
			return false
		}
		kept = append(kept, g)
	}
	var vars []variable
	points := map[variable][]any{}
	rows := 1
	for v, c := range columns {
		vars = append(vars, v)
		switch {
		case v == t.null, slices.ContainsFunc(c.joins, func(j join) bool { return j.id == t.join || slices.Contains(t.ties, j.id) }):
			points[v] = []any{nil}
		case v == t.zero:
			points[v] = []any{0.0}
		default:
			points[v] = w.points(c, kept)
		}
		if rows *= len(points[v]); rows > mostRows {
			return false
		}
	}
	slices.SortFunc(vars, func(x, y variable) int {
		return cmp.Or(cmp.Compare(x.Table, y.Table), cmp.Compare(x.Column, y.Column), cmp.Compare(x.row, y.row))
	})
	var try func(i int) bool
	try = func(i int) bool {
		if i == len(vars) {
			return w.holds(kept) && visit()
		}
		return slices.ContainsFunc(points[vars[i]], func(p any) bool {
			w.values[vars[i]] = p
			return try(i + 1)
		})
	}
	return try(0)
}

// A witness is a row that is tried.
type witness struct {
	*analysis
	*scope
	values map[variable]any // float64, string, bool or nil
	// measures tells that it looks for the least and the greatest value of an expression.
	measures bool
}

// nullWith reports whether an expression is null if a column is.
func (w *witness) nullWith(e *expr, c *Column) bool {
	return slices.ContainsFunc(strictColumns(e), func(names []string) bool {
		_, x := w.lookup(names)
		return x == c && !w.binds(names)
	})
}

// harmless reports whether a condition joins tables that have nothing to do with one
// another, so that it excludes no value of either.
func (w *witness) harmless(g guard, t target) bool {
	if t.absent != nil && g.is == notTrue && w.nullWith(g.e, t.absent) {
		return true
	}
	if g.is != isTrue || g.e.kind != equal || g.e.args[0].kind != column || g.e.args[1].kind != column {
		return false
	}
	r1, c1 := w.lookup(g.e.args[0].names)
	r2, c2 := w.lookup(g.e.args[1].names)
	if c1 == nil || c2 == nil || !apart(r1.From, r2.From) {
		return false
	}
	for _, c := range []*Column{c1, c2} {
		if c.plain() && (w.variable(c) == t.zero || t.own[w.variable(c)] != nil) {
			return false
		}
	}
	return true
}

// collect collects the columns of a condition. It returns false if it does not understand
// the condition.
func (w *witness) collect(e *expr, to map[variable]*Column) bool {
	switch {
	case e.kind == column:
		c := w.scope.plain(e)
		if c == nil {
			return false
		}
		to[w.variable(c)] = c
		return true
	case e.kind == constant, e.kind == equal, e.kind == compares, e.kind == notNull:
	case e.typ == "OPERATOR_IS_NULL", e.typ == "OPERATOR_NOT", e.typ == "CONJUNCTION_AND", e.typ == "CONJUNCTION_OR":
	case e.typ == "OPERATOR_CAST" && !e.try && len(e.args) == 1 && e.args[0].kind == constant:
	case e.kind == call && len(e.args) == 2 && (e.name == "+" || e.name == "-" || e.name == "*"):
	case w.measures && e.kind == call && computes[e.name] && !e.filter, w.measures && e.kind == cases, w.measures && e.typ == "OPERATOR_COALESCE":
	case w.measures && e.typ == "OPERATOR_CAST" && !e.try && (e.to == "DOUBLE" || integers[e.to].Kind == Numbers):
	default:
		return false
	}
	return !slices.ContainsFunc(e.args, func(x *expr) bool { return !w.collect(x, to) })
}

// points returns values of a column that are worth trying.
func (w *witness) points(c *Column, guards []guard) []any {
	var all []any
	switch {
	case c.Type == "bool":
		all = []any{true, false}
	case strings.Contains(c.Type, "int") || strings.HasPrefix(c.Type, "float"):
		numbers := []string{"0", c.Domain.Min, c.Domain.Max}
		if w.measures && finiteRange(c.Range) {
			numbers = append(numbers, new(big.Rat).SetFloat64(c.Range.Low).RatString(), new(big.Rat).SetFloat64(c.Range.High).RatString())
		}
		for _, g := range guards {
			numbers = append(numbers, constantsIn(g.e, true)...)
		}
		for _, text := range numbers {
			r, ok := new(big.Rat).SetString(text)
			if !ok {
				continue
			}
			for _, step := range []int64{0, -1, 1} {
				x := new(big.Rat).Add(r, big.NewRat(step, 1))
				f, _ := x.Float64()
				if w.measures && c.Range.Kind == Numbers && (f < c.Range.Low || f > c.Range.High) {
					continue
				}
				if !c.Domain.never("=", x.RatString()) && !slices.Contains(all, any(f)) {
					all = append(all, f)
				}
			}
		}
	case w.measures && c.Range.Kind == Times:
		declared := RangeOf(c.Type, c.Domain)
		for _, micros := range []float64{declared.Low, declared.High} {
			if !math.IsInf(micros, 0) && micros >= c.Range.Low && micros <= c.Range.High {
				all = append(all, micros)
			}
		}
	case len(c.Domain.Values) > 0:
		for _, v := range c.Domain.Values {
			all = append(all, v)
		}
	default:
		all = []any{"", "~"}
		for _, g := range guards {
			for _, text := range constantsIn(g.e, false) {
				all = append(all, text, text+"~")
			}
		}
	}
	if c.fact().Verdict == Maybe {
		all = append(all, nil)
	}
	return all
}

func constantsIn(e *expr, number bool) []string {
	var all []string
	if e.value != nil && e.value.Number == number {
		all = append(all, e.value.Text)
	}
	for _, x := range e.args {
		all = append(all, constantsIn(x, number)...)
	}
	return all
}

func (w *witness) holds(guards []guard) bool {
	for _, g := range guards {
		v, ok := w.eval(g.e)
		if !ok {
			return false
		}
		if (v == true) != (g.is == isTrue) || g.is == isFalse && v != false {
			return false
		}
	}
	return true
}
