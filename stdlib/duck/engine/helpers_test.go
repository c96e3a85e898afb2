package engine_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

func write(t *testing.T, name string, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func gzipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(s))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zstded(t *testing.T, s string) string {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(z.EncodeAll([]byte(s), nil))
}

// table makes a Parquet file of the rows of a query, in its order.
func table(t *testing.T, query string, schema ir.Schema) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "table.parquet")
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var columns []string
	for _, c := range schema {
		columns = append(columns, `"`+c.Name+`"`)
	}
	if _, err := db.Exec("COPY (SELECT " + strings.Join(columns, ", ") + " FROM (" + query + ")) TO '" + path + "' (FORMAT parquet)"); err != nil {
		t.Fatal(err)
	}
	return path
}

// rows returns the rows of a Parquet file, one string each.
func rows(t *testing.T, path string) []string {
	t.Helper()
	p, err := engine.Preview(context.Background(), path, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(p.Rows)) != p.Total {
		t.Fatalf("%d rows of %d", len(p.Rows), p.Total)
	}
	lines := make([]string, len(p.Rows))
	for i, c := range p.Rows {
		lines[i] = strings.Join(c, "|")
	}
	return lines
}

func equal(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// wantError checks an error, in which the folder of the test is left out.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %s", want)
		return
	}
	got := err.Error()
	if strings.Contains(got, "\n") {
		t.Errorf("the error has several lines: %s", got)
	}
	words := strings.Fields(got)
	for i, w := range words {
		if strings.Contains(w, os.TempDir()) {
			words[i] = filepath.Base(w)
		}
	}
	if got := strings.Join(words, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// parquetOf makes a Parquet file with one row and one column, v, of any type.
func parquetOf(t *testing.T, value string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.parquet")
	if err := engine.WriteParquet(context.Background(), "SELECT "+value+" AS v", path); err != nil {
		t.Fatal(err)
	}
	return path
}
