package features_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// ranked is what a function in Python makes of the first query: a rank of age and price.
var ranked = ir.Schema{{Name: "id", Type: "int64"}, {Name: "weight", Type: "float64", Nullable: true}, {Name: "age", Type: "int64", Nullable: true},
	{Name: "price", Type: "float64", Nullable: true}, {Name: "rank", Type: "float64"}}

// A ranks stands for the function. It counts how it is asked.
type ranks struct {
	batches []int
	err     error
}

var errNoRank = errors.New("no rank")

func (f *ranks) Compute(_ context.Context, values []rowsql.Value, n int) (results []rowsql.Value, errs []error, err error) {
	f.batches = append(f.batches, n)
	results, errs = make([]rowsql.Value, n), make([]error, n)
	for i := range n {
		switch age := values[2*i]; {
		case age.Null:
			results[i] = rowsql.Float(-0.5)
		case age.Int() == 100:
			errs[i] = errNoRank
		case age.Int() == 101:
			results[i] = rowsql.Null // which the column may not be
		default:
			results[i] = rowsql.Float(float64(age.Int()) + values[2*i+1].Float())
		}
	}
	return results, errs, f.err
}

// called is the shop with the function between the two queries.
func called(t testing.TB) (*step.Step, features.Spec) {
	s, spec := shop(t)
	table := between
	table.Name = "f"
	plan := rowsql.Python(table, []string{"age", "price"}, ranked)
	after := rowsql.Table{Name: "g", Schema: ranked}
	spec.Plans = []*rowsql.Plan{spec.Plans[0], plan, compile(t, "SELECT id, coalesce(age, -1) AS age, price / weight + rank AS ratio, NULL::BOOLEAN AS over FROM g WHERE age IS NULL OR age < 200", after)}
	spec.Results = []ir.Schema{between.Schema, ranked, last}
	spec.Calls = []features.Call{{Plan: 1, Feature: "features.g", Columns: ir.Schema{between.Schema[2], between.Schema[3]}, Makes: ranked[4:]}}
	b, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	spec = features.Spec{}
	if err := json.Unmarshal(b, &spec); err != nil {
		t.Fatal(err)
	}
	return s, spec
}

func fetch(t testing.TB, r *features.Row, rows ...[]rowsql.Value) error {
	t.Helper()
	return r.Fetch(t.Context(), len(rows), func(i int) []rowsql.Value { return rows[i] }, func(fetch func() error) error { return fetch() })
}

// All rows of a request are one batch, each different one once, and what a row has is its own.
func TestAFunctionInTheMiddle(t *testing.T) {
	s, spec := called(t)
	f, asked := load(t, s, spec), new(ranks)
	f.UseFunctions([]features.Function{asked})
	r := f.Row()
	rows := [][]rowsql.Value{
		order("ann", 1, "2024-01-31", rowsql.Float(4)), order("bob", 1, "2024-02-01", rowsql.Float(4)), order("old", 1, "2024-02-01", rowsql.Float(4)),
		order("ann", 1, "2024-02-01", rowsql.Float(math.Inf(1))), order("ann", 1, "2024-01-31", rowsql.Float(4)),
	}
	for range 2 {
		if err := fetch(t, r, rows...); err != nil {
			t.Fatal(err)
		}
		want := []any{10.0/4 + 40, 12.0/4 - 0.5, errNoRank, 42.0, 10.0/4 + 40}
		for i, row := range rows {
			got, _, err := r.Results(row)
			if e, ok := want[i].(error); ok {
				if !errors.Is(err, e) {
					t.Errorf("row %d: %v, wanted %v", i, err, e)
				}
				continue
			}
			if err != nil || got[2].Float() != want[i] || r.Missed() != "" {
				t.Errorf("row %d: %v %v, wanted %v; missing is %q", i, got, err, want[i], r.Missed())
			}
		}
	}
	if diff := cmp.Diff([]int{4, 4}, asked.batches); diff != "" {
		t.Errorf("batches: %s", diff)
	}
}

// What was missing before a function is asked is known after it.
func TestAMissingRowBeforeAFunction(t *testing.T) {
	s, spec := called(t)
	f := load(t, s, spec)
	f.UseFunctions([]features.Function{new(ranks)})
	r, row := f.Row(), order("ann", 9, "2024-01-31", rowsql.Float(4))
	if err := fetch(t, r, row); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Results(row); err != nil || r.Missed() != "lookup p" {
		t.Errorf("%q is missing, %v, want lookup p", r.Missed(), err)
	}
}

// What a table cannot hold is refused with its column, as for a query.
func TestAFunctionReturnsWhatNoTableHolds(t *testing.T) {
	s, spec := called(t)
	write(t, s.Inputs["lookup_c"].Path, "SELECT 'ann' AS name, 101::BIGINT AS age, 'x' AS note")
	f := load(t, s, spec)
	f.UseFunctions([]features.Function{new(ranks)})
	r, row := f.Row(), order("ann", 1, "2024-01-31", rowsql.Float(4))
	if err := fetch(t, r, row); err != nil {
		t.Fatal(err)
	}
	var value *model.ValueError
	if _, _, err := r.Results(row); !errors.As(err, &value) || value.Column != "rank" {
		t.Errorf("%v, want an error about the rank", err)
	}
}

// A fault of the function is that of the request, and without one no row is computed.
func TestAFunctionThatCannotBeAsked(t *testing.T) {
	s, spec := called(t)
	f, row := load(t, s, spec), order("ann", 1, "2024-01-31", rowsql.Float(4))
	if err := fetch(t, f.Row(), row); err == nil || !strings.Contains(err.Error(), "features.g cannot be computed") {
		t.Errorf("%v", err)
	}
	f.UseFunctions([]features.Function{&ranks{err: errNoRank}})
	if err := fetch(t, f.Row(), row); !errors.Is(err, errNoRank) {
		t.Errorf("%v", err)
	}
	if _, _, err := f.Row().Results(row); !errors.Is(err, rowsql.ErrMissing) {
		t.Errorf("%v, want that the function was not asked", err)
	}
}

// A damaged spec does not ask a function for something else.
func TestCallsThatDoNotFitTheirPlans(t *testing.T) {
	for want, change := range map[string]func(*features.Spec){
		"nothing says which function":  func(s *features.Spec) { s.Calls = nil },
		"takes column x":               func(s *features.Spec) { s.Calls[0].Columns[0].Name = "x" },
		"takes column age":             func(s *features.Spec) { s.Calls[0].Columns[0].Type = "float64" },
		"does not compute column rank": func(s *features.Spec) { s.Calls[0].Makes[0].Name = "x" },
	} {
		s, spec := called(t)
		change(&spec)
		if _, err := features.Load(t.Context(), s, spec, reads); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Windows before a function: what is computed of a row is of one moment, although an event comes
// while the function is asked.
func TestAFunctionBehindWindows(t *testing.T) {
	events := rowsql.Table{Name: "o", Schema: ir.Schema{{Name: "id", Type: "int64"}, {Name: "t", Type: "timestamp"}}}
	counted := ir.Schema{{Name: "id", Type: "int64"}, {Name: "n", Type: "int64"}}
	made := append(counted[:2:2], ir.Column{Name: "m", Type: "int64"})
	spec := features.Spec{
		Plans: []*rowsql.Plan{
			compile(t, "SELECT id, count(*) OVER (ORDER BY t, id) AS n FROM o", events),
			rowsql.Python(rowsql.Table{Name: "c", Schema: counted}, []string{"n"}, made),
		},
		Results: []ir.Schema{counted, made}, Columns: events.Schema,
		Calls:   []features.Call{{Plan: 1, Feature: "features.m", Columns: counted[1:], Makes: made[2:]}},
		History: &features.HistorySpec{Port: "history", Columns: events.Schema, Keys: []string{"id"}, Late: "1h"},
	}
	f, err := features.Load(t.Context(), &step.Step{}, spec, made[1:])
	if err != nil {
		t.Fatal(err)
	}
	if err := f.History().Loaded(0); err != nil {
		t.Fatal(err)
	}
	f.UseFunctions([]features.Function{doubles{}})
	add := f.History().Recorder()
	r, row := f.Row(), []rowsql.Value{rowsql.Int(100), rowsql.Int(1e6)}
	for n := range int64(3) {
		if err := fetch(t, r, row); err != nil {
			t.Fatal(err)
		}
		if _, err := add.Check([]rowsql.Value{rowsql.Int(n), rowsql.Int(1000 * n)}); err != nil {
			t.Fatal(err)
		}
		if err := add.Add(0); err != nil {
			t.Fatal(err)
		}
		got, _, err := r.Results(row)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]rowsql.Value{rowsql.Int(100), rowsql.Int(n + 1), rowsql.Int(2 * (n + 1))}, got); diff != "" {
			t.Errorf("after %d events: %s", n, diff)
		}
	}

	// The other order is refused.
	spec.Plans[0], spec.Plans[1] = rowsql.Python(events, []string{"id"}, append(events.Schema[:2:2], ir.Column{Name: "m", Type: "int64"})), spec.Plans[0]
	spec.Results = []ir.Schema{append(events.Schema[:2:2], ir.Column{Name: "m", Type: "int64"}), counted}
	spec.Calls = []features.Call{{Plan: 0, Feature: "features.m", Columns: events.Schema[:1], Makes: made[2:]}}
	if _, err := features.Load(t.Context(), &step.Step{}, spec, counted[1:]); err == nil || !strings.Contains(err.Error(), "windows over what a function in Python computes") {
		t.Errorf("%v", err)
	}
}

type doubles struct{}

func (doubles) Compute(_ context.Context, values []rowsql.Value, n int) (results []rowsql.Value, errs []error, err error) {
	for i := range n {
		results = append(results, rowsql.Int(2*values[i].Int()))
	}
	return results, make([]error, n), nil
}
