package facts_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/facts"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

// orders is the only table of the queries here: o.
var orders = ir.Schema{{Name: "id", Type: "int64"}, {Name: "g", Type: "int64"}, {Name: "t", Type: "int64"}, {Name: "x", Type: "int64"}, {Name: "y", Type: "int64"}}

var duckdb = new(engine.Engine)

func analyse(t interface{ Fatal(...any) }, query string) facts.Table {
	d, err := duckdb.Describe(context.Background(), map[string]ir.Schema{"o": orders}, query)
	if err != nil {
		t.Fatal(query, err)
	}
	var in facts.Table
	for _, c := range orders {
		in.Columns = append(in.Columns, facts.Column{Name: c.Name, Origins: []facts.Origin{{Root: facts.Root{Table: "orders", Column: c.Name}, Row: "row"}}})
	}
	var names []string
	for _, c := range d.Columns {
		names = append(names, c.Name)
	}
	got, err := facts.Query(d.Tree, map[string]facts.Table{"o": in}, map[string][][]string{"orders": {{"id"}}}, names)
	if err != nil {
		t.Fatal(query, err)
	}
	return got
}

// written writes origins as "x copied", "y windowed with the row, ahead by t". It omits
// those that only decide.
func written(c facts.Column) string {
	var all []string
	for _, o := range c.Origins {
		if o.Decides {
			continue
		}
		s := o.Column + " " + []string{"copied", "computed", "windowed", "aggregated"}[o.Use]
		if o.Own {
			s += " with the row"
		}
		if o.Whole {
			s += " of all rows"
		}
		if o.Ahead.Column != "" {
			s += " ahead by " + o.Ahead.Column
		}
		all = append(all, s)
	}
	if c.Partial {
		all = append(all, "unknown")
	}
	return strings.Join(all, ", ")
}

// A statistic is fitted to the rows that it comes from: to all, or to those of a group.
func TestFitted(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT x FROM o":                                                "",
		"SELECT avg(x) AS z FROM o":                                      "x by []",
		"SELECT avg(x) AS z FROM o WHERE t < 9":                          "",
		"SELECT avg(x) FILTER (t < 9) AS z FROM o":                       "",
		"SELECT count(x) AS z FROM o":                                    "",
		"SELECT avg(x) AS z FROM o GROUP BY g":                           "x by [g]",
		"SELECT g, avg(x) AS z FROM o GROUP BY 1":                        "x by [g]",
		"SELECT avg(x) AS z FROM o GROUP BY g, t":                        "x by [g t]",
		"SELECT avg(x) AS z FROM o GROUP BY g + 1":                       "",
		"SELECT avg(x) AS z FROM o GROUP BY id":                          "",
		"SELECT x - avg(x) OVER () AS z FROM o":                          "x by []",
		"SELECT avg(x) OVER (PARTITION BY g) AS z FROM o":                "x by [g]",
		"SELECT avg(x) FILTER (t < 9) OVER (PARTITION BY g) AS z FROM o": "",
		"SELECT avg(x) OVER (PARTITION BY g) AS z FROM o WHERE t < 9":    "",
		"SELECT avg(x) OVER (PARTITION BY g ORDER BY t) AS z FROM o":     "",
		"SELECT avg(x) OVER (ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS z FROM o": "x by []",
		"SELECT avg(x) OVER (ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS z FROM o":                            "",
		"SELECT rank() OVER (PARTITION BY g ORDER BY x) AS z FROM o":                                           "",
		"SELECT (SELECT avg(x) FROM o) AS z FROM o":                                                            "x by []",
		"SELECT x - (SELECT avg(x) FROM o) AS z FROM o":                                                        "x by []",
		"SELECT (SELECT avg(p.x) FROM o AS p WHERE p.g = o.g) AS z FROM o":                                     "x by [g]",
		"SELECT (SELECT avg(p.x) FROM o AS p WHERE p.t < o.t) AS z FROM o":                                     "",
		"SELECT q.m AS z FROM o, (SELECT avg(x) AS m FROM o) AS q":                                             "x by []",
		"SELECT q.m AS z FROM o JOIN (SELECT g, avg(x) AS m FROM o GROUP BY g) AS q USING (g)":                 "x by [g]",
		"SELECT avg(b.x) AS z FROM o JOIN o AS b ON o.g = b.g GROUP BY o.id":                                   "",
		"SELECT max(m) AS z FROM (SELECT g, avg(x) AS m FROM o GROUP BY g)":                                    "",
	} {
		got := analyse(t, query)
		var all []string
		for _, o := range got.Columns[len(got.Columns)-1].Origins {
			if o.Fitted {
				by := []string{}
				for _, g := range o.Groups() {
					by = append(by, g.Column)
				}
				all = append(all, fmt.Sprintf("%s by %v", o.Column, by))
			}
		}
		if s := strings.Join(all, ", "); s != want {
			t.Errorf("%s\n got %s\nwant %s", query, s, want)
		}
	}
}

func TestOrigins(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT x FROM o":                                                                                    "x copied",
		"SELECT x AS z FROM o":                                                                               "x copied",
		"SELECT 1 AS z FROM o":                                                                               "",
		"SELECT x + y AS z FROM o":                                                                           "x computed, y computed",
		"SELECT CAST(x AS DOUBLE) AS z FROM o":                                                               "x computed",
		"SELECT coalesce(x, y, 0) AS z FROM o":                                                               "x computed, y computed",
		"SELECT x IN (1, 2) AS z FROM o":                                                                     "x computed",
		"SELECT x BETWEEN y AND t AS z FROM o":                                                               "t computed, x computed, y computed",
		"SELECT CASE WHEN x > 1 THEN y END AS z FROM o":                                                      "y computed",
		"SELECT list_sum(list_transform([x, 1], lambda v: v + y)) AS z FROM o":                               "x computed, y computed",
		"SELECT [v + y FOR v IN [x]] AS z FROM o":                                                            "x computed, y computed",
		"SELECT {'a': x, 'b': y}.a AS z FROM o":                                                              "x copied",
		"SELECT s.a AS z FROM (SELECT {'a': x} AS s FROM o)":                                                 "x copied",
		"SELECT z FROM (SELECT y AS z FROM o) AS q":                                                          "y copied",
		"WITH q(a, z) AS (SELECT x, y FROM o) SELECT z FROM q":                                               "y copied",
		"SELECT q.c AS z FROM o AS q(a, b, c, d, e)":                                                         "t copied",
		"SELECT main.o.x AS z FROM main.o":                                                                   "x copied",
		"FROM o SELECT y AS z":                                                                               "y copied",
		"SELECT x AS w, w + 1 AS z FROM o":                                                                   "x computed",
		"SELECT sum(x) AS z FROM o":                                                                          "x aggregated of all rows",
		"SELECT sum(x) AS z FROM o WHERE y > 1":                                                              "x aggregated",
		"SELECT sum(x) AS z FROM o WHERE x IS NOT NULL":                                                      "x aggregated of all rows",
		"SELECT sum(x) FILTER (y > 1) AS z FROM o":                                                           "x aggregated",
		"SELECT sum(x) AS z FROM (SELECT * FROM o LIMIT 3)":                                                  "x aggregated",
		"SELECT sum(x) AS z FROM o GROUP BY id":                                                              "x computed",
		"SELECT g, sum(x) AS z FROM o GROUP BY ALL":                                                          "x aggregated of all rows",
		"SELECT id, sum(x) AS z FROM o GROUP BY ALL":                                                         "x computed",
		"SELECT id, sum(x) AS z FROM o GROUP BY 1":                                                           "x computed",
		"SELECT count(*) AS z FROM o":                                                                        "",
		"SELECT max(b.x) AS z FROM o JOIN o AS b ON o.g = b.g GROUP BY o.id":                                 "x aggregated of all rows",
		"SELECT max(o.x) AS z FROM o JOIN o AS b ON o.g = b.g GROUP BY o.id":                                 "x computed",
		"SELECT lag(x) OVER (ORDER BY t) AS z FROM o":                                                        "x windowed",
		"SELECT lag(x, 0) OVER (ORDER BY t) AS z FROM o":                                                     "x windowed with the row",
		"SELECT lag(x, -2) OVER (ORDER BY t) AS z FROM o":                                                    "x windowed ahead by t",
		"SELECT lag(x, y) OVER (ORDER BY t) AS z FROM o":                                                     "x windowed",
		"SELECT lead(x, 3, 0) OVER (ORDER BY t) AS z FROM o":                                                 "x windowed ahead by t",
		"SELECT sum(x) OVER () AS z FROM o":                                                                  "x windowed with the row",
		"SELECT sum(x) OVER (ORDER BY t) AS z FROM o":                                                        "x windowed with the row",
		"SELECT sum(x) OVER (ORDER BY t DESC) AS z FROM o":                                                   "x windowed with the row ahead by t",
		"SELECT sum(x) OVER (ORDER BY t ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING) AS z FROM o":               "x windowed",
		"SELECT sum(x) OVER (ORDER BY t ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING) AS z FROM o":               "x windowed ahead by t",
		"SELECT sum(x) OVER (ORDER BY t ROWS BETWEEN 3 PRECEDING AND 0 PRECEDING) AS z FROM o":               "x windowed with the row",
		"SELECT sum(x) OVER (ORDER BY t ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW) AS z FROM o":           "x windowed",
		"SELECT sum(x) OVER w AS z FROM o WINDOW w AS (PARTITION BY g ORDER BY t)":                           "x windowed with the row",
		"SELECT row_number() OVER (PARTITION BY g ORDER BY t) AS z FROM o":                                   "t windowed with the row",
		"SELECT (SELECT max(x) FROM o) AS z FROM o":                                                          "x aggregated of all rows",
		"SELECT (SELECT max(b.x) FROM o AS b WHERE b.t < o.t) AS z FROM o":                                   "x aggregated",
		"SELECT EXISTS (SELECT x FROM o AS b WHERE b.id = o.id) AS z FROM o":                                 "",
		"SELECT x IN (SELECT y FROM o) AS z FROM o":                                                          "x computed",
		"SELECT x AS z FROM o UNION ALL SELECT y FROM o":                                                     "x copied, y copied",
		"SELECT x AS w, y AS z FROM o UNION ALL BY NAME SELECT y AS z, x AS w FROM o":                        "y copied, y copied",
		"WITH RECURSIVE r(z) AS (SELECT x FROM o UNION ALL SELECT z + 1 FROM r WHERE z < 9) SELECT z FROM r": "x aggregated, x copied, x computed, x computed, x computed",
		"SELECT unnest([x, y]) AS z FROM o":                                                                  "x computed, y computed",
		"SELECT z FROM o, unnest([x]) AS u(z)":                                                               "x computed",
		"SELECT z FROM (VALUES (1)) AS v(z)":                                                                 "",
		"SELECT s.y AS z FROM o ASOF JOIN o AS s ON o.g = s.g AND o.t >= s.t":                                "y copied",
		"SELECT COLUMNS('x') FROM o":                                                                         "x copied",
		"SELECT * EXCLUDE (id, g, t, x) FROM o":                                                              "y copied",
		"SELECT * EXCLUDE (id, g, t, y) REPLACE (x + y AS x) FROM o":                                         "x computed, y computed",
		"SELECT DISTINCT x FROM o":                                                                           "x copied",
	} {
		got := analyse(t, query)
		if s := written(got.Columns[len(got.Columns)-1]); s != want {
			t.Errorf("%s\n got %s\nwant %s", query, s, want)
		}
	}
}

// A column that only decides which value is taken differs from one that the value is computed from.
func TestDecisions(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT x AS z FROM o":                                                           "",
		"SELECT CASE WHEN x > 1 THEN y END AS z FROM o":                                  "x",
		"SELECT CASE WHEN x > 1 THEN x + y END AS z FROM o":                              "",
		"SELECT CASE g WHEN 1 THEN x WHEN t THEN y END AS z FROM o":                      "g t",
		"SELECT if(x > 1, y, 0) AS z FROM o":                                             "x",
		"SELECT sum(x) FILTER (y > 1) AS z FROM o":                                       "y",
		"SELECT sum(x) OVER (PARTITION BY g ORDER BY t) AS z FROM o":                     "g t",
		"SELECT sum(x) OVER (PARTITION BY x ORDER BY t) AS z FROM o":                     "t x",
		"SELECT sum(x) FILTER (y > 1) OVER () AS z FROM o":                               "y",
		"SELECT EXISTS (SELECT x FROM o AS b WHERE b.id = o.id AND b.y > 1) AS z FROM o": "id x y",
		"SELECT (SELECT max(b.x) FROM o AS b WHERE b.t < o.t) AS z FROM o":               "t",
		"SELECT z + 1 AS z FROM (SELECT CASE WHEN x > 1 THEN y END AS z FROM o)":         "x",
	} {
		got := analyse(t, query)
		var all []string
		for _, o := range got.Columns[len(got.Columns)-1].Origins {
			if o.Decides && !slices.Contains(all, o.Column) {
				all = append(all, o.Column)
			}
		}
		if s := strings.Join(all, " "); s != want {
			t.Errorf("%s\n got %s\nwant %s", query, s, want)
		}
	}
}

// Rows are decided by filters, joins, groups, and what a limit or DISTINCT looks at.
func TestRowsAreDecided(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT x FROM o":                                                     "",
		"SELECT x FROM o ORDER BY t":                                          "",
		"SELECT x FROM o WHERE y > 1 AND g = 2":                               "g y",
		"SELECT x FROM o ORDER BY t LIMIT 3":                                  "t",
		"SELECT x, y FROM o ORDER BY 2 LIMIT 3":                               "y",
		"SELECT DISTINCT x FROM o":                                            "x",
		"SELECT DISTINCT ON (g) x FROM o ORDER BY t":                          "g t",
		"SELECT g, sum(x) AS z FROM o GROUP BY g HAVING max(y) > 1":           "g y",
		"SELECT g + t, sum(x) AS z FROM o GROUP BY 1":                         "g t",
		"SELECT g, sum(x) AS z FROM o GROUP BY ALL":                           "g",
		"SELECT x FROM o QUALIFY row_number() OVER (ORDER BY t) = 1":          "t",
		"SELECT o.x FROM o JOIN o AS b ON o.id = b.g":                         "g id",
		"SELECT o.x FROM o JOIN o AS b USING (id)":                            "id",
		"SELECT o.x FROM o SEMI JOIN o AS b ON o.id = b.g":                    "g id",
		"SELECT x FROM (SELECT * FROM o WHERE y > 1)":                         "y",
		"WITH q AS (SELECT * FROM o WHERE y > 1) SELECT x FROM q WHERE g = 1": "g y",
		"SELECT x FROM o WHERE y IN (SELECT t FROM o WHERE g = 1)":            "g t y",
		"SELECT x FROM o UNION ALL SELECT y FROM o WHERE g = 1":               "g",
		"SELECT x FROM o UNION SELECT y FROM o":                               "x y",
		"SELECT z FROM o, unnest([x]) AS u(z)":                                "",
	} {
		got := analyse(t, query)
		var all []string
		for _, o := range got.Rows {
			all = append(all, o.Column)
		}
		if got.RowsPartial {
			all = append(all, "unknown")
		}
		if s := strings.Join(all, " "); s != want {
			t.Errorf("%s\n got %s\nwant %s", query, s, want)
		}
	}
}

// Rows that are joined on a key are one row.
func TestRows(t *testing.T) {
	for query, same := range map[string]bool{
		"SELECT a.x, b.y FROM o AS a JOIN o AS b ON a.id = b.id":                                                                                       true,
		"SELECT a.x, b.y FROM o AS a LEFT JOIN o AS b USING (id)":                                                                                      true,
		"SELECT a.x, b.y FROM o AS a, o AS b WHERE a.id = b.id AND a.g > 1":                                                                            true,
		"SELECT a.x, b.y FROM o AS a JOIN o AS b ON a.id = b.g":                                                                                        false,
		"SELECT a.x, b.y FROM o AS a JOIN o AS b ON a.g = b.g":                                                                                         false,
		"SELECT a.x, b.y FROM o AS a JOIN o AS b ON a.id = b.id + 1":                                                                                   false,
		"SELECT a.x, b.y FROM o AS a JOIN o AS b ON a.id = b.id OR a.g = b.g":                                                                          false,
		"SELECT a.x, b.y FROM o AS a JOIN (SELECT id AS k, y FROM o) AS b ON a.id = b.k":                                                               true,
		"SELECT a.x, c.y FROM o AS a JOIN o AS b ON a.id = b.id JOIN o AS c ON b.id = c.id":                                                            true,
		"WITH q AS (SELECT * FROM o) SELECT a.x, b.y FROM q AS a JOIN q AS b USING (id)":                                                               true,
		"WITH q AS (SELECT * FROM o) SELECT a.x, b.y FROM q AS a CROSS JOIN q AS b":                                                                    false,
		"SELECT a.x, b.y FROM o AS a JOIN (SELECT id, max(y) AS y FROM o GROUP BY id) AS b ON a.id = b.id":                                             true,
		"SELECT a.x, (SELECT b.y FROM o AS b WHERE b.id = a.id) AS y FROM o AS a":                                                                      true,
		"SELECT a.x, l.y FROM o AS a, LATERAL (SELECT a.y) AS l(y)":                                                                                    true,
		"SELECT a.x, l.y FROM o AS a, LATERAL (SELECT b.y FROM o AS b WHERE b.id = a.id) AS l":                                                         true,
		"SELECT a.x, l.y FROM o AS a, LATERAL (SELECT b.y FROM o AS b WHERE b.g = a.id) AS l":                                                          false,
		"SELECT x, y FROM (SELECT id, x FROM o) FULL JOIN (SELECT id, y FROM o) USING (id)":                                                            true,
		"SELECT x, y FROM (SELECT id, x FROM o) NATURAL JOIN (SELECT id, y FROM o)":                                                                    true,
		"SELECT a.x, b.y FROM o AS a ASOF JOIN o AS b USING (g, id)":                                                                                   false,
		"SELECT s.a, s.b FROM (SELECT {'a': x, 'b': y} AS s FROM o)":                                                                                   true,
		"SELECT u.a, u.b FROM (SELECT unnest(list({'a': x, 'b': y})) AS u FROM o GROUP BY g)":                                                          true,
		"SELECT unnest(list(x ORDER BY t)), unnest(list(y ORDER BY t)) FROM o":                                                                         true,
		"SELECT unnest(list(x ORDER BY t)), unnest(list(y ORDER BY x)) FROM o":                                                                         false,
		"SELECT unnest(list_filter(list(x), lambda v: v > 1)), unnest(list(y)) FROM o":                                                                 false,
		"SELECT a, b FROM (SELECT list(x) AS l, list(y) AS m FROM o), unnest(l) AS u(a), unnest(m) AS v(b)":                                            false,
		"SELECT x, y + n AS y FROM o, range(3) AS r(n)":                                                                                                true,
		"SELECT c, y FROM o UNPIVOT (c FOR n IN (x))":                                                                                                  true,
		"SELECT COLUMNS('^[xy]$') FROM o":                                                                                                              true,
		"WITH RECURSIVE r AS (SELECT x, y FROM o UNION SELECT y, x FROM r) SELECT x, y FROM r":                                                         true,
		"WITH RECURSIVE r AS (SELECT id, 0 AS x, y FROM o WHERE g = 0 UNION ALL SELECT o.id, r.y, o.y FROM o JOIN r ON o.g = r.id) SELECT x, y FROM r": false,
		"SELECT x, y FROM o": true,
		"SELECT x, y FROM (SELECT x, y FROM o UNION ALL SELECT y, x FROM o)":         true,
		"SELECT a.x, b.y FROM o AS a POSITIONAL JOIN o AS b":                         false,
		"SELECT a.x, b.y FROM o AS a ASOF JOIN o AS b ON a.id = b.id AND a.t >= b.t": true,
	} {
		got := analyse(t, query)
		x, y := got.Columns[0], got.Columns[1]
		shares := slices.ContainsFunc(x.Origins, func(a facts.Origin) bool {
			return a.OfRow() && slices.ContainsFunc(y.Origins, func(b facts.Origin) bool { return b.OfRow() && a.Row == b.Row })
		})
		if shares != same {
			t.Errorf("%s: one row is %v, want %v\n%+v", query, shares, same, got)
		}
	}
}

// The rows of DuckDB do not contradict the facts: a column does not change with a value
// that it does not come from, with that of its own row unless it comes from there, with that
// of another row if it comes from the row that the key comes from, or with that of a later
// row unless it looks ahead.
func TestRowsDoNotContradictFacts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		query := drawQuery(t)
		got := analyse(t, query)
		rows := drawRows(t)
		at, column := rapid.IntRange(0, len(rows)-1).Draw(t, "row"), rapid.SampledFrom([]int{3, 4}).Draw(t, "column")
		changed := slices.Clone(rows)
		changed[at] = slices.Clone(rows[at])
		changed[at][column] += 1000
		before, after := evaluate(t, query, rows, changed)
		name := orders[column].Name
		rowsOfKey := map[string]bool{} // the rows that the first column comes from
		for _, o := range got.Columns[0].Origins {
			rowsOfKey[o.Row] = true
		}
		for i, c := range got.Columns {
			if c.Partial || i == 0 {
				continue
			}
			for id, old := range before {
				now := after[id]
				if old[i] == now[i] {
					continue
				}
				own, others, ahead := false, false, false
				for _, o := range c.Origins {
					if o.Column == name {
						own = own || o.OfRow() || o.Use == facts.Aggregated
						others = others || o.Use >= facts.Windowed || !rowsOfKey[o.Row]
						ahead = ahead || o.Use <= facts.Computed && !rowsOfKey[o.Row] || o.Ahead.Column != "" || o.Use == facts.Aggregated
					}
				}
				mine := id == fmt.Sprint(rows[at][0])
				switch {
				case mine && !own:
					t.Fatalf("%s\n%s of row %s changes with its own %s: %s", query, c.Name, id, name, written(c))
				case !mine && !others:
					t.Fatalf("%s\n%s of row %s changes with another row's %s: %s", query, c.Name, id, name, written(c))
				case !mine && !ahead && !strings.Contains(query, "rank") && rows[at][2] > rows[slices.IndexFunc(rows, func(r []int) bool { return fmt.Sprint(r[0]) == id })][2]:
					t.Fatalf("%s\n%s of row %s changes with a later row's %s: %s", query, c.Name, id, name, written(c))
				}
			}
		}
	})
}

func drawQuery(t *rapid.T) string {
	draw := func(of ...string) string { return rapid.SampledFrom(of).Draw(t, "part") }
	value := func(a string) string {
		return strings.NewReplacer("X", a+".x", "Y", a+".y").Replace(draw("X", "Y", "X + Y", "-X", "CASE WHEN X > 2 THEN Y ELSE 0 END", "coalesce(X, Y)", "greatest(X, 2)", "CAST(X AS DOUBLE)"))
	}
	window := func(a string) string {
		direction := draw("", " DESC")
		order := fmt.Sprintf("PARTITION BY %[1]s.g ORDER BY %[1]s.t%[2]s, %[1]s.id%[2]s", a, direction)
		switch draw("lag", "frame", "frame", "rank") {
		case "lag":
			return fmt.Sprintf("%s(%s, %s) OVER (%s)", draw("lag", "lead"), value(a), draw("1", "2", "0", "-1"), order)
		case "rank":
			return fmt.Sprintf("rank() OVER (PARTITION BY %[1]s.g ORDER BY %[1]s.%[2]s)", a, draw("x", "y"))
		}
		bounds := []string{"UNBOUNDED PRECEDING", "2 PRECEDING", "1 PRECEDING", "CURRENT ROW", "1 FOLLOWING", "2 FOLLOWING", "UNBOUNDED FOLLOWING"}
		from := rapid.IntRange(0, 5).Draw(t, "from")
		to := rapid.IntRange(max(from, 1), 6).Draw(t, "to")
		return fmt.Sprintf("%s(%s) OVER (%s ROWS BETWEEN %s AND %s%s)", draw("sum", "max", "first_value"), value(a), order, bounds[from], bounds[to], draw("", " EXCLUDE CURRENT ROW"))
	}
	item := func(a string) string {
		if draw("value", "window") == "value" {
			return value(a)
		}
		return window(a)
	}
	switch draw("plain", "nested", "joined", "cte", "grouped", "scalar", "construct", "construct", "construct", "construct") {
	case "construct":
		return drawMade(draw, value, item)
	case "nested":
		return fmt.Sprintf("SELECT q.id, %s AS c1, %s AS c2 FROM (SELECT id, g, t, %s AS x, %s AS y FROM o) AS q", item("q"), value("q"), value("o"), value("o"))
	case "joined":
		return fmt.Sprintf("SELECT a.id, %s AS c1, %s AS c2, %s + %s AS c3 FROM o AS a JOIN o AS b ON a.id = b.id", item("a"), value("b"), value("a"), value("b"))
	case "cte":
		return fmt.Sprintf("WITH q AS (SELECT * REPLACE (%s AS x) FROM o) SELECT a.id, %s AS c1, b.y AS c2 FROM q AS a LEFT JOIN q AS b USING (id)", item("o"), value("a"))
	case "grouped":
		return fmt.Sprintf("SELECT a.id, max(%s) AS c1, sum(%s) AS c2 FROM o AS a JOIN o AS b ON a.g = b.g AND b.t < a.t GROUP BY a.id", value("a"), value("b"))
	case "scalar":
		return fmt.Sprintf("SELECT o.id, (SELECT b.x FROM o AS b WHERE b.id = o.id) AS c1, (SELECT max(%s) FROM o AS b WHERE b.g = o.g) AS c2 FROM o", value("b"))
	}
	return fmt.Sprintf("SELECT o.id, %s AS c1, %s AS c2 FROM o", item("o"), item("o"))
}

func drawRows(t *rapid.T) [][]int {
	n := rapid.IntRange(2, 8).Draw(t, "rows")
	rows := make([][]int, n)
	for i := range rows {
		rows[i] = []int{i, rapid.IntRange(0, 1).Draw(t, "g"), i, rapid.IntRange(0, 5).Draw(t, "x"), rapid.IntRange(0, 5).Draw(t, "y")}
	}
	return rows
}

// evaluate runs a query in DuckDB over rows before and after a change, and returns the
// rows of both results by their first column.
func evaluate(t *rapid.T, query string, before, after [][]int) (was, is map[string][]string) {
	d, err := duckdb.Describe(context.Background(), map[string]ir.Schema{"o": orders}, query)
	if err != nil {
		t.Fatal(query, err)
	}
	out := duck.Table{Schema: ir.Schema{{Name: "after", Type: "bool"}}, Keys: []string{"after", "id"}}
	var casts []string
	for _, c := range d.Columns {
		typ, cast := duck.SuggestCast(c.Type)
		if cast != c.Type {
			typ = "float64"
		}
		out.Schema = append(out.Schema, ir.Column{Name: c.Name, Type: typ, Nullable: c.Name != "id"})
		casts = append(casts, fmt.Sprintf("CAST(%s AS %s) AS %[1]s", c.Name, ir.Types[typ]))
	}
	over := func(after, table string) string {
		return fmt.Sprintf("SELECT * FROM (WITH o AS (SELECT * FROM %s) SELECT %s AS after, %s FROM (%s))", table, after, strings.Join(casts, ", "), query)
	}
	both := over("false", "o1") + " UNION ALL " + over("true", "o2")
	got, err := duckdb.Evaluate(context.Background(), both, map[string]duck.Literal{"o1": literal(before), "o2": literal(after)}, out)
	if err != nil || len(got.Broken) > 0 {
		t.Fatal(query, err, got.Broken)
	}
	was, is = map[string][]string{}, map[string][]string{}
	for _, row := range got.Rows.Values {
		var texts []string
		for _, v := range row {
			if v == nil {
				texts = append(texts, "null")
				continue
			}
			texts = append(texts, *v)
		}
		if texts[0] == "true" {
			is[texts[1]] = texts[1:]
		} else {
			was[texts[1]] = texts[1:]
		}
	}
	return was, is
}

func literal(rows [][]int) duck.Literal {
	l := duck.Literal{Schema: orders}
	for _, c := range orders {
		l.Rows.Columns = append(l.Rows.Columns, c.Name)
	}
	for _, r := range rows {
		var values []*string
		for _, v := range r {
			s := fmt.Sprint(v)
			values = append(values, &s)
		}
		l.Rows.Values = append(l.Rows.Values, values)
	}
	return l
}

// FuzzQuery analyses whatever DuckDB accepts.
func FuzzQuery(f *testing.F) {
	for _, query := range []string{
		"SELECT x + y AS z FROM o", "WITH q AS (SELECT * REPLACE (x + 1 AS x) FROM o) SELECT a.x FROM q AS a JOIN q AS b USING (id)",
		"SELECT lag(x, 2) OVER (PARTITION BY g ORDER BY t DESC ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING) FROM o",
		"SELECT max(x) FILTER (y > 1) FROM o GROUP BY ALL HAVING count(*) > 1", "FROM o PIVOT (sum(x) FOR g IN (1, 2))",
		"SELECT (SELECT max(b.x) FROM o AS b WHERE b.id = o.id) FROM o", "SELECT x FROM o UNION ALL BY NAME SELECT y AS x FROM o",
		"SELECT list_transform([x], lambda v: v + y) FROM o", "SELECT * EXCLUDE (x) FROM o ASOF JOIN o AS p ON o.g = p.g AND o.t >= p.t",
		"SELECT CASE x WHEN 1 THEN 'a' END, x IN (1, 2), x BETWEEN 1 AND 2, x = NULL FROM o", "SELECT COLUMNS(*) FROM o",
		"SELECT id, max(COLUMNS('^[xy]$')) FROM o GROUP BY ROLLUP (id)", "SELECT * RENAME (x AS z) FROM o NATURAL FULL JOIN (VALUES (1, 2)) AS v(id, w)",
		"WITH RECURSIVE r(n) AS (SELECT x FROM o UNION ALL SELECT n + 1 FROM r WHERE n < 9) SELECT n FROM r", "FROM o UNPIVOT ((a, b) FOR n IN ((x, y), (g, t)))",
		"SELECT u.a.b, unnest(u.c) FROM (SELECT unnest(list({'a': {'b': x}, 'c': [y]} ORDER BY t)) AS u FROM o GROUP BY g)", "SELECT s.* FROM (SELECT {'a': x} AS s FROM o)",
		"SELECT l.z FROM o LEFT JOIN LATERAL (SELECT b.x AS z FROM o AS b WHERE b.id = o.g) AS l ON true, unnest([o.x]) WITH ORDINALITY AS u(v), range(3) AS r(n)",
		"SELECT list_transform(list_filter([{'a': x}], lambda v: v.a > y), lambda v: v.a + g)[1], max({'a': x}).a FROM o GROUP BY ALL", "SELECT coalesce(*COLUMNS(['x', 'y'])) FROM o",
	} {
		f.Add(query)
	}
	var in facts.Table
	for _, c := range orders {
		in.Columns = append(in.Columns, facts.Column{Name: c.Name, Domain: facts.Domain{Min: "0", Max: "10"}, Origins: []facts.Origin{{Root: facts.Root{Table: "orders", Column: c.Name}, Row: "row"}}})
	}
	f.Fuzz(func(t *testing.T, query string) {
		d, err := duckdb.Describe(context.Background(), map[string]ir.Schema{"o": orders}, query)
		if err != nil || d.Tree == nil {
			return
		}
		names := make([]string, len(d.Columns))
		for i, c := range d.Columns {
			names[i] = c.Name
		}
		got, err := facts.Query(d.Tree, map[string]facts.Table{"o": in}, map[string][][]string{"orders": {{"id"}}}, names)
		if err != nil || len(got.Columns) != len(names) {
			t.Errorf("%s: %d columns, want %d, %v", query, len(got.Columns), len(names), err)
		}
	})
}
