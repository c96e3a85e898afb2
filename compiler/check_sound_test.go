package compiler_test

import "testing"

// Queries that keep the declared bounds in ways of their own are accepted.
func TestSoundValues(t *testing.T) {
	for name, tt := range map[string]struct{ column, query string }{
		"between two bounds":                   {"#Float64 & {min: 0, max: 1}", "SELECT least(greatest(pct / 100, 0), 1) AS c FROM o"},
		"between two bounds by a CASE":         {"#Float64 & {min: 0, max: 1}", "SELECT CASE WHEN pct > 1 THEN 1 ELSE pct END AS c FROM o"},
		"what BETWEEN leaves":                  {"#Float64 & {min: 0, max: 1}", "SELECT pct AS c FROM o WHERE pct BETWEEN 0 AND 1"},
		"parts of a UNION with conditions":     {"#Float64 & {min: 0, max: 1}", "SELECT share AS c FROM o WHERE kind = 'a' UNION ALL SELECT pct FROM o WHERE kind = 'b'"},
		"a CTE with a condition":               {"#Int64 & {min: 18}", "WITH a AS (SELECT age FROM o WHERE age >= 18) SELECT age AS c FROM a"},
		"a CTE and then a condition":           {"#Int64 & {min: 18}", "WITH a AS (SELECT age AS c FROM o) SELECT c FROM a WHERE c >= 18"},
		"a rank in percent":                    {"#Float64 & {min: 0, max: 1}", "SELECT percent_rank() OVER (ORDER BY id) AS c FROM o"},
		"tenths of the rows":                   {"#Int64 & {min: 1, max: 10}", "SELECT CAST(ntile(10) OVER (ORDER BY id) AS BIGINT) AS c FROM o"},
		"scaled":                               {"#Float64 & {min: 0, max: 1}", "SELECT (age - 0) / (130 - 0) AS c FROM o"},
		"scaled around zero":                   {"#Float64 & {min: -1, max: 1}", "SELECT 2 * (age / 130) - 1 AS c FROM o"},
		"tens":                                 {"#Int64 & {min: 0, max: 13}", "SELECT age // 10 AS c FROM o"},
		"rounded to tens":                      {"#Int64 & {min: 0, max: 130}", "SELECT CAST(round(age / 10) * 10 AS BIGINT) AS c FROM o"},
		"a logarithm":                          {"#Float64 & {min: 0}", "SELECT ln(1 + age) AS c FROM o"},
		"a truth as a number":                  {"#Int64 & {min: 0, max: 1}", "SELECT CAST(age > 18 AS BIGINT) AS c FROM o"},
		"a count with FILTER":                  {"#Int64 & {min: 0}", "SELECT count(*) FILTER (kind = 'a') AS c FROM o"},
		"the share of a kind":                  {"#Float64 & {min: 0, max: 1}", "SELECT avg(CASE WHEN kind = 'a' THEN 1.0 ELSE 0.0 END) AS c FROM o"},
		"the share of a truth":                 {"#Float64 & {min: 0, max: 1}", "SELECT avg(CAST(paid AS DOUBLE)) AS c FROM o"},
		"an hour":                              {"#Int64 & {min: 0, max: 23}", "SELECT hour(t) AS c FROM o"},
		"a day of the week":                    {"#Int64 & {min: 0, max: 6}", "SELECT dayofweek(t) AS c FROM o"},
		"a day of the week from zero":          {"#Int64 & {min: 0, max: 6}", "SELECT isodow(t) - 1 AS c FROM o"},
		"whether it is a weekend":              {"#Bool", "SELECT isodow(t) IN (6, 7) AS c FROM o"},
		"a remainder":                          {"#Int64 & {min: 0, max: 6}", "SELECT age % 7 AS c FROM o"},
		"a remainder that is not negative":     {"#Int64 & {min: 0, max: 6}", "SELECT (n % 7 + 7) % 7 AS c FROM o"},
		"days after a date":                    {"#Int64 & {min: 0}", "SELECT date_diff('day', t, greatest(t, TIMESTAMP '2024-01-01')) AS c FROM o"},
		"a fallback in an outer join":          {"#Int64 & {min: 0, max: 10}", "SELECT coalesce(p.level, 0) AS c FROM o LEFT JOIN o AS p ON o.id = p.n"},
		"a declared fallback in an outer join": {"#Int64 & {min: -1, max: 9}", "SELECT coalesce(p.level, -1) AS c FROM o LEFT JOIN o AS p ON o.id = p.n"},
		"a field of a struct":                  {"#Int64 & {min: 0, max: 5}", "SELECT s.age AS c FROM (SELECT {'age': 3::BIGINT} AS s FROM o)"},
		"a lambda":                             {"#Int64 & {min: 0}", "SELECT CAST(list_sum(list_transform([age, years], lambda x: x * 2)) AS BIGINT) AS c FROM o"},
		"EXISTS":                               {"#Int64 & {min: 0, max: 65}", "SELECT age AS c FROM o WHERE EXISTS (SELECT 1 FROM o AS p WHERE p.id = o.id AND p.age < 65)"},
		"HAVING":                               {"#Int64 & {min: 0, max: 65}", "SELECT age AS c FROM o GROUP BY age HAVING age <= 65"},
		"QUALIFY":                              {"#Int64 & {min: 1, max: 3}", "SELECT row_number() OVER (ORDER BY id) AS c FROM o QUALIFY c <= 3"},
		"texts of a CASE":                      {`#String & {values: ["young", "old"]}`, "SELECT CASE WHEN age < 40 THEN 'young' ELSE 'old' END AS c FROM o"},
		"texts in capitals":                    {`#String & {values: ["A", "B", "C"]}`, "SELECT upper(kind) AS c FROM o"},
		"EXCEPT":                               {`#String & {values: ["a", "b"]}`, "SELECT kind AS c FROM o EXCEPT SELECT 'c'"},
		"IN a subquery":                        {`#String & {values: ["a", "b"]}`, "SELECT kind AS c FROM o WHERE kind IN (SELECT word FROM o AS p)"},
		"a temperature in another unit":        {`#Float64 & {unit: "F"}`, "SELECT share * 1.8 + 32 AS c FROM o"},
		"a day":                                {"#Int64", "SELECT id AS c FROM o WHERE t >= '2024-01-01' AND t < '2024-01-01'::TIMESTAMP + INTERVAL 1 DAY"},
		"a day with its end":                   {"#Int64", "SELECT id AS c FROM o WHERE day >= '2024-01-01' AND day <= '2024-01-01'"},
		"half a day":                           {"#Int64", "SELECT id AS c FROM o WHERE CAST(t AS DATE) >= '2024-01-01' AND t < '2024-01-01 12:00'"},
		"the day after":                        {"#Int64", "SELECT id AS c FROM o WHERE CAST(t AS DATE) > '2024-01-01' AND t < '2024-01-03'"},
		"the last second of a day":             {"#Int64", "SELECT id AS c FROM o WHERE CAST(t AS DATE) = '2024-01-01' AND t >= '2024-01-01 23:59:59.5'"},
		"times with offsets":                   {"#Int64", "SELECT id AS c FROM o WHERE z >= '2024-01-01 00:00:00+05' AND z < '2024-01-01 00:00:00+02'"},
		"times with a zone":                    {"#Int64", "SELECT id AS c FROM o WHERE z >= '2024-01-01 00:00:00 America/New_York' AND z < '2024-01-01 06:00'"},
		"a code of a kind":                     {"#Int64 & {min: 0, max: 3}", "SELECT CASE kind WHEN 'a' THEN 1 WHEN 'b' THEN 2 ELSE 3 END::BIGINT AS c FROM o"},
		"a difference of a column and itself":  {"#Int64 & {min: 0, max: 1}", "SELECT age - age // 2 * 2 AS c FROM o"},
		"a column that is used twice":          {"#Float64 & {min: 0, max: 1}", "SELECT share * (1 - share) * 4 AS c FROM o"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": measures(tt.query, "c: col."+tt.column)}, "")
		})
	}
}
