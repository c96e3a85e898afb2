package engine_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

// folders have names that DuckDB would read as a column of hive partitioning, as
// a pattern, or as SQL.
var folders = []string{
	"id=7", "lr=0.1", "filename=x", "id=1/id=2", "[a]", "a*", "a?", "**", "{a,b}", `back\slash`, "it's", `"q"`, "~", "id=[1]*?",
}

func TestNamesOfFoldersDoNotMatter(t *testing.T) {
	schema := ir.Schema{{Name: "id", Type: "int64"}, {Name: "lr", Type: "float64", Nullable: true}}
	want := []string{"1|10.0", "2|20.0"}
	ctx := context.Background()
	for _, folder := range folders {
		t.Run(folder, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), folder)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			in := func(name, content string) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
				return path
			}
			out := filepath.Join(dir, "out.parquet")
			read := func(file string) {
				t.Helper()
				if _, err := engine.Ingest(ctx, duck.Source{Files: []string{file}}, schema, out, engine.Limits{TempDir: dir}); err != nil {
					t.Fatal(err)
				}
				equal(t, want, rows(t, out))
				if v, n, err := engine.Verify(ctx, out, schema, nil, nil); err != nil || n != 2 || len(v) > 0 {
					t.Errorf("verify: %v, %d rows, %v", v, n, err)
				}
				for _, c := range infer(t, "", map[string]duck.Source{"x": {Files: []string{file}}}) {
					if schema.Column(c.Name) == nil {
						t.Errorf("infer finds column %q", c.Name)
					}
				}
			}
			read(in("a.csv", "id,lr\n1,10\n2,20\n"))
			read(in("a.json", `{"id": 1, "lr": 10}`+"\n"+`{"id": 2, "lr": 20}`+"\n"))
			table := filepath.Join(dir, "table.parquet")
			if err := os.Rename(out, table); err != nil {
				t.Fatal(err)
			}
			read(table)
			inputs := map[string]string{"t": table}
			err := engine.Query(ctx, "SELECT * FROM t", inputs, duck.Table{Path: out, Schema: schema}, engine.Limits{TempDir: dir})
			if err != nil {
				t.Fatal(err)
			}
			equal(t, want, rows(t, out))
			test := filepath.Join(dir, "test.parquet")
			if err := engine.Split(ctx, table, engine.Division{Test: 0.5}, out, test, engine.Limits{TempDir: dir}); err != nil {
				t.Fatal(err)
			}
			if got := append(rows(t, out), rows(t, test)...); len(got) != 2 || strings.Count(got[0], "|") != 1 {
				t.Errorf("split: %v", got)
			}
		})
	}
}

func TestVerifyNumbersRowsWhateverTheNamesOfColumns(t *testing.T) {
	schema := ir.Schema{{Name: "file_row_number", Type: "int64", Max: "1"}, {Name: "row", Type: "int64"}, {Name: "filename", Type: "int64", Unique: true}}
	path := table(t, "SELECT i AS file_row_number, 7::BIGINT AS row, i // 2 AS filename FROM unnest([0, 1, 2, 3]::BIGINT[]) AS t(i)", schema)
	v, _, err := engine.Verify(context.Background(), path, schema, nil, nil)
	if err != nil || len(v) != 2 {
		t.Fatal(v, err)
	}
	equal(t, []string{"2 (row 3)", "3 (row 4)"}, v[0].Examples)
	equal(t, []string{"0 (rows 1 and 2)", "1 (rows 3 and 4)"}, v[1].Examples)
}

func TestNamesOfColumnsDoNotMatter(t *testing.T) {
	// Some are names that the SQL of this package uses itself.
	names := []string{"c1", "c0", "n", "bad", "row", "json", "filename", "file_row_number", "SELECT", "a b", `a"b`, "a'b", "ü", "a.b", "x=1", "#", "\\"}
	schema := make(ir.Schema, len(names))
	var csv, object, want []string
	for i, name := range names {
		schema[i] = ir.Column{Name: name, Type: "float64", Nullable: true}
		value := fmt.Sprintf("%d.5", i)
		want = append(want, value)
		csv = append(csv, `"`+strings.ReplaceAll(name, `"`, `""`)+`"`)
		object = append(object, fmt.Sprintf("%q: %s", name, value))
	}
	files := []string{
		write(t, "a.csv", strings.Join(csv, ",")+"\n"+strings.Join(want, ",")+"\n"),
		write(t, "a.json", "{"+strings.Join(object, ", ")+"}\n"),
	}
	for i := range 3 {
		out, err := ingest(t, duck.Source{Files: []string{files[i]}}, schema)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, []string{strings.Join(want, "|")}, rows(t, out))
		files = append(files, out)
	}
}
