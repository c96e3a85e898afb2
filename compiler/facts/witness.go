package facts

import (
	"cmp"
	"strconv"
)

// eval computes an expression in the row that is tried. It returns false if it cannot.
func (w *witness) eval(e *expr) (any, bool) {
	switch e.kind {
	case column:
		v, ok := w.values[w.variable(w.scope.plain(e))]
		return v, ok
	case constant:
		switch {
		case e.null:
			return nil, true
		case e.value == nil:
			return nil, false
		case e.value.Number:
			f, err := strconv.ParseFloat(e.value.Text, 64)
			return f, err == nil
		}
		return e.value.Text, true
	}
	args := make([]any, len(e.args))
	for i, x := range e.args {
		v, ok := w.eval(x)
		if !ok {
			return nil, false
		}
		args[i] = v
	}
	switch e.typ {
	case "OPERATOR_IS_NULL":
		return args[0] == nil, true
	case "OPERATOR_NOT":
		return not(args[0])
	case "CONJUNCTION_AND":
		return all(args, false)
	case "CONJUNCTION_OR":
		return all(args, true)
	case "OPERATOR_CAST":
		if s, ok := args[0].(string); ok && e.to == "BOOLEAN" {
			return s == "t", true
		}
		return args[0], true
	}
	switch {
	case e.kind == notNull:
		return args[0] != nil, true
	case e.op == "between":
		low, ok1 := compared(">=", args[0], args[1])
		high, ok2 := compared("<=", args[0], args[2])
		if !ok1 || !ok2 {
			return nil, false
		}
		return all([]any{low, high}, false)
	case e.op == "in":
		var found []any
		for _, x := range args[1:] {
			v, ok := compared("=", args[0], x)
			if !ok {
				return nil, false
			}
			found = append(found, v)
		}
		v, ok := all(found, true)
		if ok && e.typ == "COMPARE_NOT_IN" {
			return not(v)
		}
		return v, ok
	case e.kind == equal, e.kind == compares:
		return compared(e.op, args[0], args[1])
	case e.kind == call && len(args) == 2:
		if args[0] == nil || args[1] == nil {
			return nil, true
		}
		x, ok1 := args[0].(float64)
		y, ok2 := args[1].(float64)
		if !ok1 || !ok2 {
			return nil, false
		}
		return map[string]float64{"+": x + y, "-": x - y, "*": x * y}[e.name], true
	}
	return nil, false
}

func not(v any) (any, bool) {
	b, ok := v.(bool)
	if v == nil {
		return nil, true
	}
	return !b, ok
}

// all connects truths by AND, or by OR if the decisive one is true.
func all(args []any, decisive bool) (any, bool) {
	var out any = !decisive
	for _, v := range args {
		b, ok := v.(bool)
		switch {
		case v == nil:
			if out != decisive {
				out = nil
			}
		case !ok:
			return nil, false
		case b == decisive:
			out = decisive
		}
	}
	return out, true
}

// compared compares two values as SQL does.
func compared(op string, x, y any) (any, bool) {
	if x == nil || y == nil {
		return nil, true
	}
	var c int
	switch x := x.(type) {
	case float64:
		y, ok := y.(float64)
		if !ok {
			return nil, false
		}
		c = cmp.Compare(x, y)
	case string:
		y, ok := y.(string)
		if !ok {
			return nil, false
		}
		c = cmp.Compare(x, y)
	case bool:
		y, ok := y.(bool)
		if !ok || op != "=" && op != "<>" {
			return nil, false
		}
		if x != y {
			c = 1
		}
	default:
		return nil, false
	}
	switch op {
	case "=":
		return c == 0, true
	case "<>":
		return c != 0, true
	case "<":
		return c < 0, true
	case ">":
		return c > 0, true
	case "<=":
		return c <= 0, true
	case ">=":
		return c >= 0, true
	}
	return nil, false
}
