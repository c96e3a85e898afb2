package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// What is read of a text: headSize, or more if its first line is longer.
const (
	headSize = 64 << 10
	headMost = 1 << 20
)

// typedLines is how many lines of JSON are compared with the declared types.
const typedLines = 20

// Heads returns for each source why [Ingest], or the check of its result, refuses it, as
// far as the heads of its files show, and the times that they have. It reads the first
// kilobytes of a text, unless asked for a range, and the footer of a Parquet file. A file that cannot be read is left to
// Ingest.
func Heads(ctx context.Context, heads []duck.Head) (results []duck.HeadResult, err error) {
	r := headReader{ctx: ctx}
	defer func() {
		if r.session != nil {
			r.session.giveBack(err)
		}
	}()
	results = make([]duck.HeadResult, len(heads))
	for i, h := range heads {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := r.check(h)
		if r.err != nil {
			return nil, r.err
		}
		if errors.As(err, &results[i].Fault) || err != nil || !h.Times || !h.All {
			continue
		}
		if h.Range != "" {
			results[i].Times = rangeOf(ctx, h)
			continue
		}
		results[i].Times = r.times(h)
	}
	return results, nil
}

type headReader struct {
	ctx     context.Context
	session *session // nil before it is needed
	err     error    // of the session
}

// check returns a [*duck.FileError], nil, or why it does not know.
func (r *headReader) check(h duck.Head) error {
	var keys jsonKeys
	for _, file := range h.Files {
		var err error
		switch formatOf(h.Source, file) {
		case "parquet":
			err = r.parquet(file, h.Schema)
		case "csv":
			err = csvHead(file, h.CSV, h.Schema)
		case "json":
			err = keys.head(file, h.Schema)
		}
		if err != nil {
			return err
		}
	}
	if !h.All {
		return nil
	}
	return keys.missing(h.Schema)
}

func (r *headReader) parquet(file string, schema ir.Schema) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	mark := make([]byte, 4)
	if _, err := f.ReadAt(mark, max(end-4, 0)); err != nil && err != io.EOF {
		return err
	}
	if string(mark) != "PAR1" {
		return &duck.FileError{File: file, Text: "it is not a Parquet file, or it is truncated"}
	}
	if r.session == nil {
		if r.session, r.err = borrow(r.ctx); r.err != nil {
			return r.err
		}
	}
	_, _, err = r.session.pickParquet(r.ctx, file, schema)
	return err
}

// readHead returns whole lines from the beginning of a text, without a byte order mark, and
// whether that is all of it. It returns nil if the first line is too long.
func readHead(file, enc string) (text []byte, all bool, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	r, _, err := unpack(bufio.NewReader(f))
	if err != nil {
		return nil, false, err
	}
	decoder, err := decoderOf(enc)
	if err != nil {
		return nil, false, err
	}
	if decoder != nil {
		r = decoder.Reader(r)
	}
	for _, most := range []int{headSize, headMost} {
		more, err := io.ReadAll(io.LimitReader(r, int64(most-len(text))))
		if err != nil {
			return nil, false, err
		}
		text = append(text, more...)
		if len(text) < most {
			return text, true, nil
		}
		if end := bytes.LastIndexByte(text, '\n'); end >= 0 {
			return text[:end+1], false, nil
		}
	}
	return nil, false, nil
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// lineOf returns a line of a text, from 1, without its end.
func lineOf(text []byte, n int) string {
	for ; n > 1; n-- {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return string(bytes.TrimSuffix(line, []byte("\r")))
}

func csvHead(file string, o duck.CSV, schema ir.Schema) error {
	d, err := dialectOf(o)
	if err != nil {
		return err
	}
	text, all, err := readHead(file, o.Encoding)
	if err != nil || text == nil && !all {
		return err
	}
	c := &textCopy{ctx: context.Background(), file: file, shape: newCSVShape(d, file)}
	if decoder, _ := decoderOf(o.Encoding); decoder != nil {
		c.decoded = o.Encoding
	}
	if err := c.run(bytes.NewReader(text), io.Discard); err != nil {
		return err
	}
	text = bytes.TrimPrefix(text, byteOrderMark)
	in := bufio.NewReader(bytes.NewReader(text))
	columns, _, err := pickCSV(file, in, d, o, schema)
	if _, end := in.Peek(1); end != nil && !all {
		return nil // the first row may be longer
	}
	if err == nil && !hasHeader(o) {
		err = firstRow(file, text, d, o, schema, columns)
	}
	var fault *duck.FileError
	if errors.As(err, &fault) && fault.Line > 0 {
		if fault.Excerpt = lineOf(text, fault.Line); fault.Missing && hasHeader(o) && fault.Option == "" {
			fault.Headless = looksLikeRow(fault.Names)
		}
	}
	return err
}

// firstRow refuses a file without a header whose first row does not convert, such as one
// with the columns in another order.
func firstRow(file string, text []byte, d dialect, o duck.CSV, schema ir.Schema, columns []int) error {
	first, err := d.row(bufio.NewReader(bytes.NewReader(text)))
	if err != nil || len(first.fields) == 1 { // a blank line may come first
		return nil
	}
	for i, c := range schema {
		value := first.places[columns[i]]
		if !neverConverts(value.Name, c, o) {
			continue
		}
		fault := &duck.FileError{
			File: file, Line: value.Line, Col: value.Col, Len: value.Len, Column: c.Name, Option: "columns",
			Text: fmt.Sprintf("column %q: %s is not %s", c.Name, excerpt(value.Name), article(c.Type)),
		}
		for j, name := range o.Columns {
			if first.fields[j] == name {
				fault.Option, fault.Hint = "header", "the first line names the columns: remove header: false and columns"
				break
			}
		}
		return fault
	}
	return nil
}

// looksLikeRow reports whether a header looks like a row of values.
func looksLikeRow(header []duck.Name) bool {
	return slices.ContainsFunc(header, func(n duck.Name) bool {
		_, err := strconv.ParseFloat(n.Name, 64)
		return err == nil || datePattern.MatchString(n.Name)
	})
}

// jsonKeys are the keys of the objects in the heads of JSON lines.
type jsonKeys struct {
	file  string      // the first one
	first []duck.Name // of its first object
	line  string      // which that is
	seen  map[string]bool
	part  bool // there may be other keys
}

// head compares the objects at the beginning of a file with a schema, and notes their keys.
// Each is taken by itself: a missing column that is not nullable is refused in any row.
func (k *jsonKeys) head(file string, schema ir.Schema) error {
	text, all, err := readHead(file, "")
	if err != nil {
		return err
	}
	k.part = k.part || !all
	text = bytes.TrimPrefix(text, byteOrderMark)
	n := 0
	for line := range bytes.Lines(text) {
		n++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		object, ok := members(line, n)
		if !ok { // DuckDB reports what it is
			k.part = true
			return nil
		}
		if k.seen == nil {
			k.file, k.seen, k.line = file, map[string]bool{}, lineOf(line, 1)
			for _, m := range object {
				k.first = append(k.first, m.Name)
			}
		}
		for _, m := range object {
			k.seen[m.Name.Name] = true
		}
		if n > typedLines {
			if !slices.ContainsFunc(schema, func(c ir.Column) bool { return !k.seen[c.Name] }) {
				return nil
			}
			continue
		}
		if err := checkObject(file, n, object, schema); err != nil {
			err.Excerpt = lineOf(line, 1)
			return err
		}
	}
	return nil
}

// checkObject refuses an object with a value that no column of its type can have.
func checkObject(file string, line int, object []member, schema ir.Schema) *duck.FileError {
	var names []duck.Name
	for _, m := range object {
		names = append(names, m.Name)
	}
	for _, c := range schema {
		at := slices.IndexFunc(object, func(m member) bool { return m.Name.Name == c.Name })
		if at < 0 {
			if c.Nullable {
				continue
			}
			return &duck.FileError{
				File: file, Line: line, Column: c.Name, Names: names,
				Text: fmt.Sprintf("column %q is missing, and it is not nullable", c.Name),
				Hint: "declare nullable: true if an object may lack it",
			}
		}
		m := object[at]
		fault := &duck.FileError{File: file, Line: line, Col: m.Name.Col, Len: m.Name.Len, Column: c.Name}
		kinds := m.kinds()
		switch {
		case kinds == nil && c.Nullable:
		case kinds == nil:
			fault.Text = fmt.Sprintf("column %q is null, and it is not nullable", c.Name)
			return fault
		case !slices.ContainsFunc(kinds, func(kind string) bool { return conversionOf(kind, c).rule != refused }):
			fault.Text = fmt.Sprintf("column %q is %s, which does not become %s", c.Name, jsonShown[kinds[0]], c.Type)
			fault.Hint = conversionOf(kinds[0], c).note
			return fault
		}
	}
	return nil
}

// missing refuses a column that is in no object of all files.
func (k *jsonKeys) missing(schema ir.Schema) error {
	if k.part || k.seen == nil {
		return nil
	}
	for _, c := range schema {
		if !k.seen[c.Name] {
			return &duck.FileError{
				File: k.file, Column: c.Name, Missing: true, Names: k.first, Excerpt: k.line,
				Text: fmt.Sprintf("column %q is missing: no object has this key", c.Name),
			}
		}
	}
	return nil
}

// A member is a key of an object with its value.
type member struct {
	Name  duck.Name
	value json.RawMessage
}

// members returns the members of a line, or false if it is not an object, or one that readers
// understand in different ways.
func members(line []byte, n int) (all []member, ok bool) {
	d := json.NewDecoder(bytes.NewReader(line))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	seen := map[string]bool{}
	for d.More() {
		start := int(d.InputOffset())
		for start < len(line) && bytes.IndexByte([]byte(" \t\r\n,"), line[start]) >= 0 {
			start++
		}
		t, err := d.Token()
		key, isText := t.(string)
		if err != nil || !isText || seen[key] {
			return nil, false
		}
		seen[key] = true
		m := member{Name: duck.Name{Name: key, Line: n, Col: start + 1, Len: int(d.InputOffset()) - start}}
		if err := d.Decode(&m.value); err != nil {
			return nil, false
		}
		all = append(all, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, false
	}
	_, err := d.Token()
	return all, err == io.EOF
}

var jsonShown = map[string]string{"text": "text", "bool": "a boolean", "int": "a number", "nested": "a list or an object"}

// kinds returns the kinds of the table of conversions that the value may have; nil for null.
func (m member) kinds() []string {
	switch m.value[0] {
	case 'n':
		return nil
	case '"':
		return []string{"text"}
	case 't', 'f':
		return []string{"bool"}
	case '{', '[':
		return []string{"nested"}
	}
	return []string{"int", "number"}
}
