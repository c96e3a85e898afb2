package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// relation is one file as SQL: where its rows come from, what makes the
// declared columns of them, and how to name a row in an error.
type relation struct {
	file string      // as the user knows it
	path string      // what DuckDB reads
	from string      // its rows in the order of the file; no column has a name of the user's
	conv []converted // of each declared column
	// nulls are the texts that are missing values where they are not in quotes.
	nulls []string
	line  func(row int64) (string, error)
}

// Ingest reads a source, makes each column exactly what the schema declares,
// and writes one Parquet file. It returns the number of rows.
//
// Columns that are not declared are left out. An error is one line that begins
// with the file, and the line in it where there is one: a declared column that
// is missing, a row with more or fewer fields than the header, a value that
// does not convert, bytes that are not text in the encoding, a compressed file
// that ends early. A value converts only if nothing is lost; [conversions] has
// what that means for each type. Files compressed with gzip or zstd are recognised
// by their content.
//
// What the schema says about nulls, bounds and values is for [Verify] to check.
func Ingest(ctx context.Context, src duck.Source, schema ir.Schema, out string, l Limits) (int64, error) {
	if len(src.Files) == 0 {
		return 0, errors.New("no file to read")
	}
	if len(schema) == 0 {
		return 0, errors.New("the schema declares no columns")
	}
	s, err := open(ctx, l)
	if err != nil {
		return 0, err
	}
	defer s.close()
	return s.ingest(ctx, src, schema, out)
}

func (s *session) ingest(ctx context.Context, src duck.Source, schema ir.Schema, out string) (int64, error) {
	if err := os.MkdirAll(s.temp, 0o700); err != nil {
		return 0, fmt.Errorf("make a temporary folder: %w", err)
	}
	relations := make([]relation, len(src.Files))
	selects := make([]string, len(src.Files))
	for i, file := range src.Files {
		r, err := s.relate(ctx, file, src, schema, i)
		if err != nil {
			return 0, err
		}
		var list []string
		for j, c := range r.conv {
			list = append(list, c.sql(schema[j])+" AS "+ident(schema[j].Name))
		}
		relations[i] = r
		selects[i] = "SELECT " + strings.Join(list, ", ") + " FROM " + r.from
	}
	rows, err := s.writeParquet(ctx, strings.Join(selects, "\nUNION ALL "), out)
	if err != nil {
		return 0, s.explain(ctx, err, relations, schema, src.CSV)
	}
	if formatOf(src, src.Files[0]) == "json" && rows > 0 {
		if err := s.checkKeys(ctx, out, relations, schema); err != nil {
			os.Remove(out)
			return 0, err
		}
	}
	return rows, nil
}

// formatOf returns the format of a file.
func formatOf(src duck.Source, file string) string {
	if src.Format != "" {
		return src.Format
	}
	name := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(file), ".gz"), ".zst")
	switch filepath.Ext(name) {
	case ".parquet", ".pq":
		return "parquet"
	case ".json", ".jsonl", ".ndjson":
		return "json"
	case ".csv", ".tsv", ".txt":
		return "csv"
	}
	return ""
}

// plainCSV is the path of the text of a file of CSV, and its shape.
func (s *session) plainCSV(ctx context.Context, file string, o duck.CSV, name string) (string, *csvShape, error) {
	to := filepath.Join(s.temp, name)
	d, err := dialectOf(o)
	if err != nil {
		return "", nil, err
	}
	shape := newCSVShape(d, file)
	path, err := plainText(ctx, file, o.Encoding, to, shape, nil)
	return path, shape, err
}

// relate opens the n-th file of a source for reading as the schema.
func (s *session) relate(ctx context.Context, file string, src duck.Source, schema ir.Schema, n int) (relation, error) {
	if _, err := os.Stat(file); err != nil {
		return relation{}, fmt.Errorf("%s: %w", file, errors.Unwrap(err))
	}
	format := formatOf(src, file)
	switch format {
	case "parquet":
		return s.relateParquet(ctx, file, schema, n)
	case "csv", "json":
	default:
		return relation{}, fmt.Errorf("%s: the format %q is not one of csv, json, parquet", file, format)
	}
	name := fmt.Sprintf("plain-%d", n)
	if format == "json" {
		path, err := plainText(ctx, file, "", filepath.Join(s.temp, name), nil, newJSONScan(file, schema))
		if err != nil {
			return relation{}, err
		}
		return relateJSON(file, path, schema), nil
	}
	path, shape, err := s.plainCSV(ctx, file, src.CSV, name)
	if err != nil {
		return relation{}, err
	}
	if err := s.checkFormats(ctx, src.CSV); err != nil {
		return relation{}, err
	}
	r, err := relateCSV(file, path, src.CSV, schema)
	if err == nil {
		err = shape.err
	}
	return r, err
}

// checkFormats refuses what is no format of strptime.
func (s *session) checkFormats(ctx context.Context, o duck.CSV) error {
	for _, f := range []struct{ name, value string }{{"date_format", o.DateFormat}, {"timestamp_format", o.TimestampFormat}} {
		if f.value == "" {
			continue
		}
		var none bool
		var e *duck.SQLError
		if err := s.one(ctx, "SELECT try_strptime('', "+quote(f.value)+") IS NULL", &none); errors.As(err, &e) {
			return fmt.Errorf("%s %q: it is not a format of strptime: %s", f.name, f.value, firstLine(e.Message))
		} else if err != nil {
			return err
		}
	}
	return nil
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
