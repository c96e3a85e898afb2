package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// relateParquet opens a Parquet file for reading as the schema.
func (s *session) relateParquet(ctx context.Context, file string, schema ir.Schema, n int) (relation, error) {
	r := relation{file: file, path: file, line: func(row int64) (string, error) {
		return fmt.Sprintf("%s: row %d", file, row), nil
	}}
	columns, picked, err := s.pickParquet(ctx, file, schema)
	if err != nil {
		return r, err
	}
	if slices.ContainsFunc(picked, func(f parquetField) bool { return f.hidden > 0 }) {
		if r.path, err = s.showNanos(ctx, file, columns, filepath.Join(s.temp, fmt.Sprintf("nanos-%d.parquet", n))); err != nil {
			return r, err
		}
	}
	var selects []string
	for i, c := range schema {
		f := picked[i]
		col := fmt.Sprintf("c%d", i)
		selects = append(selects, ident(f.column)+" AS "+col)
		if f.found.kind == "null" { // nothing but nulls, of no type
			r.conv = append(r.conv, converted{from: col, value: fmt.Sprintf("CAST(NULL AS %s)", ir.Types[c.Type])})
			continue
		}
		r.conv = append(r.conv, fromTyped(col, f.found, c))
	}
	r.from = "(SELECT " + strings.Join(selects, ", ") + " FROM " + parquet(r.path) + ")"
	return r, nil
}

// pickParquet returns the columns of a file and, of these, the columns of a schema. A file
// that does not have them, or whose types do not become the declared ones, is a
// [*duck.FileError].
func (s *session) pickParquet(ctx context.Context, file string, schema ir.Schema) (columns, picked []parquetField, err error) {
	if columns, err = s.parquetFields(ctx, file); err != nil {
		return nil, nil, err
	}
	names := make([]duck.Name, len(columns))
	for i, c := range columns {
		names[i] = duck.Name{Name: c.name}
	}
	for _, c := range schema {
		named := func(f parquetField) bool { return f.name == c.Name }
		at := slices.IndexFunc(columns, named)
		if at < 0 {
			return nil, nil, missingColumn(file, c.Name, names)
		}
		if slices.ContainsFunc(columns[at+1:], named) {
			return nil, nil, &duck.FileError{File: file, Column: c.Name, Text: fmt.Sprintf("the file has column %q twice", c.Name)}
		}
		picked = append(picked, columns[at])
	}
	for i, c := range schema {
		f := picked[i]
		conv := conversionOf(f.found.kind, c)
		if f.lossy != "" {
			conv = conversion{note: f.lossy}
		}
		if conv.rule == refused && f.found.kind != "null" {
			return nil, nil, &duck.FileError{
				File: file, Column: c.Name, Hint: conv.note,
				Text: fmt.Sprintf("column %q is %s, which does not become %s", c.Name, f.shown, c.Type),
			}
		}
	}
	return columns, picked, nil
}

// A parquetField is a column of a Parquet file.
type parquetField struct {
	name   string // in the file
	column string // as DuckDB renames it if names differ only in case
	found  found
	shown  string // its type, for people
	lossy  string // what to do instead, if DuckDB does not read it exactly
	hidden int    // times in nanoseconds in it that DuckDB would cut to microseconds
}

// written is the type in the file, where DuckDB would read another one.
func (f parquetField) written() string {
	if f.lossy == "" && f.hidden > 0 {
		return f.shown + " in nanoseconds"
	}
	return f.shown
}

// parquetFields lists the columns of a file by what the file itself says.
func (s *session) parquetFields(ctx context.Context, file string) ([]parquetField, error) {
	cols, err := s.parquetColumns(ctx, file)
	if err != nil {
		return nil, err
	}
	var fields []parquetField
	var open []int64            // children still to come, of each field that is open
	var names []map[string]bool // of the children until now, in lower case
	query := "SELECT name, coalesce(type, ''), coalesce(logical_type, ''), coalesce(converted_type, ''), coalesce(precision, 0), coalesce(num_children, 0) FROM parquet_schema(" + quote(globs.Replace(file)) + ")"
	err = s.each(ctx, query, func(scan func(...any) error) error {
		var name, physical, logical, convertedType string
		var precision, children int64
		if err := scan(&name, &physical, &logical, &convertedType, &precision, &children); err != nil {
			return err
		}
		if len(open) == 1 && len(fields) < len(cols) {
			c := cols[len(fields)]
			fields = append(fields, parquetField{name: name, column: c.Name, found: foundType(c.Type), shown: c.Type})
		}
		if len(fields) > 0 {
			f := &fields[len(fields)-1]
			f.leaf(physical, logical, convertedType, precision, len(open) > 1)
			if among := names[len(names)-1]; len(open) > 1 && among[strings.ToLower(name)] {
				f.lossy = "names of its fields differ only in case, and one would get another name: rename it"
			}
		}
		if len(names) > 0 {
			names[len(names)-1][strings.ToLower(name)] = true
		}
		if len(open) > 0 {
			open[len(open)-1]--
		}
		if children > 0 {
			open, names = append(open, children), append(names, map[string]bool{})
		}
		for len(open) > 0 && open[len(open)-1] == 0 {
			open, names = open[:len(open)-1], names[:len(names)-1]
		}
		return nil
	})
	if err != nil {
		return nil, parquetError(file, err)
	}
	if len(fields) != len(cols) {
		return nil, fmt.Errorf("%s: the schema of the file is not understood: %d columns, of which DuckDB reads %d", file, len(fields), len(cols))
	}
	return fields, nil
}

// nestedKey is a type of DuckDB with a map whose keys are no simple values.
var nestedKey = regexp.MustCompile(`MAP\((STRUCT|MAP)\(|MAP\(\w+(\([0-9, ]*\))?\[`)

// leaf notes what DuckDB's type does not say about a field, or about a part of it that is nested.
func (f *parquetField) leaf(physical, logical, convertedType string, precision int64, nested bool) {
	nanos := strings.Contains(logical, "NANOS=NanoSeconds")
	utc := strings.Contains(logical, "isAdjustedToUTC=1")
	switch {
	case physical == "INT96":
		f.lossy = "its zone is not known, and digits would be lost: write it as TIMESTAMP in microseconds (Spark: spark.sql.parquet.outputTimestampType=TIMESTAMP_MICROS)"
		f.shown = "INT96"
	case (convertedType == "DECIMAL" || strings.HasPrefix(logical, "DecimalType")) && precision > 38:
		f.lossy = "a decimal has at most 38 digits here: write a narrower decimal, or text"
		f.shown = fmt.Sprintf("DECIMAL with %d digits", precision)
	case physical == "FIXED_LEN_BYTE_ARRAY" && logical == "Float16Type()":
		f.shown = "FLOAT of 16 bits"
	case strings.HasPrefix(logical, "NullType") && !nested:
		f.shown, f.found = "without a type", found{kind: "null", typ: f.found.typ}
	case f.found.kind == "nested" && logical == "" && convertedType == "" && strings.HasSuffix(physical, "BYTE_ARRAY"):
		f.lossy = "it holds bytes, which JSON does not have: write them as text"
	case !nested && nestedKey.MatchString(f.found.typ):
		f.lossy = "keys of its map are nested, which JSON does not have: write them as text"
	case nanos && strings.HasPrefix(logical, "TimeType"), nanos && utc:
		f.hidden++
		if f.found.nanos = !nested; nested {
			f.lossy = "it holds times in nanoseconds, which would be others as JSON: write them in microseconds"
		}
	}
}

// In the footer of a Parquet file, in Thrift's compact protocol, a logical type is
// a union. These are a timestamp and a time in nanoseconds, with a zone and without.
var (
	zonedStamp = []byte{0x8c, 0x11, 0x1c, 0x3c, 0, 0, 0}
	plainStamp = []byte{0x8c, 0x12, 0x1c, 0x3c, 0, 0, 0}
	zonedTime  = []byte{0x7c, 0x11, 0x1c, 0x3c, 0, 0, 0}
	plainTime  = []byte{0x7c, 0x12, 0x1c, 0x3c, 0, 0, 0}
)

// showNanos copies a file and says about its times in nanoseconds that they are
// timestamps without a zone, the only ones that DuckDB reads whole.
func (s *session) showNanos(ctx context.Context, file string, fields []parquetField, to string) (string, error) {
	hidden := 0
	for _, f := range fields {
		hidden += f.hidden
	}
	unreadable := fmt.Errorf("%s: its times in nanoseconds cannot be read exactly: write them in microseconds", file)
	in, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, errors.Unwrap(err))
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return "", fmt.Errorf("copy %s: %w", file, err)
	}
	defer out.Close()
	size, err := io.Copy(out, &contextReader{ctx, in})
	if err != nil {
		return "", fmt.Errorf("copy %s: %w", file, err)
	}
	var tail [8]byte
	if _, err := out.ReadAt(tail[:], size-8); err != nil {
		return "", fmt.Errorf("copy %s: %w", file, err)
	}
	length := int64(binary.LittleEndian.Uint32(tail[:]))
	if string(tail[4:]) != "PAR1" || length > size-8 {
		return "", unreadable
	}
	footer := make([]byte, length)
	if _, err := out.ReadAt(footer, size-8-length); err != nil {
		return "", fmt.Errorf("copy %s: %w", file, err)
	}
	found := 0
	for _, from := range [][]byte{zonedStamp, zonedTime, plainTime} {
		found += bytes.Count(footer, from)
		footer = bytes.ReplaceAll(footer, from, plainStamp)
	}
	if found != hidden {
		return "", unreadable
	}
	if _, err := out.WriteAt(footer, size-8-length); err != nil {
		return "", fmt.Errorf("copy %s: %w", file, err)
	}
	return to, out.Close()
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

// parquetColumns returns the columns of a Parquet file.
func (s *session) parquetColumns(ctx context.Context, file string) ([]duck.Column, error) {
	cols, err := s.describe(ctx, "SELECT * FROM "+parquet(file))
	if err != nil {
		return nil, parquetError(file, err)
	}
	return cols, nil
}

// parquetError says what a file is that could not be read as Parquet.
func parquetError(file string, err error) error {
	if _, statErr := os.Stat(file); statErr != nil {
		return fmt.Errorf("%s: %w", file, errors.Unwrap(statErr))
	}
	var e *duck.SQLError
	if errors.As(err, &e) {
		if strings.Contains(e.Message, "magic bytes") || strings.Contains(e.Message, "too small") {
			return fmt.Errorf("%s is not a Parquet file, or it is truncated", file)
		}
		return fmt.Errorf("%s cannot be read as Parquet, it may be damaged: %s", file, firstLine(e.Message))
	}
	return err
}
