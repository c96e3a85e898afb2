package parity_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/parity"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

var checker = sync.OnceValues(engine.NewChecker)

func compile(t testing.TB, query string, tables ...rowsql.Table) *rowsql.Plan {
	t.Helper()
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	schemas := map[string]ir.Schema{}
	for _, table := range tables {
		schemas[table.Name] = table.Schema
	}
	bound, err := c.Bind(context.Background(), schemas, query)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := rowsql.Compile(query, bound, tables)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// A world is a DuckDB with the tables of a test, and a folder.
type world struct {
	testing.TB
	db  *sql.DB
	dir string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	w := &world{t, db, t.TempDir()}
	w.exec("SET TimeZone = 'UTC'", "SET threads = 2")
	return w
}

func (w *world) exec(queries ...string) {
	w.Helper()
	for _, q := range queries {
		if _, err := w.db.Exec(q); err != nil {
			w.Fatalf("%v\n%s", err, q)
		}
	}
}

// write writes the result of a query as a table of a step, with the types of its schema.
func (w *world) write(name, query string, s ir.Schema) string {
	w.Helper()
	var columns []string
	for _, c := range s {
		columns = append(columns, `"`+c.Name+`"::`+ir.Types[c.Type]+` AS "`+c.Name+`"`)
	}
	path := filepath.Join(w.dir, name)
	w.exec("COPY (SELECT " + strings.Join(columns, ", ") + " FROM (" + query + ")) TO '" + path + "' (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)")
	return path
}

// report reads what a comparison wrote.
func report(t testing.TB, folder string) parity.Report {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(folder, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r parity.Report
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func params(t testing.TB, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
