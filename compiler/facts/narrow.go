package facts

import (
	"math"
	"slices"
	"strings"
)

// declared returns the range of a column of an input: what its query gives, within what its
// schema declares.
func declared(c Column) Range {
	if c.Type == "float32" {
		return Range{}
	}
	return common(c.Range, RangeOf(c.Type, c.Domain))
}

// opposite returns the comparison that is true if another one is false.
var opposite = map[string]string{"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}

// narrowRanges narrows the ranges of the columns of a scope to what its conditions leave.
func (a *analysis) narrowRanges(s *scope) {
	for _, g := range atoms(s.guards) {
		if g.is == notTrue {
			continue
		}
		e := g.e
		switch {
		case e.kind == column:
			a.narrowTo(e, truth1(g.is == isTrue), e, s)
		case e.op == "between" && g.is == isTrue:
			a.narrowBy(e.args[0], ">=", e.args[1], e, s)
			a.narrowBy(e.args[0], "<=", e.args[2], e, s)
		case e.op == "in":
			if (e.typ == "COMPARE_IN") == (g.is == isTrue) {
				a.narrowTo(e.args[0], a.listed(e, s), e, s)
			} else if r := a.listed(e, s); r.Kind == Texts {
				a.exclude(e.args[0], r.Texts, e, s)
			}
		case e.op != "" && e.op != "between" && len(e.args) == 2:
			op := e.op
			if g.is == isFalse {
				op = opposite[op]
			}
			a.narrowBy(e.args[0], op, e.args[1], e, s)
			a.narrowBy(e.args[1], mirrored[op], e.args[0], e, s)
		}
	}
}

// listed returns the range of the list of an IN.
func (a *analysis) listed(e *expr, s *scope) Range { return a.rangeOfAll(e.args[1:], s) }

// narrowBy narrows a column that compares with an expression.
func (a *analysis) narrowBy(x *expr, op string, with, e *expr, s *scope) {
	to := a.rangeOf(with, s)
	c, days := a.narrowed(x, s)
	if c == nil {
		return
	}
	if c.Range.Kind == Times {
		to = asTime(to)
	}
	switch op {
	case "=":
		if days { // any time of the day
			to.High += microsOfDay - 1
		}
		a.narrowTo(x, to, e, s)
	case "<>":
		if to.Constant() {
			a.exclude(x, to.Texts, e, s)
		}
	case "<", "<=":
		if days && op == "<=" {
			to.High += microsOfDay - 1
		}
		if op == "<" && whole(c, to.High) {
			to.High--
		} else if op == "<" && c.Type == "float64" {
			to.High = down(to.High)
		}
		a.narrowTo(x, Range{Kind: to.Kind, Low: math.Inf(-1), High: to.High}, e, s)
	case ">", ">=":
		if op == ">" && days {
			to.Low += microsOfDay
		} else if op == ">" && whole(c, to.Low) {
			to.Low++
		} else if op == ">" && c.Type == "float64" {
			to.Low = up(to.Low)
		}
		a.narrowTo(x, Range{Kind: to.Kind, Low: to.Low, High: math.Inf(1)}, e, s)
	}
}

// whole reports whether a column has whole numbers or microseconds, and a bound of it is one
// that a float tells from the next one.
func whole(c *Column, bound float64) bool {
	return (strings.Contains(c.Type, "int") || c.Range.Kind == Times) && bound == math.Trunc(bound) && math.Abs(bound) < 1<<52
}

// narrowed returns the column of which a condition selects values: x itself, or the one of
// which x is the day.
func (a *analysis) narrowed(x *expr, s *scope) (c *Column, days bool) {
	if x.typ == "OPERATOR_CAST" && x.to == "DATE" && len(x.args) == 1 {
		x, days = x.args[0], true
	}
	if x.kind != column || s.binds(x.names) {
		return nil, false
	}
	if _, c = s.lookup(x.names); c == nil || len(x.names) > 2 || days && c.Range.Kind != Times {
		return nil, false
	}
	return c, days
}

// narrowTo narrows a column to a range, by a condition.
func (a *analysis) narrowTo(x *expr, to Range, by *expr, s *scope) {
	c, _ := a.narrowed(x, s)
	if c == nil || to.Kind == Anything || to.Kind == Nothing || (to.Kind == Numbers || to.Kind == Times) && math.IsInf(to.Low, -1) && math.IsInf(to.High, 1) {
		return
	}
	if c.Range.Kind == Anything && c.Type == "float32" {
		return
	}
	if c.Range.Kind == Times {
		to = asTime(to)
	}
	if to.Kind != c.Range.Kind && c.Range.Kind != Anything {
		return
	}
	if c.Range.Kind == Anything && (to.Kind != Texts || c.Type != "string") {
		return // DuckDB may convert one of the two
	}
	if n := len(c.Narrowed); n > 0 && c.Type != "" && c.Range.Apart(to) && !RangeOf(c.Type, c.Domain).Apart(to) {
		a.find(Finding{Kind: Conflict, Column: c.Name, Of: c.Of, Constant: Constant{Offset: by.at}, Other: c.Narrowed[n-1], Ranges: [2]Range{to, c.Range}})
		return
	}
	before := c.Range
	c.Range = common(c.Range, to)
	if before.String() != c.Range.String() {
		c.Narrowed = append(slices.Clone(c.Narrowed), by.at)
	}
}

// exclude narrows a column by values that it does not have.
func (a *analysis) exclude(x *expr, texts []string, by *expr, s *scope) {
	c, days := a.narrowed(x, s)
	if c == nil || days || c.Range.Kind != Texts && c.Range.Kind != Truths {
		return
	}
	left := slices.DeleteFunc(slices.Clone(c.Range.Texts), func(t string) bool { return slices.Contains(texts, t) })
	if len(left) > 0 && len(left) < len(c.Range.Texts) {
		c.Range, c.Narrowed = Range{Kind: c.Range.Kind, Texts: left}, append(slices.Clone(c.Narrowed), by.at)
	}
}

// compareRanges looks for conditions that are never true, because their two sides have no
// values that fit.
func (a *analysis) compareRanges(conditions []*expr, s *scope) {
	for _, e := range conditions {
		switch {
		case e.kind != equal && e.kind != compares || !a.reads(e, s):
		case e.op == "between":
			if !a.comparesApart(e, e.args[0], ">=", e.args[1], s) {
				a.comparesApart(e, e.args[0], "<=", e.args[2], s)
			}
		case len(e.args) == 2:
			a.comparesApart(e, e.args[0], e.op, e.args[1], s)
		}
	}
}

// comparesApart reports that a condition is never true, if no two values of its sides compare
// so.
func (a *analysis) comparesApart(e, left *expr, op string, right *expr, s *scope) bool {
	if a.settled(left, right, s) || a.settled(right, left, s) {
		return false
	}
	x, y := a.rangeOf(left, s), a.rangeOf(right, s)
	if x.Kind == Times || y.Kind == Times {
		x, y = asTime(x), asTime(y)
	}
	if x.Kind != y.Kind || x.Kind == Numbers && !(a.ordered(left, s) && a.ordered(right, s)) || !x.never(op, y) {
		return false
	}
	f := Finding{Kind: Apart, Constant: Constant{Offset: e.at}, Ranges: [2]Range{x, y}}
	for _, side := range []*expr{left, right} {
		if side.kind == column && !s.binds(side.names) && f.Of == (Ref{}) {
			if c, ok := a.resolve(side.names, s); ok && c.Type != "" && c.Domain.bounds() {
				f.Of = c.Of
			}
		}
	}
	a.find(f)
	return true
}

// settled reports whether a condition compares a declared column with a constant, for which
// there are better findings.
func (a *analysis) settled(x, y *expr, s *scope) bool {
	if x.kind != column || y.kind != constant || s.binds(x.names) {
		return false
	}
	c, ok := a.resolve(x.names, s)
	return ok && c.Type != "" && c.Range.Kind != Times
}

// reads reports whether an expression reads a column of a table. Other conditions are meant
// to be what they are, such as 1 = 0.
func (a *analysis) reads(e *expr, s *scope) bool {
	if e.kind == column && !s.binds(e.names) {
		c, ok := a.resolve(e.names, s)
		return ok && len(c.Origins) > 0
	}
	return slices.ContainsFunc(e.args, func(x *expr) bool { return a.reads(x, s) })
}

// never reports whether no two values of the ranges compare so.
func (r Range) never(op string, s Range) bool {
	switch r.Kind {
	case Numbers, Times:
	case Texts, Truths:
		return op == "=" && r.Apart(s)
	default:
		return false
	}
	switch op {
	case "=":
		return r.Apart(s)
	case "<":
		return r.Low >= s.High
	case "<=":
		return r.Low > s.High
	case ">":
		return r.High <= s.Low
	case ">=":
		return r.High < s.Low
	}
	return false
}
