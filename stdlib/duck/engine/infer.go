package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

const (
	enumValues = 12
	enumRepeat = 10
)

// Infer looks at all rows of a query over sources, each known by its name, or
// at those of the only source if the query is empty. The types it finds in CSV
// are those that [Ingest] then accepts; numbers with leading zeros stay text.
func Infer(ctx context.Context, query string, sources map[string]duck.Source, l Limits) ([]duck.Inferred, error) {
	if query == "" && len(sources) != 1 {
		return nil, errors.New("without a query there must be exactly one source")
	}
	s, err := open(ctx, l)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := os.MkdirAll(s.temp, 0o700); err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	var files []string
	for i, name := range slices.Sorted(maps.Keys(sources)) {
		paths, err := s.inferView(ctx, name, sources[name], i)
		if err != nil {
			return nil, err
		}
		files = append(files, paths...)
		if query == "" {
			query = "SELECT * FROM " + ident(name)
		}
	}
	if query, err = selectOnly(query); err != nil {
		return nil, err
	}
	if err := s.restrict(ctx, files...); err != nil {
		return nil, err
	}
	cols, err := s.describe(ctx, query)
	if err != nil {
		return nil, keepTables(err, func(name string) bool { _, ok := sources[name]; return ok })
	}
	if err := distinctNames(cols); err != nil {
		return nil, err
	}
	return s.summarize(ctx, query, cols)
}

// inferView makes a source a view, and returns the files behind it.
func (s *session) inferView(ctx context.Context, name string, src duck.Source, n int) ([]string, error) {
	if len(src.Files) == 0 {
		return nil, fmt.Errorf("%q: no file to read", name)
	}
	var paths, selects []string
	var types []string // of the columns in CSV, those of the first file
	for i, file := range src.Files {
		format, path := formatOf(src, file), file
		if format != "parquet" {
			encoding := ""
			if format == "csv" {
				encoding = src.CSV.Encoding
			}
			var err error
			if path, err = plainText(ctx, file, encoding, filepath.Join(s.temp, fmt.Sprintf("plain-%d-%d", n, i))); err != nil {
				return nil, err
			}
		}
		paths = append(paths, path)
		from := parquet(path)
		switch format {
		case "parquet":
			if _, err := s.parquetColumns(ctx, file); err != nil {
				return nil, err
			}
		case "json":
			from = fmt.Sprintf("read_json(%s, format = 'newline_delimited', compression = 'uncompressed', sample_size = -1, convert_strings_to_integers = false)", quote(globs.Replace(path)))
			if _, err := s.describe(ctx, "SELECT * FROM "+from); err != nil {
				if found := malformedJSON(relation{file: file, path: path}); found != nil {
					return nil, found
				}
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		case "csv":
			var err error
			if from, types, err = s.inferCSV(ctx, file, path, src.CSV, types); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%s: the format %q is not one of csv, json, parquet", file, format)
		}
		selects = append(selects, "SELECT * FROM "+from)
	}
	err := s.exec(ctx, "CREATE TEMP VIEW "+ident(name)+" AS "+strings.Join(selects, " UNION ALL BY NAME "))
	if err != nil {
		return nil, fmt.Errorf("%q: the files do not match: %w", name, err)
	}
	return paths, nil
}

// inferCSV finds the types of the columns by trying the conversions of Ingest.
func (s *session) inferCSV(ctx context.Context, file, path string, o duck.CSV, types []string) (string, []string, error) {
	d, err := dialectOf(o)
	if err != nil {
		return "", nil, err
	}
	names, err := d.first(file, path)
	if err != nil {
		return "", nil, err
	}
	header := o.Header == nil || *o.Header
	if !header {
		for i := range names {
			names[i] = fmt.Sprintf("column%d", i+1)
		}
	}
	from := d.sql(path, len(names), header, o.Nulls)
	candidates := []string{"int64", "uint64", "float64", "bool", "date", "timestamp", "timestamptz", "time"}
	if types == nil {
		var tests []string
		var dest []any
		fits := make([][]bool, len(names))
		for i := range names {
			fits[i] = make([]bool, len(candidates))
			for j, typ := range candidates {
				col := fmt.Sprintf("c%d", i)
				test := fmt.Sprintf("TRY(%s) IS NOT NULL", fromText(col, typ, o))
				if j < 3 {
					test += fmt.Sprintf(" AND NOT regexp_matches(%s, '^\\s*[-+]?0[0-9]')", col)
				}
				tests = append(tests, fmt.Sprintf("coalesce(bool_and(%s) FILTER (WHERE %s IS NOT NULL), false)", test, col))
				dest = append(dest, &fits[i][j])
			}
		}
		if err := s.one(ctx, "SELECT "+strings.Join(tests, ", ")+" FROM "+from, dest...); err != nil {
			if found := s.malformedCSV(ctx, relation{file: file, path: path, from: from}, o); found != nil {
				return "", nil, found
			}
			return "", nil, fmt.Errorf("%s: %w", file, err)
		}
		for i := range names {
			typ := "string"
			if j := slices.Index(fits[i], true); j >= 0 {
				typ = candidates[j]
			}
			types = append(types, typ)
		}
	}
	if len(types) != len(names) {
		return "", nil, fmt.Errorf("%s: the file has %d columns, the first one has %d", file, len(names), len(types))
	}
	var selects []string
	for i, name := range names {
		selects = append(selects, fromText(fmt.Sprintf("c%d", i), types[i], o)+" AS "+ident(name))
	}
	return "(SELECT " + strings.Join(selects, ", ") + " FROM " + from + ")", types, nil
}

// summarize describes the columns of a query by their rows.
func (s *session) summarize(ctx context.Context, query string, cols []duck.Column) ([]duck.Inferred, error) {
	out := make([]duck.Inferred, len(cols))
	selects := []string{"count(*)"}
	var rows int64
	dest := []any{&rows}
	filled := make([]int64, len(cols))
	bounds := make([][2]*string, len(cols))
	for i, c := range cols {
		irType, sqlType := duck.SuggestCast(c.Type)
		out[i] = duck.Inferred{Column: ir.Column{Name: c.Name, Type: irType}, DuckType: c.Type}
		if sqlType != c.Type {
			out[i].Cast = sqlType
		}
		col := ident(c.Name)
		selects = append(selects, "count("+col+")", "count(DISTINCT "+col+")")
		dest = append(dest, &filled[i], &out[i].Distinct)
		if isInteger(irType) || isFloat(irType) {
			where := ""
			if isFloat(irType) {
				where = fmt.Sprintf(" FILTER (WHERE isfinite(CAST(%s AS DOUBLE)))", col)
			}
			selects = append(selects, fmt.Sprintf("CAST(min(%[1]s)%[2]s AS VARCHAR), CAST(max(%[1]s)%[2]s AS VARCHAR)", col, where))
			dest = append(dest, &bounds[i][0], &bounds[i][1])
		}
	}
	from := " FROM (" + query + "\n)"
	if err := s.one(ctx, "SELECT "+strings.Join(selects, ", ")+from, dest...); err != nil {
		return nil, fmt.Errorf("read the rows: %w", err)
	}
	for i := range out {
		c := &out[i]
		c.Rows, c.Nulls = rows, rows-filled[i]
		c.Nullable = c.Nulls > 0
		if bounds[i][0] != nil {
			c.Min, c.Max = json.Number(*bounds[i][0]), json.Number(*bounds[i][1])
		}
		c.Unique = (isInteger(c.Type) || c.Type == "string") && rows > 1 && c.Distinct == rows
		if c.DuckType == "VARCHAR" && c.Distinct > 0 && c.Distinct <= enumValues && filled[i] >= enumRepeat*c.Distinct {
			query := fmt.Sprintf("SELECT DISTINCT %[1]s%[2]s WHERE %[1]s IS NOT NULL ORDER BY 1", ident(c.Name), from)
			err := s.each(ctx, query, func(scan func(...any) error) error {
				var v string
				err := scan(&v)
				c.Values = append(c.Values, v)
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("read the rows: %w", err)
			}
		}
	}
	return out, nil
}
