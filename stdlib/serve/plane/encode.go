package plane

import (
	"encoding/binary"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/openinference"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// raw appends the values of a result as bytes, and returns the indexes of those that are null.
// Instead of them are NaN, zeros and empty texts.
func (r *result) raw(b []byte, x *work) (out []byte, nulls string) {
	var missing nullList
	r.each(x, func(v rowsql.Value) {
		v = missing.note(r, v)
		switch bits := r.bits(); bits {
		case 8:
			b = append(b, byte(v.Bits))
		case 16:
			b = binary.LittleEndian.AppendUint16(b, uint16(v.Bits))
		case 32:
			b = binary.LittleEndian.AppendUint32(b, uint32(v.Bits))
		case 64:
			b = binary.LittleEndian.AppendUint64(b, v.Bits)
		default:
			at := len(b)
			b = r.appendText(append(b, 0, 0, 0, 0), v)
			binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
		}
	})
	return b, string(missing.text)
}

// contents appends the values of a result as an InferTensorContents.
func (r *result) contents(b []byte, x *work) (out []byte, nulls string) {
	var missing nullList
	datatype := request.Datatype(r.Type)
	list := openinference.List(datatype)
	var packed []byte
	r.each(x, func(v rowsql.Value) {
		v = missing.note(r, v)
		switch datatype {
		case "BYTES":
			b = openinference.Bytes(b, list, r.appendText(nil, v))
		case "FP32":
			packed = protowire.AppendFixed32(packed, uint32(v.Bits))
		case "FP64":
			packed = protowire.AppendFixed64(packed, v.Bits)
		default:
			packed = protowire.AppendVarint(packed, v.Bits)
		}
	})
	if datatype != "BYTES" {
		b = openinference.Bytes(b, list, packed)
	}
	return b, string(missing.text)
}

// nullList collects the indexes of nulls.
type nullList struct {
	n    int
	text []byte
}

// note records whether a value is null, and returns the value to write in its place.
func (l *nullList) note(r *result, v rowsql.Value) rowsql.Value {
	at := l.n
	l.n++
	if !v.Null {
		return v
	}
	if len(l.text) > 0 {
		l.text = append(l.text, ',')
	}
	l.text = strconv.AppendInt(l.text, int64(at), 10)
	switch r.Type {
	case "float64":
		return rowsql.Float(math.NaN())
	case "float32":
		return rowsql.Float32(float32(math.NaN()))
	}
	return rowsql.Value{Null: true}
}

// bits is the size of a value, or 0 of texts.
func (r *result) bits() int {
	switch r.Type {
	case "bool", "int8", "uint8":
		return 8
	case "int16", "uint16":
		return 16
	case "int32", "uint32", "float32":
		return 32
	case "int64", "uint64", "float64":
		return 64
	}
	return 0
}

// appendText appends a text, bytes, or a date or time of ISO 8601.
func (r *result) appendText(b []byte, v rowsql.Value) []byte {
	switch {
	case v.Null:
		return b
	case r.Type == "string" || r.Type == "bytes":
		return append(b, v.Text...)
	}
	quoted := request.AppendMoment(nil, r.Type, v.Int())
	return append(b, quoted[1:len(quoted)-1]...)
}
