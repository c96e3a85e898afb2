package compiler_test

import (
	"fmt"
	"strings"
	"testing"
)

// Every wrong query has a sound twin.
func TestValues(t *testing.T) {
	const (
		noValue  = "the SQL of features.f compares status with a value that it cannot have"
		never    = "a condition of features.f is never true: no value of age satisfies it"
		withNull = "the SQL of features.f compares with NULL, which is never true"
		letters  = "the SQL of features.f compares a text in upper case with one that is not"
		gives    = "the SQL of features.f gives tier a value that its schema does not allow"
		arm      = "a CASE of features.f has a condition that never decides"
	)
	for name, tt := range map[string]struct{ query, want string }{
		"a wider condition before a narrower one": {"SELECT id, CASE WHEN age > 10 THEN 'gold' WHEN age > 100 THEN 'none' ELSE 'none' END AS tier FROM o", arm},
		"a narrower condition before a wider one": {"SELECT id, CASE WHEN age > 100 THEN 'gold' WHEN age > 10 THEN 'none' ELSE 'none' END AS tier FROM o", ""},
		"conditions that meet":                    {"SELECT id, CASE WHEN age < 10 THEN 'gold' WHEN age <= 10 THEN 'none' ELSE 'none' END AS tier FROM o", ""},
		"a condition twice":                       {"SELECT id, CASE WHEN age = 10 THEN 'gold' WHEN age = 10 THEN 'none' ELSE 'none' END AS tier FROM o", arm},
		"a value twice":                           {"SELECT id, CASE status WHEN 'open' THEN 'gold' WHEN 'open' THEN 'none' ELSE 'none' END AS tier FROM o", arm},
		"a value in a list before":                {"SELECT id, CASE WHEN status IN ('open', 'sent') THEN 'gold' WHEN status = 'open' THEN 'none' ELSE 'none' END AS tier FROM o", arm},
		"a list with a value before":              {"SELECT id, CASE WHEN status = 'open' THEN 'gold' WHEN status IN ('open', 'cancelled') THEN 'none' ELSE 'none' END AS tier FROM o", ""},
		"a narrower condition of two":             {"SELECT id, CASE WHEN age > 10 THEN 'gold' WHEN age > 100 AND status = 'open' THEN 'none' ELSE 'none' END AS tier FROM o", arm},
		"a wider condition of two":                {"SELECT id, CASE WHEN age > 10 AND status = 'open' THEN 'gold' WHEN age > 100 THEN 'none' ELSE 'none' END AS tier FROM o", ""},
		"conditions of two columns":               {"SELECT id, CASE WHEN age > 10 THEN 'gold' WHEN id > 100 THEN 'none' ELSE 'none' END AS tier FROM o", ""},
		"a range within another":                  {"SELECT id, CASE WHEN age BETWEEN 10 AND 50 THEN 'gold' WHEN age BETWEEN 20 AND 30 THEN 'none' ELSE 'none' END AS tier FROM o", arm},
		"a range around another":                  {"SELECT id, CASE WHEN age BETWEEN 20 AND 30 THEN 'gold' WHEN age BETWEEN 10 AND 50 THEN 'none' ELSE 'none' END AS tier FROM o", ""},
		"a list that excludes":                    {"SELECT id, CASE WHEN status NOT IN ('open') THEN 'gold' WHEN status = 'open' THEN 'none' ELSE 'none' END AS tier FROM o", ""},
		"a value that does not exist":             {"SELECT id FROM o WHERE status = 'canceled'", noValue},
		"a value that exists":                     {"SELECT id FROM o WHERE status = 'cancelled'", ""},
		"on the other side":                       {"SELECT id FROM o WHERE 'canceled' = status", noValue},
		"not equal to it":                         {"SELECT id FROM o WHERE status <> 'canceled'", noValue},
		"not equal to one that exists":            {"SELECT id FROM o WHERE status <> 'cancelled'", ""},
		"in a list":                               {"SELECT id FROM o WHERE status IN ('open', 'canceled')", noValue},
		"in a list that exists":                   {"SELECT id FROM o WHERE status IN ('open', 'cancelled')", ""},
		"not in a list":                           {"SELECT id FROM o WHERE status NOT IN ('canceled')", noValue},
		"in a CASE":                               {"SELECT id, CASE status WHEN 'canceled' THEN 'gold' ELSE 'none' END AS tier FROM o", noValue},
		"in a CASE that exists":                   {"SELECT id, CASE status WHEN 'cancelled' THEN 'gold' ELSE 'none' END AS tier FROM o", ""},
		"in FILTER":                               {"SELECT id, count(*) FILTER (status = 'canceled') AS n FROM o GROUP BY id", noValue},
		"in FILTER that exists":                   {"SELECT id, count(*) FILTER (status = 'cancelled') AS n FROM o GROUP BY id", ""},
		"through a subquery":                      {"SELECT id FROM (SELECT id, status AS s FROM o) WHERE s = 'canceled'", strings.Replace(noValue, "status", "s", 1)},
		"of a column that is computed":            {"SELECT id FROM (SELECT id, upper(status) AS status FROM o) WHERE status = 'CANCELED'", ""},
		"in the other case":                       {"SELECT id FROM o WHERE upper(status) = 'open'", letters},
		"in this case":                            {"SELECT id FROM o WHERE upper(status) IN ('OPEN', 'ÄRGER ß', '')", ""},
		"in the other case, through a CTE":        {"WITH x AS (SELECT id, trim(upper(status)) AS s FROM o), y AS (SELECT * FROM x) SELECT id FROM y WHERE s IN ('OPEN', 'Paid')", letters},
		"in this case, through a CTE":             {"WITH x AS (SELECT id, trim(upper(status)) AS s FROM o), y AS (SELECT * FROM x) SELECT id FROM y WHERE s IN ('OPEN', 'PAID')", ""},
		"in the other case of a union":            {"SELECT id FROM (SELECT id, upper(status) AS s FROM o UNION ALL SELECT id, status FROM o) WHERE s = 'open'", ""},
		"in the other case, replaced":             {"SELECT id FROM o WHERE replace(upper(status), 'N', 'n') = 'OPEn'", ""},
		"in a join":                               {"SELECT o.id FROM o JOIN o AS p ON o.id = p.id AND p.status = 'canceled'", noValue},
		"in a subquery of WHERE":                  {"SELECT id FROM o WHERE id IN (SELECT id FROM o AS p WHERE status = 'canceled')", noValue},
		"of the parameter of a lambda":            {"SELECT id FROM o WHERE len(list_filter(['canceled'], lambda status: status = 'canceled')) = 1", ""},
		"after a full join":                       {"SELECT id FROM (SELECT id, status FROM o) FULL JOIN (SELECT 'canceled' AS status) AS p USING (status) WHERE status = 'canceled' AND id IS NOT NULL", ""},
		"of a union":                              {"SELECT id FROM (SELECT id, status FROM o UNION ALL SELECT id, 'canceled' FROM o) WHERE status = 'canceled'", ""},
		"above the most":                          {"SELECT id FROM o WHERE age > 130", never},
		"above the most, or that":                 {"SELECT id FROM o WHERE age >= 130", ""},
		"below the least":                         {"SELECT id FROM o WHERE age < 0", never},
		"at the least":                            {"SELECT id FROM o WHERE age <= 0", ""},
		"a fraction below the least":              {"SELECT id FROM o WHERE age <= -0.5", never},
		"a fraction":                              {"SELECT id FROM o WHERE age <= 0.5", ""},
		"at least the least":                      {"SELECT id FROM o WHERE age >= 0", ""},
		"equal to what is above":                  {"SELECT id FROM o WHERE age = 200", never},
		"between what is above":                   {"SELECT id FROM o WHERE age BETWEEN 150 AND 200", never},
		"between":                                 {"SELECT id FROM o WHERE age BETWEEN 100 AND 200", ""},
		"a number on the other side":              {"SELECT id FROM o WHERE 150 < age", never},
		"a number on the other side, sound":       {"SELECT id FROM o WHERE 50 < age", ""},
		"a guard in a CASE":                       {"SELECT id, CASE WHEN age < 0 THEN 'none' ELSE 'gold' END AS tier FROM o", ""},
		"a guard with OR":                         {"SELECT id FROM o WHERE NOT (age < 0 OR age > 130)", ""},
		"equal to NULL":                           {"SELECT id FROM o WHERE status = NULL", withNull},
		"NULL":                                    {"SELECT id FROM o WHERE status IS NULL", ""},
		"distinct from NULL":                      {"SELECT id FROM o WHERE status IS DISTINCT FROM NULL", ""},
		"an arm that is not declared":             {"SELECT id, CASE WHEN age > 60 THEN 'golden' ELSE 'none' END AS tier FROM o", gives},
		"an arm that is declared":                 {"SELECT id, CASE WHEN age > 60 THEN 'gold' ELSE 'none' END AS tier FROM o", ""},
		"an arm of a CASE in a CASE":              {"SELECT id, CASE WHEN age > 60 THEN CASE WHEN age > 80 THEN 'silver' ELSE 'gold' END ELSE 'none' END AS tier FROM o", gives},
		"a constant that is not declared":         {"SELECT id, 'golden' AS tier FROM o", gives},
		"an arm through a subquery":               {"SELECT id, t AS tier FROM (SELECT id, CASE WHEN age > 60 THEN 'golden' ELSE 'none' END AS t FROM o)", gives},
		"an arm that is turned into another":      {"SELECT id, CASE t WHEN 'golden' THEN 'gold' ELSE 'none' END AS tier FROM (SELECT id, CASE WHEN age > 60 THEN 'golden' ELSE 'none' END AS t FROM o)", ""},
		"a number that is not declared":           {"SELECT id, CAST(9 AS BIGINT) AS n FROM o", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema := ""
			if strings.Contains(tt.query, "AS tier") {
				schema += "\n\t\ttier: col.#String & {values: [\"gold\", \"none\"]}"
			}
			if strings.Contains(tt.query, "AS n ") {
				schema += "\n\t\tn: col.#Int64"
			}
			refuses(t, map[string]string{"shop.cue": fmt.Sprintf(people, tt.query, schema)}, tt.want)
		})
	}
}

const people = `package shop

import (
	"tenon.dev/col"
	"tenon.dev/feature"
	"tenon.dev/source"
	"tenon.dev/tenon"
)

tenon.#System
name: "shop"

sources: orders: source.#CSV & {
	path: "orders.csv"
	schema: {
		id:     col.#Int64
		status: col.#String & {nullable: true, values: ["open", "sent", "cancelled"]}
		age:    col.#Int64 & {min: 0, max: 130}
	}
}

features: f: feature.#SQL & {
	in: o: sources.orders.out
	sql: """
		%s
		"""
	schema: {
		id: col.#Int64%s
	}
}
`
