package engine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

func head(t *testing.T, src duck.Source, schema ir.Schema) *duck.FileError {
	t.Helper()
	results, err := engine.Heads(t.Context(), []duck.Head{{Source: src, Schema: schema, All: true}})
	if err != nil {
		t.Fatal(err)
	}
	return results[0].Fault
}

// refusal is what Ingest and Verify say of a source.
func refusal(t *testing.T, src duck.Source, schema ir.Schema) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.parquet")
	if _, err := engine.Ingest(t.Context(), src, schema, out, engine.Limits{}); err != nil {
		return err.Error()
	}
	found, _, err := engine.Verify(t.Context(), out, schema, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 0 {
		return found[0].String()
	}
	return ""
}

func TestHeadRefusesOnlyWhatTheSourceRefuses(t *testing.T) {
	no := false
	headless := duck.CSV{Header: &no, Columns: []string{"a", "b"}}
	long := strings.Repeat("7,x\n", 40_000)
	for _, tt := range []struct {
		name    string
		csv     duck.CSV
		content string
		wrong   bool
	}{
		{"a.csv", duck.CSV{}, "a,b\n1,x\n", false},
		{"a.csv", duck.CSV{}, "b,extra,a\nx,0,1\n", false},
		{"a.csv", duck.CSV{}, "a,b\n", false},
		{"a.csv", duck.CSV{}, "\ufeffa,b\r\n1,x\r\n", false},
		{"a.csv", duck.CSV{}, "\"a\",\"b\"\n1,x\n", false},
		{"a.csv", duck.CSV{}, "a,b\n" + long, false},
		{"a.csv", duck.CSV{}, "A,b\n1,x\n", true},
		{"a.csv", duck.CSV{}, "a ,b\n1,x\n", true},
		{"a.csv", duck.CSV{}, "a,b,a\n1,x,1\n", true},
		{"a.csv", duck.CSV{}, "a;b\n1;x\n", true},
		{"a.csv", duck.CSV{}, "1,x\n2,y\n", true},
		{"a.csv", duck.CSV{}, "", true},
		{"a.csv", duck.CSV{}, "\na,b\n1,x\n", true},
		{"a.csv", duck.CSV{}, "\"a\"x,b\n1,x\n", true},
		{"a.csv", duck.CSV{}, "a,b\n1,Z\xfcrich\n", true},
		{"a.csv", duck.CSV{Encoding: "latin-1"}, "a,b\n1,Z\xfcrich\n", false},
		{"a.csv", duck.CSV{Delimiter: ";"}, "a;b\n1;x\n", false},
		{"a.csv", duck.CSV{Delimiter: ";"}, "a,b\n1,x\n", true},
		{"a.csv", duck.CSV{Quote: "'"}, "'a','b'\n1,x\n", false},
		{"a.csv", duck.CSV{Quote: "'"}, "\"a\",\"b\"\n1,x\n", true},
		{"a.csv", duck.CSV{Columns: []string{"a", "b"}}, "a,b\n1,x\n", true},
		{"a.csv", headless, "1,x\n", false},
		{"a.csv", headless, "1.0,x\n", false},
		{"a.csv", headless, ",x\n", false},
		{"a.csv", headless, "\n1,x\n", true},
		{"a.csv", headless, "x,1\n", true},
		{"a.csv", headless, "a,b\n1,x\n", true},
		{"a.csv", headless, "1,x,2\n", true},
		{"a.csv.gz", duck.CSV{}, gzipped(t, "a,b\n1,x\n"), false},
		{"a.csv.gz", duck.CSV{}, gzipped(t, "a,c\n1,x\n"), true},
		{"a.csv.zst", duck.CSV{}, zstded(t, "a,b\n"+long), false},
		{"a.jsonl", duck.CSV{}, `{"a":1,"b":"x"}` + "\n", false},
		{"a.jsonl", duck.CSV{}, `{"a":"1","b":"x"}` + "\n", false},
		{"a.jsonl", duck.CSV{}, `{"a":null,"b":"x"}` + "\n", false},
		{"a.jsonl", duck.CSV{}, `{"b":"x"}` + "\n" + `{"b":"x","a":2}` + "\n", false},
		{"a.jsonl", duck.CSV{}, `{"a":1,"b":"x","c":{"d":[1]}}` + "\n\n", false},
		{"a.jsonl", duck.CSV{}, "\ufeff" + `{"a":1,"b":"x"}`, false},
		{"a.jsonl", duck.CSV{}, `{"a":1,"b":true}`, false},
		{"a.jsonl", duck.CSV{}, "", false},
		{"a.jsonl", duck.CSV{}, `{"a":1,"b":"x"}` + "\n" + `{"a":1,"b":null}` + "\n", true},
		{"a.jsonl", duck.CSV{}, `{"a":1}` + "\n", true},
		{"a.jsonl", duck.CSV{}, `{"a":1,"B":"x"}` + "\n", true},
		{"a.jsonl", duck.CSV{}, `{"A":1,"b":"x"}` + "\n", true},
		{"a.jsonl", duck.CSV{}, `{"a":[1],"b":"x"}` + "\n", true},
		{"a.jsonl", duck.CSV{}, `{"a":true,"b":"x"}` + "\n", true},
		{"a.jsonl", duck.CSV{}, `{"a":1,"b":{}}` + "\n", true},
		{"a.jsonl.gz", duck.CSV{}, gzipped(t, `{"a":1,"c":"x"}`+"\n"), true},
		{"a.parquet", duck.CSV{}, "a,b\n1,x\n", true},
	} {
		t.Run(fmt.Sprintf("%s %.20q", tt.name, tt.content), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), tt.name)
			if err := os.WriteFile(path, []byte(tt.content), 0o644); err != nil {
				t.Fatal(err)
			}
			src := duck.Source{Files: []string{path}, CSV: tt.csv}
			schema := ir.Schema{{Name: "a", Type: "int64", Nullable: true}, {Name: "b", Type: "string"}}
			fault, run := head(t, src, schema), refusal(t, src, schema)
			if (fault != nil) != tt.wrong || (run != "") != tt.wrong {
				t.Errorf("head: %v\nrun: %s\nwant a refusal: %t", fault, run, tt.wrong)
			}
		})
	}
}

func TestHeadAndSourceAgreeOnEveryTypeOfParquet(t *testing.T) {
	found := map[string]string{
		"text": "'x'", "json": "'{}'::JSON", "bool": "true", "int": "1::BIGINT", "float": "1.0::DOUBLE", "decimal": "1.5::DECIMAL(9,1)",
		"bytes": "'x'::BLOB", "date": "DATE '2024-01-01'", "time": "TIME '10:00:00'", "timestamp": "TIMESTAMP '2024-01-01 00:00:00'",
		"timestamptz": "TIMESTAMPTZ '2024-01-01 00:00:00+00'", "uuid": "uuid()", "nested": "[1]", "enum": "'a'::ENUM('a')", "interval": "INTERVAL 1 DAY",
	}
	for kind, value := range found {
		file := table(t, "SELECT "+value+" AS v", ir.Schema{{Name: "v"}})
		for typ := range ir.Types {
			schema := ir.Schema{{Name: "v", Type: typ, Nullable: true}}
			fault := head(t, duck.Source{Files: []string{file}}, schema)
			run := refusal(t, duck.Source{Files: []string{file}}, schema)
			if fault != nil && fault.Error() != run {
				t.Errorf("%s as %s: head says %v, the source %q", kind, typ, fault, run)
			}
			if fault == nil && strings.Contains(run, "does not become") {
				t.Errorf("%s as %s: the head is accepted, the source says %q", kind, typ, run)
			}
		}
	}
}

func TestHeadSaysWhereAColumnIs(t *testing.T) {
	for _, tt := range []struct {
		content, name, place, excerpt string
	}{
		{"meter,at,reading_kWh\n1,2,3\n", "a.csv", "reading_kWh 1:10+11", "meter,at,reading_kWh"},
		{"\"one\nline\",\"reading_kWh\"\n1,2\n", "a.csv", "reading_kWh 2:7+13", "\"one"},
		{`{"meter": 1, "reading_kWh" :2}`, "a.jsonl", "reading_kWh 1:14+13", `{"meter": 1, "reading_kWh" :2}`},
	} {
		path := write(t, tt.name, tt.content)
		fault := head(t, duck.Source{Files: []string{path}}, ir.Schema{{Name: "reading_kwh", Type: "float64"}})
		if fault == nil || fault.Excerpt != tt.excerpt {
			t.Fatalf("%q: %+v", tt.content, fault)
		}
		n := fault.Names[len(fault.Names)-1]
		equal(t, []string{tt.place}, []string{fmt.Sprintf("%s %d:%d+%d", n.Name, n.Line, n.Col, n.Len)})
	}
}

func TestKeyOfOneFileIsNoMissingColumnOfAnother(t *testing.T) {
	with, without := write(t, "a.jsonl", `{"a":1,"b":2}`), write(t, "b.jsonl", `{"a":1}`)
	schema := ir.Schema{{Name: "a", Type: "int64"}, {Name: "b", Type: "int64", Nullable: true}}
	if f := head(t, duck.Source{Files: []string{without, with}}, schema); f != nil {
		t.Error(f)
	}
	results, err := engine.Heads(t.Context(), []duck.Head{{Source: duck.Source{Files: []string{without}}, Schema: schema}})
	if err != nil || results[0].Fault != nil {
		t.Errorf("the key may be in another file: %v, %v", results[0].Fault, err)
	}
}

func TestFileThatCannotBeReadHasNoHead(t *testing.T) {
	for _, file := range []string{"not there.csv", "not there.parquet", "not there.jsonl", t.TempDir() + "/a.csv"} {
		if f := head(t, duck.Source{Files: []string{file}}, ir.Schema{{Name: "a", Type: "int64"}}); f != nil {
			t.Error(f)
		}
	}
}
