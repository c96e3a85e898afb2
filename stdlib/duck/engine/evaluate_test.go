package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

// written reads rows as "a,b|1,-|2,x": a dash is null.
func written(text string) duck.Rows {
	var r duck.Rows
	for i, line := range strings.Split(text, "|") {
		fields := strings.Split(line, ",")
		if i == 0 {
			r.Columns = fields
			continue
		}
		row := make([]*string, len(fields))
		for j := range fields {
			if fields[j] != "-" {
				row[j] = &fields[j]
			}
		}
		r.Values = append(r.Values, row)
	}
	return r
}

func text(r duck.Rows) string {
	lines := []string{strings.Join(r.Columns, ",")}
	for _, row := range r.Values {
		fields := make([]string, len(row))
		for i, v := range row {
			fields[i] = "-"
			if v != nil {
				fields[i] = *v
			}
		}
		lines = append(lines, strings.Join(fields, ","))
	}
	return strings.Join(lines, "|")
}

func said(broken []duck.Violation) (lines []string) {
	for _, v := range broken {
		lines = append(lines, v.String())
	}
	return lines
}

func TestEvaluateRunsAQueryOverLiteralRows(t *testing.T) {
	c := newChecker(t)
	visits := duck.Literal{
		Schema: ir.Schema{{Name: "who", Type: "string"}, {Name: "day", Type: "timestamp"}, {Name: "paid", Type: "float64"}},
		Rows:   written("who,day|ann,2024-01-02 10:00:00|bob,2024-01-01|ann,2024-01-01 09:30"),
	}
	prices := duck.Literal{
		Schema: ir.Schema{{Name: "since", Type: "timestamp"}, {Name: "price", Type: "int64"}},
		Rows:   written("since,price|2024-01-01 09:00:00,5|2024-01-02,7"),
	}
	none := duck.Literal{Schema: prices.Schema, Rows: written("price")}
	for name, tt := range map[string]struct {
		query  string
		out    duck.Table
		want   string
		broken []string
	}{
		"ordered by its keys, then by the rest": {
			"SELECT who, day FROM v",
			duck.Table{Schema: ir.Schema{{Name: "who", Type: "string"}, {Name: "day", Type: "timestamp"}}, OrderBy: []string{"who"}},
			"who,day|ann,2024-01-01 09:30:00|ann,2024-01-02 10:00:00|bob,2024-01-01 00:00:00", nil,
		},
		"without keys, as the query says": {
			"SELECT row_number() OVER (PARTITION BY who ORDER BY day) AS n FROM v ORDER BY who DESC, day",
			duck.Table{Schema: ir.Schema{{Name: "n", Type: "int64"}}}, "n|1|1|2", nil,
		},
		"a column that is not given is null": {
			"SELECT who, paid FROM v WHERE who = 'bob'",
			duck.Table{Schema: ir.Schema{{Name: "who", Type: "string"}, {Name: "paid", Type: "float64"}}},
			"who,paid|bob,-", []string{`column "paid": 1 row null, such as row 1`},
		},
		"the price that held": {
			"SELECT v.who, p.price FROM v ASOF LEFT JOIN p ON v.day >= p.since",
			duck.Table{Schema: ir.Schema{{Name: "who", Type: "string"}, {Name: "price", Type: "int64", Nullable: true, Max: "6"}}, OrderBy: []string{"price"}},
			"who,price|ann,5|ann,7|bob,-", []string{`column "price": 1 row above max 6, such as 7 (row 2)`},
		},
		"a table without rows": {"SELECT price FROM n", duck.Table{Schema: ir.Schema{{Name: "price", Type: "int64"}}}, "price", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.Evaluate(t.Context(), tt.query, map[string]duck.Literal{"v": visits, "p": prices, "n": none}, tt.out)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, text(got.Rows)) + cmp.Diff(tt.broken, said(got.Broken)); d != "" {
				t.Error(d)
			}
		})
	}
	// An error leaves nothing behind.
	if _, err := c.Evaluate(t.Context(), "SELECT error('no '|| who) AS e FROM v", map[string]duck.Literal{"v": visits}, duck.Table{Schema: ir.Schema{{Name: "e", Type: "string"}}}); err == nil || !strings.Contains(err.Error(), "no ann") {
		t.Errorf("an error of the query: %v", err)
	}
	if _, err := c.Describe(t.Context(), nil, "FROM v"); err == nil {
		t.Error("the tables of an evaluation stayed")
	}
}

// A value is what a source would make of the same text.
func TestTypedReadsAsIngestDoes(t *testing.T) {
	c := newChecker(t)
	for _, typ := range []string{"int64", "float64", "date", "timestamp", "string"} {
		for _, value := range []string{"1.5", "2.0", "2024-01-02", "2024-01-02 10:00:00", "it's"} {
			schema := ir.Schema{{Name: "v", Type: typ}}
			got, err := c.Typed(context.Background(), duck.Rows{Columns: []string{"v"}, Values: [][]*string{{&value}}}, schema)
			out := t.TempDir() + "/out.parquet"
			_, want := engine.Ingest(context.Background(), duck.Source{Files: []string{write(t, "v.csv", "v\n\""+value+"\"\n")}}, schema, out, engine.Limits{})
			if (err == nil) != (want == nil) {
				t.Errorf("%s as %s: %v, and as a source %v", value, typ, err, want)
			}
			if wrong := (*duck.ValueError)(nil); err != nil && !errors.As(err, &wrong) {
				t.Errorf("%s as %s: %v", value, typ, err)
			}
			if err != nil || want != nil {
				continue
			}
			p, err := engine.Preview(context.Background(), out, 1)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(p.Rows[0][0], *got.Values[0][0]); d != "" {
				t.Errorf("%s as %s (-source +literal):\n%s", value, typ, d)
			}
		}
	}
}

func TestEvaluateReportsInvalidInputs(t *testing.T) {
	c := newChecker(t)
	schema := ir.Schema{{Name: "id", Type: "int64", Unique: true}, {Name: "day", Type: "date"}}
	evaluate := func(rows string) (duck.Evaluated, error) {
		return c.Evaluate(t.Context(), "SELECT id FROM i", map[string]duck.Literal{"i": {Schema: schema, Rows: written(rows)}}, duck.Table{Schema: schema[:1]})
	}
	_, err := evaluate("day,id|2024-01-01,1|-,2|2024-13-01,3")
	if d := cmp.Diff(&duck.ValueError{Input: "i", Row: 2, Column: "day", Type: "date", Value: "2024-13-01"}, err); d != "" {
		t.Error(d)
	}
	got, err := evaluate("id|1|1")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{`column "id": 1 row repeated, such as 1 (rows 1 and 2)`}, said(got.Inputs["i"])); d != "" {
		t.Error(d)
	}
}
