package requestlog

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"time"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A Writer writes a file of rows, which is complete or absent.
type Writer struct {
	path    string // of the complete file
	file    *os.File
	parquet *parquet.GenericWriter[any]
	columns ir.Schema
	rows    []parquet.Row
	n       int
	values  []parquet.Value
	group   int64 // estimated bytes of the current row group
	size    int64 // and of all
	count   int
}

const (
	// together is how many rows are given to Parquet at once.
	together = 64
	// mostGroup is the size of a row group, which is in memory until it is complete.
	mostGroup = 4 << 20
)

// Create begins to write a file of requests.
func Create(path string, head *Head) (*Writer, error) {
	b, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	return CreateTable(path, head.Columns(), parquet.KeyValueMetadata(metadata, string(b)))
}

// CreateTable begins to write a file of any rows.
func CreateTable(path string, columns ir.Schema, options ...parquet.WriterOption) (w *Writer, err error) {
	defer recovered(&err)
	// Whoever writes a file has it locked: another process removes those that nobody writes.
	f, err := os.OpenFile(filepath.Join(filepath.Dir(path), files.HalfWritten+filepath.Base(path)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	w = &Writer{path: path, file: f, columns: columns}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		w.Abort()
		return nil, err
	}
	w.parquet = parquet.NewGenericWriter[any](f, append(options, schema(w.columns), parquet.Compression(&parquet.Snappy), parquet.PageBufferSize(64<<10))...)
	w.values = make([]parquet.Value, together*len(w.columns))
	w.rows = make([]parquet.Row, together)
	for i := range w.rows {
		w.rows[i] = w.values[i*len(w.columns) : (i+1)*len(w.columns)]
	}
	return w, nil
}

// Add writes a row with the values of all columns. Their texts have to stay as they are until
// the file is closed or n is 0.
func (w *Writer) Add(value func(column int) rowsql.Value) (err error) {
	defer recovered(&err)
	size := int64(0)
	row := w.rows[w.n]
	for i, c := range w.columns {
		v := value(i)
		level := 0
		if c.Nullable && !v.Null {
			level = 1
		}
		row[i] = stored(c.Type, v).Level(0, level, i)
		size += 8 + int64(len(v.Text))
	}
	w.n, w.count, w.group, w.size = w.n+1, w.count+1, w.group+size, w.size+size
	if w.n < together && w.group < mostGroup {
		return nil
	}
	return w.flush()
}

func (w *Writer) flush() error {
	n := w.n
	w.n = 0
	if _, err := w.parquet.WriteRows(w.rows[:n]); err != nil {
		return err
	}
	if w.group < mostGroup {
		return nil
	}
	w.group = 0
	return w.parquet.Flush()
}

// Close completes the file.
func (w *Writer) Close() (err error) {
	defer func() {
		if err != nil {
			w.Abort()
		}
	}()
	defer recovered(&err)
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.parquet.Close(); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(w.file.Name(), w.path); err != nil {
		return err
	}
	_ = w.file.Close() // it is synced, and frees the lock
	if dir, err := os.Open(filepath.Dir(w.path)); err == nil {
		_ = dir.Sync() // the file is there; only a failure of the machine can take it away
		_ = dir.Close()
	}
	return nil
}

// Abort removes what is written.
func (w *Writer) Abort() {
	_ = os.Remove(w.file.Name())
	_ = w.file.Close()
}

// name is that of a file whose first row has a time. Names sort by time.
func name(at time.Time, random uint64) string {
	return fmt.Sprintf("%s-%08x%s", at.UTC().Format("20060102T150405.000000Z"), uint32(random), extension)
}

// recovered turns a panic of the library into an error.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the library for Parquet failed: %v", r)
	}
}

// ordered is a group whose fields have an order. Those of a map are sorted by name.
type ordered struct {
	parquet.Group
	fields []parquet.Field
}

func (o ordered) Fields() []parquet.Field { return o.fields }

type field struct {
	parquet.Node
	name string
}

func (f field) Name() string { return f.name }

func (field) Value(reflect.Value) reflect.Value { panic("rows are written as values of Parquet") }

func schema(columns ir.Schema) *parquet.Schema {
	root := ordered{Group: parquet.Group{}}
	for _, c := range columns {
		n := node(c.Type)
		switch c.Name {
		case Version, Digest, Pod, Fallback:
			n = parquet.Encoded(n, &parquet.RLEDictionary)
		}
		if c.Nullable {
			n = parquet.Optional(n)
		}
		root.Group[c.Name], root.fields = n, append(root.fields, field{n, c.Name})
	}
	return parquet.NewSchema("request", root)
}

// node is the type of Parquet for one of columns, as DuckDB writes it.
func node(typ string) parquet.Node {
	switch typ {
	case "bool":
		return parquet.Leaf(parquet.BooleanType)
	case "int8", "int16", "int32", "int64":
		return parquet.Int(bits[typ])
	case "uint8", "uint16", "uint32", "uint64":
		return parquet.Uint(bits[typ])
	case "float32":
		return parquet.Leaf(parquet.FloatType)
	case "float64":
		return parquet.Leaf(parquet.DoubleType)
	case "string":
		return parquet.String()
	case "date":
		return parquet.Date()
	case "time":
		return parquet.TimeAdjusted(parquet.Microsecond, false)
	case "timestamp":
		return parquet.TimestampAdjusted(parquet.Microsecond, false)
	case "timestamptz":
		return parquet.TimestampAdjusted(parquet.Microsecond, true)
	}
	return parquet.Leaf(parquet.ByteArrayType)
}

var bits = map[string]int{"int8": 8, "int16": 16, "int32": 32, "int64": 64, "uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64}

// stored is a value as Parquet has it.
func stored(typ string, v rowsql.Value) parquet.Value {
	if v.Null {
		return parquet.NullValue()
	}
	switch typ {
	case "bool":
		return parquet.BooleanValue(v.Bool())
	case "int8", "int16", "int32", "uint8", "uint16", "uint32", "date":
		return parquet.Int32Value(int32(v.Bits))
	case "float32":
		return parquet.FloatValue(v.Float32())
	case "float64":
		return parquet.DoubleValue(v.Float())
	case "string", "bytes":
		return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(v.Text), len(v.Text))) // it is copied when it is written
	}
	return parquet.Int64Value(v.Int())
}
