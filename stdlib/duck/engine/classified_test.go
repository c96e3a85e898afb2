package engine

import (
	"context"
	"testing"

	"github.com/tenon-ml/tenon/compiler/facts"
)

// TestFunctionsOfDuckDBAreClassified fails when an update of DuckDB brings a function
// that depends on the order of rows, or on when it is called.
func TestFunctionsOfDuckDBAreClassified(t *testing.T) {
	ctx := context.Background()
	s, err := open(ctx, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	windows := set("cume_dist", "dense_rank", "fill", "first_value", "lag", "last_value", "lead", "nth_value", "ntile", "percent_rank",
		"rank", "rank_dense", "row_number")
	harmless := set("error")
	refused := set("reservoir_quantile")
	err = s.each(ctx, "SELECT DISTINCT function_name, function_type, coalesce(stability, '') FROM duckdb_functions()", func(scan func(...any) error) error {
		var name, typ, stability string
		if err := scan(&name, &typ, &stability); err != nil {
			return err
		}
		if typ == "aggregate" && !orderFree[name] && !anyOrder[name] && !extremes[name] && !ownOrder[name] && !windows[name] && !refused[name] {
			t.Errorf("does aggregate %s depend on the order of rows?", name)
		}
		if typ == "aggregate" && !facts.Aggregate(name) && !windows[name] {
			t.Errorf("package facts does not know the aggregate %s", name)
		}
		if typ == "scalar" && facts.Aggregate(name) {
			t.Errorf("package facts takes the function %s for an aggregate", name)
		}
		if typ == "scalar" && stability != "CONSISTENT" && !volatile[name] && !volatileNames[name] && !harmless[name] {
			t.Errorf("function %s is %s", name, stability)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
