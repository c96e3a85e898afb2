package parity_test

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// withoutKey makes the service compute only what the model reads. The key of the features is
// computed for the comparison.
func withoutKey(s *shop, excluded ...string) {
	s.Helper()
	plan := s.spec.Plans[0]
	need := func(outputs ...string) (*rowsql.Plan, ir.Schema) {
		p, err := plan.Needed(excluded, outputs)
		if err != nil {
			s.Fatal(err)
		}
		var columns ir.Schema
		for _, c := range p.Request.Columns {
			columns = append(columns, *orders.Schema.Column(c.Name))
		}
		return p, columns
	}
	service, columns := need("age", "ratio")
	keys, reads := need("id")
	s.spec.Drops = len(excluded) > 0
	s.spec.Plans, s.spec.Columns, s.spec.Results = []*rowsql.Plan{service}, columns, []ir.Schema{computed[2:4]}
	s.spec.Keys = &features.Spec{Plans: []*rowsql.Plan{keys}, Columns: reads, Results: []ir.Schema{computed[:1]}}
}

func TestKeysThatTheServiceDoesNotCompute(t *testing.T) {
	for name, tt := range map[string]struct {
		query    string
		excluded []string
		compared int64
		leftOut  int64
	}{
		"all rows":                      {unfiltered, nil, rows, 0},
		"a condition only in training":  {filtered, []string{"paid"}, 2572, 428},
		"a condition that is also left": {filtered + " AND o.id < 2000", []string{"paid"}, 1715, 285},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, tt.query)
			withoutKey(s, tt.excluded...)
			r, err := s.run()
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Counts; got.Compared != tt.compared || got.LeftOut != tt.leftOut || got.Cells != 2*tt.compared {
				t.Errorf("%+v", got)
			}
			if notes := strings.Join(r.Notes, "\n"); strings.Contains(notes, "as a whole") || strings.Contains(notes, "computes it: id") {
				t.Errorf("notes %q", notes)
			}
			s.exec("UPDATE f SET age = 99 WHERE id = 1001")
			s.train()
			s.predictions(nil)
			_, err = s.run()
			if err == nil || !strings.Contains(err.Error(), "row 1002 of the source (id=1001): column age: wanted 99, got 21") {
				t.Errorf("%v, want the difference in age of id 1001", err)
			}
		})
	}
}
