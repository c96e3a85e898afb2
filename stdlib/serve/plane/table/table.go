package table

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A Reader reads the rows of a file once, in their order. It is for one goroutine.
type Reader struct {
	file    *os.File
	parquet *parquet.File
	columns []*column
	groups  []parquet.RowGroup
	group   int   // the next one
	left    int64 // rows of the current one
}

// A column reads the values of one column of a row group after another.
type column struct {
	ir.Column
	index  int // in the file
	set    func(*rowsql.Value, *parquet.Value) (fits bool)
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	buffer []parquet.Value
	texts  map[string]string // those that came before, so that equal ones share memory
}

// mostTexts is how many texts of a column share memory.
const mostTexts = 1 << 14

// Open opens a file to read some columns of its schema, in the given order.
func Open(path string, columns ir.Schema) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open a table: %w", err)
	}
	r := &Reader{file: f}
	if err := r.open(columns); err != nil {
		f.Close()
		return nil, fmt.Errorf("open the table %s: %w", path, err)
	}
	return r, nil
}

func (r *Reader) open(columns ir.Schema) (err error) {
	defer recovered(&err)
	info, err := r.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a file")
	}
	r.parquet, err = parquet.OpenFile(r.file, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return fmt.Errorf("it is not a Parquet file: %w", err)
	}
	found := map[string]*parquet.Column{}
	for _, c := range r.parquet.Root().Columns() {
		found[c.Name()] = c
	}
	for _, want := range columns {
		c := found[want.Name]
		if c == nil {
			return fmt.Errorf("it has no column %s", want.Name)
		}
		known, ok := types[want.Type]
		if !ok {
			return fmt.Errorf("column %s: the type %s is not known", want.Name, want.Type)
		}
		if !c.Leaf() || c.Repeated() {
			return fmt.Errorf("column %s is nested, wanted a %s", want.Name, want.Type)
		}
		if t := c.Type().String(); !slices.Contains(known.parquet, t) {
			return fmt.Errorf("column %s is of the type %s of Parquet, which is not %s", want.Name, t, want.Type)
		}
		r.columns = append(r.columns, &column{Column: want, index: c.Index(), set: known.set, texts: map[string]string{}})
	}
	r.groups = r.parquet.RowGroups()
	return nil
}

// A kind is how a type of columns is stored.
type kind struct {
	parquet []string // names of types, the logical ones if there are any
	set     func(*rowsql.Value, *parquet.Value) (fits bool)
}

var types = map[string]kind{
	"bool":        {[]string{"BOOLEAN"}, set(func(p *parquet.Value) rowsql.Value { return rowsql.Bool(p.Boolean()) })},
	"int8":        {[]string{"INT(8,true)"}, setSigned[int8]},
	"int16":       {[]string{"INT(16,true)"}, setSigned[int16]},
	"int32":       {[]string{"INT32", "INT(32,true)"}, setSigned[int32]},
	"int64":       {[]string{"INT64", "INT(64,true)"}, set(int64Of)},
	"uint8":       {[]string{"INT(8,false)"}, setUnsigned[uint8]},
	"uint16":      {[]string{"INT(16,false)"}, setUnsigned[uint16]},
	"uint32":      {[]string{"INT(32,false)"}, setUnsigned[uint32]},
	"uint64":      {[]string{"INT(64,false)"}, set(int64Of)}, // the same bits
	"float32":     {[]string{"FLOAT"}, set(func(p *parquet.Value) rowsql.Value { return rowsql.Float32(p.Float()) })},
	"float64":     {[]string{"DOUBLE"}, set(func(p *parquet.Value) rowsql.Value { return rowsql.Float(p.Double()) })},
	"string":      {[]string{"STRING"}, nil},
	"bytes":       {[]string{"BYTE_ARRAY"}, nil},
	"date":        {[]string{"DATE"}, setSigned[int32]},
	"time":        {[]string{"TIME(isAdjustedToUTC=false,unit=MICROS)"}, set(int64Of)},
	"timestamp":   {[]string{"TIMESTAMP(isAdjustedToUTC=false,unit=MICROS)"}, set(int64Of)},
	"timestamptz": {[]string{"TIMESTAMP(isAdjustedToUTC=true,unit=MICROS)"}, set(int64Of)},
}

func int64Of(p *parquet.Value) rowsql.Value { return rowsql.Int(p.Int64()) }

func set(of func(*parquet.Value) rowsql.Value) func(*rowsql.Value, *parquet.Value) bool {
	return func(v *rowsql.Value, p *parquet.Value) bool {
		*v = of(p)
		return true
	}
}

// Parquet has integers of 32 bits for the narrower ones.

func setSigned[T int8 | int16 | int32](v *rowsql.Value, p *parquet.Value) bool {
	x := p.Int32()
	*v = rowsql.Int(int64(x))
	return int32(T(x)) == x
}

func setUnsigned[T uint8 | uint16 | uint32](v *rowsql.Value, p *parquet.Value) bool {
	x := p.Uint32()
	*v = rowsql.Uint(uint64(x))
	return uint32(T(x)) == x
}

// Close closes the file.
func (r *Reader) Close() error {
	r.closePages()
	return r.file.Close()
}

// Rows is the number of rows of the file.
func (r *Reader) Rows() int64 { return r.parquet.NumRows() }

// A Batch is memory for rows, which is used again.
type Batch struct {
	columns, rows int
	values        []rowsql.Value
}

// Len is the number of rows.
func (b *Batch) Len() int { return b.rows }

// Row returns the values of a row. They are overwritten when the batch is filled again, but
// their texts may be kept.
func (b *Batch) Row(i int) []rowsql.Value {
	return b.values[i*b.columns : (i+1)*b.columns : (i+1)*b.columns]
}

// Read fills a batch with the next rows, at most most. The error is io.EOF after the last.
func (r *Reader) Read(ctx context.Context, b *Batch, most int) (err error) {
	defer recovered(&err)
	if err := ctx.Err(); err != nil {
		return err
	}
	for r.left == 0 {
		if r.group == len(r.groups) {
			return io.EOF
		}
		r.startGroup()
	}
	b.columns, b.rows = len(r.columns), int(min(int64(most), r.left))
	b.values = slices.Grow(b.values[:0], b.rows*b.columns)[:b.rows*b.columns]
	for i, c := range r.columns {
		if err := c.read(b, i); err != nil {
			return fmt.Errorf("read column %s of %s: %w", c.Name, r.file.Name(), err)
		}
	}
	r.left -= int64(b.rows)
	return nil
}

func (r *Reader) startGroup() {
	r.closePages()
	g := r.groups[r.group]
	r.group++
	r.left = g.NumRows()
	chunks := g.ColumnChunks()
	for _, c := range r.columns {
		c.pages = chunks[c.index].Pages()
	}
}

func (r *Reader) closePages() {
	for _, c := range r.columns {
		parquet.Release(c.page)
		if c.pages != nil {
			c.pages.Close()
		}
		c.pages, c.page, c.values = nil, nil, nil
	}
}

// read fills a column of a batch.
func (c *column) read(b *Batch, at int) error {
	for done := 0; done < b.rows; {
		if c.values == nil {
			page, err := c.pages.ReadPage()
			if err == io.EOF {
				return io.ErrUnexpectedEOF
			}
			if err != nil {
				return err
			}
			c.page, c.values = page, page.Values()
		}
		const step = 1024
		if c.buffer == nil {
			c.buffer = make([]parquet.Value, step)
		}
		n, err := c.values.ReadValues(c.buffer[:min(step, b.rows-done)])
		for i := range n {
			if err := c.keep(&b.values[(done+i)*b.columns+at], &c.buffer[i]); err != nil {
				return err
			}
		}
		done += n
		switch {
		case err == io.EOF || err == nil && n == 0:
			parquet.Release(c.page)
			c.page, c.values = nil, nil
		case err != nil:
			return err
		}
	}
	return nil
}

// keep makes a value of one of Parquet, whose texts are part of the page.
func (c *column) keep(v *rowsql.Value, p *parquet.Value) error {
	switch {
	case p.IsNull():
		if !c.Nullable {
			return errors.New("it has a null, although it is not nullable")
		}
		*v = rowsql.Null
	case c.set != nil:
		if !c.set(v, p) {
			return errors.New("it has a number that its type does not hold")
		}
	default:
		b := p.ByteArray()
		s, ok := c.texts[string(b)]
		if !ok {
			if c.Type == "string" && !utf8.Valid(b) {
				return errors.New("it has a text that is not valid UTF-8")
			}
			if s = string(b); len(c.texts) < mostTexts {
				c.texts[s] = s
			}
		}
		*v = rowsql.String(s)
	}
	return nil
}

// recovered turns a panic about a damaged file into an error.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the file is damaged: %v", r)
	}
}
