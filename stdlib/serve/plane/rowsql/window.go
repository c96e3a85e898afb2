package rowsql

import (
	"fmt"
	"math"
	"math/big"
)

// A window is a plan's window as closures.
type window struct {
	plan      *Window
	index     int // among the windows of the program
	partition []eval
	classes   []class // of the partition
	order     []eval
	compare   []func(a, b Value) int
	values    []windowValue
	ordered   bool  // of at least one value
	rows      int64 // how many rows before a row its frames reach by their number
	cells     []class
	texts     int // cells that are texts
}

// A windowValue is one value of a window.
type windowValue struct {
	*WindowValue
	arg, filter, start, end, otherwise eval
	result                             sqlType
	argType                            sqlType
	order                              func(a, b Value) int // of "min" and "max"
	cell                               int                  // the first of its cells in an entry
	total                              bool                 // its cells are of all rows up to the entry, and not of the entry
	bounded                            bool                 // its frame reaches back no further than a length of time
}

// window builds a window.
func (b *builder) window(plan *Window) (*window, error) {
	w := &window{plan: plan, index: len(b.windows)}
	for _, e := range plan.Partition {
		f, err := b.expr(e)
		if err != nil {
			return nil, err
		}
		t, _ := parseType(e.Type)
		if comparer(t) == nil {
			return nil, refuse(e.At, "PARTITION BY of the type %s is not computed for one row", t)
		}
		w.partition, w.classes = append(w.partition, f), append(w.classes, t.class)
	}
	for _, e := range plan.Order {
		f, err := b.expr(e)
		if err != nil {
			return nil, err
		}
		t, _ := parseType(e.Type)
		order := comparer(t)
		if order == nil {
			return nil, refuse(e.At, "ORDER BY of the type %s is not computed for one row", t)
		}
		w.order, w.compare = append(w.order, f), append(w.compare, order)
		w.addCell(t.class)
	}
	if len(w.order) == 0 || len(plan.Values) == 0 {
		return nil, fmt.Errorf("the plan has a window without an order or values")
	}
	for i := range plan.Values {
		v, err := b.windowValue(w, &plan.Values[i])
		if err != nil {
			return nil, err
		}
		w.values = append(w.values, v)
		w.ordered = w.ordered || v.Ordered
		w.rows = max(w.rows, v.Rows, v.Skip, v.Offset)
	}
	return w, nil
}

func (w *window) addCell(c class) int {
	w.cells = append(w.cells, c)
	if c == varchar || c == blob {
		w.texts++
	}
	return len(w.cells) - 1
}

func (b *builder) windowValue(w *window, plan *WindowValue) (windowValue, error) {
	v := windowValue{WindowValue: plan}
	var err error
	if v.result, err = parseType(plan.Type); err != nil {
		return v, refuse(plan.At, "%v", err)
	}
	for _, part := range []struct {
		e    *Expr
		to   *eval
		want string
	}{{plan.Arg, &v.arg, ""}, {plan.Filter, &v.filter, "BOOLEAN"}, {plan.Start, &v.start, w.plan.Order[0].Type}, {plan.End, &v.end, w.plan.Order[0].Type}, {plan.Default, &v.otherwise, plan.Type}} {
		if part.e == nil {
			continue
		}
		if part.want != "" && part.e.Type != part.want {
			return v, fmt.Errorf("the plan has a window with a part of the type %s, wanted %s", part.e.Type, part.want)
		}
		build := b.expr
		if part.e == plan.Filter {
			build = b.condition
		}
		if *part.to, err = build(part.e); err != nil {
			return v, err
		}
	}
	if v.arg != nil {
		v.argType, _ = parseType(plan.Arg.Type)
	}
	if v.Slot < 0 || v.Slot >= len(b.slots) || b.slots[v.Slot] != "" {
		return v, fmt.Errorf("the plan computes slot %d twice, or lacks it", v.Slot)
	}
	b.slots[v.Slot] = plan.Type
	_, v.bounded = plan.reach()
	return v, v.layOut(w)
}

// layOut decides what is kept of each row for a value.
func (v *windowValue) layOut(w *window) error {
	c := v.argType.class
	whole := c.signed() || c == decimal && v.argType.width <= 18
	noArg, isFloat := v.arg == nil, c == float || c == double
	ok := false
	switch v.Func {
	case "row_number":
		ok = noArg && v.filter == nil && v.result.class == bigint
		v.cell, v.total = w.addCell(bigint), true
	case "count":
		ok = v.result.class == bigint
		v.cell, v.total = w.addCell(bigint), true
	case "sum", "avg":
		if isFloat {
			return refuse(v.At, "%s of a window over a %s is not computed for one row: DuckDB adds floats in an order that depends on all rows", v.Func, v.argType)
		}
		if c == hugeint || c == decimal && !whole {
			return refuse(v.At, "%s of a window over a %s is not computed for one row: its total may be too large", v.Func, v.argType)
		}
		ok = whole && (v.Func == "avg" && v.result.class == double || v.Func == "sum" && (c == decimal && v.result.class == decimal && v.result.scale == v.argType.scale || c != decimal && v.result.class == hugeint))
		v.cell, v.total = w.addCell(hugeint), true
		w.addCell(bigint)
	case "min", "max":
		v.order, v.total = comparer(v.argType), v.start == nil && v.Rows < 0
		ok = v.arg != nil && v.order != nil && v.result == v.argType
		v.cell = w.addCell(c)
	case "first", "last", "lag":
		v.total = v.Func == "first" && v.start == nil && v.Rows < 0
		ok = v.arg != nil && v.filter == nil && v.result == v.argType && comparer(v.argType) != nil
		v.cell = w.addCell(c)
	}
	if !ok {
		return refuse(v.At, "%s of a window over values of the type %s is not computed for one row", v.Func, v.argType)
	}
	return nil
}

// contribution is what a row adds to a value, or null if it adds nothing.
func (v *windowValue) contribution(r *Row) Value {
	if v.filter != nil {
		if is := v.filter(r); is.Null || is.Bits == 0 {
			return Null
		}
	}
	if v.arg == nil {
		return Int(1)
	}
	x := v.arg(r)
	switch {
	case x.Null:
	case v.Func == "count":
		return Int(1)
	case v.order != nil && (v.argType.class == double && x.Bits == 1<<63 || v.argType.class == float && x.Bits == 1<<31):
		return r.fail(&Error{Message: "DuckDB may take either zero for the least or greatest value if one is negative", Offset: v.At, Refused: true})
	case (v.Func == "sum" || v.Func == "avg") && v.argType.class != decimal:
		return wide(x.Int()).value()
	}
	return x
}

// step computes the values of a row, or records it as an event.
func (w *window) step(r *Row) bool {
	from := len(r.values)
	r.key = r.key[:0]
	for i, f := range w.partition {
		r.key = appendKey(r.key, f(r), w.classes[i])
	}
	for _, f := range w.order {
		v := f(r)
		if v.Null {
			r.fail(&Error{Message: "the value is null that the rows of a window are ordered by", Offset: w.values[0].At, Refused: true})
		}
		r.values = append(r.values, v)
	}
	reach := r.values[from].Int()
	for i := range w.values {
		v := &w.values[i]
		r.values = append(r.values, v.contribution(r))
		for _, bound := range []eval{v.start, v.end} {
			if bound != nil {
				reach = min(reach, bound(r).Int())
			}
		}
	}
	if r.err == nil && r.event != nil {
		r.event.add(w, r.key, r.values[from:], reach)
	} else if r.err == nil {
		r.past[w.index].compute(r, r.values[from:from+len(w.order)], r.values[from+len(w.order):])
	}
	r.values = r.values[:from]
	return true
}

// result makes the value of a window from a sum or a count.
func (v *windowValue) finish(sum int128, n int64) Value {
	switch {
	case v.Func == "count" || v.Func == "row_number":
		return Int(n)
	case n == 0:
		return Null
	case v.Func == "sum":
		return sum.value()
	}
	return Float(v.mean(sum, n))
}

// mean divides as DuckDB does: in the 80 bits of C's long double for the sum of a BIGINT or a
// DECIMAL, and in 64 bits for that of smaller integers.
func (v *windowValue) mean(sum int128, n int64) float64 {
	if c := v.argType.class; c != bigint && c != decimal {
		return float64(int64(sum.lo)) / float64(n)
	}
	const longDouble = 64
	by := new(big.Float).SetPrec(longDouble).SetInt64(n)
	if v.argType.class == decimal {
		by.Mul(by, new(big.Float).SetPrec(longDouble).SetFloat64(math.Pow10(v.argType.scale)))
	}
	whole := new(big.Int).Lsh(big.NewInt(sum.hi), 64)
	whole.Add(whole, new(big.Int).SetUint64(sum.lo))
	q := new(big.Float).SetPrec(longDouble)
	f, _ := q.Quo(new(big.Float).SetPrec(longDouble).SetInt(whole), by).Float64()
	return f
}
