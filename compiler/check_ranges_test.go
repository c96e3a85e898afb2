package compiler_test

import (
	"fmt"
	"strings"
	"testing"
)

// Arithmetic that leaves the declared bounds. Every wrong query has a sound twin.
func TestRanges(t *testing.T) {
	const (
		never = "features.f.c is never what its schema declares"
		can   = "features.f.c can be %s, which its schema does not allow"
		by    = "features.f.c can be %s by %s, which its schema does not allow"
	)
	some := func(value string) string { return fmt.Sprintf(can, value) }
	arm := func(value, construct string) string { return fmt.Sprintf(by, value, construct) }
	for name, tt := range map[string]struct{ column, query, want string }{
		"a percentage as a share":                   {"#Float64 & {min: 0, max: 1}", "SELECT pct AS c FROM o", some("100")},
		"a percentage that is divided":              {"#Float64 & {min: 0, max: 1}", "SELECT pct / 100 AS c FROM o", ""},
		"a share as a percentage":                   {"#Float64 & {min: 0, max: 100}", "SELECT share * 100 AS c FROM o", ""},
		"a share times too much":                    {"#Float64 & {min: 0, max: 100}", "SELECT share * 1000 AS c FROM o", some("1000")},
		"always above the most":                     {"#Int64 & {max: 10}", "SELECT age + 11 AS c FROM o", never},
		"not always above the most":                 {"#Int64 & {max: 150}", "SELECT age + 11 AS c FROM o", ""},
		"always below the least":                    {"#Int64 & {min: 0}", "SELECT -age - 1 AS c FROM o", never},
		"a difference that may be never negative":   {"#Int64 & {min: 0, max: 130}", "SELECT age - years AS c FROM o", ""},
		"the absolute of a difference":              {"#Int64 & {min: 0, max: 130}", "SELECT abs(age - years) AS c FROM o", ""},
		"the greater of it and nothing":             {"#Int64 & {min: 0}", "SELECT greatest(age - years, 0) AS c FROM o", ""},
		"a difference of a column and itself":       {"#Int64 & {min: 0, max: 0}", "SELECT age - age AS c FROM o", ""},
		"a difference that a condition keeps":       {"#Int64 & {min: 0}", "SELECT age - 18 AS c FROM o WHERE age >= 18", ""},
		"a condition that does not keep it":         {"#Int64 & {min: 0}", "SELECT age - 20 AS c FROM o WHERE age >= 18", some("-2")},
		"a condition that is not understood":        {"#Int64 & {min: 0}", "SELECT age - years AS c FROM o WHERE upper(kind) = 'A'", ""},
		"a sum of two, one of which may be low":     {"#Int64 & {max: 130}", "SELECT age + years AS c FROM o", ""},
		"the least of two":                          {"#Int64 & {max: 130}", "SELECT least(age, years) AS c FROM o", ""},
		"twice the most":                            {"#Int64 & {max: 130}", "SELECT age * 2 AS c FROM o", some("260")},
		"half of it":                                {"#Int64 & {max: 130}", "SELECT age // 2 AS c FROM o", ""},
		"twice the most of what is left":            {"#Int64 & {max: 130}", "SELECT age * 2 AS c FROM o WHERE age <= 65", ""},
		"twice the most of a limit":                 {"#Int64 & {max: 130}", "SELECT age * 2 AS c FROM o ORDER BY id LIMIT 3", ""},
		"twice what has no bounds":                  {"#Int64 & {max: 130}", "SELECT n * 2 AS c FROM o", ""},
		"what has no bounds":                        {"#Int64 & {max: 130}", "SELECT n AS c FROM o", ""},
		"capped too high":                           {"#Int64 & {max: 100}", "SELECT least(age, 120) AS c FROM o", some("120")},
		"capped":                                    {"#Int64 & {max: 100}", "SELECT least(age, 100) AS c FROM o", ""},
		"rounded":                                   {"#Float64 & {max: 130}", "SELECT round(age / 1) AS c FROM o", ""},
		"an average":                                {"#Float64 & {min: 0, max: 1}", "SELECT avg(share) AS c FROM o GROUP BY id", ""},
		"an average of percentages":                 {"#Float64 & {min: 0, max: 1}", "SELECT avg(pct) AS c FROM o GROUP BY id", some("100")},
		"a sum has no most":                         {"#Float64 & {min: 0, max: 1}", "SELECT sum(share) AS c FROM o GROUP BY id", ""},
		"a sum is not negative":                     {"#Float64 & {max: -1}", "SELECT sum(share) AS c FROM o GROUP BY id", never},
		"a count is not negative":                   {"#Int64 & {max: -1}", "SELECT count(*) AS c FROM o GROUP BY id", never},
		"a count is what it is":                     {"#Int64 & {max: 10}", "SELECT count(*) AS c FROM o GROUP BY id", ""},
		"of HAVING":                                 {"#Float64 & {min: 0, max: 1}", "SELECT max(pct) AS c FROM o GROUP BY id HAVING max(pct) <= 1", ""},
		"a month":                                   {"#Int64 & {min: 0, max: 11}", "SELECT month(t) - 1 AS c FROM o", ""},
		"a month that is never":                     {"#Int64 & {min: 13}", "SELECT month(t) AS c FROM o", never},
		"an arm":                                    {"#Float64 & {min: 0, max: 1}", "SELECT CASE WHEN share > 0.5 THEN share * 100 ELSE share END AS c FROM o", arm("100", "an arm of its CASE")},
		"an arm that another column decides":        {"#Float64 & {min: 0, max: 1}", "SELECT CASE WHEN kind = 'a' THEN pct ELSE pct / 100 END AS c FROM o", ""},
		"rows that another column selects":          {"#Float64 & {min: 0, max: 1}", "SELECT pct AS c FROM o WHERE kind = 'a'", ""},
		"rows that another table selects":           {"#Float64 & {min: 0, max: 1}", "SELECT o.pct AS c FROM o JOIN o AS p ON o.id = p.n", ""},
		"an arm that converts":                      {"#Float64 & {min: 0, max: 1}", "SELECT CASE WHEN kind = 'a' THEN pct / 100 ELSE share END AS c FROM o", ""},
		"an arm that its condition keeps":           {"#Float64 & {min: 0, max: 1}", "SELECT CASE WHEN pct > 1 THEN pct / 100 ELSE pct END AS c FROM o", ""},
		"an arm that its condition does not keep":   {"#Float64 & {min: 0, max: 1}", "SELECT CASE WHEN pct > 2 THEN pct / 100 ELSE pct END AS c FROM o", arm("2", "an arm of its CASE")},
		"an arm that is always too large":           {"#Int64 & {max: 130}", "SELECT CASE WHEN kind = 'a' THEN age + 131 ELSE age END AS c FROM o", arm("from 131 to 261", "an arm of its CASE")},
		"an arm that is never needed":               {"#Int64 & {max: 130}", "SELECT CASE WHEN age > 130 THEN age + 131 ELSE age END AS c FROM o", ""},
		"a part of a UNION":                         {"#Float64 & {min: 0, max: 1}", "SELECT share AS c FROM o UNION ALL SELECT pct FROM o", arm("100", "a part of the UNION")},
		"a part of a UNION that converts":           {"#Float64 & {min: 0, max: 1}", "SELECT share AS c FROM o UNION ALL SELECT pct / 100 FROM o", ""},
		"a part of a UNION after a condition":       {"#Float64 & {min: 0, max: 1}", "SELECT c FROM (SELECT share AS c FROM o UNION ALL SELECT pct FROM o) WHERE c <= 1", ""},
		"a fallback":                                {"#Int64 & {min: 0, max: 9}", "SELECT coalesce(level, -1) AS c FROM o", arm("-1", "an argument of coalesce")},
		"a fallback that is declared":               {"#Int64 & {min: 0, max: 9}", "SELECT coalesce(level, 0) AS c FROM o", ""},
		"a fallback that is never needed":           {"#Int64 & {min: 0, max: 130}", "SELECT coalesce(age, -1) AS c FROM o", ""},
		"a fallback of a text":                      {`#String & {values: ["a", "b", "c"]}`, "SELECT coalesce(word, 'none') AS c FROM o", arm("none", "an argument of coalesce")},
		"a text with more values":                   {`#String & {values: ["a", "b"]}`, "SELECT kind AS c FROM o", some("'c'")},
		"a text with the values that are left":      {`#String & {values: ["a", "b"]}`, "SELECT kind AS c FROM o WHERE kind <> 'c'", ""},
		"a text with other values":                  {`#String & {values: ["x", "y"]}`, "SELECT kind AS c FROM o", never},
		"through a subquery":                        {"#Int64 & {max: 130}", "SELECT c FROM (SELECT age * 2 AS c FROM o)", some("260")},
		"through a subquery with a condition":       {"#Int64 & {max: 130}", "SELECT c FROM (SELECT age * 2 AS c FROM o) WHERE c < 130", ""},
		"a constant of a subquery with a condition": {"#Int64 & {max: 130}", "SELECT c FROM (SELECT CASE WHEN kind = 'a' THEN 999 ELSE age END AS c FROM o) WHERE c <= 130", ""},
		"a float of other digits":                   {"#Float64 & {max: 0.3}", "SELECT tenth * 3 AS c FROM o", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": measures(tt.query, "c: col."+tt.column)}, tt.want)
		})
	}
}

// Conditions that are never true because of ranges.
func TestConditions(t *testing.T) {
	const (
		apart = "a condition of features.f is never true: its two sides have no values that satisfy it"
		both  = "two conditions of features.f are never true together: they exclude all values of %s"
	)
	for name, tt := range map[string]struct{ query, want string }{
		"a sum above its most":               {"SELECT id FROM o WHERE age + years > 260", apart},
		"a sum of its most":                  {"SELECT id FROM o WHERE age + years >= 260", ""},
		"a product":                          {"SELECT id FROM o WHERE 100 * share > 100", apart},
		"a product that is not":              {"SELECT id FROM o WHERE 100 * share > 50", ""},
		"two columns":                        {"SELECT id FROM o WHERE share > age + 1", apart},
		"two columns that overlap":           {"SELECT id FROM o WHERE share > age", ""},
		"a percentage as a share":            {"SELECT id FROM o WHERE pct > 0.5", ""},
		"a share as a percentage":            {"SELECT id FROM o WHERE share > 50", "a condition of features.f is never true: no value of share satisfies it"},
		"two conditions":                     {"SELECT id FROM o WHERE age > 60 AND age < 18", fmt.Sprintf(both, "age")},
		"two conditions with OR":             {"SELECT id FROM o WHERE age > 60 OR age < 18", ""},
		"two texts":                          {"SELECT id FROM o WHERE kind = 'a' AND kind = 'b'", fmt.Sprintf(both, "kind")},
		"two texts with OR":                  {"SELECT id FROM o WHERE kind = 'a' OR kind = 'b'", ""},
		"two times":                          {"SELECT id FROM o WHERE t >= '2024-01-01' AND t < '2023-01-01'", fmt.Sprintf(both, "t")},
		"two times that leave some":          {"SELECT id FROM o WHERE t >= '2023-01-01' AND t < '2024-01-01'", ""},
		"one in a subquery":                  {"SELECT id FROM (SELECT * FROM o WHERE age < 18) WHERE age > 60", fmt.Sprintf(both, "age")},
		"one in a subquery that leaves some": {"SELECT id FROM (SELECT * FROM o WHERE age > 18) WHERE age > 60", ""},
		"computed in a subquery":             {"SELECT id FROM (SELECT id, age * 2 AS twice FROM o) WHERE twice > 300", apart},
		"an average":                         {"SELECT id FROM o GROUP BY id HAVING avg(share) > 2", apart},
		"an average that may be":             {"SELECT id FROM o GROUP BY id HAVING avg(share) > 0.5", ""},
		"no rows on purpose":                 {"SELECT id FROM o WHERE 1 = 0", ""},
		"a float that may be NaN":            {"SELECT id FROM o WHERE least(free / free, 5) > 9", ""},
		"a division by what may be zero":     {"SELECT id FROM o WHERE share / age > 1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": measures(tt.query, "id: col.#Int64")}, tt.want)
		})
	}
}

// Values in different units may be multiplied, but not added or compared.
func TestUnits(t *testing.T) {
	const mixed = "the SQL of features.f puts together km in km and mi in mi"
	for name, tt := range map[string]struct{ column, query, want string }{
		"a sum":                         {"#Float64", "SELECT km + mi AS c FROM o", mixed},
		"a sum of one unit":             {"#Float64", "SELECT km + km2 AS c FROM o", ""},
		"a sum after conversion":        {"#Float64", "SELECT km + mi * 1.609 AS c FROM o", ""},
		"a difference":                  {"#Float64", "SELECT km - mi AS c FROM o", mixed},
		"a product":                     {"#Float64", "SELECT km * mi AS c FROM o", ""},
		"a quotient":                    {"#Float64", "SELECT km / mi AS c FROM o", ""},
		"a comparison":                  {"#Float64", "SELECT km AS c FROM o WHERE km < mi", mixed},
		"a comparison with a constant":  {"#Float64", "SELECT km AS c FROM o WHERE km < 3", ""},
		"a comparison within a CASE":    {"#Int64", "SELECT CASE WHEN km < mi THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END AS c FROM o", mixed},
		"between":                       {"#Float64", "SELECT km AS c FROM o WHERE km BETWEEN mi AND 10", mixed},
		"the arms of a CASE":            {"#Float64", "SELECT CASE WHEN kind = 'a' THEN km ELSE mi END AS c FROM o", mixed},
		"arms of one unit":              {"#Float64", "SELECT CASE WHEN kind = 'a' THEN km ELSE km2 END AS c FROM o", ""},
		"an arm that is converted":      {"#Float64", "SELECT CASE WHEN kind = 'a' THEN km ELSE mi * 1.609 END AS c FROM o", ""},
		"coalesce":                      {"#Float64", "SELECT coalesce(km, mi) AS c FROM o", mixed},
		"the greatest":                  {"#Float64", "SELECT greatest(km, mi) AS c FROM o", mixed},
		"a UNION":                       {"#Float64", "SELECT km AS c FROM o UNION ALL SELECT mi FROM o", mixed},
		"a UNION of one unit":           {"#Float64", "SELECT km AS c FROM o UNION ALL SELECT km2 FROM o", ""},
		"of a subquery":                 {"#Float64", "SELECT a + b AS c FROM (SELECT km AS a, mi AS b FROM o)", mixed},
		"of averages":                   {"#Float64", "SELECT avg(km) + avg(mi) AS c FROM o GROUP BY id", mixed},
		"without a unit":                {"#Float64", "SELECT km + share AS c FROM o", ""},
		"a copy in another unit":        {`#Float64 & {unit: "mi"}`, "SELECT km AS c FROM o", "features.f.c is in km, but its schema declares mi"},
		"a copy in its unit":            {`#Float64 & {unit: "km"}`, "SELECT km AS c FROM o", ""},
		"a copy without a unit":         {"#Float64", "SELECT km AS c FROM o", ""},
		"a conversion":                  {`#Float64 & {unit: "mi"}`, "SELECT km / 1.609 AS c FROM o", ""},
		"a conversion by a sum":         {`#Float64 & {unit: "K"}`, "SELECT km + 273.15 AS c FROM o", ""},
		"an average in another unit":    {`#Float64 & {unit: "mi"}`, "SELECT avg(km) AS c FROM o GROUP BY id", "features.f.c is in km, but its schema declares mi"},
		"a count has no unit":           {`#Int64 & {unit: "trips"}`, "SELECT count(km) AS c FROM o", ""},
		"the speed":                     {`#Float64 & {unit: "km/h"}`, "SELECT km / age AS c FROM o", ""},
		"another unit in an outer join": {"#Float64", "SELECT o.km AS c FROM o LEFT JOIN o AS p ON o.km = p.mi", mixed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": measures(tt.query, "c: col."+strings.Replace(tt.column, "#Float64", "#Float64 & {nullable: true}", 1))}, tt.want)
		})
	}
}

// Texts that are no dates, and times with a zone beside those without. DuckDB reports the first
// only when it reads a row, and decides the second by the zone of its session.
func TestTimesOfQueries(t *testing.T) {
	const (
		date  = "the SQL of features.f has a text that is not a valid %s"
		zones = "the SQL of features.f puts together t (timestamp) and z (timestamptz), which depends on a time zone"
	)
	no := func(typ string) string { return fmt.Sprintf(date, typ) }
	part := func(name string) string {
		return "the SQL of features.f compares " + name + " with a value that it cannot have"
	}
	for name, tt := range map[string]struct{ query, want string }{
		"a cast":                            {"SELECT id FROM o WHERE t > CAST('2024-02-30' AS DATE)", no("DATE")},
		"a cast of a day that exists":       {"SELECT id FROM o WHERE t > CAST('2024-02-29' AS DATE)", ""},
		"an interval":                       {"SELECT id FROM o WHERE t > TIMESTAMP '2024-01-01' + INTERVAL '3 mouths'", no("INTERVAL")},
		"an interval of months":             {"SELECT id FROM o WHERE t > TIMESTAMP '2024-01-01' + INTERVAL '3 months'", ""},
		"a comparison":                      {"SELECT id FROM o WHERE t > '2024-02-30'", no("TIMESTAMP")},
		"a comparison in a subquery":        {"SELECT id FROM (SELECT id, t AS u FROM o) WHERE u > '2024-02-30'", no("TIMESTAMP")},
		"one with a day that exists":        {"SELECT id FROM (SELECT id, t AS u FROM o) WHERE u > '2024-02-29'", ""},
		"one with a text":                   {"SELECT id FROM (SELECT id, kind AS u FROM o) WHERE u > '2024-02-30'", ""},
		"in a CTE":                          {"WITH s AS (SELECT id, day AS u FROM o) SELECT id FROM s WHERE u IN ('2024-06-31', '2024-06-30')", no("DATE")},
		"a fallback":                        {"SELECT id FROM o WHERE coalesce(day, '2024-13-01') > t", no("DATE")},
		"a fallback that exists":            {"SELECT id FROM o WHERE coalesce(day, '2024-12-01') > t", ""},
		"an arm":                            {"SELECT id FROM o WHERE CASE WHEN paid THEN t ELSE '2024-02-30 10:00' END > t", no("TIMESTAMP")},
		"a day that no week has":            {"SELECT id FROM o WHERE dayofweek(t) IN (6, 7)", part("dayofweek")},
		"a day that no week has, in a CASE": {"SELECT id FROM o WHERE CASE WHEN dayofweek(t) = 7 THEN id ELSE 0 END > 0", part("dayofweek")},
		"the last day of a week":            {"SELECT id FROM o WHERE isodow(t) IN (6, 7)", ""},
		"a month that no year has":          {"SELECT id FROM o WHERE CASE WHEN extract(month FROM t) <> 13 THEN id ELSE 0 END > 0", part("date_part")},
		"an hour after the last":            {"SELECT id FROM o WHERE hour(t) BETWEEN 20 AND 24", ""},
		"a time zone":                       {"SELECT id FROM o WHERE t AT TIME ZONE 'Europe/Berln' > z", no("time zone")},
		"a time zone that exists":           {"SELECT id FROM o WHERE t AT TIME ZONE 'Europe/Berlin' > z", ""},
		"a time with a zone":                {"SELECT id FROM o WHERE t < z", zones},
		"a time with a zone that is set":    {"SELECT id FROM o WHERE t < z AT TIME ZONE 'UTC'", ""},
		"times with a zone":                 {"SELECT id FROM o WHERE z < z2", ""},
		"a time with a zone in a subquery":  {"SELECT id FROM (SELECT id, t, z FROM o) WHERE t < z", zones},
		"a difference of them":              {"SELECT id FROM o WHERE t - z > INTERVAL 1 DAY", zones},
		"a difference of times":             {"SELECT id FROM o WHERE z2 - z > INTERVAL 1 DAY", ""},
		"in a join":                         {"SELECT o.id FROM o JOIN o AS p ON o.t = p.z", zones},
		"in a join of times without a zone": {"SELECT o.id FROM o JOIN o AS p ON o.t = p.t", ""},
		"a day and a time":                  {"SELECT id FROM o WHERE day < t", ""},
		"a text for a time with a zone":     {"SELECT id FROM o WHERE z < '2024-01-01'", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": measures(tt.query, "id: col.#Int64")}, tt.want)
		})
	}
}

// What is trusted is checked in the rows only, unless it is wrong in all of them.
func TestTrustOfRanges(t *testing.T) {
	some, all := measures("SELECT age * 2 AS c FROM o", "c: col.#Int64 & {max: 130}"), measures("SELECT age + 11 AS c FROM o", "c: col.#Int64 & {max: 10}")
	refuses(t, map[string]string{"shop.cue": strings.Replace(some, "in: o:", "trust: [\"c\"]\n\tin: o:", 1)}, "")
	refuses(t, map[string]string{"shop.cue": strings.Replace(all, "in: o:", "trust: [\"c\"]\n\tin: o:", 1)}, "features.f.c is never what its schema declares")
}

func measures(query, column string) string {
	return fmt.Sprintf(`package shop

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
		id:    col.#Int64
		t:     col.#Timestamp
		z:     col.#TimestampTZ
		z2:    col.#TimestampTZ
		day:   col.#Date & {nullable: true}
		paid:  col.#Bool
		kind:  col.#String & {values: ["a", "b", "c"]}
		word:  col.#String & {nullable: true, values: ["a", "b", "c"]}
		age:   col.#Int64 & {min: 0, max: 130}
		years: col.#Int64 & {min: 0, max: 130}
		level: col.#Int64 & {nullable: true, min: 0, max: 9}
		n:     col.#Int64
		pct:   col.#Float64 & {min: 0, max: 100}
		share: col.#Float64 & {min: 0, max: 1}
		tenth: col.#Float64 & {min: 0, max: 0.1}
		free:  col.#Float64
		km:    col.#Float64 & {nullable: true, unit: "km"}
		km2:   col.#Float64 & {nullable: true, unit: "km"}
		mi:    col.#Float64 & {nullable: true, unit: "mi"}
	}
}

features: f: feature.#SQL & {
	in: o: sources.orders.out
	sql: """
		%s
		"""
	schema: %s
}
`, query, column)
}
