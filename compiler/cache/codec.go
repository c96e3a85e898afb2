package cache

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"sync"
	"unsafe"
)

// The types define the encoding: fields and elements in order, without names. Only the
// program that wrote it reads it. A text is written once and then referred to, and so is
// a list that several places share, such as the schema of an output and of the inputs
// that read it; decoding restores the sharing. A system consists mostly of such
// repetitions.

var errDamaged = errors.New("it is damaged")

// encode returns the bytes of plain data: structs, pointers, lists, maps with texts as
// keys, numbers, texts, and what encoding/json decodes into an any.
func encode[T any](v *T) ([]byte, error) {
	e := &encoder{texts: map[string]uint64{}, lists: map[list]uint64{}}
	codecOf(reflect.TypeFor[T]()).encode(e, reflect.ValueOf(v).Elem())
	b := binary.AppendUvarint(nil, uint64(len(e.texts)))
	b = binary.AppendUvarint(b, uint64(len(e.lists)))
	return append(b, e.b...), e.err
}

// decode is the inverse of encode. The result refers to bytes of b, which must not change
// afterwards.
func decode[T any](b []byte, v *T) error {
	d := &decoder{b: b, text: unsafe.String(unsafe.SliceData(b), len(b))}
	d.texts, d.lists = make([]string, 0, d.length(2)), make([]reflect.Value, 0, d.length(1))
	codecOf(reflect.TypeFor[T]()).decode(d, reflect.ValueOf(v).Elem())
	if d.err == nil && d.at != len(b) {
		return errDamaged
	}
	return d.err
}

type encoder struct {
	b     []byte
	texts map[string]uint64
	lists map[list]uint64
	err   error
}

// A list is the position of a slice in memory.
type list struct {
	typ   reflect.Type
	first uintptr
	len   int
}

func (e *encoder) number(n uint64) { e.b = binary.AppendUvarint(e.b, n) }

func (e *encoder) string(s string) {
	if n, ok := e.texts[s]; ok {
		e.number(n)
		return
	}
	e.texts[s] = uint64(len(e.texts)) + 1
	e.number(0)
	e.number(uint64(len(s)))
	e.b = append(e.b, s...)
}

type decoder struct {
	b     []byte
	text  string // b
	at    int
	texts []string
	lists []reflect.Value
	err   error
}

func (d *decoder) damaged() { d.err = errDamaged }

func (d *decoder) number() uint64 {
	n, used := binary.Uvarint(d.b[d.at:])
	if used <= 0 || d.err != nil {
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
	if n := d.number(); n > uint64(len(d.texts)) {
		d.damaged()
		return ""
	} else if n > 0 {
		return d.texts[n-1]
	}
	n := d.length(1)
	s := d.text[d.at : d.at+n]
	d.at += n
	d.texts = append(d.texts, s)
	return s
}

// A codec writes and reads values of one type. Each value takes at least size bytes, so
// that a damaged length cannot request more memory than the remaining bytes justify.
type codec struct {
	size   int
	encode func(*encoder, reflect.Value)
	decode func(*decoder, reflect.Value)
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
			func(d *decoder, v reflect.Value) { v.SetBool(d.number() == 1) },
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return codec{1,
			func(e *encoder, v reflect.Value) { e.b = binary.AppendVarint(e.b, v.Int()) },
			func(d *decoder, v reflect.Value) {
				n := d.number()
				v.SetInt(int64(n>>1) ^ -int64(n&1))
			},
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return codec{1,
			func(e *encoder, v reflect.Value) { e.number(v.Uint()) },
			func(d *decoder, v reflect.Value) { v.SetUint(d.number()) },
		}
	case reflect.String:
		return codec{1,
			func(e *encoder, v reflect.Value) { e.string(v.String()) },
			func(d *decoder, v reflect.Value) { v.SetString(d.string()) },
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
		return anyCodec
	}
	panic(fmt.Sprintf("cache: cannot encode a %s", t))
}

func structCodec(t reflect.Type) codec {
	var fields []codec
	size := 0
	for i := range t.NumField() {
		f := codecOf(t.Field(i).Type)
		fields = append(fields, f)
		size += f.size
	}
	return codec{size,
		func(e *encoder, v reflect.Value) {
			for i, f := range fields {
				f.encode(e, v.Field(i))
			}
		},
		func(d *decoder, v reflect.Value) {
			for i, f := range fields {
				if d.err == nil {
					f.decode(d, v.Field(i))
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
		func(d *decoder, v reflect.Value) {
			if d.number() == 1 {
				v.Set(reflect.New(t.Elem()))
				elem.decode(d, v.Elem())
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
	func(d *decoder, v reflect.Value) {
		n := d.number()
		switch {
		case n == 0 || d.err != nil:
		case n-1 > uint64(len(d.b)-d.at):
			d.damaged()
		default:
			end := d.at + int(n-1)
			v.SetBytes(d.b[d.at:end:end])
			d.at = end
		}
	},
}

// sliceCodec writes 0 for nil, 1 and a number for a list that was written before, 2 and
// the elements for a new one.
func sliceCodec(t reflect.Type) codec {
	elem := codecOf(t.Elem())
	return codec{1,
		func(e *encoder, v reflect.Value) {
			if v.IsNil() {
				e.number(0)
				return
			}
			l := list{t, v.Pointer(), v.Len()}
			if n, ok := e.lists[l]; ok && v.Len() > 0 {
				e.number(1)
				e.number(n)
				return
			}
			e.number(2)
			e.number(uint64(v.Len()))
			for i := range v.Len() {
				elem.encode(e, v.Index(i))
			}
			if v.Len() > 0 {
				e.lists[l] = uint64(len(e.lists))
			}
		},
		func(d *decoder, v reflect.Value) {
			switch d.number() {
			case 0:
			case 1:
				n := d.number()
				if n >= uint64(len(d.lists)) || d.lists[n].Type() != t {
					d.damaged()
					return
				}
				v.Set(d.lists[n])
			case 2:
				n := d.length(max(elem.size, 1))
				s := reflect.MakeSlice(t, n, n)
				for i := range n {
					if d.err == nil {
						elem.decode(d, s.Index(i))
					}
				}
				v.Set(s)
				if n > 0 {
					d.lists = append(d.lists, s)
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
		func(d *decoder, v reflect.Value) {
			if d.number() != 1 {
				return
			}
			n := d.length(1 + elem.size)
			v.Set(reflect.MakeMapWithSize(t, n))
			for range n {
				k := d.string()
				x := reflect.New(t.Elem()).Elem()
				elem.decode(d, x)
				if d.err != nil {
					return
				}
				v.SetMapIndex(reflect.ValueOf(k), x)
			}
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
	func(d *decoder, v reflect.Value) {
		in := json.NewDecoder(bytes.NewReader([]byte(d.string())))
		in.UseNumber()
		var x any
		if in.Decode(&x) != nil {
			d.damaged()
		} else if _, err := in.Token(); err != io.EOF {
			d.damaged()
		} else if x != nil {
			v.Set(reflect.ValueOf(x))
		}
	},
}
