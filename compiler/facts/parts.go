package facts

import (
	"maps"
	"math"
	"slices"
)

// A Part is an expression that gives the value of a column in some rows: an arm of a CASE,
// an argument of coalesce, a part of a UNION, or the only expression.
type Part struct {
	Offset int
	Range  Range
	Kind   PartKind
	Of     Ref // the column of an input that it is
	// Constant is set for a literal.
	Constant bool
	// Reads are the columns of inputs that it is made of.
	Reads []Ref

	reach func() Range
}

// A PartKind is the construct that a part belongs to.
type PartKind string

// The constructs with parts.
const (
	Whole    PartKind = ""         // there are no other parts
	Arm      PartKind = "arm"      // of a CASE
	Fallback PartKind = "fallback" // of coalesce
	Member   PartKind = "member"   // of a UNION
)

// Reached returns a range of values that rows have which the declarations allow. It is not
// known, unless the declared bounds of columns decide it.
func (p Part) Reached() Range {
	if p.reach == nil {
		return Range{}
	}
	return p.reach()
}

// rangeItem sets what is known about the values of a column of the select list.
func (a *analysis) rangeItem(e *expr, c *Column, q *query, s *scope) {
	c.Range, c.Unit = a.rangeOf(e, s), a.unitOf(e, s)
	if e.kind == column && !s.binds(e.names) {
		if of, ok := a.resolve(e.names, s); ok {
			c.Narrowed, c.Parts, c.ordered = of.Narrowed, of.Parts, of.ordered
		}
		a.passRange(c, s, q)
		if c.Of != (Ref{}) && c.Parts == nil {
			c.Parts = []Part{a.part(e, Whole, s, q, nil)}
		}
		return
	}
	c.ordered = a.ordered(e, s)
	if q.sets != nil { // the rows of other grouping sets are null
		return
	}
	c.Parts = a.partsOf(e, Whole, s, q, nil)
}

// passRange drops what is known about single rows of a column if the query that passes it on
// may select among them.
func (a *analysis) passRange(c *Column, s *scope, q *query) {
	if len(s.tables) != 1 || len(s.guards)+len(s.after) > 0 || s.group != nil || q == nil || q.limited {
		c.Parts = nil
	}
	if len(s.guards)+len(s.after) > 0 && c.Of == (Ref{}) && len(c.Constants) > 0 && a.selected(c, s) {
		c.Constants = nil
	}
}

// selected reports whether conditions may select rows by a column that a subquery makes.
func (a *analysis) selected(c *Column, s *scope) bool {
	var found func(e *expr) bool
	found = func(e *expr) bool {
		if e.kind == subquery || e.kind == star {
			return true
		}
		if e.kind == column {
			_, x := s.lookup(e.names)
			return x == nil || x.Name == c.Name || slices.Equal(x.Constants, c.Constants)
		}
		return slices.ContainsFunc(e.args, found)
	}
	return slices.ContainsFunc(slices.Concat(s.guards, s.after), func(g guard) bool { return found(g.e) })
}

// partsOf returns the parts of an expression. path holds the conditions under which it gives
// the value.
func (a *analysis) partsOf(e *expr, k PartKind, s *scope, q *query, path []guard) []Part {
	switch {
	case e.kind == cases:
		whens := e.args[:len(e.args)-len(e.arms)]
		var all []Part
		rest := slices.Clone(path)
		for i, arm := range e.arms {
			at := slices.Clone(rest)
			if i < len(whens) {
				at = append(at, guard{whens[i], isTrue})
				rest = append(rest, guard{whens[i], notTrue})
			}
			all = append(all, a.partsOf(arm, Arm, s, q, at)...)
		}
		return all
	case e.typ == "OPERATOR_COALESCE":
		all := a.partsOf(e.args[0], k, s, q, path)
		for i, x := range e.args[1:] {
			if a.null(e.args[i], s, path).Verdict != Maybe {
				break // it may never be needed
			}
			all = append(all, a.partsOf(x, Fallback, s, q, []guard{{&expr{kind: other}, isTrue}})...)
		}
		return all
	case e.typ == "OPERATOR_CAST" && len(e.args) == 1 && e.args[0].kind == cases && e.to != "VARCHAR":
		all := a.partsOf(e.args[0], k, s, q, path)
		for i := range all {
			all[i].reach, all[i].Constant = nil, false
		}
		return all
	}
	return []Part{a.part(e, k, s, q, path)}
}

func (a *analysis) part(e *expr, k PartKind, s *scope, q *query, path []guard) Part {
	p := Part{Offset: e.at, Range: a.rangeOf(e, s), Kind: k, Constant: e.kind == constant}
	if len(path) > 0 && slices.ContainsFunc(path, func(g guard) bool { return a.mayExclude(g, s) }) {
		p.Range = Range{} // its rows are those in which the condition holds
	}
	if e.kind == column {
		if c, ok := a.resolve(e.names, s); ok {
			p.Of = c.Of
		}
	}
	p.Reads = a.refs(e, s, nil)
	p.reach = func() Range { return a.reach(e, s, q, path) }
	return p
}

// refs adds the columns of inputs that an expression reads.
func (a *analysis) refs(e *expr, s *scope, to []Ref) []Ref {
	if e.kind == column && !s.binds(e.names) {
		if c, ok := a.resolve(e.names, s); ok && c.Of != (Ref{}) && !slices.Contains(to, c.Of) {
			to = append(to, c.Of)
		}
	}
	for _, x := range e.args {
		to = a.refs(x, s, to)
	}
	return to
}

// mayExclude reports whether a condition is never true for the columns that it compares, so
// that what it guards is never needed.
func (a *analysis) mayExclude(g guard, s *scope) bool {
	r := a.rangeOf(g.e, s)
	return g.is == isTrue && r.Kind == Truths && r.Constant() && r.Texts[0] == "false"
}

// rowwise returns an expression that gives the same value for a group of one row.
func rowwise(e *expr, s *scope) *expr {
	if s.group != nil && e.kind == call && Aggregate(e.name) && (inside[e.name] || averages[e.name]) && !e.filter && e.nargs == 1 && len(e.args) == 1 {
		return e.args[0]
	}
	return e
}

// mostGuards limits the conditions under which a part is tried.
const mostGuards = 50

// reach returns the range of the values of an expression in rows that the declarations
// allow and that satisfy the conditions. It is only known for one column in a query that
// selects rows by nothing else: the rows may be such that one column keeps another within
// bounds, as one that says in which unit the other one is.
func (a *analysis) reach(e *expr, s *scope, q *query, path []guard) Range {
	if q.limited || q.sampled || q.sets != nil || len(s.after) > 0 || len(s.tables) != 1 || len(s.guards)+len(path) > mostGuards {
		return Range{}
	}
	x := rowwise(e, s)
	if s.group != nil && x == e && e.kind != column {
		return Range{}
	}
	columns := map[variable]*Column{}
	w := &witness{analysis: a, scope: s, values: map[variable]any{}, measures: true}
	if !w.collect(x, columns) {
		return Range{}
	}
	all := maps.Clone(columns)
	for _, g := range slices.Concat(s.guards, path) {
		if !w.collect(g.e, all) {
			return Range{}
		}
	}
	if len(columns) != 1 || len(all) != 1 {
		return Range{}
	}
	of := s.plain(x)
	if of != nil && of.Type == "string" && len(of.Domain.Values) > 0 {
		reached := nothing
		w.rows(slices.Concat(s.guards, path), columns, target{own: maps.Clone(columns)}, func() bool {
			if v, ok := w.values[a.variable(of)].(string); ok && slices.Contains(of.Range.Texts, v) {
				reached = hull(reached, Range{Kind: Texts, Texts: []string{v}})
			}
			return false
		})
		return reached
	}
	for _, c := range columns {
		if c.Type != "float64" && widths[c.Type].Kind != Numbers && c.Range.Kind != Times {
			return Range{}
		}
	}
	// Only declared bounds count: what is not declared is not known to happen.
	a.strictly = true
	bounds := a.rangeOf(x, s)
	a.strictly = false
	if bounds.Kind != Numbers && bounds.Kind != Times || math.IsInf(bounds.Low, 0) && math.IsInf(bounds.High, 0) {
		return Range{}
	}
	reached := nothing
	w.rows(slices.Concat(s.guards, path), columns, target{own: maps.Clone(columns)}, func() bool {
		if v, ok := w.eval(x); ok {
			if f, ok := v.(float64); ok && !math.IsNaN(f) {
				reached = hull(reached, Range{Kind: bounds.Kind, Low: f, High: f})
			}
		}
		return false
	})
	if reached.Kind != bounds.Kind {
		return Range{}
	}
	if math.IsInf(bounds.Low, 0) {
		reached.Low = math.Inf(1)
	}
	if math.IsInf(bounds.High, 0) {
		reached.High = math.Inf(-1)
	}
	return reached
}

// uniteRanges adds what is known about a column of another part of a set operation.
func (a *analysis) uniteRanges(to *Column, c Column, q *query) {
	to.Range, to.Narrowed = hull(to.Range, c.Range), slices.Concat(to.Narrowed, c.Narrowed)
	to.ordered = to.ordered && c.ordered
	if q.setop != "UNION" || q.limited {
		to.Parts = nil
	} else if to.Parts != nil || c.Parts != nil {
		to.Parts = append(members(to.Parts), members(c.Parts)...)
	}
	if to.Unit.Text != c.Unit.Text {
		if to.Unit.Text != "" && c.Unit.Text != "" {
			a.find(Finding{Kind: OtherUnit, Constant: Constant{Offset: c.Offset}, Units: [2]Unit{to.Unit, c.Unit}})
		}
		to.Unit = Unit{}
	}
}

func members(parts []Part) []Part {
	all := slices.Clone(parts)
	for i := range all {
		if all[i].Kind == Whole {
			all[i].Kind = Member
		}
	}
	return all
}
