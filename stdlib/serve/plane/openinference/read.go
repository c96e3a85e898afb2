package openinference

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
)

// A Request is a ModelInferRequest without its tensors, or what other requests have of it.
type Request struct {
	request.Infer
	Raw bool // its tensors are bytes, so those of the answer are, too
}

var errDamaged = errors.New("the message is not a protocol buffer of this method")

// fields calls a function for every field of a message. bytes are those of a field with a
// length, and number is any other one.
func fields(b []byte, field func(n protowire.Number, kind protowire.Type, number uint64, bytes []byte) error) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errDamaged
		}
		b = b[size:]
		var number uint64
		var bytes []byte
		switch kind {
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v uint32
			v, size = protowire.ConsumeFixed32(b)
			number = uint64(v)
		case protowire.Fixed64Type:
			number, size = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			bytes, size = protowire.ConsumeBytes(b)
		default:
			return errDamaged
		}
		if size < 0 {
			return errDamaged
		}
		b = b[size:]
		if err := field(n, kind, number, bytes); err != nil {
			return err
		}
	}
	return nil
}

func text(b []byte, to *string) error {
	if !utf8.Valid(b) {
		return errDamaged
	}
	*to = string(b)
	return nil
}

// ReadName reads a ModelReadyRequest or a ModelMetadataRequest.
func ReadName(b []byte) (r Request, err error) {
	err = fields(b, func(n protowire.Number, _ protowire.Type, _ uint64, b []byte) error {
		switch n {
		case 1:
			return text(b, &r.Model)
		case 2:
			return text(b, &r.Version)
		}
		return nil
	})
	return r, err
}

// Read reads a ModelInferRequest into rows. Texts of the rows refer to the message. The error
// is about the message, and errs about tensors and their values.
func Read(b []byte, t *request.Tensors, rows *request.Rows) (r Request, errs []request.Error, err error) {
	most := t.Columns() + request.MostErrors // tensors
	var inputs, raws [][]byte
	err = fields(b, func(n protowire.Number, _ protowire.Type, _ uint64, b []byte) error {
		switch n {
		case 1:
			return text(b, &r.Model)
		case 2:
			return text(b, &r.Version)
		case 3:
			return text(b, &r.ID)
		case 5, 7:
			all := &inputs
			if n == 7 {
				all = &raws
			}
			if len(*all) == most {
				return fmt.Errorf("wanted at most %d tensors", t.Columns())
			}
			*all = append(*all, b)
		case 6:
			if len(r.Outputs) == most {
				return errors.New("the request asks for too many outputs")
			}
			var o request.Output
			err := fields(b, func(n protowire.Number, _ protowire.Type, _ uint64, b []byte) error {
				if n == 1 {
					return text(b, &o.Name)
				}
				return nil
			})
			r.Outputs = append(r.Outputs, o)
			return err
		}
		return nil
	})
	switch {
	case err != nil:
		return r, nil, err
	case len(raws) > 0 && len(raws) != len(inputs):
		return r, nil, fmt.Errorf("wanted raw_input_contents of %d inputs, not of %d", len(inputs), len(raws))
	}
	r.Raw = len(raws) > 0
	f := t.Fill(rows)
	for i, b := range inputs {
		x, contents, err := readTensor(b, t.MostRows())
		switch {
		case err != nil:
			return r, nil, err
		case r.Raw && contents != nil:
			return r, nil, errors.New("wanted contents of tensors, or raw_input_contents")
		case r.Raw:
			f.AddRaw(x, raws[i])
		case contents == nil:
			f.Add(x, request.Contents{})
		default:
			f.Add(x, *contents)
		}
	}
	return r, f.End(), nil
}

// readTensor reads an InferInputTensor of at most most values.
func readTensor(b []byte, most int) (x request.Tensor, contents *request.Contents, err error) {
	total := 0 // of all its contents
	count := func() error {
		if total++; total > most {
			return fmt.Errorf("a tensor may have at most %d rows", most)
		}
		return nil
	}
	err = fields(b, func(n protowire.Number, kind protowire.Type, number uint64, b []byte) error {
		switch n {
		case 1:
			return text(b, &x.Name)
		case 2:
			return text(b, &x.Datatype)
		case 3:
			return numbers(kind, number, b, protowire.VarintType, func(n uint64) error {
				if len(x.Shape) == 8 {
					return errors.New("a shape has too many dimensions")
				}
				x.Shape = append(x.Shape, int64(n))
				return nil
			})
		case 4:
			return parameter(b, &x)
		case 5:
			if contents == nil {
				contents = new(request.Contents)
			}
			return readContents(b, contents, count)
		}
		return nil
	})
	return x, contents, err
}

// parameter reads an entry of a map of InferParameter.
func parameter(b []byte, x *request.Tensor) error {
	var key, value string
	err := fields(b, func(n protowire.Number, _ protowire.Type, _ uint64, b []byte) error {
		switch n {
		case 1:
			return text(b, &key)
		case 2:
			return fields(b, func(n protowire.Number, _ protowire.Type, _ uint64, b []byte) error {
				if n == 3 { // string_param
					return text(b, &value)
				}
				return nil
			})
		}
		return nil
	})
	if key == "nulls" {
		x.Nulls = value
	}
	return err
}

// numbers calls a function for one number, or for many in one field.
func numbers(kind protowire.Type, number uint64, b []byte, of protowire.Type, each func(uint64) error) error {
	if kind == of {
		return each(number)
	}
	if kind != protowire.BytesType {
		return errDamaged
	}
	for len(b) > 0 {
		var n uint64
		var size int
		switch of {
		case protowire.Fixed32Type:
			var v uint32
			v, size = protowire.ConsumeFixed32(b)
			n = uint64(v)
		case protowire.Fixed64Type:
			n, size = protowire.ConsumeFixed64(b)
		default:
			n, size = protowire.ConsumeVarint(b)
		}
		if size < 0 {
			return errDamaged
		}
		b = b[size:]
		if err := each(n); err != nil {
			return err
		}
	}
	return nil
}

// readContents adds an InferTensorContents to c. It calls a function for every value.
func readContents(b []byte, c *request.Contents, count func() error) error {
	return fields(b, func(n protowire.Number, kind protowire.Type, number uint64, b []byte) error {
		of := protowire.VarintType
		switch n {
		case 6:
			of = protowire.Fixed32Type
		case 7:
			of = protowire.Fixed64Type
		case 8:
			if kind != protowire.BytesType {
				return errDamaged
			}
			c.Bytes = append(c.Bytes, b)
			return count()
		default:
			if n > 8 {
				return nil // of a later version of the protocol
			}
		}
		return numbers(kind, number, b, of, func(v uint64) error {
			switch n {
			case 1:
				c.Bool = append(c.Bool, v != 0)
			case 2:
				c.Int = append(c.Int, int32(v))
			case 3:
				c.Int64 = append(c.Int64, int64(v))
			case 4:
				c.Uint = append(c.Uint, uint32(v))
			case 5:
				c.Uint64 = append(c.Uint64, v)
			case 6:
				c.FP32 = append(c.FP32, math.Float32frombits(uint32(v)))
			case 7:
				c.FP64 = append(c.FP64, math.Float64frombits(v))
			}
			return count()
		})
	})
}
