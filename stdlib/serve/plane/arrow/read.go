package arrow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A Reader reads rows of the same columns from streams. It is safe for concurrent use.
type Reader struct {
	columns []*request.Typed
	index   map[string]int
}

// Limits are those of a stream.
type Limits struct {
	Rows  int
	Bytes int64 // of the stream, and of all texts in its rows
}

// Errors are what is wrong with a stream, as in an answer to a request.
type Errors []request.Error

func (e Errors) Error() string { return fmt.Sprintf("%v: %s", e[0].Loc, e[0].Msg) }

// NewReader returns a reader of rows with the columns. A stream has them in any order.
func NewReader(columns ir.Schema) (*Reader, error) {
	r := &Reader{index: map[string]int{}}
	for i, c := range columns {
		t, err := request.NewTyped(c)
		if err != nil {
			return nil, err
		}
		r.columns = append(r.columns, t)
		r.index[c.Name] = i
	}
	return r, nil
}

// Read appends the rows of a stream to values, row by row, and returns how many there are.
// It reads up to the end of the stream and no further. What is wrong with the stream is an
// [Errors]. Texts of the rows stay valid.
func (r *Reader) Read(from io.Reader, values []rowsql.Value, most Limits) (all []rowsql.Value, rows int, err error) {
	s := &stream{Reader: r, from: from, most: most, left: most.Bytes, texts: most.Bytes, values: values}
	defer func() {
		if fault := recover(); fault != nil {
			if _, ok := fault.(runtime.Error); !ok {
				panic(fault)
			}
			all, rows, err = values, 0, refused("the Arrow stream is damaged")
		}
	}()
	if err := s.read(); err != nil {
		return values, 0, err
	}
	if len(s.errors) > 0 {
		return values, 0, s.errors
	}
	return s.values, s.rows, nil
}

// refused is one thing that is wrong with a whole stream.
func refused(format string, with ...any) Errors {
	return Errors{request.Fault{Type: "value_error", Msg: fmt.Sprintf(format, with...)}.At()}
}

// A stream is one that is read.
type stream struct {
	*Reader
	from   io.Reader
	most   Limits
	left   int64 // bytes that may come
	texts  int64 // bytes of texts that may come
	fields []field
	dicts  map[int64]*array
	values []rowsql.Value
	rows   int
	errors Errors
}

// Kinds of messages.
const (
	schemaMessage = 1 + iota
	dictionaryMessage
	batchMessage
)

func (s *stream) read() error {
	for first := true; ; first = false {
		kind, header, body, err := s.message()
		switch {
		case err != nil:
			return err
		case kind == 0 && first:
			return refused("the Arrow stream has no schema")
		case kind == 0:
			return nil
		case (kind == schemaMessage) != first:
			return refused("wanted one schema at the start of the Arrow stream")
		}
		switch kind {
		case schemaMessage:
			err = s.schema(header)
		case dictionaryMessage:
			err = s.dictionary(header, body)
		case batchMessage:
			err = s.batch(header, body)
		default:
			err = refused("wanted record batches")
		}
		if err != nil {
			return err
		}
		if len(s.errors) >= request.MostErrors {
			return s.errors[:request.MostErrors]
		}
	}
}

// message reads the next message. Its kind is 0 at the end of the stream.
func (s *stream) message() (kind byte, header table, body []byte, err error) {
	var prefix [8]byte
	if _, err := io.ReadFull(s.from, prefix[:]); err != nil {
		return 0, header, nil, s.cut(err)
	}
	if binary.LittleEndian.Uint32(prefix[:]) != 0xffffffff {
		return 0, header, nil, refused("the body is not an Arrow stream")
	}
	size := int64(binary.LittleEndian.Uint32(prefix[4:]))
	if size == 0 {
		return 0, header, nil, nil
	}
	meta, err := s.bytes(size)
	if err != nil {
		return 0, header, nil, err
	}
	m := root(meta)
	header, _ = m.table(2)
	if body, err = s.bytes(m.int64(3)); err != nil {
		return 0, header, nil, err
	}
	return m.byte(1), header, body, nil
}

// bytes reads a part of a message. What a stream announces takes no memory before it arrives.
func (s *stream) bytes(n int64) ([]byte, error) {
	if n < 0 || n > s.left {
		return nil, refused("the Arrow stream is larger than %d bytes, or damaged", s.most.Bytes)
	}
	s.left -= n
	var b bytes.Buffer
	b.Grow(int(min(n, 64<<10)))
	if _, err := io.CopyN(&b, s.from, n); err != nil {
		return nil, s.cut(err)
	}
	return b.Bytes(), nil
}

func (s *stream) cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return refused("the Arrow stream has no end")
	}
	return err
}

// A field is a field of the schema.
type field struct {
	form
	column     int
	dictionary int64
	index      form // of a dictionary, whose values have the form of the field
	encoded    bool
}

func (s *stream) schema(t table) error {
	if t.int16(0) != 0 {
		return refused("wanted an Arrow stream in little-endian order")
	}
	first, n := t.vector(1, 4)
	seen := make([]bool, len(s.columns))
	for i := range n {
		at := first + 4*i
		f := table{t.b, t.follow(at)}
		name := f.text(0)
		c, ok := s.index[name]
		switch {
		case !ok:
			s.refuse(request.Extra, request.Short(name))
		case seen[c]:
			s.refuse(request.Twice, request.Short(name))
		default:
			seen[c] = true
			made := newField(f, c)
			if wrong := made.fits(s.columns[c]); wrong.Wrong() {
				s.refuse(wrong, request.Short(name))
			}
			s.fields = append(s.fields, made)
		}
		if len(s.errors) >= request.MostErrors {
			break
		}
	}
	for i, c := range s.columns {
		if !seen[i] && !c.Nullable {
			s.refuse(request.Missing, request.Short(c.Name))
		}
	}
	if len(s.errors) > 0 {
		return s.errors[:min(len(s.errors), request.MostErrors)]
	}
	return nil
}

func (s *stream) refuse(f request.Fault, where ...any) { s.errors = append(s.errors, f.At(where...)) }

func newField(t table, column int) field {
	f := field{column: column}
	inner, _ := t.table(3)
	if f.form = newForm(t.byte(2), inner); hasChildren(t) {
		f.form = form{kind: unknown}
	}
	if d, ok := t.table(4); ok {
		f.encoded, f.dictionary, f.index = true, d.int64(0), form{kind: integers, bits: 32, signed: true}
		if of, ok := d.table(1); ok {
			f.index = newForm(intType, of)
		}
		if !f.texts() || f.index.kind != integers {
			f.form = form{kind: unknown}
		}
	}
	return f
}

func hasChildren(t table) bool {
	_, n := t.vector(5, 4)
	return n > 0
}

// dictionary keeps the texts that a field refers to by their number.
func (s *stream) dictionary(t table, body []byte) error {
	id := t.int64(0)
	data, ok := t.table(1)
	if !ok || t.byte(2) != 0 {
		return refused("wanted whole dictionaries")
	}
	for i := range s.fields {
		f := &s.fields[i]
		if !f.encoded || f.dictionary != id {
			continue
		}
		b, err := newBatch(data, body)
		if err != nil {
			return err
		}
		if s.dicts == nil {
			s.dicts = map[int64]*array{}
		}
		s.dicts[id] = b.array(f.form)
		return nil
	}
	return refused("wanted no dictionary that no field has")
}

func (s *stream) batch(t table, body []byte) error {
	b, err := newBatch(t, body)
	if err != nil {
		return err
	}
	if b.rows < 0 || b.rows > s.most.Rows-s.rows {
		return Errors{request.Fault{Type: "value_error", Msg: fmt.Sprintf("the list may have at most %d items", s.most.Rows)}.At("instances")}
	}
	from, width := len(s.values), len(s.columns)
	for range b.rows * width {
		s.values = append(s.values, rowsql.Null)
	}
	for i := range s.fields {
		if err := s.column(&s.fields[i], b, s.values[from:], width); err != nil {
			return err
		}
	}
	s.rows += b.rows
	return nil
}

// column reads a column of a batch.
func (s *stream) column(f *field, b *batch, values []rowsql.Value, width int) error {
	column := s.columns[f.column]
	form := f.form
	if f.encoded {
		form = f.index
	}
	a := b.array(form)
	if a.length != b.rows {
		return refused("the Arrow stream is damaged")
	}
	for i := range b.rows {
		of, at := a, i
		if f.encoded && !a.null(i) {
			if of = s.dicts[f.dictionary]; of == nil {
				return refused("a field lacks its dictionary")
			}
			if at = a.position(i); at < 0 || at >= of.length {
				return refused("the Arrow stream is damaged")
			}
		}
		v := &values[i*width+f.column]
		var wrong request.Fault
		if of.null(at) {
			wrong = column.Null(v)
		} else if wrong = of.set(column, at, v); of.texts() {
			if s.texts -= int64(len(v.Text)); s.texts < 0 {
				return refused("the texts are larger than %d bytes", s.most.Bytes)
			}
		}
		if wrong.Wrong() {
			s.refuse(wrong, "instances", s.rows+i, request.Short(column.Name))
			if len(s.errors) >= request.MostErrors {
				return nil
			}
		}
	}
	return nil
}
