package onnx

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// MostBytes is the size of the largest file that is read.
const MostBytes = 256 << 20

// mostDepth bounds how deep graphs contain others, as the branches of an If do.
const mostDepth = 32

// mostValues bounds inputs and outputs with their dimensions: in memory, each takes thirty times
// as much as in a file.
const mostValues = 100_000

// A Model is what a file says.
type Model struct {
	Opset   int64 // of the standard operators
	Inputs  []Value
	Outputs []Value
	// External are the files that have its weights, if they are not in the model.
	External []string
	// Foreign are operators of others than ONNX and ONNX Runtime, as "DOMAIN.NAME".
	Foreign []string
	// Random are operators whose results are not the same twice.
	Random []string
}

// A Value is an input or an output.
type Value struct {
	Name string
	// Type of the elements, as columns have it: "float32", "int64", "string". Of types that no column
	// has, such as "float16", and of what is no tensor, such as "sequence", it is the name.
	Type  string
	Shape []Dim // nil if the file does not say
}

// A Dim is a dimension of a tensor: a number, or any if it is 0.
type Dim int64

// Tensor reports whether the value is a tensor.
func (v Value) Tensor() bool {
	return v.Type != "" && v.Type != sequence && v.Type != mapping && v.Type != optional
}

const sequence, mapping, optional = "sequence", "map", "optional"

// elements are the types of elements, by their numbers in the file.
var elements = map[uint64]string{
	1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool", 10: "float16",
	11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16",
}

// random are standard operators that draw numbers.
var random = []string{"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}

// known are the domains whose operators ONNX Runtime has without a library of somebody else.
var known = []string{"", "ai.onnx", "ai.onnx.ml", microsoft}

const microsoft = "com.microsoft"

// reader collects what is found in all parts of a file.
type reader struct {
	external, foreign, random map[string]bool
	operators                 map[operator]bool
	functions                 map[operator]bool // that the file defines
	values                    int               // inputs, outputs and their dimensions
}

type operator struct{ domain, name string }

func (o operator) String() string {
	if o.domain == "" {
		return o.name
	}
	return o.domain + "." + o.name
}

// Read reads a file. An error says why it is none, or is too large.
func Read(b []byte) (*Model, error) {
	if len(b) > MostBytes {
		return nil, fmt.Errorf("it has %d bytes, and at most %d are read", len(b), MostBytes)
	}
	m := &Model{}
	r := &reader{
		external: map[string]bool{}, foreign: map[string]bool{}, random: map[string]bool{},
		operators: map[operator]bool{}, functions: map[operator]bool{},
	}
	graphs, version := 0, uint64(0)
	err := fields(b, func(f field) error {
		switch f.number {
		case 1:
			version = f.varint
		case 7:
			graphs++
			return r.graph(f.bytes, m, 0)
		case 8:
			return opset(f.bytes, m)
		case 20:
			return errors.New("it has steps of training, which are not evaluated")
		case 25:
			return r.function(f.bytes)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case graphs != 1 || version == 0 || len(m.Outputs) == 0:
		return nil, errors.New("it is not an ONNX model")
	}
	for o := range r.operators {
		switch {
		case r.functions[o]:
		case !slices.Contains(known, o.domain), o == operator{microsoft, "EPContext"}: // which reads files
			r.foreign[o.String()] = true
		case o.domain == "" && slices.Contains(random, o.name):
			r.random[o.name] = true
		}
	}
	m.External, m.Foreign, m.Random = slices.Sorted(maps.Keys(r.external)), slices.Sorted(maps.Keys(r.foreign)), slices.Sorted(maps.Keys(r.random))
	return m, nil
}

// opset reads the version of a set of operators.
func opset(b []byte, m *Model) error {
	domain, version := "", int64(0)
	err := fields(b, func(f field) error {
		switch f.number {
		case 1:
			domain = string(f.bytes)
		case 2:
			version = int64(f.varint)
		}
		return nil
	})
	if domain == "" || domain == "ai.onnx" {
		m.Opset = version
	}
	return err
}

// graph reads a graph. Into m go inputs and outputs, if it is not nil.
func (r *reader) graph(b []byte, m *Model, depth int) error {
	if depth > mostDepth {
		return fmt.Errorf("graphs are nested more than %d times", mostDepth)
	}
	var inputs []Value
	weights := map[string]bool{}
	err := fields(b, func(f field) (err error) {
		switch f.number {
		case 1:
			return r.node(f.bytes, depth)
		case 5:
			var name string
			name, err = r.tensor(f.bytes)
			weights[name] = true
		case 15:
			var name string
			name, err = r.sparse(f.bytes)
			weights[name] = true
		case 11, 12:
			var v Value
			if m == nil {
				return nil
			}
			if v, err = r.value(f.bytes); f.number == 11 {
				inputs = append(inputs, v)
			} else {
				m.Outputs = append(m.Outputs, v)
			}
		}
		return err
	})
	if m != nil {
		// Old files list weights among the inputs, too.
		m.Inputs = slices.DeleteFunc(inputs, func(v Value) bool { return weights[v.Name] })
	}
	return err
}

// node reads an operator with its attributes.
func (r *reader) node(b []byte, depth int) error {
	var o operator
	err := fields(b, func(f field) error {
		switch f.number {
		case 4:
			o.name = string(f.bytes)
		case 7:
			o.domain = domain(f.bytes)
		case 5:
			return r.attribute(f.bytes, depth)
		}
		return nil
	})
	r.operators[o] = true
	return err
}

// domain returns one spelling of the domain of the standard operators.
func domain(b []byte) string {
	if string(b) == "ai.onnx" {
		return ""
	}
	return string(b)
}

func (r *reader) attribute(b []byte, depth int) error {
	return fields(b, func(f field) (err error) {
		switch f.number {
		case 5, 10:
			_, err = r.tensor(f.bytes)
		case 22, 23:
			_, err = r.sparse(f.bytes)
		case 6, 11:
			err = r.graph(f.bytes, nil, depth+1)
		}
		return err
	})
}

// function reads an operator that the file defines.
func (r *reader) function(b []byte) error {
	var o operator
	err := fields(b, func(f field) error {
		switch f.number {
		case 1:
			o.name = string(f.bytes)
		case 10:
			o.domain = domain(f.bytes)
		case 7:
			return r.node(f.bytes, 0)
		case 11:
			return r.attribute(f.bytes, 0)
		}
		return nil
	})
	r.functions[o] = true
	return err
}

// tensor returns the name of a tensor, and notes the file that has its values.
func (r *reader) tensor(b []byte) (name string, err error) {
	outside, file := false, ""
	err = fields(b, func(f field) error {
		switch f.number {
		case 8:
			name = string(f.bytes)
		case 14:
			outside = outside || f.varint == 1
		case 13:
			outside = true
			key, value := "", ""
			err := fields(f.bytes, func(f field) error {
				switch f.number {
				case 1:
					key = string(f.bytes)
				case 2:
					value = string(f.bytes)
				}
				return nil
			})
			if key == "location" {
				file = value
			}
			return err
		}
		return nil
	})
	if outside {
		r.external[file] = true
	}
	return name, err
}

// sparse returns the name of a sparse tensor, which is that of its values.
func (r *reader) sparse(b []byte) (name string, err error) {
	err = fields(b, func(f field) error {
		if f.number != 1 && f.number != 2 {
			return nil
		}
		n, err := r.tensor(f.bytes)
		if f.number == 1 {
			name = n
		}
		return err
	})
	return name, err
}

// count counts an input, an output or a dimension.
func (r *reader) count() error {
	if r.values++; r.values > mostValues {
		return fmt.Errorf("it has more than %d inputs, outputs and dimensions", mostValues)
	}
	return nil
}

// value reads the name and the type of an input or output.
func (r *reader) value(b []byte) (v Value, err error) {
	if err := r.count(); err != nil {
		return v, err
	}
	err = fields(b, func(f field) error {
		switch f.number {
		case 1:
			v.Name = string(f.bytes)
		case 2:
			return fields(f.bytes, func(f field) error {
				switch f.number {
				case 1:
					return r.tensorType(f.bytes, &v)
				case 4:
					v.Type = sequence
				case 5:
					v.Type = mapping
				case 8:
					v.Type = "sparse tensor"
				case 9:
					v.Type = optional
				}
				return nil
			})
		}
		return nil
	})
	return v, err
}

func (r *reader) tensorType(b []byte, v *Value) error {
	return fields(b, func(f field) error {
		switch f.number {
		case 1:
			if v.Type = elements[f.varint]; v.Type == "" {
				v.Type = fmt.Sprintf("type %d", f.varint)
			}
		case 2:
			v.Shape = []Dim{}
			return fields(f.bytes, func(f field) error {
				if f.number != 1 {
					return nil
				}
				if err := r.count(); err != nil {
					return err
				}
				dim := Dim(0)
				err := fields(f.bytes, func(f field) error {
					if f.number == 1 {
						dim = max(0, Dim(f.varint))
					}
					return nil
				})
				v.Shape = append(v.Shape, dim)
				return err
			})
		}
		return nil
	})
}

// A field of a message. A number is in varint, anything longer in bytes.
type field struct {
	number protowire.Number
	varint uint64
	bytes  []byte
}

var errMessage = errors.New("it is not an ONNX model: the file is damaged, or in another format")

// fields calls f for each field of a message.
func fields(b []byte, f func(field) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errMessage
		}
		b = b[n:]
		x := field{number: number}
		switch kind {
		case protowire.VarintType:
			x.varint, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			x.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return errMessage
		}
		if err := f(x); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
