// Package onnxtest makes small ONNX files for tests.
package onnxtest

import "google.golang.org/protobuf/encoding/protowire"

// Numbers of the types of elements.
const (
	Float  = 1
	Int32  = 6
	Int64  = 7
	String = 8
	Bool   = 9
	Half   = 10
	Double = 11
)

// A Value is an input or output: a tensor, or a sequence if Type is 0. A dimension of 0 is any.
type Value struct {
	Name  string
	Type  uint64
	Shape []int64
}

// Tensor returns a value of these dimensions. Without any, the file does not say them.
func Tensor(name string, typ uint64, shape ...int64) Value { return Value{name, typ, shape} }

// A File is what a file contains.
type File struct {
	Inputs, Outputs []Value
	Operators       [][2]string // domain and name
	Functions       [][2]string
	External        string // the file with a weight
	Nested          int    // how deep graphs contain one another
}

// Bytes returns the file.
func (f File) Bytes() []byte {
	g := graph(f, f.Nested)
	b := varint(nil, 1, 8)
	b = message(b, 8, varint(text(nil, 1, ""), 2, 20))
	b = message(b, 7, g)
	for _, o := range f.Functions {
		b = message(b, 25, text(text(nil, 1, o[1]), 10, o[0]))
	}
	return b
}

func graph(f File, nested int) []byte {
	var b []byte
	for _, o := range f.Operators {
		b = message(b, 1, text(text(nil, 4, o[1]), 7, o[0]))
	}
	if nested > 0 {
		attribute := message(text(nil, 1, "then_branch"), 6, graph(File{}, nested-1))
		b = message(b, 1, message(text(nil, 4, "If"), 5, attribute))
	}
	if f.External != "" {
		w := message(text(nil, 8, "weight"), 13, text(text(nil, 1, "location"), 2, f.External))
		b = message(b, 5, varint(w, 14, 1))
	}
	for _, v := range f.Inputs {
		b = message(b, 11, value(v))
	}
	for _, v := range f.Outputs {
		b = message(b, 12, value(v))
	}
	return b
}

func value(v Value) []byte {
	if v.Type == 0 {
		return message(text(nil, 1, v.Name), 2, message(nil, 4, nil))
	}
	t := varint(nil, 1, v.Type)
	if v.Shape != nil {
		var shape []byte
		for _, n := range v.Shape {
			var dim []byte
			if n > 0 {
				dim = varint(nil, 1, uint64(n))
			}
			shape = message(shape, 1, dim)
		}
		t = message(t, 2, shape)
	}
	return message(text(nil, 1, v.Name), 2, message(nil, 1, t))
}

func varint(b []byte, number protowire.Number, x uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), x)
}

func message(b []byte, number protowire.Number, x []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), x)
}

func text(b []byte, number protowire.Number, x string) []byte { return message(b, number, []byte(x)) }
