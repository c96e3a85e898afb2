package engine_test

import (
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

// The files in testdata are written by pyarrow, with what DuckDB itself cannot write.
func TestIngestReadsWhatOtherProgramsWriteAsParquet(t *testing.T) {
	for _, tt := range []struct {
		file, column, typ string
		json              bool
		want              []string
		fails             string
	}{
		{"nanos", "micros", "timestamptz", false, []string{"2024-03-31 01:30:00.000001+00", "NULL"}, ""},
		{"nanos", "micros", "timestamp", false, nil, `nanos.parquet: column "micros" is TIMESTAMP WITH TIME ZONE, which does not become timestamp: it is a point in time: declare col.#TimestampTZ, and choose the zone in SQL, such as x AT TIME ZONE 'Europe/Zurich'`},
		{"nanos", "naive", "timestamp", false, []string{"2024-03-31 01:30:00.000001", "NULL"}, ""},
		{"nanos", "naive", "timestamptz", false, nil, `nanos.parquet: column "naive" is TIMESTAMP_NS, which does not become timestamptz: it has no zone: declare col.#Timestamp, and set the zone in SQL, such as x AT TIME ZONE 'Europe/Zurich'`},
		{"nanos", "instant", "timestamptz", false, nil, `nanos.parquet: row 2: column "instant": "2024-03-31 01:30:00.000000999" is not a timestamptz: it is not a whole number of microseconds`},
		{"nanos", "instant", "string", false, []string{"2024-03-31 01:30:00.000001+00", "2024-03-31 01:30:00.000000999+00"}, ""},
		{"nanos", "clock", "time", false, []string{"00:00:00.000001", "00:00:00.000002"}, ""},
		{"nanos", "split", "time", false, nil, `nanos.parquet: row 2: column "split": "1970-01-01 00:00:00.000001001" is not a time: it is not a whole number of microseconds`},
		{"nanos", "split", "string", false, []string{"00:00:00.000001", "00:00:00.000001001"}, ""},
		{"nanos", "n", "int64", false, []string{"1", "2"}, ""},
		{"int96", "v", "timestamp", false, nil, `int96.parquet: column "v" is INT96, which does not become timestamp: its zone is not known, and digits would be lost: write it as TIMESTAMP in microseconds (Spark: spark.sql.parquet.outputTimestampType=TIMESTAMP_MICROS)`},
		{"int96", "n", "int64", false, []string{"1"}, ""},
		{"wide_decimal", "v", "float64", false, nil, `wide_decimal.parquet: column "v" is DECIMAL with 60 digits, which does not become float64: a decimal has at most 38 digits here: write a narrower decimal, or text`},
		{"wide_decimal", "n", "int64", false, []string{"1"}, ""},
		{"nulls", "v", "date", false, []string{"NULL"}, ""},
		{"nulls", "half", "float64", false, []string{"1.5"}, ""},
		{"not_utf8", "v", "string", false, nil, `not_utf8.parquet: column "v": "Z\xFCrich" is not valid UTF8: write it as UTF-8, or as bytes without a logical type`},
		{"not_utf8", "n", "int64", false, []string{"1", "2"}, ""},
		{"names", "Status", "int64", false, []string{"1"}, ""},
		{"names", "status", "int64", false, []string{"2"}, ""},
		{"names", "status_1", "int64", false, []string{"3"}, ""},
		{"names", "STATUS", "int64", false, nil, `names.parquet: column "STATUS" is missing; the columns are Status, status, status_1, twice, twice`},
		{"names", "twice", "int64", false, nil, `names.parquet: the file has column "twice" twice`},
		{"nested", "a", "string", true, []string{`{"x":[1],"y":{"z":2}}`}, ""},
		{"nested", "b", "string", true, []string{`[{"k":1}]`}, ""},
		{"nested", "m", "string", true, []string{`{"k":1}`}, ""},
		{"nested", "b", "string", false, nil, `nested.parquet: column "b" is STRUCT(k BIGINT)[], which does not become string: declare col.#String & {json: true}, and it is read as JSON`},
		{"nested", "c", "int64", false, []string{"7"}, ""},
		{"no_times", "time", "time", false, nil, `no_times.parquet: row 2: column "time": "-1 microseconds" is not a time: a time of day is from 00:00 until before 24:00`},
		{"no_times", "time", "string", false, nil, `no_times.parquet: row 2: column "time": "-1 microseconds" is not a string: a time of day is from 00:00 until before 24:00`},
		{"no_times", "day", "time", false, nil, `no_times.parquet: row 2: column "day": "86400000000 microseconds" is not a time: a time of day is from 00:00 until before 24:00`},
		{"no_times", "nanos", "time", false, nil, `no_times.parquet: row 2: column "nanos": "90000000000000 nanoseconds" is not a time: a time of day is from 00:00 until before 24:00`},
		{"no_times", "date", "date", false, nil, `no_times.parquet: row 2: column "date": "infinity" is not a date: a date or a time is finite: write null, or a far one such as 9999-12-31`},
		{"no_times", "date", "string", false, nil, `no_times.parquet: row 2: column "date": "infinity" is not a string: a date or a time is finite: write null, or a far one such as 9999-12-31`},
		{"no_times", "stamp", "timestamp", false, nil, `no_times.parquet: row 2: column "stamp": "a number out of range" is not a timestamp`},
		{"no_times", "stamp", "date", false, nil, `no_times.parquet: row 1: column "stamp": "294247-01-10 04:00:54.775806" is not a date`},
		{"no_times", "instant", "timestamptz", false, nil, `no_times.parquet: row 2: column "instant": "-infinity" is not a timestamptz: a date or a time is finite: write null, or a far one such as 9999-12-31`},
		{"no_times", "nstamp", "timestamp", false, nil, `no_times.parquet: row 2: column "nstamp": "a number out of range" is not a timestamp`},
		{"no_times", "milli", "timestamp", false, nil, `no_times.parquet: column "milli": a time is out of the range of microseconds: write null, or a time within it`},
		{"parts", "s", "string", true, []string{`{"a":1,"b":null}`}, ""},
		{"parts", "s", "int64", false, nil, `parts.parquet: column "s" is STRUCT(a BIGINT, b INTEGER), which does not become int64`},
		{"parts", "l", "string", true, []string{`[null,null]`}, ""},
		{"parts", "case", "string", true, nil, `parts.parquet: column "case" is STRUCT(a BIGINT, A_1 BIGINT), which does not become string: names of its fields differ only in case, and one would get another name: rename it`},
		{"parts", "z", "string", true, nil, `parts.parquet: column "z" is TIMESTAMP WITH TIME ZONE[], which does not become string: it holds times in nanoseconds, which would be others as JSON: write them in microseconds`},
		{"parts", "naive", "string", true, []string{`["2024-02-29 12:30:00.123456789"]`}, ""},
		{"parts", "t", "string", true, nil, `parts.parquet: column "t" is STRUCT(t TIME), which does not become string: it holds times in nanoseconds, which would be others as JSON: write them in microseconds`},
		{"parts", "keys", "string", true, nil, `parts.parquet: column "keys" is MAP(STRUCT(a BIGINT), BIGINT), which does not become string: keys of its map are nested, which JSON does not have: write them as text`},
		{"parts", "far", "string", true, nil, `parts.parquet: row 1: column "far": "[infinity]" is not JSON`},
		{"parts", "words", "string", true, []string{`{"w":"infinity","d":"1970-01-02"}`}, ""},
		{"parts", "wide", "string", true, []string{`[18446744073709551617]`}, ""},
		{"parts", "u64", "string", true, []string{`[18446744073709551615]`}, ""},
		{"parts", "n", "int64", false, []string{"7"}, ""},
		{"types", "half", "float32", false, []string{"0.099975586"}, ""},
		{"types", "u64", "uint64", false, []string{"18446744073709551615"}, ""},
		{"types", "u64", "int64", false, nil, `types.parquet: row 1: column "u64": "18446744073709551615" is not an int64`},
		{"types", "dict", "string", false, []string{"a"}, ""},
		{"types", "dict_int", "int8", false, []string{"5"}, ""},
		{"types", "large", "string", false, []string{"Zürich"}, ""},
		{"types", "plain", "string", false, []string{"Zürich"}, ""},
		{"types", "fixed", "bytes", false, []string{"abcd"}, ""},
		{"types", "zero", "float32", false, []string{"-0.0"}, ""},
		{"types", "json", "string", true, []string{`{"a":1}`}, ""},
		{"types", "uuid", "string", false, []string{"00000000-0000-0000-0000-000000000001"}, ""},
		{"types", "uuid", "bytes", false, nil, `types.parquet: column "uuid" is UUID, which does not become bytes: declare col.#String`},
		{"types", "fraction", "float64", false, []string{"1e-05"}, ""},
		{"types", "fraction", "float32", false, []string{"1e-05"}, ""},
		{"types", "fraction", "string", false, []string{"0.00001"}, ""},
		{"types", "negative", "string", false, []string{"-0.50"}, ""},
		{"types", "all", "string", false, []string{"0.00000000000000000000000000000000000001"}, ""},
		{"types", "small", "float64", false, []string{"1.5"}, ""},
		{"types", "small", "int64", false, nil, `types.parquet: row 1: column "small": "1.50" is not an int64`},
		{"types", "seconds", "timestamptz", false, []string{"2024-02-29 12:30:00+00"}, ""},
		{"types", "date64", "date", false, []string{"1970-01-02"}, ""},
	} {
		t.Run(tt.file+" "+tt.column+" as "+tt.typ, func(t *testing.T) {
			file := filepath.Join("testdata", tt.file+".parquet")
			out, err := ingest(t, duck.Source{Files: []string{file}}, ir.Schema{{Name: tt.column, Type: tt.typ, JSON: tt.json, Nullable: true}})
			if tt.fails != "" {
				wantError(t, err, "testdata/"+tt.fails)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			equal(t, tt.want, rows(t, out))
		})
	}
}

func TestVerifyRefusesTypesThatDuckDBCutsOrGuesses(t *testing.T) {
	for _, tt := range []struct{ file, column, typ, want string }{
		{"nanos", "instant", "timestamptz", `column "instant": TIMESTAMP WITH TIME ZONE in nanoseconds, wanted TIMESTAMP WITH TIME ZONE (timestamptz)`},
		{"nanos", "naive", "timestamp", `column "naive": TIMESTAMP_NS, wanted TIMESTAMP (timestamp)`},
		{"nanos", "clock", "time", `column "clock": TIME in nanoseconds, wanted TIME (time)`},
		{"int96", "v", "timestamp", `column "v": INT96, wanted TIMESTAMP (timestamp)`},
		{"wide_decimal", "v", "float64", `column "v": DECIMAL with 60 digits, wanted DOUBLE (float64)`},
		{"nulls", "v", "int32", `column "v": without a type, wanted INTEGER (int32)`},
		{"nulls", "half", "float32", `column "half": FLOAT of 16 bits, wanted FLOAT (float32)`},
		{"names", "Status", "int64", ""},
	} {
		found, _, err := engine.Verify(t.Context(), filepath.Join("testdata", tt.file+".parquet"), ir.Schema{{Name: tt.column, Type: tt.typ, Nullable: true}}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, v := range found {
			if v.Rule != "extra" {
				got += v.String()
			}
		}
		equal(t, tt.want, got)
	}
}

func TestNaNIsMissingUnlessDeclared(t *testing.T) {
	files := map[string]string{
		"a.csv":  "v\n1.5\nNaN\n -nan \ninf\n",
		"a.json": `{"v": 1.5}` + "\n" + `{"v": NaN}` + "\n" + `{"v": "nan"}` + "\n" + `{"v": "inf"}` + "\n",
	}
	parquet := table(t, "SELECT unnest(['1.5', 'nan', 'nan', 'inf'])::DOUBLE AS v", ir.Schema{{Name: "v", Type: "float64"}})
	for _, name := range []string{"a.csv", "a.json", "table.parquet"} {
		t.Run(name, func(t *testing.T) {
			file := parquet
			if name != "table.parquet" {
				file = write(t, name, files[name])
			}
			read := func(c ir.Column) (string, error) {
				c.Name = "v"
				return ingest(t, duck.Source{Files: []string{file}}, ir.Schema{c})
			}
			if _, err := read(ir.Column{Type: "float64"}); err == nil {
				t.Error("NaN went into a column that is not nullable")
			} else {
				where := map[string]string{"a.csv": "a.csv:3", "a.json": "a.json:2", "table.parquet": "table.parquet: row 2"}[name]
				value := map[string]string{"a.csv": "NaN", "a.json": "NaN", "table.parquet": "nan"}[name]
				wantError(t, err, where+`: column "v": "`+value+`" is a missing value, and the column is not nullable; declare nullable: true, or nan: true if it is a value`)
			}
			for _, tt := range []struct {
				column ir.Column
				want   []string
			}{
				{ir.Column{Type: "float64", Nullable: true}, []string{"1.5", "NULL", "NULL", "inf"}},
				{ir.Column{Type: "float64", NaN: true}, []string{"1.5", "nan", "nan", "inf"}},
				{ir.Column{Type: "float32", Nullable: true}, []string{"1.5", "NULL", "NULL", "inf"}},
			} {
				out, err := read(tt.column)
				if err != nil {
					t.Error(err)
					continue
				}
				got := rows(t, out)
				for i := range got {
					if got[i] == "-nan" {
						got[i] = "nan"
					}
				}
				equal(t, tt.want, got)
			}
		})
	}
	whole := table(t, "SELECT unnest(['1', 'nan'])::DOUBLE AS v", ir.Schema{{Name: "v", Type: "float64"}})
	out, err := ingest(t, duck.Source{Files: []string{whole}}, ir.Schema{{Name: "v", Type: "int64", Nullable: true}})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, []string{"1", "NULL"}, rows(t, out))
}

func TestAQueryMakesNaNNullWhereItMay(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.parquet")
	err := engine.Query(t.Context(), "SELECT unnest(['1', 'nan'])::DOUBLE AS a, unnest(['2', 'nan'])::DOUBLE AS b, unnest(['nan', '3'])::DOUBLE AS c", nil,
		duck.Table{Path: out, Schema: ir.Schema{{Name: "a", Type: "float64", Nullable: true}, {Name: "b", Type: "float64", Nullable: true, NaN: true}, {Name: "c", Type: "float64"}}}, engine.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, []string{"1.0|2.0|nan", "NULL|nan|3.0"}, rows(t, out))
}
