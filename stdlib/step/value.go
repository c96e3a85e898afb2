package step

import (
	"encoding/json"
	"fmt"
	"math"
)

// A Value is a metric. In JSON, what is no finite number is one of the strings "NaN", "Infinity" and "-Infinity".
type Value float64

// MarshalJSON writes the value.
func (v Value) MarshalJSON() ([]byte, error) {
	switch x := float64(v); {
	case math.IsNaN(x):
		return []byte(`"NaN"`), nil
	case math.IsInf(x, 1):
		return []byte(`"Infinity"`), nil
	case math.IsInf(x, -1):
		return []byte(`"-Infinity"`), nil
	}
	return json.Marshal(float64(v))
}

// UnmarshalJSON reads what [Value.MarshalJSON] writes.
func (v *Value) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case `"NaN"`:
		*v = Value(math.NaN())
	case `"Infinity"`:
		*v = Value(math.Inf(1))
	case `"-Infinity"`:
		*v = Value(math.Inf(-1))
	case "null":
		return fmt.Errorf("null is not the value of a metric")
	default:
		return json.Unmarshal(b, (*float64)(v))
	}
	return nil
}
