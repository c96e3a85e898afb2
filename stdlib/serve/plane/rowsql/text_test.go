package rowsql_test

import (
	"fmt"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// compareQuery runs a query over a table f with the columns of a schema on both sides.
func compareQuery(t *testing.T, query string, schema ir.Schema, rows [][]rowsql.Value) {
	t.Helper()
	load(t, "f", schema, rows)
	plan, err := compile(t, []rowsql.Table{{Name: "f", Schema: schema}}, query)
	if err != nil {
		t.Fatal(err)
	}
	got, errs := run(t, plan, nil, rows)
	want, err := texts(query)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if refusedRow(errs[i]) {
			continue
		}
		if errs[i] != nil {
			t.Fatalf("row %d: %v", i, errs[i])
		}
		if g, w := fmt.Sprintf("%q", got[i]), fmt.Sprintf("%q", want[i]); g != w {
			t.Fatalf("row %d: got %s, want %s", i, g, w)
		}
	}
}

func TestCaseOfAllCharacters(t *testing.T) {
	var rows [][]rowsql.Value
	for c := rune(1); c < 0x110000; c += 256 {
		var s []rune
		for r := c; r < c+256; r++ {
			if r < 0xd800 || r > 0xdfff {
				s = append(s, r)
			}
		}
		rows = append(rows, []rowsql.Value{rowsql.String(string(s))})
	}
	compareQuery(t, "SELECT lower(s), upper(s), length(s), strlen(s), s ILIKE '%a_c%' FROM f", ir.Schema{{Name: "s", Type: "string"}}, rows)
}

// DuckDB computes a column of ASCII in another way than others.
func TestSubstringsOfAllPositions(t *testing.T) {
	for name, columns := range map[string][]string{"ascii": {"", "a", "abcd"}, "unicode": {"", "a", "abcd", "\u00e9", "a\u00e9b\U0001F600e\u0301"}} {
		t.Run(name, func(t *testing.T) { compareSubstrings(t, columns) })
	}
}

func compareSubstrings(t *testing.T, values []string) {
	schema := ir.Schema{{Name: "s", Type: "string"}, {Name: "i", Type: "int64"}, {Name: "n", Type: "int64"}}
	var rows [][]rowsql.Value
	for _, s := range values {
		for i := int64(-9); i < 10; i++ {
			for n := int64(-9); n < 10; n++ {
				rows = append(rows, []rowsql.Value{rowsql.String(s), rowsql.Int(i), rowsql.Int(n)})
			}
		}
	}
	compareQuery(t, "SELECT substring(s, i, n), s, i, n FROM f", schema, rows)
	compareQuery(t, "SELECT substring(s || 'a', i, n), s, i, n FROM f", schema, rows)
	compareQuery(t, "SELECT substring(s, i), s, i FROM f", schema, rows)
	compareQuery(t, "SELECT left(s, n), right(s, n), left(s, i), right(s || 'b', i), s, i, n FROM f", schema, rows)
	compareQuery(t, "SELECT instr(s || 'xa', s), length(s), contains(s, 'a'), upper(s), lower(s), trim(s), s LIKE '%a%', s FROM f", schema, rows)
}
