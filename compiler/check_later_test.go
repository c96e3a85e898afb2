package compiler_test

import (
	"fmt"
	"strings"
	"testing"
)

// A join or a subquery may select rows that come later than the row itself. Each has a sound
// twin.
func TestLaterRows(t *testing.T) {
	const later = "models.m learns from later rows"
	const calls = `SELECT l.id, l.t, count(c.id) AS n, l.won FROM l LEFT JOIN c ON c.lead = l.id AND `
	const groups = ` GROUP BY l.id, l.t, l.won`
	const first = `SELECT id, t, won, coalesce((SELECT max(c.x) FROM c WHERE c.lead = l.id AND `
	for name, tt := range map[string]struct{ query, want string }{
		"up to two weeks later":             {calls + `c.t <= l.t + INTERVAL 14 DAY` + groups, later},
		"up to two weeks later, as text":    {calls + `c.t < l.t + INTERVAL '2 weeks'` + groups, later},
		"up to two weeks earlier":           {calls + `c.t <= l.t - INTERVAL 14 DAY` + groups, ""},
		"up to the row":                     {calls + `c.t <= l.t` + groups, ""},
		"before the row":                    {calls + `c.t < l.t` + groups, ""},
		"the row is later":                  {calls + `l.t > c.t` + groups, ""},
		"the row is earlier":                {calls + `l.t < c.t` + groups, later},
		"at the same time":                  {calls + `l.t = c.t` + groups, ""},
		"between":                           {calls + `c.t BETWEEN l.t AND l.t + INTERVAL 7 DAY` + groups, later},
		"between, before":                   {calls + `c.t BETWEEN l.t - INTERVAL 7 DAY AND l.t` + groups, ""},
		"shifted to the other side":         {calls + `c.t - INTERVAL 7 DAY < l.t` + groups, later},
		"shifted back on the other side":    {calls + `c.t + INTERVAL 7 DAY < l.t` + groups, ""},
		"without a time":                    {calls + `c.x > 3` + groups, ""},
		"two conditions, one of which ends": {calls + `c.t <= l.t + INTERVAL 14 DAY AND c.t <= l.t` + groups, ""},
		"planned for later":                 {calls + `c.due <= l.t + INTERVAL 14 DAY` + groups, ""},
		"a subquery":                        {first + `c.t > l.t), 0) AS n FROM l`, later},
		"a subquery of earlier rows":        {first + `c.t < l.t), 0) AS n FROM l`, ""},
		"whether there will be one":         {`SELECT id, t, won, CASE WHEN EXISTS (SELECT 1 FROM c WHERE c.lead = l.id AND c.t > l.t) THEN 1::BIGINT ELSE 0 END AS n FROM l`, later},
		"whether there was one":             {`SELECT id, t, won, CASE WHEN EXISTS (SELECT 1 FROM c WHERE c.lead = l.id AND c.t < l.t) THEN 1::BIGINT ELSE 0 END AS n FROM l`, ""},
		"the nearest later row":             {`SELECT l.id, l.t, coalesce(c.x, 0) AS n, l.won FROM l ASOF LEFT JOIN c ON c.lead = l.id AND l.t <= c.t`, later},
		"the nearest earlier row":           {`SELECT l.id, l.t, coalesce(c.x, 0) AS n, l.won FROM l ASOF LEFT JOIN c ON c.lead = l.id AND l.t >= c.t`, ""},
		"through a CTE":                     {`WITH n AS (SELECT l.id, count(c.x) AS n FROM l JOIN c ON c.lead = l.id WHERE c.t > l.t GROUP BY l.id) SELECT l.id, l.t, coalesce(n.n, 0) AS n, won FROM l LEFT JOIN n USING (id)`, later},
		"through a CTE of earlier rows":     {`WITH n AS (SELECT l.id, count(c.x) AS n FROM l JOIN c ON c.lead = l.id WHERE c.t < l.t GROUP BY l.id) SELECT l.id, l.t, coalesce(n.n, 0) AS n, won FROM l LEFT JOIN n USING (id)`, ""},
		"the same table":                    {`SELECT l.id, l.t, count(p.id) AS n, l.won FROM l LEFT JOIN l AS p ON p.size = l.size AND p.t > l.t` + groups, later},
		"earlier rows of the same table":    {`SELECT l.id, l.t, count(p.id) AS n, l.won FROM l LEFT JOIN l AS p ON p.size = l.size AND p.t < l.t` + groups, ""},
		"the time of the result is later":   {`SELECT l.id, l.t + INTERVAL 14 DAY AS t, count(c.id) AS n, l.won FROM l LEFT JOIN c ON c.lead = l.id AND c.t <= l.t + INTERVAL 14 DAY` + groups, ""},
		"the label is of later rows":        {`SELECT l.id, l.t, l.size AS n, count(c.id) > 0 AS won FROM l LEFT JOIN c ON c.lead = l.id AND c.t > l.t GROUP BY l.id, l.t, l.size`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := "l: sources.leads.out"
			if strings.Contains(tt.query, " c ") {
				in += ", c: sources.calls.out"
			}
			refuses(t, map[string]string{"shop.cue": fmt.Sprintf(leads, in, tt.query)}, tt.want)
		})
	}
}

// A label may be whether an outer join finds a row. Each of its columns shows that, too.
func TestPresenceAsLabel(t *testing.T) {
	const own = "models.m learns from its own label"
	const rest = ` FROM l LEFT JOIN c ON c.id = l.id`
	for name, tt := range map[string]struct{ query, want string }{
		"a column of the row":                  {`SELECT l.id, l.t, coalesce(c.x, 0) AS n, c.id IS NOT NULL AS won` + rest, own},
		"a column of the row, by a CASE":       {`SELECT l.id, l.t, CASE WHEN c.x > 3 THEN 1::BIGINT ELSE 2 END AS n, CASE WHEN c.id IS NULL THEN false ELSE true END AS won` + rest, own},
		"a column of the other row":            {`SELECT l.id, l.t, l.size AS n, c.id IS NOT NULL AS won` + rest, ""},
		"a column that is null":                {`SELECT l.id, l.t, coalesce(c.x, 0) AS n, l.won` + rest, ""},
		"a row of the same table":              {`SELECT l.id, l.t, l.size AS n, k.id IS NOT NULL AS won FROM l LEFT JOIN (SELECT DISTINCT l.id FROM l JOIN c ON c.lead = l.id WHERE c.t > l.t) AS k ON k.id = l.id`, ""},
		"rows of the same table, both columns": {`SELECT l.id, l.t, coalesce(k.size, 0) AS n, k.id IS NOT NULL AS won FROM l LEFT JOIN l AS k ON k.id = l.size`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := "l: sources.leads.out"
			if strings.Contains(tt.query, " c ") {
				in += ", c: sources.calls.out"
			}
			refuses(t, map[string]string{"shop.cue": fmt.Sprintf(leads, in, tt.query)}, tt.want)
		})
	}
}

const leads = `package shop

import (
	"tenon.dev/col"
	"tenon.dev/evaluate"
	"tenon.dev/feature"
	"tenon.dev/source"
	"tenon.dev/split"
	"tenon.dev/tenon"
	"tenon.dev/train"
)

tenon.#System
name: "shop"

sources: leads: source.#CSV & {
	path: "leads.csv"
	keys: ["id"]
	timestamp: "t"
	schema: {id: col.#Int64, t: col.#Timestamp, size: col.#Int64, won: col.#Bool}
}
sources: calls: source.#CSV & {
	path: "calls.csv"
	keys: ["id"]
	timestamp: "t"
	schema: {id: col.#Int64, lead: col.#Int64, t: col.#Timestamp, due: col.#Timestamp, x: col.#Int64}
}

features: f: feature.#SQL & {
	in: {%s}
	sql: """
		%s
		"""
	keys: ["id"]
	timestamp: "t"
	schema: {id: col.#Int64, t: col.#Timestamp, n: col.#Int64, won: col.#Bool}
}

models: m: train.#SKLearn & {
	in: table: features.f.out
	label:     "won"
	test: split.#ByTime & {column: "t", after: "2024-07-01"}
	estimator: "sklearn.ensemble.HistGradientBoostingClassifier"
	evaluation: evaluate.#Classification
}
`
