package rowsql_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

var everything = ir.Schema{
	{Name: "id", Type: "int64"}, {Name: "s", Type: "string", Nullable: true}, {Name: "r", Type: "string", Nullable: true},
	{Name: "n", Type: "int64", Nullable: true}, {Name: "tiny", Type: "int8", Nullable: true}, {Name: "big", Type: "uint64", Nullable: true},
	{Name: "x", Type: "float64", Nullable: true, NaN: true}, {Name: "f", Type: "float32", Nullable: true, NaN: true},
	{Name: "b", Type: "bool", Nullable: true}, {Name: "d", Type: "date", Nullable: true}, {Name: "t", Type: "timestamp", Nullable: true},
	{Name: "z", Type: "timestamptz", Nullable: true}, {Name: "clock", Type: "time", Nullable: true},
}

func everyRow() [][]rowsql.Value {
	s := rowsql.String
	return [][]rowsql.Value{
		{rowsql.Int(1), s("Carrier AA-12"), s("AA"), rowsql.Int(3), rowsql.Int(-128), rowsql.Uint(math.MaxUint64), rowsql.Float(0.1), rowsql.Float32(0.1), rowsql.Bool(true), rowsql.Int(19_000), rowsql.Int(1_700_000_000_123_456), rowsql.Int(1_700_000_000_123_456), rowsql.Int(3_600_000_001)},
		{rowsql.Int(2), s(""), s("aa"), rowsql.Int(-7), rowsql.Int(127), rowsql.Uint(0), rowsql.Float(-2.5e300), rowsql.Float32(-3e38), rowsql.Bool(false), rowsql.Int(-800_000), rowsql.Int(-62_000_000_000_000_000), rowsql.Int(0), rowsql.Int(0)},
		{rowsql.Int(3), s("naïve 'quoted' $1 ☃"), s("x,y,,z"), rowsql.Int(math.MaxInt64), rowsql.Int(0), rowsql.Uint(1), rowsql.Float(math.NaN()), rowsql.Float32(float32(math.Inf(1))), rowsql.Null, rowsql.Int(0), rowsql.Int(-1), rowsql.Int(-1), rowsql.Int(86_399_999_999)},
		{rowsql.Int(4), rowsql.Null, rowsql.Null, rowsql.Null, rowsql.Null, rowsql.Null, rowsql.Null, rowsql.Null, rowsql.Null, rowsql.Null, rowsql.Null, rowsql.Null, rowsql.Null},
		{rowsql.Int(5), s("12"), s("a,b"), rowsql.Int(0), rowsql.Int(5), rowsql.Uint(7), rowsql.Float(math.Inf(-1)), rowsql.Float32(0), rowsql.Bool(true), rowsql.Int(11_016), rowsql.Int(951_782_400_000_000), rowsql.Int(951_782_400_000_000), rowsql.Int(43_200_000_000)},
	}
}

// compileWithDuckDB compiles an expression over a row, and may leave parts to DuckDB.
func compileWithDuckDB(t testing.TB, query string) (*rowsql.Plan, error) {
	t.Helper()
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	bound, err := c.Bind(context.Background(), map[string]ir.Schema{"e": everything}, query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return rowsql.CompileWithDuckDB(query, bound, []rowsql.Table{{Name: "e", Schema: everything, Keys: [][]string{{"id"}}}}, func(columns ir.Schema, query string) ([]byte, error) {
		return c.Bind(context.Background(), map[string]ir.Schema{"t": columns}, query)
	})
}

func withDuckDB(t *testing.T) {
	t.Helper()
	e, err := engine.NewExpressions()
	if err != nil {
		t.Fatal(err)
	}
	rowsql.DuckDB = e.Prepare
	t.Cleanup(func() { rowsql.DuckDB = nil; e.Close() })
}

// What closures do not compute, DuckDB computes for a single row as it does for a table.
func TestExpressionsOfDuckDB(t *testing.T) {
	withDuckDB(t)
	load(t, "e", everything, everyRow())
	for _, expression := range []string{
		"regexp_extract(s, '([A-Z]+)-(\\d+)', 2)", "regexp_matches(s, '[[:digit:]]')", "regexp_replace(s, '[aeiou]', '*', 'g')",
		"levenshtein(s, r)", "jaro_winkler_similarity(s, r)", "string_split(r, ',')[1]", "len(string_split(r, ','))", "list_contains(['AA', 'BB'], r)",
		"list_contains(string_split(r, ','), 'a')", "reverse(s)", "split_part(r, ',', 2)", "md5(s)", "hash(s, n) % 16", "lpad(r, 10, '*')", "repeat(r, 2)",
		"format('{}-{}', r, n)", "printf('%s|%d', r, n)", "translate(s, 'abc', 'xyz')", "s SIMILAR TO '.*[0-9]+'", "s GLOB '*1*'", "TRY_CAST(s AS INTEGER)",
		"ln(greatest(n, 1))", "exp(x / 1e300)", "pow(n, 2)", "sin(x)", "atan2(x, 2.5)", "cbrt(x)", "log10(abs(n) + 1.5)", "degrees(x)", "x ^ 0.5 IS NULL", "gamma(2.5 + tiny / 300)",
		"bit_count(n)", "n & 255", "n << 2 > 5", "xor(n, 5)", "even(x)", "fdiv(x, 3.5)", "round(n, -1)", "hash(big)", "tiny ** 2", "f ** 2", "sqrt(f)",
		"date_trunc('month', d)", "d + INTERVAL 1 MONTH", "strptime('2024-01-0' || (tiny % 9 + 1)::VARCHAR, '%Y-%m-%d')",
		"time_bucket(INTERVAL 15 MINUTES, t)", "strftime(t, '%G-W%V')", "timezone('Europe/Paris', z)", "timezone('America/New_York', z)", "timezone('Europe/Paris', t)", "clock + INTERVAL 1 HOUR", "dayname(z)",
		"date_part('epoch', clock)", "z::VARCHAR", "julian(d)", "to_timestamp(n % 1000000)", "make_timestamp(2024, 1, 1, 0, 0, x % 60)", "(d + tiny)::VARCHAR", "yearweek(d)",
		"[n, tiny, 4][2]", "list_max([x, f])", "[s, r][1 + n % 2]", "array_length(['a', s])", "list_sort([s, r])[1]",
		"CASE WHEN regexp_matches(s, '^C') THEN upper(s) ELSE md5(r) END", "coalesce(TRY_CAST(s AS DOUBLE), x)", "contains(lower(s), reverse(r)) AND n > 0", "md5(s) BETWEEN 'a' AND 'f'", "md5(s) IN ('a', r)",
		"NOT regexp_matches(s, 'x') OR b", "n::DECIMAL(30,3)::VARCHAR", "(n % 100)::DECIMAL(10,2) / 3", "x::DECIMAL(18,3) IS NULL OR s = ''", "bar(tiny, 0, 100, 10)", "s[1:3]", "ascii(s)", "unicode(s)", "chr(65 + abs(tiny) % 26)", "strip_accents(s)", "n::HUGEINT * 3 > 5",
	} {
		t.Run(expression, func(t *testing.T) {
			query := "SELECT id, " + expression + " AS v FROM e"
			plan, err := compileWithDuckDB(t, query)
			if err != nil {
				t.Fatal(err)
			}
			got, errs := run(t, plan, nil, everyRow())
			for i := range everyRow() {
				want := []string{fmt.Sprint(i + 1), failed}
				shown := "SELECT CAST(id AS VARCHAR), " + comparable(plan.Outputs[1].Type, "v") + fmt.Sprintf(" FROM (SELECT id, %s AS v FROM e WHERE id = %d)", expression, i+1)
				if rows, err := texts(shown); err == nil {
					want = rows[0]
				}
				row := got[i]
				if errs[i] != nil {
					row = []string{fmt.Sprint(i + 1), failed}
				}
				if strings.Join(row, "|") != strings.Join(want, "|") {
					t.Errorf("row %d: %q, DuckDB has %q (%v)", i+1, row, want, errs[i])
				}
			}
		})
	}
}

// What DuckDB would not understand in the same way from its text, and what is no expression
// over one row, stays refused.
func TestExpressionsThatDuckDBIsNotAsked(t *testing.T) {
	for expression, reason := range map[string]string{
		"age(t, TIMESTAMP '2020-01-01') > INTERVAL 1 YEAR": "the function age is not computed",
		"list_sum([n, 1])":                            "LIST",
		"{'a': n, 'b': s}.b":                          "STRUCT",
		"list_transform([n], lambda v: v + 1)":        "",
		"count(*) OVER ()":                            "a window without ORDER BY",
		"(SELECT max(regexp_extract(s, 'a')) FROM e)": "",
		"md5('constant')":                             "the function md5",
	} {
		t.Run(expression, func(t *testing.T) {
			plan, err := compileWithDuckDB(t, "SELECT id, "+expression+" AS v FROM e")
			if err == nil {
				_, err = plan.Serve(nil, nil)
			}
			if !refused(err) || !strings.Contains(err.Error(), reason) {
				t.Errorf("got %v and %v, wanted a refusal with %q", plan, err, reason)
			}
		})
	}
}

// A program that does not link DuckDB loads such a plan, and says so for each row.
func TestExpressionsWithoutDuckDB(t *testing.T) {
	plan, err := compileWithDuckDB(t, "SELECT id, md5(s) AS v FROM e")
	if err != nil {
		t.Fatal(err)
	}
	if !plan.NeedsDuckDB() {
		t.Error("the plan is said to need no DuckDB")
	}
	_, errs := run(t, plan, nil, everyRow()[:1])
	if errs[0] == nil || !strings.Contains(errs[0].Error(), "this program has no DuckDB") {
		t.Errorf("got %v", errs[0])
	}
	plan, err = compileWithDuckDB(t, "SELECT id, n + 1 AS v FROM e WHERE s LIKE 'a%'")
	if err != nil || plan.NeedsDuckDB() {
		t.Errorf("closures are enough for this query: %v", err)
	}
}

// What a caller does not have is followed through what DuckDB computes.
func TestExpressionsOfDuckDBHaveLineage(t *testing.T) {
	plan, err := compileWithDuckDB(t, "SELECT id, md5(s) AS a, levenshtein(s, r) AS b FROM e WHERE regexp_matches(r, 'x')")
	if err != nil {
		t.Fatal(err)
	}
	a := plan.Analyse([]string{"r"})
	if got := fmt.Sprint(a.Outputs[1].Training, a.Outputs[2].Training, a.Filters[0].Training); got != "false true true" {
		t.Errorf("needs a column that the caller lacks: %s", got)
	}
}

// A caller cannot make DuckDB work for long.
func TestExpressionsOfLongTexts(t *testing.T) {
	withDuckDB(t)
	plan, err := compileWithDuckDB(t, "SELECT id, levenshtein(s, r) AS v FROM e")
	if err != nil {
		t.Fatal(err)
	}
	row := everyRow()[0]
	row[1], row[2] = rowsql.String(strings.Repeat("a", 16<<10)), rowsql.String("b")
	if _, errs := run(t, plan, nil, [][]rowsql.Value{row}); errs[0] != nil {
		t.Error(errs[0])
	}
	row[1] = rowsql.String(strings.Repeat("a", 16<<10+1))
	if _, errs := run(t, plan, nil, [][]rowsql.Value{row}); errs[0] == nil || !strings.Contains(errs[0].Error(), "not given a text of more than 16384 bytes") {
		t.Errorf("got %v", errs[0])
	}
}
