package events

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A frame is a head and its payload: a [fileHead] as JSON, or rows.
const (
	magic    = "TEV1"
	headSize = 20 // the magic, the size of the payload, the number of rows, the sums of payload and head
	// mostPayload is the largest payload that is written. A larger one is damage.
	mostPayload = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A fileHead is in a frame without rows: what follows it, or that nothing does.
type fileHead struct {
	Columns ir.Schema `json:"columns,omitempty"`
	From    int64     `json:"from,omitempty"`   // the number of the first event of the file, of all that ever counted
	Log     string    `json:"log,omitempty"`    // the name of the log
	Begun   time.Time `json:"begun,omitzero"`   // when the file was
	Sealed  bool      `json:"sealed,omitempty"` // the log goes on in another file
}

// readHead reads the payload of a frame without rows. Older files have only the columns.
func readHead(payload []byte) (h fileHead, err error) {
	if len(payload) > 0 && payload[0] == '[' {
		return h, json.Unmarshal(payload, &h.Columns)
	}
	return h, json.Unmarshal(payload, &h)
}

// frame returns the head as a frame.
func (h fileHead) frame() ([]byte, error) {
	b, err := json.Marshal(h)
	return appendFrame(nil, b, 0), err
}

// frames are what was read of a file of frames.
type frames struct {
	f      *os.File
	end    int64 // of what was read
	head   fileHead
	rows   int64 // that were read
	buffer []byte
}

// next reads the next frame, up to a size of the file. It is not ok if there is no complete one.
func (x *frames) next(size int64) (payload []byte, rows uint32, ok bool, err error) {
	if payload, rows, ok, err = x.at(x.end, size); !ok || err != nil {
		return payload, rows, ok, err
	}
	x.end += headSize + int64(len(payload))
	x.rows += int64(rows)
	if rows == 0 {
		h, err := readHead(payload)
		if err != nil {
			return nil, 0, false, fmt.Errorf("the log of events %s at byte %d: %w", x.f.Name(), x.end, err)
		}
		if x.head.Sealed = h.Sealed; !h.Sealed {
			x.head = h
		}
	}
	return payload, rows, true, nil
}

// at reads the frame at a byte.
func (x *frames) at(at, size int64) (payload []byte, rows uint32, ok bool, err error) {
	var head [headSize]byte
	if size-at < headSize {
		return nil, 0, false, nil
	}
	if _, err := x.f.ReadAt(head[:], at); err != nil {
		return nil, 0, false, fmt.Errorf("read the log of events: %w", err)
	}
	n := binary.LittleEndian.Uint32(head[4:])
	if string(head[:4]) != magic || crc32.Checksum(head[:16], castagnoli) != binary.LittleEndian.Uint32(head[16:]) || n > mostPayload || size-at-headSize < int64(n) {
		return nil, 0, false, nil
	}
	if cap(x.buffer) < int(n) {
		x.buffer = make([]byte, n)
	}
	payload = x.buffer[:n]
	if _, err := x.f.ReadAt(payload, at+headSize); err != nil {
		return nil, 0, false, fmt.Errorf("read the log of events: %w", err)
	}
	return payload, binary.LittleEndian.Uint32(head[8:]), crc32.Checksum(payload, castagnoli) == binary.LittleEndian.Uint32(head[12:]), nil
}

// each calls f for each row up to a size of the file, whose columns are those that rows had when
// they were written. It returns where a frame is not complete, or size.
func (x *frames) each(size int64, f func(columns ir.Schema, row []rowsql.Value) error) (end int64, err error) {
	for x.end < size {
		payload, rows, ok, err := x.next(size)
		if err != nil || !ok {
			return x.end, err
		}
		row := make([]rowsql.Value, len(x.head.Columns))
		for range rows {
			if payload, ok = decodeRow(payload, x.head.Columns, row); !ok {
				return x.end, fmt.Errorf("the log of events %s: a row before byte %d is damaged", x.f.Name(), x.end)
			}
			if err := f(x.head.Columns, row); err != nil {
				return x.end, err
			}
		}
	}
	return x.end, nil
}

func appendFrame(b, payload []byte, rows int) []byte {
	from := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, uint32(rows))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
	return append(b, payload...)
}

// encodeRow appends a row of some columns.
func encodeRow(b []byte, columns ir.Schema, row []rowsql.Value) []byte {
	for i, v := range row {
		switch typ := columns[i].Type; {
		case v.Null:
			b = append(b, 0)
		case typ == "string" || typ == "bytes":
			b = binary.AppendUvarint(append(b, 1), uint64(len(v.Text)))
			b = append(b, v.Text...)
		default:
			b = binary.LittleEndian.AppendUint64(append(b, 1), v.Bits)
		}
	}
	return b
}

// decodeRow reads a row of some columns, and returns what follows it.
func decodeRow(b []byte, columns ir.Schema, row []rowsql.Value) (rest []byte, ok bool) {
	for i, c := range columns {
		if row[i], b, ok = decodeValue(b, c.Type); !ok {
			return nil, false
		}
	}
	return b, true
}

// decodeValue reads a value, and returns what follows it.
func decodeValue(b []byte, typ string) (v rowsql.Value, rest []byte, ok bool) {
	if len(b) == 0 {
		return v, nil, false
	}
	null := b[0] == 0
	b = b[1:]
	if null {
		return rowsql.Null, b, true
	}
	if typ == "string" || typ == "bytes" {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return v, nil, false
		}
		b = b[size:]
		return rowsql.String(string(b[:n])), b[n:], true
	}
	if len(b) < 8 {
		return v, nil, false
	}
	v.Bits = binary.LittleEndian.Uint64(b)
	return v, b[8:], true
}

// A mapping makes events of some columns of rows that were written with others.
type mapping struct {
	columns, of ir.Schema
	to          []int // of each column that was written, or -1
	row         []rowsql.Value
}

// newMapping makes a mapping. It refuses columns that have another type now, and new ones that a
// row cannot lack.
func newMapping(columns, of ir.Schema) (*mapping, error) {
	m := &mapping{columns: columns, of: of, to: make([]int, len(of)), row: make([]rowsql.Value, len(columns))}
	found := make([]bool, len(columns))
	for i, c := range of {
		m.to[i] = -1
		for j, have := range columns {
			if have.Name == c.Name {
				if have.Type != c.Type {
					return nil, fmt.Errorf("its column %s is %s, which is %s now: remove the log if its events are in the table of the history", c.Name, c.Type, have.Type)
				}
				m.to[i], found[j] = j, true
			}
		}
	}
	for j, ok := range found {
		if !ok && !columns[j].Nullable {
			return nil, fmt.Errorf("its events have no column %s, which the features of this version need: remove the log if its events are in the table of the history", columns[j].Name)
		}
	}
	return m, nil
}

// event returns the event of a row that was written. It is overwritten by the next one.
func (m *mapping) event(row []rowsql.Value) []rowsql.Value {
	for j := range m.row {
		m.row[j] = rowsql.Null
	}
	for i, j := range m.to {
		if j >= 0 {
			m.row[j] = row[i]
		}
	}
	return m.row
}

// mapped returns what calls f with the events of rows of any columns.
func mapped(columns ir.Schema, f func([]rowsql.Value) error) func(of ir.Schema, row []rowsql.Value) error {
	var m *mapping
	return func(of ir.Schema, row []rowsql.Value) error {
		if m == nil || !equalColumns(m.of, of) {
			var err error
			if m, err = newMapping(columns, of); err != nil {
				return fmt.Errorf("the log of events: %w", err)
			}
		}
		return f(m.event(row))
	}
}

func equalColumns(a, b ir.Schema) bool {
	if len(a) != len(b) || a == nil {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || a[i].Type != b[i].Type {
			return false
		}
	}
	return true
}
