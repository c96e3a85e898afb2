package engine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/tenon-ml/tenon/stdlib/duck"
)

// dialect reads just enough CSV to know the header and the line of a row.
// DuckDB reads the data.
type dialect struct {
	delimiter, quote byte
}

func dialectOf(o duck.CSV) (dialect, error) {
	d := dialect{',', '"'}
	for _, f := range []struct {
		name, value string
		to          *byte
	}{{"delimiter", o.Delimiter, &d.delimiter}, {"quote", o.Quote, &d.quote}} {
		if f.value == "" {
			continue
		}
		if len(f.value) != 1 || f.value[0] >= 0x80 || f.value == "\n" || f.value == "\r" {
			return d, fmt.Errorf("%s %q: it must be one ASCII character", f.name, f.value)
		}
		*f.to = f.value[0]
	}
	if d.delimiter == d.quote {
		return d, fmt.Errorf("delimiter and quote are both %q", string(d.quote))
	}
	if o.Decimal != "" && o.Decimal != "." && o.Decimal != "," {
		return d, fmt.Errorf("decimal %q: it has to be \".\" or \",\"", o.Decimal)
	}
	if hasZone(o.DateFormat) {
		return d, fmt.Errorf("date_format %q: a date has no zone", o.DateFormat)
	}
	return d, nil
}

// hasZone reports whether a format of strptime reads a zone.
func hasZone(format string) bool {
	format = strings.ReplaceAll(format, "%%", "")
	return strings.Contains(format, "%z") || strings.Contains(format, "%Z")
}

// sql is the table function for the rows of a file of n columns, c0, c1 and so
// on, all text. Names of the user do not occur: DuckDB's ignore case.
func (d dialect) sql(path string, n int, header bool, nulls []string, quotedNulls bool) string {
	cols := make([]string, n)
	for i := range cols {
		cols[i] = fmt.Sprintf("'c%d': 'VARCHAR'", i)
	}
	if nulls == nil {
		nulls = []string{""}
	}
	if len(nulls) == 0 {
		nulls = []string{"\x01\x02\x01"} // DuckDB's default is the empty string; an empty list is refused
	}
	quoted := make([]string, len(nulls))
	for i, s := range nulls {
		quoted[i] = quote(s)
	}
	q := quote(string(d.quote))
	return reads("read_csv", path, fmt.Sprintf("auto_detect = false, strict_mode = true, delim = %s, quote = %s, escape = %s, header = %t, compression = 'none', allow_quoted_nulls = %t, nullstr = [%s], columns = {%s}",
		quote(string(d.delimiter)), q, q, header, quotedNulls, strings.Join(quoted, ", "), strings.Join(cols, ", ")))
}

var errMalformed = errors.New("a quoted field is not followed by the delimiter")

// A csvRow is one row of CSV.
type csvRow struct {
	fields []string
	places []duck.Name // of the fields, with the line in the row
	lines  int         // line ends that were read
}

// row reads one row, and returns io.EOF if there was nothing left.
func (d dialect) row(r *bufio.Reader) (rec csvRow, err error) {
	var field []byte
	quoted, closed, any := false, false, false
	at := duck.Name{Line: 1, Col: 1} // of the byte that comes next
	place := at
	end := func() {
		place.Name = string(field)
		if place.Line == at.Line {
			place.Len = at.Col - place.Col
		}
		rec.fields, rec.places = append(rec.fields, place.Name), append(rec.places, place)
	}
	for {
		c, err := r.ReadByte()
		if err == io.EOF && !any {
			return csvRow{}, io.EOF
		}
		if err != nil && err != io.EOF {
			return csvRow{}, err
		}
		any = true
		if err == nil && c == '\r' && !quoted {
			if next, _ := r.Peek(1); len(next) == 1 && next[0] == '\n' {
				continue
			}
			c = '\n'
		}
		switch {
		case err == io.EOF:
			end()
			return rec, nil
		case quoted && c == d.quote:
			if next, _ := r.Peek(1); len(next) == 1 && next[0] == d.quote {
				r.Discard(1)
				field = append(field, c)
				at.Col++
				break
			}
			quoted, closed = false, true
		case quoted:
			if c == '\n' {
				rec.lines++
				at.Line, at.Col = at.Line+1, 0
			}
			field = append(field, c)
		case c == '\n':
			end()
			rec.lines++
			return rec, nil
		case c == d.delimiter:
			end()
			field, closed = nil, false
			place = duck.Name{Line: at.Line, Col: at.Col + 1}
		case closed:
			return csvRow{}, errMalformed
		case c == d.quote && len(field) == 0:
			quoted = true
		default:
			field = append(field, c)
		}
		at.Col++
	}
}

func openText(path string) (*os.File, *bufio.Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	r := bufio.NewReaderSize(f, 1<<16)
	if b, _ := r.Peek(3); string(b) == "\xef\xbb\xbf" {
		r.Discard(3)
	}
	return f, r, nil
}

// first returns the first row of a text.
func (d dialect) first(file string, r *bufio.Reader) (csvRow, error) {
	rec, err := d.row(r)
	switch {
	case err == io.EOF:
		return rec, &duck.FileError{File: file, Text: "the file is empty"}
	case errors.Is(err, errMalformed):
		return rec, &duck.FileError{File: file, Line: 1, Text: err.Error()}
	case err != nil:
		return rec, fmt.Errorf("%s:1: %w", file, err)
	}
	return rec, nil
}

// lineOf returns the line at which the n-th row, from 1, begins. DuckDB
// skips empty lines, except where a row has one field only.
func (d dialect) lineOf(path string, n int64, columns int) (int, error) {
	line := 0
	err := d.eachRow(path, func(at int, fields []string) bool {
		if columns > 1 && len(fields) == 1 && fields[0] == "" {
			return true
		}
		n--
		line = at
		return n > 0
	})
	return line, err
}

// malformed returns the first line that is not CSV, with the reason, or 0.
func (d dialect) malformed(path string) (int, string) {
	last := 0
	err := d.eachRow(path, func(at int, _ []string) bool { last = at; return true })
	if errors.Is(err, errMalformed) {
		return last + 1, errMalformed.Error()
	}
	f, r, err := openText(path)
	if err != nil {
		return 0, ""
	}
	defer f.Close()
	crlf := false
	for line := 1; ; line++ {
		s, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			line--
			continue
		}
		if err != nil {
			return 0, ""
		}
		this := strings.HasSuffix(string(s), "\r\n")
		if line == 1 {
			crlf = this
		}
		if this != crlf {
			return line, "the line ending (LF or CRLF) differs from that of the first line"
		}
	}
}

func (d dialect) eachRow(path string, f func(line int, fields []string) bool) error {
	file, r, err := openText(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for line := 1; ; {
		rec, err := d.row(r)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if !f(line, rec.fields) {
			return nil
		}
		line += rec.lines
	}
}
