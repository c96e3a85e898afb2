package features_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/step"
)

var checker = sync.OnceValues(engine.NewChecker)

// compile compiles a query, and passes the plan through JSON.
func compile(t testing.TB, query string, tables ...rowsql.Table) *rowsql.Plan {
	t.Helper()
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	schemas := map[string]ir.Schema{}
	for _, table := range tables {
		schemas[table.Name] = table.Schema
	}
	bound, err := c.Bind(context.Background(), schemas, query)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := rowsql.Compile(query, bound, tables)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	plan = nil
	if err := json.Unmarshal(b, &plan); err != nil {
		t.Fatal(err)
	}
	return plan
}

// write replaces a table by the result of a query.
func write(t testing.TB, path, query string) {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("COPY (" + query + ") TO '" + path + ".new' (FORMAT parquet, COMPRESSION zstd)"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// The tables of a shop: an order, its customer, and the latest price of its item.
var (
	orders = rowsql.Table{Name: "o", Schema: ir.Schema{{Name: "id", Type: "int64"}, {Name: "customer", Type: "string"}, {Name: "item", Type: "int32"},
		{Name: "at", Type: "timestamp"}, {Name: "weight", Type: "float64", Nullable: true}, {Name: "paid", Type: "float64", Nullable: true}}}
	customers = rowsql.Table{Name: "c", Keys: [][]string{{"name"}}, Schema: ir.Schema{{Name: "name", Type: "string"}, {Name: "age", Type: "int64", Nullable: true}, {Name: "note", Type: "string"}}}
	prices    = rowsql.Table{Name: "p", Keys: [][]string{{"item", "since"}}, Schema: ir.Schema{{Name: "item", Type: "int32"}, {Name: "since", Type: "timestamp"}, {Name: "price", Type: "float64", Nullable: true}}}
)

const (
	first = `SELECT o.id, o.weight, c.age, p.price, o.paid > p.price AS over
		FROM o LEFT JOIN c ON o.customer = c.name ASOF LEFT JOIN p ON o.item = p.item AND o.at >= p.since
		WHERE o.paid IS NOT NULL`
	second = "SELECT id, coalesce(age, -1) AS age, price / weight AS ratio, over FROM f WHERE age IS NULL OR age < 100"
)

var (
	between = rowsql.Table{Name: "f", Schema: ir.Schema{{Name: "id", Type: "int64"}, {Name: "weight", Type: "float64", Nullable: true},
		{Name: "age", Type: "int64", Nullable: true}, {Name: "price", Type: "float64", Nullable: true}, {Name: "over", Type: "bool", Nullable: true}}}
	last  = ir.Schema{{Name: "id", Type: "int64"}, {Name: "age", Type: "int64"}, {Name: "ratio", Type: "float64", Nullable: true}, {Name: "over", Type: "bool", Nullable: true}}
	reads = ir.Schema{{Name: "ratio", Type: "float64", Nullable: true}, {Name: "age", Type: "int64"}}
)

// shop is a step of which a caller does not know what was paid.
func shop(t testing.TB) (*step.Step, features.Spec) {
	t.Helper()
	dir := t.TempDir()
	c, p := filepath.Join(dir, "c"), filepath.Join(dir, "p")
	write(t, c, "FROM (VALUES ('ann', 30, 'x'), ('bob', NULL, 'y'), ('old', 100, 'z')) v(name, age, note)")
	copyTyped(t, c, customers)
	write(t, p, "SELECT item::INTEGER AS item, since::TIMESTAMP AS since, price::DOUBLE AS price FROM (VALUES (1, '2024-01-01', 10), (1, '2024-02-01', 12), (2, '2024-01-01', '-0')) v(item, since, price)")
	return &step.Step{Inputs: map[string]step.Port{
			"lookup_c": {Kind: ir.Table, Path: c, Schema: customers.Schema}, "lookup_p": {Kind: ir.Table, Path: p, Schema: prices.Schema},
		}}, features.Spec{
			Plans:   []*rowsql.Plan{compile(t, first, orders, customers, prices), compile(t, second, between)},
			Results: []ir.Schema{between.Schema, last},
			Lookups: map[string]features.Lookup{"c": {Port: "lookup_c"}, "p": {Port: "lookup_p"}},
			Columns: orders.Schema[:5],
		}
}

// copyTyped gives a table the types of its schema.
func copyTyped(t testing.TB, path string, table rowsql.Table) {
	var columns []string
	for _, c := range table.Schema {
		columns = append(columns, c.Name+"::"+ir.Types[c.Type]+" AS "+c.Name)
	}
	write(t, path, "SELECT "+strings.Join(columns, ", ")+" FROM read_parquet('"+path+"')")
}

func order(customer string, item int64, at string, weight rowsql.Value) []rowsql.Value {
	when, err := time.Parse(time.DateOnly, at)
	if err != nil {
		panic(err)
	}
	return []rowsql.Value{rowsql.Int(7), rowsql.String(customer), rowsql.Int(item), rowsql.Int(when.UnixMicro()), weight}
}

func load(t testing.TB, s *step.Step, spec features.Spec) *features.Features {
	t.Helper()
	f, err := features.Load(context.Background(), s, spec, reads)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFeaturesOfARequest(t *testing.T) {
	s, spec := shop(t)
	f := load(t, s, spec)
	if !f.Drops {
		t.Error("training leaves out orders that nobody paid, which a caller cannot say")
	}
	r, row := f.NewRow(), make([]rowsql.Value, 2)
	for name, c := range map[string]struct {
		in     []rowsql.Value
		want   []rowsql.Value // nil if the row is left out
		missed string
	}{
		"the price before":                  {order("ann", 1, "2024-01-31", rowsql.Float(4)), []rowsql.Value{rowsql.Float(2.5), rowsql.Int(30)}, ""},
		"the price from that moment":        {order("bob", 1, "2024-02-01", rowsql.Float(4)), []rowsql.Value{rowsql.Float(3), rowsql.Int(-1)}, ""},
		"nobody and nothing":                {order("eve", 9, "2024-02-01", rowsql.Float(4)), []rowsql.Value{rowsql.Null, rowsql.Int(-1)}, "lookup c, lookup p"},
		"before the first price":            {order("ann", 1, "2023-02-01", rowsql.Float(4)), []rowsql.Value{rowsql.Null, rowsql.Int(30)}, "lookup p"},
		"a row that the second plan leaves": {order("old", 1, "2024-02-01", rowsql.Float(4)), nil, ""},
		"zeros of tables have no sign":      {order("ann", 2, "2024-02-01", rowsql.Float(-4)), []rowsql.Value{rowsql.Float(0), rowsql.Int(30)}, ""},
		"a NaN of the request is missing":   {order("ann", 1, "2024-02-01", rowsql.Float(math.NaN())), []rowsql.Value{rowsql.Null, rowsql.Int(30)}, ""},
		"a NaN that is computed is missing": {order("ann", 2, "2024-02-01", rowsql.Float(0)), []rowsql.Value{rowsql.Null, rowsql.Int(30)}, ""},
		"a zero of the request has no sign": {order("ann", 1, "2024-02-01", rowsql.Float(math.Copysign(0, -1))), []rowsql.Value{rowsql.Float(math.Inf(1)), rowsql.Int(30)}, ""},
	} {
		kept, err := r.Compute(c.in, row, nil)
		if err != nil || kept != (c.want != nil) {
			t.Errorf("%s: %v, %v", name, kept, err)
		} else if diff := cmp.Diff(c.want, row); kept && diff != "" {
			t.Errorf("%s: %s", name, diff)
		} else if got := r.Missed(); got != c.missed {
			t.Errorf("%s: %q is missing, want %q", name, got, c.missed)
		}
	}
}

// Versions of a service that look rows up in the same table have it in memory once.
func TestTheSameTableIsReadOnce(t *testing.T) {
	s, spec := shop(t)
	for name, digest := range map[string]string{"lookup_c": "sha256:c of " + t.Name(), "lookup_p": "sha256:p of " + t.Name()} {
		port := s.Inputs[name]
		port.Digest = digest
		s.Inputs[name] = port
	}
	first := load(t, s, spec)
	for name := range s.Inputs {
		if err := os.Remove(s.Inputs[name].Path); err != nil {
			t.Fatal(err)
		}
	}
	next := load(t, s, spec) // there is nothing to read any more
	row := make([]rowsql.Value, 2)
	for _, f := range []*features.Features{first, next} {
		if kept, err := f.NewRow().Compute(order("ann", 1, "2024-01-31", rowsql.Float(4)), row, nil); err != nil || !kept || row[0] != rowsql.Float(2.5) {
			t.Errorf("%v, %v, %v", row, kept, err)
		}
	}
	port := s.Inputs["lookup_c"]
	port.Digest = "sha256:another"
	s.Inputs["lookup_c"] = port
	if _, err := features.Load(context.Background(), s, spec, reads); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a table of another digest: %v", err)
	}
	runtime.KeepAlive(first)
	runtime.KeepAlive(next)
}

func TestNullWhereTheColumnHasNoneIsRefused(t *testing.T) {
	s, spec := shop(t)
	spec.Results[1] = append(ir.Schema{}, last...)
	spec.Results[1][2].Nullable = false
	_, err := load(t, s, spec).Row().Compute(order("ann", 9, "2024-02-01", rowsql.Float(4)), make([]rowsql.Value, 2), nil)
	var v *model.ValueError
	if !errors.As(err, &v) || v.Column != "ratio" {
		t.Errorf("%v, want an error about ratio", err)
	}
}

// An answer cannot repeat what JSON does not have.
func TestAnInfiniteValueIsNotRepeated(t *testing.T) {
	s, spec := shop(t)
	spec.Returns = []string{"ratio"}
	r, row, returned := load(t, s, spec).Row(), make([]rowsql.Value, 2), make([]rowsql.Value, 1)
	if _, err := r.Compute(order("ann", 1, "2024-02-01", rowsql.Float(4)), row, returned); err != nil || returned[0] != rowsql.Float(3) {
		t.Errorf("%v, %v", returned, err)
	}
	_, err := r.Compute(order("ann", 1, "2024-02-01", rowsql.Float(0)), row, returned)
	var v *model.ValueError
	if !errors.As(err, &v) || v.Column != "ratio" {
		t.Errorf("%v, want an error about ratio", err)
	}
}

func TestOldRowsAreRefused(t *testing.T) {
	s, spec := shop(t)
	spec.Lookups["p"] = features.Lookup{Port: "lookup_p", MaxAge: "2d"}
	r, row := load(t, s, spec).Row(), make([]rowsql.Value, 2)
	for at, old := range map[string]bool{"2024-01-03": false, "2024-01-04": true, "2024-02-01": false, "2024-02-03": false, "2024-03-01": true, "2023-01-01": false} {
		kept, err := r.Compute(order("ann", 1, at, rowsql.Float(4)), row, nil)
		var e *features.TooOldError
		if errors.As(err, &e) != old || kept == old {
			t.Errorf("%s: %v, %v; too old: %v", at, kept, err, old)
		}
		if old && (e.Lookup != "p" || e.Max != 48*time.Hour || e.Age <= e.Max) {
			t.Errorf("%s: %+v", at, e)
		}
	}
}

func TestSpecsThatDoNotFitAreRefused(t *testing.T) {
	for want, change := range map[string]func(*step.Step, *features.Spec){
		"the model reads column ratio":        func(_ *step.Step, p *features.Spec) { p.Plans, p.Results = p.Plans[:1], p.Results[:1] },
		`it looks up "c", which is not there`: func(_ *step.Step, p *features.Spec) { delete(p.Lookups, "c") },
		`the step has no input "lookup_c"`:    func(s *step.Step, _ *features.Spec) { delete(s.Inputs, "lookup_c") },
		`column age of "c" is VARCHAR`:        func(s *step.Step, _ *features.Spec) { change(s, 1, ir.Column{Name: "age", Type: "string"}) },
		`"c" has no column age`:               func(s *step.Step, _ *features.Spec) { change(s, 1, ir.Column{Name: "years", Type: "int64"}) },
		"only an ASOF join":                   func(_ *step.Step, p *features.Spec) { p.Lookups["c"] = features.Lookup{Port: "lookup_c", MaxAge: "1h"} },
		"there is no plan":                    func(_ *step.Step, p *features.Spec) { p.Plans = nil },
		"it is not known what columns":        func(_ *step.Step, p *features.Spec) { p.Results = nil },
		"it reads column weight as DOUBLE, which is FLOAT": func(_ *step.Step, p *features.Spec) {
			p.Columns = with(p.Columns, 4, ir.Column{Name: "weight", Type: "float32"})
		},
		"it computes column age as BIGINT": func(_ *step.Step, p *features.Spec) {
			p.Results = []ir.Schema{p.Results[0], with(last, 1, ir.Column{Name: "age", Type: "int32"})}
		},
		"needs.memory": func(s *step.Step, _ *features.Spec) { s.Resources.Memory = 10 },
	} {
		s, spec := shop(t)
		change(s, &spec)
		if _, err := features.Load(context.Background(), s, spec, reads); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func with(s ir.Schema, i int, c ir.Column) ir.Schema {
	s = append(ir.Schema{}, s...)
	s[i] = c
	return s
}

func change(s *step.Step, i int, c ir.Column) {
	p := s.Inputs["lookup_c"]
	p.Schema = with(p.Schema, i, c)
	s.Inputs["lookup_c"] = p
}

// BenchmarkLookup looks up one of a million keys with 20 columns.
func BenchmarkLookup(b *testing.B) {
	const keys = 1_000_000
	wide := rowsql.Table{Name: "w", Keys: [][]string{{"k"}}, Schema: ir.Schema{{Name: "k", Type: "int64"}}}
	request := rowsql.Table{Name: "r", Schema: ir.Schema{{Name: "k", Type: "int64"}}}
	var columns, made, names []string
	for i := range 20 {
		name := "c" + string(rune('a'+i))
		wide.Schema = append(wide.Schema, ir.Column{Name: name, Type: "float64"})
		columns, made = append(columns, "w."+name), append(made, "random() AS "+name)
		names = append(names, name)
	}
	path := filepath.Join(b.TempDir(), "w")
	write(b, path, "SELECT range AS k, "+strings.Join(made, ", ")+" FROM range(1000000)")
	var want ir.Schema
	for _, name := range names {
		want = append(want, ir.Column{Name: name, Type: "float64", Nullable: true})
	}
	f, err := features.Load(context.Background(), &step.Step{Inputs: map[string]step.Port{"w": {Path: path, Schema: wide.Schema}}}, features.Spec{
		Plans:   []*rowsql.Plan{compile(b, "SELECT "+strings.Join(columns, ", ")+" FROM r LEFT JOIN w ON r.k = w.k", request, wide)},
		Lookups: map[string]features.Lookup{"w": {Port: "w"}}, Columns: request.Schema,
	}, want)
	if err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r, row, in := f.NewRow(), make([]rowsql.Value, 20), make([]rowsql.Value, 1)
	i, before := int64(0), cpu(b)
	for b.Loop() {
		in[0] = rowsql.Int(i * 7919 % keys)
		if kept, err := r.Compute(in, row, nil); err != nil || !kept || row[3].Null {
			b.Fatal(kept, err)
		}
		i++
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(i), "cpu-ns/op")
	b.ReportMetric(float64(m.HeapAlloc)/1e6, "MB")
	b.ReportMetric(float64(f.Size())/1e6, "MB-tables")
}

// cpu is the time that this process has computed.
func cpu(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
