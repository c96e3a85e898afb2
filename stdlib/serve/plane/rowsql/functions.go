package rowsql

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// A function is one function or operator of DuckDB for some types of its arguments.
type function struct {
	names  string // separated by spaces; they are equal
	args   string // sets of types, separated by spaces; the last one may end in "..."
	result string // a type, or "same" as the first argument
	about  string // what is admitted, if not all
	build  func(*call) (eval, error)
}

// sets are the types that functions name.
var sets = map[string]func(sqlType) bool{
	"int":         func(t sqlType) bool { return t.class.signed() || t.class.unsigned() || t.class == hugeint },
	"signed":      func(t sqlType) bool { return t.class.signed() },
	"unsigned":    func(t sqlType) bool { return t.class.unsigned() },
	"small":       func(t sqlType) bool { return t.class.signed() || t.class.unsigned() },
	"float":       func(t sqlType) bool { return t.class == float || t.class == double },
	"decimal":     func(t sqlType) bool { return t.class == decimal },
	"any":         func(t sqlType) bool { return comparer(t) != nil },
	"integer":     only(integer),
	"bigint":      only(bigint),
	"double":      only(double),
	"varchar":     only(varchar),
	"date":        only(date),
	"time":        only(timeOfDay),
	"timestamp":   only(timestamp),
	"timestamptz": only(timestamptz),
	"interval":    only(intervals),
	"boolean":     only(boolean),
}

func only(c class) func(sqlType) bool { return func(t sqlType) bool { return t.class == c } }

// functions are all functions and operators that are computed, besides CASE, AND, OR,
// NOT, COALESCE, IN, comparisons, IS NULL and casts.
var functions = slices.Concat(arithmetic, numbers, texts, moments)

var byName = sync.OnceValue(func() map[string][]*function {
	m := map[string][]*function{}
	for i := range functions {
		for name := range strings.FieldsSeq(functions[i].names) {
			m[name] = append(m[name], &functions[i])
		}
	}
	return m
})

// takes reports whether a function takes arguments of some types.
func (f *function) takes(types []sqlType) bool {
	want := strings.Fields(f.args)
	for i, t := range types {
		var set string
		switch last := want[len(want)-1]; {
		case i < len(want):
			set = want[i]
		case strings.HasSuffix(last, "..."):
			set = last
		default:
			return false
		}
		if !sets[strings.TrimSuffix(set, "...")](t) {
			return false
		}
	}
	return len(types) >= len(want)
}

// find returns the function of a call, or nil.
func (c *call) find() *function {
	for _, f := range byName()[strings.ToLower(c.Name)] {
		if f.takes(c.types) && (f.result == "same" && c.result == c.types[0] || f.result != "same" && sets[f.result](c.result)) {
			return f
		}
	}
	return nil
}

func (c *call) function() (eval, error) {
	if byName()[strings.ToLower(c.Name)] == nil {
		return nil, &Refusal{Reason: fmt.Sprintf("the function %s is not computed row by row: it is not one of those that serving implements", c.Name), Offset: c.At, function: c.Name}
	}
	if f := c.find(); f != nil {
		for i, t := range c.types {
			if t.class == timestamptz && f.args != "any any..." { // greatest and least only compare
				c.args[i] = c.withZone(c.args[i])
			}
		}
		return f.build(c)
	}
	var types []string
	for _, t := range c.types {
		types = append(types, t.String())
	}
	return nil, &Refusal{Reason: fmt.Sprintf("the function %s(%s) is not computed row by row: serving implements it for other types", c.Name, strings.Join(types, ", ")), Offset: c.At, function: c.Name}
}

// constant returns the value of an argument that has to be constant and not null.
func (c *call) constant(i int, what string) (Value, error) {
	if !isConstant(c.Args[i]) {
		return Null, refuse(c.At, "%s: %s has to be constant", c.Name, what)
	}
	r := newRow(0, nil)
	v := c.args[i](r)
	if r.err != nil || v.Null {
		return Null, refuse(c.At, "%s: %s has to be constant and not null", c.Name, what)
	}
	return v, nil
}

// ofOne makes an expression of a function of one value that is not null.
func ofOne(f func(Value) Value) func(*call) (eval, error) {
	return func(c *call) (eval, error) { return c.unaryOf(f), nil }
}

func (c *call) unaryOf(f func(Value) Value) eval {
	arg := c.args[0]
	return func(r *Row) Value {
		v := arg(r)
		if v.Null {
			return v
		}
		return f(v)
	}
}

// ofTwo makes an expression of a function of two values that are not null.
func ofTwo(f func(a, b Value) Value) func(*call) (eval, error) {
	return func(c *call) (eval, error) { return c.binaryOf(f), nil }
}

func (c *call) binaryOf(f func(a, b Value) Value) eval {
	left, right := c.args[0], c.args[1]
	return func(r *Row) Value {
		a, b := left(r), right(r)
		if a.Null || b.Null {
			return Null
		}
		return f(a, b)
	}
}

// checked makes an expression of a function that fails for some values.
func (c *call) checked(f func(a, b Value) (Value, bool), format string, args ...any) eval {
	left, right, err := c.args[0], c.args[1], c.err(format, args...)
	return func(r *Row) Value {
		a, b := left(r), right(r)
		if a.Null || b.Null {
			return Null
		}
		v, ok := f(a, b)
		if !ok {
			return r.fail(err)
		}
		return v
	}
}

func (c *call) checkedUnary(f func(Value) (Value, bool), format string, args ...any) eval {
	arg, err := c.args[0], c.err(format, args...)
	return func(r *Row) Value {
		v := arg(r)
		if v.Null {
			return v
		}
		v, ok := f(v)
		if !ok {
			return r.fail(err)
		}
		return v
	}
}

func (c *call) overflow() string { return fmt.Sprintf("overflow in %s of %s", c.Name, c.types[0]) }
