package engine_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

var all = ir.Schema{
	{Name: "id", Type: "int64"},
	{Name: "name", Type: "string", Nullable: true},
	{Name: "x", Type: "float64", Nullable: true},
	{Name: "ok", Type: "bool", Nullable: true},
	{Name: "day", Type: "date", Nullable: true},
	{Name: "at", Type: "timestamp", Nullable: true},
}

func ingest(t *testing.T, src duck.Source, schema ir.Schema) (string, error) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.parquet")
	temp := t.TempDir()
	n, err := engine.Ingest(context.Background(), src, schema, out, engine.Limits{TempDir: temp})
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left in the temporary folder: %v", left)
	}
	if err != nil {
		if _, statErr := os.Stat(out); statErr == nil {
			t.Error("a failed ingest left its output")
		}
		return "", err
	}
	if got := int64(len(rows(t, out))); n != got {
		t.Errorf("returned %d rows, wrote %d", n, got)
	}
	v, _, err := engine.Verify(context.Background(), out, schema, nil, nil)
	for _, v := range v {
		if v.Rule == "type" || v.Rule == "missing" || v.Rule == "extra" {
			t.Errorf("not the declared schema: %v", v)
		}
	}
	return out, err
}

func TestIngestReadsCSVAsDeclared(t *testing.T) {
	plain := "id,name,x,ok,day,at\n1,Ann,1.5,true,2024-02-29,2024-02-29 12:30:00\n2,\"a \"\"b\"\", c\nd\",,false,,\n"
	want := []string{"1|Ann|1.5|true|2024-02-29|2024-02-29 12:30:00", "2|a \"b\", c\nd|NULL|false|NULL|NULL"}
	no := false
	for _, tt := range []struct {
		name, file, content string
		csv                 duck.CSV
		want                []string
	}{
		{"plain", "a.csv", plain, duck.CSV{}, want},
		{"in another order, with a column that is not declared", "a.csv", "junk,at,ok,x,id,name,day\n?,,,2,7,n,\n", duck.CSV{}, []string{"7|n|2.0|NULL|NULL|NULL"}},
		{"CRLF, a byte order mark, no line end at the end", "a.csv", "\xef\xbb\xbfid,name,x,ok,day,at\r\n1,a,1,t,2024-01-02,2024-01-02\r\n2,b,,,,", duck.CSV{}, []string{"1|a|1.0|true|2024-01-02|2024-01-02 00:00:00", "2|b|NULL|NULL|NULL|NULL"}},
		{"gzip", "a.csv.gz", gzipped(t, plain), duck.CSV{}, want},
		{"zstd, whatever the name", "a.csv", zstded(t, plain), duck.CSV{}, want},
		{"lines that end with CR", "a.csv", "id,name,x,ok,day,at\r1,a,,,,\r2,b,,,,\r", duck.CSV{}, []string{"1|a|NULL|NULL|NULL|NULL", "2|b|NULL|NULL|NULL|NULL"}},
		{"a byte order mark before a header in quotes", "a.csv", "\xef\xbb\xbf\"id\",name,x,ok,day,at\n1,a,,,,\n", duck.CSV{}, []string{"1|a|NULL|NULL|NULL|NULL"}},
		{"a byte order mark without a header", "a.csv", "\xef\xbb\xbf1,a,,,,\n", duck.CSV{Header: &no, Columns: []string{"id", "name", "x", "ok", "day", "at"}}, []string{"1|a|NULL|NULL|NULL|NULL"}},
		{"line ends in quotes are kept", "a.csv", "id,name,x,ok,day,at\n1,\"a\r\nb\rc\",,,,\n", duck.CSV{}, []string{"1|a\r\nb\rc|NULL|NULL|NULL|NULL"}},
		{"one field for the rest is null, and blank lines are none", "a.csv", "id,name,x,ok,day,at\n\n1,,,,,\n\n", duck.CSV{}, []string{"1|NULL|NULL|NULL|NULL|NULL"}},
		{"only a header", "a.csv", "id,name,x,ok,day,at\n", duck.CSV{}, []string{}},
		{"latin-1", "a.csv", "id,name,x,ok,day,at\n1,caf\xe9,,,,\n", duck.CSV{Encoding: "latin-1"}, []string{"1|café|NULL|NULL|NULL|NULL"}},
		{"utf-16", "a.csv", "\xff\xfei\x00d\x00,\x00n\x00a\x00m\x00e\x00,\x00x\x00,\x00o\x00k\x00,\x00d\x00a\x00y\x00,\x00a\x00t\x00\n\x001\x00,\x00\xe9\x00,\x00,\x00,\x00,\x00\n\x00", duck.CSV{Encoding: "utf-16"}, []string{"1|é|NULL|NULL|NULL|NULL"}},
		{"semicolons and decimal commas", "a.csv", "id;name;x;ok;day;at\n1;'a;b';1,5;;;\n", duck.CSV{Delimiter: ";", Quote: "'", Decimal: ","}, []string{"1|a;b|1.5|NULL|NULL|NULL"}},
		{"tabs", "a.tsv", "id\tname\tx\tok\tday\tat\n1\ta\t\t\t\t\n", duck.CSV{Delimiter: "\t"}, []string{"1|a|NULL|NULL|NULL|NULL"}},
		{"without a header", "a.csv", "1,a,,,,\n2,b,,,,\n", duck.CSV{Header: &no, Columns: []string{"id", "name", "x", "ok", "day", "at"}}, []string{"1|a|NULL|NULL|NULL|NULL", "2|b|NULL|NULL|NULL|NULL"}},
		{"own nulls, and the empty string a value", "a.csv", "id,name,x,ok,day,at\n1,,NA,NA,-,NA\n", duck.CSV{Nulls: []string{"NA", "-"}}, []string{"1||NULL|NULL|NULL|NULL"}},
		{"nulls in quotes are values", "a.csv", "id,name,x,ok,day,at\n1,\"NA\",NA,NA,NA,NA\n2,\"\",,,,\n3,NA,,,,\n", duck.CSV{Nulls: []string{"", "NA"}}, []string{"1|NA|NULL|NULL|NULL|NULL", "2||NULL|NULL|NULL|NULL", "3|NULL|NULL|NULL|NULL|NULL"}},
		{"nulls in quotes, if so declared", "a.csv", "id,name,x,ok,day,at\n\"1\",\"NA\",\"\",\"\",\"\",\"NA\"\n", duck.CSV{Nulls: []string{"", "NA"}, QuotedNulls: true}, []string{"1|NULL|NULL|NULL|NULL|NULL"}},
		{"a decimal comma in every number", "a.csv", "id;name;x;ok;day;at\n2,0;1,5;-1,5e3;;;\n", duck.CSV{Delimiter: ";", Decimal: ","}, []string{"2|1,5|-1500.0|NULL|NULL|NULL"}},
		{"formats", "a.csv", "id,name,x,ok,day,at\n1,,,,29.02.2024,29/02/24 01:02\n", duck.CSV{DateFormat: "%d.%m.%Y", TimestampFormat: "%d/%m/%y %H:%M"}, []string{"1|NULL|NULL|NULL|2024-02-29|2024-02-29 01:02:00"}},
		{"whole numbers with a zero fraction", "a.csv", "id,name,x,ok,day,at\n+1.0,,1e3,0,2024-02-29 00:00:00,2024-02-29T01:02:03.5\n", duck.CSV{}, []string{"1|NULL|1000.0|false|2024-02-29|2024-02-29 01:02:03.5"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := ingest(t, duck.Source{Files: []string{write(t, tt.file, tt.content)}, CSV: tt.csv}, all)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, tt.want, rows(t, out))
		})
	}
}

func TestIngestReadsColumnsByTheirNamesWithoutAHeader(t *testing.T) {
	no := false
	file := write(t, "a.csv", "x,7,?\ny,8,?\n")
	schema := ir.Schema{{Name: "id", Type: "int64"}, {Name: "name", Type: "string"}}
	for range 2 {
		out, err := ingest(t, duck.Source{Files: []string{file}, CSV: duck.CSV{Header: &no, Columns: []string{"name", "id", "junk"}}}, schema)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"7|x", "8|y"}
		if schema[0].Name == "name" {
			want = []string{"x|7", "y|8"}
		}
		equal(t, want, rows(t, out))
		schema[0], schema[1] = schema[1], schema[0]
	}
}

func TestIngestSaysWhereCSVIsWrong(t *testing.T) {
	head := "id,name,x,ok,day,at\n"
	ok := "1,a,1,t,2024-01-02,2024-01-02\n"
	no := false
	cut := gzipped(t, head+strings.Repeat(ok, 50_000))
	for _, tt := range []struct {
		name, content string
		csv           duck.CSV
		want          string
	}{
		{"a fraction in a whole number", head + ok + "1.5,,,,,\n", duck.CSV{}, `a.csv:3: column "id": "1.5" is not an int64`},
		{"after a field of two lines and an empty line", head + "1,\"a\nb\",,,,\n\n" + ok + "x,,,,,\n", duck.CSV{}, `a.csv:6: column "id": "x" is not an int64`},
		{"out of range", head + "9223372036854775808,,,,,\n", duck.CSV{}, `a.csv:2: column "id": "9223372036854775808" is not an int64`},
		{"no float", head + "1,,1;5,,,\n", duck.CSV{}, `a.csv:2: column "x": "1;5" is not a float64`},
		{"no bool", head + "1,,,maybe,,\n", duck.CSV{}, `a.csv:2: column "ok": "maybe" is not a bool`},
		{"no such day", head + "1,,,,2023-02-29,\n", duck.CSV{}, `a.csv:2: column "day": "2023-02-29" is not a date`},
		{"a time of day in a date", head + "1,,,,2023-02-28 10:00:00,\n", duck.CSV{}, `a.csv:2: column "day": "2023-02-28 10:00:00" is not a date`},
		{"an offset that would be lost", head + "1,,,,,2024-01-02T10:00:00+02:00\n", duck.CSV{}, `a.csv:2: column "at": "2024-01-02T10:00:00+02:00" is not a timestamp: it is a point in time: declare col.#TimestampTZ, and choose the zone in SQL, such as x AT TIME ZONE 'Europe/Zurich'`},
		{"another format", head + "1,,,,,2024-01-02\n", duck.CSV{TimestampFormat: "%d.%m.%Y"}, `a.csv:2: column "at": "2024-01-02" is not a timestamp`},
		{"one field too many", head + ok + "1,a,1,t,2024-01-02,2024-01-02,9\n", duck.CSV{}, `a.csv:3: the row has 7 fields, the first one has 6`},
		{"one field too few", head + "1,a,1,t,2024-01-02\n", duck.CSV{}, `a.csv:2: the row has 5 fields, the first one has 6`},
		{"a delimiter at the end of a row", head + ok + "1,a,1,t,2024-01-02,2024-01-02,\n", duck.CSV{}, `a.csv:3: the row has 7 fields, the first one has 6`},
		{"a row too short after a field of two lines", head + "1,\"a\nb\",,,,\n\n1,2\n", duck.CSV{}, `a.csv:5: the row has 2 fields, the first one has 6`},
		{"a carriage return among lines that end otherwise", head + "1,a,,,,\r2,b,,,,\n", duck.CSV{}, `a.csv:2: the line ends differently from the first one (LF, CR)`},
		{"NUL", head + ok + "1,a\x00,,,,\n", duck.CSV{}, `a.csv:3: byte 54 is NUL, which no text has; the file may be damaged, or in another encoding, such as encoding: "utf-16"`},
		{"only a byte order mark", "\xef\xbb\xbf", duck.CSV{}, "a.csv: the file is empty"},
		{"only a line end", "\n", duck.CSV{}, `a.csv:1: column "id" is missing: the first line is empty`},
		{"a line of three megabytes", head + "1,\"" + strings.Repeat("x", 3_000_000) + "\",,,,\n", duck.CSV{}, `a.csv:2: the line is too long; a quote may be missing`},
		{"a missing column", "id,Name,x,ok,day,at\n", duck.CSV{}, `a.csv:1: column "name" is missing; the columns are id, Name, x, ok, day, at`},
		{"a column twice", "id,id,name,x,ok,day,at\n", duck.CSV{}, `a.csv:1: duplicate column "id" in the header`},
		{"another delimiter", "id;name;x;ok;day;at\n1;a;;;;\n", duck.CSV{}, `a.csv:1: column "id" is missing: the header has one field; did you mean delimiter: ";"?`},
		{"an open quote", head + ok + "1,\"abc\n", duck.CSV{}, `a.csv:3: unclosed quote; the file may be truncated`},
		{"text after a quote", head + ok + "1,\"abc\"d,,,,\n", duck.CSV{}, `a.csv:3: a quoted field is not followed by the delimiter`},
		{"mixed line ends", head + "1,a,1,t,2024-01-02,2024-01-02\r\n", duck.CSV{}, `a.csv:2: the line ends differently from the first one (LF, CRLF)`},
		{"not UTF-8", head + ok + "1,caf\xe9,,,,\n", duck.CSV{}, `a.csv:3: byte 56 (0xe9) is not UTF-8; if the file has another encoding, declare it, for example encoding: "latin-1"`},
		{"not UTF-8 in a column that is not declared", "junk," + head + "\xe9," + ok, duck.CSV{}, `a.csv:2: byte 26 (0xe9) is not UTF-8; if the file has another encoding, declare it, for example encoding: "latin-1"`},
		{"a byte that windows-1252 does not have", head + ok + "1,\x80\x81,,,,\n", duck.CSV{Encoding: "windows-1252"}, "a.csv:3: a character is not windows-1252; the file may be damaged, or in another encoding"},
		{"half of a surrogate pair", "\xff\xfei\x00d\x00\n\x00\x3d\xd8\n\x00", duck.CSV{Encoding: "utf-16"}, "a.csv:2: a character is not utf-16; the file may be damaged, or in another encoding"},
		{"UTF-16", "\xff\xfei\x00", duck.CSV{}, `a.csv:1: byte 1 (0xff) is not UTF-8; if the file has another encoding, declare it, for example encoding: "utf-16"`},
		{"empty", "", duck.CSV{}, "a.csv: the file is empty"},
		{"a byte after gzip", gzipped(t, head+ok) + "x", duck.CSV{}, "a.csv: something else comes after the gzip data; the file may be damaged"},
		{"text after gzip", gzipped(t, head+ok) + head + ok, duck.CSV{}, "a.csv: something else comes after the gzip data; the file may be damaged"},
		{"a second gzip that ends early", gzipped(t, head+ok) + gzipped(t, ok)[:20], duck.CSV{}, "a.csv:3: the file is truncated: the gzip data ends early"},
		{"gzip that ends early", cut[:len(cut)-6], duck.CSV{}, "a.csv:50002: the file is truncated: the gzip data ends early"},
		{"another number of columns without a header", "1,a\n", duck.CSV{Header: &no, Columns: []string{"id", "name", "x", "ok", "day", "at"}}, "a.csv:1: the row has 2 fields, and columns names 6"},
		{"no names of columns without a header", "1,a,,,,\n", duck.CSV{Header: &no}, `a.csv: a file without a header needs the names of its columns in order, such as columns: ["id", "name", "x", "ok", "day", "at"]`},
		{"a column that is not named", "1,a\n", duck.CSV{Header: &no, Columns: []string{"id", "Name"}}, `a.csv: column "name" is not among columns: ["id", "Name"]`},
		{"a column named twice", "1,a\n", duck.CSV{Header: &no, Columns: []string{"id", "id"}}, `a.csv: columns names "id" twice`},
		{"columns and a header", head, duck.CSV{Columns: []string{"id"}}, "a.csv: columns names the columns of a file without a header: declare header: false"},
		{"a null in quotes", head + "\"\",,,,,\n", duck.CSV{}, `a.csv:2: column "id": "" is not an int64: in quotes it is a value; declare quoted_nulls: true if it is missing`},
		{"thousands where the decimal mark is a comma", "id;name;x;ok;day;at\n2.000;;;;;\n", duck.CSV{Delimiter: ";", Decimal: ","}, `a.csv:2: column "id": "2.000" is not an int64: decimal is ",", and a point is not taken for a separator of thousands`},
		{"thousands in a float", "id;name;x;ok;day;at\n2;;1.234,5;;;\n", duck.CSV{Delimiter: ";", Decimal: ","}, `a.csv:2: column "x": "1.234,5" is not a float64: decimal is ",", and a point is not taken for a separator of thousands`},
		{"a comma where the decimal mark is a point", "id;name;x;ok;day;at\n2,000;;;;;\n", duck.CSV{Delimiter: ";"}, `a.csv:2: column "id": "2,000" is not an int64`},
		{"another decimal mark", head, duck.CSV{Decimal: "'"}, `decimal "'": it has to be "." or ","`},
		{"a zone that the format reads", head + "1,,,,,2024-01-02 10:00 +0100\n", duck.CSV{TimestampFormat: "%Y-%m-%d %H:%M %z"}, `a.csv: column "at" is timestamp, and timestamp_format "%Y-%m-%d %H:%M %z" reads a zone`},
		{"a time of day that the format reads", head + "1,,,,02.01.2024 10,\n", duck.CSV{DateFormat: "%d.%m.%Y %H"}, `a.csv:2: column "day": "02.01.2024 10" is not a date`},
		{"a format that strptime does not have", head, duck.CSV{TimestampFormat: "%s"}, `timestamp_format "%s": it is not a format of strptime: Failed to parse format specifier %s: Unrecognized format for strftime/strptime: %s`},
		{"a long delimiter", head, duck.CSV{Delimiter: "||"}, `delimiter "||": it must be one ASCII character`},
		{"an unknown encoding", head, duck.CSV{Encoding: "ebcdic"}, `encoding "ebcdic" is not one of utf-8, latin-1, windows-1252, utf-16`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ingest(t, duck.Source{Files: []string{write(t, "a.csv", tt.content)}, CSV: tt.csv}, all)
			wantError(t, err, tt.want)
		})
	}
}

func TestIngestNamesTheFileAmongSeveral(t *testing.T) {
	schema := ir.Schema{{Name: "id", Type: "int8"}}
	a, b := write(t, "a.csv", "id\n1\n2\n"), write(t, "b.csv", "other,id\nx,3\n")
	out, err := ingest(t, duck.Source{Files: []string{a, b}}, schema)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, []string{"1", "2", "3"}, rows(t, out))
	c := write(t, "c.csv", "id\n1\n300\n")
	_, err = ingest(t, duck.Source{Files: []string{a, b, c}}, schema)
	wantError(t, err, `c.csv:3: column "id": "300" is not an int8`)
	_, err = ingest(t, duck.Source{Files: []string{a, filepath.Join(t.TempDir(), "none.csv")}}, schema)
	wantError(t, err, "none.csv: no such file or directory")
	_, err = ingest(t, duck.Source{Files: []string{write(t, "a.xlsx", "id\n")}}, schema)
	wantError(t, err, `a.xlsx: the format "" is not one of csv, json, parquet`)
}

func TestIngestReadsPathsWithSpecialCharacters(t *testing.T) {
	out, err := ingest(t, duck.Source{Files: []string{write(t, "it's [1]*?.csv", "id\n1\n")}}, ir.Schema{{Name: "id", Type: "int8"}})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, []string{"1"}, rows(t, out))
}

func TestIngestReadsJSONLines(t *testing.T) {
	schema := ir.Schema{{Name: "a", Type: "int64", Nullable: true}, {Name: "b", Type: "string", JSON: true, Nullable: true}}
	for _, tt := range []struct {
		name, content, fails string
		want                 []string
	}{
		{"objects", "{\"a\": 9007199254740993, \"b\": \"x\", \"z\": 1}\n\n{\"b\": {\"q\": [1]}}\n", "", []string{`9007199254740993|"x"`, `NULL|{"q":[1]}`}},
		{"packed", gzipped(t, `{"a": 1, "b": null}`+"\n"+`{"a": "2", "b": "n"}`), "", []string{"1|NULL", `2|"n"`}},
		{"a fraction", "{\"a\": 1, \"b\": \"\"}\n\n{\"a\": 1.5}\n", `a.json:3: column "a": "1.5" is not an int64`, nil},
		{"cut", "{\"a\": 1, \"b\": \"\"}\n{\"a\": 1,", "a.json:2: the line is not a JSON object", nil},
		{"an array", `[{"a": 1}]`, "a.json:1: the line is an array; expected one JSON object per line", nil},
		{"a byte order mark, CRLF", "\xef\xbb\xbf{\"a\": 1, \"b\": 2}\r\n{\"a\": 2}\r\n", "", []string{"1|2", "2|NULL"}},
		{"empty", "", "", []string{}},
		{"blank lines", "\n\n", "", []string{}},
		{"null as a line", "{\"a\": 1, \"b\": 2}\n  null \n", "a.json:2: the line is not a JSON object", nil},
		{"null at the end", "{\"a\": 1, \"b\": 2}\n\nnull", "a.json:3: the line is not a JSON object", nil},
		{"a number as a line", "{\"a\": 1, \"b\": 2}\n1\n", "a.json:2: the line is not a JSON object", nil},
		{"two objects on a line", "{\"a\": 1} {\"a\": 2}\n", "a.json:1: the line is not a JSON object", nil},
		{"an object on two lines", "{\"a\":\n1}\n", "a.json:1: the line is not a JSON object", nil},
		{"a key twice", "{\"a\": 1}\n{\"a\": 1, \"a\": 2}\n", `a.json:2: Object {"a":1,"a":2} has duplicate key "a"`, nil},
		{"half a character", "{\"a\": 1, \"b\": \"\\ud800\"}\n", "a.json:1: no low surrogate in string", nil},
		{"a key in another case", "{\"A\": 1, \"b\": 1}\n", `a.json: column "a" is missing: no object has this key`, nil},
		{"NUL as a character of text", "{\"a\": 1, \"b\": \"x\\u0000\"}\n", "", []string{`1|"x\u0000"`}},
		{"NaN as a number", "{\"a\": 1, \"b\": 1}\n{\"b\": NaN}\n", `a.json:2: column "b": "NaN" is not JSON`, nil},
		{"NaN in a list", "{\"a\": 1, \"b\": [\"NaN\"]}\n{\"b\": [NaN]}\n", `a.json:2: column "b": "[NaN]" is not JSON`, nil},
		{"words in text that no number has", `{"a": 1, "b": {"k": "a \"nan, ] inf\\"}}`, "", []string{`1|{"k":"a \"nan, ] inf\\"}`}},
		{"NUL as a byte", "{\"a\": 1, \"b\": \"x\x00\"}\n", `a.json:1: byte 17 is NUL, which no text has; the file may be damaged, or in another encoding, such as encoding: "utf-16"`, nil},
		{"a key that is nowhere", "{\"a\": 1}\n{\"a\": 2}\n", `a.json: column "b" is missing: no object has this key`, nil},
		{"a key that is null everywhere", "{\"a\": 1, \"b\": null}\n", "", []string{"1|NULL"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := ingest(t, duck.Source{Files: []string{write(t, "a.json", tt.content)}}, schema)
			if tt.fails != "" {
				wantError(t, err, tt.fails)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			equal(t, tt.want, rows(t, out))
		})
	}
}

func TestIngestCastsParquetWithoutLosingAnything(t *testing.T) {
	in := table(t, "SELECT 1.0::DOUBLE AS f, 2.5::DOUBLE AS g, 300::BIGINT AS i, '7' AS s, TIMESTAMP '2024-01-02' AS midnight, TIMESTAMP '2024-01-02 10:00:00' AS noon, 'x'::BLOB AS raw", ir.Schema{
		{Name: "f", Type: "float64"}, {Name: "g", Type: "float64"}, {Name: "i", Type: "int64"}, {Name: "s", Type: "string"}, {Name: "midnight", Type: "timestamp"}, {Name: "noon", Type: "timestamp"}, {Name: "raw", Type: "bytes"}})
	for _, tt := range []struct{ column, typ, want, fails string }{
		{"f", "int8", "1", ""},
		{"g", "int8", "", `table.parquet: row 1: column "g": "2.5" is not an int8`},
		{"g", "float32", "2.5", ""},
		{"i", "int8", "", `table.parquet: row 1: column "i": "300" is not an int8`},
		{"i", "string", "300", ""},
		{"s", "uint16", "7", ""},
		{"midnight", "date", "2024-01-02", ""},
		{"noon", "date", "", `table.parquet: row 1: column "noon": "2024-01-02 10:00:00" is not a date`},
		{"noon", "bool", "", `table.parquet: column "noon" is TIMESTAMP, which does not become bool`},
		{"F", "int8", "", `table.parquet: column "F" is missing; the columns are f, g, i, s, midnight, noon, raw`},
	} {
		out, err := ingest(t, duck.Source{Files: []string{in}}, ir.Schema{{Name: tt.column, Type: tt.typ}})
		if tt.fails != "" {
			wantError(t, err, tt.fails)
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		equal(t, []string{tt.want}, rows(t, out))
	}
}

func TestIngestMakesOnlyJSONThatEveryReaderTakes(t *testing.T) {
	for _, tt := range []struct{ value, want, fails string }{
		{"[1.5, NULL]", "[1.5,null]", ""},
		{"[1.5, 'nan'::DOUBLE]", "", `a.parquet: row 1: column "v": "[1.5, nan]" is not JSON`},
		{"{'x': -'inf'::DOUBLE}", "", `a.parquet: row 1: column "v": "{'x': -inf}" is not JSON`},
		{"['x'::BLOB]", "", `a.parquet: column "v" is BLOB[], which does not become string: it holds bytes, which JSON does not have: write them as text`},
		{"'[1, 2,]'", "", `a.parquet: row 1: column "v": "[1, 2,]" is not JSON`},
		{"'[\"a\", \"b,]\"]'", `["a", "b,]"]`, ""},
	} {
		out, err := ingest(t, duck.Source{Files: []string{parquetOf(t, tt.value)}}, ir.Schema{{Name: "v", Type: "string", JSON: true}})
		if tt.fails != "" {
			wantError(t, err, tt.fails)
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		equal(t, []string{tt.want}, rows(t, out))
	}
}

func TestIngestWritesTheSameBytesWhateverTheThreads(t *testing.T) {
	var b strings.Builder
	b.WriteString("id,name\n")
	for i := range 400_000 {
		fmt.Fprintf(&b, "%d,name %d\n", i, i%977)
	}
	src := duck.Source{Files: []string{write(t, "a.csv", b.String()), write(t, "b.csv", b.String())}}
	schema := ir.Schema{{Name: "name", Type: "string"}, {Name: "id", Type: "int64"}}
	var first string
	for _, threads := range []int{1, 2, 4} {
		out := filepath.Join(t.TempDir(), "out.parquet")
		n, err := engine.Ingest(context.Background(), src, schema, out, engine.Limits{Threads: threads})
		if err != nil || n != 800_000 {
			t.Fatal(n, err)
		}
		content, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(content)
			got := rows(t, out)
			for i, row := range got {
				if want := fmt.Sprintf("name %d|%d", i%400_000%977, i%400_000); row != want {
					t.Fatalf("row %d is %s, want %s", i, row, want)
				}
			}
		}
		if first != string(content) {
			t.Errorf("other bytes with %d threads", threads)
		}
	}
}
