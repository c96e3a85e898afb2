package facts

import (
	"strings"
)

// A Unit is the declared unit of the values of a column. The zero Unit is not known.
type Unit struct {
	Text   string // "km"
	Column string // that it is declared for
	Of     Ref    // that column of an input
}

// keeps lists functions whose values are in the unit of their first argument.
var keeps = map[string]bool{}

func init() {
	for _, name := range strings.Fields(`sum fsum kahan_sum sumkahan avg mean median min max first last any_value arbitrary
		mode quantile_cont quantile_disc first_value last_value nth_value lag lead abs round floor ceil ceiling trunc nullif
		stddev stddev_pop stddev_samp arg_max arg_min max_by min_by`) {
		keeps[name] = true
	}
}

// unitOf returns the unit of an expression.
func (a *analysis) unitOf(e *expr, s *scope) Unit {
	if len(e.args) == 0 {
		return a.unit(e, s)
	}
	key := at{e: e, s: s}
	u, ok := a.units[key]
	if !ok {
		u = a.unit(e, s)
		a.units[key] = u
	}
	return u
}

func (a *analysis) unit(e *expr, s *scope) Unit {
	switch {
	case e.kind == column && !s.binds(e.names):
		if c, ok := a.resolve(e.names, s); ok {
			return c.Unit
		}
	case e.kind == cases:
		return a.commonUnit(e.arms, s)
	case e.typ == "OPERATOR_COALESCE", e.kind == call && (e.name == "greatest" || e.name == "least"):
		return a.commonUnit(e.args, s)
	case e.typ == "OPERATOR_CAST" && len(e.args) == 1 && e.to != "VARCHAR":
		return a.unitOf(e.args[0], s)
	case e.kind == subquery && len(e.args) == 0 && !e.exists:
		if r, ok := a.scalars[e.query]; ok && len(r.Columns) == 1 {
			return r.Columns[0].Unit
		}
	case e.kind == call && len(e.args) == 2 && (e.name == "+" || e.name == "-"):
		// A constant may change the unit, as that of temperatures.
		if x, y := a.unitOf(e.args[0], s), a.unitOf(e.args[1], s); x.Text == y.Text {
			return x
		}
	case e.kind == call && len(e.args) == 1 && e.name == "-", (e.kind == call || e.kind == window) && keeps[e.name] && len(e.args) > 0:
		return a.unitOf(e.args[0], s)
	}
	return Unit{}
}

// commonUnit returns the unit that all expressions have, apart from constants.
func (a *analysis) commonUnit(exprs []*expr, s *scope) Unit {
	var all Unit
	for _, x := range exprs {
		if x.kind == constant {
			continue
		}
		u := a.unitOf(x, s)
		if u.Text == "" || all.Text != "" && all.Text != u.Text {
			return Unit{}
		}
		all = u
	}
	return all
}

// compareUnits looks for expressions that put together values in different units, or times of
// different kinds.
func (a *analysis) compareUnits(e *expr, s *scope) {
	if e.kind == subquery {
		return // see the query
	}
	if len(e.bound) > 0 {
		s = s.within(e.bound)
	}
	alike := e.alike()
	a.compareTimes(alike, s)
	var first Unit
	for _, x := range alike {
		u := a.unitOf(x, s)
		switch {
		case u.Text == "":
		case first.Text == "":
			first = u
		case first.Text != u.Text:
			a.find(Finding{Kind: OtherUnit, Constant: Constant{Offset: x.at}, Units: [2]Unit{first, u}})
			return
		}
	}
	for _, list := range [][]*expr{e.args, e.orders} {
		for _, x := range list {
			a.compareUnits(x, s)
		}
	}
}
