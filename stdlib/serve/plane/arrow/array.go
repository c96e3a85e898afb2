package arrow

import (
	"encoding/binary"
	"math"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A form is a type of Arrow, as far as it says how values are stored.
type form struct {
	kind   kind
	bits   int // of a number, a date or a time, or of the offsets of texts
	signed bool
	scale  int64 // units per second of a time or timestamp; of dates, per day
	zoned  bool
	utf8   bool // of texts, rather than bytes
}

type kind uint8

const (
	unknown kind = iota
	nulls
	bools
	integers
	floats
	binaries // texts or bytes
	views    // the same, as 16 bytes each that refer to other buffers
	dates
	times
	timestamps
)

// intType is the number of the type of integers.
const intType = 2

const perDay = 86_400

// newForm reads a type, whose number says which.
func newForm(number byte, t table) form {
	units := []int64{1, 1e3, 1e6, 1e9}
	switch number {
	case 1:
		return form{kind: nulls}
	case intType:
		switch bits := t.int32(0); bits {
		case 8, 16, 32, 64:
			return form{kind: integers, bits: bits, signed: t.byte(1) != 0}
		}
	case 3:
		switch t.int16(0) {
		case 1:
			return form{kind: floats, bits: 32}
		case 2:
			return form{kind: floats, bits: 64}
		}
	case 4, 5:
		return form{kind: binaries, bits: 32, utf8: number == 5}
	case 6:
		return form{kind: bools}
	case 8:
		// The unit is absent where it is milliseconds, which is not 0.
		if at := t.field(0); at != 0 && t.int16(0) == 0 {
			return form{kind: dates, bits: 32, signed: true, scale: 1}
		}
		return form{kind: dates, bits: 64, signed: true, scale: perDay * 1000}
	case 9:
		unit, bits := 1, 32
		if t.field(0) != 0 {
			unit = t.int16(0)
		}
		if t.field(1) != 0 {
			bits = t.int32(1)
		}
		if unit >= 0 && unit < len(units) && (bits == 32 || bits == 64) {
			return form{kind: times, bits: bits, signed: true, scale: units[unit]}
		}
	case 10:
		if unit := t.int16(0); unit >= 0 && unit < len(units) {
			return form{kind: timestamps, bits: 64, signed: true, scale: units[unit], zoned: t.text(1) != ""}
		}
	case 19, 20:
		return form{kind: binaries, bits: 64, utf8: number == 20}
	case 23, 24:
		return form{kind: views, utf8: number == 24}
	}
	return form{}
}

func (f form) texts() bool { return f.kind == binaries || f.kind == views }

// fits says whether a column may have values of a form.
func (f form) fits(t *request.Typed) request.Fault {
	ok := false
	switch kind := t.Column().Type; kind {
	case "bool":
		ok = f.kind == bools
	case "float32", "float64":
		ok = f.kind == floats || f.kind == integers
	case "string":
		ok = f.texts() && f.utf8
	case "bytes":
		ok = f.texts() && !f.utf8
	case "date":
		ok = f.kind == dates
	case "time":
		ok = f.kind == times
	case "timestamp", "timestamptz":
		if f.kind == timestamps {
			return t.Zone(f.zoned)
		}
	default:
		ok = f.kind == integers
	}
	if ok || f.kind == nulls && t.Nullable {
		return request.Fault{}
	}
	return t.Mismatch()
}

// A batch is a record batch, whose arrays are taken one after the other.
type batch struct {
	body     []byte
	meta     []byte
	rows     int
	node     int // position of the next one
	nodes    int // how many are left
	buffer   int
	buffers  int
	variadic int // position of the next count of buffers of an array of views
	counts   int
}

func newBatch(t table, body []byte) (*batch, error) {
	if _, compressed := t.table(3); compressed {
		return nil, refused("wanted record batches without compression")
	}
	b := &batch{body: body, meta: t.b, rows: int(t.int64(0))}
	b.node, b.nodes = t.vector(1, 16)
	b.buffer, b.buffers = t.vector(2, 16)
	b.variadic, b.counts = t.vector(4, 8)
	return b, nil
}

// An array is a column of a batch.
type array struct {
	form
	length int
	valid  []byte // bits; empty if no value is null
	data   []byte // values, offsets or views
	text   []byte
	more   [][]byte // what views refer to
}

// array takes the next array. Damage panics.
func (b *batch) array(f form) *array {
	if b.nodes--; b.nodes < 0 {
		panic(errDamaged)
	}
	a := &array{form: f, length: int(binary.LittleEndian.Uint64(b.meta[b.node:]))}
	nullCount := binary.LittleEndian.Uint64(b.meta[b.node+8:])
	b.node += 16
	if f.kind == nulls {
		return a
	}
	a.valid, a.data = b.next(), b.next()
	if nullCount > 0 && len(a.valid) == 0 {
		panic(errDamaged)
	}
	switch f.kind {
	case binaries:
		a.text = b.next()
	case views:
		if b.counts--; b.counts < 0 {
			panic(errDamaged)
		}
		n := binary.LittleEndian.Uint64(b.meta[b.variadic:])
		for b.variadic += 8; n > 0; n-- {
			a.more = append(a.more, b.next())
		}
	}
	return a
}

// next takes the next buffer.
func (b *batch) next() []byte {
	if b.buffers--; b.buffers < 0 {
		panic(errDamaged)
	}
	from, size := int(binary.LittleEndian.Uint64(b.meta[b.buffer:])), int(binary.LittleEndian.Uint64(b.meta[b.buffer+8:]))
	b.buffer += 16
	return b.body[from:][:size:size]
}

// errDamaged is for what Go does not check itself.
var errDamaged damaged

type damaged struct{}

func (damaged) Error() string { return "the Arrow stream is damaged" }
func (damaged) RuntimeError() {}

func (a *array) null(i int) bool {
	return a.kind == nulls || len(a.valid) > 0 && a.valid[i/8]&(1<<(i%8)) == 0
}

// set makes a value of a column. The array fits it.
func (a *array) set(t *request.Typed, i int, v *rowsql.Value) request.Fault {
	switch a.kind {
	case bools:
		return t.Bool(a.data[i/8]&(1<<(i%8)) != 0, v)
	case integers:
		n := a.integer(i)
		if a.signed {
			return t.Int(n, v)
		}
		return t.Uint(uint64(n), v)
	case floats:
		if a.bits == 32 {
			return t.Float(float64(math.Float32frombits(binary.LittleEndian.Uint32(a.data[4*i:]))), v)
		}
		return t.Float(math.Float64frombits(binary.LittleEndian.Uint64(a.data[8*i:])), v)
	case binaries, views:
		return t.Text(str(a.bytes(i)), v)
	}
	unit := int64(1e6)
	if a.kind == dates {
		unit = 1
	}
	return t.Scaled(a.integer(i), a.scale, unit, v)
}

// integer is an integer in its own width, as the bits of an int64.
func (a *array) integer(i int) int64 {
	var n uint64
	switch a.bits {
	case 8:
		n = uint64(a.data[i])
	case 16:
		n = uint64(binary.LittleEndian.Uint16(a.data[2*i:]))
	case 32:
		n = uint64(binary.LittleEndian.Uint32(a.data[4*i:]))
	default:
		return int64(binary.LittleEndian.Uint64(a.data[8*i:]))
	}
	if unused := 64 - a.bits; a.signed {
		return int64(n<<unused) >> unused
	}
	return int64(n)
}

// position is the number of a text in a dictionary, or -1.
func (a *array) position(i int) int {
	n := a.integer(i)
	if n < 0 || n > math.MaxInt32 {
		return -1
	}
	return int(n)
}

// bytes is a text.
func (a *array) bytes(i int) []byte {
	if a.kind == views {
		view := a.data[16*i : 16*i+16]
		size := int(binary.LittleEndian.Uint32(view))
		if size <= 12 {
			return view[4 : 4+size : 4+size]
		}
		from := int(binary.LittleEndian.Uint32(view[12:]))
		return a.more[binary.LittleEndian.Uint32(view[8:])][from : from+size : from+size]
	}
	if a.bits == 64 {
		from, to := int(binary.LittleEndian.Uint64(a.data[8*i:])), int(binary.LittleEndian.Uint64(a.data[8*i+8:]))
		return a.text[from:to:to]
	}
	from, to := int(binary.LittleEndian.Uint32(a.data[4*i:])), int(binary.LittleEndian.Uint32(a.data[4*i+4:]))
	return a.text[from:to:to]
}
