package compiler_test

import (
	"fmt"
	"strings"
	"testing"
)

// Every query that repeats its key has a sound twin. o has the key id, i the key order and
// line, c the key id, p the key item and since, and raw has no key.
func TestKeys(t *testing.T) {
	const (
		join = `"id" is not unique in features.f: a join can duplicate its rows`
	)
	not := func(reason string) string { return `"id" is not unique in features.f: ` + reason }
	for name, tt := range map[string]struct{ query, want string }{
		"the key itself":                          {"SELECT id FROM o", ""},
		"the key under another name":              {"SELECT o.id FROM (SELECT id FROM o) AS o", ""},
		"a column that is no key":                 {"SELECT customer AS id FROM o", not("o has many rows per customer")},
		"half of a key":                           {"SELECT i.order AS id FROM i", not("i has many rows per order")},
		"half of a key, the other constant":       {"SELECT i.order AS id FROM i WHERE line = 1", ""},
		"half of a key, a flag":                   {"SELECT i.order AS id FROM i WHERE gift", ""},
		"a join that repeats":                     {"SELECT o.id FROM o JOIN i ON i.order = o.id", join},
		"a join on a key":                         {"SELECT o.id FROM o JOIN c ON c.id = o.customer", ""},
		"a left join that repeats":                {"SELECT o.id FROM o LEFT JOIN i ON i.order = o.id", join},
		"a left join on a key":                    {"SELECT o.id FROM o LEFT JOIN c ON c.id = o.customer", ""},
		"a right join that repeats":               {"SELECT o.id FROM i RIGHT JOIN o ON i.order = o.id", join},
		"a right join on a key":                   {"SELECT o.id FROM c RIGHT JOIN o ON c.id = o.customer", ""},
		"a full join on a key":                    {"SELECT id FROM o FULL JOIN (SELECT id FROM c) AS d USING (id)", ""},
		"a join in WHERE that repeats":            {"SELECT o.id FROM o, i WHERE i.order = o.id", join},
		"a join in WHERE on a key":                {"SELECT o.id FROM o, c WHERE c.id = o.customer", ""},
		"a join on the whole key":                 {"SELECT o.id FROM o JOIN i ON i.order = o.id AND i.line = o.customer", ""},
		"a join on a constant part of the key":    {"SELECT o.id FROM o JOIN i ON i.order = o.id AND i.line = 1", ""},
		"a join with a flag":                      {"SELECT o.id FROM o JOIN i ON i.order = o.id AND i.gift", ""},
		"a join that compares a flag":             {"SELECT o.id FROM o JOIN i ON i.order = o.id AND i.gift = true", ""},
		"a join on a period":                      {"SELECT o.id FROM o JOIN p ON p.item = o.customer AND p.since <= o.placed", ""},
		"a join of the latest":                    {"SELECT o.id FROM o JOIN p ON p.item = o.customer AND p.since = (SELECT max(q.since) FROM p AS q WHERE q.item = o.customer)", ""},
		"an ASOF join":                            {"SELECT o.id FROM o ASOF JOIN p ON p.item = o.customer AND o.placed >= p.since", ""},
		"an ASOF join, and one that repeats":      {"SELECT o.id FROM o ASOF JOIN p ON p.item = o.customer AND o.placed >= p.since JOIN i ON i.order = o.id", join},
		"all pairs":                               {"SELECT o.id FROM o CROSS JOIN i", join},
		"with a single row":                       {"SELECT o.id FROM o CROSS JOIN (SELECT max(line) AS m FROM i) AS i", ""},
		"with one row by LIMIT":                   {"SELECT o.id FROM o CROSS JOIN (SELECT line FROM i ORDER BY i.order, line LIMIT 1) AS i", ""},
		"a semi join":                             {"SELECT o.id FROM o SEMI JOIN i ON i.order = o.id", ""},
		"an anti join":                            {"SELECT o.id FROM o ANTI JOIN i ON i.order = o.id", ""},
		"an order with items":                     {"SELECT o.id FROM o WHERE id IN (SELECT i.order FROM i)", ""},
		"a filter, and a join that repeats":       {"SELECT o.id FROM o JOIN i ON i.order = o.id WHERE o.customer > 3", join},
		"a filter on what repeats":                {"SELECT o.id FROM o JOIN i ON i.order = o.id WHERE i.line > 3", ""},
		"aggregated before the join":              {"SELECT o.id FROM o JOIN (SELECT i.order, sum(line) AS n FROM i GROUP BY ALL) AS i ON i.order = o.id", ""},
		"aggregated too finely before the join":   {"SELECT o.id FROM o JOIN (SELECT i.order, line, max(gift) AS g FROM i GROUP BY ALL) AS i ON i.order = o.id", not("GROUP BY makes a row for each order, line")},
		"aggregated after the join":               {"SELECT o.id FROM o JOIN i ON i.order = o.id GROUP BY o.id", ""},
		"aggregated by a column of the key's row": {"SELECT o.id FROM o JOIN i ON i.order = o.id GROUP BY o.id, o.customer", ""},
		"grouped too finely":                      {"SELECT o.id FROM o JOIN i ON i.order = o.id GROUP BY o.id, line", not("GROUP BY makes a row for each id, line")},
		"grouped too finely, without a key":       {"SELECT id FROM raw GROUP BY id, kind", not("GROUP BY makes a row for each id, kind")},
		"grouped by the key, without a key":       {"SELECT id FROM raw GROUP BY id", ""},
		"grouped too finely by GROUP BY ALL":      {"SELECT id FROM (SELECT customer AS id, id % 2 AS odd, count(*) AS n FROM o GROUP BY ALL)", not("GROUP BY makes a row for each id, odd")},
		"grouped by position":                     {"SELECT customer AS id FROM o GROUP BY 1", ""},
		"grouped by an alias":                     {"SELECT id FROM (SELECT customer AS id, id + 1 AS next FROM o GROUP BY customer, next)", not("GROUP BY makes a row for each customer, next")},
		"grouped by an expression":                {"SELECT o.customer + 1 AS id FROM o GROUP BY o.customer + 1", ""},
		"UNPIVOT":                                 {"SELECT id FROM (SELECT id, customer, customer AS other FROM o) UNPIVOT (x FOR name IN (customer, other))", not("UNPIVOT makes several rows of one")},
		"UNPIVOT of one column":                   {"SELECT id FROM (SELECT id, customer FROM o) UNPIVOT (x FOR name IN (customer))", ""},
		"PIVOT":                                   {"SELECT id FROM (SELECT id, customer FROM o) PIVOT (count(*) FOR customer IN (1, 2))", ""},
		"PIVOT by another column":                 {"SELECT id FROM (SELECT customer AS id, placed, 1 AS one FROM o) PIVOT (count(*) FOR one IN (1))", not("PIVOT makes a row for each id, placed")},
		"a full join with USING that repeats":     {"SELECT id FROM o FULL JOIN (SELECT i.order AS id FROM i) AS d USING (id)", join},
		"a lateral subquery":                      {"SELECT o.id FROM o, LATERAL (SELECT max(line) AS m FROM i WHERE i.order = o.id) AS l", ""},
		"a lateral subquery of a key":             {"SELECT o.id FROM o LEFT JOIN LATERAL (SELECT c.id FROM c WHERE c.id = o.customer) AS l ON true", ""},
		"rolled up":                               {"SELECT coalesce(customer, 0) AS id FROM o GROUP BY ROLLUP (customer)", ""},
		"all rows aggregated":                     {"SELECT coalesce(max(id), 0) AS id FROM o", ""},
		"the last of each group":                  {"SELECT max(id) AS id FROM o GROUP BY customer", ""},
		"DISTINCT":                                {"SELECT DISTINCT customer AS id FROM o", ""},
		"DISTINCT after a join that repeats":      {"SELECT DISTINCT o.id FROM o JOIN i ON i.order = o.id", ""},
		"DISTINCT with another column":            {"SELECT id FROM (SELECT DISTINCT customer AS id, placed FROM o)", not("DISTINCT keeps rows that differ in placed")},
		"DISTINCT ON":                             {"SELECT DISTINCT ON (customer) customer AS id FROM o ORDER BY customer, placed, o.id", ""},
		"DISTINCT ON too much":                    {"SELECT DISTINCT ON (customer, placed) customer AS id FROM o ORDER BY customer, placed, o.id", not("DISTINCT keeps rows that differ in placed")},
		"QUALIFY":                                 {"SELECT i.order AS id FROM i QUALIFY row_number() OVER (PARTITION BY i.order ORDER BY line) = 1", ""},
		"one of each of a period":                 {"SELECT item AS id FROM p WHERE since >= '2024-01-01' QUALIFY row_number() OVER (PARTITION BY item ORDER BY since DESC) = 1", ""},
		"one of too many of a period":             {"SELECT i.order AS id FROM i WHERE line >= 3 QUALIFY row_number() OVER (PARTITION BY i.order, gift ORDER BY line) = 1", not("i has many rows per order")},
		"one of too many, by a number":            {"SELECT id FROM (SELECT i.order AS id, row_number() OVER (PARTITION BY i.order, gift ORDER BY line) AS n FROM i WHERE line BETWEEN 3 AND 9) WHERE n = 1", not("i has many rows per order")},
		"one of each line of a flag":              {"SELECT i.order AS id FROM i WHERE line >= 3 AND gift QUALIFY row_number() OVER (PARTITION BY i.order, gift ORDER BY line) = 1", ""},
		"one of each, in another order":           {"SELECT i.order AS id FROM i WHERE line >= 3 QUALIFY row_number() OVER (PARTITION BY i.order, gift ORDER BY gift) = 1", ""},
		"one of too many, of some orders":         {"SELECT i.order AS id FROM i WHERE line >= 3 QUALIFY row_number() OVER (PARTITION BY i.order, gift ORDER BY line) = 1 AND i.order % 2 = 0", not("i has many rows per order")},
		"a number of the row":                     {"SELECT id FROM (SELECT i.order AS id, row_number() OVER (PARTITION BY i.order ORDER BY line) AS n FROM i) WHERE n = 1", ""},
		"the first two":                           {"SELECT i.order AS id FROM i QUALIFY row_number() OVER (PARTITION BY i.order ORDER BY line) <= 2", ""},
		"one of each, before a join that repeats": {"SELECT o.id FROM (SELECT id FROM raw QUALIFY row_number() OVER (PARTITION BY id ORDER BY kind) = 1) AS o JOIN i ON i.order = o.id", join},
		"one of each, before a join on a key":     {"SELECT o.id FROM (SELECT id FROM raw QUALIFY row_number() OVER (PARTITION BY id ORDER BY kind) = 1) AS o JOIN c ON c.id = o.id", ""},
		"all rows numbered":                       {"SELECT row_number() OVER (ORDER BY i.order, line) AS id FROM i", ""},
		"numbered before a join that repeats":     {"SELECT n.id FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM o) AS n JOIN i ON i.order = n.id", join},
		"a computed key":                          {"SELECT i.order * 100 + line AS id FROM i", ""},
		"a computed key of half of a key":         {"SELECT i.order * 100 AS id FROM i", not("i has many rows per order")},
		"both tables":                             {"SELECT id FROM o UNION ALL SELECT id FROM c", not("the parts of a UNION can have the same id")},
		"both tables, each row once":              {"SELECT id FROM o UNION SELECT id FROM c", ""},
		"both tables, apart":                      {"SELECT id FROM o WHERE id < 5 UNION ALL SELECT id FROM c WHERE id >= 5", ""},
		"both tables, one changed":                {"SELECT id FROM o UNION ALL SELECT -id FROM c", ""},
		"the rows of one table only":              {"SELECT id FROM o EXCEPT SELECT id FROM c", ""},
		"the rows of both":                        {"SELECT id FROM o INTERSECT SELECT id FROM c", ""},
		"UNNEST":                                  {"SELECT id FROM (SELECT id, unnest([customer, 1]) AS u FROM o)", not("UNNEST makes several rows of one")},
		"UNNEST of one":                           {"SELECT id FROM (SELECT id, unnest([customer]) AS u FROM o)", ""},
		"UNNEST in FROM":                          {"SELECT o.id FROM o, unnest([o.customer, 1]) AS u(x)", not("UNNEST makes several rows of one")},
		"UNNEST, aggregated":                      {"SELECT id FROM (SELECT id, unnest([customer, 1]) AS u FROM o) GROUP BY id", ""},
		"UNNEST of the key":                       {"SELECT unnest([id, -id]) AS id FROM o", ""},
		"a table without a key":                   {"SELECT id FROM raw", ""},
		"a join with a table without a key":       {"SELECT o.id FROM o JOIN raw ON raw.id = o.id", ""},
		"a table without a key, and one repeats":  {"SELECT o.id FROM o JOIN raw ON raw.id = o.id JOIN i ON i.order = raw.id", join},
		"a CTE that repeats":                      {"WITH q AS (SELECT o.id, i.line FROM o JOIN i ON i.order = o.id) SELECT id FROM q", join},
		"a CTE that is aggregated":                {"WITH q AS (SELECT o.id, i.line FROM o JOIN i ON i.order = o.id) SELECT id FROM q GROUP BY id", ""},
		"a join with itself":                      {"SELECT o.id FROM o JOIN o AS b ON b.customer = o.customer", join},
		"a join with itself on the key":           {"SELECT o.id FROM o JOIN o AS b ON b.id = o.id", ""},
		"a chain of keys":                         {"SELECT i.order AS id FROM i JOIN o ON o.id = i.order JOIN c ON c.id = o.customer WHERE i.line = 2", ""},
		"a scalar subquery":                       {"SELECT o.id, FROM o WHERE o.customer = (SELECT max(id) FROM c)", ""},
		"a lateral join of one":                   {"SELECT o.id FROM o, LATERAL (SELECT line FROM i WHERE i.order = o.id ORDER BY line LIMIT 1) AS l", ""},
		"orders with one item":                    {"SELECT i.order AS id FROM i JOIN (SELECT j.order FROM i AS j GROUP BY ALL HAVING count(*) = 1) AS s ON s.order = i.order", ""},
		"one item, in a column":                   {"SELECT i.order AS id FROM i JOIN (SELECT j.order, count(*) > 1 AS many FROM i AS j GROUP BY ALL) AS s ON s.order = i.order WHERE NOT s.many", ""},
		"a pivot":                                 {"SELECT id FROM (FROM o PIVOT (count(*) FOR customer IN (1, 2) GROUP BY id))", ""},
		"a recursive query":                       {"WITH RECURSIVE r(id) AS (SELECT 1::BIGINT UNION ALL SELECT id + 1 FROM r WHERE id < 9) SELECT r.id FROM r WHERE r.id IN (SELECT o.id FROM o)", ""},
		"rows in the query":                       {"SELECT v.id FROM (VALUES (1::BIGINT), (2)) AS v(id) WHERE v.id IN (SELECT o.id FROM o)", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": keyed(tt.query, `keys: ["id"]`)}, tt.want)
		})
	}
}

// What the declaration says about the result.
func TestDeclaredKeys(t *testing.T) {
	const query = "SELECT o.id FROM o JOIN i ON i.order = o.id"
	const join = `"id" is not unique in features.f: a join can duplicate its rows`
	for name, tt := range map[string]struct{ query, fields, want string }{
		"a key":                 {query, `keys: ["id"]`, join},
		"no key":                {query, ``, ""},
		"a unique column":       {query, `schema: id: unique: true`, join},
		"a key that is trusted": {query, `keys: ["id"], trust: ["id"]`, ""},
		"another is trusted":    {"SELECT o.id, o.customer FROM o JOIN i ON i.order = o.id", `keys: ["id"], trust: ["customer"], schema: customer: col.#Int64`, join},
		"a key and unique":      {query, `keys: ["id"], schema: id: unique: true`, join},
		"a wider key":           {"SELECT o.id, i.line FROM o JOIN i ON i.order = o.id", `keys: ["id", "line"], schema: line: col.#Int64`, ""},
		"a wider key that repeats": {"SELECT o.id, o.customer FROM o JOIN i ON i.order = o.id", `keys: ["id", "customer"], schema: customer: col.#Int64`,
			`"id" and "customer" together are not unique in features.f: a join can duplicate its rows`},
		"half of a wider key is trusted": {"SELECT o.id, o.customer FROM o JOIN i ON i.order = o.id", `keys: ["id", "customer"], trust: ["id"], schema: customer: col.#Int64`,
			`"id" and "customer" together are not unique in features.f: a join can duplicate its rows`},
		"parts of a union with a name of their own": {"SELECT 'o' AS part, id FROM o UNION ALL SELECT 'c' AS part, id FROM c", `keys: ["part", "id"], schema: part: col.#String`, ""},
		"a part of a union that repeats by itself": {"SELECT customer AS id, placed FROM o UNION ALL SELECT id, placed FROM o", `keys: ["id"], schema: placed: col.#Timestamp`,
			`"id" is not unique in features.f: o has many rows per customer`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": keyed(tt.query, tt.fields)}, tt.want)
		})
	}
}

// Keys are known through other features.
func TestKeysThroughFeatures(t *testing.T) {
	const join = `"id" is not unique in features.f: a join can duplicate its rows`
	for name, tt := range map[string]struct{ inner, keys, want string }{
		"an aggregate":                       {"SELECT i.order, max(line) AS line FROM i GROUP BY ALL", ``, ""},
		"an aggregate that is too fine":      {"SELECT i.order, line FROM i GROUP BY ALL", ``, join},
		"a declared key":                     {"SELECT i.order, line FROM i WHERE gift", `keys: ["order"]`, ""},
		"a filter on a flag":                 {"SELECT i.order, line FROM i WHERE gift", `keys: ["order", "line"]`, ""},
		"no filter":                          {"SELECT i.order, line FROM i", `keys: ["order", "line"]`, join},
		"no filter, and no declared key":     {"SELECT i.order, line FROM i", ``, join},
		"of a table without a key":           {"SELECT id AS order, kind AS line FROM raw", ``, ""},
		"of a table without a key, with one": {"SELECT id AS order, kind AS line FROM raw", `keys: ["order", "line"]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inner := fmt.Sprintf(`
features: g: feature.#SQL & {
	in: {%s}
	sql: %q
	schema: {order: col.#Int64, line: col.#Int64}
	%s
}
`, inputsOf(tt.inner), strings.ReplaceAll(tt.inner, "AS order", `AS "order"`), tt.keys)
			text := keyed("SELECT o.id FROM o JOIN g ON g.order = o.id", `keys: ["id"], in: g: features.g.out`)
			refuses(t, map[string]string{"shop.cue": text + inner}, tt.want)
		})
	}
}

// keyed returns a system with a feature f of that query.
func keyed(query, fields string) string {
	return fmt.Sprintf(tables, inputsOf(query), query, fields)
}

// inputsOf returns the inputs that a query reads.
func inputsOf(query string) string {
	var in []string
	for _, name := range []string{"o", "i", "c", "p", "raw"} {
		for _, word := range strings.FieldsFunc(query, func(r rune) bool { return strings.ContainsRune(" ,()", r) }) {
			if word == name {
				in = append(in, fmt.Sprintf("%s: sources.%[1]s.out", name))
				break
			}
		}
	}
	if len(in) == 0 {
		in = append(in, "o: sources.o.out")
	}
	return strings.Join(in, ", ")
}

const tables = `package shop

import (
	"tenon.dev/col"
	"tenon.dev/feature"
	"tenon.dev/source"
	"tenon.dev/tenon"
)

tenon.#System
name: "shop"

sources: {
	o: source.#CSV & {path: "o.csv", schema: {id: col.#Int64, customer: col.#Int64, placed: col.#Timestamp}, keys: ["id"]}
	i: source.#CSV & {path: "i.csv", schema: {order: col.#Int64, line: col.#Int64, gift: col.#Bool}, keys: ["order", "line"]}
	c: source.#CSV & {path: "c.csv", schema: {id: col.#Int64 & {unique: true}, city: col.#String}}
	p: source.#CSV & {path: "p.csv", schema: {item: col.#Int64, since: col.#Timestamp, price: col.#Float64}, keys: ["item", "since"]}
	raw: source.#CSV & {path: "raw.csv", schema: {id: col.#Int64, kind: col.#Int64}}
}

features: f: feature.#SQL & {
	in: {%s}
	sql: """
		%s
		"""
	schema: id: col.#Int64
	%s
}
`
