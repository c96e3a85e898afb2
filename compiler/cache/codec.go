package cache

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	mathbits "math/bits"
	"reflect"
	"slices"
	"sync"
	"unsafe"
)

// The types define the encoding: fields and elements in order, without names. Only the
// program that wrote it reads it. A field with its zero value takes one bit. A text is
// written once and then referred to by its place, and so is a list that several places
// share, such as the schema of an output and of the inputs that read it; decoding restores
// the sharing. A system consists mostly of such repetitions.
//
// Every command decodes a system, so decoding writes to memory directly. To encode one is
// rare, and reflection is fast enough for that.

var errDamaged = errors.New("it is damaged")

// encode returns the bytes of plain data: structs, pointers, lists, maps with texts as
// keys, numbers, texts, and what encoding/json decodes into an any.
func encode[T any](v *T) ([]byte, error) {
	e := &encoder{texts: map[string]uint64{}, lists: map[list]int{}}
	codecOf(reflect.TypeFor[T]()).encode(e, reflect.ValueOf(v).Elem())
	return e.b, e.err
}

// decode is the inverse of encode. v must be zero. The result refers to bytes of b, which
// must not change afterwards.
func decode[T any](b []byte, v *T) error {
	d := &decoder{
		b: b, text: unsafe.String(unsafe.SliceData(b), len(b)),
		shared: map[uint64]decoded{}, spare: map[reflect.Type]*array{},
	}
	codecOf(reflect.TypeFor[T]()).decode(d, unsafe.Pointer(v))
	if d.err == nil && d.at != len(b) {
		return errDamaged
	}
	return d.err
}

type encoder struct {
	b     []byte
	texts map[string]uint64 // their places, from 1 on
	lists map[list]int      // their places
	err   error
}

// A list is the position of a slice in memory.
type list struct {
	typ   reflect.Type
	first uintptr
	len   int
}

func (e *encoder) number(n uint64) { e.b = binary.AppendUvarint(e.b, n) }

// string writes 0 and a new text, or the place of one that was written before.
func (e *encoder) string(s string) {
	if n, ok := e.texts[s]; ok {
		e.number(n)
		return
	}
	e.number(0)
	e.texts[s] = uint64(len(e.b)) + 1
	e.number(uint64(len(s)))
	e.b = append(e.b, s...)
}

type decoder struct {
	b      []byte
	text   string // b
	at     int
	shared map[uint64]decoded      // lists by their places
	spare  map[reflect.Type]*array // room for more short lists of a type
	err    error
}

// An array has the layout of a slice, of any type.
type array struct {
	first    unsafe.Pointer
	len, cap int
}

// A decoded is a list that several places share.
type decoded struct {
	typ reflect.Type
	array
}

// damaged makes all further reads fail.
func (d *decoder) damaged() { d.err, d.at = errDamaged, len(d.b) }

func (d *decoder) number() uint64 {
	if d.at < len(d.b) && d.b[d.at] < 0x80 { // most are small
		d.at++
		return uint64(d.b[d.at-1])
	}
	n, used := binary.Uvarint(d.b[d.at:])
	if used <= 0 {
		d.damaged()
		return 0
	}
	d.at += used
	return n
}

// length reads a number of elements, each of which takes at least size bytes.
func (d *decoder) length(size int) int {
	n := d.number()
	if n > uint64((len(d.b)-d.at)/size) {
		d.damaged()
		return 0
	}
	return int(n)
}

func (d *decoder) string() string {
	place := d.number()
	after := d.at
	if place > 0 {
		if place > uint64(len(d.b)) {
			d.damaged()
			return ""
		}
		d.at = int(place) - 1
	}
	n := d.length(1)
	s := d.text[d.at : d.at+n]
	if d.at += n; place > 0 && d.err == nil {
		d.at = after
	}
	return s
}

// chunk is how many bytes are allocated at once for short lists.
const chunk = 4096

// array returns a list of n zero elements of a slice type.
func (d *decoder) array(t reflect.Type, n int) array {
	size := max(int(t.Elem().Size()), 1)
	if n == 0 || n*size > chunk/4 {
		return array{reflect.MakeSlice(t, n, n).UnsafePointer(), n, n}
	}
	a := d.spare[t]
	if a == nil {
		a = new(array)
		d.spare[t] = a
	}
	if a.cap-a.len < n {
		*a = array{reflect.MakeSlice(t, chunk/size, chunk/size).UnsafePointer(), 0, chunk / size}
	}
	first := unsafe.Add(a.first, a.len*size)
	a.len += n
	return array{first, n, n}
}

// A codec writes and reads values of one type. Each value takes at least size bytes, so
// that a damaged length cannot request more memory than the remaining bytes justify.
// decode finds the zero value of the type.
type codec struct {
	size   int
	encode func(*encoder, reflect.Value)
	decode func(*decoder, unsafe.Pointer)
}

var codecs sync.Map // by type

func codecOf(t reflect.Type) codec {
	if c, ok := codecs.Load(t); ok {
		return c.(codec)
	}
	c := newCodec(t)
	codecs.Store(t, c)
	return c
}

// newCodec panics for a type that cannot be encoded; tests show that the types of the IR
// can.
func newCodec(t reflect.Type) codec {
	switch t.Kind() {
	case reflect.Bool:
		return codec{1,
			func(e *encoder, v reflect.Value) {
				e.b = append(e.b, 0)
				if v.Bool() {
					e.b[len(e.b)-1] = 1
				}
			},
			func(d *decoder, p unsafe.Pointer) { *(*bool)(p) = d.number() == 1 },
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return codec{1,
			func(e *encoder, v reflect.Value) { e.b = binary.AppendVarint(e.b, v.Int()) },
			func(d *decoder, p unsafe.Pointer) {
				n := d.number()
				reflect.NewAt(t, p).Elem().SetInt(int64(n>>1) ^ -int64(n&1))
			},
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return codec{1,
			func(e *encoder, v reflect.Value) { e.number(v.Uint()) },
			func(d *decoder, p unsafe.Pointer) { reflect.NewAt(t, p).Elem().SetUint(d.number()) },
		}
	case reflect.Float64:
		return codec{1,
			func(e *encoder, v reflect.Value) { e.number(math.Float64bits(v.Float())) },
			func(d *decoder, p unsafe.Pointer) { *(*float64)(p) = math.Float64frombits(d.number()) },
		}
	case reflect.String:
		return codec{1,
			func(e *encoder, v reflect.Value) { e.string(v.String()) },
			func(d *decoder, p unsafe.Pointer) { *(*string)(p) = d.string() },
		}
	case reflect.Struct:
		return structCodec(t)
	case reflect.Pointer:
		return pointerCodec(t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return bytesCodec
		}
		return sliceCodec(t)
	case reflect.Map:
		return mapCodec(t)
	case reflect.Interface:
		if t.NumMethod() == 0 {
			return anyCodec
		}
	}
	panic(fmt.Sprintf("cache: cannot encode a %s", t))
}

// structCodec writes a bit for every field, and then the fields that are not zero.
func structCodec(t reflect.Type) codec {
	type field struct {
		offset uintptr
		codec
	}
	var fields []field
	for i := range t.NumField() {
		fields = append(fields, field{t.Field(i).Offset, codecOf(t.Field(i).Type)})
	}
	size := (len(fields) + 7) / 8
	return codec{size,
		func(e *encoder, v reflect.Value) {
			set := len(e.b)
			e.b = append(e.b, make([]byte, size)...)
			for i, f := range fields {
				if !v.Field(i).IsZero() {
					e.b[set+i/8] |= 1 << (i % 8)
					f.encode(e, v.Field(i))
				}
			}
		},
		func(d *decoder, p unsafe.Pointer) {
			if len(d.b)-d.at < size {
				d.damaged()
				return
			}
			set := d.b[d.at : d.at+size]
			d.at += size
			for i, bits := range set {
				for ; bits != 0; bits &= bits - 1 {
					n := 8*i + mathbits.TrailingZeros8(bits)
					if n >= len(fields) {
						d.damaged()
						return
					}
					fields[n].decode(d, unsafe.Add(p, fields[n].offset))
				}
			}
		},
	}
}

func pointerCodec(t reflect.Type) codec {
	elem := codecOf(t.Elem())
	return codec{1,
		func(e *encoder, v reflect.Value) {
			if v.IsNil() {
				e.number(0)
				return
			}
			e.number(1)
			elem.encode(e, v.Elem())
		},
		func(d *decoder, p unsafe.Pointer) {
			if d.number() == 1 {
				v := reflect.New(t.Elem()).UnsafePointer()
				*(*unsafe.Pointer)(p) = v
				elem.decode(d, v)
			}
		},
	}
}

// bytesCodec writes the length plus one, to distinguish nil from empty.
var bytesCodec = codec{1,
	func(e *encoder, v reflect.Value) {
		if v.IsNil() {
			e.number(0)
			return
		}
		e.number(uint64(v.Len()) + 1)
		e.b = append(e.b, v.Bytes()...)
	},
	func(d *decoder, p unsafe.Pointer) {
		n := d.number()
		switch {
		case n == 0:
		case n-1 > uint64(len(d.b)-d.at):
			d.damaged()
		default:
			end := d.at + int(n-1)
			*(*[]byte)(p) = d.b[d.at:end:end]
			d.at = end
		}
	},
}

// What a list begins with.
const (
	noList     = iota // nil
	sameList          // the place of a list that was written before
	newList           // its length and its elements
	sharedList        // the same, and another place refers to it
)

func sliceCodec(t reflect.Type) codec {
	elem := codecOf(t.Elem())
	size := t.Elem().Size()
	return codec{1,
		func(e *encoder, v reflect.Value) {
			if v.IsNil() {
				e.number(noList)
				return
			}
			l := list{t, v.Pointer(), v.Len()}
			if place, ok := e.lists[l]; ok && v.Len() > 0 {
				e.b[place] = sharedList
				e.number(sameList)
				e.number(uint64(place))
				return
			}
			place := len(e.b)
			e.number(newList)
			e.number(uint64(v.Len()))
			for i := range v.Len() {
				elem.encode(e, v.Index(i))
			}
			e.lists[l] = place
		},
		func(d *decoder, p unsafe.Pointer) {
			place := uint64(d.at)
			switch kind := d.number(); kind {
			case noList:
			case sameList:
				l := d.shared[d.number()]
				if l.typ != t {
					d.damaged()
					return
				}
				*(*array)(p) = l.array
			case newList, sharedList:
				n := d.length(max(elem.size, 1))
				a := d.array(t, n)
				for i := 0; i < n && d.err == nil; i++ {
					elem.decode(d, unsafe.Add(a.first, uintptr(i)*size))
				}
				*(*array)(p) = a
				if kind == sharedList {
					d.shared[place] = decoded{t, a}
				}
			default:
				d.damaged()
			}
		},
	}
}

func mapCodec(t reflect.Type) codec {
	elem := codecOf(t.Elem())
	return codec{1,
		func(e *encoder, v reflect.Value) {
			if v.IsNil() {
				e.number(0)
				return
			}
			e.number(1)
			values := map[string]reflect.Value{}
			for it := v.MapRange(); it.Next(); {
				values[it.Key().String()] = it.Value()
			}
			e.number(uint64(len(values)))
			for _, k := range slices.Sorted(maps.Keys(values)) {
				e.string(k)
				elem.encode(e, values[k])
			}
		},
		func(d *decoder, p unsafe.Pointer) {
			if d.number() != 1 {
				return
			}
			n := d.length(1 + elem.size)
			m := reflect.MakeMapWithSize(t, n)
			for range n {
				k := d.string()
				x := reflect.New(t.Elem())
				elem.decode(d, x.UnsafePointer())
				if d.err != nil {
					return
				}
				m.SetMapIndex(reflect.ValueOf(k), x.Elem())
			}
			reflect.NewAt(t, p).Elem().Set(m)
		},
	}
}

// anyCodec writes JSON, because there is little of it.
var anyCodec = codec{1,
	func(e *encoder, v reflect.Value) {
		b, err := json.Marshal(v.Interface())
		if err != nil && e.err == nil {
			e.err = err
		}
		e.string(string(b))
	},
	func(d *decoder, p unsafe.Pointer) {
		in := json.NewDecoder(bytes.NewReader([]byte(d.string())))
		in.UseNumber()
		var x any
		if in.Decode(&x) != nil {
			d.damaged()
		} else if _, err := in.Token(); err != io.EOF {
			d.damaged()
		} else {
			*(*any)(p) = x
		}
	},
}
