package arrow_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"strings"
	"testing"

	reference "github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/arrow"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

var everyType = []string{"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64", "string", "bytes", "date", "time", "timestamp", "timestamptz"}

func columns(kinds ...string) ir.Schema {
	var s ir.Schema
	for _, k := range kinds {
		s = append(s, ir.Column{Name: k, Type: k, Nullable: true})
	}
	return s
}

var most = arrow.Limits{Rows: 100, Bytes: 1 << 20}

func read(t testing.TB, s ir.Schema, stream []byte) ([]rowsql.Value, error) {
	t.Helper()
	r, err := arrow.NewReader(s)
	if err != nil {
		t.Fatal(err)
	}
	values, rows, err := r.Read(bytes.NewReader(stream), nil, most)
	if len(values) != rows*len(s) {
		t.Fatalf("%d values of %d rows of %d columns", len(values), rows, len(s))
	}
	return values, err
}

func write(t testing.TB, s ir.Schema, values []rowsql.Value) []byte {
	t.Helper()
	w, err := arrow.NewWriter(s)
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.Append(nil, values)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// someRows has three rows of every type: a value, a null and the zero.
func someRows() []rowsql.Value {
	row := []rowsql.Value{rowsql.Bool(true), rowsql.Int(-128), rowsql.Int(-2), rowsql.Int(1 << 30), rowsql.Int(math.MinInt64), rowsql.Uint(255), rowsql.Uint(65535),
		rowsql.Uint(math.MaxUint32), rowsql.Uint(math.MaxUint64), rowsql.Float32(0.1), rowsql.Float(0.1), rowsql.String("a\x00é"), rowsql.String("\xff\x00"),
		rowsql.Int(-1), rowsql.Int(86_399_999_999), rowsql.Int(-1), rowsql.Int(1_700_000_000_000_001)}
	for range everyType {
		row = append(row, rowsql.Null)
	}
	return append(row, make([]rowsql.Value, len(everyType))...)
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	want := someRows()
	got, err := read(t, columns(everyType...), write(t, columns(everyType...), want))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v\nwant %v", got, err, want)
	}
}

// Arrow's own library reads what is written here as the values that it stands for.
func TestArrowReadsIt(t *testing.T) {
	r, err := ipc.NewReader(bytes.NewReader(write(t, columns(everyType...), someRows())))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	var got []string
	for r.Next() {
		for i, f := range r.Schema().Fields() {
			c := r.RecordBatch().Column(i)
			text := f.Type.String() + ":"
			for j := range c.Len() {
				text += " " + c.ValueStr(j)
			}
			got = append(got, text)
		}
	}
	want := `bool: true (null) false
int8: -128 (null) 0
int16: -2 (null) 0
int32: 1073741824 (null) 0
int64: -9223372036854775808 (null) 0
uint8: 255 (null) 0
uint16: 65535 (null) 0
uint32: 4294967295 (null) 0
uint64: 18446744073709551615 (null) 0
float32: 0.1 (null) 0
float64: 0.1 (null) 0
utf8: ` + "a\x00é" + ` (null) 
binary: /wA= (null) 
date32: 1969-12-31 (null) 1970-01-01
time64[us]: 23:59:59.999999 (null) 00:00:00.000000
timestamp[us]: 1969-12-31T23:59:59.999999Z (null) 1970-01-01T00:00:00Z
timestamp[us, tz=UTC]: 2023-11-14T22:13:20.000001Z (null) 1970-01-01T00:00:00Z`
	if r.Err() != nil || strings.Join(got, "\n") != want {
		t.Errorf("%v\n%s\nwant %s", r.Err(), strings.Join(got, "\n"), want)
	}
}

// written is a stream of Arrow's own library with a column, and a batch for each list of JSON.
func written(t testing.TB, name string, kind reference.DataType, batches ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	schema := reference.NewSchema([]reference.Field{{Name: name, Type: kind, Nullable: true}}, nil)
	w := ipc.NewWriter(&b, ipc.WithSchema(schema))
	for _, text := range batches {
		a, _, err := array.FromJSON(memory.DefaultAllocator, kind, strings.NewReader(text), array.WithUseNumber())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(array.NewRecordBatch(schema, []reference.Array{a}, int64(a.Len()))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestValuesThatArrowWrites(t *testing.T) {
	text := func(s string) rowsql.Value { return rowsql.String(s) }
	dictionary := func(index reference.DataType) reference.DataType {
		return &reference.DictionaryType{IndexType: index, ValueType: reference.BinaryTypes.String}
	}
	types := reference.PrimitiveTypes
	for _, tt := range []struct {
		column string // its type
		kind   reference.DataType
		values string
		want   any // values or what it says
	}{
		{"int8", types.Int64, "[-128, 127, null]", []rowsql.Value{rowsql.Int(-128), rowsql.Int(127), rowsql.Null}},
		{"int8", types.Int64, "[1, 128]", "[body instances 1 int8]: Input should be less than or equal to 127"},
		{"uint8", types.Int64, "[-1]", "[body instances 0 uint8]: Input should be greater than or equal to 0"},
		{"int64", types.Uint64, "[9223372036854775807]", []rowsql.Value{rowsql.Int(math.MaxInt64)}},
		{"int64", types.Uint64, "[9223372036854775808]", "[body instances 0 int64]: Input should be less than or equal to 9223372036854775807"},
		{"int64", types.Float64, "[1]", "[body int64]: Input should be a valid integer"},
		{"float64", types.Int64, "[9007199254740992]", []rowsql.Value{rowsql.Float(1 << 53)}},
		{"float64", types.Int64, "[9007199254740993]", "[body instances 0 float64]: Value error, the type does not hold it exactly"},
		{"float64", types.Float32, "[0.5]", []rowsql.Value{rowsql.Float(0.5)}},
		{"float32", types.Float64, "[0.1]", []rowsql.Value{rowsql.Float32(0.1)}},
		{"float32", types.Float64, "[1e300]", "[body instances 0 float32]: Value error, the type does not hold it exactly"},
		{"bool", types.Int8, "[1]", "[body bool]: Input should be a valid boolean"},
		{"bool", reference.Null, "[null, null]", []rowsql.Value{rowsql.Null, rowsql.Null}},
		{"string", reference.BinaryTypes.LargeString, `["a", null, ""]`, []rowsql.Value{text("a"), rowsql.Null, text("")}},
		{"string", reference.BinaryTypes.StringView, `["a", null, "more than twelve bytes", "12 bytes 4+8"]`,
			[]rowsql.Value{text("a"), rowsql.Null, text("more than twelve bytes"), text("12 bytes 4+8")}},
		{"string", dictionary(types.Int8), `["b", null, "a", "b"]`, []rowsql.Value{text("b"), rowsql.Null, text("a"), text("b")}},
		{"string", dictionary(types.Uint32), `["b", "a"]`, []rowsql.Value{text("b"), text("a")}},
		{"string", reference.BinaryTypes.Binary, `["YQ=="]`, "[body string]: Input should be a valid string"},
		{"bytes", reference.BinaryTypes.BinaryView, `["/w=="]`, []rowsql.Value{text("\xff")}},
		{"date", reference.FixedWidthTypes.Date64, `["2024-02-29"]`, []rowsql.Value{rowsql.Int(19_782)}},
		{"time", reference.FixedWidthTypes.Time32ms, `["00:00:01.5"]`, []rowsql.Value{rowsql.Int(1_500_000)}},
		{"time", reference.FixedWidthTypes.Time64ns, `["00:00:01.000000001"]`, "[body instances 0 time]: Value error, wanted no fractions of a microsecond"},
		{"timestamp", &reference.TimestampType{Unit: reference.Second}, `["2024-05-17T13:37:00"]`, []rowsql.Value{rowsql.Int(1_715_953_020_000_000)}},
		{"timestamp", &reference.TimestampType{Unit: reference.Nanosecond}, `["2024-05-17T13:37:00.000001"]`, []rowsql.Value{rowsql.Int(1_715_953_020_000_001)}},
		{"timestamp", reference.FixedWidthTypes.Timestamp_us, `["2024-05-17T13:37:00Z"]`, "[body timestamp]: Input should not have timezone info"},
		{"timestamptz", &reference.TimestampType{Unit: reference.Microsecond}, `[]`, "[body timestamptz]: Input should have timezone info"},
		{"timestamp", reference.PrimitiveTypes.Date32, `[]`, "[body timestamp]: Value error, wanted a timestamp"},
		{"int64", reference.ListOf(types.Int64), `[[1]]`, "[body int64]: Input should be a valid integer"},
	} {
		t.Run(tt.column+" of "+tt.kind.String()+" "+tt.values, func(t *testing.T) {
			got, err := read(t, columns(tt.column), written(t, tt.column, tt.kind, tt.values))
			if says, fails := tt.want.(string); fails {
				if err == nil || err.Error() != says {
					t.Errorf("%v, want %s", err, says)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestBatchesFollowEachOther(t *testing.T) {
	got, err := read(t, columns("int64"), written(t, "int64", reference.PrimitiveTypes.Int64, "[1]", "[]", "[2, 3]"))
	if want := []rowsql.Value{rowsql.Int(1), rowsql.Int(2), rowsql.Int(3)}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestWhatIsRefused(t *testing.T) {
	whole := written(t, "x", reference.PrimitiveTypes.Int64, "[1, 2]")
	column := ir.Column{Name: "x", Type: "int64"}
	many := write(t, columns("bool"), make([]rowsql.Value, 101))
	nan := write(t, columns("float64"), []rowsql.Value{rowsql.Float(math.NaN())})
	var compressed bytes.Buffer
	schema := reference.NewSchema([]reference.Field{{Name: "x", Type: reference.PrimitiveTypes.Int64}}, nil)
	w := ipc.NewWriter(&compressed, ipc.WithSchema(schema), ipc.WithZstd())
	a, _, _ := array.FromJSON(memory.DefaultAllocator, reference.PrimitiveTypes.Int64, strings.NewReader("[1]"))
	if err := w.Write(array.NewRecordBatch(schema, []reference.Array{a}, 1)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	for name, tt := range map[string]struct {
		schema ir.Schema
		stream []byte
		want   string
	}{
		"nothing":        {ir.Schema{column}, nil, "[body]: the Arrow stream has no end"},
		"JSON":           {ir.Schema{column}, []byte(`{"instances": []}`), "[body]: the body is not an Arrow stream"},
		"no end":         {ir.Schema{column}, whole[:len(whole)-8], "[body]: the Arrow stream has no end"},
		"half a batch":   {ir.Schema{column}, whole[:len(whole)-20], "[body]: the Arrow stream has no end"},
		"no schema":      {ir.Schema{column}, whole[len(whole)-8:], "[body]: the Arrow stream has no schema"},
		"two schemas":    {ir.Schema{column}, append(bytes.Clone(whole[:len(whole)-8]), whole...), "[body]: wanted one schema at the start of the Arrow stream"},
		"unknown column": {ir.Schema{{Name: "y", Type: "int64", Nullable: true}}, whole, "[body x]: Extra inputs are not permitted"},
		"missing column": {ir.Schema{column, {Name: "y", Type: "int64"}}, whole, "[body y]: Field required"},
		"null":           {ir.Schema{column}, written(t, "x", reference.PrimitiveTypes.Int64, "[1, null]"), "[body instances 1 x]: Input should be a valid integer"},
		"bound":          {ir.Schema{{Name: "x", Type: "int64", Min: "2"}}, whole, "[body instances 0 x]: Input should be greater than or equal to 2"},
		"value":          {ir.Schema{{Name: "x", Type: "string", Values: []string{"a"}}}, written(t, "x", reference.BinaryTypes.String, `["a", "b"]`), "[body instances 1 x]: Input should be 'a'"},
		"JSON column":    {ir.Schema{{Name: "x", Type: "string", JSON: true}}, written(t, "x", reference.BinaryTypes.String, `["{"]`), "[body instances 0 x]: Value error, wanted text that is JSON"},
		"NaN":            {ir.Schema{{Name: "float64", Type: "float64"}}, nan, "[body instances 0 float64]: Input should be a finite number"},
		"rows":           {columns("bool"), many, "[body instances]: the list may have at most 100 items"},
		"compressed":     {ir.Schema{column}, compressed.Bytes(), "[body]: wanted record batches without compression"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := read(t, tt.schema, tt.stream); err == nil || err.Error() != tt.want {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
	// NaN is a missing value where the column may be null.
	if got, err := read(t, columns("float64"), nan); err != nil || !got[0].Null {
		t.Errorf("%v, %v", got, err)
	}
}

// What a stream announces takes no memory before it comes.
func TestLengthsAreNotTrusted(t *testing.T) {
	stream := binary.LittleEndian.AppendUint32([]byte{0xff, 0xff, 0xff, 0xff}, 1<<30)
	if _, err := read(t, columns("bool"), stream); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Error(err)
	}
	r, err := arrow.NewReader(columns("bool"))
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1, func() {
		_, _, err = r.Read(bytes.NewReader(stream), nil, arrow.Limits{Rows: 1, Bytes: 1 << 40})
	}); n > 50 || err == nil {
		t.Errorf("%v allocations, %v", n, err)
	}
	// One text that many rows have must not become many in an answer.
	repeated := write(t, columns("string"), []rowsql.Value{rowsql.String(strings.Repeat("a", 1000))})
	if _, _, err := mustReader(t, columns("string")).Read(bytes.NewReader(repeated), nil, arrow.Limits{Rows: 1, Bytes: int64(len(repeated))}); err != nil {
		t.Error(err)
	}
	long := `["` + strings.Repeat(`long", "`, 99) + strings.Repeat("x", 2000) + `"]`
	dictionary := written(t, "string", &reference.DictionaryType{IndexType: reference.PrimitiveTypes.Int8, ValueType: reference.BinaryTypes.String}, strings.ReplaceAll(long, "long", strings.Repeat("y", 1000)))
	if _, _, err := mustReader(t, columns("string")).Read(bytes.NewReader(dictionary), nil, arrow.Limits{Rows: 100, Bytes: 10_000}); err == nil || !strings.Contains(err.Error(), "the texts are larger than 10000 bytes") {
		t.Error(err)
	}
}

func mustReader(t testing.TB, s ir.Schema) *arrow.Reader {
	r, err := arrow.NewReader(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Whatever comes, reading ends with rows or with what is wrong.
func FuzzRead(f *testing.F) {
	s := columns(everyType...)
	f.Add(write(f, s, someRows()))
	f.Add(written(f, "string", &reference.DictionaryType{IndexType: reference.PrimitiveTypes.Int8, ValueType: reference.BinaryTypes.String}, `["a", "b"]`))
	f.Add(written(f, "string", reference.BinaryTypes.StringView, `["a", "more than twelve bytes"]`))
	f.Fuzz(func(t *testing.T, stream []byte) {
		values, err := read(t, s, stream)
		if err != nil {
			return
		}
		// What was read can be written and read again.
		again, err := read(t, s, write(t, s, values))
		if err != nil || !reflect.DeepEqual(again, values) && len(values) > 0 {
			t.Errorf("%v, %v, want %v", again, err, values)
		}
	})
}
