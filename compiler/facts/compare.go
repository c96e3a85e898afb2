package facts

import (
	"math/big"
	"slices"
)

// compare looks for comparisons that are certainly wrong, in an expression and below.
// required says that the expression has to be true. A comparison elsewhere may well never be,
// such as that of a CASE which guards against numbers that cannot be.
func (a *analysis) compare(e *expr, s *scope, required bool) {
	if e.kind == subquery {
		a.query(e.query, s.env, s)
	}
	if len(e.bound) > 0 {
		s = s.within(e.bound)
	}
	for _, list := range [][]*expr{e.args, e.orders} {
		for _, x := range list {
			a.compare(x, s, false)
		}
	}
	a.unreached(e)
	if !required || e.op == "in" { // otherwise see compareRanges
		a.compareParts(e, s)
	}
	if e.kind != compares && e.kind != equal {
		return
	}
	if e.op != "in" && slices.ContainsFunc(e.args, func(x *expr) bool { return x.null }) {
		a.find(Finding{Kind: WithNull, Constant: Constant{Offset: e.at}})
		return
	}
	a.compareLetters(e, s)
	args, op := e.args, e.op
	if args[0].kind != column && len(args) == 2 {
		args, op = []*expr{args[1], args[0]}, mirrored[op]
	}
	if args[0].kind != column || s.binds(args[0].names) {
		return
	}
	c, ok := a.resolve(args[0].names, s)
	if !ok || !c.Domain.bounds() {
		return
	}
	for i, x := range args[1:] {
		v := x.value
		if v == nil {
			continue
		}
		op := op
		switch {
		case op == "between":
			op = []string{">=", "<="}[i]
		case op == "in":
			op = "="
		}
		f := Finding{Column: c.Name, Of: c.Of, Constant: *v}
		switch {
		case !v.Number && len(c.Domain.Values) > 0 && (op == "=" || op == "<>"):
			if !slices.Contains(c.Domain.Values, v.Text) {
				f.Kind = NoSuchValue
				a.find(f)
			}
		case v.Number && c.Domain.never(op, v.Text):
			if f.Kind = NeverTrue; !required {
				f.Kind = Idle
			}
			a.find(f)
		}
	}
}

var mirrored = map[string]string{"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}

func (a *analysis) find(f Finding) {
	if !slices.ContainsFunc(a.findings, func(x Finding) bool { return x.same(f) }) {
		a.findings = append(a.findings, f)
	}
}

// same reports whether two findings are about one part of a query.
func (f Finding) same(g Finding) bool {
	return f.Kind == g.Kind && f.Constant == g.Constant && f.Column == g.Column && f.Of == g.Of
}

// never reports whether no number of the domain compares with a constant.
func (d Domain) never(op, constant string) bool {
	c, ok := new(big.Rat).SetString(constant)
	if !ok {
		return false
	}
	bound := func(text string) *big.Rat {
		r, ok := new(big.Rat).SetString(text)
		if !ok {
			return nil
		}
		return r
	}
	least, most := bound(d.Min), bound(d.Max)
	switch op {
	case "=":
		return least != nil && c.Cmp(least) < 0 || most != nil && c.Cmp(most) > 0
	case ">":
		return most != nil && most.Cmp(c) <= 0
	case ">=":
		return most != nil && most.Cmp(c) < 0
	case "<":
		return least != nil && least.Cmp(c) >= 0
	case "<=":
		return least != nil && least.Cmp(c) > 0
	}
	return false
}

// Allows reports whether a constant is in the domain.
func (d Domain) Allows(c Constant) bool {
	if c.Number {
		return !d.never("=", c.Text)
	}
	return len(d.Values) == 0 || slices.Contains(d.Values, c.Text)
}

// arms returns the constants that an expression is in some rows.
func (e *expr) constants() []Constant {
	switch {
	case e.kind == constant && e.value != nil:
		return []Constant{*e.value}
	case e.kind == cases:
		var all []Constant
		for _, arm := range e.arms {
			all = append(all, arm.constants()...)
		}
		return all
	}
	return nil
}
