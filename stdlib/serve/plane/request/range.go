package request

import (
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A Range is what a column declares about its values besides their type: bounds, or a list of
// texts.
type Range struct {
	column
	any bool // there is none
}

// NewRange returns the range of a column.
func NewRange(c ir.Column) (*Range, error) {
	x, err := newColumn(c)
	return &Range{x, c.Min == "" && c.Max == "" && len(c.Values) == 0}, err
}

// Refusal says why a value is out of the range, in the words for one of a request, or "".
func (r *Range) Refusal(v *rowsql.Value) string {
	if v.Null || r.any {
		return ""
	}
	switch kind := r.Type; {
	case kind == "string":
		if r.values != nil && !r.values[v.Text] {
			return r.oneOf
		}
	case kind == "float64" || kind == "float32":
		x := v.Float()
		if kind == "float32" {
			x = float64(v.Float32())
		}
		if x < r.low || x > r.high {
			return r.bounds()
		}
	case kind[0] == 'u':
		if v.Bits < r.lowUint || v.Bits > r.highUint {
			return r.bounds()
		}
	case kind == "bool" || kind == "bytes" || kind == "time":
	default:
		if n := v.Int(); n < r.lowInt || n > r.highInt {
			return r.bounds()
		}
	}
	return ""
}

// bounds says what the bounds are.
func (c *column) bounds() string {
	switch {
	case c.Max == "":
		return "a value has to be at least " + c.Min.String()
	case c.Min == "":
		return "a value has to be at most " + c.Max.String()
	}
	return "a value has to be from " + c.Min.String() + " to " + c.Max.String()
}
