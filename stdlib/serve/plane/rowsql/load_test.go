package rowsql_test

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// damage replaces or removes one value in a document.
func damage(t *rapid.T, n any) any {
	switch n := n.(type) {
	case map[string]any:
		if len(n) == 0 {
			return nil
		}
		key := rapid.SampledFrom(slices.Sorted(maps.Keys(n))).Draw(t, "key")
		if rapid.IntRange(0, 9).Draw(t, "remove") == 0 {
			delete(n, key)
		} else {
			n[key] = damage(t, n[key])
		}
		return n
	case []any:
		if len(n) > 0 {
			i := rapid.IntRange(0, len(n)-1).Draw(t, "index")
			n[i] = damage(t, n[i])
			return n
		}
	}
	return rapid.SampledFrom([]any{nil, -1.0, 0.0, 1.0, 2.0, 7.0, 1e9, "", "BIGINT", "VARCHAR", "DOUBLE", "BOOLEAN", "slot", "lookup", "cast", "call", "case", "+", "lower", "=", ">=", true, false, []any{}}).Draw(t, "value")
}

// TestDamagedPlansDoNotPanic loads plans that this package did not write.
func TestDamagedPlansDoNotPanic(t *testing.T) {
	tables := shopTables("string", "timestamp")
	queries := append(slices.Clone(joins), served, "SELECT id, round(x * 1.5, 1) AS r, substring(k, 1, 2) AS s, date_trunc('day', t) AS d, k LIKE 'a%' AS l FROM f")
	rapid.Check(t, func(rt *rapid.T) {
		plan, err := compile(rt, tables, rapid.SampledFrom(queries).Draw(rt, "query"))
		if err != nil {
			rt.Fatalf("%v", err)
		}
		b, _ := json.Marshal(plan)
		var doc any
		if err := json.Unmarshal(b, &doc); err != nil {
			rt.Fatalf("%v", err)
		}
		for range rapid.IntRange(1, 3).Draw(rt, "times") {
			doc = damage(rt, doc)
		}
		b, _ = json.Marshal(doc)
		var damaged *rowsql.Plan
		if json.Unmarshal(b, &damaged) != nil || damaged == nil {
			return
		}
		prog, err := rowsql.Load(damaged)
		if err != nil {
			return
		}
		lookups := make([]*rowsql.Rows, len(damaged.Lookups))
		for i, l := range damaged.Lookups {
			row := make([]rowsql.Value, len(l.Input.Columns))
			lookups[i], _ = prog.Rows(i, [][]rowsql.Value{row})
		}
		out := make([]rowsql.Value, len(damaged.Outputs))
		_, _ = prog.Run(prog.NewRow(), lookups, make([]rowsql.Value, len(damaged.Request.Columns)), out)
	})
}

func TestStoredIsWhatATableHolds(t *testing.T) {
	zero, nan := rowsql.Float(math.Copysign(0, -1)), rowsql.Float(math.NaN())
	for name, c := range map[string]struct {
		column   ir.Column
		in, want rowsql.Value
	}{
		"a negative zero":              {ir.Column{Type: "float64"}, zero, rowsql.Float(0)},
		"a negative zero of a float32": {ir.Column{Type: "float32"}, rowsql.Float32(float32(math.Copysign(0, -1))), rowsql.Float32(0)},
		"a missing NaN":                {ir.Column{Type: "float64", Nullable: true}, nan, rowsql.Null},
		"a NaN that is a value":        {ir.Column{Type: "float64", Nullable: true, NaN: true}, nan, nan},
		"a NaN that is refused later":  {ir.Column{Type: "float64"}, nan, nan},
		"another type":                 {ir.Column{Type: "int64"}, rowsql.Int(math.MinInt64), rowsql.Int(math.MinInt64)},
	} {
		got := c.in
		if rowsql.Store(&c.column, &got); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
