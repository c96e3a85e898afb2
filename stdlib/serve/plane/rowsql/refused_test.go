package rowsql_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// lenient compiles a query of which some columns may be refused.
func lenient(t *testing.T, query string) *rowsql.Plan {
	t.Helper()
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	tables := shopTables("string", "timestamp")
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
		t.Fatalf("%s: %v", query, err)
	}
	return plan
}

// What cannot be computed matters only if it is needed. In each query, column y is refused, and
// column id is not.
func TestColumnsThatNobodyNeedsMayBeRefused(t *testing.T) {
	for query, says := range map[string]string{
		"SELECT id, regexp_replace(k, 'a', 'b') AS y FROM f":                                                     "regexp_replace",
		"SELECT id, upper(regexp_replace(k, 'a', 'b')) || '!' AS y FROM f":                                       "regexp_replace",
		"WITH g AS (SELECT id, k, list_value(x) AS l FROM f) SELECT id, len(l) + 1 AS y FROM g":                  "the type LIST",
		"SELECT id, CASE WHEN k SIMILAR TO 'a+' THEN 1 ELSE x END AS y FROM f":                                   "",
		"SELECT id, lead(x) OVER (PARTITION BY k ORDER BY t) > 1 AS y FROM f":                                    "a window that looks ahead",
		"SELECT id, (SELECT max(y) FROM p WHERE p.k = f.k) AS y FROM f":                                          "a subquery that depends on the row",
		"SELECT id, (SELECT max(y) FROM p) AS y FROM f":                                                          "a subquery that aggregates a table",
		"SELECT id, k IN (SELECT k FROM p) AS y FROM f":                                                          "IN or EXISTS",
		"SELECT id, n AS y FROM f LEFT JOIN (SELECT k, count(*) AS n FROM p GROUP BY k) g ON f.k = g.k":          "an aggregate",
		"SELECT f.id, p.y FROM f LEFT JOIN p ON f.k <> p.k":                                                      "several rows",
		"SELECT f.id, g.z AS y FROM f LEFT JOIN (SELECT k, regexp_replace(k, 'a', 'b') AS z FROM p) g USING (k)": "regexp_replace",
		"SELECT f.id, p.y FROM f LEFT JOIN p ON regexp_replace(f.k, 'a', 'b') = p.k":                             "regexp_replace",
	} {
		plan := lenient(t, query)
		live, err := plan.Needed(nil, []string{"id"})
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		if len(live.Request.Columns) != 1 || len(live.Lookups) != 0 {
			t.Errorf("%s: it needs %v and %v", query, live.Request.Columns, live.Lookups)
		}
		got, _ := run(t, live, nil, [][]rowsql.Value{{rowsql.Int(3)}})
		if diff := cmp.Diff([][]string{{"3"}}, got); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
		for _, outputs := range [][]string{nil, {"id", "y"}} {
			_, err = plan.Serve(nil, outputs)
			var r *rowsql.Refusal
			if !errors.As(err, &r) || !strings.Contains(r.Reason, says) || !slices.Equal(r.Outputs, []string{"y"}) {
				t.Errorf("%s: %+v, want a refusal of y: %s", query, err, says)
			}
		}
	}
}

// A refused value still depends on columns that a caller lacks.
func TestRefusedValuesMayBeForTrainingOnly(t *testing.T) {
	for query, want := range map[string]bool{
		"SELECT id, regexp_replace(x::VARCHAR, 'a', 'b') AS y FROM f":                     true,
		"SELECT id, regexp_replace(k, 'a', 'b') AS y FROM f":                              false,
		"SELECT id, lead(x) OVER (ORDER BY id) AS y FROM f":                               true,
		"SELECT id, lead(k) OVER (ORDER BY x) AS y FROM f":                                true,
		"SELECT id, lead(k) OVER (PARTITION BY x ORDER BY id) AS y FROM f":                true,
		"SELECT id, count(*) FILTER (x > 1) OVER () AS y FROM f":                          true,
		"SELECT id, lead(k) OVER (ORDER BY id) AS y FROM f":                               false,
		"SELECT id, (SELECT max(y) FROM p WHERE p.y = f.x) AS y FROM f":                   true,
		"WITH g AS (SELECT id, list_value(x) AS l FROM f) SELECT id, len(l) AS y FROM g":  true,
		"SELECT id, 1 AS y FROM f WHERE regexp_matches(x::VARCHAR, 'a')":                  false,
		"SELECT id, p.y FROM f LEFT JOIN p ON regexp_replace(x::VARCHAR, 'a', 'b') = p.k": true,
	} {
		a := lenient(t, query).Analyse([]string{"x"})
		i := slices.IndexFunc(a.Outputs, func(u rowsql.Use) bool { return u.Name == "y" })
		if a.Outputs[i].Training != want {
			t.Errorf("%s: %+v, want training: %v", query, a.Outputs[i], want)
		}
	}
}

// A condition that cannot be computed is refused, unless a caller lacks what it needs.
func TestRefusedConditions(t *testing.T) {
	for query, outputs := range map[string][]string{
		"SELECT id FROM f WHERE regexp_matches(x::VARCHAR, 'a')":                           {"id"},
		"SELECT id FROM f QUALIFY row_number() OVER (PARTITION BY x ORDER BY id) = 1":      {"id"},
		"SELECT id FROM f JOIN (SELECT y, count(*) AS n FROM p GROUP BY y) g ON g.y = f.x": {"id"},
		"SELECT id FROM f SEMI JOIN p ON p.y = f.x":                                        {"id"},
		"SELECT id FROM f WHERE id > 0 AND regexp_matches(x::VARCHAR, 'a')":                {"id"},
	} {
		plan := lenient(t, query)
		if _, err := plan.Needed([]string{"x"}, outputs); err != nil {
			t.Errorf("%s: %v", query, err)
		}
		if all := plan.Refusals(nil, outputs); len(all) != 1 || !all[0].Condition || all[0].Outputs != nil {
			t.Errorf("%s: %v, want that its condition is refused", query, all)
		}
	}
}
