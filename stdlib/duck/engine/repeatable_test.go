package engine_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

// TestQueriesGiveTheSameBytes runs queries that depend on the order of rows, or add
// floats, on different numbers of threads and on the same rows in another order.
func TestQueriesGiveTheSameBytes(t *testing.T) {
	const rows = 60_000
	schema := ir.Schema{{Name: "g", Type: "int64"}, {Name: "v", Type: "float64"}, {Name: "name", Type: "string"}, {Name: "ts", Type: "timestamp"}, {Name: "z", Type: "float64"}}
	lines := make([]string, rows)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range lines {
		lines[i] = fmt.Sprintf("%d,%v,n%d,2024-01-01 00:%02d:%02d,%s\n", random.IntN(50), random.NormFloat64()*1e6, random.IntN(2000), random.IntN(60), random.IntN(60), []string{"0", "-0.0"}[random.IntN(2)])
	}
	dir := t.TempDir()
	files := []string{ingested(t, dir, "a", schema, lines)}
	random.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	files = append(files, ingested(t, dir, "b", schema, lines))

	for _, tt := range []struct {
		query   string
		columns string // of the result: "g int64, s float64"
		serial  bool   // the result follows the order of the input's rows
	}{
		{query: "SELECT g, sum(v) AS s FROM t GROUP BY g", columns: "g int64, s float64"},
		{query: "SELECT sum(v) AS s, avg(v) AS a FROM t", columns: "s float64, a float64"},
		{query: "SELECT g, avg(v) AS a, stddev(v) AS d, corr(v, epoch(ts)) AS c FROM t GROUP BY g", columns: "g int64, a float64, d float64, c float64"},
		{query: "SELECT g, sum(v) FILTER (WHERE v > 0) AS s, skewness(v * 2) AS k FROM t GROUP BY ALL", columns: "g int64, s float64, k float64"},
		{query: "SELECT g, any_value(name) AS x, mode(name) AS m, arg_max(name, ts) AS y, arg_max(v, ts) AS w FROM t GROUP BY g", columns: "g int64, x string, m string, y string, w float64"},
		{query: "SELECT g, string_agg(name, ',' ORDER BY ts) AS z FROM t WHERE v > 2e6 GROUP BY g", columns: "g int64, z string"},
		{query: "SELECT g, approx_quantile(v, 0.3) AS q FROM t GROUP BY g", columns: "g int64, q float64"},
		{query: "SELECT g, name, v FROM t QUALIFY row_number() OVER (PARTITION BY g ORDER BY ts DESC) = 1", columns: "g int64, name string, v float64"},
		{query: "SELECT x.g, x.name, x.v FROM t AS x JOIN (SELECT DISTINCT g FROM t) USING (g) QUALIFY row_number() OVER (PARTITION BY x.g ORDER BY x.ts) = 1", columns: "g int64, name string, v float64"},
		{query: "SELECT g, v, ts, lag(v) OVER (PARTITION BY g ORDER BY ts) AS p FROM t", columns: "g int64, v float64, ts timestamp, p float64"},
		{query: "SELECT g, ts, first_value(name) OVER (PARTITION BY g ORDER BY ts) AS f FROM t", columns: "g int64, ts timestamp, f string"},
		{query: "SELECT g, v, sum(v) OVER (PARTITION BY g) AS s FROM t", columns: "g int64, v float64, s float64"},
		{query: "SELECT g, v, avg(v) OVER (PARTITION BY g ORDER BY ts ROWS 5 PRECEDING) AS s FROM t", columns: "g int64, v float64, s float64"},
		{query: "SELECT g, sum(v) AS s, row_number() OVER (ORDER BY count(*) // 100) AS n FROM t GROUP BY g", columns: "g int64, s float64, n int64"},
		{query: "SELECT * FROM t ORDER BY ts LIMIT 50", columns: "g int64, v float64, name string, ts timestamp, z float64"},
		{query: "SELECT g, v, max(v) OVER (PARTITION BY g ORDER BY ts ROWS 5 PRECEDING) AS m, count(*) FILTER (WHERE v > 0) OVER (PARTITION BY g ORDER BY ts ROWS 5 PRECEDING) AS n FROM t", columns: "g int64, v float64, m float64, n int64"},
		{query: "SELECT g, v, median(v) OVER (PARTITION BY g ORDER BY ts ROWS 5 PRECEDING) AS m FROM t", columns: "g int64, v float64, m float64"},
		{query: "SELECT g, CAST(list(DISTINCT name ORDER BY name DESC) AS VARCHAR) AS l FROM t WHERE v > 2e6 GROUP BY g", columns: "g int64, l string"},
		{query: "SELECT z, CAST(z AS VARCHAR) AS x FROM t GROUP BY z", columns: "z float64, x string"},
		{query: "SELECT g, string_agg(z, ',' ORDER BY z) AS x, CAST(histogram(z) AS VARCHAR) AS h FROM t WHERE v > 2e6 GROUP BY g", columns: "g int64, x string, h string"},
		{query: "SELECT DISTINCT round(v / 1e7) AS r FROM t", columns: "r float64"},
		{query: "SELECT g, ts, fill(CASE WHEN v > 0 THEN v END) OVER (PARTITION BY g ORDER BY ts) AS f FROM t", columns: "g int64, ts timestamp, f float64", serial: true},
		{query: "SELECT name, v FROM t ORDER BY name LIMIT 50", columns: "name string, v float64"},
		{query: "SELECT g, name FROM (SELECT g, name, v FROM t ORDER BY name LIMIT 99)", columns: "g int64, name string"},
		{query: "SELECT DISTINCT ON (g) g, name FROM t ORDER BY g, ts", columns: "g int64, name string"},
		{query: "SELECT name, g FROM t ORDER BY name", columns: "name string, g int64"},
		{query: "SELECT name FROM t UNION ALL SELECT 'x' || g FROM t", columns: "name string"},
		{query: "WITH RECURSIVE r AS (SELECT 0 AS g UNION ALL SELECT g + 1 FROM r WHERE g < 9) SELECT r.g::BIGINT AS g, sum(v) AS s FROM r JOIN t USING (g) GROUP BY r.g", columns: "g int64, s float64"},
		{query: "FROM (PIVOT t ON g IN (1, 2) USING sum(v) GROUP BY name)", columns: "name string, 1 float64, 2 float64"},
		{query: "SELECT g, geomean(abs(v)) AS s FROM t GROUP BY g", columns: "g int64, s float64", serial: true},
		{query: "SELECT g, v, ts, sum(v) OVER (PARTITION BY g ORDER BY ts) AS s FROM t", columns: "g int64, v float64, ts timestamp, s float64", serial: true},
		{query: "SELECT a.g, a.ts, b.name FROM t AS a ASOF JOIN t AS b ON a.g = b.g AND a.ts > b.ts", columns: "g int64, ts timestamp, name string", serial: true},
		{query: "SELECT x, CAST(x AS VARCHAR) AS s FROM (SELECT CASE WHEN v > 0 THEN z ELSE -z END AS x FROM t) GROUP BY x", columns: "x float64, s string", serial: true},
		{query: "SELECT CASE WHEN v > 0 THEN z ELSE -z END AS x, CAST(x AS VARCHAR) AS s, count(*) AS n FROM t GROUP BY x", columns: "x float64, s string, n int64", serial: true},
		{query: "SELECT CAST(x AS VARCHAR) AS s FROM (SELECT DISTINCT CASE WHEN v > 0 THEN z ELSE -z END AS x FROM t)", columns: "s string", serial: true},
		{query: "SELECT 'x' || x AS s FROM (SELECT z AS x FROM t UNION SELECT -z FROM t)", columns: "s string", serial: true},
		{query: "SELECT g, 1 / max(CASE WHEN v > 0 THEN z ELSE -z END) AS m FROM t GROUP BY g", columns: "g int64, m float64", serial: true},
		{query: "WITH a AS (SELECT g, round(v / 1e9) AS r FROM t) SELECT g, printf('%.1f', r) AS s FROM a GROUP BY ALL", columns: "g int64, s string"},
		{query: "WITH a AS (SELECT g, round(v / 1e9) AS r FROM t) SELECT g, CAST(any_value(r) AS VARCHAR) AS s FROM a GROUP BY g", columns: "g int64, s string", serial: true},
	} {
		var first []byte
		for i, run := range []struct{ file, threads int }{{0, 4}, {0, 3}, {0, 4}, {1, 4}} {
			if run.file == 1 && tt.serial {
				continue
			}
			out := filepath.Join(dir, "out.parquet")
			err := engine.Query(context.Background(), tt.query, map[string]string{"t": files[run.file]}, duck.Table{Path: out, Schema: schemaOf(tt.columns)}, engine.Limits{Threads: run.threads})
			if err != nil {
				t.Errorf("%s: %v", tt.query, err)
				break
			}
			b, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = b
			}
			if !bytes.Equal(b, first) {
				t.Errorf("%s: run %d gave other bytes", tt.query, i)
				break
			}
		}
	}
}

func schemaOf(columns string) (schema ir.Schema) {
	for _, c := range strings.Split(columns, ", ") {
		name, typ, _ := strings.Cut(c, " ")
		schema = append(schema, ir.Column{Name: name, Type: typ, Nullable: true})
	}
	return schema
}

func ingested(t *testing.T, dir, name string, schema ir.Schema, lines []string) string {
	t.Helper()
	csv, out := filepath.Join(dir, name+".csv"), filepath.Join(dir, name+".parquet")
	header := make([]string, len(schema))
	for i, c := range schema {
		header[i] = c.Name
	}
	if err := os.WriteFile(csv, []byte(strings.Join(header, ",")+"\n"+strings.Join(lines, "")), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Ingest(context.Background(), duck.Source{Format: "csv", Files: []string{csv}}, schema, out, engine.Limits{}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestUnrepeatableQueries(t *testing.T) {
	c := newChecker(t)
	tables := map[string]ir.Schema{"people": {{Name: "age", Type: "int64"}, {Name: "day", Type: "timestamp"}, {Name: "name", Type: "string"}}, "orders": people["orders"]}
	for _, tt := range []struct{ query, want string }{
		{"SELECT random() AS r FROM people", "random gives another result every time @7"},
		{"SELECT age FROM people WHERE day < current_date", "current_date gives another result every time @35"},
		{"SELECT age(day) AS a FROM people", "age gives another result every time @7"},
		{"SELECT age(day, day) AS a FROM people", ""},
		{"SELECT current_setting('threads') AS t", "current_setting gives another result every time @7"},
		{"SELECT table_name AS t FROM information_schema.tables", "tables describes the database, not the data @28"},
		{"SELECT function_name AS f FROM duckdb_functions()", "duckdb_functions reads something other than the inputs @31"},
		{"SELECT * FROM query('SELECT 1 AS a')", "query reads something other than the inputs @14"},
		{"SELECT current_localtimestamp() AS t, current_date() AS d, pg_postmaster_start_time() AS p", "current_localtimestamp gives another result every time @7; current_date gives another result every time @38; pg_postmaster_start_time gives another result every time @59"},
		{"SELECT rowid AS r FROM people", "rowid is not a column of the inputs @7"},
		{"SELECT DISTINCT name COLLATE NOCASE AS n FROM people", "COLLATE makes different texts equal, and any of them may be the result @16"},
		{"SELECT count(*) AS n FROM people GROUP BY name COLLATE NOCASE", "COLLATE makes different texts equal, and any of them may be the result @42"},
		{"SELECT name, rank() OVER (ORDER BY name COLLATE NOCASE) AS r FROM people WHERE name COLLATE NOCASE = 'ada' OR name COLLATE NOCASE IN ('b', 'c') OR name COLLATE NOCASE BETWEEN 'd' AND 'e' ORDER BY name COLLATE NOCASE", ""},
		{"SELECT list(DISTINCT age ORDER BY age) AS l, list_sort(list(age)) AS s FROM people", ""},
		{"SELECT age FROM people USING SAMPLE 10%", "a sample takes other rows every time @16"},
		{"SELECT age FROM people TABLESAMPLE reservoir(5)", "a sample takes other rows every time @16"},
		{"SELECT age FROM people LIMIT 3", "LIMIT without ORDER BY takes any rows @29"},
		{"SELECT age FROM people ORDER BY age LIMIT 3", ""},
		{"SELECT age FROM people LIMIT 0", ""},
		{"SELECT DISTINCT ON (age) age, day FROM people", "DISTINCT ON without ORDER BY takes any row @20"},
		{"SELECT first(age) AS f FROM people", "first without ORDER BY depends on the order of rows, which is not fixed @7"},
		{"SELECT len(list(age)) AS f FROM people", "list without ORDER BY depends on the order of rows, which is not fixed @11"},
		{"SELECT string_agg(age, ',' ORDER BY day) AS f FROM people", ""},
		{"SELECT row_number() OVER () AS n FROM people", "row_number OVER without ORDER BY depends on the order of rows, which is not fixed @7"},
		{"SELECT rank() OVER () AS n, sum(age) OVER () AS s FROM people", ""},
		{"SELECT lag(age) OVER (PARTITION BY day) AS n FROM people", "lag OVER without ORDER BY depends on the order of rows, which is not fixed @7"},
		{"SELECT p.age AS age FROM people p POSITIONAL JOIN orders", "POSITIONAL JOIN depends on the order of rows, which is not fixed @50"},
		{"WITH a AS (SELECT age FROM people) SELECT x FROM range(3) t(x), a", ""},
		{"SELECT 'random() LIMIT 3' AS s -- now()", ""},
	} {
		var d duck.Description
		if _, err := c.Describe(context.Background(), tables, tt.query); err != nil {
			t.Errorf("%s: %v", tt.query, err)
			continue
		}
		if err := c.Analyse(context.Background(), tables, tt.query, &d); err != nil {
			t.Errorf("%s: %v", tt.query, err)
			continue
		}
		var got []string
		for _, u := range d.Unrepeatable {
			got = append(got, fmt.Sprintf("%s @%d", u.Message, u.Offset))
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, "; ")); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.query, diff)
		}
	}
}

// TestVolatileFunctionsAreRefused asks DuckDB which functions give other results.
func TestVolatileFunctionsAreRefused(t *testing.T) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`WITH RECURSIVE volatile(name) AS (
		SELECT function_name FROM duckdb_functions() WHERE stability IN ('VOLATILE', 'CONSISTENT_WITHIN_QUERY') AND function_name <> 'error'
		UNION SELECT f.function_name FROM duckdb_functions() f, volatile v WHERE f.function_type = 'macro'
			AND (regexp_matches(f.macro_definition, '\b' || v.name || '\(') OR regexp_matches(f.macro_definition, 'current_timestamp|duckdb_|pragma_')))
		SELECT DISTINCT name FROM volatile ORDER BY name`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if !engine.Volatile(name) {
			t.Errorf("%s is not refused", name)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// Whether the sign of a zero may show decides whether a query runs on one thread: others
// must not.
func TestQueriesThatShowTheSignOfAZeroAreSerial(t *testing.T) {
	schema := ir.Schema{{Name: "g", Type: "int64"}, {Name: "v", Type: "float64"}, {Name: "name", Type: "string"}}
	file := ingested(t, t.TempDir(), "a", schema, []string{"1,0.5,x\n"})
	for query, want := range map[string]bool{
		"SELECT CAST(x AS VARCHAR) AS s FROM (SELECT -v AS x FROM t) GROUP BY x":                                true,
		"SELECT CAST(-v AS VARCHAR) AS s FROM t GROUP BY -v":                                                    true,
		"SELECT -v AS x, CAST(x AS VARCHAR) AS s FROM t GROUP BY 1":                                             true,
		"SELECT CAST(max(-v) AS VARCHAR) AS s FROM t":                                                           true,
		"SELECT hash(x) AS s FROM (SELECT DISTINCT -v AS x FROM t)":                                             true,
		"SELECT 1 / x AS s FROM (SELECT -v AS x FROM t EXCEPT SELECT v FROM t)":                                 true,
		"SELECT name || (SELECT CAST(min(-u.v) AS VARCHAR) FROM t u WHERE u.g = t.g) AS s FROM t":               true,
		"SELECT CAST(x AS VARCHAR) || rank() OVER (ORDER BY x) AS s FROM (SELECT v * -1 AS x FROM t)":           true,
		"SELECT x FROM (SELECT -v AS x FROM t) GROUP BY x":                                                      false,
		"SELECT CAST(v AS VARCHAR) AS s FROM t GROUP BY v":                                                      false,
		"SELECT CAST(-v AS VARCHAR) AS s FROM t":                                                                false,
		"SELECT name || g AS s, sum(v) / count(*) AS m, max(v) AS x FROM t GROUP BY ALL":                        false,
		"WITH a AS (SELECT g * 2 AS k, v FROM t) SELECT CAST(k AS VARCHAR) AS s, avg(v) AS m FROM a GROUP BY k": false,
		"SELECT name || '!' AS s FROM (SELECT DISTINCT lower(name) AS name FROM t)":                             false,
	} {
		serial, err := engine.Serial(t.Context(), query, file)
		if err != nil {
			t.Errorf("%s: %v", query, err)
		} else if serial != want {
			t.Errorf("%s: serial %t, want %t", query, serial, want)
		}
	}
}

// Many groups of many rows each have both zeros, on several threads.
func TestTheSignOfAZeroDoesNotDependOnThreads(t *testing.T) {
	file := table(t, "SELECT i, i % 5000 AS g FROM range(600000) AS r(i)", ir.Schema{{Name: "i", Type: "int64"}, {Name: "g", Type: "int64"}})
	const zeros = "(SELECT g, CASE WHEN hash(i) % 2 = 0 THEN 0::DOUBLE ELSE -(0::DOUBLE) END AS x FROM t)"
	for _, query := range []string{
		"SELECT g, CAST(x AS VARCHAR) AS s FROM " + zeros + " GROUP BY g, x",
		"SELECT g, CAST(x AS VARCHAR) AS s FROM (SELECT DISTINCT g, x FROM " + zeros + ")",
		"SELECT g, CAST(x AS VARCHAR) AS s FROM (SELECT * FROM " + zeros + " UNION SELECT g, -x FROM " + zeros + ")",
		"SELECT g, CAST(max(x) AS VARCHAR) AS s FROM " + zeros + " GROUP BY g",
		"SELECT g, string_agg(x, ',' ORDER BY x) AS s FROM " + zeros + " WHERE g < 50 GROUP BY g",
	} {
		var first []byte
		for run := range 5 {
			out := filepath.Join(t.TempDir(), "out.parquet")
			err := engine.Query(t.Context(), query, map[string]string{"t": file}, duck.Table{Path: out, Schema: schemaOf("g int64, s string")}, engine.Limits{Threads: 2 + run})
			if err != nil {
				t.Fatalf("%s: %v", query, err)
			}
			b, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = b
			}
			if !bytes.Equal(b, first) {
				t.Errorf("%s: run %d gave other bytes", query, run)
				break
			}
		}
	}
}

// All NaNs are equal, so either of two would stand for both.
func TestEveryNaNIsTheSame(t *testing.T) {
	var written [][]byte
	for _, nan := range []string{"'nan'::DOUBLE", "'inf'::DOUBLE - i"} {
		out := filepath.Join(t.TempDir(), "out.parquet")
		schema := ir.Schema{{Name: "id", Type: "int64", Unique: true}, {Name: "x", Type: "float64", NaN: true}}
		if err := engine.Query(t.Context(), "SELECT 1::BIGINT AS id, "+nan+" AS x FROM (SELECT unnest(['inf'::DOUBLE]) AS i)", nil, duck.Table{Path: out, Schema: schema, OrderBy: []string{"id"}}, engine.Limits{}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		written = append(written, b)
	}
	if !bytes.Equal(written[0], written[1]) {
		t.Error("two NaNs are other bytes")
	}
}
