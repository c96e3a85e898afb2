package rowsql_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// The table that a query goes through is its leftmost one, also behind CTEs and subqueries.
func TestLeftmost(t *testing.T) {
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	column := ir.Schema{{Name: "k", Type: "string"}}
	tables := map[string]ir.Schema{"f": column, "p": column}
	for query, want := range map[string]string{
		"SELECT k FROM f":                             "f",
		"SELECT f.k FROM f LEFT JOIN p USING (k)":     "f",
		"SELECT p.k FROM p LEFT JOIN f USING (k)":     "p",
		"WITH g AS (SELECT k FROM p) SELECT k FROM g": "p",
		"WITH g AS MATERIALIZED (SELECT k FROM p), h AS (SELECT k FROM g) SELECT h.k FROM h JOIN f USING (k)": "p",
		"SELECT k FROM (SELECT upper(k) AS k FROM f WHERE k > 'a') JOIN p USING (k)":                          "f",
		"SELECT max(k) AS k FROM p": "p",
		"SELECT 'a' AS k":           "",
	} {
		bound, err := c.Bind(context.Background(), tables, query)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := rowsql.Leftmost(bound); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", query, got, err, want)
		}
	}
}

// A caller sends what some outputs need, and what the conditions need that are left.
func TestNeeded(t *testing.T) {
	plan, err := compile(t, shopTables("string", "timestamp"), served)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		excluded, outputs, want []string
	}{
		{nil, []string{"mark"}, []string{"id", "k", "x"}}, // both conditions
		{[]string{"x"}, []string{"mark"}, []string{"id", "k"}},
		{[]string{"x"}, []string{"next"}, []string{"id"}},
		{[]string{"x"}, []string{"wx"}, []string{"id", "k", "t"}},
		{[]string{"x"}, []string{}, []string{"id"}},
	} {
		live, err := plan.Needed(tt.excluded, tt.outputs)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range live.Request.Columns {
			got = append(got, c.Name)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%v without %v: %s", tt.outputs, tt.excluded, diff)
		}
		if _, err := rowsql.Load(live); err != nil {
			t.Error(err)
		}
	}
}

// Without places, the layout of a query does not matter.
func TestUnplaced(t *testing.T) {
	var docs [][]byte
	for _, query := range []string{served, "-- a note\n\n" + served} {
		plan, err := compile(t, shopTables("string", "timestamp"), query)
		if err != nil {
			t.Fatal(err)
		}
		plan.Unplaced()
		b, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, b)
		if _, err := rowsql.Load(plan); err != nil {
			t.Error(err)
		}
	}
	if !bytes.Equal(docs[0], docs[1]) {
		t.Errorf("they differ:\n%s\n%s", docs[0], docs[1])
	}
}

// A query of any form has a plan, or a refusal for its user.
func TestForms(t *testing.T) {
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	tables := shopTables("string", "timestamp")
	schemas := map[string]ir.Schema{}
	for _, table := range tables {
		schemas[table.Name] = table.Schema
	}
	for _, query := range []string{
		"SELECT id, v.y FROM f JOIN (VALUES ('a', 1)) v(k, y) ON f.k = v.k",
		"SELECT id, (SELECT max(y) FROM p WHERE p.k = f.k) AS y FROM f",
		"SELECT id, EXISTS (SELECT 1 FROM p WHERE p.k = f.k) AS y FROM f",
		"SELECT id, k IN (SELECT k FROM p) AS y FROM f",
		"SELECT id, y FROM f, LATERAL (SELECT y FROM p WHERE p.k = f.k)",
		"SELECT id, unnest([1, 2]) AS y FROM f",
		"SELECT id, y FROM f, unnest([1, 2]) u(y)",
		"SELECT id, r.range AS y FROM f, range(3) r",
		"WITH RECURSIVE g AS (SELECT id, 1 AS n FROM f UNION ALL SELECT id, n + 1 FROM g WHERE n < 3) SELECT id, n FROM g",
		"SELECT * FROM (PIVOT f ON x IN (1, 2) USING count(*) GROUP BY id)",
		"FROM f SELECT id, list_transform([x], lambda v: v + 1)[1] AS y",
		"SELECT id, {'a': x}.a AS y FROM f",
		"SELECT id, map {'a': x}['a'] AS y FROM f",
		"SELECT id FROM f USING SAMPLE 10%",
		"SELECT id, y FROM f POSITIONAL JOIN p",
		"SELECT id FROM f SEMI JOIN p USING (k)",
		"SELECT id FROM f ANTI JOIN p USING (k)",
		"SELECT id, y FROM f RIGHT JOIN p USING (k)",
		"SELECT id, y FROM f FULL JOIN p USING (k)",
		"SELECT id, y FROM f CROSS JOIN p",
		"SELECT id FROM f QUALIFY row_number() OVER (PARTITION BY k ORDER BY id) = 1",
		"SELECT DISTINCT ON (k) id FROM f ORDER BY id",
		"SELECT id FROM f UNION BY NAME SELECT x AS id FROM f",
		"SELECT count(*) FILTER (x > 1) AS n FROM f GROUP BY ALL",
		"SELECT id FROM f ORDER BY ALL LIMIT 3",
		"SELECT COLUMNS(c -> c LIKE 'i%') FROM f",
		"SELECT id, k COLLATE NOCASE AS k FROM f",
		"SELECT id, x::DECIMAL(38, 10) AS y, 1::HUGEINT AS z, 'a'::BLOB AS b, uuid() AS u FROM f",
		"SELECT id, t::TIMESTAMPTZ AS y, '{}'::JSON AS j FROM f",
	} {
		bound, err := c.Bind(context.Background(), schemas, query)
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		var refusal *rowsql.Refusal
		if _, err := rowsql.Leftmost(bound); err != nil && !errors.As(err, &refusal) {
			t.Errorf("%s: leftmost: %v", query, err)
		}
		if _, err := rowsql.Compile(query, bound, tables); err != nil && !errors.As(err, &refusal) {
			t.Errorf("%s: %v", query, err)
		}
	}
}
