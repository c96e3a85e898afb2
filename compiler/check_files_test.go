package compiler_test

import (
	"bytes"
	"compress/gzip"
	duckdb "database/sql"
	"path/filepath"
	"strings"
	"testing"
)

// sourceOf is a system with one source.
func sourceOf(kind, fields, schema string) string {
	return `package s

import (
	"tenon.dev/col"
	"tenon.dev/source"
	"tenon.dev/tenon"
)

tenon.#System
name: "meters"
sources: m: source.#` + kind + ` & {
	` + fields + `
	schema: {` + schema + `}
}
_unused: col.#Int64
`
}

// parquetFile makes a Parquet file of the rows of a query.
func parquetFile(t *testing.T, path, query string) {
	t.Helper()
	write(t, path, nil)
	db, err := duckdb.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("COPY (" + query + ") TO '" + path + "' (FORMAT parquet)"); err != nil {
		t.Fatal(err)
	}
}

func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(text))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDataFilesAreComparedWithTheirSources(t *testing.T) {
	const (
		two      = "meter: col.#Int64, reading_kwh: col.#Float64"
		csv      = `path: "m.csv"`
		json     = `path: "m.jsonl"`
		headless = csv + `, header: false, columns: ["meter", "reading_kwh"]`
		none     = `m.csv has no column "reading_kwh"`
	)
	for _, tt := range []struct {
		name, kind, fields, schema, content, want string
	}{
		{"csv", "CSV", csv, two, "meter,reading_kwh\n1,2\n", ""},
		{"csv/case", "CSV", csv, two, "meter,reading_kWh\n1,2\n", none},
		{"csv/space before a name", "CSV", csv, two, "meter, reading_kwh\n1,2\n", none},
		{"csv/another order", "CSV", csv, two, "reading_kwh,meter\n2,1\n", ""},
		{"csv/more columns", "CSV", csv, two, "meter,at,reading_kwh\n1,x,2\n", ""},
		{"csv/two columns that differ in case", "CSV", csv, two, "meter,reading_kwh,Reading_kwh\n1,2,3\n", ""},
		{"csv/a column twice", "CSV", csv, two, "meter,reading_kwh,meter\n1,2,3\n", `m.csv: duplicate column "meter" in the header`},
		{"csv/another column twice", "CSV", csv, two, "meter,reading_kwh,x,x\n1,2,3,4\n", ""},
		{"csv/wrong delimiter", "CSV", csv, two, "meter;reading_kwh\n1;2\n", `m.csv has no column "meter"`},
		{"csv/declared delimiter", "CSV", csv + `, delimiter: ";"`, two, "meter;reading_kwh\n1;2\n", ""},
		{"csv/declared delimiter that does not exist", "CSV", csv + `, delimiter: ";"`, two, "meter,reading_kwh\n1,2\n", `m.csv has no column "meter"`},
		{"csv/one column with a comma in its name", "CSV", csv, `"a;b": col.#Int64`, "a;b\n1\n", ""},
		{"csv/quotes", "CSV", csv, two, "\"meter\",\"reading_kwh\"\n1,2\n", ""},
		{"csv/other quotes", "CSV", csv, two, "'meter','reading_kwh'\n1,2\n", `m.csv has no column "meter"`},
		{"csv/declared quotes", "CSV", csv + `, quote: "'"`, two, "'meter','reading_kwh'\n1,2\n", ""},
		{"csv/line end in a name", "CSV", csv, `"a\nb": col.#Int64`, "\"a\nb\"\n1\n", ""},
		{"csv/byte order mark", "CSV", csv, two, "\ufeffmeter,reading_kwh\n1,2\n", ""},
		{"csv/no rows", "CSV", csv, two, "meter,reading_kwh\n", ""},
		{"csv/no line end", "CSV", csv, two, "meter,reading_kwh", ""},
		{"csv/empty", "CSV", csv, two, "", "m.csv: the file is empty"},
		{"csv/blank line first", "CSV", csv, two, "\nmeter,reading_kwh\n1,2\n", `m.csv has no column "meter"`},
		{"csv/no header", "CSV", csv, two, "1,2\n3,4\n", `m.csv has no column "meter"`},
		{"csv/long first line", "CSV", csv, two, "meter,reading_kwh," + strings.Repeat("x", 2<<20) + "\n1,2,3\n", ""},
		{"csv/columns without header: false", "CSV", csv + `, columns: ["meter", "reading_kwh"]`, two, "meter,reading_kwh\n1,2\n", "m.csv: columns names the columns of a file without a header"},
		{"headless", "CSV", headless, two, "1,2\n", ""},
		{"headless/one more column", "CSV", headless, two, "1,2,3\n", "m.csv: the row has 3 fields, and columns names 2"},
		{"headless/all columns", "CSV", csv + `, header: false, columns: ["meter", "x", "reading_kwh"]`, two, "1,x,2\n", ""},
		{"headless/another order", "CSV", csv + `, header: false, columns: ["meter", "reading_kwh", "x"]`, two, "1,x,2\n", `m.csv: column "reading_kwh": "x" is not a float64`},
		{"headless/a header", "CSV", headless, two, "meter,reading_kwh\n1,2\n", `m.csv: column "meter": "meter" is not an int64`},
		{"headless/a header of texts", "CSV", csv + `, header: false, columns: ["a", "b"]`, "a: col.#String, b: col.#String", "a,b\nx,y\n", ""},
		{"headless/null", "CSV", headless, "meter: col.#Int64 & {nullable: true}, reading_kwh: col.#Float64 & {nan: true}", "NA,nan\n", ""},
		{"headless/decimal comma", "CSV", headless + `, delimiter: ";", decimal: ","`, two, "1;2,5\n", ""},
		{"headless/column that columns lacks", "CSV", csv + `, header: false, columns: ["meter", "kwh"]`, two, "1,2\n", `m.csv: column "reading_kwh" is not among columns: ["meter", "kwh"]`},
		{"encoding", "CSV", csv + `, encoding: "latin-1"`, `"Zähler": col.#Int64`, "Z\xe4hler\n1\n", ""},
		{"encoding/not declared", "CSV", csv, `"Zähler": col.#Int64`, "Z\xe4hler\n1\n", `m.csv: byte 2 (0xe4) is not UTF-8; if the file has another encoding, declare it, for example encoding: "latin-1"`},
		{"gzip", "CSV", csv, two, packed(t, "meter,reading_kwh\n1,2\n"), ""},
		{"gzip/case", "CSV", csv, two, packed(t, "meter,reading_kWh\n1,2\n"), none},
		{"values/are for the source", "CSV", csv, two, "meter,reading_kwh\nx,y\n", ""},
		{"zone", "CSV", csv + `, timestamp_format: "%d.%m.%Y %H:%M"`, "at: col.#Timestamp", "at\n01.02.2024 10:00\n", ""},
		{"zone/declared", "CSV", csv + `, timestamp_format: "%d.%m.%Y %H:%M"`, "at: col.#TimestampTZ", "at\n01.02.2024 10:00\n", `m.csv: column "at" is timestamptz, and timestamp_format "%d.%m.%Y %H:%M" reads no zone`},

		{"json", "JSON", json, two, `{"meter": 1, "reading_kwh": 2.5}`, ""},
		{"json/case", "JSON", json, two, `{"meter": 1, "reading_kWh": 2.5}`, `m.jsonl has no column "reading_kwh"`},
		{"json/no key", "JSON", json, two, `{"meter": 1, "at": 2.5}`, `m.jsonl: column "reading_kwh" is missing, and it is not nullable`},
		{"json/more keys in another order", "JSON", json, two, `{"x": [], "reading_kwh": 2.5, "meter": 1}`, ""},
		{"json/nullable", "JSON", json, two + " & {nullable: true}", `{"meter": 1}` + "\n" + `{"meter": 1, "reading_kwh": 2}`, ""},
		{"json/nullable and nowhere", "JSON", json, two + " & {nullable: true}", `{"meter": 1}` + "\n" + `{"meter": 1}`, `m.jsonl has no column "reading_kwh"`},
		{"json/nullable and perhaps behind the head", "JSON", json, two + " & {nullable: true}", strings.Repeat(`{"meter": 1}`+"\n", 10_000), ""},
		{"json/null", "JSON", json, two, `{"meter": 1, "reading_kwh": null}`, `m.jsonl: column "reading_kwh" is null, and it is not nullable`},
		{"json/nullable null", "JSON", json, two + " & {nullable: true}", `{"meter": 1, "reading_kwh": null}`, ""},
		{"json/list", "JSON", json, two, `{"meter": [1], "reading_kwh": 2}`, `m.jsonl: column "meter" is a list or an object, which does not become int64`},
		{"json/number in text", "JSON", json, two, `{"meter": "1", "reading_kwh": "2.5"}`, ""},
		{"json/bool as a number", "JSON", json, two, `{"meter": true, "reading_kwh": 2}`, `m.jsonl: column "meter" is a boolean, which does not become int64`},
		{"json/bool as text", "JSON", json, "a: col.#String", `{"a": true}`, ""},
		{"json/object as text", "JSON", json, "a: col.#String", `{"a": {}}`, `m.jsonl: column "a" is a list or an object, which does not become string`},
		{"json/object as JSON", "JSON", json, "a: col.#String & {json: true}", `{"a": {}}`, ""},
		{"json/number as a date", "JSON", json, "a: col.#Date", `{"a": 20240101}`, `m.jsonl: column "a" is a number, which does not become date`},
		{"json/key twice", "JSON", json, "a: col.#Int64", `{"a": 1, "a": []}`, ""},
		{"json/not an object", "JSON", json, two, "meter,reading_kwh\n1,2\n", ""}, // DuckDB reports it
		{"json/empty", "JSON", json, two, "", ""},
		{"parquet/a CSV file", "Parquet", csv, two, "meter,reading_kwh\n1,2\n", "m.csv: it is not a Parquet file, or it is truncated"},
		{"no file", "CSV", `path: "other.csv"`, two, "x\n", ""},
		{"pattern", "CSV", `path: "*.csv"`, two, "meter,reading_kWh\n1,2\n", none},
		{"pattern/without a match", "CSV", `path: "*.tsv"`, two, "x\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := "m.csv"
			if tt.kind == "JSON" {
				name = "m.jsonl"
			}
			refuses(t, map[string]string{"s.cue": sourceOf(tt.kind, tt.fields, tt.schema), name: tt.content}, tt.want)
		})
	}
}

func TestParquetFilesAreComparedWithTheirSources(t *testing.T) {
	for _, tt := range []struct{ name, schema, query, want string }{
		{"same", "a: col.#Int64, b: col.#String", "SELECT 1::BIGINT AS a, 'x' AS b", ""},
		{"case", "reading_kwh: col.#Int64", "SELECT 1::BIGINT AS reading_kWh", `m.parquet has no column "reading_kwh"`},
		{"more in another order", "a: col.#Int64, b: col.#String", "SELECT 'x' AS b, 3 AS c, 1::BIGINT AS a", ""},
		{"narrower", "a: col.#Int64", "SELECT 1::TINYINT AS a", ""},
		{"wider", "a: col.#Int8", "SELECT 1::BIGINT AS a", ""},
		{"number in text", "a: col.#Int64", "SELECT '1' AS a", ""},
		{"bool as a number", "a: col.#Int64", "SELECT true AS a", `m.parquet: column "a" is BOOLEAN, which does not become int64`},
		{"number as a bool", "a: col.#Bool", "SELECT 1 AS a", ""},
		{"decimal as a float", "a: col.#Float64", "SELECT 1.5::DECIMAL(9,2) AS a", ""},
		{"decimal as a bool", "a: col.#Bool", "SELECT 1.5::DECIMAL(9,2) AS a", `m.parquet: column "a" is DECIMAL(9,2), which does not become bool`},
		{"date as a time", "a: col.#Timestamp", "SELECT DATE '2024-01-01' AS a", ""},
		{"number as a time", "a: col.#Timestamp", "SELECT 1::BIGINT AS a", `m.parquet: column "a" is BIGINT, which does not become timestamp`},
		{"zone", "a: col.#Timestamp", "SELECT TIMESTAMPTZ '2024-01-01 00:00:00+00' AS a", `m.parquet: column "a" is TIMESTAMP WITH TIME ZONE, which does not become timestamp`},
		{"zone that is declared", "a: col.#TimestampTZ", "SELECT TIMESTAMPTZ '2024-01-01 00:00:00+00' AS a", ""},
		{"list", "a: col.#String", "SELECT [1] AS a", `m.parquet: column "a" is INTEGER[], which does not become string`},
		{"list as JSON", "a: col.#String & {json: true}", "SELECT [1] AS a", ""},
		{"no rows", "a: col.#Int64", "SELECT 1::BIGINT AS a WHERE false", ""},
		{"no rows of another type", "a: col.#Date", "SELECT 1::BIGINT AS a WHERE false", `m.parquet: column "a" is BIGINT, which does not become date`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			parquetFile(t, filepath.Join(dir, "m.parquet"), tt.query)
			refusesIn(t, dir, map[string]string{"s.cue": sourceOf("Parquet", `path: "m.parquet"`, tt.schema)}, tt.want)
		})
	}
}
