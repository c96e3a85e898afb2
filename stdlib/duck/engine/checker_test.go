package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

var people = map[string]ir.Schema{
	"people": {{Name: "age", Type: "int64"}, {Name: "naïve name", Type: "string"}, {Name: "at", Type: "timestamp"}},
	"orders": {{Name: "order", Type: "uint64"}, {Name: "age", Type: "int64"}, {Name: "paid", Type: "bool"}},
}

func newChecker(t *testing.T) *engine.Checker {
	t.Helper()
	c, err := engine.NewChecker()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestDescribeReturnsTheColumnsOfAQuery(t *testing.T) {
	c := newChecker(t)
	for _, tt := range []struct {
		query string
		want  []duck.Column
	}{
		{"SELECT age, age / 2 AS half FROM people", []duck.Column{{Name: "age", Type: "BIGINT"}, {Name: "half", Type: "DOUBLE"}}},
		{"FROM orders", []duck.Column{{Name: "order", Type: "UBIGINT"}, {Name: "age", Type: "BIGINT"}, {Name: "paid", Type: "BOOLEAN"}}},
		{"WITH a AS (SELECT sum(age) AS s FROM people) SELECT * FROM a;", []duck.Column{{Name: "s", Type: "HUGEINT"}}},
		{"-- a note; with a semicolon\nSELECT ';' AS s /* ; /* nested */ */ ; -- end\n", []duck.Column{{Name: "s", Type: "VARCHAR"}}},
		{"(SELECT $$a;b$$ AS s) ;;", []duck.Column{{Name: "s", Type: "VARCHAR"}}},
		{`SELECT E'it\'s; so' AS s, "naïve name" FROM people`, []duck.Column{{Name: "s", Type: "VARCHAR"}, {Name: "naïve name", Type: "VARCHAR"}}},
		{"SELECT now() AS t, 1.5 * age AS d FROM people", []duck.Column{{Name: "t", Type: "TIMESTAMP WITH TIME ZONE"}, {Name: "d", Type: "DECIMAL(21,1)"}}},
		{"SELECT 1.25 AS d", []duck.Column{{Name: "d", Type: "DECIMAL(3,2)"}}},
	} {
		got, err := c.Describe(context.Background(), people, tt.query)
		if err != nil {
			t.Errorf("%s: %v", tt.query, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.query, diff)
		}
	}
}

func TestDescribePointsIntoTheQueryAndNamesCandidates(t *testing.T) {
	c := newChecker(t)
	for _, tt := range []struct {
		query string
		want  duck.SQLError
	}{
		{"SELECT agee FROM people", duck.SQLError{Message: `Referenced column "agee" not found in FROM clause!`, Offset: 7, Candidates: []string{"age", "at", "naïve name"}, Kind: "column"}},
		{"SELECT 'é',\n agee FROM people", duck.SQLError{Message: `Referenced column "agee" not found in FROM clause!`, Offset: 14, Candidates: []string{"age", "at", "naïve name"}, Kind: "column"}},
		{"SELECT p.agee FROM people p", duck.SQLError{Message: `Table "p" does not have a column named "agee"`, Offset: 7, Candidates: []string{"age", "at"}, Kind: "column"}},
		{"SELECT age FROM peple", duck.SQLError{Message: "Table with name peple does not exist!", Offset: 16, Candidates: []string{"people"}, Kind: "table"}},
		{"SELECT age FROM zzz", duck.SQLError{Message: "Table with name zzz does not exist!", Offset: 16, Kind: "table"}},
		{"SELECT x.age FROM people", duck.SQLError{Message: `Referenced table "x" not found!`, Offset: 7, Candidates: []string{"people"}, Kind: "table"}},
		{"SELECT lenght('a')", duck.SQLError{Message: "Scalar Function with name lenght does not exist!", Offset: 7, Candidates: []string{"length"}, Kind: "function"}},
		{"SELECT age FRM people", duck.SQLError{Message: `syntax error at or near "people"`, Offset: 15, Kind: "syntax"}},
		{"SELECT age FROM people LIMIT", duck.SQLError{Message: "syntax error at end of input", Offset: 28, Kind: "syntax"}},
		{"SELECT 1 AS a, 2 AS a", duck.SQLError{Message: `duplicate column "a" in the result`, Offset: -1, Kind: "other"}},
		{"SELECT 1 AS a, 2 AS A", duck.SQLError{Message: `columns "a" and "A" of the result differ only in case`, Offset: -1, Kind: "other"}},
		{"SELECT ?", duck.SQLError{Message: "a query takes no parameters such as ? or $1", Offset: -1, Kind: "other"}},
	} {
		_, err := c.Describe(context.Background(), people, tt.query)
		var got *duck.SQLError
		if !errors.As(err, &got) {
			t.Errorf("%s: error %v is not a SQLError", tt.query, err)
			continue
		}
		if diff := cmp.Diff(&tt.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.query, diff)
		}
	}
}

func TestDescribeRefusesAllButOneSelect(t *testing.T) {
	c := newChecker(t)
	for _, tt := range []struct {
		query  string
		kind   string
		offset int
	}{
		{"", "statement", 0},
		{"-- nothing", "statement", 0},
		{"INSERT INTO people VALUES (1)", "statement", 0},
		{"  COPY people TO 'x'", "statement", 2},
		{"ATTACH 'x.db'", "statement", 0},
		{"SET threads = 1", "statement", 0},
		{"DESCRIBE people", "statement", 0},
		{"SELECT 1; SELECT 2", "statement", 10},
		{"SELECT 1; DROP TABLE people", "statement", 10},
		{"SELECT 1) TO 'x'; --", "syntax", 8},
		{"WITH a AS (INSERT INTO people VALUES (1) RETURNING age) SELECT * FROM a", "syntax", -1},
		{"SELECT * FROM read_csv('/etc/passwd')", "access", 14},
		{"SELECT * FROM '/etc/passwd.csv'", "access", -1},
		{"SELECT * FROM 'https://example.com/a.parquet'", "access", -1},
	} {
		_, err := c.Describe(context.Background(), people, tt.query)
		var got *duck.SQLError
		if !errors.As(err, &got) || got.Kind != tt.kind || got.Offset != tt.offset {
			t.Errorf("%q: got %#v (%v), want kind %s at %d", tt.query, got, err, tt.kind, tt.offset)
		}
	}
	if _, err := c.Describe(context.Background(), people, "SELECT age FROM people"); err != nil {
		t.Errorf("after refusals: %v", err)
	}
}

func TestDescribeKeepsNothingBetweenCalls(t *testing.T) {
	c := newChecker(t)
	ctx := context.Background()
	one := map[string]ir.Schema{"t": {{Name: "a", Type: "int8"}}}
	two := map[string]ir.Schema{"t": {{Name: "b", Type: "date"}}, `we"ird -- name`: {{Name: `c"d`, Type: "bytes"}}}
	if _, err := c.Describe(ctx, one, "SELECT a FROM t"); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Describe(ctx, two, `SELECT b, "c""d" FROM t, "we""ird -- name"`); err != nil || got[0].Type != "DATE" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := c.Describe(ctx, nil, "SELECT * FROM t"); err == nil {
		t.Error("a table of an earlier call is still there")
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Describe(cancelled, one, "SELECT a FROM t"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := c.Describe(ctx, one, "SELECT a FROM t"); err != nil {
		t.Errorf("after a cancelled call: %v", err)
	}
	if _, err := c.Describe(ctx, map[string]ir.Schema{"t": {{Name: "a", Type: "int"}}}, "SELECT 1"); err == nil {
		t.Error("an unknown type is accepted")
	}
}

func TestDescribeMayBeCalledFromManyGoroutines(t *testing.T) {
	c := newChecker(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				name := fmt.Sprintf("c%d_%d", i, j)
				tables := map[string]ir.Schema{"t": {{Name: name, Type: "int32"}}}
				got, err := c.Describe(context.Background(), tables, "FROM t")
				if err != nil || len(got) != 1 || got[0].Name != name {
					t.Errorf("got %v, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestSuggestCastNamesTheNearestType(t *testing.T) {
	for _, tt := range [][3]string{
		{"BIGINT", "int64", "BIGINT"},
		{"HUGEINT", "int64", "BIGINT"},
		{"UHUGEINT", "uint64", "UBIGINT"},
		{"DECIMAL(18,3)", "float64", "DOUBLE"},
		{"TIMESTAMP_NS", "timestamp", "TIMESTAMP"},
		{"TIMESTAMP WITH TIME ZONE", "timestamptz", "TIMESTAMP WITH TIME ZONE"},
		{"TIME WITH TIME ZONE", "time", "TIME"},
		{"INTEGER[]", "string", "VARCHAR"},
		{"DECIMAL(3,1)[]", "string", "VARCHAR"},
		{"STRUCT(a INTEGER)", "string", "VARCHAR"},
		{"ENUM('a', 'b')", "string", "VARCHAR"},
		{"UUID", "string", "VARCHAR"},
	} {
		if typ, sql := duck.SuggestCast(tt[0]); typ != tt[1] || sql != tt[2] {
			t.Errorf("%s: got %s, %s, want %s, %s", tt[0], typ, sql, tt[1], tt[2])
		}
	}
}

func BenchmarkDescribe(b *testing.B) {
	c, err := engine.NewChecker()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for b.Loop() {
		if _, err := c.Describe(context.Background(), people, "SELECT p.age, paid FROM people p JOIN orders o USING (age)"); err != nil {
			b.Fatal(err)
		}
	}
}

func TestCanCastIsWhatDuckDBDoes(t *testing.T) {
	for from, value := range map[string]string{
		"BOOLEAN": "true", "BIGINT": "1", "HUGEINT": "1", "UHUGEINT": "1", "DOUBLE": "1", "DECIMAL(18,3)": "1",
		"VARCHAR": "", "BLOB": "'a'", "DATE": "'2026-01-01'", "TIME": "'10:00:00'", "TIME WITH TIME ZONE": "'10:00:00+00'",
		"TIMESTAMP": "'2026-01-01 00:00:00'", "TIMESTAMP WITH TIME ZONE": "'2026-01-01 00:00:00+00'", "TIMESTAMP_NS": "'2026-01-01 00:00:00'",
		"INTERVAL": "'1 day'", "INTEGER[]": "[1]", "STRUCT(a INTEGER)": "{'a': 1}", "ENUM('a', 'b')": "'a'", "UUID": "'0b9d2c04-4d63-4b3b-9a1c-1b2f0f2b7f4e'", "BIT": "'101'", "BIGNUM": "1",
	} {
		out := duck.Table{Path: filepath.Join(t.TempDir(), "o")}
		var casts []string
		for _, irType := range slices.Sorted(maps.Keys(ir.Types)) {
			to, v := ir.Types[irType], value
			if from == "VARCHAR" { // any value that fits
				v = "'1'"
				if fits := map[string]string{"date": "'2026-01-01'", "time": "'10:00:00'", "timestamp": "'2026-01-01 00:00:00'", "timestamptz": "'2026-01-01 00:00:00+00'"}[irType]; fits != "" {
					v = fits
				}
			}
			if duck.CanCast(from, to) {
				out.Schema = append(out.Schema, ir.Column{Name: irType, Type: irType})
				casts = append(casts, fmt.Sprintf("CAST(CAST(%s AS %s) AS %s) AS %s", v, from, to, irType))
			}
		}
		if err := engine.Query(context.Background(), "SELECT "+strings.Join(casts, ", "), nil, out, engine.Limits{}); err != nil {
			t.Errorf("%s: %v", from, err)
		}
	}
	for _, tt := range [][2]string{{"DATE", "BIGINT"}, {"BOOLEAN", "DATE"}, {"INTEGER[]", "BIGINT"}, {"BLOB", "DOUBLE"}, {"TIME", "DATE"}} {
		if duck.CanCast(tt[0], tt[1]) {
			t.Errorf("%s to %s: DuckDB does not cast it", tt[0], tt[1])
		}
	}
}

func TestDescribeComputesNothing(t *testing.T) {
	c := newChecker(t)
	began := time.Now()
	for _, tt := range []struct{ query, want string }{
		{"SELECT length(repeat('a', 2000000000)) AS n", "repeat makes a text of more than 10000000 characters"},
		{"SELECT repeat(repeat('a', 100000), 100000) AS s FROM people", "repeat makes a text of more than 10000000 characters"},
		{"SELECT age FROM people WHERE length(rpad('a', 2000000000, 'b')) > 1", "rpad makes a text of more than 10000000 characters"},
		{"SELECT repeat('ab', 1000) || lpad('x', 9, '0') AS s", ""},
		{"SELECT list_sum(range(1000000000)) AS n", ""},
	} {
		_, err := c.Describe(context.Background(), people, tt.query)
		if got := fmt.Sprint(err); err != nil && got != tt.want || err == nil && tt.want != "" {
			t.Errorf("%s: %v, want %q", tt.query, err, tt.want)
		}
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
}
