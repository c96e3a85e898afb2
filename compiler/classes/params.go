package classes

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Param is a parameter of a class. It takes a value that one of its forms accepts, or
// any value if it has no forms.
type Param struct {
	Alias    string `json:"alias"`   // the parameter of which this is another name
	Default  string `json:"default"` // as JSON, or ""
	Required bool   `json:"required"`
	Takes    []Form `json:"takes"`
	Hidden   []Form `json:"hidden"` // accepted, but not named
	// Ordered is "<" or "<=" if two numbers have to compare so.
	Ordered string `json:"ordered"`
	// Classes are its values for which the label is the number of a class.
	Classes []string `json:"classes"`
	Numbers []string `json:"numbers"` // of the objective: those whose predictions are no probabilities
}

// A Form is a set of values: all of a kind, the numbers of an interval, or those listed.
type Form struct {
	Kind     string // "null", "bool", "string", "list", "struct", "int", "number", "float", "is" or "text"
	Interval string // "[1,inf)"
	Values   []any
}

func (f *Form) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &f.Kind) == nil {
		return nil
	}
	var form map[string]any
	if err := json.Unmarshal(b, &form); err != nil {
		return err
	}
	for kind, of := range form {
		f.Kind = kind
		f.Interval, _ = of.(string)
		f.Values, _ = of.([]any)
	}
	return nil
}

// Accepts reports whether the parameter takes a value: nil, a bool, a string, a
// json.Number, a []any, or anything else, which is a struct.
func (p *Param) Accepts(v any) bool {
	if p.Takes == nil {
		return true
	}
	accepts := func(f Form) bool { return f.accepts(v) }
	return slices.ContainsFunc(p.Takes, accepts) || slices.ContainsFunc(p.Hidden, accepts)
}

// InOrder reports whether a value is not a pair of numbers in an order that the parameter
// refuses.
func (p *Param) InOrder(v any) bool {
	pair, _ := v.([]any)
	if p.Ordered == "" || len(pair) != 2 {
		return true
	}
	x, ok := pair[0].(json.Number)
	y, okToo := pair[1].(json.Number)
	a, err := x.Float64()
	b, errToo := y.Float64()
	return !ok || !okToo || err != nil || errToo != nil || a < b || p.Ordered == "<=" && a == b
}

func (f *Form) accepts(v any) bool {
	switch v := v.(type) {
	case nil:
		return f.Kind == "null"
	case bool:
		// A bool of Python is an integer too.
		n := 0.0
		if v {
			n = 1
		}
		return f.Kind == "bool" || (f.Kind == "int" || f.Kind == "number") && f.contains(n) || slices.Contains(f.Values, any(v)) || slices.Contains(f.Values, any(n))
	case string:
		return f.Kind == "string" || f.Kind == "text" && number(v) || slices.Contains(f.Values, any(v))
	case json.Number:
		n, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			return true
		}
		whole := !strings.ContainsAny(string(v), ".eE")
		switch f.Kind {
		case "int":
			return whole && f.contains(n)
		case "float":
			return !whole && f.contains(n)
		case "number":
			return f.contains(n)
		}
		return slices.Contains(f.Values, any(n))
	case []any:
		return f.Kind == "list"
	}
	return f.Kind == "struct"
}

// number reports whether a text is a number, or will be: trainers replace names of columns.
func number(s string) bool {
	_, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return err == nil || strings.HasPrefix(s, "name:")
}

// bounds returns the ends of the interval, and whether they belong to it.
func (f *Form) bounds() (left, right string, from, to bool) {
	left, right, _ = strings.Cut(f.Interval, ",")
	return left[1:], right[:len(right)-1], left[0] == '[', strings.HasSuffix(right, "]")
}

func (f *Form) contains(n float64) bool {
	left, right, from, to := f.bounds()
	low, _ := strconv.ParseFloat(left, 64)
	high, _ := strconv.ParseFloat(right, 64)
	return (n > low || from && n == low) && (n < high || to && n == high)
}

// Wanted describes what the parameter takes, or is "".
func (p *Param) Wanted() string {
	var texts []string
	for _, f := range p.Takes {
		if t := f.String(); !slices.Contains(texts, t) {
			texts = append(texts, t)
		}
	}
	if n := len(texts); n > 1 {
		return strings.Join(texts[:n-1], ", ") + " or " + texts[n-1]
	}
	return strings.Join(texts, "")
}

// Options returns the texts that the parameter takes.
func (p *Param) Options() (options []string) {
	for _, f := range p.Takes {
		for _, v := range f.Values {
			if s, ok := v.(string); ok {
				options = append(options, s)
			}
		}
	}
	return options
}

var kinds = map[string]string{
	"bool": "true or false", "string": "a string", "list": "a list", "struct": "a struct",
	"int": "an integer", "number": "a number", "float": "a number with a decimal point",
}

func (f Form) String() string {
	if f.Kind == "is" {
		texts := make([]string, len(f.Values))
		for i, v := range f.Values {
			b, _ := json.Marshal(v)
			texts[i] = string(b)
		}
		return strings.Join(texts, ", ")
	}
	text := cmp.Or(kinds[f.Kind], f.Kind)
	if f.Interval == "" {
		return text
	}
	left, right, from, to := f.bounds()
	switch {
	case left != "-inf" && right != "inf" && from && to:
		return fmt.Sprintf("%s from %s to %s", text, left, right)
	case left != "-inf" && right != "inf" && to:
		return fmt.Sprintf("%s above %s and up to %s", text, left, right)
	case left != "-inf" && right != "inf":
		return fmt.Sprintf("%s %s %s and below %s", text, above(from), left, right)
	case left != "-inf":
		return fmt.Sprintf("%s %s %s", text, above(from), left)
	case right != "inf":
		return fmt.Sprintf("%s %s %s", text, below(to), right)
	}
	return text
}

func above(included bool) string {
	if included {
		return "of at least"
	}
	return "above"
}

func below(included bool) string {
	if included {
		return "of at most"
	}
	return "below"
}
