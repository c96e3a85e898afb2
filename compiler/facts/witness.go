package facts

import (
	"cmp"
	"math"
	"slices"
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
		if f, ok := args[0].(float64); ok && e.to != "DOUBLE" && f != math.Trunc(f) {
			return nil, false // how it is rounded
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
	case w.measures && e.kind == cases:
		return chosenArm(args, len(e.arms))
	case w.measures && e.typ == "OPERATOR_COALESCE":
		for _, v := range args {
			if v != nil {
				return v, true
			}
		}
		return nil, true
	case e.kind == call && computes[e.name] && (len(args) != 2 || e.name == "/" || e.name == "least" || e.name == "greatest"):
		return computed(e.name, args)
	case e.kind == call && len(args) == 2 && (e.name == "+" || e.name == "-" || e.name == "*"):
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

// computes lists functions that a witness computes.
var computes = map[string]bool{"+": true, "-": true, "*": true, "/": true, "abs": true, "round": true, "floor": true, "ceil": true, "least": true, "greatest": true}

func computed(name string, args []any) (any, bool) {
	var numbers []float64
	for _, v := range args {
		f, ok := v.(float64)
		switch {
		case ok:
			numbers = append(numbers, f)
		case v != nil:
			return nil, false
		case name != "least" && name != "greatest":
			return nil, true
		}
	}
	switch {
	case len(numbers) == 0:
		return nil, true
	case name == "least":
		return slices.Min(numbers), true
	case name == "greatest":
		return slices.Max(numbers), true
	case name == "/" && len(numbers) == 2 && numbers[1] != 0:
		return numbers[0] / numbers[1], true
	case len(numbers) != 1:
		return nil, false
	}
	of := map[string]func(float64) float64{"abs": math.Abs, "round": math.Round, "floor": math.Floor, "ceil": math.Ceil,
		"-": func(x float64) float64 { return -x }, "+": func(x float64) float64 { return x }}[name]
	if of == nil {
		return nil, false
	}
	return of(numbers[0]), true
}

// chosenArm returns the arm of a CASE whose condition holds. args are the conditions and the arms.
func chosenArm(args []any, arms int) (any, bool) {
	whens := args[:len(args)-arms]
	for i, when := range whens {
		if when == true {
			return args[len(whens)+i], true
		}
	}
	if arms == len(whens) {
		return nil, true
	}
	return args[len(args)-1], true
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
