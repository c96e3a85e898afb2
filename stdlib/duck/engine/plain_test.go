package engine

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// What a query gives is the same by the short way, where that is taken, and by
// DuckDB's own description.
func TestPlainColumnsAreThoseOfADescription(t *testing.T) {
	tables := map[string]ir.Schema{
		"t": {{Name: "id", Type: "int64"}, {Name: "name", Type: "string"}, {Name: "at", Type: "timestamptz"}, {Name: "x", Type: "float32"}, {Name: "b", Type: "bytes"}},
		"u": {{Name: "id", Type: "uint8"}, {Name: "Day", Type: "date"}, {Name: "ok", Type: "bool"}, {Name: "clock", Type: "time"}, {Name: "ts", Type: "timestamp"}},
	}
	c, err := NewChecker()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	for _, tt := range []struct {
		query string
		plain bool
	}{
		{"SELECT * FROM t", true},
		{"from u", true},
		{"SELECT * FROM t JOIN u USING (id)", true},
		{"SELECT t.*, u.* EXCLUDE (id) FROM t, u", true},
		{"SELECT id, count(*) AS n, avg(x) AS x FROM t GROUP BY ALL ORDER BY 2 LIMIT 3", true},
		{"SELECT id, lag(x) OVER (PARTITION BY name ORDER BY id) AS earlier FROM t", true},
		{"SELECT id + 1 AS a, id / 2 AS b, id // 2 AS c, x * 2 AS d, -id AS e FROM u JOIN t USING (id)", true},
		{"SELECT id + 1000 AS a, id + 1 AS b, id = 3 AS c, 7 AS d, 3000000000 AS e, 'x' AS f FROM u", true},
		{"SELECT date_trunc('month', Day) AS m, Day + 1 AS n, ts - ts AS i FROM u", false},
		{"SELECT Day::TIMESTAMP AS d, extract(hour FROM clock) AS h FROM u", true},
		{"WITH a AS (SELECT id FROM t), b AS (FROM a) SELECT * FROM b", true},
		{"with recursive r AS (SELECT 1::BIGINT AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n, id FROM r, t", true},
		{"WITH t AS (SELECT Day FROM u) SELECT * FROM t", false},
		{"(SELECT id FROM t)", false},
		{"-- ids\nSELECT id FROM t", false},
		{"SELECT rowid, id FROM t", false},
		{"SELECT sum(id) AS s FROM t", false},
		{"SELECT NULL AS n FROM t", true},
		{"SELECT 1.5 AS d FROM t", false},
		{"SELECT [id] AS l, {'a': id} AS s FROM t", false},
		{"SELECT to_json(id) AS j FROM t", false},
		{"SELECT name -> 'a' AS j FROM t", false},
		{"SELECT name::UUID AS u FROM t", false},
		{"SELECT t FROM t", false},
		{"PIVOT t ON name USING sum(id)", false},
		{"FROM (PIVOT t ON name IN ('a', 'b') USING max(id))", false},
		{"SELECT t.id, u.ok FROM t ASOF LEFT JOIN u ON t.id = u.id AND t.at > u.ts", true},
		{"VALUES (1, 'a')", true},
	} {
		got, plain := c.plain(ctx, tables, tt.query)
		if plain != tt.plain {
			t.Errorf("%s: plain is %v", tt.query, plain)
		}
		create, err := createTables(tables)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.s.exec(ctx, create); err != nil {
			t.Fatal(err)
		}
		want, err := c.s.describe(ctx, tt.query)
		c.rollback()
		if plain && err != nil {
			t.Errorf("%s: %v", tt.query, err)
		} else if diff := cmp.Diff(want, got); plain && diff != "" {
			t.Errorf("%s: (-described +plain)\n%s", tt.query, diff)
		}
	}
}
