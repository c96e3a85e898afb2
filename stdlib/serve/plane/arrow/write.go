package arrow

import (
	"encoding/binary"
	"fmt"
	"math"

	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A Writer writes rows of the same columns as streams. It is safe for concurrent use.
type Writer struct {
	columns []output
	schema  []byte // the message
}

// An output is how a column is written.
type output struct {
	ir.Column
	bits int // of a value; 0 is text
	made func(b *flatbuffers.Builder) (number byte, of flatbuffers.UOffsetT)
}

// NewWriter returns a writer of rows with the columns. Timestamps with a time zone are in UTC.
func NewWriter(columns ir.Schema) (*Writer, error) {
	w := &Writer{}
	for _, c := range columns {
		o := output{Column: c}
		whole := func(bits int, signed bool) {
			o.bits, o.made = bits, typeOf(intType, func(b *flatbuffers.Builder) {
				b.PrependInt32Slot(0, int32(bits), 0)
				b.PrependBoolSlot(1, signed, false)
			})
		}
		switch c.Type {
		case "bool":
			o.bits, o.made = 1, typeOf(6, nil)
		case "int8", "uint8":
			whole(8, c.Type[0] == 'i')
		case "int16", "uint16":
			whole(16, c.Type[0] == 'i')
		case "int32", "uint32":
			whole(32, c.Type[0] == 'i')
		case "int64", "uint64":
			whole(64, c.Type[0] == 'i')
		case "float32":
			o.bits, o.made = 32, typeOf(3, func(b *flatbuffers.Builder) { b.PrependInt16Slot(0, 1, 0) })
		case "float64":
			o.bits, o.made = 64, typeOf(3, func(b *flatbuffers.Builder) { b.PrependInt16Slot(0, 2, 0) })
		case "string":
			o.made = typeOf(5, nil)
		case "bytes":
			o.made = typeOf(4, nil)
		case "date":
			o.bits, o.made = 32, typeOf(8, func(b *flatbuffers.Builder) { b.PrependInt16Slot(0, 0, 1) })
		case "time":
			o.bits, o.made = 64, typeOf(9, func(b *flatbuffers.Builder) {
				b.PrependInt16Slot(0, micros, 1)
				b.PrependInt32Slot(1, 64, 32)
			})
		case "timestamp":
			o.bits, o.made = 64, typeOf(10, func(b *flatbuffers.Builder) { b.PrependInt16Slot(0, micros, 0) })
		case "timestamptz":
			o.bits, o.made = 64, func(b *flatbuffers.Builder) (byte, flatbuffers.UOffsetT) {
				zone := b.CreateString("UTC")
				return typeOf(10, func(b *flatbuffers.Builder) {
					b.PrependInt16Slot(0, micros, 0)
					b.PrependUOffsetTSlot(1, zone, 0)
				})(b)
			}
		default:
			return nil, fmt.Errorf("column %s: Arrow has no %s here", c.Name, c.Type)
		}
		w.columns = append(w.columns, o)
	}
	w.schema = w.describe()
	return w, nil
}

// micros is the unit of microseconds.
const micros = 2

// typeOf is a type with a number and a table of at most two fields.
func typeOf(number byte, fill func(*flatbuffers.Builder)) func(*flatbuffers.Builder) (byte, flatbuffers.UOffsetT) {
	return func(b *flatbuffers.Builder) (byte, flatbuffers.UOffsetT) {
		b.StartObject(2)
		if fill != nil {
			fill(b)
		}
		return number, b.EndObject()
	}
}

func (w *Writer) describe() []byte {
	b := flatbuffers.NewBuilder(1024)
	var fields []flatbuffers.UOffsetT
	for _, c := range w.columns {
		name := b.CreateString(c.Name)
		number, of := c.made(b)
		b.StartVector(4, 0, 4)
		children := b.EndVector(0)
		b.StartObject(7)
		b.PrependUOffsetTSlot(0, name, 0)
		b.PrependBoolSlot(1, c.Nullable, false)
		b.PrependByteSlot(2, number, 0)
		b.PrependUOffsetTSlot(3, of, 0)
		b.PrependUOffsetTSlot(5, children, 0)
		fields = append(fields, b.EndObject())
	}
	all := b.CreateVectorOfTables(fields)
	b.StartObject(4)
	b.PrependUOffsetTSlot(1, all, 0)
	return message(nil, b, schemaMessage, b.EndObject(), 0)
}

// message appends a message without its body.
func message(to []byte, b *flatbuffers.Builder, kind byte, header flatbuffers.UOffsetT, body int) []byte {
	const version = 4 // of the format: V5
	b.StartObject(5)
	b.PrependInt16Slot(0, version, 0)
	b.PrependByteSlot(1, kind, 0)
	b.PrependUOffsetTSlot(2, header, 0)
	b.PrependInt64Slot(3, int64(body), 0)
	b.Finish(b.EndObject())
	meta := b.FinishedBytes()
	size := (len(meta) + 7) / 8 * 8
	to = append(to, 0xff, 0xff, 0xff, 0xff)
	to = binary.LittleEndian.AppendUint32(to, uint32(size))
	return pad(append(to, meta...), size-len(meta))
}

func pad(b []byte, n int) []byte {
	for range n {
		b = append(b, 0)
	}
	return b
}

// Append appends a stream with one batch of rows, whose values are row by row.
func (w *Writer) Append(to []byte, values []rowsql.Value) ([]byte, error) {
	rows := 0
	if len(w.columns) > 0 {
		rows = len(values) / len(w.columns)
	}
	b := flatbuffers.NewBuilder(1024)
	var body []byte
	var buffers, nodes [][2]int // each a place and a size, or a length and a number of nulls
	add := func(write func()) {
		from := len(body)
		write()
		buffers = append(buffers, [2]int{from, len(body) - from})
		body = pad(body, (8-len(body)%8)%8)
	}
	for i, c := range w.columns {
		missing := 0
		for r := range rows {
			if values[r*len(w.columns)+i].Null {
				missing++
			}
		}
		nodes = append(nodes, [2]int{rows, missing})
		at := func(r int) *rowsql.Value { return &values[r*len(w.columns)+i] }
		text := func(r int) string {
			if v := at(r); !v.Null {
				return v.Text
			}
			return ""
		}
		add(func() {
			if missing > 0 {
				body = bits(body, rows, func(r int) bool { return !at(r).Null })
			}
		})
		if c.bits == 1 {
			add(func() { body = bits(body, rows, func(r int) bool { return at(r).Bits != 0 }) })
			continue
		}
		if c.bits > 0 {
			add(func() {
				for r := range rows {
					body = appendBits(body, c.bits, at(r))
				}
			})
			continue
		}
		size := 0
		add(func() {
			body = binary.LittleEndian.AppendUint32(body, 0)
			for r := range rows {
				size += len(text(r))
				body = binary.LittleEndian.AppendUint32(body, uint32(size))
			}
		})
		if size > math.MaxInt32 {
			return to, fmt.Errorf("column %s has more than %d bytes", c.Name, math.MaxInt32)
		}
		add(func() {
			for r := range rows {
				body = append(body, text(r)...)
			}
		})
	}
	pairs := func(all [][2]int) flatbuffers.UOffsetT {
		b.StartVector(16, len(all), 8)
		for i := len(all) - 1; i >= 0; i-- {
			b.PrependInt64(int64(all[i][1]))
			b.PrependInt64(int64(all[i][0]))
		}
		return b.EndVector(len(all))
	}
	n, bs := pairs(nodes), pairs(buffers)
	b.StartObject(5)
	b.PrependInt64Slot(0, int64(rows), 0)
	b.PrependUOffsetTSlot(1, n, 0)
	b.PrependUOffsetTSlot(2, bs, 0)
	header := b.EndObject()
	to = append(to, w.schema...)
	to = append(message(to, b, batchMessage, header, len(body)), body...)
	return append(to, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0), nil
}

// bits appends a bit for each row.
func bits(b []byte, rows int, set func(int) bool) []byte {
	from := len(b)
	b = pad(b, (rows+7)/8)
	for r := range rows {
		if set(r) {
			b[from+r/8] |= 1 << (r % 8)
		}
	}
	return b
}

func appendBits(b []byte, size int, v *rowsql.Value) []byte {
	n := v.Bits
	if v.Null {
		n = 0
	}
	switch size {
	case 8:
		return append(b, byte(n))
	case 16:
		return binary.LittleEndian.AppendUint16(b, uint16(n))
	case 32:
		return binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	return binary.LittleEndian.AppendUint64(b, n)
}
