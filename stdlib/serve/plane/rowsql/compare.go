package rowsql

import (
	"cmp"
	"math"
	"strings"
)

// comparer returns the order of the values of a type, none of them null, or nil.
func comparer(t sqlType) func(a, b Value) int {
	switch c := t.class; {
	case c.signed(), c == date, c == timeOfDay, c == timestamp, c == timestamptz:
		return func(a, b Value) int { return cmp.Compare(int64(a.Bits), int64(b.Bits)) }
	case c.unsigned(), c == boolean:
		return func(a, b Value) int { return cmp.Compare(a.Bits, b.Bits) }
	case c == hugeint, c == decimal:
		return func(a, b Value) int { return a.int128().compare(b.int128()) }
	case c == float:
		return func(a, b Value) int { return compareFloats(float64(a.Float32()), float64(b.Float32())) }
	case c == double:
		return func(a, b Value) int { return compareFloats(a.Float(), b.Float()) }
	case c == varchar, c == blob:
		return func(a, b Value) int { return strings.Compare(a.Text, b.Text) }
	}
	return nil
}

// compareFloats orders NaN after all others, and equals it and the two zeros.
func compareFloats(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	case a == b:
		return 0
	}
	aNaN, bNaN := math.IsNaN(a), math.IsNaN(b)
	switch {
	case aNaN && bNaN:
		return 0
	case aNaN:
		return 1
	}
	return -1
}

// holds says for each result of a comparison, -1, 0 and 1, whether an operator holds.
var holds = map[string][3]bool{
	"=": {false, true, false}, "<>": {true, false, true}, "<": {true, false, false}, "<=": {true, true, false},
	">": {false, false, true}, ">=": {false, true, true},
	"is distinct from": {true, false, true}, "is not distinct from": {false, true, false},
}

func (c *call) compare() (eval, error) {
	order, op := comparer(c.types[0]), c.Name
	truth, ok := holds[op]
	if order == nil || !ok || c.result.class != boolean {
		return nil, refuse(c.At, "comparing values of the type %s is not supported", c.types[0])
	}
	left, right := c.args[0], c.args[1]
	if strings.HasPrefix(op, "is ") {
		distinct := op == "is distinct from"
		return func(r *Row) Value {
			a, b := left(r), right(r)
			if a.Null || b.Null {
				return Bool((a.Null && b.Null) != distinct)
			}
			return Bool(truth[order(a, b)+1])
		}, nil
	}
	return func(r *Row) Value {
		a, b := left(r), right(r)
		if a.Null || b.Null {
			return Null
		}
		return Bool(truth[order(a, b)+1])
	}, nil
}

func (c *call) in() (eval, error) {
	order := comparer(c.types[0])
	if order == nil || c.result.class != boolean {
		return nil, refuse(c.At, "comparing values of the type %s is not supported", c.types[0])
	}
	first, others, found := c.args[0], c.args[1:], c.Op == "in"
	return func(r *Row) Value {
		v := first(r)
		equal, null := false, v.Null
		for _, f := range others {
			other := f(r)
			null = null || other.Null
			equal = equal || !v.Null && !other.Null && order(v, other) == 0
		}
		switch {
		case equal:
			return Bool(found)
		case null:
			return Null
		}
		return Bool(!found)
	}, nil
}
