package request

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// Tensors reads requests of the Open Inference Protocol: one tensor for each column, of shape
// [rows] or [rows, 1]. It is safe for concurrent use.
type Tensors struct {
	columns []*Typed
	index   map[string]int
	most    int // rows
}

// NewTensors returns what reads tensors into rows of the columns, of at most most rows a request.
func NewTensors(columns ir.Schema, most int) (*Tensors, error) {
	t := &Tensors{index: map[string]int{}, most: most}
	for i, c := range columns {
		x, err := NewTyped(c)
		if err != nil {
			return nil, err
		}
		t.columns = append(t.columns, x)
		t.index[c.Name] = i
	}
	return t, nil
}

// A Tensor is a tensor without its values.
type Tensor struct {
	Name, Datatype string
	Shape          []int64
	// Nulls lists the indexes whose values are null, such as "0,7". What the tensor has there
	// does not matter.
	Nulls string
}

// Datatype is the type of tensors for a column, as metadata name it. A column takes others, too.
func Datatype(column string) string {
	switch column {
	case "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64":
		return strings.ToUpper(column)
	case "float32":
		return "FP32"
	case "float64":
		return "FP64"
	}
	return "BYTES"
}

// A datatype is how a tensor has its values.
type datatype struct {
	kind byte // 'b' bool, 'i' and 'u' integers, 'f' floats, 's' texts and bytes
	bits int
}

var datatypes = map[string]datatype{
	"BOOL": {'b', 8}, "INT8": {'i', 8}, "INT16": {'i', 16}, "INT32": {'i', 32}, "INT64": {'i', 64},
	"UINT8": {'u', 8}, "UINT16": {'u', 16}, "UINT32": {'u', 32}, "UINT64": {'u', 64}, "FP32": {'f', 32}, "FP64": {'f', 64}, "BYTES": {'s', 0},
}

// fits reports whether a column takes a datatype.
func (t *Typed) fits(d datatype) bool {
	switch Datatype(t.Type)[0] {
	case 'B':
		if t.Type == "bool" {
			return d.kind == 'b'
		}
		return d.kind == 's'
	case 'F':
		return d.kind == 'f' || d.kind == 'i' || d.kind == 'u'
	}
	return d.kind == 'i' || d.kind == 'u'
}

// A Filling makes rows of tensors, one after the other.
type Filling struct {
	*Tensors
	rows   *Rows
	n      int // rows; -1 before the first tensor
	seen   []bool
	errors []Error
}

// Fill begins a request. The memory of the rows is used again.
func (t *Tensors) Fill(rows *Rows) *Filling {
	rows.Values, rows.Columns, rows.scratch = rows.Values[:0], len(t.columns), rows.scratch[:0]
	return &Filling{Tensors: t, rows: rows, n: -1, seen: make([]bool, len(t.columns))}
}

func (f *Filling) refuse(wrong Fault, where ...any) {
	if len(f.errors) < MostErrors {
		f.errors = append(f.errors, wrong.At(append([]any{"inputs"}, where...)...))
	}
}

func valueError(format string, with ...any) Fault {
	return Fault{"value_error", fmt.Sprintf(format, with...)}
}

// A target is the column that a tensor goes to.
type target struct {
	*Filling
	*Typed
	datatype
	at   int // of the column in a row
	name string
	null map[int]bool
}

// start checks a tensor without its values. It returns nil if there is something wrong.
func (f *Filling) start(x Tensor) *target {
	name := Short(x.Name)
	i, known := f.index[x.Name]
	d, there := datatypes[x.Datatype]
	switch {
	case !known:
		f.refuse(Extra, name)
		return nil
	case f.seen[i]:
		f.refuse(Fault{"value_error", "the tensor comes twice"}, name)
		return nil
	}
	f.seen[i] = true
	c := f.columns[i]
	n := 0
	if len(x.Shape) == 1 || len(x.Shape) == 2 && x.Shape[1] == 1 {
		n = int(x.Shape[0])
	}
	switch {
	case !there || !c.fits(d):
		f.refuse(valueError("a column of type %s cannot be a tensor of datatype %q; wanted %s", c.Type, Short(x.Datatype), Datatype(c.Type)), name)
		return nil
	case n < 1:
		f.refuse(valueError("wanted a tensor of shape [n] or [n, 1] with at least 1 row"), name)
		return nil
	case n > f.most:
		f.refuse(valueError("a tensor may have at most %d rows", f.most), name)
		return nil
	case f.n >= 0 && n != f.n:
		f.refuse(valueError("it has %d rows, and the tensors before it %d", n, f.n), name)
		return nil
	}
	if f.n < 0 {
		f.n = n
		for range n * len(f.columns) {
			f.rows.Values = append(f.rows.Values, rowsql.Null)
		}
	}
	t := &target{Filling: f, Typed: c, datatype: d, at: i, name: name}
	if x.Nulls != "" {
		t.null = map[int]bool{}
		for text := range strings.SplitSeq(x.Nulls, ",") {
			at, err := strconv.Atoi(strings.TrimSpace(text))
			if err != nil || at < 0 || at >= n {
				f.refuse(valueError("wanted nulls to be a list of indexes, such as \"0,7\""), name)
				return nil
			}
			t.null[at] = true
		}
	}
	return t
}

// set sets all values by a function for each. It ends early if the function says so.
func (t *target) set(value func(i int, v *rowsql.Value) (wrong Fault, end bool)) {
	width := len(t.columns)
	for i := range t.n {
		v := &t.rows.Values[i*width+t.at]
		wrong, end := value(i, v)
		if end {
			return
		}
		if t.null[i] {
			wrong = t.Null(v)
		}
		if wrong.Wrong() {
			if t.refuse(wrong, t.name, i); len(t.errors) >= MostErrors {
				return
			}
		}
	}
}

// Contents are the values of a tensor, in the list of its datatype.
type Contents struct {
	Bool   []bool
	Int    []int32 // of up to 32 bits
	Int64  []int64
	Uint   []uint32 // of up to 32 bits
	Uint64 []uint64
	FP32   []float32
	FP64   []float64
	Bytes  [][]byte
}

// Add reads a tensor whose values are in lists.
func (f *Filling) Add(x Tensor, c Contents) {
	t := f.start(x)
	if t == nil {
		return
	}
	lengths := []int{len(c.Bool), len(c.Int), len(c.Int64), len(c.Uint), len(c.Uint64), len(c.FP32), len(c.FP64), len(c.Bytes)}
	list := map[datatype]int{{'b', 8}: 0, {'i', 64}: 2, {'u', 64}: 4, {'f', 32}: 5, {'f', 64}: 6, {'s', 0}: 7}
	at, ok := list[t.datatype]
	if !ok {
		if at = 1; t.kind == 'u' {
			at = 3
		}
	}
	total := 0
	for _, n := range lengths {
		total += n
	}
	if lengths[at] != t.n || total != t.n {
		f.refuse(valueError("wanted %d values of %s", t.n, x.Datatype), t.name)
		return
	}
	t.set(func(i int, v *rowsql.Value) (Fault, bool) {
		switch at {
		case 0:
			return t.Bool(c.Bool[i], v), false
		case 1:
			return t.sized(int64(c.Int[i]), v), false
		case 2:
			return t.Int(c.Int64[i], v), false
		case 3:
			return t.unsigned(uint64(c.Uint[i]), v), false
		case 4:
			return t.Uint(c.Uint64[i], v), false
		case 5:
			return t.Float(float64(c.FP32[i]), v), false
		case 6:
			return t.Float(c.FP64[i], v), false
		}
		return t.Text(string(c.Bytes[i]), v), false
	})
}

// sized is an integer that the datatype has to hold.
func (t *target) sized(n int64, v *rowsql.Value) Fault {
	if bits := 64 - t.bits; n<<bits>>bits != n {
		return valueError("no INT%d is %d", t.bits, n)
	}
	return t.Int(n, v)
}

func (t *target) unsigned(n uint64, v *rowsql.Value) Fault {
	if bits := 64 - t.bits; n<<bits>>bits != n {
		return valueError("no UINT%d is %d", t.bits, n)
	}
	return t.Uint(n, v)
}

// AddRaw reads a tensor whose values are bytes: little-endian numbers, a byte for each bool,
// and texts with their length before them in 4 bytes. Texts of the rows refer to the bytes.
func (f *Filling) AddRaw(x Tensor, b []byte) {
	t := f.start(x)
	if t == nil {
		return
	}
	if size := t.bits / 8; size > 0 && len(b) != t.n*size {
		f.refuse(valueError("wanted %d bytes for %d values of %s", t.n*size, t.n, x.Datatype), t.name)
		return
	}
	bad := false
	t.set(func(i int, v *rowsql.Value) (Fault, bool) {
		if t.kind != 's' {
			return t.raw(b[i*t.bits/8:], v), false
		}
		var size uint32
		if bad = len(b) < 4; !bad {
			size = binary.LittleEndian.Uint32(b)
			bad = uint64(size) > uint64(len(b)-4)
		}
		if bad {
			return Fault{}, true
		}
		text := b[4 : 4+size : 4+size]
		b = b[4+size:]
		return t.Text(unsafe.String(unsafe.SliceData(text), len(text)), v), false
	})
	if bad || t.kind == 's' && len(b) > 0 && len(f.errors) == 0 {
		f.refuse(valueError("wanted %d texts, each with its length before it in 4 bytes", t.n), t.name)
	}
}

// raw is a number or a bool of bytes.
func (t *target) raw(b []byte, v *rowsql.Value) Fault {
	var n uint64
	switch t.bits {
	case 8:
		n = uint64(b[0])
	case 16:
		n = uint64(binary.LittleEndian.Uint16(b))
	case 32:
		n = uint64(binary.LittleEndian.Uint32(b))
	default:
		n = binary.LittleEndian.Uint64(b)
	}
	switch t.kind {
	case 'b':
		if n > 1 {
			return t.Mismatch()
		}
		return t.Bool(n == 1, v)
	case 'i':
		unused := 64 - t.bits
		return t.Int(int64(n<<unused)>>unused, v)
	case 'u':
		return t.Uint(n, v)
	}
	if t.bits == 32 {
		return t.Float(float64(math.Float32frombits(uint32(n))), v)
	}
	return t.Float(math.Float64frombits(n), v)
}

// End returns what is wrong with the tensors.
func (f *Filling) End() []Error {
	for i, c := range f.columns {
		if !f.seen[i] && !c.Nullable {
			f.refuse(Missing, Short(c.Name))
		}
	}
	if f.n < 0 && len(f.errors) == 0 {
		f.refuse(valueError("wanted at least one tensor"))
	}
	return slices.Clip(f.errors)
}

// Columns is how many columns a request may have.
func (t *Tensors) Columns() int { return len(t.columns) }

// MostRows is how many rows a request may have.
func (t *Tensors) MostRows() int { return t.most }
