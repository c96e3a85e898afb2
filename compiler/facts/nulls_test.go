package facts_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/facts"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// shop holds the declared tables of one case: o, p and c. p.k refers to c.k if it is not
// null.
type shop map[string]ir.Schema

func drawShop(t *rapid.T) shop {
	column := func(name string) ir.Column {
		c := ir.Column{Name: name, Type: "int64", Nullable: rapid.Bool().Draw(t, name+" nullable")}
		if rapid.IntRange(0, 2).Draw(t, name+" bound") == 0 {
			c.Min = "1"
		}
		return c
	}
	key := ir.Column{Name: "k", Type: "int64", Nullable: rapid.Bool().Draw(t, "k nullable")}
	id := ir.Column{Name: "id", Type: "int64"}
	return shop{
		"o": {id, key, column("x"), column("y")},
		"p": {id, key, column("x")},
		"c": {{Name: "k", Type: "int64"}, column("v"), column("w")},
	}
}

// facts returns what is declared about the tables.
func (s shop) facts() map[string]facts.Table {
	all := map[string]facts.Table{}
	for name, schema := range s {
		t := facts.Table{ID: name, From: []string{name}}
		for _, c := range schema {
			verdict := facts.Never
			if c.Nullable {
				verdict = facts.Maybe
			}
			t.Columns = append(t.Columns, facts.Column{
				Name: c.Name, Type: c.Type, Null: facts.Null{Verdict: verdict}, Domain: facts.Domain{Min: c.Min.String()},
				Origins: []facts.Origin{{Root: facts.Root{Table: name, Column: c.Name}, Row: "row"}},
			})
		}
		all[name] = t
	}
	p := all["p"]
	p.References = []facts.Reference{{Columns: []string{"k"}, Table: "c", Keys: []string{"k"}}}
	all["p"] = p
	return all
}

// rows returns tables of random rows that the declarations allow.
func (s shop) rows(r *rand.Rand) map[string]duck.Literal {
	all := map[string]duck.Literal{}
	keys := r.Perm(5)[:r.IntN(5)]
	for name, schema := range s {
		l := duck.Literal{Schema: schema}
		for _, c := range schema {
			l.Rows.Columns = append(l.Rows.Columns, c.Name)
		}
		n := r.IntN(6)
		if name == "c" {
			n = len(keys)
		}
		for i := range n {
			var values []*string
			broken := false
			for _, c := range schema {
				v := fmt.Sprint(r.IntN(6) - 2)
				switch {
				case c.Name == "id":
					v = fmt.Sprint(i - 2)
				case name == "c" && c.Name == "k":
					v = fmt.Sprint(keys[i])
				case c.Nullable && r.IntN(3) == 0:
					values = append(values, nil)
					continue
				case name == "p" && c.Name == "k":
					if len(keys) == 0 {
						broken = true
						break
					}
					v = fmt.Sprint(keys[r.IntN(len(keys))])
				case c.Min != "":
					v = fmt.Sprint(1 + r.IntN(3))
				}
				values = append(values, &v)
			}
			if !broken {
				l.Rows.Values = append(l.Rows.Values, values)
			}
		}
		all[name] = l
	}
	return all
}

// drawNulls draws a query whose columns may be null, or not.
func drawNulls(t *rapid.T) string {
	draw := func(of ...string) string { return rapid.SampledFrom(of).Draw(t, "part") }
	var value func(columns []string, depth int) string
	condition := func(columns []string) string {
		c := draw(columns...)
		return strings.NewReplacer("#", c, "$", draw(columns...)).Replace(draw("# > 0", "# >= 1", "# <> 0", "# IS NOT NULL", "# IS NULL", "# = $", "# IN (1, 2)", "# NOT IN (0, 3)",
			"# BETWEEN 1 AND 2", "NOT (# = 0)", "NOT (# IS NULL OR $ > 2)", "# > 0 AND $ IS NOT NULL", "# > 0 OR $ > 0", "# + $ > 1", "# IS DISTINCT FROM 0", "coalesce(#, 0) > 0"))
	}
	value = func(columns []string, depth int) string {
		kinds := []string{"column", "column", "constant"}
		if depth > 0 {
			kinds = append(kinds, "call", "case", "divide", "coalesce")
		}
		switch draw(kinds...) {
		case "constant":
			return draw("1", "0", "NULL", "2")
		case "call":
			return fmt.Sprintf(draw("%s + %s", "nullif(%s, 0) + %s", "greatest(%s, %s)", "abs(%s) - %s", "CAST(%s AS DOUBLE) * %s"), value(columns, depth-1), value(columns, depth-1))
		case "case":
			otherwise := ""
			if draw("else", "") != "" {
				otherwise = " ELSE " + value(columns, depth-1)
			}
			return fmt.Sprintf("CASE WHEN %s THEN %s WHEN %s THEN %s%s END", condition(columns), value(columns, depth-1), condition(columns), value(columns, depth-1), otherwise)
		case "divide":
			return fmt.Sprintf("%s %s %s", draw(columns...), draw("//", "%"), draw(append(columns, "2")...))
		case "coalesce":
			return fmt.Sprintf("coalesce(%s, %s)", value(columns, depth-1), value(columns, depth-1))
		}
		return draw(columns...)
	}
	where := func(columns []string) string {
		if draw("", "", "where") == "" {
			return ""
		}
		return " WHERE " + condition(columns)
	}
	source, columns := "o", []string{"o.id", "o.k", "o.x", "o.y"}
	switch draw("one", "join", "join", "join", "reference", "cte", "self", "using", "construct", "construct", "construct") {
	case "using":
		source = "o " + draw("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "FULL JOIN", "NATURAL FULL JOIN", "NATURAL LEFT JOIN") + " c"
		if !strings.Contains(source, "NATURAL") {
			source += " USING (k)"
		}
		columns = []string{"o.id", "k", "o.x", "c.v", "o.k", "c.k"}
	case "construct":
		source, columns = drawConstruct(draw, value, where)
	case "join":
		columns = []string{"o.id", "o.x", "o.y", "c.v", "c.w", "c.k"}
		source = "o " + draw("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "ASOF LEFT JOIN", "LEFT JOIN") + " c ON o.k = c.k"
		if strings.Contains(source, "ASOF") {
			source += " AND o.x >= c.v"
		} else if draw("", "more") != "" {
			source += " AND " + condition(columns)
		}
	case "reference":
		columns = []string{"p.id", "p.k", "p.x", "c.v", "c.w"}
		source = "p LEFT JOIN c ON p.k = c.k" + draw("", "", " AND c.v > 0")
	case "cte":
		inner := []string{"o.id", "o.k", "o.x", "o.y"}
		source = fmt.Sprintf("(SELECT id, k, %s AS x, y FROM o%s) AS q", value(inner, 1), where(inner))
		columns = []string{"q.id", "q.k", "q.x", "q.y"}
		if draw("", "joined") != "" {
			source = fmt.Sprintf("(SELECT o.id, o.k, c.v AS x, %s AS y FROM o LEFT JOIN c ON o.k = c.k%s) AS q", value([]string{"o.x", "c.v", "c.w"}, 1), where([]string{"o.y", "c.w"}))
		}
	case "self":
		source = "o LEFT JOIN (SELECT k, max(x) AS m, count(*) AS n FROM o GROUP BY k) AS s ON o.k = s.k"
		columns = []string{"o.id", "o.k", "o.x", "s.m", "s.n"}
	}
	from := source + where(columns)
	switch draw("plain", "plain", "group", "whole", "window", "union", "scalar", "sets", "unnest", "columns", "recursive") {
	case "sets":
		return fmt.Sprintf("SELECT %s AS c1, %s AS c2, %s(%s) AS c3 FROM %s GROUP BY %s(%[1]s, %[2]s)%[7]s", columns[1], columns[2], draw("sum", "count", "max"), value(columns, 1), from, draw("ROLLUP", "CUBE", "GROUPING SETS"),
			draw("", "", " HAVING c1 IS NOT NULL", " HAVING c3 > 0"))
	case "unnest":
		if draw("zip", "one") == "zip" {
			return fmt.Sprintf("SELECT unnest([%s, %s]) AS c1, unnest(%s) AS c2 FROM %s", value(columns, 1), value(columns, 1), draw("[1, 2]", "[1]", "range(3)"), from)
		}
		return fmt.Sprintf("SELECT %s AS c1, unnest(%s) AS c2 FROM %s", value(columns, 1), strings.NewReplacer("#", value(columns, 1), "$", value(columns, 1)).Replace(
			draw("[#, $]", "{'c': [#]}.c", "range(2)", "list_transform([#, $], lambda z: z + 1)", "list_filter([#, $], lambda z: z IS NOT NULL)", "[{'c': [#]}, {'c': [$]}][1].c", "CASE WHEN # > 0 THEN [$] END")), from)
	case "columns":
		return fmt.Sprintf("SELECT %s(COLUMNS('^(x|v|k)$')) FROM (SELECT %s AS x, %s AS v, %s AS k FROM %s)", draw("", "abs", "sum", "max"), value(columns, 1), value(columns, 2), columns[1], from)
	case "recursive":
		return fmt.Sprintf("WITH RECURSIVE r(c1, c2, n) AS (SELECT %s, %s, 0 FROM %s UNION ALL SELECT %s, %s, n + 1 FROM r%s WHERE n < 2) SELECT * FROM r", value(columns, 1), value(columns, 1), from, draw("c1", "c2", "c1 + 1", "nullif(c1, 1)"), draw("c1", "c2", "n"), draw("", "", " JOIN c ON c.k = r.c1"))
	case "group":
		g := columns[1]
		return fmt.Sprintf("SELECT %s AS c1, %s(%s) AS c2, count(%s) AS c3, max(%s) FILTER (WHERE %s) AS c4 FROM %s GROUP BY %s%s", g,
			draw("sum", "min", "any_value", "stddev_samp", "stddev_pop"), value(columns, 1), value(columns, 1), value(columns, 1), condition(columns), from, g, draw("", "", " HAVING count(*) > 1", " HAVING c2 IS NOT NULL", " HAVING c1 > 0"))
	case "whole":
		return fmt.Sprintf("SELECT max(%s) AS c1, count(*) AS c2, coalesce(sum(%s), 0) AS c3 FROM %s", value(columns, 1), value(columns, 1), from)
	case "window":
		over := fmt.Sprintf("PARTITION BY %s ORDER BY %s, %s", columns[1], columns[0], columns[2])
		frame := draw("", " ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING", " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW", " ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING", " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW")
		return fmt.Sprintf("SELECT %s(%s%s) OVER (%s) AS c1, %s(%s) OVER (%s%s) AS c2, count(*) OVER (%s%s) AS c3 FROM %s%s", draw("lag", "lead"), value(columns, 1), draw("", ", 1, 0", ", 0", ", -1"), over,
			draw("max", "sum", "first_value", "last_value"), value(columns, 1), over, frame, over, frame, from, draw("", "", fmt.Sprintf(" QUALIFY row_number() OVER (%s) > 1", over), " QUALIFY c1 IS NOT NULL"))
	case "union":
		return fmt.Sprintf("SELECT %s AS c1, %s AS c2 FROM %s UNION ALL %s", value(columns, 2), value(columns, 1), from, draw("SELECT v, k FROM c", "BY NAME SELECT v AS c1 FROM c", "BY NAME SELECT w AS c2, k AS c1 FROM c"))
	case "scalar":
		return fmt.Sprintf("SELECT %s AS c1, %s AS c2 FROM %s", draw("(SELECT max(v) FROM c)", "(SELECT count(*) FROM c)", "(SELECT max(x) FROM o)", "coalesce((SELECT min(v) FROM c), 0)"), value(columns, 2), from)
	}
	return fmt.Sprintf("SELECT %s AS c1, %s AS c2, %s AS c3 FROM %s", value(columns, 2), value(columns, 2), value(columns, 1), from)
}

var search = flag.Bool("search", false, "look for rows that give a null in each column that may be null, which is slow")

// The rows of DuckDB do not contradict the null facts: a column that is never null has no
// null, whatever the rows that the declarations allow, and one that is null because of a
// construct has a null for some of them (with -search).
func TestNullsDoNotContradictFacts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawShop(t)
		query := drawNulls(t)
		d, err := duckdb.Describe(context.Background(), s, query)
		if err != nil {
			t.Skip("another query is drawn: this one does not type:", err)
		}
		var names []string
		for _, c := range d.Columns {
			names = append(names, c.Name)
		}
		got, err := facts.Query(d.Tree, s.facts(), nil, names)
		if err != nil {
			t.Fatal(query, err)
		}
		missing := map[int]bool{}
		for i, c := range got.Columns {
			if c.Null.Verdict == facts.Maybe {
				missing[i] = true
			}
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "rows"), 1))
		most, found := 4, false
		if !*search {
			missing = nil
		} else if len(missing) > 0 {
			most = 400
		}
		for range most {
			rows := s.rows(r)
			counted, any := countNulls(t, query, names, rows)
			found = found || any
			for i, nulls := range counted {
				if nulls > 0 && got.Columns[i].Null.Verdict == facts.Never {
					t.Fatalf("%s\n%s is null, in %v\n%v", query, names[i], writtenRows(rows), s)
				}
				if nulls > 0 {
					delete(missing, i)
				}
			}
			if len(missing) == 0 && most > 4 {
				break
			}
		}
		if !found {
			return // a condition excludes all rows
		}
		for i := range missing {
			t.Fatalf("%s\n%s is never null, but %+v\n%+v", query, names[i], got.Columns[i].Null, s)
		}
	})
}

// countNulls returns how many nulls each column of a result has, and whether it has rows.
func countNulls(t *rapid.T, query string, names []string, rows map[string]duck.Literal) (n []int, any bool) {
	out := duck.Table{Schema: ir.Schema{{Name: "rows", Type: "int64"}}, Keys: []string{"rows"}}
	counts := "SELECT count(*) AS rows"
	for _, name := range names {
		counts += fmt.Sprintf(", count(*) FILTER (WHERE %s IS NULL) AS %[1]s", name)
		out.Schema = append(out.Schema, ir.Column{Name: name, Type: "int64"})
	}
	got, err := duckdb.Evaluate(context.Background(), counts+" FROM ("+query+")", rows, out)
	if err != nil || len(got.Rows.Values) != 1 {
		t.Skip("other rows are drawn: the query fails on these:", query, err)
	}
	for i, v := range got.Rows.Values[0] {
		var x int
		_, _ = fmt.Sscan(*v, &x)
		if got.Rows.Columns[i] == "rows" {
			any = x > 0
			continue
		}
		n = append(n, x)
	}
	return n, any
}

func writtenRows(rows map[string]duck.Literal) string {
	var b strings.Builder
	for _, name := range []string{"o", "p", "c"} {
		fmt.Fprintf(&b, "%s %v:", name, rows[name].Rows.Columns)
		for _, row := range rows[name].Rows.Values {
			for _, v := range row {
				if v == nil {
					b.WriteString(" null")
				} else {
					b.WriteString(" " + *v)
				}
			}
			b.WriteString(";")
		}
		b.WriteString("\n")
	}
	return b.String()
}
