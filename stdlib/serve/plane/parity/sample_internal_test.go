package parity

import (
	"math"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// What a sample writes is read as the same value, to the last bit.
func TestWrittenValuesAreReadAgain(t *testing.T) {
	for _, tt := range []struct {
		typ string
		v   rowsql.Value
	}{
		{"bool", rowsql.Bool(true)}, {"int8", rowsql.Int(-128)}, {"int64", rowsql.Int(math.MinInt64)}, {"uint64", rowsql.Uint(math.MaxUint64)},
		{"float64", rowsql.Float(0.1)}, {"float64", rowsql.Float(math.Copysign(0, -1))}, {"float64", rowsql.Float(math.SmallestNonzeroFloat64)}, {"float64", rowsql.Float(math.Inf(-1))},
		{"float64", rowsql.Float(math.NaN())}, {"float32", rowsql.Float32(0.1)}, {"float32", rowsql.Float32(math.SmallestNonzeroFloat32)}, {"float32", rowsql.Float32(float32(math.NaN()))},
		{"string", rowsql.String("")}, {"string", rowsql.String("é\x00\"")}, {"bytes", rowsql.String("\xff\x00")}, {"date", rowsql.Int(-719_162)},
		{"timestamp", rowsql.Int(-1)}, {"timestamptz", rowsql.Int(1 << 60)}, {"time", rowsql.Int(0)},
	} {
		text := written(tt.typ, tt.v)
		got, err := read(tt.typ, *text)
		if err != nil || !equal(tt.typ, got, tt.v) {
			t.Errorf("%s: %q is %+v, %v, want %+v", tt.typ, *text, got, err, tt.v)
		}
	}
	if written("int64", rowsql.Null) != nil {
		t.Error("null has a text")
	}
}
