package worker

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// types are those of arrow_type in tenon_column.py.
var types = map[string]arrow.DataType{
	"bool": arrow.FixedWidthTypes.Boolean, "float32": arrow.PrimitiveTypes.Float32, "float64": arrow.PrimitiveTypes.Float64,
	"int8": arrow.PrimitiveTypes.Int8, "int16": arrow.PrimitiveTypes.Int16, "int32": arrow.PrimitiveTypes.Int32, "int64": arrow.PrimitiveTypes.Int64,
	"uint8": arrow.PrimitiveTypes.Uint8, "uint16": arrow.PrimitiveTypes.Uint16, "uint32": arrow.PrimitiveTypes.Uint32, "uint64": arrow.PrimitiveTypes.Uint64,
	"string": arrow.BinaryTypes.String, "bytes": arrow.BinaryTypes.Binary, "date": arrow.FixedWidthTypes.Date32, "time": arrow.FixedWidthTypes.Time64us,
	"timestamp": &arrow.TimestampType{Unit: arrow.Microsecond}, "timestamptz": &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"},
}

// An encoder writes rows as messages of Arrow, one after the other.
type encoder struct {
	schema  *arrow.Schema
	builder *array.RecordBuilder
	frame   bytes.Buffer
}

func newEncoder(columns ir.Schema) (*encoder, error) {
	var fields []arrow.Field
	for _, c := range columns {
		t, ok := types[c.Type]
		if !ok {
			return nil, fmt.Errorf("column %s has the type %s, which Python is not sent", c.Name, c.Type)
		}
		fields = append(fields, arrow.Field{Name: c.Name, Type: t, Nullable: true})
	}
	schema := arrow.NewSchema(fields, nil)
	return &encoder{schema: schema, builder: array.NewRecordBuilder(memory.DefaultAllocator, schema)}, nil
}

// header returns a frame with the schema.
func (e *encoder) header() ([]byte, error) {
	p := ipc.GetSchemaPayload(e.schema, memory.DefaultAllocator)
	defer p.Release()
	return e.framed(&p)
}

// batch returns a frame with the rows of jobs, which is valid until the next one.
func (e *encoder) batch(jobs []*job) ([]byte, error) {
	columns := e.schema.NumFields()
	for _, j := range jobs {
		for i := range columns {
			appendColumn(e.builder.Field(i), j.values, i, columns)
		}
	}
	r := e.builder.NewRecordBatch()
	defer r.Release()
	p, err := ipc.GetRecordBatchPayload(r)
	if err != nil {
		return nil, err
	}
	defer p.Release()
	return e.framed(&p)
}

func (e *encoder) framed(p *ipc.Payload) ([]byte, error) {
	e.frame.Reset()
	e.frame.Write(make([]byte, 4))
	if _, err := p.WritePayload(&e.frame); err != nil {
		return nil, err
	}
	b := e.frame.Bytes()
	if len(b)-4 > math.MaxUint32 {
		return nil, errors.New("a batch has more than 4 GiB")
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-4))
	return b, nil
}

// appendColumn adds the values of one column of rows.
func appendColumn(to array.Builder, values []rowsql.Value, column, columns int) {
	for i := column; i < len(values); i += columns {
		v := &values[i]
		if v.Null {
			to.AppendNull()
			continue
		}
		switch b := to.(type) {
		case *array.BooleanBuilder:
			b.Append(v.Bool())
		case *array.Int8Builder:
			b.Append(int8(v.Int()))
		case *array.Int16Builder:
			b.Append(int16(v.Int()))
		case *array.Int32Builder:
			b.Append(int32(v.Int()))
		case *array.Int64Builder:
			b.Append(v.Int())
		case *array.Uint8Builder:
			b.Append(uint8(v.Bits))
		case *array.Uint16Builder:
			b.Append(uint16(v.Bits))
		case *array.Uint32Builder:
			b.Append(uint32(v.Bits))
		case *array.Uint64Builder:
			b.Append(v.Bits)
		case *array.Float32Builder:
			b.Append(v.Float32())
		case *array.Float64Builder:
			b.Append(v.Float())
		case *array.StringBuilder:
			b.Append(v.Text)
		case *array.BinaryBuilder:
			b.AppendString(v.Text)
		case *array.Date32Builder:
			b.Append(arrow.Date32(v.Int()))
		case *array.Time64Builder:
			b.Append(arrow.Time64(v.Int()))
		case *array.TimestampBuilder:
			b.Append(arrow.Timestamp(v.Int()))
		default:
			panic(fmt.Sprintf("no values of %s", to.Type()))
		}
	}
}

// How many bytes a worker may say about its classes, and about a row that it refuses.
const largestAbout, largestRefusal = 64 << 20, 1 << 20

// readFrame reads a frame into b, or into more memory if it needs more. A frame may not be
// larger than most bytes.
func readFrame(from io.Reader, b []byte, most int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(head[:]))
	if n > most {
		return nil, fmt.Errorf("a worker answered with %d bytes, wanted at most %d", n, most)
	}
	if cap(b) < n {
		b = make([]byte, n)
	}
	_, err := io.ReadFull(from, b[:n])
	return b[:n], err
}

// The first byte of an answer.
const (
	answered = iota
	refused
	failed
)

var errModel = errors.New("the model failed")

// numbers reads an answer for rows into outputs, which are those of the jobs together. An
// error is a [*model.RowError] or errModel.
func numbers(answer []byte, jobs []*job, outputs int) error {
	if len(answer) == 0 {
		return errModel
	}
	rest := answer[1:]
	switch answer[0] {
	case refused:
		var r struct {
			Row    int    `json:"row"`
			Column string `json:"column"`
			Says   string `json:"says"`
		}
		if err := json.Unmarshal(rest, &r); err != nil {
			return fmt.Errorf("read what a worker refused: %w", err)
		}
		if r.Column == "" {
			return &model.RowError{Row: r.Row, Err: errors.New(r.Says)}
		}
		return &model.RowError{Row: r.Row, Err: &model.ValueError{Column: r.Column, Reason: r.Says}}
	case answered:
		want := 0
		for _, j := range jobs {
			want += 8 * j.rows * outputs
		}
		if len(rest) != want {
			return fmt.Errorf("a worker answered with %d bytes of numbers, wanted %d", len(rest), want)
		}
		for _, j := range jobs {
			for i := range j.rows * outputs {
				j.outputs[i] = math.Float64frombits(binary.LittleEndian.Uint64(rest[8*i:]))
			}
			rest = rest[8*j.rows*outputs:]
		}
		return nil
	}
	return errModel
}
