package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

func infer(t *testing.T, sql string, sources map[string]duck.Source) []duck.Inferred {
	t.Helper()
	got, err := engine.Infer(context.Background(), sql, sources, engine.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestInferFindsTheTypesOfCSV(t *testing.T) {
	var b strings.Builder
	b.WriteString("id,zip,price,ok,day,at,tz,color,empty\n")
	for i := range 40 {
		fmt.Fprintf(&b, "%d,0%d,%d.5,%t,2024-01-02,2024-01-02 03:04:05,2024-01-02 03:04:05+02:00,%s,\n", i, 1000+i, i%7, i%2 == 0, []string{"red", "blue"}[i%2])
	}
	file := write(t, "a.csv", b.String())
	got := infer(t, "", map[string]duck.Source{"a": {Files: []string{file}}})
	want := []duck.Inferred{
		{Column: ir.Column{Name: "id", Type: "int64", Unique: true, Min: "0", Max: "39"}, DuckType: "BIGINT", Rows: 40, Distinct: 40},
		{Column: ir.Column{Name: "zip", Type: "string", Unique: true}, DuckType: "VARCHAR", Rows: 40, Distinct: 40},
		{Column: ir.Column{Name: "price", Type: "float64", Min: "0.5", Max: "6.5"}, DuckType: "DOUBLE", Rows: 40, Distinct: 7},
		{Column: ir.Column{Name: "ok", Type: "bool"}, DuckType: "BOOLEAN", Rows: 40, Distinct: 2},
		{Column: ir.Column{Name: "day", Type: "date", Min: "2024-01-02", Max: "2024-01-02"}, DuckType: "DATE", Rows: 40, Distinct: 1},
		{Column: ir.Column{Name: "at", Type: "timestamp", Min: "2024-01-02T03:04:05", Max: "2024-01-02T03:04:05"}, DuckType: "TIMESTAMP", Rows: 40, Distinct: 1},
		{Column: ir.Column{Name: "tz", Type: "timestamptz", Min: "2024-01-02T01:04:05Z", Max: "2024-01-02T01:04:05Z"}, DuckType: "TIMESTAMP WITH TIME ZONE", Rows: 40, Distinct: 1},
		{Column: ir.Column{Name: "color", Type: "string", Values: []string{"blue", "red"}}, DuckType: "VARCHAR", Rows: 40, Distinct: 2},
		{Column: ir.Column{Name: "empty", Type: "string", Nullable: true}, DuckType: "VARCHAR", Rows: 40, Nulls: 40, NullTexts: map[string]int64{"": 40}},
	}
	equal(t, want, got)

	// What it finds, Ingest takes.
	var schema ir.Schema
	for _, c := range got {
		schema = append(schema, c.Column)
	}
	out, err := ingest(t, duck.Source{Files: []string{file}}, schema)
	if err != nil {
		t.Fatal(err)
	}
	if v, _, err := engine.Verify(context.Background(), out, schema, nil, nil); err != nil || len(v) > 0 {
		t.Error(v, err)
	}
}

func TestInferReadsJSONLines(t *testing.T) {
	file := write(t, "a.jsonl", "{\"a\": 1, \"s\": \"01\", \"n\": {\"x\": 1}}\n{\"a\": 2.5, \"s\": \"02\"}\n")
	got := infer(t, "", map[string]duck.Source{"a": {Files: []string{file}}})
	equal(t, []duck.Inferred{
		{Column: ir.Column{Name: "a", Type: "float64", Min: "1.0", Max: "2.5"}, DuckType: "DOUBLE", Rows: 2, Distinct: 2},
		{Column: ir.Column{Name: "s", Type: "string", Unique: true}, DuckType: "VARCHAR", Rows: 2, Distinct: 2},
		{Column: ir.Column{Name: "n", Type: "string", JSON: true, Nullable: true}, DuckType: "VARCHAR", Rows: 2, Nulls: 1, Distinct: 1},
	}, got)
}

func TestInferSeesWhetherATimeInJSONHasAZone(t *testing.T) {
	file := write(t, "a.jsonl", `{"z": "2024-01-05T10:00:00Z", "t": "2024-01-05T10:00:00", "d": "2024-01-05", "m": "2024-01-05T10:00:00"}`+"\n"+`{"z": null, "m": "2024-01-05T10:00:00+01:00"}`)
	var got []string
	for _, c := range infer(t, "", map[string]duck.Source{"a": {Files: []string{file}}}) {
		got = append(got, c.Name+" "+c.Type)
	}
	equal(t, []string{"z timestamptz", "t timestamp", "d date", "m string"}, got)
}

func TestInferSkipsAColumnWithoutAName(t *testing.T) {
	for name, text := range map[string]string{
		"a.csv":   ",code,phone\n0,1,+4912\n1,2,+4913\n",
		"a.jsonl": `{"": 0, "code": 1, "phone": "+4912"}` + "\n",
	} {
		equal(t, []string{"code int64", "phone string", " "}, inferred(t, write(t, name, text)))
	}
}

// What is inferred of JSON reads the same values. Columns are "NAME TYPE", with "json" for
// text that is JSON.
func TestInferOfJSONLosesNothing(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": 9007199254740993}|{"a": 0.5}`:                         "a json",
		`{"a": 18446744073709551616}|{"a": 1}`:                       "a json",
		`{"a": 18446744073709551615}`:                                "a uint64",
		`{"a": -1}|{"a": 18446744073709551615}`:                      "a string",
		`{"a": 9007199254740992}|{"a": 0.5}`:                         "a float64",
		`{"a": 100000000000000000000000}`:                            "a float64",
		`{"a": 1.0}`:                                                 "a float64",
		`{"a": 1e400}`:                                               "a json",
		`{"a": {"x": 1, "X": 2, "": 3}}`:                             "a json",
		`{"a": [1, {"b": null}]}|{"a": 1}`:                           "a json",
		`{"a": 1}|{"a": "x"}|{"a": true}`:                            "a string",
		`{"a": true}|{"a": 1.5}`:                                     "a json",
		`{"a": "2024-01-05"}|{"a": "2024-01-05T10:00:00Z"}`:          "a string",
		`{"a": "1"}`:                                                 "a string",
		`{"a": null}`:                                                "a string",
		`{}|{"b": 1}|{"a": 2}`:                                       "b int64, a int64",
		`{"a b": 1, "\u00e9": 2, "x\"y": 3, "select": 4, "json": 5}`: `a b int64, é int64, x"y int64, select int64, json int64`,
	} {
		t.Run(text, func(t *testing.T) {
			file := write(t, "a.jsonl", strings.ReplaceAll(text, "|", "\n")+"\n")
			equal(t, strings.Split(want, ", "), inferred(t, file))
			var schema ir.Schema
			for _, c := range infer(t, "", map[string]duck.Source{"a": {Files: []string{file}}}) {
				schema = append(schema, c.Column)
			}
			if _, err := ingest(t, duck.Source{Files: []string{file}}, schema); err != nil && !strings.Contains(text, `"a": null}`) {
				t.Error(err)
			}
		})
	}
}

func inferred(t *testing.T, file string) (columns []string) {
	t.Helper()
	for _, c := range infer(t, "", map[string]duck.Source{"a": {Files: []string{file}}}) {
		if c.JSON {
			c.Type = "json"
		}
		columns = append(columns, c.Name+" "+c.Type)
	}
	return columns
}

func TestInferTypesAQueryOverSeveralFiles(t *testing.T) {
	a := write(t, "a.csv", "k,x\n1,2\n2,3\n")
	b := write(t, "b.csv", "k,x\n3,4\n")
	p := table(t, "SELECT 1::BIGINT AS k, 'one' AS v", pairs)
	got := infer(t, "SELECT t.k, sum(x) AS s FROM t JOIN p USING (k) GROUP BY t.k", map[string]duck.Source{
		"t": {Files: []string{a, b}}, "p": {Files: []string{p}},
	})
	equal(t, []duck.Inferred{
		{Column: ir.Column{Name: "k", Type: "int64", Min: "1", Max: "1"}, DuckType: "BIGINT", Rows: 1, Distinct: 1},
		{Column: ir.Column{Name: "s", Type: "int64", Min: "2", Max: "2"}, DuckType: "HUGEINT", Cast: "BIGINT", Rows: 1, Distinct: 1},
	}, got)
}

func TestInferLeavesOutInfinityAndNaNOfBounds(t *testing.T) {
	p := table(t, "SELECT unnest(['1.5', 'inf', 'nan', '-2'])::DOUBLE AS x", ir.Schema{{Name: "x", Type: "float64", NaN: true}})
	got := infer(t, "", map[string]duck.Source{"p": {Files: []string{p}}})
	equal(t, []duck.Inferred{{Column: ir.Column{Name: "x", Type: "float64", Nullable: true, Min: "-2.0", Max: "1.5"}, DuckType: "DOUBLE", Rows: 4, NaNs: 1, Distinct: 4}}, got)
}

func TestInferSaysWhatIsWrong(t *testing.T) {
	ctx := context.Background()
	good := duck.Source{Files: []string{write(t, "a.csv", "k\n1\n")}}
	for _, tt := range []struct {
		sql     string
		sources map[string]duck.Source
		want    string
	}{
		{"", map[string]duck.Source{"a": good, "b": good}, "without a query there must be exactly one source"},
		{"", map[string]duck.Source{"a": {Files: []string{write(t, "a.csv", "a,b\n1,2\n1\n")}}}, "a.csv:3: the row has 1 fields, the first one has 2"},
		{"", map[string]duck.Source{"a": {Files: []string{write(t, "a.csv", "a\n\xe9\n")}}}, `a.csv:2: byte 3 (0xe9) is not UTF-8; if the file has another encoding, declare it, for example encoding: "latin-1"`},
		{"", map[string]duck.Source{"a": {Files: []string{write(t, "a.json", "{\"a\": 1}\n{")}}}, "a.json:2: the line is not a JSON object"},
		{"", map[string]duck.Source{"a": {Files: []string{write(t, "a.csv", "k,k\n1,2\n")}}}, `a.csv:1: the file has column "k" twice`},
		{"", map[string]duck.Source{"a": {Files: []string{write(t, "a.csv", "k,K\n1,2\n")}}}, `a.csv:1: the columns "k" and "K" differ only in case: a schema can have one of them`},
		{"", map[string]duck.Source{"a": {Files: []string{write(t, "a.json", "")}}}, "a.json: the file is empty"},
		{"", map[string]duck.Source{"a": {Files: []string{write(t, "a.json", `{"": 1}`)}}}, "a.json: no object has a key that a schema can name"},
		{"", map[string]duck.Source{"a": {Files: []string{write(t, "a.json", "{\"k\": 1}\n{\"K\": 1}")}}}, `a.json: the columns "k" and "K" differ only in case: a schema can have one of them`},
		{"", map[string]duck.Source{"a": {Files: []string{write(t, "a.json", "{\"k\": 1}\n{\"k\": 9007199254740993.0}")}}}, `a.json:2: column "k": "9007199254740993.0" is not a float64: the type does not hold it exactly`},
		{"", map[string]duck.Source{"a": {Files: []string{write(t, "a.json", `{"k": 1, "k": 2}`)}}}, `a.json:1: Object {"k":1,"k":2} has duplicate key "k"`},
		{"FROM b", map[string]duck.Source{"a": good}, "Table with name b does not exist!"},
		{"DROP TABLE a", map[string]duck.Source{"a": good}, "a query starts with SELECT, WITH or FROM, not with DROP"},
	} {
		_, err := engine.Infer(ctx, tt.sql, tt.sources, engine.Limits{})
		wantError(t, err, tt.want)
	}
}
