package parity_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/parity"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// halves stands for a function in Python that halves a ratio. It is wrong for one value, or
// refuses it.
type halves struct {
	wrong   float64
	refuses bool
}

func (f halves) Compute(_ context.Context, values []rowsql.Value, n int) (results []rowsql.Value, errs []error, err error) {
	errs = make([]error, n)
	for i := range n {
		v := values[i]
		if !v.Null {
			v = rowsql.Float(v.Float() / 2)
			if values[i].Float() == f.wrong && f.refuses {
				errs[i] = errors.New("no half")
			} else if values[i].Float() == f.wrong {
				v = rowsql.Float(7)
			}
		}
		results = append(results, v)
	}
	return results, errs, nil
}

// withFunction computes the ratio of the shop in two steps: a query, and a function.
func withFunction(t *testing.T, query string) *shop {
	s := newShop(t, query)
	before := append(computed[:3:3], ir.Column{Name: "twice", Type: "float64", Nullable: true}, computed[4])
	made := append(before[:4:4], computed[3], computed[4])
	s.spec.Plans = []*rowsql.Plan{
		compile(t, strings.Replace(query, "p.price / o.weight AS ratio", "p.price / o.weight * 2 AS twice", 1), orders, customers, prices),
		rowsql.Python(rowsql.Table{Name: "t", Schema: before}, []string{"twice"}, made),
	}
	s.spec.Results = []ir.Schema{before, made}
	s.spec.Calls = []features.Call{{Plan: 1, Feature: "features.s", Columns: before[3:4], Makes: computed[3:4]}}
	return s
}

// Every cell of a function is compared, and a difference stops the release.
func TestTheCellsOfAFunctionAreCompared(t *testing.T) {
	ratio := func(s *shop) (ratio float64) {
		if err := s.db.QueryRow("SELECT ratio * 2 FROM f WHERE ratio IS NOT NULL ORDER BY id LIMIT 1").Scan(&ratio); err != nil {
			t.Fatal(err)
		}
		return ratio
	}
	run := func(s *shop, f features.Function) error {
		s.step.Params = params(t, map[string]any{"request": s.spec})
		return parity.Run(t.Context(), s.step, s.model, parity.Python{Interpreter: s.python, Exact: true, Functions: []features.Function{f}})
	}
	s := withFunction(t, filtered)
	if err := run(s, halves{}); err != nil {
		t.Fatal(err)
	}
	if r := report(t, s.step.Outputs["report"].Path); r.Counts.Compared == 0 || r.Counts.Cells != 5*r.Counts.Compared-r.Counts.Compared {
		t.Errorf("%+v", r.Counts)
	}
	if err := run(s, halves{wrong: ratio(s)}); err == nil || !strings.Contains(err.Error(), ": column ratio: wanted ") || !strings.Contains(err.Error(), ", got 7") {
		t.Errorf("%v", err)
	}
	// Of a query without condition, a row that is refused is a difference. Otherwise training may
	// have left it out.
	s = withFunction(t, unfiltered)
	if err := run(s, halves{wrong: ratio(s), refuses: true}); err == nil || !strings.Contains(err.Error(), "the service refuses it: no half") {
		t.Errorf("%v", err)
	}
}
