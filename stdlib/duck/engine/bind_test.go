package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

// The plan of a query has the casts that DuckDB inserts, and the places of the query.
func TestBind(t *testing.T) {
	c, err := engine.NewChecker()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tables := map[string]ir.Schema{"f": {{Name: "a", Type: "int64"}}}
	for range 2 { // the tables of a call do not stay
		plan, err := c.Bind(context.Background(), tables, "SELECT a + 1 AS b FROM f")
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{`"BOUND_CAST"`, `"id":"BIGINT"`, `"query_location":9`, `"LOGICAL_GET"`} {
			if !strings.Contains(string(plan), part) {
				t.Errorf("the plan lacks %s: %s", part, plan)
			}
		}
	}
	for query, kind := range map[string]string{"SELECT b FROM f": "column", "SELECT a FROM g": "table", "SELECT FROM": "syntax", "SELECT 1; SELECT 2": "statement"} {
		_, err := c.Bind(context.Background(), tables, query)
		var sqlErr *duck.SQLError
		if !errors.As(err, &sqlErr) || sqlErr.Kind != kind {
			t.Errorf("%s: %v, wanted an error of the kind %q", query, err, kind)
		}
	}
}
