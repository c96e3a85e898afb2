package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

var pairs = ir.Schema{{Name: "k", Type: "int64"}, {Name: "v", Type: "string"}}

func query(t *testing.T, sql string, inputs map[string]string, schema ir.Schema, order ...string) (string, error) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.parquet")
	err := engine.Query(context.Background(), sql, inputs, duck.Table{Path: out, Schema: schema, OrderBy: order}, engine.Limits{TempDir: t.TempDir()})
	return out, err
}

func TestQueryWritesTheDeclaredColumnsInTheDeclaredOrder(t *testing.T) {
	in := table(t, "SELECT unnest([3, 1, 2, 1])::BIGINT AS k, unnest(['c', 'b', 'x', 'a']) AS v", pairs)
	for _, tt := range []struct {
		name, sql string
		order     []string
		want      []string
	}{
		{"its own order", "FROM t", nil, []string{"3|c", "1|b", "2|x", "1|a"}},
		{"the order of its ORDER BY", "FROM t ORDER BY v DESC;", nil, []string{"2|x", "3|c", "1|b", "1|a"}},
		{"by keys, the other columns break ties", "SELECT v, k FROM t -- note", []string{"k"}, []string{"1|a", "1|b", "2|x", "3|c"}},
		{"no rows", "FROM t WHERE false", []string{"k"}, []string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := query(t, tt.sql, map[string]string{"t": in}, pairs, tt.order...)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, tt.want, rows(t, out))
		})
	}
}

func TestQueryRefusesUndeclaredInputs(t *testing.T) {
	in := table(t, "SELECT 1::BIGINT AS k, 'a' AS v", pairs)
	other := table(t, "SELECT 2::BIGINT AS k, 'secret' AS v", pairs)
	for _, tt := range []struct{ sql, want string }{
		{"FROM '" + other + "'", fmt.Sprintf("a query can read only its inputs, not a file such as %q", other)},
		{"SELECT 1 AS k, content AS v FROM read_text('/etc/hostname')", `a query can read only its inputs, not a file such as "/etc/hostname"`},
		{"SELECT k FROM t", `the query does not return the declared columns: column "v": missing, wanted VARCHAR (string)`},
		{"SELECT sum(k) AS k, 'a' AS v FROM t", `the query does not return the declared columns: column "k": HUGEINT, wanted BIGINT (int64)`},
		{"SELECT *, 1 AS n FROM t", `the query does not return the declared columns: column "n": not in the schema`},
		{"COPY t TO 'x'", "a query starts with SELECT, WITH or FROM, not with COPY"},
		{"FROM tt", "Table with name tt does not exist!"},
		{"SELECT CAST(v AS BIGINT) AS k, v FROM t", "run the query: Could not convert string 'a' to INT64 when casting from source column v"},
	} {
		out, err := query(t, tt.sql, map[string]string{"t": in}, pairs)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.sql, err, tt.want)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: left an output", tt.sql)
		}
	}
}

func TestQueryReadsPathsWithSpecialCharacters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's [1]*")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	a, b := filepath.Join(dir, "a?.parquet"), filepath.Join(dir, "b?.parquet")
	ctx := context.Background()
	if err := engine.Query(ctx, "SELECT 1::BIGINT AS k, 'a' AS v", nil, duck.Table{Path: a, Schema: pairs}, engine.Limits{}); err != nil {
		t.Fatal(err)
	}
	if err := engine.Query(ctx, `FROM "my ""input"""`, map[string]string{`my "input"`: a}, duck.Table{Path: b, Schema: pairs}, engine.Limits{}); err != nil {
		t.Fatal(err)
	}
	equal(t, []string{"1|a"}, rows(t, b))
}

func TestQuerySpillsIntoItsFolderAndLeavesNothing(t *testing.T) {
	in := table(t, "SELECT i AS k, repeat('v', 20) || hash(i) AS v FROM range(600_000) t(i)", pairs)
	temp := t.TempDir()
	out := filepath.Join(t.TempDir(), "out.parquet")
	err := engine.Query(context.Background(), "FROM t", map[string]string{"t": in}, duck.Table{Path: out, Schema: pairs, OrderBy: []string{"v"}}, engine.Limits{Threads: 2, Memory: 80 << 20, TempDir: temp})
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if v, n, err := engine.Verify(context.Background(), out, pairs, nil, nil); err != nil || n != 600_000 || len(v) > 0 {
		t.Error(v, n, err)
	}
}

func TestQueryWritesTheSameBytesWhateverTheThreads(t *testing.T) {
	in := table(t, "SELECT i AS k, 'g' || (i % 1000) AS v FROM range(600_000) t(i)", pairs)
	sql := "SELECT v, count(*) AS k FROM t GROUP BY v UNION ALL SELECT v, k % 10 FROM t"
	var first string
	for _, threads := range []int{1, 2, 4} {
		out := filepath.Join(t.TempDir(), "out.parquet")
		err := engine.Query(context.Background(), sql, map[string]string{"t": in}, duck.Table{Path: out, Schema: pairs, OrderBy: []string{"k"}}, engine.Limits{Threads: threads})
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(b)
		}
		if first != string(b) {
			t.Errorf("other bytes with %d threads", threads)
		}
	}
}

func TestQueryStopsWhenItsContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := engine.Query(ctx, "SELECT 1", nil, duck.Table{Path: filepath.Join(t.TempDir(), "o"), Schema: pairs}, engine.Limits{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCSVKeepsNullApartFromEmptyText(t *testing.T) {
	path := table(t, "SELECT * FROM (VALUES (1, 'a,b'), (2, ''), (3, NULL), (4, 'x \"y\"')) t(k, v)", pairs)
	to := filepath.Join(t.TempDir(), "t.csv")
	if err := engine.CSV(context.Background(), path, to); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "k,v\n1,\"a,b\"\n2,\"\"\n3,\n4,\"x \"\"y\"\"\"\n", string(got))
	if err := engine.CSV(context.Background(), to, to+"2"); err == nil {
		t.Error("a file that is no Parquet is exported")
	}
}

func TestPreviewReturnsTheFirstRowsAndTheirNumber(t *testing.T) {
	path := table(t, "SELECT i AS k, CASE WHEN i > 0 THEN 'v' END AS v FROM range(5) t(i)", pairs)
	p, err := engine.Preview(context.Background(), path, 2)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, duck.Preview{Columns: []string{"k", "v"}, Rows: [][]string{{"0", "NULL"}, {"1", "v"}}, Total: 5}, p)
}

func TestNullsAreCountedByColumn(t *testing.T) {
	path := table(t, "SELECT i AS k, CASE WHEN i > 0 THEN 'v' END AS v FROM range(5) t(i)", pairs)
	nulls, err := engine.Nulls(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, map[string]int64{"k": 0, "v": 1}, nulls)
	if _, err := engine.Nulls(context.Background(), path+"x"); err == nil {
		t.Error("a file that does not exist has counts")
	}
}
