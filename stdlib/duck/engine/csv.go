package engine

import (
	"bufio"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

func relateCSV(file, path string, o duck.CSV, schema ir.Schema) (relation, error) {
	r := relation{file: file, path: path}
	d, err := dialectOf(o)
	if err != nil {
		return r, err
	}
	f, in, err := openText(path)
	if err != nil {
		return r, fmt.Errorf("read %s: %w", file, err)
	}
	defer f.Close()
	columns, width, err := pickCSV(file, in, d, o, schema)
	if err != nil {
		return r, err
	}
	header := hasHeader(o)
	r.line = func(row int64) (string, error) {
		if header {
			row++
		}
		line, err := d.lineOf(path, row, width)
		return fmt.Sprintf("%s:%d", file, line), err
	}
	r.from = d.sql(path, width, header, o.Nulls, o.QuotedNulls)
	r.nulls = nullTextsOf(o)
	for i, c := range schema {
		r.conv = append(r.conv, fromText(fmt.Sprintf("c%d", columns[i]), c, textForm{CSV: o}))
	}
	return r, nil
}

func hasHeader(o duck.CSV) bool { return o.Header == nil || *o.Header }

// nullTextsOf returns the texts that are missing values where they are not in quotes.
func nullTextsOf(o duck.CSV) []string {
	if o.Nulls == nil {
		return []string{""}
	}
	return o.Nulls
}

// pickCSV finds the columns of a schema in a text by its first row, and returns their
// positions and the number of columns. A text that does not have them is a
// [*duck.FileError].
func pickCSV(file string, in *bufio.Reader, d dialect, o duck.CSV, schema ir.Schema) (columns []int, width int, err error) {
	first, err := d.first(file, in)
	if err != nil {
		return nil, 0, err
	}
	names := first.places
	if !hasHeader(o) {
		if names, err = columnsOf(file, o, first, schema); err != nil {
			return nil, 0, err
		}
	} else if len(o.Columns) > 0 {
		return nil, 0, &duck.FileError{File: file, Option: "columns", Text: "columns names the columns of a file without a header", Hint: "declare header: false"}
	}
	for _, c := range schema {
		at, err := findColumn(file, c.Name, names, d)
		if err != nil {
			return nil, 0, err
		}
		if zoned := hasZone(o.TimestampFormat); o.TimestampFormat != "" && (c.Type == "timestamp" && zoned || c.Type == "timestamptz" && !zoned) {
			return nil, 0, &duck.FileError{
				File: file, Column: c.Name, Option: "timestamp_format",
				Text: fmt.Sprintf("column %q is %s, and timestamp_format %q reads %s zone", c.Name, c.Type, o.TimestampFormat, map[bool]string{true: "a", false: "no"}[zoned]),
			}
		}
		columns = append(columns, at)
	}
	return columns, len(names), nil
}

// columnsOf is the header of a file that has none. The order of a schema is not
// that of the file: a schema has no order.
func columnsOf(file string, o duck.CSV, first csvRow, schema ir.Schema) ([]duck.Name, error) {
	fault := func(line int, format string, args ...any) error {
		return &duck.FileError{File: file, Option: "columns", Line: line, Text: fmt.Sprintf(format, args...)}
	}
	names := columnNames(schema)
	if len(o.Columns) == 0 {
		return nil, fault(0, "a file without a header needs the names of its columns in order, such as columns: [%s]", quotedList(names))
	}
	if len(o.Columns) != len(first.fields) {
		return nil, fault(1, "the row has %d fields, and columns names %d", len(first.fields), len(o.Columns))
	}
	for i, name := range o.Columns {
		if slices.Contains(o.Columns[:i], name) {
			return nil, fault(0, "columns names %q twice", name)
		}
	}
	for _, name := range names {
		if !slices.Contains(o.Columns, name) {
			return nil, fault(0, "column %q is not among columns: [%s]", name, quotedList(o.Columns))
		}
	}
	places := make([]duck.Name, len(o.Columns))
	for i, name := range o.Columns {
		places[i] = duck.Name{Name: name}
	}
	return places, nil
}

func quotedList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	return strings.Join(quoted, ", ")
}

func findColumn(file, name string, header []duck.Name, d dialect) (int, error) {
	at := -1
	for i, h := range header {
		if h.Name != name {
			continue
		}
		if at >= 0 {
			return 0, &duck.FileError{File: file, Line: 1, Column: name, Text: fmt.Sprintf("duplicate column %q in the header", name)}
		}
		at = i
	}
	if at >= 0 {
		return at, nil
	}
	fault := missingColumn(file, name, header)
	fault.Line = 1
	if len(header) == 1 {
		for _, other := range []string{",", ";", "\t", "|"} {
			if other != string(d.delimiter) && strings.Contains(header[0].Name, other) {
				fault.Option, fault.Delimiter = "delimiter", other
				fault.Text = fmt.Sprintf("column %q is missing: the header has one field; did you mean delimiter: %q?", name, other)
			}
		}
	}
	return 0, fault
}

// missingColumn is the fault of a file with columns of these names.
func missingColumn(file, name string, found []duck.Name) *duck.FileError {
	fault := &duck.FileError{File: file, Column: name, Missing: true, Names: found}
	if len(found) == 1 && found[0].Name == "" {
		fault.Text = fmt.Sprintf("column %q is missing: the first line is empty", name)
		return fault
	}
	var names []string
	for _, f := range found {
		n := f.Name
		if q := strconv.Quote(n); n != strings.TrimSpace(n) || n == "" || q != `"`+n+`"` {
			n = q
		}
		names = append(names, n)
	}
	fault.Text = fmt.Sprintf("column %q is missing; the columns are %s", name, some(names))
	return fault
}

// some lists the first of many names.
func some(names []string) string {
	const shown = 20
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

var (
	wholePattern   = fullMatch(wholeText)
	datePattern    = fullMatch(dateText)
	timePattern    = fullMatch(timeText)
	stampPattern   = fullMatch(stampText)
	instantPattern = fullMatch(instantText)
	floatPattern   = regexp.MustCompile(`[0-9]|` + fullMatch(notFinite).String())
)

func fullMatch(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + pattern + `)$`) }

// neverConverts reports whether [fromText] refuses a text for certain.
func neverConverts(text string, col ir.Column, o duck.CSV) bool {
	if slices.Contains(nullTextsOf(o), text) {
		return false
	}
	var pattern *regexp.Regexp
	switch kind := kindOf(col); {
	case kind == "int" && (o.Decimal == "" || o.Decimal == "."):
		pattern = wholePattern
	case kind == "float":
		pattern = floatPattern
	case kind == "date" && o.DateFormat == "":
		pattern = datePattern
	case kind == "time":
		pattern = timePattern
	case kind == "timestamp" && o.TimestampFormat == "":
		pattern = stampPattern
	case kind == "timestamptz" && o.TimestampFormat == "":
		pattern = instantPattern
	}
	return pattern != nil && !pattern.MatchString(text)
}
