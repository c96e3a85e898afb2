package engine_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

// A sample is one value of a kind, as each format writes it. What a format cannot
// write is empty. In SQL it is written to a Parquet file.
type sample struct {
	kind           string
	csv, json, sql string
	// becomes is the value as each declared kind that takes it. All others refuse it.
	becomes map[string]string
}

const yes = "as it is" // the text of CSV

var samples = []sample{
	{"text", "abc", `"abc"`, "'abc'", map[string]string{"string": "abc", "bytes": "abc"}},
	{"text", "1", `"1"`, "'1'", map[string]string{"string": "1", "bytes": "1", "json": "1", "bool": "true", "int64": "1", "uint8": "1", "float64": "1.0", "float32": "1.0"}},
	{"text", "300", `"300"`, "'300'", map[string]string{"string": "300", "bytes": "300", "json": "300", "int64": "300", "float64": "300.0", "float32": "300.0"}},
	{"text", "-1.0", `"-1.0"`, "'-1.0'", map[string]string{"string": "-1.0", "bytes": "-1.0", "json": "-1.0", "int64": "-1", "float64": "-1.0", "float32": "-1.0"}},
	{"text", "0.1", `"0.1"`, "'0.1'", map[string]string{"string": "0.1", "bytes": "0.1", "json": "0.1", "float64": "0.1", "float32": "0.1"}},
	{"text", "1_000", `"1_000"`, "'1_000'", map[string]string{"string": "1_000", "bytes": "1_000"}},
	{"text", "1e400", `"1e400"`, "'1e400'", map[string]string{"string": "1e400", "bytes": "1e400", "json": "1e400"}},
	{"text", "-inf", `"-inf"`, "'-inf'", map[string]string{"string": "-inf", "bytes": "-inf", "float64": "-inf", "float32": "-inf"}},
	{"text", "9007199254740993", `"9007199254740993"`, "'9007199254740993'", map[string]string{"string": yes, "bytes": yes, "json": yes, "int64": yes}},
	{"text", "123456789012345680000", `"123456789012345680000"`, "'123456789012345680000'", map[string]string{"string": yes, "bytes": yes, "json": yes, "float64": "1.2345678901234568e+20"}},
	{"text", "123456789012345678901234567890123456789012", `"123456789012345678901234567890123456789012"`, "'123456789012345678901234567890123456789012'", map[string]string{"string": yes, "bytes": yes, "json": yes}},
	{"text", "9007199254740993.0", `"9007199254740993.0"`, "'9007199254740993.0'", map[string]string{"string": yes, "bytes": yes, "json": yes, "int64": "9007199254740993"}},
	{"text", "1.0000000000000000001", `"1.0000000000000000001"`, "'1.0000000000000000001'", map[string]string{"string": yes, "bytes": yes, "json": yes, "float64": "1.0", "float32": "1.0"}},
	{"text", "16777217", `"16777217"`, "'16777217'", map[string]string{"string": yes, "bytes": yes, "json": yes, "int64": yes, "float64": "16777217.0"}},
	{"text", "true", `"true"`, "'true'", map[string]string{"string": yes, "bytes": yes, "json": yes, "bool": yes}},
	{"text", "2024-02-29", `"2024-02-29"`, "'2024-02-29'", map[string]string{"string": yes, "bytes": yes, "date": yes, "timestamp": "2024-02-29 00:00:00"}},
	{"text", "2024-02-29 12:30:00", `"2024-02-29 12:30:00"`, "'2024-02-29 12:30:00'", map[string]string{"string": yes, "bytes": yes, "timestamp": yes}},
	{"text", "2024-02-29 12:30:00.1234567", `"2024-02-29 12:30:00.1234567"`, "'2024-02-29 12:30:00.1234567'", map[string]string{"string": yes, "bytes": yes}},
	{"text", "2024-02-29 12:30:00.123456000", `"2024-02-29 12:30:00.123456000"`, "'2024-02-29 12:30:00.123456000'", map[string]string{"string": yes, "bytes": yes, "timestamp": "2024-02-29 12:30:00.123456"}},
	{"text", "2024-02-29T12:30:00+02:00", `"2024-02-29T12:30:00+02:00"`, "'2024-02-29T12:30:00+02:00'", map[string]string{"string": yes, "bytes": yes, "timestamptz": "2024-02-29 10:30:00+00"}},
	{"text", "2024-02-29T12:30:00Z", `"2024-02-29T12:30:00Z"`, "'2024-02-29T12:30:00Z'", map[string]string{"string": yes, "bytes": yes, "timestamptz": "2024-02-29 12:30:00+00"}},
	{"text", "2024-02-29T12:30:00+25:00", `"2024-02-29T12:30:00+25:00"`, "'2024-02-29T12:30:00+25:00'", map[string]string{"string": yes, "bytes": yes}},
	{"text", "2024-02-29T12:30:00-02:60", `"2024-02-29T12:30:00-02:60"`, "'2024-02-29T12:30:00-02:60'", map[string]string{"string": yes, "bytes": yes}},
	{"text", "12:30:00.5", `"12:30:00.5"`, "'12:30:00.5'", map[string]string{"string": yes, "bytes": yes, "time": yes}},
	{"text", "12:30:00.0000001", `"12:30:00.0000001"`, "'12:30:00.0000001'", map[string]string{"string": yes, "bytes": yes}},
	{"text", `\x41`, `"\\x41"`, `'\x41'`, map[string]string{"string": yes, "bytes": `\x5Cx41`}},
	{"bool", "", "true", "true", map[string]string{"string": "true", "json": "true", "bool": "true"}},
	{"int", "", "1", "1::BIGINT", map[string]string{"string": "1", "json": "1", "bool": "true", "int64": "1", "uint8": "1", "float64": "1.0", "float32": "1.0"}},
	{"int", "", "-300", "-300::SMALLINT", map[string]string{"string": "-300", "json": "-300", "int64": "-300", "float64": "-300.0", "float32": "-300.0"}},
	{"int", "", "9007199254740993", "9007199254740993::BIGINT", map[string]string{"string": "9007199254740993", "json": "9007199254740993", "int64": "9007199254740993"}},
	{"int", "", "18446744073709551615", "18446744073709551615::UBIGINT", map[string]string{"string": "18446744073709551615", "json": "18446744073709551615"}},
	{"int", "", "16777217", "16777217::INTEGER", map[string]string{"string": "16777217", "json": "16777217", "int64": "16777217", "float64": "16777217.0"}},
	{"number", "", "0.1", "", map[string]string{"json": "0.1", "float64": "0.1", "float32": "0.1"}},
	{"number", "", "2.0", "", map[string]string{"json": "2.0", "int64": "2", "uint8": "2", "float64": "2.0", "float32": "2.0"}},
	{"number", "", "9007199254740993.0", "", map[string]string{"json": "9007199254740992.0"}},
	{"number", "", "9007199254740991.000", "", map[string]string{"json": "9007199254740991.0", "int64": "9007199254740991", "float64": "9007199254740991.0"}},
	{"number", "", "1.0000000000000000001", "", map[string]string{"json": "1.0", "float64": "1.0", "float32": "1.0"}},
	{"number", "", "-2.99999999999999999999", "", map[string]string{"json": "-3.0", "float64": "-3.0", "float32": "-3.0"}},
	{"number", "", "1e-400", "", map[string]string{"json": "0.0", "float64": "0.0", "float32": "0.0"}},
	{"number", "", "12e1", "", map[string]string{"json": "120.0", "int64": "120", "uint8": "120", "float64": "120.0", "float32": "120.0"}},
	{"number", "", "1200e-2", "", map[string]string{"json": "12.0", "int64": "12", "uint8": "12", "float64": "12.0", "float32": "12.0"}},
	{"number", "", "16777217.0", "", map[string]string{"json": "16777217.0", "int64": "16777217", "float64": "16777217.0"}},
	{"number", "", "1e18", "", map[string]string{"json": "1000000000000000000.0", "float64": "1e+18", "float32": "1e+18"}},
	{"number", "", "18446744073709551616", "", map[string]string{"json": "18446744073709551616"}},
	{"number", "", "100000000000000000000000", "", map[string]string{"json": "100000000000000000000000", "float64": "1e+23", "float32": "1e+23"}},
	{"number", "", "123456789012345678901234567890123456789012", "", map[string]string{"json": "123456789012345678901234567890123456789012"}},
	{"number", "", "1e400", "", map[string]string{"json": "1e400"}},
	{"float", "", "", "2.0::DOUBLE", map[string]string{"string": "2.0", "int64": "2", "uint8": "2", "float64": "2.0", "float32": "2.0"}},
	{"float", "", "", "0.1::DOUBLE", map[string]string{"string": "0.1", "float64": "0.1"}},
	{"float", "", "", "0.5::FLOAT", map[string]string{"string": "0.5", "float64": "0.5", "float32": "0.5"}},
	{"float", "", "", "'inf'::DOUBLE", map[string]string{"string": "inf", "float64": "inf", "float32": "inf"}},
	{"float", "", "", "9.3e18::DOUBLE", map[string]string{"string": "9.3e+18", "float64": "9.3e+18"}},
	{"decimal", "", "", "0.10::DECIMAL(18,2)", map[string]string{"string": "0.10", "float64": "0.1", "float32": "0.1"}},
	{"decimal", "", "", "7.00::DECIMAL(18,2)", map[string]string{"string": "7.00", "float64": "7.0", "float32": "7.0", "int64": "7", "uint8": "7"}},
	{"decimal", "", "", "123456789012345678.91::DECIMAL(38,2)", map[string]string{"string": "123456789012345678.91"}},
	{"bytes", "", "", "encode('Zürich')", map[string]string{"string": "Zürich", "bytes": `Z\xC3\xBCrich`}},
	{"bytes", "", "", `'\xFF'::BLOB`, map[string]string{"bytes": `\xFF`}},
	{"date", "", "", "DATE '2024-02-29'", map[string]string{"string": "2024-02-29", "date": "2024-02-29", "timestamp": "2024-02-29 00:00:00"}},
	{"time", "", "", "TIME '12:30:00'", map[string]string{"string": "12:30:00", "time": "12:30:00"}},
	{"timestamp", "", "", "TIMESTAMP '2024-02-29 12:30:00'", map[string]string{"string": "2024-02-29 12:30:00", "timestamp": "2024-02-29 12:30:00"}},
	{"timestamp", "", "", "TIMESTAMP '2024-02-29 00:00:00'", map[string]string{"string": "2024-02-29 00:00:00", "timestamp": "2024-02-29 00:00:00", "date": "2024-02-29"}},
	{"timestamp", "", "", "TIMESTAMP_NS '2024-02-29 12:30:00.000000999'", map[string]string{"string": "2024-02-29 12:30:00.000000999"}},
	{"timestamp", "", "", "TIMESTAMP_NS '2024-02-29 12:30:00.000001'", map[string]string{"string": "2024-02-29 12:30:00.000001", "timestamp": "2024-02-29 12:30:00.000001"}},
	{"timestamptz", "", "", "TIMESTAMPTZ '2024-02-29 12:30:00+01'", map[string]string{"string": "2024-02-29 11:30:00+00", "timestamptz": "2024-02-29 11:30:00+00"}},
	{"uuid", "", "", "'00000000-0000-0000-0000-000000000001'::UUID", map[string]string{"string": "00000000-0000-0000-0000-000000000001"}},
	{"nested", "", `{"q": [1]}`, "{'q': [1]}", map[string]string{"json": `{"q":[1]}`}},
	{"nested", "", "[1, null]", "[1, NULL]", map[string]string{"json": "[1,null]"}},
}

// declared are the columns that a sample may become.
func declared() map[string]ir.Column {
	columns := map[string]ir.Column{"json": {Name: "v", Type: "string", JSON: true}}
	for _, typ := range []string{"bool", "int64", "uint8", "float64", "float32", "string", "bytes", "date", "time", "timestamp", "timestamptz"} {
		columns[typ] = ir.Column{Name: "v", Type: typ}
	}
	return columns
}

func TestEveryValueIsConvertedExactlyOrRefused(t *testing.T) {
	reader, err := engine.NewReader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reader.Close)
	for i, s := range samples {
		files := map[string]string{}
		if s.csv != "" {
			files["csv"] = write(t, "a.csv", "v\n"+s.csv+"\n")
		}
		if s.json != "" {
			files["json"] = write(t, "a.json", `{"v": `+s.json+"}\n")
		}
		if s.sql != "" {
			files["parquet"] = parquetOf(t, s.sql)
		}
		for format, file := range files {
			for name, column := range declared() {
				t.Run(fmt.Sprintf("%d %s in %s as %s", i, s.kind, format, name), func(t *testing.T) {
					out := filepath.Join(t.TempDir(), "out.parquet")
					err := reader.Ingest(t.Context(), duck.Source{Files: []string{file}}, ir.Schema{column}, out)
					want, taken := s.becomes[name]
					if want == yes {
						want = s.csv
					}
					if format == "json" && s.kind == "text" && name == "json" {
						want, taken = s.json, true // in quotes it is text of JSON
					}
					switch {
					case err == nil && !taken:
						t.Errorf("it became %s", rows(t, out))
					case err != nil && taken:
						t.Error(err)
					case err != nil:
						if !strings.Contains(err.Error(), `column "v"`) {
							t.Errorf("the error does not name the column: %s", err)
						}
						if engine.Rule(s.kind, column) == "checked" && !strings.Contains(err.Error(), "row 1") && !strings.Contains(err.Error(), "a."+format) {
							t.Errorf("the error does not name the row: %s", err)
						}
					default:
						equal(t, []string{want}, rows(t, out))
					}
					if rule := engine.Rule(s.kind, column); taken && rule == "refused" || !taken && rule == "exact" {
						t.Errorf("the table of conversions says %s", rule)
					}
				})
			}
		}
	}
}
