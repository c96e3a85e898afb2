package engine_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

func TestVerifyReportsEachRuleThatIsBroken(t *testing.T) {
	for _, tt := range []struct {
		name   string
		query  string
		column ir.Column
		want   string // "" for none
	}{
		{"within the bounds", "SELECT unnest([0, 120])::BIGINT", ir.Column{Type: "int64", Min: "0", Max: "120"}, ""},
		{"below", "SELECT unnest([1, -3, 5, -4])::BIGINT", ir.Column{Type: "int64", Min: "0"}, `column "c": 2 rows below min 0, such as -3 (row 2)`},
		{"above", "SELECT unnest([1, 200])::UTINYINT", ir.Column{Type: "uint8", Max: "199"}, `column "c": 1 row above max 199, such as 200 (row 2)`},
		{"whole numbers and fractional bounds", "SELECT unnest([0, 1, 2, 3])::INTEGER", ir.Column{Type: "int32", Min: "0.5", Max: "2.5"}, `column "c": 1 row below min 0.5, such as 0 (row 1); column "c": 1 row above max 2.5, such as 3 (row 4)`},
		{"a bound beyond the type", "SELECT 1::TINYINT", ir.Column{Type: "int8", Min: "-1e30", Max: "1e30"}, ""},
		{"the largest uint64", "SELECT 18446744073709551615::UBIGINT", ir.Column{Type: "uint64", Max: "18446744073709551614"}, `column "c": 1 row above max 18446744073709551614, such as 18446744073709551615 (row 1)`},
		{"a bound that float32 rounds", "SELECT 0.1::FLOAT", ir.Column{Type: "float32", Max: "0.1", Min: "0.1"}, ""},
		{"infinity", "SELECT 'inf'::DOUBLE", ir.Column{Type: "float64", Max: "1e300"}, `column "c": 1 row above max 1e300, such as inf (row 1)`},
		{"NaN", "SELECT 'nan'::DOUBLE", ir.Column{Type: "float64"}, `column "c": 1 row NaN, such as row 1; write null, or declare nan: true`},
		{"NaN where null is allowed", "SELECT 'nan'::FLOAT", ir.Column{Type: "float32", Nullable: true}, `column "c": 1 row NaN, such as row 1; write null, or declare nan: true`},
		{"NaN beyond bounds counts once", "SELECT 'nan'::FLOAT", ir.Column{Type: "float32", Min: "0", Max: "1"}, `column "c": 1 row NaN, such as row 1; write null, or declare nan: true`},
		{"an infinite date", "SELECT 'infinity'::DATE", ir.Column{Type: "date"}, `column "c": 1 row not a finite date, such as infinity (row 1)`},
		{"an infinite time", "SELECT '-infinity'::TIMESTAMPTZ", ir.Column{Type: "timestamptz", Nullable: true}, `column "c": 1 row not a finite time, such as -infinity (row 1)`},
		{"the end of a day", "SELECT '24:00:00'::TIME", ir.Column{Type: "time"}, `column "c": 1 row not a time of day, such as 86400000000 microseconds (row 1)`},
		{"a far date", "SELECT '5881580-07-10'::DATE", ir.Column{Type: "date"}, ""},
		{"NaN as a value", "SELECT 'nan'::DOUBLE", ir.Column{Type: "float64", NaN: true, Min: "0", Max: "1"}, ""},
		{"infinity is a value", "SELECT 'inf'::DOUBLE", ir.Column{Type: "float64"}, ""},
		{"infinity is above every max", "SELECT 'inf'::DOUBLE", ir.Column{Type: "float64", Max: "1"}, `column "c": 1 row above max 1, such as inf (row 1)`},
		{"JSON", "SELECT '[1, {}]'", ir.Column{Type: "string", JSON: true}, ""},
		{"text that is not JSON", "SELECT 'x'", ir.Column{Type: "string", JSON: true}, `column "c": 1 row not JSON, such as "x" (row 1)`},
		{"null", "SELECT unnest([1, NULL, NULL])::BIGINT", ir.Column{Type: "int64"}, `column "c": 2 rows null, such as row 2`},
		{"null where it may be breaks nothing else", "SELECT unnest(['a', NULL, NULL])", ir.Column{Type: "string", Nullable: true, Unique: true, Values: []string{"a"}}, ""},
		{"values", "SELECT unnest(['a', 'it''s', 'b'])", ir.Column{Type: "string", Values: []string{"a", "b"}}, `column "c": 1 row outside a, b, such as "it's" (row 2)`},
		{"unique", "SELECT unnest([7, 8, 7, 7])::BIGINT", ir.Column{Type: "int64", Unique: true}, `column "c": 2 rows repeated, such as 7 (rows 1 and 3)`},
		{"dates within the bounds", "SELECT unnest([DATE '2024-01-01', DATE '2024-12-31'])", ir.Column{Type: "date", Min: "2024-01-01", Max: "2024-12-31"}, ""},
		{"a date too early", "SELECT unnest([DATE '2024-01-01', DATE '2023-12-31'])", ir.Column{Type: "date", Min: "2024-01-01"}, `column "c": 1 row below min 2024-01-01, such as 2023-12-31 (row 2)`},
		{"infinity is no date, and after no max", "SELECT DATE 'infinity'", ir.Column{Type: "date", Max: "2024-12-31"}, `column "c": 1 row not a finite date, such as infinity (row 1)`},
		{"a time too late by a microsecond", "SELECT unnest([TIMESTAMP '2024-12-31 00:00:00', TIMESTAMP '2024-12-31 00:00:00.000001'])", ir.Column{Type: "timestamp", Max: "2024-12-31T00:00:00"}, `column "c": 1 row above max 2024-12-31T00:00:00, such as 2024-12-31 00:00:00.000001 (row 2)`},
		{"a point in time too early", "SELECT unnest([TIMESTAMPTZ '2024-07-01 02:00:00+02', TIMESTAMPTZ '2024-07-01 01:59:59+02'])", ir.Column{Type: "timestamptz", Min: "2024-07-01T00:00:00Z"}, `column "c": 1 row below min 2024-07-01T00:00:00Z, such as 2024-06-30 23:59:59+00 (row 2)`},
		{"no time breaks no bound", "SELECT NULL::TIMESTAMP", ir.Column{Type: "timestamp", Nullable: true, Min: "2024-01-01T00:00:00", Max: "2024-01-02T00:00:00"}, ""},
		{"no rows", "SELECT 1::BIGINT WHERE false", ir.Column{Type: "int64", Min: "0", Unique: true}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.column.Name = "c"
			path := table(t, "SELECT * FROM ("+tt.query+") t(c)", ir.Schema{{Name: "c", Type: tt.column.Type}})
			v, n, err := engine.Verify(context.Background(), path, ir.Schema{tt.column}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := int64(len(rows(t, path))); n != got {
				t.Errorf("%d rows, want %d", n, got)
			}
			var text []string
			for _, v := range v {
				text = append(text, v.String())
			}
			equal(t, tt.want, strings.Join(text, "; "))
		})
	}
}

func TestVerifyGivesThreeExamples(t *testing.T) {
	path := table(t, "SELECT (i % 100)::BIGINT AS a, i % 7 = 0 AS b FROM range(500000) t(i)", ir.Schema{{Name: "a", Type: "int64"}, {Name: "b", Type: "bool"}})
	v, n, err := engine.Verify(context.Background(), path, ir.Schema{{Name: "a", Type: "int64", Max: "97", Unique: true}, {Name: "b", Type: "bool"}}, nil, nil)
	if err != nil || n != 500_000 {
		t.Fatal(n, err)
	}
	equal(t, []duck.Violation{
		{Column: "a", Rule: "max", Wanted: "97", Count: 10_000, Examples: []string{"98 (row 99)", "99 (row 100)", "98 (row 199)"}},
		{Column: "a", Rule: "unique", Count: 499_900, Examples: []string{"0 (rows 1 and 101)", "1 (rows 2 and 102)", "2 (rows 3 and 103)"}},
	}, v)
}

func TestVerifyWantsExactlyTheDeclaredColumnsInAnyOrder(t *testing.T) {
	path := table(t, "SELECT 1::INTEGER AS a, 'x' AS b", ir.Schema{{Name: "a", Type: "int32"}, {Name: "b", Type: "string"}})
	v, n, err := engine.Verify(context.Background(), path, ir.Schema{{Name: "b", Type: "string"}, {Name: "a", Type: "int32"}}, nil, nil)
	if err != nil || len(v) > 0 || n != 1 {
		t.Error(v, n, err)
	}
	v, n, err = engine.Verify(context.Background(), path, ir.Schema{{Name: "a", Type: "int64", Min: "5"}, {Name: "B", Type: "string"}}, nil, nil)
	if err != nil || n != 1 {
		t.Error(n, err)
	}
	var text []string
	for _, v := range v {
		text = append(text, v.String())
	}
	equal(t, []string{
		`column "a": INTEGER, wanted BIGINT (int64)`,
		`column "B": missing, wanted VARCHAR (string)`,
		`column "b": not in the schema`,
	}, text)
}

func TestVerifyAcceptsEveryTypeOfTheIR(t *testing.T) {
	var selects []string
	var schema ir.Schema
	for name, sql := range ir.Types {
		selects = append(selects, "CAST(NULL AS "+sql+") AS "+name+"_")
		schema = append(schema, ir.Column{Name: name + "_", Type: name, Nullable: true, Unique: true})
	}
	path := table(t, "SELECT "+strings.Join(selects, ", "), schema)
	if v, _, err := engine.Verify(context.Background(), path, schema, nil, nil); err != nil || len(v) > 0 {
		t.Error(v, err)
	}
}

func TestVerifySaysThatAFileIsNotWhole(t *testing.T) {
	schema := ir.Schema{{Name: "a", Type: "int64"}}
	whole := table(t, "SELECT i AS a FROM range(1000) t(i)", schema)
	b, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte(nil), b...)
	for i := 20; i < len(b)/2; i++ {
		damaged[i] = 0xff
	}
	for name, content := range map[string]string{
		"cut.parquet": string(b[:len(b)-10]), "empty.parquet": "", "text.parquet": "a,b\n1,2\n3,4\n5,6\n",
	} {
		_, _, err := engine.Verify(context.Background(), write(t, name, content), schema, nil, nil)
		wantError(t, err, name+" is not a Parquet file, or it is truncated")
	}
	if _, _, err := engine.Verify(context.Background(), write(t, "damaged.parquet", string(damaged)), schema, nil, nil); err == nil || !strings.Contains(err.Error(), "may be damaged") {
		t.Errorf("damaged: %v", err)
	}
	_, _, err = engine.Verify(context.Background(), "none.parquet", schema, nil, nil)
	wantError(t, err, "none.parquet: no such file or directory")
}

func TestVerifyRefusesKeysThatRepeat(t *testing.T) {
	schema := ir.Schema{{Name: "shop", Type: "int64", Nullable: true}, {Name: "day", Type: "date"}, {Name: "rain", Type: "float64"}}
	path := table(t, `SELECT * FROM (VALUES (1::BIGINT, DATE '2024-01-01', 0::DOUBLE), (1, '2024-01-02', 3), (1, '2024-01-02', 3.5), (2, '2024-01-02', 3), (NULL, '2024-01-02', 1), (NULL, '2024-01-02', 2), (1, '2024-01-02', 4)) AS t(shop, day, rain)`, schema)
	for _, tt := range []struct {
		keys []string
		want []string
	}{
		{nil, nil},
		{[]string{"shop", "day", "rain"}, nil},
		{[]string{"shop", "day"}, []string{"keys shop, day: 3 rows repeated, such as shop 1, day 2024-01-02 (rows 2 and 3); keys identify a row"}},
		{[]string{"shop"}, []string{"keys shop: 4 rows repeated, such as shop 1 (rows 1 and 2); keys identify a row"}},
	} {
		found, n, err := engine.Verify(context.Background(), path, schema, tt.keys, nil)
		if err != nil || n != 7 {
			t.Fatal(n, err)
		}
		var got []string
		for _, v := range found {
			got = append(got, v.String())
		}
		equal(t, tt.want, got)
	}
	single := table(t, "SELECT unnest([NULL, 1, 2])::BIGINT AS shop", schema[:1])
	if found, _, err := engine.Verify(context.Background(), single, schema[:1], []string{"shop"}, nil); err != nil || len(found) > 0 {
		t.Error("one null is no repetition:", found, err)
	}
}

func TestVerifyRefusesRowsThatReferToNothing(t *testing.T) {
	shops := table(t, `SELECT * FROM (VALUES (1::BIGINT, 'CH', DATE '2024-01-01'), (2, 'CH', '2024-01-01'), (NULL, 'DE', '2024-01-02')) AS t(id, country, opened)`,
		ir.Schema{{Name: "id", Type: "int64"}, {Name: "country", Type: "string"}, {Name: "opened", Type: "date"}})
	schema := ir.Schema{{Name: "shop", Type: "int64", Nullable: true}, {Name: "day", Type: "date", Nullable: true}, {Name: "a, b", Type: "string"}}
	sales := table(t, `SELECT * FROM (VALUES
		(1::BIGINT, DATE '2024-01-01', 'CH'), (3, '2024-01-01', 'CH'), (NULL, '2024-01-02', 'CH'), (2, NULL, 'FR'), (3, '2024-01-02', 'CH'), (2, '2024-01-02', 'CH'), (4, NULL, 'CH')) AS t(shop, day, "a, b")`, schema)
	for name, tt := range map[string]struct {
		columns, keys []string
		want          []string
	}{
		"one column": {[]string{"shop"}, []string{"id"},
			[]string{"shop: 3 rows refer to no row of sources.shops (id), such as 3 (row 2) and 4 (row 7); add what is missing to sources.shops, or remove or correct these rows"}},
		"a row with a null among the columns refers to nothing": {[]string{"shop", "day"}, []string{"id", "opened"},
			[]string{"shop, day: 3 rows refer to no row of sources.shops (id, opened), such as shop 3, day 2024-01-01 (row 2) and shop 3, day 2024-01-02 (row 5) and shop 2, day 2024-01-02 (row 6); add what is missing to sources.shops, or remove or correct these rows"}},
		"a column with an odd name": {[]string{"a, b"}, []string{"country"},
			[]string{"a, b: 1 row refers to no row of sources.shops (country), such as FR (row 4); add what is missing to sources.shops, or remove or correct these rows"}},
	} {
		found, n, err := engine.Verify(context.Background(), sales, schema, nil, []duck.Reference{{Columns: tt.columns, Keys: tt.keys, Path: shops, Table: "sources.shops"}})
		if err != nil || n != 7 {
			t.Fatal(name, n, err)
		}
		var got []string
		for _, v := range found {
			got = append(got, v.String())
		}
		equal(t, tt.want, got)
	}
	// A table that refers to itself, and one whose references all hold.
	staff := table(t, "SELECT * FROM (VALUES (1::BIGINT, NULL::BIGINT), (2, 1), (3, 2), (4, 9)) AS t(id, boss)", ir.Schema{{Name: "id", Type: "int64"}, {Name: "boss", Type: "int64"}})
	own := ir.Schema{{Name: "id", Type: "int64"}, {Name: "boss", Type: "int64", Nullable: true}}
	found, _, err := engine.Verify(context.Background(), staff, own, []string{"id"}, []duck.Reference{
		{Columns: []string{"boss"}, Keys: []string{"id"}, Path: staff, Table: "sources.staff"},
		{Columns: []string{"id"}, Keys: []string{"id"}, Path: staff, Table: "sources.staff"},
	})
	if err != nil || len(found) != 1 || found[0].Count != 1 || found[0].Examples[0] != "9 (row 4)" {
		t.Error(found, err)
	}
	_, _, err = engine.Verify(context.Background(), staff, own, nil, []duck.Reference{{Columns: []string{"boss"}, Keys: []string{"country"}, Path: shops, Table: "sources.shops"}})
	wantError(t, err, `column "country" of sources.shops is not BIGINT, which "boss" refers to`)
}
