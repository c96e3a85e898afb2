package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// explain says where and why reading failed. DuckDB names no line for a cast,
// so the rows are read again: an error may take its time.
func (s *session) explain(ctx context.Context, err error, relations []relation, schema ir.Schema, o duck.CSV) error {
	var e *duck.SQLError
	if !errors.As(err, &e) {
		return err
	}
	// One thread, so that rows are numbered in the order of the file.
	if err := s.exec(ctx, "SET threads = 1"); err != nil {
		return err
	}
	for _, r := range relations {
		if strings.Contains(r.from, "read_csv(") {
			if found := s.malformedCSV(ctx, r, o); found != nil {
				return found
			}
		}
		if strings.Contains(e.Message, "Invalid string encoding") {
			if found := s.badText(ctx, r, schema); found != nil {
				return found
			}
		}
		if strings.Contains(r.from, "read_parquet(") {
			if found := s.damagedParquet(ctx, r, schema); found != nil {
				return found
			}
		}
		if strings.Contains(r.from, "read_json(") {
			if found := malformedJSON(r); found != nil {
				return found
			}
		}
		if found := s.badValue(ctx, r, schema, o); found != nil {
			return jsonFault(r, found)
		}
	}
	return fmt.Errorf("create the table: %s", firstLine(e.Message))
}

var (
	csvLine   = regexp.MustCompile(`CSV Error on Line: (\d+)`)
	csvCounts = regexp.MustCompile(`Expected Number of Columns: (\d+) Found: (\d+)`)
)

// unreadable is how DuckDB begins when the content of a file is wrong.
var unreadable = regexp.MustCompile(`^Failed to read file "[^"]*": `)

// outOfRange is how DuckDB ends when a time in milliseconds has too many of microseconds.
var outOfRange = regexp.MustCompile(`Could not convert Timestamp\(\w+\) to Timestamp\(\w+\)$`)

// damagedParquet reads the values as they are, without a conversion that may refuse them.
func (s *session) damagedParquet(ctx context.Context, r relation, schema ir.Schema) error {
	var hashes []string
	for _, c := range r.conv {
		hashes = append(hashes, "max(hash("+c.from+"))")
	}
	read := func(hashes ...string) error {
		return s.each(ctx, "SELECT "+strings.Join(hashes, ", ")+" FROM "+r.from, func(func(...any) error) error { return nil })
	}
	var e *duck.SQLError
	err := read(hashes...)
	if !errors.As(err, &e) {
		return err
	}
	for i, hash := range hashes {
		if outOfRange.MatchString(e.Message) && read(hash) != nil {
			return fmt.Errorf("%s: column %q: a time is out of the range of microseconds: write null, or a time within it", r.file, schema[i].Name)
		}
	}
	return fmt.Errorf("%s: the file is damaged: %s", r.file, unreadable.ReplaceAllString(firstLine(e.Message), ""))
}

// malformedCSV reads only the structure of a file.
func (s *session) malformedCSV(ctx context.Context, r relation, o duck.CSV) error {
	var n int64
	err := s.one(ctx, "SELECT count(c0) FROM "+r.from, &n)
	if err == nil {
		return nil
	}
	var e *duck.SQLError
	if !errors.As(err, &e) {
		return err
	}
	m := csvLine.FindStringSubmatch(e.Message)
	if m == nil {
		if d, err := dialectOf(o); err == nil {
			if line, why := d.malformed(r.path); line > 0 {
				return fmt.Errorf("%s:%d: %s", r.file, line, why)
			}
		}
		return fmt.Errorf("%s: the file is not valid CSV (RFC 4180): %s", r.file, firstLine(e.Message))
	}
	where := r.file + ":" + m[1]
	if c := csvCounts.FindStringSubmatch(e.Message); c != nil {
		return fmt.Errorf("%s: the row has %s fields, the first one has %s", where, c[2], c[1])
	}
	switch {
	case strings.Contains(e.Message, "unterminated quote"):
		if d, err := dialectOf(o); err == nil {
			if line, why := d.malformed(r.path); why == errMalformed.Error() {
				return fmt.Errorf("%s:%d: %s", r.file, line, why)
			}
		}
		return fmt.Errorf("%s: unclosed quote; the file may be truncated", where)
	case strings.Contains(e.Message, "aximum line size"):
		return fmt.Errorf("%s: the line is too long; a quote may be missing", where)
	}
	for _, line := range strings.Split(e.Message, "\n")[1:] {
		if !strings.HasPrefix(line, "Original Line") && line != "" {
			return fmt.Errorf("%s: %s", where, line)
		}
	}
	return fmt.Errorf("%s: the row is not valid CSV (RFC 4180)", where)
}

var jsonLine = regexp.MustCompile(`(?s)JSON.* in line (\d+): (.*)`)

// jsonFault says where DuckDB found a fault in JSON that other readers take.
func jsonFault(r relation, err error) error {
	var e *duck.SQLError
	if !errors.As(err, &e) {
		return err
	}
	m := jsonLine.FindStringSubmatch(e.Message)
	if m == nil {
		return err
	}
	line, _ := strconv.Atoi(m[1])
	if strings.HasPrefix(e.Message, "Malformed") {
		line-- // it counts one too many
	}
	return fmt.Errorf("%s:%d: %s", r.file, line, strings.TrimSuffix(firstLine(strings.TrimSpace(m[2])), "."))
}

// notJSON is what programs write for numbers that JSON does not have, and what DuckDB
// takes.
var notJSON = regexp.MustCompile(`([:,\[]\s*)-?(?:NaN|Infinity)`)

// malformedJSON finds the first line that is not a JSON object. DuckDB's own
// line numbers are one too high at the end of a file.
func malformedJSON(r relation) error {
	f, in, err := openText(r.path)
	if err != nil {
		return fmt.Errorf("read %s: %w", r.file, err)
	}
	defer f.Close()
	lines := lineReader{r: in}
	for {
		b, ok := lines.next()
		if !ok {
			return nil
		}
		if b[0] == '{' && (json.Valid(b) || json.Valid(notJSON.ReplaceAll(b, []byte("${1}0")))) {
			continue
		}
		if b[0] == '[' {
			return fmt.Errorf("%s:%d: the line is an array; expected one JSON object per line", r.file, lines.n)
		}
		return fmt.Errorf("%s:%d: the line is not a JSON object", r.file, lines.n)
	}
}

// lineReader reads the lines of JSON lines that are not blank.
type lineReader struct {
	r *bufio.Reader
	n int // of the line last returned
}

func (l *lineReader) next() ([]byte, bool) {
	for {
		b, err := l.r.ReadBytes('\n')
		if len(b) > 0 {
			l.n++
		}
		if b = bytes.TrimSpace(b); len(b) > 0 {
			return b, true
		}
		if err != nil {
			return nil, false
		}
	}
}

// badText finds the first column of a Parquet file with text that is not UTF-8.
func (s *session) badText(ctx context.Context, r relation, schema ir.Schema) error {
	for i, c := range schema {
		var length *int64
		var e *duck.SQLError
		if err := s.one(ctx, fmt.Sprintf("SELECT CAST(sum(length(CAST(c%d AS VARCHAR))) AS BIGINT) FROM %s", i, r.from), &length); errors.As(err, &e) {
			_, value, _ := strings.Cut(firstLine(e.Message), ": value ")
			return fmt.Errorf("%s: column %q: %s: write it as UTF-8, or as bytes without a logical type", r.file, c.Name, strings.TrimSuffix(value, "!"))
		}
	}
	return nil
}

// badValue finds the first value that does not convert.
func (s *session) badValue(ctx context.Context, r relation, schema ir.Schema, o duck.CSV) error {
	var cases, values []string
	for i, c := range r.conv {
		if c.ok == "" && c.value == c.from {
			continue
		}
		cases = append(cases, fmt.Sprintf("WHEN %s THEN %d", c.bad(), i))
		text := c.text
		if text == "" {
			text = fmt.Sprintf("coalesce(TRY(CAST(%s AS VARCHAR)), 'a value out of range')", c.from)
		}
		values = append(values, fmt.Sprintf("WHEN %d THEN %s", i, text))
	}
	if len(cases) == 0 {
		return nil
	}
	query := fmt.Sprintf("SELECT n, bad, CASE bad %s END FROM (SELECT row_number() OVER () AS n, CASE %s END AS bad, * FROM %s) WHERE bad IS NOT NULL LIMIT 1",
		strings.Join(values, " "), strings.Join(cases, " "), r.from)
	var found error
	err := s.each(ctx, query, func(scan func(...any) error) error {
		var row int64
		var bad int
		var value string
		if err := scan(&row, &bad, &value); err != nil {
			return err
		}
		where, err := r.line(row)
		if err != nil {
			where = fmt.Sprintf("%s: row %d", r.file, row)
		}
		c := schema[bad]
		if isFloat(c.Type) && aNaN.MatchString(value) {
			found = fmt.Errorf("%s: column %q: %s is a missing value, and the column is not nullable; declare nullable: true, or nan: true if it is a value", where, c.Name, excerpt(value))
			return nil
		}
		why := ""
		if w := whyNot(value, c); w != "" {
			why = ": " + w
		} else if o.Decimal == "," && (isInteger(c.Type) || isFloat(c.Type)) && strings.Contains(value, ".") {
			why = `: decimal is ",", and a point is not taken for a separator of thousands`
		} else if slices.Contains(r.nulls, value) {
			why = ": in quotes it is a value; declare quoted_nulls: true if it is missing"
		}
		wanted := article(c.Type)
		if kindOf(c) == "json" {
			wanted = "JSON"
		}
		found = fmt.Errorf("%s: column %q: %s is not %s%s", where, c.Name, excerpt(value), wanted, why)
		return nil
	})
	if err != nil {
		return err
	}
	return found
}

var (
	aNaN       = regexp.MustCompile(`^(?i)\s*[-+]?nan\s*$`)
	aNumber    = regexp.MustCompile(`^\s*[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?\s*$`)
	anInfinity = regexp.MustCompile(`^-?infinity$`)
	aCount     = regexp.MustCompile(`^-?[0-9]+ (micro|nano)seconds$`)
	aNano      = regexp.MustCompile(`:[0-9]{2}\.[0-9]{7,}`)
	aStamp     = regexp.MustCompile(`^\s*[0-9]{4,}[-/][0-9]{1,2}[-/][0-9]{1,2}[ T][0-9:.]+\s*([-+A-Z].*)?$`)
)

// whyNot says why a value is not one of a column, where that is not plain.
func whyNot(value string, c ir.Column) string {
	stamp := aStamp.FindStringSubmatch(value)
	switch kind := kindOf(c); {
	case anInfinity.MatchString(value) && !isFloat(c.Type) && !isInteger(c.Type):
		return "a date or a time is finite: write null, or a far one such as 9999-12-31"
	case aCount.MatchString(value):
		return "a time of day is from 00:00 until before 24:00"
	case kind == "string" && (strings.HasPrefix(value, "{") || strings.HasPrefix(value, "[")):
		return asJSON
	case kind == "string" && aNumber.MatchString(value):
		return conversions["string"]["number"].note
	case kind == "float" && aNumber.MatchString(value):
		return notHeld
	case aNano.MatchString(value) && (kind == "time" || strings.HasPrefix(kind, "timestamp")):
		return "it is not a whole number of microseconds"
	case kind == "timestamp" && stamp != nil && stamp[1] != "":
		return dropZone
	case kind == "timestamptz" && stamp != nil && stamp[1] == "":
		return setZone
	}
	return ""
}

// excerpt quotes a value that may be long.
func excerpt(s string) string {
	const most = 40
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "..."
	}
	return strconv.Quote(s)
}

func article(typ string) string {
	if strings.HasPrefix(typ, "int") {
		return "an " + typ
	}
	return "a " + typ
}

// relateJSON reads every value as JSON: DuckDB would round 1.5 to a whole number
// without a word.
func relateJSON(file, path string, schema ir.Schema) relation {
	r := relation{file: file, path: path, line: func(row int64) (string, error) {
		f, in, err := openText(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		lines := lineReader{r: in}
		for ; row > 0; row-- {
			lines.next()
		}
		return fmt.Sprintf("%s:%d", file, lines.n), nil
	}}
	var cols, selects []string
	for i, c := range schema {
		cols = append(cols, ident(c.Name)+": 'JSON'")
		selects = append(selects, fmt.Sprintf("%s AS c%d", ident(c.Name), i))
		r.conv = append(r.conv, fromJSON(fmt.Sprintf("c%d", i), c))
	}
	r.from = "(SELECT " + strings.Join(selects, ", ") + " FROM " + jsonLines(path, "{"+strings.Join(cols, ", ")+"}") + ")"
	return r
}

// checkKeys refuses a column that is null in every row because no object has
// its key: a null and an absent key are the same in JSON lines, but a column
// that is nowhere has the wrong name.
func (s *session) checkKeys(ctx context.Context, out string, relations []relation, schema ir.Schema) error {
	counts := make([]string, len(schema))
	filled := make([]int64, len(schema))
	dest := make([]any, len(schema))
	for i, c := range schema {
		counts[i] = "count(" + ident(c.Name) + ")"
		dest[i] = &filled[i]
	}
	if err := s.one(ctx, "SELECT "+strings.Join(counts, ", ")+" FROM "+parquet(out), dest...); err != nil {
		return err
	}
	for i, c := range schema {
		if filled[i] > 0 {
			continue
		}
		found := false
		for _, r := range relations {
			var has bool
			query := fmt.Sprintf("SELECT coalesce(bool_or(list_contains(json_keys(json), %s)), false) FROM %s", quote(c.Name), jsonObjects(r.path))
			if err := s.one(ctx, query, &has); err != nil {
				return err
			}
			found = found || has
		}
		if !found {
			return fmt.Errorf("%s: column %q is missing: no object has this key", relations[0].file, c.Name)
		}
	}
	return nil
}
