package cache

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// A question is what a compilation asks about a query.
type question struct {
	tables map[string]ir.Schema
	query  string
}

// asks makes a compilation that asks the questions in order, and returns the answers and
// which questions reach DuckDB.
func asks(t *testing.T, e *Entry, questions ...question) (answers []string, reached int) {
	t.Helper()
	typings := e.GetTypings()
	describe := typings.Describe(func(ctx context.Context, tables map[string]ir.Schema, query string) (duck.Description, error) {
		reached++
		return sql.Describe(ctx, tables, query)
	})
	for _, q := range questions {
		d, err := describe(t.Context(), q.tables, q.query)
		want, wantErr := sql.Describe(t.Context(), q.tables, q.query)
		if diff := cmp.Diff(want, d); diff != "" || (err == nil) != (wantErr == nil) {
			t.Errorf("%s over %v: %v (-DuckDB +typings)\n%s", q.query, q.tables, err, diff)
		}
		if err != nil {
			answers = append(answers, "")
			continue
		}
		answers = append(answers, d.Columns[0].Type)
	}
	e.PutTypings(typings)
	return answers, reached
}

var shop = question{map[string]ir.Schema{"a": {{Name: "x", Type: "int64"}, {Name: "y", Type: "date"}}}, "SELECT * FROM a"}

// What a compilation asked before is not asked again.
func TestADescriptionIsKept(t *testing.T) {
	e, reports := place(t)
	for i, want := range []int{1, 0, 0} {
		answers, reached := asks(t, e, shop)
		if diff := cmp.Diff([]string{"BIGINT"}, answers); diff != "" || reached != want {
			t.Errorf("compilation %d asks %d times, want %d\n%s", i, reached, want, diff)
		}
	}
	if len(*reports) > 0 {
		t.Error(*reports)
	}
}

// Everything that DuckDB is given is part of the question.
func TestAnotherQuestionIsAsked(t *testing.T) {
	for name, q := range map[string]question{
		"another query":             {shop.tables, "SELECT y FROM a"},
		"the query with a space":    {shop.tables, "SELECT * FROM a "},
		"another type of a column":  {map[string]ir.Schema{"a": {{Name: "x", Type: "float64"}, {Name: "y", Type: "date"}}}, shop.query},
		"another name of a column":  {map[string]ir.Schema{"a": {{Name: "z", Type: "int64"}, {Name: "y", Type: "date"}}}, shop.query},
		"another order of columns":  {map[string]ir.Schema{"a": {{Name: "y", Type: "date"}, {Name: "x", Type: "int64"}}}, shop.query},
		"one column less":           {map[string]ir.Schema{"a": {{Name: "x", Type: "int64"}}}, shop.query},
		"another name of the table": {map[string]ir.Schema{"b": shop.tables["a"]}, shop.query},
		"one table more":            {map[string]ir.Schema{"a": shop.tables["a"], "b": {{Name: "x", Type: "int64"}}}, shop.query},
	} {
		t.Run(name, func(t *testing.T) {
			e, _ := place(t)
			asks(t, e, shop)
			if _, reached := asks(t, e, q); reached != 1 {
				t.Errorf("DuckDB is asked %d times", reached)
			}
		})
	}
}

// A faulty query is asked about each time.
func TestAFaultIsNotKept(t *testing.T) {
	e, _ := place(t)
	faulty := question{shop.tables, "SELECT z FROM a"}
	for range 2 {
		if _, reached := asks(t, e, faulty); reached != 1 {
			t.Errorf("DuckDB is asked %d times", reached)
		}
	}
}

// The file does not grow with every query that there ever was.
func TestOnlyDescriptionsInUseAreKept(t *testing.T) {
	e, _ := place(t)
	other := question{shop.tables, "SELECT y FROM a"}
	asks(t, e, shop, other)
	asks(t, e, shop)
	if _, reached := asks(t, e, shop, other); reached != 1 {
		t.Errorf("DuckDB is asked %d times", reached)
	}
}

// A damaged file is dropped, and everything is asked again.
func TestDamagedTypingsAreNotUsed(t *testing.T) {
	e, reports := place(t)
	asks(t, e, shop)
	b, err := os.ReadFile(e.typings())
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2]++
	if err := os.WriteFile(e.typings(), b, 0o600); err != nil {
		t.Fatal(err)
	}
	typings := e.GetTypings()
	if _, err := os.Stat(e.typings()); !errors.Is(err, os.ErrNotExist) || len(typings.queries.before) > 0 || len(*reports) != 1 {
		t.Errorf("a damaged file is used: %v %v", err, *reports)
	}
	if _, reached := asks(t, e, shop); reached != 1 {
		t.Errorf("DuckDB is asked %d times", reached)
	}
}

// The plan of a query is kept like its description, and is no answer to the other question.
func TestAPlanIsKept(t *testing.T) {
	e, reports := place(t)
	for i, want := range []int{1, 0, 0} {
		typings, reached := e.GetTypings(), 0
		bind := typings.Bind(func(ctx context.Context, tables map[string]ir.Schema, query string) ([]byte, error) {
			reached++
			return sql.Bind(ctx, tables, query)
		})
		got, err := bind(t.Context(), shop.tables, shop.query)
		if err != nil {
			t.Fatal(err)
		}
		wanted, err := sql.Bind(t.Context(), shop.tables, shop.query)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(wanted) || reached != want {
			t.Errorf("compilation %d asks %d times, want %d, and gets\n%s\nwant\n%s", i, reached, want, got, wanted)
		}
		e.PutTypings(typings)
	}
	if _, reached := asks(t, e, shop); reached != 1 {
		t.Errorf("the description is asked %d times", reached)
	}
	if len(*reports) > 0 {
		t.Error(*reports)
	}
}
