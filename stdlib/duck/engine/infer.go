package engine

import (
	"context"
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
	found := &inText{nulls: map[string]map[string]int64{}, json: map[string]bool{}}
	for i, name := range slices.Sorted(maps.Keys(sources)) {
		paths, err := s.inferView(ctx, name, sources[name], i, found)
		if err != nil {
			return nil, err
		}
		files = append(files, paths...)
	}
	if query == "" {
		for name := range sources {
			query = "SELECT * FROM " + ident(name)
		}
	} else {
		found = &inText{} // columns of a query are not those of a file
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
	out, err := s.summarize(ctx, query, cols)
	for i := range out {
		out[i].NullTexts = found.nulls[out[i].Name]
		if found.json[out[i].Name] {
			out[i].JSON, out[i].Values, out[i].Unique = true, nil, false
		}
	}
	if found.unnamed && err == nil {
		out = append(out, duck.Inferred{})
	}
	return out, err
}

// inText is what was found in files of text besides the types of their columns.
type inText struct {
	nulls   map[string]map[string]int64 // counts, by column of CSV, the texts that are missing values
	json    map[string]bool             // columns of JSON lines whose values are kept as JSON
	unnamed bool                        // there is a column without a name, which a schema cannot have
}

// countNulls reads a file once for each text that is a missing value.
func (s *session) countNulls(ctx context.Context, d dialect, path string, names []string, header bool, o duck.CSV, nulls map[string]map[string]int64) error {
	texts := o.Nulls
	if texts == nil {
		texts = []string{""}
	}
	counts := make([]string, len(names))
	found := make([]int64, len(names))
	dest := make([]any, len(names))
	for i := range names {
		counts[i] = fmt.Sprintf("count(*) - count(c%d)", i)
		dest[i] = &found[i]
	}
	for _, text := range texts {
		from := d.sql(path, len(names), header, []string{text}, o.QuotedNulls)
		if err := s.one(ctx, "SELECT "+strings.Join(counts, ", ")+" FROM "+from, dest...); err != nil {
			return err
		}
		for i, name := range names {
			if found[i] == 0 {
				continue
			}
			if nulls[name] == nil {
				nulls[name] = map[string]int64{}
			}
			nulls[name][text] += found[i]
		}
	}
	return nil
}

// inferView makes a source a view, and returns the files behind it.
func (s *session) inferView(ctx context.Context, name string, src duck.Source, n int, found *inText) ([]string, error) {
	if len(src.Files) == 0 {
		return nil, fmt.Errorf("%q: no file to read", name)
	}
	var paths, selects []string
	var types []string // of the columns in CSV, those of the first file
	var lines []jsonFile
	for i, file := range src.Files {
		format, path := formatOf(src, file), file
		switch plain := fmt.Sprintf("plain-%d-%d", n, i); format {
		case "parquet":
			fields, err := s.parquetFields(ctx, file)
			if err != nil {
				return nil, err
			}
			names := make([]string, len(fields))
			for i, f := range fields {
				names[i] = f.name
			}
			if err := toldApart(file, names); err != nil {
				return nil, err
			}
			selects = append(selects, "SELECT * FROM "+parquet(path))
		case "json":
			scan := newJSONScan(file, nil)
			text, err := plainText(ctx, file, "", filepath.Join(s.temp, plain), nil, scan)
			if err != nil {
				return nil, err
			}
			path = text
			lines = append(lines, jsonFile{relation{file: file, path: path}, scan})
		case "csv":
			text, shape, err := s.plainCSV(ctx, file, src.CSV, plain)
			if err == nil {
				err = shape.err
			}
			if err != nil {
				return nil, err
			}
			path = text
			var from string
			if from, types, err = s.inferCSV(ctx, file, path, src.CSV, types, found); err != nil {
				return nil, err
			}
			selects = append(selects, "SELECT * FROM "+from)
		default:
			return nil, fmt.Errorf("%s: the format %q is not one of csv, json, parquet", file, format)
		}
		paths = append(paths, path)
	}
	if len(lines) > 0 {
		from, err := s.inferJSON(ctx, lines, found)
		if err != nil {
			return nil, err
		}
		selects = append(selects, from)
	}
	err := s.exec(ctx, "CREATE TEMP VIEW "+ident(name)+" AS "+strings.Join(selects, " UNION ALL BY NAME "))
	if err != nil {
		return nil, fmt.Errorf("%q: the files do not match: %w", name, err)
	}
	return paths, nil
}

// inferCSV finds the types of the columns by trying the conversions of Ingest.
func (s *session) inferCSV(ctx context.Context, file, path string, o duck.CSV, types []string, inText *inText) (string, []string, error) {
	d, err := dialectOf(o)
	if err != nil {
		return "", nil, err
	}
	f, in, err := openText(path)
	if err != nil {
		return "", nil, fmt.Errorf("read %s: %w", file, err)
	}
	defer f.Close()
	first, err := d.first(file, in)
	if err != nil {
		return "", nil, err
	}
	names, header := first.fields, hasHeader(o)
	if !header {
		for i := range names {
			names[i] = fmt.Sprintf("column%d", i+1)
		}
	} else if err := toldApart(file+":1", names); err != nil {
		return "", nil, err
	}
	from := d.sql(path, len(names), header, o.Nulls, o.QuotedNulls)
	candidates := []string{"int64", "uint64", "float64", "bool", "date", "timestamp", "timestamptz", "time"}
	if types == nil {
		fits := make([][]bool, len(names))
		for group := range slices.Chunk(indices(len(names)), columnsAtOnce) {
			var tests []string
			var dest []any
			for _, i := range group {
				fits[i] = make([]bool, len(candidates))
				for j, typ := range candidates {
					col := fmt.Sprintf("c%d", i)
					test := "NOT (" + fromText(col, inferredAs(typ), textForm{CSV: o}).bad() + ")"
					if typ == "bool" { // "NO" is a country, and "y" an answer
						test += fmt.Sprintf(" AND lower(%s) IN ('true', 'false')", col)
					}
					if j < 3 { // a number that begins with 0 or + is a code, such as of a country
						test += fmt.Sprintf(" AND NOT regexp_matches(%s, '^\\s*([-+]?0[0-9]|\\+)')", col)
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
		}
		for i := range names {
			typ := "string"
			if j := slices.Index(fits[i], true); j >= 0 {
				typ = candidates[j]
			}
			types = append(types, typ)
		}
	}
	if err := s.countNulls(ctx, d, path, names, header, o, inText.nulls); err != nil {
		return "", nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(types) != len(names) {
		return "", nil, fmt.Errorf("%s: the file has %d columns, the first one has %d", file, len(names), len(types))
	}
	var selects []string
	for i, name := range names {
		if name == "" { // such as that of row numbers
			inText.unnamed = true
			continue
		}
		c := inferredAs(types[i])
		selects = append(selects, fromText(fmt.Sprintf("c%d", i), c, textForm{CSV: o}).sql(c)+" AS "+ident(name))
	}
	return "(SELECT " + strings.Join(selects, ", ") + " FROM " + from + ")", types, nil
}

// toldApart refuses names that are the same for SQL.
func toldApart(where string, names []string) error {
	for i, name := range names {
		for _, other := range names[:i] {
			switch {
			case name == "" || !strings.EqualFold(name, other):
			case name == other:
				return fmt.Errorf("%s: the file has column %q twice", where, name)
			default:
				return fmt.Errorf("%s: the columns %q and %q differ only in case: a schema can have one of them", where, other, name)
			}
		}
	}
	return nil
}

// columnsAtOnce is how many columns one query tries. The time that DuckDB takes to plan a
// query grows faster than the query does.
const columnsAtOnce = 16

func indices(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// inferredAs is a column of a type that takes every value of it.
func inferredAs(typ string) ir.Column { return ir.Column{Type: typ, Nullable: true, NaN: true} }

// boundOf reads a bound as DuckDB writes it. There is none of an infinite time.
func boundOf(typ, text string) ir.Bound {
	if isInteger(typ) || isFloat(typ) {
		return ir.Bound(text)
	}
	b, _ := ir.TimeBound(typ, strings.TrimSuffix(text, "+00"))
	return b
}

// summarize describes the columns of a query by their rows.
func (s *session) summarize(ctx context.Context, query string, cols []duck.Column) ([]duck.Inferred, error) {
	out := make([]duck.Inferred, len(cols))
	var rows int64
	filled := make([]int64, len(cols))
	bounds := make([][2]*string, len(cols))
	from := " FROM (" + query + "\n)"
	for group := range slices.Chunk(indices(len(cols)), columnsAtOnce) {
		selects, dest := []string{"count(*)"}, []any{&rows}
		for _, i := range group {
			c := cols[i]
			irType, sqlType := duck.SuggestCast(c.Type)
			out[i] = duck.Inferred{Column: ir.Column{Name: c.Name, Type: irType}, DuckType: c.Type}
			if sqlType != c.Type {
				out[i].Cast = sqlType
			}
			out[i].JSON = foundType(c.Type).kind == "nested"
			col := ident(c.Name)
			selects = append(selects, "count("+col+")", "count(DISTINCT "+col+")")
			dest = append(dest, &filled[i], &out[i].Distinct)
			if isInteger(irType) || isFloat(irType) {
				where := ""
				if isFloat(irType) {
					where = fmt.Sprintf(" FILTER (WHERE isfinite(CAST(%s AS DOUBLE)))", col)
					selects = append(selects, fmt.Sprintf("count(*) FILTER (WHERE isnan(CAST(%s AS DOUBLE)))", col))
					dest = append(dest, &out[i].NaNs)
				}
				selects = append(selects, fmt.Sprintf("CAST(min(%[1]s)%[2]s AS VARCHAR), CAST(max(%[1]s)%[2]s AS VARCHAR)", col, where))
				dest = append(dest, &bounds[i][0], &bounds[i][1])
			}
			if irType == "date" || irType == "timestamp" || irType == "timestamptz" {
				selects = append(selects, fmt.Sprintf("CAST(min(%[1]s) AS VARCHAR), CAST(max(%[1]s) AS VARCHAR)", fmt.Sprintf("CAST(%s AS %s)", col, ir.Types[irType])))
				dest = append(dest, &bounds[i][0], &bounds[i][1])
			}
		}
		if err := s.one(ctx, "SELECT "+strings.Join(selects, ", ")+from, dest...); err != nil {
			return nil, fmt.Errorf("read the rows: %w", err)
		}
	}
	for i := range out {
		c := &out[i]
		c.Rows, c.Nulls = rows, rows-filled[i]
		c.Nullable = c.Nulls+c.NaNs > 0
		if bounds[i][0] != nil {
			c.Min, c.Max = boundOf(c.Type, *bounds[i][0]), boundOf(c.Type, *bounds[i][1])
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
