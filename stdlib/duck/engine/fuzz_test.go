package engine_test

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

// A fuzzReader reads one file after another as one schema.
type fuzzReader struct {
	*engine.Reader
	dir string
}

func newFuzzReader(f *testing.F) *fuzzReader {
	r, err := engine.NewReader(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(r.Close)
	return &fuzzReader{r, f.TempDir()}
}

// read returns the rows, or nil if the file is refused. A refusal is one line that
// begins with the name of the file.
func (r *fuzzReader) read(t *testing.T, name, content string, o duck.CSV, schema ir.Schema) [][]string {
	t.Helper()
	file := filepath.Join(r.dir, name)
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return r.ingest(t, file, duck.Source{CSV: o}, schema)
}

// ingest is read for a file that is there.
func (r *fuzzReader) ingest(t *testing.T, file string, src duck.Source, schema ir.Schema) [][]string {
	t.Helper()
	out := filepath.Join(r.dir, "out.parquet")
	src.Files = []string{file}
	if err := r.Ingest(t.Context(), src, schema, out); err != nil {
		if text := err.Error(); strings.Contains(text, "\n") || !strings.HasPrefix(text, file) {
			t.Errorf("%s is refused without its place: %s", file, text)
		}
		return nil
	}
	p, err := engine.Preview(t.Context(), out, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	if p.Rows == nil {
		return [][]string{}
	}
	return p.Rows
}

// FuzzCSV compares the rows that are read with those of another reader of CSV.
func FuzzCSV(f *testing.F) {
	for _, seed := range []string{
		"", "a", "a\n", "a,b\n1,2\n", "a,b\r\n1,2\r\n", "\xef\xbb\xbfa,b\n1,2", "a,b\n1,2,\n", "a,b,\n1,2,\n", "a,b\n1\n", "a,b\n\n1,2\n\n", "a,b\n\"x\ny\",\"z\"\"z\"\n",
		"a,b\n1,\"\n", "a,b\n1,x\"y\n", "a,b\n1,\"x\"y\n", "a,a\n1,2\n", "\"a\",b\n,\n", "a\n\nx\n\n", "a,b\n1,\x00\n", "a,b\n\xff,1\n", "a,b\r1,2\r", "0,10\n,\r,", "a,b\n1,2\r\n", " a , b \n 1 , 2 \n", "a,b\n#,1\n", "a,b\n\\,\\N\n",
	} {
		f.Add(seed)
	}
	reader := newFuzzReader(f)
	f.Fuzz(func(t *testing.T, content string) {
		r := csv.NewReader(strings.NewReader(strings.TrimPrefix(content, "\xef\xbb\xbf")))
		r.LazyQuotes = true
		header, err := r.Read()
		if errors.Is(err, io.EOF) || err != nil {
			return
		}
		var schema ir.Schema
		for i, name := range header {
			if name == "" || len(name) > 20 || slices.ContainsFunc(header[:i], func(h string) bool { return strings.EqualFold(h, name) }) {
				return
			}
			schema = append(schema, ir.Column{Name: name, Type: "string", Nullable: true})
		}
		got := reader.read(t, "a.csv", content, duck.CSV{Nulls: []string{}}, schema)
		if got == nil || strings.Contains(content, "\r") || len(header) == 1 {
			return // encoding/csv drops carriage returns and blank lines
		}
		var want [][]string
		for {
			row, err := r.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%q is read as %q, and is malformed: %s", content, got, err)
			}
			want = append(want, row)
		}
		if len(got) != len(want) {
			t.Fatalf("%q is read as %q, want %q", content, got, want)
		}
		for i := range got {
			if !slices.Equal(got[i], want[i]) {
				t.Fatalf("%q: row %d is read as %q, want %q", content, i+1, got[i], want[i])
			}
		}
	})
}

// FuzzJSON compares the values that are read with those of another reader of JSON.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "1", "null", "[]", `{"v": 1}`, `{"v": 1}` + "\r\n" + `{"v": null}`, "\xef\xbb\xbf" + `{"v": "x"}`, `{"v": 1, "v": 2}`, `{"v": "\ud800"}`, `{"v": 1} {"v": 2}`, `{"v": [1, {"a": "b"}]}`,
		`{"v": 9007199254740993}`, `{"v": 1e999}`, `{"v": 1.50}`, `{"v": tru}`, `{"v": 1,}`, `{"v": NaN}`, `{"v": 18446744073709551616}`, `{"v": -0}`, `{"v": "\u0000"}`, `{"V": 1}`, `{"v": true}`,
	} {
		f.Add(seed)
	}
	reader := newFuzzReader(f)
	f.Fuzz(func(t *testing.T, content string) {
		got := reader.read(t, "a.json", content, duck.CSV{}, ir.Schema{{Name: "v", Type: "string", Nullable: true}})
		n := 0
		for line := range strings.Lines(strings.TrimPrefix(content, "\xef\xbb\xbf")) {
			if strings.TrimSpace(line) == "" {
				continue
			}
			var object map[string]json.RawMessage
			if n >= len(got) || json.Unmarshal([]byte(line), &object) != nil {
				return // it is refused, or read by a reader that is less strict
			}
			value, text := string(object["v"]), ""
			if json.Unmarshal(object["v"], &text) == nil && value != "null" {
				value = text
			} else if value == "" || value == "null" {
				value = "NULL"
			}
			if value != got[n][0] && value != "-0" {
				t.Fatalf("%q: the value of line %d is read as %q, want %q", content, n+1, got[n][0], value)
			}
			n++
		}
	})
}

// Texts of the kinds that the table of conversions checks.
var textSeeds = []string{"1", "-1.0", "0.1", "1e5", "1e400", "1_0", "0x1", "nan", "-inf", "9007199254740993", "16777217", "123456789012345680000", "true", "y", "2024-02-29", "2023-02-29",
	"2024-02-29 12:30:00.1234567", "2024-02-29T12:30:00Z", "2024-02-29 00:00", "12:30", "24:00:00", "12:30:00.0000001", "", " 1 ", "NA", `\x41`, "٣", "1.", ".5", "+1", "--1", "1 2"}

// FuzzText checks that what text becomes is what it says, in CSV and in JSON.
func FuzzText(f *testing.F) {
	for _, seed := range textSeeds {
		f.Add(seed)
	}
	reader := newFuzzReader(f)
	types := []string{"bool", "int64", "uint8", "float64", "float32", "string", "date", "time", "timestamp", "timestamptz"}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 100 || strings.ContainsAny(text, "\x00\r\n\"\\") {
			return
		}
		for _, typ := range types {
			schema := ir.Schema{{Name: "v", Type: typ, NaN: true, Nullable: true}}
			fromCSV := reader.read(t, "a.csv", "v\n\""+text+"\"\n", duck.CSV{}, schema)
			fromJSON := reader.read(t, "a.json", fmt.Sprintf("{\"v\": \"%s\"}\n", text), duck.CSV{}, schema)
			if fromCSV == nil {
				if fromJSON != nil && typ != "string" {
					t.Errorf("%q as %s is refused in CSV, and %q in JSON", text, typ, fromJSON)
				}
				continue
			}
			if got := fromCSV[0][0]; !standsFor(text, typ, got) {
				t.Errorf("%q as %s becomes %q", text, typ, got)
			}
		}
	})
}

var zeros = regexp.MustCompile(`\.0*$`)

// standsFor says by other means than DuckDB whether a value is what a text says.
func standsFor(text, typ, got string) bool {
	s := strings.TrimSpace(text)
	switch typ {
	case "string":
		return got == text
	case "bool":
		return slices.Contains(map[string][]string{"true": {"true", "t", "yes", "y", "1"}, "false": {"false", "f", "no", "n", "0"}}[got], strings.ToLower(s))
	case "int64":
		n, err := strconv.ParseInt(zeros.ReplaceAllString(s, ""), 10, 64)
		return err == nil && got == strconv.FormatInt(n, 10)
	case "uint8":
		n, err := strconv.ParseInt(zeros.ReplaceAllString(s, ""), 10, 64)
		return err == nil && got == strconv.FormatInt(n, 10) && n >= 0 && n < 256
	case "float64", "float32":
		bits := map[string]int{"float64": 64, "float32": 32}[typ]
		want, err := strconv.ParseFloat(s, bits)
		value, err2 := strconv.ParseFloat(got, bits)
		return err == nil && err2 == nil && (want == value || math.IsNaN(want) && math.IsNaN(value))
	case "date":
		return strings.HasPrefix(strings.NewReplacer("/", "-").Replace(s), got) || len(got) == 10
	}
	for _, layout := range []string{"2006-01-02 15:04:05.999999", "2006-01-02 15:04:05.999999-07", "15:04:05.999999"} {
		if _, err := time.Parse(layout, got); err == nil {
			return true
		}
	}
	return false
}
