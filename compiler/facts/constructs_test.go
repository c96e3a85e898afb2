package facts_test

import (
	"fmt"
	"strings"
)

// drawConstruct draws a FROM clause over the tables of a shop that has more than joins of
// tables, and names its columns.
func drawConstruct(draw func(...string) string, value func([]string, int) string, where func([]string) string) (from string, columns []string) {
	o := []string{"o.id", "o.k", "o.x", "o.y"}
	switch draw("values", "pivot", "unpivot", "struct", "list", "unnest", "lateral", "lateral", "rename", "range", "recursive", "distinct") {
	case "values":
		return "o " + draw("JOIN", "LEFT JOIN", "FULL JOIN") + " (VALUES (1, 2), (2, " + draw("3", "NULL") + ")) AS c(k, v)" + draw(" ON o.k = c.k", " ON true"),
			[]string{"o.id", "o.k", "o.x", "c.k", "c.v"}
	case "pivot":
		return fmt.Sprintf("(SELECT k, x, y, id FROM o%s) PIVOT (%s(%s) AS m, count(*) AS n FOR %s IN (1 AS a, 2 AS b)%s) AS q", where(o), draw("sum", "max", "min"), draw("y", "id"), draw("x", "x", "y"), draw(" GROUP BY k", " GROUP BY k, id")),
			[]string{"q.a_n", "q.k", "q.a_m", "q.b_m", "q.b_n"}
	case "unpivot":
		return fmt.Sprintf("(SELECT id, k, %s AS x, y FROM o%s) UNPIVOT %s(v FOR n IN (x, y AS 'z')) AS q", value(o, 1), where(o), draw("", "INCLUDE NULLS ")), []string{"q.id", "q.k", "q.v", "length(q.n)"}
	case "struct":
		inner := fmt.Sprintf("(SELECT id, k, {'a': %s, 'b': {'c': %s}} AS s FROM o%s) AS q", value(o, 1), value(o, 1), where(o))
		if draw("joined", "") != "" {
			return "o LEFT JOIN " + inner + " ON o.k = q.id", []string{"o.id", "o.k", "q.s.a", "q.s.b.c", "q.s['a']"}
		}
		return inner, []string{"q.id", "q.k", "q.s.a", "q.s.b.c", "s.b['c']", "struct_extract(q.s, 'a')"}
	case "list":
		return fmt.Sprintf("(SELECT k, unnest(list({'x': %s, 'y': %s}%s)) AS u FROM o%s GROUP BY k) AS q", value(o, 1), value(o, 1), draw("", " ORDER BY id"), where(o)), []string{"q.k", "q.k", "q.u.x", "q.u.y"}
	case "unnest":
		return fmt.Sprintf("o %s unnest([%s, %s]) AS u(z)%s", draw("JOIN", "LEFT JOIN"), value(o, 1), draw("1", "o.x", "o.y"), " ON true"), append(o, "u.z")
	case "lateral":
		return "o " + strings.NewReplacer("#", value([]string{"o.x", "c.v"}, 1), "$", where([]string{"c.v", "c.w"})).Replace(draw(
			"LEFT JOIN LATERAL (SELECT # AS z FROM c WHERE c.k = o.k) AS l ON true", "CROSS JOIN LATERAL (SELECT max(#) AS z FROM c$) AS l",
			"CROSS JOIN LATERAL (SELECT o.y + 1 AS z) AS l", "CROSS JOIN LATERAL (SELECT # AS z FROM c WHERE c.k = o.k) AS l", "CROSS JOIN LATERAL (SELECT # AS z FROM c WHERE c.k < o.id ORDER BY c.k LIMIT 1) AS l")), append(o, "l.z")
	case "rename":
		return fmt.Sprintf("(SELECT * %s RENAME (x AS z) FROM o%s) AS q", draw("", "EXCLUDE (y)", "EXCLUDE (id)"), where(o)), []string{"q.k", "q.k", "q.z"}
	case "range":
		return "range(3) AS r(n) " + draw("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN") + " o ON o.k = r.n", append(o, "r.n")
	case "recursive":
		return fmt.Sprintf("(WITH RECURSIVE r AS (SELECT id, k, x AS z FROM o%s UNION SELECT o.id, o.k, %s FROM o JOIN r ON o.k = r.id WHERE r.z < 9) SELECT * FROM r) AS q", where(o), draw("r.z + 1", "o.y", "r.k", "r.z")), []string{"q.id", "q.k", "q.z"}
	}
	return fmt.Sprintf("(SELECT DISTINCT ON (k) * FROM o%s ORDER BY id) AS q", where(o)), []string{"q.id", "q.k", "q.x", "q.y"}
}

// drawKeyedConstruct is drawConstruct for the tables of keyed.
func drawKeyedConstruct(draw func(...string) string) (from string, columns []string) {
	column := func() string { return draw("k", "x", "y") }
	switch draw("values", "pivot", "unpivot", "struct", "list", "unnest", "lateral", "lateral", "using", "using", "range", "recursive", "asof", "semi") {
	case "values":
		return "a " + draw("JOIN", "LEFT JOIN", "FULL JOIN") + " (VALUES (1, 2), (2, 2), (" + draw("3", "2") + ", 1)) AS v(k, l) ON a." + column() + " = v." + draw("k", "l"), []string{"a.k", "a.x", "v.k", "v.l"}
	case "pivot":
		return fmt.Sprintf("(SELECT k, x, y FROM a) PIVOT (max(%s) AS m FOR %s IN (1 AS a, 2 AS b)%s) AS q", draw("y", "k"), draw("x", "x", "y"), draw(" GROUP BY k", " GROUP BY k, x", " GROUP BY x")), []string{"q.a_m", "q.b_m"}
	case "unpivot":
		return "(SELECT k, x, y FROM a) UNPIVOT " + draw("", "INCLUDE NULLS ") + "(v FOR n IN (x" + draw(", y", "") + ")) AS q", []string{"q.k", "q.v", "ascii(q.n)", "q.k"}
	case "struct":
		return "(SELECT {'k': k, 'x': x} AS s, k FROM a) AS q", []string{"q.s.k", "q.s.x", "q.k"}
	case "list":
		return "(SELECT x, unnest(list({'k': k, 'y': y})) AS u FROM a GROUP BY x) AS q", []string{"q.u.k", "q.x", "q.u.y"}
	case "unnest":
		return "a, unnest([a." + column() + ", " + draw("1", "a.y") + "])" + draw("", " WITH ORDINALITY") + " AS u(v)", []string{"a.k", "a.x", "u.v"}
	case "lateral":
		return "a " + draw("LEFT JOIN LATERAL", "JOIN LATERAL") + " (SELECT " + strings.ReplaceAll(draw("max(b.x) AS z FROM b WHERE b.k = a.#", "b.l AS z FROM b WHERE b.k = a.#", "c.x AS z FROM c WHERE c.k = a.# LIMIT 1",
			"d.x AS z FROM a AS d WHERE d.k = a.#", "a.# + 1 AS z", "count(*) AS z FROM b WHERE b.k = a.# GROUP BY b.x"), "#", column()) + ") AS l ON true", []string{"a.k", "a.x", "l.z"}
	case "using":
		left, right := draw("a", "b", "c"), draw("a", "b", "c")
		join := draw("JOIN # USING (k)", "FULL JOIN # USING (k)", "RIGHT JOIN # USING (k)", "LEFT JOIN # USING (k)", "FULL JOIN # USING (k, x)", "NATURAL FULL JOIN #", "NATURAL JOIN #")
		return left + " AS s " + strings.ReplaceAll(join, "#", right+" AS r"), []string{"k", "k", "s.k", "r.k", "s.x", "r.x"}
	case "range":
		return "range(4) AS r(n) " + draw("JOIN", "LEFT JOIN") + " a ON a." + column() + " = r.n", []string{"r.n", "a.k", "a.x"}
	case "recursive":
		return "(WITH RECURSIVE r AS (SELECT k, x, 0 AS n FROM a " + draw("UNION ALL", "UNION") + " SELECT " + draw("k, x, n + 1 FROM r WHERE n < 1", "a.k, a.x, n + 1 FROM a JOIN r ON a.k = r.x WHERE n < 2") + ") SELECT * FROM r) AS q", []string{"q.k", "q.x", "q.n"}
	case "asof":
		return "a ASOF " + draw("", "LEFT") + " JOIN b " + draw("ON a.k = b.k AND a.x >= b.l", "USING (k, x)"), []string{"a.k", "a.x", "b.l"}
	}
	return "a " + draw("SEMI", "ANTI") + " JOIN b " + draw("USING (k)", "ON a.x = b.l"), []string{"a.k", "a.x"}
}

// drawMade draws a query over o with a row for each of its rows, whose values go through
// structs, lists, pivots and the like.
func drawMade(draw func(...string) string, value, item func(string) string) string {
	fill := func(query string) string {
		for strings.Contains(query, "#") {
			query = strings.Replace(query, "#", value("o"), 1)
		}
		return strings.ReplaceAll(query, "@", item("o"))
	}
	return fill(draw(
		"SELECT q.id, q.s.a AS c1, q.s.b.c AS c2 FROM (SELECT id, {'a': @, 'b': {'c': #}} AS s FROM o) AS q",
		"SELECT id, s.* FROM (SELECT id, {'a': #, 'b': #} AS s FROM o)",
		"SELECT id, unnest({'a': #, 'b': @}) FROM o",
		"SELECT id, max({'a': #, 'b': #}).a AS c1, arg_max({'b': #}, #).b AS c2 FROM o GROUP BY id",
		"SELECT o.id, max({'a': p.x, 'b': p.y}).b AS c1, list({'a': p.x, 'b': p.y} ORDER BY p.y)[1].a AS c2 FROM o JOIN o AS p ON o.g = p.g AND p.t < o.t GROUP BY o.id",
		"SELECT u.id, u.a AS c1, u.b AS c2 FROM (SELECT unnest(list({'id': id, 'a': #, 'b': #} ORDER BY t)) AS u FROM o GROUP BY g)",
		"SELECT unnest(list(id ORDER BY t)) AS id, unnest(list(# ORDER BY t)) AS c1, unnest(list(# ORDER BY t DESC, id)) AS c2 FROM o GROUP BY g",
		"SELECT unnest(list(id ORDER BY t)) AS id, unnest(list_sort(list(# ORDER BY t))) AS c1, unnest(list_reverse(list(# ORDER BY t))) AS c2 FROM o GROUP BY g",
		"SELECT u.id, v.a AS c1, u.a AS c2 FROM (SELECT list({'id': id, 'a': #} ORDER BY t) AS l FROM o) AS q, unnest(q.l) AS t(u), unnest(q.l) AS s(v) WHERE v.id = u.id + 1",
		"SELECT id, list_transform([#, #], lambda v: v + #)[1] AS c1, list_sum(list_filter([#, #], lambda v: v > y)) AS c2 FROM o",
		"SELECT id, list_filter([{'a': x, 'b': t}, {'a': y, 'b': g}], lambda v: v.a > 2)[1].b AS c1, list_transform([{'a': x, 'b': t}], lambda v: v.b)[1] AS c2 FROM o",
		"SELECT o.id, u.z AS c1, w.z AS c2 FROM o, unnest([#]) AS u(z), unnest([#]) AS w(z)",
		"SELECT o.id, l.c1, l.c2 FROM o, LATERAL (SELECT # AS c1, y AS c2) AS l",
		"SELECT o.id, l.c1, l.c2 FROM o LEFT JOIN LATERAL (SELECT p.x AS c1, o.y + p.y AS c2 FROM o AS p WHERE p.id = o.id - 1) AS l ON true",
		"SELECT o.id, l.c1 FROM o, LATERAL (SELECT max(p.x + o.y) AS c1 FROM o AS p WHERE p.g = o.g AND p.t < o.t) AS l",
		"SELECT id, a.x + b.y AS c1, coalesce(b.x, 0) AS c2 FROM o AS a FULL JOIN o AS b USING (id)",
		"SELECT id, c1, c2 FROM (SELECT id, # AS c1 FROM o) NATURAL FULL JOIN (SELECT id, @ AS c2 FROM o)",
		"SELECT id, c1, c2 FROM (SELECT id, g, @ AS v FROM o) PIVOT (max(v) FOR g IN (0 AS c1, 1 AS c2))",
		"SELECT id, c1_m, c1_s FROM (SELECT id, g, x, y FROM o) PIVOT (max(x) AS m, sum(y) AS s FOR g IN (0 AS c1) GROUP BY id)",
		"SELECT id, v AS c1, y AS c2 FROM (SELECT id, @ AS v1, y FROM o) UNPIVOT INCLUDE NULLS (v FOR n IN (v1))",
		"SELECT id, a AS c1, b AS c2 FROM (SELECT id, x, y FROM o) UNPIVOT INCLUDE NULLS ((a, b) FOR n IN ((y, x)))",
		"WITH RECURSIVE r AS (SELECT id, x AS c1, y AS c2, 0 AS n FROM o UNION ALL SELECT id, c2, c1 + 1, n + 1 FROM r WHERE n < 2) SELECT id, c1, c2 FROM r WHERE n = 2",
		"WITH RECURSIVE r AS (SELECT id, x AS c1, y AS c2, 0 AS c3 FROM o WHERE id = 0 UNION ALL SELECT o.id, r.c2, #, r.c1 FROM o JOIN r ON o.id = r.id + 1) SELECT id, c1, c2, c3 FROM r",
		"SELECT id, COLUMNS('^[xy]$') + 1 FROM o",
		"SELECT id, lag(COLUMNS(* EXCLUDE (id, g, t))) OVER (ORDER BY t) FROM o",
		"SELECT * EXCLUDE (g, t) REPLACE (@ AS y) RENAME (x AS z) FROM o",
		"SELECT id, greatest(*COLUMNS(['x', 'y'])) AS c1 FROM o",
		"SELECT o.id, x * v.f AS c1, v.f AS c2 FROM o LEFT JOIN (VALUES (0, 2), (1, 3)) AS v(g, f) USING (g)",
		"SELECT o.id, l.z AS c1 FROM o, LATERAL (VALUES (# + 1)) AS l(z)",
		"SELECT o.id, list_sum((SELECT list(p.x ORDER BY p.t) FROM o AS p WHERE p.t < o.t)) AS c1 FROM o",
		"SELECT id, y AS c1, sum(x) AS c2 FROM o GROUP BY GROUPING SETS ((id, y))",
	))
}
