package parity_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/parity"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/trees"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// The tables of a shop: orders, their customers, and the latest price of an item.
var (
	orders = rowsql.Table{Name: "o", Schema: ir.Schema{{Name: "id", Type: "int64"}, {Name: "customer", Type: "string"}, {Name: "item", Type: "int32"},
		{Name: "at", Type: "timestamp"}, {Name: "weight", Type: "float64", Nullable: true}, {Name: "paid", Type: "float64", Nullable: true}}}
	customers = rowsql.Table{Name: "c", Keys: [][]string{{"name"}}, Schema: ir.Schema{{Name: "name", Type: "string"}, {Name: "age", Type: "int64", Nullable: true}}}
	prices    = rowsql.Table{Name: "p", Keys: [][]string{{"item", "since"}}, Schema: ir.Schema{{Name: "item", Type: "int32"}, {Name: "since", Type: "timestamp"}, {Name: "price", Type: "float64", Nullable: true}}}
	computed  = ir.Schema{{Name: "id", Type: "int64"}, {Name: "customer", Type: "string"}, {Name: "age", Type: "int64", Nullable: true},
		{Name: "ratio", Type: "float64", Nullable: true}, {Name: "over", Type: "bool", Nullable: true}}
)

const (
	filtered = `SELECT o.id, o.customer, c.age, p.price / o.weight AS ratio, o.paid > p.price AS over
		FROM o LEFT JOIN c ON o.customer = c.name ASOF LEFT JOIN p ON o.item = p.item AND o.at >= p.since
		WHERE o.paid IS NOT NULL`
	unfiltered = `SELECT o.id, o.customer, c.age, p.price / o.weight AS ratio, o.paid > p.price AS over
		FROM o LEFT JOIN c ON o.customer = c.name ASOF LEFT JOIN p ON o.item = p.item AND o.at >= p.since`
)

// reads is a model of two of the features.
func reads(t testing.TB) *model.Model {
	t.Helper()
	m, err := model.New(model.Document{Version: 1, Task: "regression", Columns: ir.Schema{computed[3], computed[2]},
		Features: []model.Feature{{Column: 0, As: model.Number}, {Column: 1, As: model.Number}},
		Trees: &trees.Model{Version: 1, Features: 2, Rule: trees.SKLearn, Outputs: 1, Link: trees.Identity, Trees: []trees.Tree{{
			Feature: []int{0, 1}, Threshold: []float64{3, 40}, Left: []int{1, -1}, Right: []int{-3, -2},
			Missing: []string{"left", "right"}, Values: []float64{0.1, 0.2, 0.3},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A shop is a step that compares, and what it needs.
type shop struct {
	*world
	step   *step.Step
	spec   features.Spec
	python string
	// Private columns.
	private []string
	model   parity.Predictor
	// inPython says that the model of the service is in Python, too.
	inPython bool
}

const rows = 3000

// newShop writes the tables. Orders 5, 12, 19 ... have no payment.
func newShop(t testing.TB, query string) *shop {
	w := newWorld(t)
	w.exec(
		"CREATE TABLE o AS SELECT range AS id, 'k' || (range % 50) AS customer, (range % 7)::INTEGER AS item, TIMESTAMP '2024-01-01' + to_minutes(range * 17) + to_microseconds(range) AS at, "+
			"CASE WHEN range % 11 = 3 THEN NULL ELSE 1 + range / 100 END AS weight, CASE WHEN range % 7 = 5 THEN NULL ELSE range % 20 END::DOUBLE AS paid FROM range(3000)",
		"CREATE TABLE c AS SELECT 'k' || range AS name, nullif(20 + range, 33) AS age FROM range(45)",
		"CREATE TABLE p AS SELECT (range % 7)::INTEGER AS item, TIMESTAMP '2024-01-02' + to_hours(range * 5) AS since, (range % 19 + 1) * 1.1::DOUBLE AS price FROM range(150)",
		"CREATE TABLE f AS "+query+" ORDER BY id",
	)
	s := &shop{world: w, model: reads(t), spec: features.Spec{
		Plans:   []*rowsql.Plan{compile(t, query, orders, customers, prices)},
		Lookups: map[string]features.Lookup{"c": {Port: "lookup_c"}, "p": {Port: "lookup_p"}}, Columns: orders.Schema[:5],
	}}
	s.step = &step.Step{Component: "serve.http", Scratch: t.TempDir(), Code: t.TempDir(), Metrics: filepath.Join(w.dir, "metrics.json"), Progress: filepath.Join(w.dir, "progress"),
		Inputs: map[string]step.Port{
			"model":    {Kind: ir.Model, Path: w.dir},
			"source":   {Kind: ir.Table, Path: w.write("o", "FROM o", orders.Schema), Schema: orders.Schema},
			"lookup_c": {Kind: ir.Table, Path: w.write("c", "FROM c", customers.Schema), Schema: customers.Schema},
			"lookup_p": {Kind: ir.Table, Path: w.write("p", "FROM p", prices.Schema), Schema: prices.Schema},
		},
		Outputs: map[string]step.Port{"report": {Kind: ir.Report, Path: filepath.Join(w.dir, "report")}},
	}
	s.train()
	s.predictions(nil)
	return s
}

// train makes the features of the table f.
func (s *shop) train() {
	s.step.Inputs["features"] = step.Port{Kind: ir.Table, Path: s.write("f", "FROM f ORDER BY id", computed), Schema: computed, Keys: []string{"id"}}
}

// predictions makes a program in the place of Python that predicts as the trees of the model
// do, except for the rows in other.
func (s *shop) predictions(other map[int]float64) {
	s.Helper()
	all, err := s.db.Query("SELECT ratio, age FROM f ORDER BY id")
	if err != nil {
		s.Fatal(err)
	}
	defer all.Close()
	var b []byte
	for i := 0; all.Next(); i++ {
		var ratio, age *float64
		if err := all.Scan(&ratio, &age); err != nil {
			s.Fatal(err)
		}
		x := 0.3
		switch {
		case ratio != nil && *ratio > 3:
		case age == nil || *age > 40:
			x = 0.2
		default:
			x = 0.1
		}
		if y, ok := other[i]; ok {
			x = y
		}
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
	}
	s.python = filepath.Join(s.dir, "python")
	if err := os.WriteFile(s.python+".out", b, 0o600); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(s.python, []byte("#!/bin/sh\ncp "+s.python+".out \"$2\"\n"), 0o700); err != nil {
		s.Fatal(err)
	}
}

func (s *shop) run() (parity.Report, error) {
	s.Helper()
	s.step.Params = params(s.TB, map[string]any{"request": s.spec, "private": s.private, "max_instances": 5})
	err := parity.Run(context.Background(), s.step, s.model, parity.Python{Interpreter: s.python, Exact: !s.inPython})
	return report(s.TB, s.step.Outputs["report"].Path), err
}

func TestEqualFeaturesAndPredictions(t *testing.T) {
	for name, c := range map[string]struct {
		query   string
		change  func(s *shop)
		rows    int64 // compared
		leftOut int64
		note    string
	}{
		"all rows":                       {query: unfiltered, rows: rows},
		"a condition only in training":   {query: filtered, rows: 2572, leftOut: 428, note: "428 rows are left out only in training"},
		"no keys":                        {query: unfiltered, change: func(s *shop) { s.ports("features", func(p *step.Port) { p.Keys = nil }) }, rows: rows, note: "compared as a whole"},
		"a unique column":                {query: unfiltered, change: func(s *shop) { s.ports("features", unique) }, rows: rows},
		"a plan that was pruned":         {query: filtered, change: prune, rows: 2572, leftOut: 428},
		"a model that is not exported":   {query: unfiltered, change: func(s *shop) { s.model = nil }, rows: rows, note: "predictions are not compared"},
		"a limit of age":                 {query: unfiltered, change: func(s *shop) { s.spec.Lookups["p"] = features.Lookup{Port: "lookup_p", MaxAge: "24h"} }, rows: rows, note: "older than its max_age"},
		"a value that nobody can send":   {query: unfiltered, change: infinite, rows: rows, note: "1 rows have a value that no request can contain"},
		"columns that only training has": {query: unfiltered, rows: rows, note: "not compared, because only training computes it: over"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, c.query)
			if c.change != nil {
				c.change(s)
			}
			r, err := s.run()
			if err != nil {
				t.Fatal(err)
			}
			got := r.Counts
			predictions := c.rows
			if s.model == nil {
				predictions = 0
			}
			if got.Rows != rows || got.Compared != c.rows || got.Cells != 4*c.rows || got.Predictions != predictions || got.LeftOut != c.leftOut || len(got.First) > 0 {
				t.Errorf("%+v", got)
			}
			if !strings.Contains(strings.Join(r.Notes, "\n"), c.note) {
				t.Errorf("notes %q, want %q", r.Notes, c.note)
			}
			if b, err := os.ReadFile(s.step.Progress); err != nil || !bytes.Contains(b, []byte(`{"done":3000,"total":3000,"message":"rows compared"}`)) {
				t.Errorf("progress %s, %v", b, err)
			}
		})
	}
}

func (s *shop) ports(name string, change func(*step.Port)) {
	p := s.step.Inputs[name]
	change(&p)
	s.step.Inputs[name] = p
}

func unique(p *step.Port) {
	p.Keys, p.Schema = nil, slices.Clone(p.Schema)
	p.Schema[0].Unique = true
}

// prune passes the plan as the compiler may: without what only training needs.
func prune(s *shop) {
	drops := slices.ContainsFunc(s.spec.Plans[0].Analyse([]string{"paid"}).Filters, func(u rowsql.Use) bool { return u.Training })
	plan, err := s.spec.Plans[0].Serve([]string{"paid"}, nil)
	if err != nil {
		s.Fatal(err)
	}
	s.spec.Plans[0], s.spec.Drops = plan, drops
}

func infinite(s *shop) {
	s.exec("UPDATE o SET weight = 'inf' WHERE id = 2000", "UPDATE f SET ratio = 0 WHERE id = 2000")
	s.write("o", "FROM o", orders.Schema)
	s.train()
	s.predictions(nil)
}

func TestEachDifferenceIsFound(t *testing.T) {
	features := func(queries ...string) func(*shop) {
		return func(s *shop) {
			s.exec(queries...)
			s.train()
			s.predictions(nil)
		}
	}
	for name, c := range map[string]struct {
		query  string
		change func(*shop)
		counts map[parity.Kind]int64
		says   []string
	}{
		"a float that is the next one": {unfiltered, features("UPDATE f SET ratio = nextafter(ratio, 'inf'::DOUBLE) WHERE id = 1001"),
			map[parity.Kind]int64{parity.Cell: 1}, []string{"1 differences in 3000 rows (cells: 1)", "row 1002 of the source (id=1001): column ratio: wanted 1.", "got 1."}},
		"a zero with a sign": {unfiltered, func(s *shop) {
			s.exec("UPDATE p SET price = 0 WHERE item = 2", "UPDATE f SET ratio = '-0'::DOUBLE WHERE id = 1003")
			s.write("p", "FROM p", prices.Schema)
			s.exec("UPDATE f SET ratio = 0 WHERE id % 7 = 2 AND ratio IS NOT NULL AND id <> 1003")
			s.exec("UPDATE f SET ratio = '-0'::DOUBLE WHERE id = 1003")
			s.train()
			s.predictions(nil)
		}, map[parity.Kind]int64{parity.Cell: 1}, []string{"column ratio: wanted -0, got 0"}},
		"null for a value": {unfiltered, features("UPDATE f SET age = NULL WHERE id = 7"),
			map[parity.Kind]int64{parity.Cell: 1, parity.Prediction: 1}, []string{"row 8 of the source (id=7): column age: wanted null, got 27"}},
		"a value for null": {unfiltered, features("UPDATE f SET age = 0 WHERE id = 13"),
			map[parity.Kind]int64{parity.Cell: 1, parity.Prediction: 1}, []string{"(id=13): column age: wanted 0, got null"}},
		"NaN for a value": {unfiltered, features("UPDATE f SET ratio = 'nan' WHERE id = 13"),
			map[parity.Kind]int64{parity.Cell: 1}, []string{"wanted NaN, got"}},
		"a text with a space": {unfiltered, features("UPDATE f SET customer = customer || ' ' WHERE id = 13"),
			map[parity.Kind]int64{parity.Cell: 1}, []string{`column customer: wanted "k13 ", got "k13"`}},
		"a row that training has not": {unfiltered, features("DELETE FROM f WHERE id = 2999"),
			map[parity.Kind]int64{parity.Extra: 1}, []string{"row 3000 of the source (id=2999): training does not have it"}},
		"a row that only training has": {filtered, features("INSERT INTO f SELECT 9999, customer, age, ratio, over FROM f WHERE id = 1"),
			map[parity.Kind]int64{parity.Missing: 1}, []string{"(id=9999): the service does not compute it"}},
		"a row that is there twice": {unfiltered, func(s *shop) {
			s.exec("INSERT INTO o FROM o WHERE id = 17")
			s.write("o", "FROM o", orders.Schema)
		}, map[parity.Kind]int64{parity.Repeated: 1}, []string{"(id=17): the service computes it 2 times, training 1"}},
		"a table that is another": {unfiltered, func(s *shop) {
			s.exec("UPDATE c SET age = age + 1 WHERE name = 'k3'")
			s.write("c", "FROM c", customers.Schema)
		}, map[parity.Kind]int64{parity.Cell: 60}, []string{"(id=3): column age: wanted 23, got 24", "and 40 more"}},
		"a row without keys": {unfiltered, func(s *shop) {
			s.exec("UPDATE f SET age = 1 WHERE id = 7")
			s.train()
			s.ports("features", func(p *step.Port) { p.Keys = nil })
		}, map[parity.Kind]int64{parity.Missing: 1, parity.Extra: 1}, []string{`row 8 of the source (id=7, customer="k7", age=27, ratio=null): training does not have it`, `row 8 of the features (id=7, customer="k7", age=1, ratio=null): the service does not compute it`}},
		"a value that a request refuses": {unfiltered, func(s *shop) {
			s.spec.Columns = slices.Clone(s.spec.Columns)
			s.spec.Columns[0].Max = "2998"
		}, map[parity.Kind]int64{parity.Decoded: 1}, []string{"row 3000 of the source: column id as JSON: wanted 2999, got "}},
		"a null that a request refuses": {unfiltered, func(s *shop) {
			s.spec.Columns = slices.Clone(s.spec.Columns)
			s.spec.Columns[4].Nullable = false
		}, nil, []string{"column weight as JSON: wanted null, got "}},
		"a prediction": {unfiltered, func(s *shop) { s.predictions(map[int]float64{2000: math.Nextafter(0.1, 1)}) },
			map[parity.Kind]int64{parity.Prediction: 1}, []string{"row 2001 of the source (id=2000): the prediction: wanted 0.10000000000000002", "got 0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, c.query)
			c.change(s)
			r, err := s.run()
			if err == nil {
				t.Fatalf("no difference: %+v", r.Counts)
			}
			for kind, n := range c.counts {
				if r.Counts.Differences[kind] != n {
					t.Errorf("%d %s, want %d", r.Counts.Differences[kind], kind, n)
				}
			}
			if c.counts != nil && len(r.Counts.Differences) != len(c.counts) {
				t.Errorf("%v, want %v", r.Counts.Differences, c.counts)
			}
			for _, says := range c.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%v\nwant %q", err, says)
				}
			}
		})
	}
}

func TestPrivateValuesAreNotShown(t *testing.T) {
	s := newShop(t, unfiltered)
	s.private = []string{"age", "id"}
	s.exec("UPDATE f SET age = 987654 WHERE id = 2077")
	s.train()
	r, err := s.run()
	if err == nil || !strings.Contains(err.Error(), "(id=(private)): column age: wanted (private), got (private)") {
		t.Errorf("%v", err)
	}
	if all := string(params(t, r)); strings.Contains(all, "987654") || strings.Contains(all, "=2077") {
		t.Errorf("%s", all)
	}
}

func TestPredictionsOfTooFewRowsAreRefused(t *testing.T) {
	s := newShop(t, unfiltered)
	if err := os.Truncate(s.python+".out", 8*10); err != nil {
		t.Fatal(err)
	}
	s.step.Params = params(t, map[string]any{"request": s.spec})
	if err := parity.Run(context.Background(), s.step, s.model, parity.Python{Interpreter: s.python, Exact: !s.inPython}); err == nil || !strings.Contains(err.Error(), "3000 rows have 80 bytes, wanted 24000") {
		t.Errorf("%v", err)
	}
}

func TestTheStepEndsWithItsContext(t *testing.T) {
	s := newShop(t, unfiltered)
	s.step.Params = params(t, map[string]any{"request": s.spec})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := parity.Run(ctx, s.step, nil, parity.Python{}); err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}
