package facts

import (
	"math/big"
	"slices"
	"strings"
)

// unreached looks for a condition of a CASE that is never true: whenever it would be, an
// earlier one is.
func (a *analysis) unreached(e *expr) {
	if e.kind != cases {
		return
	}
	for j, later := range e.decides {
		for _, earlier := range e.decides[:j] {
			if implies(later, earlier) {
				a.find(Finding{Kind: Unreached, Constant: Constant{Offset: later.place()}, Other: earlier.place()})
				return
			}
		}
	}
}

// place is the value of a comparison for equality, because CASE x WHEN v names the column
// only once.
func (e *expr) place() int {
	if e.kind == equal && len(e.args) == 2 && e.args[1].at >= 0 {
		return e.args[1].at
	}
	return e.at
}

// implies reports whether a condition is certainly true if another one is.
func implies(e, then *expr) bool {
	for _, x := range then.conjuncts() {
		if !slices.ContainsFunc(e.conjuncts(), func(y *expr) bool { return y.narrows(x) }) {
			return false
		}
	}
	return true
}

// conjuncts returns the conditions that AND connects.
func (e *expr) conjuncts() []*expr {
	if e.typ != "CONJUNCTION_AND" {
		return []*expr{e}
	}
	var all []*expr
	for _, x := range e.args {
		all = append(all, x.conjuncts()...)
	}
	return all
}

// A boundary is a comparison of a column with constants: equal to one of them, or on one side
// of the only one.
type boundary struct {
	column string
	op     string
	values []Constant
}

// boundaries returns the comparisons with constants that a condition consists of, or nil.
func (e *expr) boundaries() []boundary {
	if e.kind != equal && e.kind != compares || e.typ == "COMPARE_NOT_IN" || len(e.args) < 2 {
		return nil
	}
	args, op := e.args, e.op
	if args[0].kind != column && len(args) == 2 {
		args, op = []*expr{args[1], args[0]}, mirrored[op]
	}
	if args[0].kind != column || slices.ContainsFunc(args[1:], func(x *expr) bool { return x.kind != constant || x.value == nil }) {
		return nil
	}
	name := strings.ToLower(strings.Join(args[0].names, "."))
	switch {
	case op == "between" && len(args) == 3:
		return []boundary{{name, ">=", []Constant{*args[1].value}}, {name, "<=", []Constant{*args[2].value}}}
	case op == "in":
		l := boundary{name, "=", nil}
		for _, x := range args[1:] {
			l.values = append(l.values, *x.value)
		}
		return []boundary{l}
	case mirrored[op] != "" && len(args) == 2:
		return []boundary{{name, op, []Constant{*args[1].value}}}
	}
	return nil
}

// narrows reports whether each comparison of another condition follows from one of its own.
func (e *expr) narrows(then *expr) bool {
	own, others := e.boundaries(), then.boundaries()
	return len(others) > 0 && !slices.ContainsFunc(others, func(o boundary) bool {
		return !slices.ContainsFunc(own, func(l boundary) bool { return l.within(o) })
	})
}

// within reports whether a comparison follows from this one.
func (l boundary) within(o boundary) bool {
	if l.column != o.column {
		return false
	}
	for _, v := range l.values {
		if !slices.ContainsFunc(o.values, func(w Constant) bool { return follows(l.op, v, o.op, w) }) {
			return false
		}
	}
	return true
}

// follows reports whether x op v means that x then w.
func follows(op string, v Constant, then string, w Constant) bool {
	if !v.Number || !w.Number {
		return op == "=" && then == "=" && v.Number == w.Number && v.Text == w.Text
	}
	x, ok1 := new(big.Rat).SetString(v.Text)
	y, ok2 := new(big.Rat).SetString(w.Text)
	if !ok1 || !ok2 {
		return false
	}
	c := x.Cmp(y)
	switch then {
	case "=":
		return op == "=" && c == 0
	case ">":
		return (op == ">" && c >= 0) || (op == ">=" || op == "=") && c > 0
	case ">=":
		return (op == ">" || op == ">=" || op == "=") && c >= 0
	case "<":
		return (op == "<" && c <= 0) || (op == "<=" || op == "=") && c < 0
	case "<=":
		return (op == "<" || op == "<=" || op == "=") && c <= 0
	}
	return false
}

// compareParts looks for parts of times that are compared with a number that they never are,
// such as the 13th month.
func (a *analysis) compareParts(e *expr, s *scope) {
	if e.kind != equal && e.kind != compares || e.op != "=" && e.op != "<>" && e.op != "in" || len(e.args) < 2 {
		return
	}
	args := e.args
	if args[0].kind == constant && len(args) == 2 {
		args = []*expr{args[1], args[0]}
	}
	if _, ok := dated[args[0].name]; args[0].kind != call || !ok && args[0].name != "date_part" {
		return
	}
	r := a.rangeOf(args[0], s)
	if r.Kind != Numbers {
		return
	}
	for _, x := range args[1:] {
		if x.kind != constant || x.value == nil || !x.value.Number {
			continue
		}
		if r.Apart(a.rangeOf(x, s)) {
			a.find(Finding{Kind: NoSuchPart, Column: args[0].name, Constant: *x.value, Ranges: [2]Range{r}})
		}
	}
}
