package rowsql

import (
	"fmt"
	"slices"
	"strconv"
)

// A builder makes closures from expressions. It knows the type of each value that is
// computed by now, so that a damaged plan does not read values of another type.
type builder struct {
	slots   []string
	lookups []Lookup
	joined  []bool
	windows []*window
}

func newBuilder(in Input, slots int, lookups []Lookup) (*builder, error) {
	if slots < len(in.Columns) || slots > 1<<20 {
		return nil, fmt.Errorf("the plan has %d slots for %d columns", slots, len(in.Columns))
	}
	b := &builder{slots: make([]string, slots), lookups: lookups, joined: make([]bool, len(lookups))}
	for i, c := range in.Columns {
		if _, err := parseType(c.Type); err != nil {
			return nil, fmt.Errorf("column %q: %w", c.Name, err)
		}
		b.slots[i] = c.Type
	}
	return b, nil
}

func (b *builder) steps(plan []Step) ([]step, error) {
	var all []step
	for _, s := range plan {
		switch {
		case s.Filter != nil:
			f, err := b.condition(s.Filter)
			if err != nil {
				return nil, err
			}
			all = append(all, func(r *Row) bool { v := f(r); return !v.Null && v.Bits != 0 })
		case s.Compute != nil:
			f, err := b.expr(s.Compute.Expr)
			if err != nil {
				return nil, err
			}
			i := s.Compute.Slot
			if i < 0 || i >= len(b.slots) || b.slots[i] != "" {
				return nil, fmt.Errorf("the plan computes slot %d twice, or lacks it", i)
			}
			b.slots[i] = s.Compute.Expr.Type
			all = append(all, func(r *Row) bool { r.slots[i] = f(r); return true })
		case s.Join != nil:
			j, err := b.join(s.Join)
			if err != nil {
				return nil, err
			}
			all = append(all, j)
		case s.Window != nil:
			w, err := b.window(s.Window)
			if err != nil {
				return nil, err
			}
			b.windows, all = append(b.windows, w), append(all, w.step)
		}
	}
	return all, nil
}

func (b *builder) outputs(plan []Output) ([]eval, error) {
	all := make([]eval, len(plan))
	for i, o := range plan {
		f, err := b.expr(o.Expr)
		if err != nil {
			return nil, err
		}
		if o.Type != o.Expr.Type {
			return nil, fmt.Errorf("output %q has two types", o.Name)
		}
		all[i] = f
	}
	return all, nil
}

// condition builds an expression of which only matters whether it is true. Like DuckDB,
// it does not compute what no longer decides.
func (b *builder) condition(e *Expr) (eval, error) {
	if e == nil || e.Type != "BOOLEAN" {
		return nil, fmt.Errorf("the plan has a condition that is not a BOOLEAN")
	}
	if e.Op != "and" && e.Op != "or" {
		return b.expr(e)
	}
	var parts []eval
	for _, a := range e.Args {
		f, err := b.condition(a)
		if err != nil {
			return nil, err
		}
		parts = append(parts, f)
	}
	decides := e.Op == "or"
	return func(r *Row) Value {
		for _, f := range parts {
			if v := f(r); (!v.Null && v.Bits != 0) == decides || r.err != nil {
				return Bool(decides)
			}
		}
		return Bool(!decides)
	}, nil
}

// expr builds an expression. One that is made of constants is computed once.
func (b *builder) expr(e *Expr) (eval, error) {
	if e == nil {
		return nil, fmt.Errorf("the plan lacks an expression")
	}
	t, err := parseType(e.Type)
	if err != nil {
		return nil, refuse(e.At, "%v", err)
	}
	switch e.Op {
	case "slot":
		i := e.Index
		if i < 0 || i >= len(b.slots) || b.slots[i] != e.Type {
			return nil, fmt.Errorf("the plan reads slot %d as %s, which it is not", i, e.Type)
		}
		return func(r *Row) Value { return r.slots[i] }, nil
	case "lookup":
		i, j := e.From, e.Index
		if i < 0 || i >= len(b.lookups) || !b.joined[i] || j < 0 || j >= len(b.lookups[i].Outputs) || b.lookups[i].Outputs[j].Type != e.Type {
			return nil, fmt.Errorf("the plan reads column %d of lookup %d as %s, which it is not", j, i, e.Type)
		}
		return func(r *Row) Value {
			if row := r.found[i]; row != nil {
				return row[j]
			}
			return Null
		}, nil
	case refused:
		return nil, refuse(e.At, "the plan needs what cannot be computed")
	case python:
		return nil, refuse(e.At, "the plan needs a function in Python")
	case "constant":
		v, err := constantOf(e, t)
		return func(*Row) Value { return v }, err
	}
	c := &call{Expr: e, result: t}
	for i, a := range e.Args {
		build := b.expr
		if e.Op == "case" && i%2 == 0 && i+1 < len(e.Args) {
			build = b.condition
		}
		f, err := build(a)
		if err != nil {
			return nil, err
		}
		argType, _ := parseType(a.Type)
		c.args, c.types = append(c.args, f), append(c.types, argType)
	}
	f, err := c.build()
	if err != nil || !isConstant(e) {
		return f, err
	}
	// A constant that fails does so when a row needs it.
	r := newRow(0, nil)
	if v := f(r); r.err == nil {
		return func(*Row) Value { return v }, nil
	}
	return f, nil
}

func isConstant(e *Expr) bool {
	constant := true
	e.each(func(x *Expr) { constant = constant && x.Op != "slot" && x.Op != "lookup" })
	return constant
}

// constantOf reads a constant.
func constantOf(e *Expr, t sqlType) (Value, error) {
	if e.Value == nil {
		return Null, nil
	}
	s := *e.Value
	var v Value
	var err error
	switch {
	case t.class == boolean:
		var b bool
		b, err = strconv.ParseBool(s)
		v = Bool(b)
	case t.class.signed() || t.class == date || t.class == timestamp || t.class == timestamptz || t.class == timeOfDay:
		var i int64
		i, err = strconv.ParseInt(s, 10, 64)
		v = Int(i)
	case t.class.unsigned():
		v.Bits, err = strconv.ParseUint(s, 10, 64)
	case t.class == hugeint || t.class == decimal:
		n, ok := parseWide(s)
		if !ok {
			err = fmt.Errorf("%q is not a number", s)
		}
		v = n.value()
	case t.class == double:
		var f float64
		f, err = strconv.ParseFloat(s, 64)
		v = Float(f)
	case t.class == varchar:
		v.Text = s
	default:
		err = fmt.Errorf("a constant of the type %s is not supported", t)
	}
	if err != nil {
		return v, refuse(e.At, "%v", err)
	}
	return v, nil
}

// parseWide reads a whole number in digits.
func parseWide(s string) (int128, bool) {
	negative := len(s) > 0 && s[0] == '-'
	if negative {
		s = s[1:]
	}
	n := int128{}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return n, false
		}
		// Digits are subtracted: the least number has no positive counterpart.
		var ok, ok2 bool
		n, ok = n.mul(wide(10))
		n, ok2 = n.sub(wide(int64(c - '0')))
		if !ok || !ok2 {
			return n, false
		}
	}
	if !negative {
		return n.neg(), n != leastWide && s != ""
	}
	return n, s != ""
}

// A call is an expression with its arguments built.
type call struct {
	*Expr
	args   []eval
	types  []sqlType
	result sqlType
}

func (c *call) err(format string, args ...any) *Error {
	return &Error{Message: fmt.Sprintf(format, args...), Offset: c.At}
}

func (c *call) same(first int) bool {
	return !slices.ContainsFunc(c.types[first:], func(t sqlType) bool { return t != c.types[first] })
}

func (c *call) build() (eval, error) {
	if len(c.args) == 0 {
		return nil, refuse(c.At, "%s without arguments is not supported", c.Op+" "+c.Name)
	}
	switch c.Op {
	case "cast":
		return c.cast()
	case "call":
		return c.function()
	case external:
		return c.outsourced()
	case "case":
		return c.caseOf()
	case "and", "or":
		return c.conjunction()
	case "coalesce":
		if !c.same(0) || c.types[0] != c.result {
			break
		}
		return c.coalesce(), nil
	case "not", "is null", "is not null":
		return c.unary()
	case "compare":
		if len(c.args) == 2 && c.same(0) {
			return c.compare()
		}
	case "in", "not in":
		if len(c.args) > 1 && c.same(0) {
			return c.in()
		}
	}
	return nil, refuse(c.At, "%s of these types is not supported", c.Op)
}

func (c *call) unary() (eval, error) {
	f := c.args[0]
	switch {
	case len(c.args) != 1 || c.result.class != boolean:
		return nil, refuse(c.At, "%s of these types is not supported", c.Op)
	case c.Op == "is null":
		return func(r *Row) Value { return Bool(f(r).Null) }, nil
	case c.Op == "is not null":
		return func(r *Row) Value { return Bool(!f(r).Null) }, nil
	case c.types[0].class != boolean:
		return nil, refuse(c.At, "NOT of %s is not supported", c.types[0])
	}
	return func(r *Row) Value {
		v := f(r)
		v.Bits ^= 1
		return v
	}, nil
}

// conjunction computes all of its parts, as DuckDB does outside of conditions.
func (c *call) conjunction() (eval, error) {
	for _, t := range c.types {
		if t.class != boolean {
			return nil, refuse(c.At, "AND and OR of %s are not supported", t)
		}
	}
	decides := uint64(0)
	if c.Op == "or" {
		decides = 1
	}
	parts := c.args
	return func(r *Row) Value {
		decided, null := false, false
		for _, f := range parts {
			v := f(r)
			null = null || v.Null
			decided = decided || !v.Null && v.Bits == decides
		}
		switch {
		case decided:
			return Value{Bits: decides}
		case null:
			return Null
		}
		return Value{Bits: decides ^ 1}
	}, nil
}

func (c *call) coalesce() eval {
	parts := c.args
	return func(r *Row) Value {
		for _, f := range parts {
			if v := f(r); !v.Null {
				return v
			}
		}
		return Null
	}
}

// caseOf computes only the branch that is taken.
func (c *call) caseOf() (eval, error) {
	if len(c.args)%2 != 1 {
		return nil, refuse(c.At, "CASE without ELSE is not supported")
	}
	for i, t := range c.types {
		if condition := i%2 == 0 && i+1 < len(c.types); condition && t.class != boolean || !condition && t != c.result {
			return nil, refuse(c.At, "CASE of these types is not supported")
		}
	}
	parts := c.args
	last := parts[len(parts)-1]
	return func(r *Row) Value {
		for i := 0; i+1 < len(parts); i += 2 {
			if v := parts[i](r); !v.Null && v.Bits != 0 {
				return parts[i+1](r)
			}
		}
		return last(r)
	}, nil
}
