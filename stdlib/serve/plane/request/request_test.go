package request_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

func decoder(t testing.TB, most int, columns ...ir.Column) *request.Decoder {
	t.Helper()
	d, err := request.New(columns, most)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A value of each type is exact. What is refused is in the answers that Python gives.
func TestValues(t *testing.T) {
	micros := func(days, seconds int64) rowsql.Value { return rowsql.Int((days*86_400 + seconds) * 1_000_000) }
	for _, tt := range []struct {
		column ir.Column
		text   string
		want   rowsql.Value
	}{
		{ir.Column{Type: "bool"}, `true`, rowsql.Bool(true)},
		{ir.Column{Type: "int64"}, `-9223372036854775808`, rowsql.Int(math.MinInt64)},
		{ir.Column{Type: "int64"}, `9223372036854775807`, rowsql.Int(math.MaxInt64)},
		{ir.Column{Type: "int8", Max: "-0.5"}, `-1`, rowsql.Int(-1)},
		{ir.Column{Type: "uint64"}, `18446744073709551615`, rowsql.Uint(math.MaxUint64)},
		{ir.Column{Type: "uint8"}, `-0`, rowsql.Uint(0)},
		{ir.Column{Type: "float64"}, `0.1`, rowsql.Float(0.1)},
		{ir.Column{Type: "float64"}, `-0.0`, rowsql.Float(math.Copysign(0, -1))},
		{ir.Column{Type: "float64"}, `9007199254740992`, rowsql.Float(1 << 53)},
		{ir.Column{Type: "float64"}, `1e-400`, rowsql.Float(0)},
		{ir.Column{Type: "float32"}, `16777216`, rowsql.Float32(1 << 24)},
		{ir.Column{Type: "float32"}, `0.1`, rowsql.Float32(0.1)},
		{ir.Column{Type: "string"}, `"a\n\u00e9\ud83d\ude00"`, rowsql.String("a\né😀")},
		{ir.Column{Type: "string"}, `""`, rowsql.String("")},
		{ir.Column{Type: "string", Values: []string{"a", "b"}}, `"a"`, rowsql.String("a")},
		{ir.Column{Type: "string", JSON: true}, `"{\"a\": 1}"`, rowsql.String(`{"a": 1}`)},
		{ir.Column{Type: "bytes"}, `"AP8="`, rowsql.String("\x00\xff")},
		{ir.Column{Type: "date"}, `"1969-12-31"`, rowsql.Int(-1)},
		{ir.Column{Type: "time"}, `"13:37"`, micros(0, 13*3600+37*60)},
		{ir.Column{Type: "timestamp"}, `"1970-01-02T00:00:01"`, micros(1, 1)},
		{ir.Column{Type: "timestamp"}, `"1970-01-02 00:00:01.500000000"`, rowsql.Int(86_401_500_000)},
		{ir.Column{Type: "timestamptz"}, `"1970-01-01T01:00:00+01:00"`, micros(0, 0)},
		{ir.Column{Type: "float64"}, `-0`, rowsql.Float(0)},
		{ir.Column{Type: "float64"}, `100000000000000000000000`, rowsql.Float(1e23)},
		{ir.Column{Type: "float32"}, `1e30`, rowsql.Float32(1e30)},
		{ir.Column{Type: "date"}, `"2024-02-29T00:00:00"`, rowsql.Int(19782)},
		{ir.Column{Type: "time"}, `"23:59:59.999999"`, rowsql.Int(86_399_999_999)},
		{ir.Column{Type: "timestamp"}, `"1970-01-02"`, micros(1, 0)},
		{ir.Column{Type: "timestamptz"}, `"0001-01-01T00:00:00+02:00"`, micros(-719_162, -7200)},
		{ir.Column{Type: "int64", Nullable: true}, `null`, rowsql.Null},
	} {
		t.Run(tt.column.Type+" "+tt.text, func(t *testing.T) {
			tt.column.Name = "x"
			d := decoder(t, 2, tt.column)
			var rows request.Rows
			errs := d.Decode([]byte(`{"instances": [{"x": `+tt.text+`}]}`), &rows)
			if len(errs) > 0 || rows.Len() != 1 || rows.Row(0)[0] != tt.want {
				t.Errorf("%+v, %v; want %+v", rows.Values, errs, tt.want)
			}
		})
	}
}

// A body that is no JSON is refused with the reason. What else is refused is in the answers
// that Python gives.
func TestBodiesThatAreNoJSON(t *testing.T) {
	for body, want := range map[string]string{
		``:                            "it ends too early",
		`{"instances": [{"a": 01}]}`:  "this is no value",
		`{"instances": [{"a": 1}]`:    "wanted ,",
		`{"instances": [{"a": 1,}]}`:  "wanted the name of a field",
		`{"instances": [{"a": 1}]} x`: "there is more after its end",
		"{\"instances\": [{\"a\": 1, \"b\": \"\n\"}]}": "a control character in a string",
		`{"instances": [{"a": 1, "b": "\x"}]}`:         "an escape that is none",
		`{"instances": [{"a": 1, "b": "x`:              "a string has no end",
	} {
		d := decoder(t, 2, ir.Column{Name: "a", Type: "int64"}, ir.Column{Name: "b", Type: "string", Nullable: true})
		var rows request.Rows
		got := fmt.Sprint(d.Decode([]byte(body), &rows))
		if want := fmt.Sprintf("[{value_error [body] the body is no JSON: %s}]", want); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

// Bytes that are no UTF-8 are refused with their place.
func TestUTF8(t *testing.T) {
	var rows request.Rows
	got := fmt.Sprint(decoder(t, 2).Decode([]byte("{\"é\xff\": 1}"), &rows))
	if want := "[{value_error [body] the body is no UTF-8 at byte 4}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// However wrong a body is, the errors are few, short, and not about its values.
func TestErrorsAreBounded(t *testing.T) {
	d := decoder(t, 1000, ir.Column{Name: "a", Type: "int64"})
	var b strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&b, `, "%s%d": "secret"`, strings.Repeat("é", 200), i)
	}
	var rows request.Rows
	errs := d.Decode([]byte(`{"instances": [{"a": "secret"`+b.String()+`}]}`), &rows)
	text, err := json.Marshal(errs)
	if err != nil || len(errs) != request.MostErrors || len(text) > 5000 || strings.Contains(string(text), "secret") {
		t.Errorf("%d errors, %s, %v", len(errs), text, err)
	}
}

// A decoder accepts nothing but JSON.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"instances": [{"a": 1, "b": "x\u00e9\ud83d\ude00", "c": -1.5e3, "d": "2024-05-17T13:37:00.5"}]}`,
		`{"instances": [{"a": null}, {}], "x": [true, {"y": "\\"}]}`,
	} {
		f.Add([]byte(s))
	}
	d := decoder(f, 5, ir.Column{Name: "a", Type: "int64", Nullable: true}, ir.Column{Name: "b", Type: "string", Nullable: true},
		ir.Column{Name: "c", Type: "float64", Nullable: true}, ir.Column{Name: "d", Type: "timestamp", Nullable: true})
	f.Fuzz(func(t *testing.T, body []byte) {
		var rows request.Rows
		errs := d.Decode(body, &rows)
		if len(errs) > request.MostErrors {
			t.Fatalf("%d errors", len(errs))
		}
		if len(errs) > 0 {
			return
		}
		var doc struct{ Instances []map[string]any }
		if err := json.Unmarshal(body, &doc); err != nil {
			t.Fatalf("accepted, although: %v", err)
		}
		if len(doc.Instances) != rows.Len() {
			t.Fatalf("%d rows, want %d", rows.Len(), len(doc.Instances))
		}
		for i, instance := range doc.Instances {
			if b, ok := instance["b"].(string); ok && rows.Row(i)[1] != rowsql.String(b) {
				t.Errorf("row %d has %q, want %q", i, rows.Row(i)[1].Text, b)
			}
			if c, ok := instance["c"].(float64); ok && rows.Row(i)[2].Float() != c {
				t.Errorf("row %d has %v, want %v", i, rows.Row(i)[2].Float(), c)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	columns := []ir.Column{{Name: "time_hour", Type: "timestamp"}, {Name: "carrier", Type: "string"}, {Name: "flight", Type: "int64"},
		{Name: "origin", Type: "string", Values: []string{"EWR", "JFK", "LGA"}}, {Name: "distance", Type: "int64"}, {Name: "temp", Type: "float64"}}
	d := decoder(b, 1000, columns...)
	row := `{"time_hour": "2013-01-01T05:00:00", "carrier": "UA", "flight": 1545, "origin": "EWR", "distance": 1400, "temp": 39.02}`
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d rows", n), func(b *testing.B) {
			body := []byte(`{"instances": [` + strings.Repeat(row+",", n-1) + row + `]}`)
			var rows request.Rows
			b.ReportAllocs()
			for b.Loop() {
				if errs := d.Decode(body, &rows); len(errs) > 0 {
					b.Fatal(errs)
				}
			}
		})
	}
}

// Times are compared as times, whatever their zone, and refused in the words of Python.
func TestBoundsOfTimes(t *testing.T) {
	for _, c := range []struct{ kind, low, high, text, want string }{
		{"date", "2024-01-01", "2024-12-31", "2024-12-31", ""},
		{"date", "2024-01-01", "2024-12-31", "2023-12-31", "Input should be greater than or equal to 2024-01-01"},
		{"date", "", "1969-12-31", "1970-01-01", "Input should be less than or equal to 1969-12-31"},
		{"timestamp", "2024-01-01T00:00:00", "2024-12-31T12:00:00.500000", "2024-12-31T12:00:00.5", ""},
		{"timestamp", "", "2024-12-31T12:00:00.500000", "2024-12-31T12:00:00.500001", "Input should be less than or equal to 2024-12-31T12:00:00.500000"},
		{"timestamptz", "2024-01-01T00:00:00Z", "", "2024-01-01T01:00:00+01:00", ""},
		{"timestamptz", "2024-01-01T00:00:00Z", "", "2024-01-01T00:59:59+01:00", "Input should be greater than or equal to 2024-01-01T00:00:00Z"},
	} {
		column := ir.Column{Name: "t", Type: c.kind, Min: ir.Bound(c.low), Max: ir.Bound(c.high)}
		var rows request.Rows
		errs := decoder(t, 1, column).Decode([]byte(`{"instances": [{"t": "`+c.text+`"}]}`), &rows)
		got := ""
		if len(errs) > 0 {
			got = errs[0].Msg
		}
		if got != c.want {
			t.Errorf("%s %s: %q, want %q", c.kind, c.text, got, c.want)
		}
		if example := request.Example(column); c.low != "" && example.(string) < c.low || c.high != "" && example.(string) > c.high {
			t.Errorf("the example %s is out of the bounds of %+v", example, column)
		}
	}
}

func TestRange(t *testing.T) {
	for _, c := range []struct {
		column ir.Column
		value  rowsql.Value
		want   string
	}{
		{ir.Column{Type: "int64", Min: "0", Max: "9"}, rowsql.Int(9), ""},
		{ir.Column{Type: "int64", Min: "0", Max: "9"}, rowsql.Int(10), "a value has to be from 0 to 9"},
		{ir.Column{Type: "int8", Min: "-1.5"}, rowsql.Int(-2), "a value has to be at least -1.5"},
		{ir.Column{Type: "uint64", Max: "9"}, rowsql.Uint(math.MaxUint64), "a value has to be at most 9"},
		{ir.Column{Type: "float64", Max: "0.5"}, rowsql.Float(0.75), "a value has to be at most 0.5"},
		{ir.Column{Type: "float32", Max: "0.5"}, rowsql.Float32(0.5), ""},
		{ir.Column{Type: "float64", Max: "0.5", Nullable: true}, rowsql.Null, ""},
		{ir.Column{Type: "date", Min: "2024-01-01"}, rowsql.Int(19722), "a value has to be at least 2024-01-01"},
		{ir.Column{Type: "string", Values: []string{"a", "b"}}, rowsql.String("b"), ""},
		{ir.Column{Type: "string", Values: []string{"a", "b"}}, rowsql.String("c"), "Input should be 'a' or 'b'"},
		{ir.Column{Type: "bool"}, rowsql.Bool(true), ""},
	} {
		r, err := request.NewRange(c.column)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Refusal(&c.value); got != c.want {
			t.Errorf("%+v: %q, want %q", c.column, got, c.want)
		}
	}
}
