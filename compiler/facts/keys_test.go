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
)

// The tables of these queries: a has the key k, b the key k and l, and c none.
var keyed = map[string]facts.Table{
	"a": {Keys: [][]string{{"k"}}, Columns: columnsOf("k", "x", "y")},
	"b": {Keys: [][]string{{"k", "l"}}, Columns: columnsOf("k", "l", "x")},
	"c": {Columns: columnsOf("k", "x")},
}

func columnsOf(names ...string) (all []facts.Column) {
	for _, n := range names {
		all = append(all, facts.Column{Name: n, Null: facts.Null{Verdict: facts.Never}, Origins: []facts.Origin{{Root: facts.Root{Table: "t", Column: n}, Row: "row"}}})
	}
	return all
}

func schemas() map[string]ir.Schema {
	all := map[string]ir.Schema{}
	for name, t := range keyed {
		for _, c := range t.Columns {
			all[name] = append(all[name], ir.Column{Name: c.Name, Type: "int64"})
		}
	}
	return all
}

func analyseKeys(t interface{ Fatal(...any) }, query string) (facts.Table, []string) {
	d, err := duckdb.Describe(context.Background(), schemas(), query)
	if err != nil {
		t.Fatal(query, err)
	}
	var names []string
	for _, c := range d.Columns {
		names = append(names, c.Name)
	}
	got, err := facts.Query(d.Tree, keyed, nil, names)
	if err != nil {
		t.Fatal(query, err)
	}
	return got, names
}

func TestUniqueColumns(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT * FROM a":                         "k",
		"SELECT x, k AS z FROM a":                 "z",
		"SELECT x FROM a":                         "",
		"SELECT * FROM b":                         "k l",
		"SELECT * FROM b WHERE l = 1":             "k",
		"SELECT * FROM c":                         "",
		"SELECT a.k, b.l FROM a JOIN b USING (k)": "k l",
		"SELECT a.k, b.k AS bk, b.l FROM a JOIN b ON a.k = b.k":                                          "k l, bk l",
		"SELECT b.k, b.l, a.x FROM b LEFT JOIN a ON a.k = b.k":                                           "k l",
		"SELECT a.k, b.k AS bk, b.l FROM a LEFT JOIN b ON a.k = b.k":                                     "k bk l",
		"SELECT a.k, b.k AS bk, b.l FROM b RIGHT JOIN a ON a.k = b.k":                                    "k bk l",
		"SELECT a.k, d.k AS dk FROM a LEFT JOIN a AS d ON a.k = d.k":                                     "k",
		"SELECT a.k, d.k AS dk FROM a JOIN a AS d ON a.k = d.k":                                          "k, dk",
		"SELECT a.k FROM a ASOF JOIN b ON a.k = b.k AND a.x >= b.l":                                      "k",
		"SELECT a.k FROM a SEMI JOIN b ON a.k = b.k":                                                     "k",
		"SELECT x, max(y) AS y FROM a GROUP BY x":                                                        "x",
		"SELECT k, x, max(y) AS y FROM a GROUP BY ALL":                                                   "k",
		"SELECT x, y FROM a GROUP BY ALL":                                                                "x y",
		"SELECT k, b.l FROM a FULL JOIN b USING (k)":                                                     "k l",
		"SELECT k, b.l FROM a RIGHT JOIN b USING (k)":                                                    "k l",
		"SELECT * FROM a NATURAL JOIN b":                                                                 "k l",
		"SELECT a.k, l.m FROM a, LATERAL (SELECT max(l) AS m FROM b WHERE b.k = a.x) AS l":               "k",
		"SELECT a.k, l.l FROM a, LATERAL (SELECT l FROM b WHERE b.k = a.x AND b.l = a.y) AS l":           "k",
		"SELECT a.k, l.l FROM a, LATERAL (SELECT l FROM b WHERE b.k = a.x) AS l":                         "",
		"SELECT a.k, v.f FROM a JOIN (VALUES (1, 2), (2, 2)) AS v(x, f) USING (x)":                       "k",
		"SELECT a.k, v.f FROM a JOIN (VALUES (1, 2), (1, 3)) AS v(x, f) USING (x)":                       "k f",
		"SELECT k, n FROM a, range(3) AS r(n)":                                                           "k n",
		"SELECT k, u.ordinality FROM a, unnest([x, y]) WITH ORDINALITY AS u(z)":                          "k ordinality",
		"SELECT k, n, v FROM (SELECT k, x, y FROM a) UNPIVOT (v FOR n IN (x, y))":                        "k n",
		"SELECT * FROM (SELECT k, x, y FROM a) PIVOT (max(y) FOR x IN (1, 2))":                           "k",
		"SELECT * FROM (SELECT k, x, y FROM a) PIVOT (max(k) FOR x IN (1, 2) GROUP BY y)":                "y",
		"SELECT k, COLUMNS('x') FROM a":                                                                  "k",
		"SELECT * RENAME (k AS z) FROM a":                                                                "z",
		"WITH RECURSIVE r(n, m) AS (SELECT k, x FROM a UNION SELECT m, n FROM r) SELECT n, m FROM r":     "n m",
		"WITH RECURSIVE r(n, m) AS (SELECT k, x FROM a UNION ALL SELECT m, n FROM r) SELECT n, m FROM r": "",
		"SELECT DISTINCT k FROM a WHERE k = 1 GROUP BY ROLLUP (k)":                                       "k",
		"SELECT x, sum(y) AS s FROM a GROUP BY ROLLUP (x, y)":                                            "",
		"SELECT DISTINCT x, y FROM a":                                                                    "x y",
		"SELECT DISTINCT ON (x) x, k FROM a ORDER BY x, k":                                               "x, k",
		"SELECT x, k FROM a QUALIFY row_number() OVER (PARTITION BY x ORDER BY k) = 1":                   "x, k",
		"SELECT x, row_number() OVER (ORDER BY x) AS n FROM c":                                           "n",
		"SELECT x, y FROM a UNION ALL SELECT k, x FROM b":                                                "",
		"SELECT x, y FROM a UNION SELECT k, x FROM b":                                                    "x y",
		"SELECT 'a' AS part, k FROM a UNION ALL SELECT 'b', x FROM a GROUP BY x":                         "part k",
		"SELECT k, x FROM a EXCEPT SELECT k, x FROM b":                                                   "k",
		"SELECT k, unnest([x, y]) AS u FROM a":                                                           "",
		"SELECT * FROM b ORDER BY k, l LIMIT 1":                                                          "",
		"WITH q AS (SELECT x, max(y) AS y FROM a GROUP BY x) SELECT a.k, q.y FROM a JOIN q USING (x)":    "k",
	} {
		got, _ := analyseKeys(t, query)
		var all []string
		for _, k := range got.UniqueColumns() {
			all = append(all, strings.Join(k, " "))
		}
		if s := strings.Join(all, ", "); s != want {
			t.Errorf("%s\n got %s\nwant %s", query, s, want)
		}
	}
}

// Columns that are unique by the facts never repeat in DuckDB's result.
func TestRowsDoNotRepeat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		query := drawKeyed(t, 2)
		got, names := analyseKeys(t, query)
		keys := got.UniqueColumns()
		if len(keys) == 0 {
			return
		}
		inputs := drawTables(t, 1)
		for _, key := range keys {
			if n := repeats(t, query, names, key, inputs); n > 0 {
				t.Fatalf("%s\n%v repeats", query, key)
			}
		}
	})
}

// Columns that repeat by the facts do so for some rows.
func TestRowsRepeat(t *testing.T) {
	tried, found := map[string]bool{}, map[string]bool{}
	rapid.Check(t, func(t *rapid.T) {
		query := drawKeyed(t, 0)
		got, names := analyseKeys(t, query)
		key := []string{names[0]}
		if got.Repeats(key) == nil || found[query] {
			return
		}
		if got.Unique(key) {
			t.Fatalf("%s\n%v is unique, and repeats", query, key)
		}
		tried[query] = true
		for range 60 {
			if repeats(t, query, names, key, drawTables(t, 4)) > 0 {
				found[query] = true
				return
			}
		}
	})
	// Some need rows that are seldom drawn.
	if 5*len(found) < 4*len(tried) {
		for query := range tried {
			if !found[query] {
				t.Errorf("%s\nits first column is refused, and did not repeat", query)
			}
		}
	}
}

func drawKeyed(t *rapid.T, depth int) string {
	draw := func(of ...string) string { return rapid.SampledFrom(of).Draw(t, "part") }
	table := func() (string, []string) {
		if depth > 0 && draw("table", "query") == "query" {
			return "(" + drawKeyed(t, depth-1) + ")", []string{"p", "q"}
		}
		name := draw("a", "b", "c")
		var columns []string
		for _, c := range keyed[name].Columns {
			columns = append(columns, c.Name)
		}
		return name, columns
	}
	one, has := table()
	col := func(alias string, columns []string) string { return alias + "." + draw(columns...) }
	from, columns := one+" AS s", []string{col("s", has), col("s", has), col("s", has)}
	if draw("one", "join") == "join" {
		other, also := table()
		on := fmt.Sprintf("%s = %s", col("s", has), col("r", also))
		if draw("one", "two") == "two" {
			on += fmt.Sprintf(" AND %s = %s", col("s", has), draw(col("r", also), "1"))
		}
		from += fmt.Sprintf(" %s JOIN %s AS r ON %s", draw("", "LEFT", "RIGHT", "FULL"), other, on)
		columns = append(columns, col("r", also), col("r", also))
	}
	p, q := draw(columns...), draw(columns...)
	where := ""
	if draw("all", "some") == "some" {
		where = fmt.Sprintf(" WHERE %s = %s", draw(columns...), draw(append(columns, "1", "2")...))
	}
	if draw("tables", "tables", "construct") == "construct" {
		from, columns = drawKeyedConstruct(draw)
		p, q = draw(columns...), draw(columns...)
		if where = ""; draw("all", "some") == "some" {
			where = fmt.Sprintf(" WHERE %s = %s", draw(columns...), draw(append(columns, "1", "2")...))
		}
	}
	switch draw("plain", "plain", "grouped", "distinct", "on", "first", "number", "union", "computed", "sets", "unnest", "columns") {
	case "sets":
		return fmt.Sprintf("SELECT %s AS p, max(%s) AS q FROM %s%s GROUP BY %s(%[1]s, %s)", p, q, from, where, draw("ROLLUP", "CUBE", "GROUPING SETS"), draw(columns...))
	case "unnest":
		return fmt.Sprintf("SELECT %s AS p, unnest(%s) AS q FROM %s%s", p, draw("[1, 2]", "[1, 1]", "["+q+", 3]", "range(2)", "[7]"), from, where)
	case "columns":
		return fmt.Sprintf("SELECT COLUMNS('^[pq]$') FROM (SELECT %s AS p, %s AS q FROM %s%s)", p, q, from, where)
	case "grouped":
		return fmt.Sprintf("SELECT %s AS p, %s AS q FROM %s%s GROUP BY %s", p, draw("max("+q+")", "count(*)"), from, where, draw(p, p+", "+q, p+", "+draw(columns...)))
	case "distinct":
		return fmt.Sprintf("SELECT DISTINCT %s AS p, %s AS q FROM %s%s", p, q, from, where)
	case "on":
		return fmt.Sprintf("SELECT DISTINCT ON (%s) %s AS p, %s AS q FROM %s%s ORDER BY ALL", draw(columns...), p, q, from, where)
	case "first":
		return fmt.Sprintf("SELECT %s AS p, %s AS q FROM %s%s QUALIFY row_number() OVER (PARTITION BY %s ORDER BY %s) = 1", p, q, from, where, draw(columns...), q)
	case "number":
		return fmt.Sprintf("SELECT %s AS p, row_number() OVER (ORDER BY %s) AS q FROM %s%s", p, q, from, where)
	case "union":
		return fmt.Sprintf("SELECT %s AS p, %s AS q FROM %s%s %s SELECT k, x FROM %s", p, q, from, where, draw("UNION", "UNION ALL", "EXCEPT", "INTERSECT"), draw("a", "b", "c"))
	case "computed":
		return fmt.Sprintf("SELECT %s + %s AS p, coalesce(%s, 0) AS q FROM %s%s", p, draw("1", q), q, from, where)
	}
	return fmt.Sprintf("SELECT %s AS p, %s AS q FROM %s%s", p, q, from, where)
}

func drawTables(t *rapid.T, least int) map[string]duck.Literal {
	all := map[string]duck.Literal{}
	for _, name := range []string{"a", "b", "c"} {
		table := keyed[name]
		l := duck.Literal{Schema: schemas()[name]}
		for _, c := range table.Columns {
			l.Rows.Columns = append(l.Rows.Columns, c.Name)
		}
		seen := map[string]bool{}
		for range rapid.IntRange(least, 9).Draw(t, "rows") {
			var values []*string
			key := ""
			for _, c := range table.Columns {
				s := fmt.Sprint(rapid.IntRange(1, 3).Draw(t, c.Name))
				values = append(values, &s)
				if len(table.Keys) > 0 && slices.Contains(table.Keys[0], c.Name) {
					key += s + " "
				}
			}
			if len(table.Keys) > 0 && seen[key] {
				continue
			}
			seen[key] = true
			l.Rows.Values = append(l.Rows.Values, values)
		}
		all[name] = l
	}
	return all
}

// repeats returns how many values of a key occur twice in the result of a query. Rows in
// which part of the key is null do not count: it has its own check.
func repeats(t *rapid.T, query string, names, key []string, inputs map[string]duck.Literal) int {
	var present []string
	for _, k := range key {
		present = append(present, k+" IS NOT NULL")
	}
	list := strings.Join(append([]string{"1"}, key...), ", ")
	present = append(present, "true")
	twice := fmt.Sprintf("SELECT CAST(count(*) AS BIGINT) AS n FROM (SELECT %s FROM (%s) AS t(%s) WHERE %s GROUP BY ALL HAVING count(*) > 1)",
		list, query, strings.Join(names, ", "), strings.Join(present, " AND "))
	for name := range inputs {
		twice += fmt.Sprintf(" UNION ALL SELECT 0 FROM (SELECT count(*) FROM %s)", name)
	}
	got, err := duckdb.Evaluate(context.Background(), "SELECT CAST(sum(n) AS BIGINT) AS n FROM ("+twice+")", inputs, duck.Table{Schema: ir.Schema{{Name: "n", Type: "int64"}}})
	if err != nil || len(got.Broken) > 0 {
		t.Fatal(query, err, got.Broken)
	}
	n := 0
	_, _ = fmt.Sscan(*got.Rows.Values[0][0], &n)
	return n
}
