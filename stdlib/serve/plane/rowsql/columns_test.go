package rowsql_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// packable are values of each type whose bits are easily lost.
var packable = map[string][]rowsql.Value{
	"BOOLEAN":   {rowsql.Bool(true), rowsql.Bool(false)},
	"TINYINT":   {rowsql.Int(math.MinInt8), rowsql.Int(math.MaxInt8)},
	"SMALLINT":  {rowsql.Int(math.MinInt16), rowsql.Int(math.MaxInt16)},
	"INTEGER":   {rowsql.Int(math.MinInt32), rowsql.Int(math.MaxInt32)},
	"BIGINT":    {rowsql.Int(math.MinInt64), rowsql.Int(math.MaxInt64)},
	"UTINYINT":  {rowsql.Uint(math.MaxUint8)},
	"USMALLINT": {rowsql.Uint(math.MaxUint16)},
	"UINTEGER":  {rowsql.Uint(math.MaxUint32)},
	"UBIGINT":   {rowsql.Uint(math.MaxUint64)},
	"HUGEINT":   {{Bits: 1, High: 1 << 63}, {Bits: math.MaxUint64, High: math.MaxInt64}},
	"FLOAT":     {rowsql.Float32(float32(math.NaN())), rowsql.Float32(float32(math.Copysign(0, -1)))},
	"DOUBLE":    {rowsql.Float(math.NaN()), rowsql.Float(math.Copysign(0, -1))},
	"VARCHAR":   {rowsql.String(""), rowsql.String("é\x00😀")},
	"BLOB":      {rowsql.String("\xff\x00")},
	"DATE":      {rowsql.Int(math.MaxInt32), rowsql.Int(-math.MaxInt32)},
	"TIME":      {rowsql.Int(86_400_000_000)},
	"TIMESTAMP": {rowsql.Int(math.MaxInt64), rowsql.Int(-math.MaxInt64)},
	"INTERVAL":  {{Bits: math.MaxUint64, High: math.MaxUint64}},

	"DECIMAL(38,10)": {{Bits: 5, High: 1 << 63}},
}

// TestColumnsReturnWhatWasAppended draws rows of all types, nulls among them.
func TestColumnsReturnWhatWasAppended(t *testing.T) {
	names := slices.Sorted(maps.Keys(packable))
	rapid.Check(t, func(rt *rapid.T) {
		types := rapid.SliceOfN(rapid.SampledFrom(names), 1, 6).Draw(rt, "types")
		rows := rapid.IntRange(0, 200).Draw(rt, "rows")
		c, err := rowsql.NewColumns(types, rapid.IntRange(0, 300).Draw(rt, "expected"))
		if err != nil {
			rt.Fatal(err)
		}
		var want [][]rowsql.Value
		for range rows {
			row := make([]rowsql.Value, len(types))
			for j, typ := range types {
				row[j] = rapid.SampledFrom(append(slices.Clone(packable[typ]), rowsql.Null)).Draw(rt, "value")
			}
			if err := c.Append(row); err != nil {
				rt.Fatal(err)
			}
			want = append(want, row)
		}
		got := make([]rowsql.Value, len(types))
		for i, row := range want {
			c.Row(i, got)
			if !slices.Equal(got, row) {
				rt.Fatalf("row %d of %v: got %v, want %v", i, types, got, row)
			}
		}
		if c.Len() != rows {
			rt.Errorf("%d rows, want %d", c.Len(), rows)
		}
	})
}

func TestIndexNumbersKeys(t *testing.T) {
	x, want := rowsql.NewIndex(), map[string]int{}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		key := fmt.Sprintf("%d", r.IntN(8000))
		if r.IntN(10) == 0 {
			key = string(make([]byte, r.IntN(50)))
		}
		n, known := want[key]
		if found := x.Find([]byte(key)); known && found != n || !known && found != -1 {
			t.Fatalf("found %d for %q, want %d, %v", found, key, n, known)
		}
		got, added, err := x.Add([]byte(key))
		if err != nil || added == known || known && got != n || !known && got != len(want) {
			t.Fatalf("added %q as %d, %v, %v; want %d, %v", key, got, added, err, n, known)
		}
		want[key] = got
		if string(x.Key(got)) != key {
			t.Fatalf("key %d is %q, want %q", got, x.Key(got), key)
		}
	}
	if x.Len() != len(want) {
		t.Errorf("%d keys, want %d", x.Len(), len(want))
	}
}

func BenchmarkIndex(b *testing.B) {
	const keys = 1_000_000
	x, key := rowsql.NewIndex(), make([]byte, 9)
	for i := range uint64(keys) {
		binary.LittleEndian.PutUint64(key[1:], i*2654435761)
		if _, _, err := x.Add(key); err != nil {
			b.Fatal(err)
		}
	}
	i := uint64(0)
	for b.Loop() {
		binary.LittleEndian.PutUint64(key[1:], i*7919%keys*2654435761)
		if x.Find(key) < 0 {
			b.Fatal("not found")
		}
		i++
	}
	b.ReportMetric(float64(x.Size())/keys, "bytes/key")
}
