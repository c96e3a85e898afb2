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
	file  string   // as the user knows it
	path  string   // what DuckDB reads
	from  string   // a table function; its rows are in the order of the file
	cols  []string // SQL expressions of the raw columns
	exprs []string // the same as the declared types
	line  func(row int64) (string, error)
}

// Ingest reads a source, makes each column exactly what the schema declares,
// and writes one Parquet file. It returns the number of rows.
//
// Columns that are not declared are left out. An error is one line that begins
// with the file, and the line in it where there is one: a declared column that
// is missing, a row with more or fewer fields than the header, a value that
// does not convert, bytes that are not text in the encoding, a compressed file
// that ends early. Text converts only if nothing is lost: "1.5" is no int64,
// but "2.0" is 2; a timestamp with an offset other than UTC is a timestamptz,
// not a timestamp. Files compressed with gzip or zstd are recognised by their
// content.
//
// What the schema says of nulls, bounds and values is for [Verify] to check.
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
		for j, e := range r.exprs {
			list = append(list, e+" AS "+ident(schema[j].Name))
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

// relate opens the n-th file of a source for reading as the schema.
func (s *session) relate(ctx context.Context, file string, src duck.Source, schema ir.Schema, n int) (relation, error) {
	if _, err := os.Stat(file); err != nil {
		return relation{}, fmt.Errorf("%s: %w", file, errors.Unwrap(err))
	}
	format := formatOf(src, file)
	switch format {
	case "parquet":
		return s.relateParquet(ctx, file, schema)
	case "csv", "json":
	default:
		return relation{}, fmt.Errorf("%s: the format %q is not one of csv, json, parquet", file, format)
	}
	encoding := ""
	if format == "csv" {
		encoding = src.CSV.Encoding
	}
	path, err := plainText(ctx, file, encoding, filepath.Join(s.temp, fmt.Sprintf("plain-%d", n)))
	if err != nil {
		return relation{}, err
	}
	if format == "json" {
		return relateJSON(file, path, schema), nil
	}
	return relateCSV(file, path, src.CSV, schema)
}

func (s *session) relateParquet(ctx context.Context, file string, schema ir.Schema) (relation, error) {
	r := relation{file: file, path: file, from: parquet(file), line: func(row int64) (string, error) {
		return fmt.Sprintf("%s: row %d", file, row), nil
	}}
	found, err := s.parquetColumns(ctx, file)
	if err != nil {
		return r, err
	}
	names := make([]string, len(found))
	types := map[string]string{}
	for i, c := range found {
		names[i] = c.Name
		types[c.Name] = c.Type
	}
	for _, c := range schema {
		typ, ok := types[c.Name]
		if !ok {
			return r, missingColumn(file, c.Name, names)
		}
		col := ident(c.Name)
		expr := fromTyped(col, typ, c.Type)
		if _, err := s.describe(ctx, "SELECT "+expr+" FROM "+r.from); err != nil {
			return r, fmt.Errorf("%s: column %q is %s, which cannot be converted to %s", file, c.Name, typ, c.Type)
		}
		r.cols = append(r.cols, col)
		r.exprs = append(r.exprs, expr)
	}
	return r, nil
}

// parquetColumns returns the columns of a Parquet file.
func (s *session) parquetColumns(ctx context.Context, file string) ([]duck.Column, error) {
	cols, err := s.describe(ctx, "SELECT * FROM "+parquet(file))
	if err != nil {
		return nil, parquetError(file, err)
	}
	return cols, nil
}

// parquetError says of a file that could not be read as Parquet what it is.
func parquetError(file string, err error) error {
	if _, statErr := os.Stat(file); statErr != nil {
		return fmt.Errorf("%s: %w", file, errors.Unwrap(statErr))
	}
	var e *duck.SQLError
	if errors.As(err, &e) {
		if strings.Contains(e.Message, "magic bytes") || strings.Contains(e.Message, "too small") {
			return fmt.Errorf("%s is not a Parquet file, or it is truncated", file)
		}
		return fmt.Errorf("cannot read %s as Parquet; it may be damaged: %s", file, firstLine(e.Message))
	}
	return err
}

func relateCSV(file, path string, o duck.CSV, schema ir.Schema) (relation, error) {
	r := relation{file: file, path: path}
	d, err := dialectOf(o)
	if err != nil {
		return r, err
	}
	first, err := d.first(file, path)
	if err != nil {
		return r, err
	}
	header := o.Header == nil || *o.Header
	if !header && first == nil {
		first = columnNames(schema)
	}
	r.line = func(row int64) (string, error) {
		if header {
			row++
		}
		line, err := d.lineOf(path, row, len(first))
		return fmt.Sprintf("%s:%d", file, line), err
	}
	if !header && len(first) != len(schema) {
		return r, fmt.Errorf("%s:1: the row has %d fields, the schema %d columns", file, len(first), len(schema))
	}
	r.from = d.sql(path, len(first), header, o.Nulls)
	for i, c := range schema {
		at := i
		if header {
			if at, err = findColumn(file, c.Name, first, d); err != nil {
				return r, err
			}
		}
		col := fmt.Sprintf("c%d", at)
		r.cols = append(r.cols, col)
		r.exprs = append(r.exprs, fromText(col, c.Type, o))
	}
	return r, nil
}

func findColumn(file, name string, header []string, d dialect) (int, error) {
	at := -1
	for i, h := range header {
		if h != name {
			continue
		}
		if at >= 0 {
			return 0, fmt.Errorf("%s:1: duplicate column %q in the header", file, name)
		}
		at = i
	}
	if at >= 0 {
		return at, nil
	}
	if len(header) == 1 {
		for _, other := range []string{",", ";", "\t", "|"} {
			if other != string(d.delimiter) && strings.Contains(header[0], other) {
				return 0, fmt.Errorf("%s:1: column %q is missing: the header has one field; did you mean delimiter: %q?", file, name, other)
			}
		}
	}
	return 0, missingColumn(file+":1", name, header)
}

func missingColumn(where, name string, found []string) error {
	const shown = 20
	more := ""
	if len(found) > shown {
		more = fmt.Sprintf(" and %d more", len(found)-shown)
		found = found[:shown]
	}
	return fmt.Errorf("%s: column %q is missing; the columns are %s%s", where, name, strings.Join(found, ", "), more)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
