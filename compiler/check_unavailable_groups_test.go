package compiler_test

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// What a caller does not have must not come back as an aggregate over the rows that belong to
// the predicted row. An aggregate over other rows is sound.
func TestUnavailableInGroups(t *testing.T) {
	const (
		taxi    = "models.m needs taxi, which is not known when deployments.api predicts"
		delay   = "models.m needs delay, which is not known when deployments.api predicts"
		own     = "models.m learns from its own label"
		shared  = "models.m is tested on rows that share values with those it learns from"
		late    = "f.gate > 15 AS late"
		byKey   = `(SELECT flight, sum(taxi) AS s, max(t) AS last FROM legs GROUP BY flight)`
		ofLegs  = `sources: legs: ["taxi"]`
		ofDelay = `sources: flights: ["delay"]`
	)
	for name, tt := range map[string]struct {
		query       string // of features.f
		unavailable string
		h           string // the query of features.h
		want        string
	}{
		"joined by ON":                       {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN ` + byKey + ` g ON f.id = g.flight`, ofLegs, "", taxi},
		"joined by the other side":           {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f LEFT JOIN ` + byKey + ` g ON g.flight = f.id`, ofLegs, "", taxi},
		"joined in WHERE":                    {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f, ` + byKey + ` g WHERE f.id = g.flight`, ofLegs, "", taxi},
		"joined by USING":                    {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT flight AS id, sum(taxi) AS s FROM legs GROUP BY 1) g USING (id)`, ofLegs, "", taxi},
		"joined by a third table":            {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT id FROM f) k ON k.id = f.id JOIN ` + byKey + ` g ON g.flight = k.id`, ofLegs, "", taxi},
		"of other legs, the next flight":     {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN ` + byKey + ` g ON f.inbound = g.flight`, ofLegs, "", ""},
		"of flights that ended before":       {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN ` + byKey + ` g ON f.id = g.flight AND g.last < f.t`, ofLegs, "", ""},
		"of flights that ended, in WHERE":    {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN ` + byKey + ` g ON f.id = g.flight WHERE g.last < f.t`, ofLegs, "", ""},
		"through a CTE":                      {`WITH g AS ` + byKey + `, k AS (SELECT flight AS id, s * 2 AS s FROM g) SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN k USING (id)`, ofLegs, "", taxi},
		"through a CTE, of legs before":      {`WITH g AS (SELECT f.id, sum(taxi) AS s FROM legs JOIN f ON legs.flight = f.id AND legs.t < f.t GROUP BY f.id) SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN g USING (id)`, ofLegs, "", ""},
		"through a CTE, of all its legs":     {`WITH g AS (SELECT f.id, sum(taxi) AS s FROM legs JOIN f ON legs.flight = f.id GROUP BY f.id) SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN g USING (id)`, ofLegs, "", taxi},
		"aggregated after the join":          {`SELECT f.id, f.t, sum(taxi) AS x, any_value(f.gate) > 15 AS late FROM f LEFT JOIN legs ON legs.flight = f.id GROUP BY f.id, f.t`, ofLegs, "", taxi},
		"aggregated after a join before":     {`SELECT f.id, f.t, sum(taxi) AS x, any_value(f.gate) > 15 AS late FROM f LEFT JOIN legs ON legs.flight = f.id AND legs.t < f.t GROUP BY f.id, f.t`, ofLegs, "", ""},
		"aggregated twice":                   {`SELECT f.id, f.t, x, ` + late + ` FROM f JOIN (SELECT flight, max(s) AS x FROM (SELECT flight, leg, sum(taxi) AS s FROM legs GROUP BY flight, leg) GROUP BY flight) g ON f.id = g.flight`, ofLegs, "", taxi},
		"aggregated twice, the first few":    {`SELECT f.id, f.t, x, ` + late + ` FROM f JOIN (SELECT flight, max(s) AS x FROM (SELECT flight, kind, sum(taxi) AS s FROM legs WHERE t < TIMESTAMP '2023-01-01' GROUP BY flight, kind) GROUP BY flight) g ON f.id = g.flight`, ofLegs, "", ""},
		"a correlated subquery":              {`SELECT f.id, f.t, (SELECT sum(taxi) FROM legs WHERE flight = f.id) AS x, ` + late + ` FROM f`, ofLegs, "", taxi},
		"a correlated subquery, before":      {`SELECT f.id, f.t, (SELECT sum(taxi) FROM legs WHERE flight = f.id AND legs.t < f.t) AS x, ` + late + ` FROM f`, ofLegs, "", ""},
		"a correlated subquery of another":   {`SELECT f.id, f.t, (SELECT sum(taxi) FROM legs WHERE flight = f.inbound) AS x, ` + late + ` FROM f`, ofLegs, "", ""},
		"a lateral subquery":                 {`SELECT f.id, f.t, x, ` + late + ` FROM f, LATERAL (SELECT sum(taxi) AS x FROM legs WHERE flight = f.id) g`, ofLegs, "", taxi},
		"a lateral subquery, before":         {`SELECT f.id, f.t, x, ` + late + ` FROM f, LATERAL (SELECT sum(taxi) AS x FROM legs WHERE flight = f.id AND legs.t < f.t) g`, ofLegs, "", ""},
		"some of the legs":                   {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT flight, sum(taxi) AS s FROM legs WHERE kind = 'booked' GROUP BY flight) g ON f.id = g.flight`, ofLegs, "", ""},
		"some of the legs, by FILTER":        {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT flight, sum(taxi) FILTER (kind = 'booked') AS s FROM legs GROUP BY flight) g ON f.id = g.flight`, ofLegs, "", ""},
		"flights with several legs":          {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT flight, sum(taxi) AS s FROM legs WHERE flight > 9 GROUP BY flight HAVING count(*) > 1) g ON f.id = g.flight`, ofLegs, "", taxi},
		"another column of the legs":         {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT flight, sum(fuel) AS s, sum(taxi) AS no FROM legs GROUP BY flight) g ON f.id = g.flight`, ofLegs, "", ""},
		"the number of legs":                 {`SELECT f.id, f.t, n AS x, ` + late + ` FROM f JOIN (SELECT flight, count(*)::DOUBLE AS n FROM legs GROUP BY flight) g ON f.id = g.flight`, ofLegs, "", ""},
		"by day, of an earlier day":          {`SELECT f.id, f.t, max(s) AS x, any_value(f.gate) > 15 AS late FROM f JOIN (SELECT flight, day, sum(taxi) AS s FROM legs GROUP BY flight, day) g ON f.id = g.flight AND g.day < f.day GROUP BY f.id, f.t`, ofLegs, "", ""},
		"by day, of the same day":            {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT flight, day, sum(taxi) AS s FROM legs GROUP BY flight, day) g ON f.id = g.flight AND g.day = f.day`, ofLegs, "", taxi},
		"by a part of the key":               {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT plane, sum(taxi) AS s FROM legs GROUP BY plane) g USING (plane)`, ofLegs, "", ""},
		"a window by the key":                {`SELECT f.id, f.t, x, ` + late + ` FROM f JOIN (SELECT flight, leg, sum(taxi) OVER (PARTITION BY flight) AS x FROM legs) g ON f.id = g.flight AND leg = 1`, ofLegs, "", taxi},
		"a window by the key, before":        {`SELECT f.id, f.t, x, ` + late + ` FROM f JOIN (SELECT flight, leg, sum(taxi) OVER (PARTITION BY flight ORDER BY leg ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS x FROM legs) g ON f.id = g.flight AND leg = 1`, ofLegs, "", ""},
		"through a feature":                  {`SELECT f.id, f.t, h.x, ` + late + ` FROM f JOIN h ON h.id = f.id`, ofLegs, `SELECT flight AS id, sum(taxi) AS x FROM legs GROUP BY flight`, taxi},
		"through a feature, of another":      {`SELECT f.id, f.t, h.x, ` + late + ` FROM f JOIN h ON h.id = f.inbound`, ofLegs, `SELECT flight AS id, sum(taxi) AS x FROM legs GROUP BY flight`, ""},
		"through a feature, of old legs":     {`SELECT f.id, f.t, h.x, ` + late + ` FROM f JOIN h ON h.id = f.id`, ofLegs, `SELECT flight AS id, sum(taxi) AS x FROM legs WHERE t < TIMESTAMP '2023-01-01' GROUP BY flight`, ""},
		"joined in a feature":                {`SELECT f.id, f.t, h.x, ` + late + ` FROM f JOIN h USING (id)`, ofLegs, `SELECT f.id, g.s AS x FROM f JOIN ` + byKey + ` g ON g.flight = f.id`, taxi},
		"the same source by its key":         {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT id, sum(delay) AS s FROM f GROUP BY id) USING (id)`, ofDelay, "", delay},
		"the same source, by a subquery":     {`SELECT f.id, f.t, (SELECT max(g.delay) FROM f g WHERE g.id = f.id) AS x, ` + late + ` FROM f`, ofDelay, "", delay},
		"the same source, of another":        {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT id, sum(delay) AS s FROM f GROUP BY id) g ON g.id = f.inbound`, ofDelay, "", ""},
		"the same source, key and more":      {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT id, plane, sum(delay) AS s FROM f GROUP BY id, plane) USING (id, plane)`, ofDelay, "", delay},
		"the same source, by time and key":   {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT plane, t, avg(delay) AS s FROM f GROUP BY plane, t) USING (plane, t)`, ofDelay, "", delay},
		"the same source, an earlier time":   {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f ASOF JOIN (SELECT plane, t, avg(delay) AS s FROM f GROUP BY plane, t) g ON f.plane = g.plane AND f.t > g.t`, ofDelay, "", ""},
		"the same source, the day before":    {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT plane, day, avg(delay) AS s FROM f GROUP BY plane, day) g ON f.plane = g.plane AND g.day = f.day - 1`, ofDelay, "", ""},
		"the same source, the same day":      {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT plane, day, avg(delay) AS s FROM f GROUP BY plane, day) g ON f.plane = g.plane AND g.day = f.day`, ofDelay, "", delay},
		"the same source, days in a window":  {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT day, avg(avg(delay)) OVER (ORDER BY day ROWS BETWEEN 7 PRECEDING AND 1 PRECEDING) AS s FROM f GROUP BY day) g USING (day)`, ofDelay, "", ""},
		"the same source, the other flights": {`SELECT f.id, f.t, avg(g.delay) AS x, any_value(f.gate) > 15 AS late FROM f LEFT JOIN f g ON f.day = g.day AND g.id <> f.id GROUP BY f.id, f.t`, ofDelay, "", ""},
		"the same source, by the plane":      {`SELECT f.id, f.t, s AS x, ` + late + ` FROM f JOIN (SELECT plane, avg(delay) AS s FROM f GROUP BY plane) USING (plane)`, ofDelay, "", shared},
		// The label.
		"a sum of the label by the key":   {`SELECT f.id, f.t, s AS x, gate > 15 AS late FROM f JOIN (SELECT id, sum(gate) AS s FROM f GROUP BY id) USING (id)`, `sources: legs: ["fuel"]`, "", own},
		"a sum of another by the key":     {`SELECT f.id, f.t, s AS x, gate > 15 AS late FROM f JOIN (SELECT id, sum(delay) AS s FROM f GROUP BY id) USING (id)`, `sources: legs: ["fuel"]`, "", ""},
		"the label by a subquery":         {`SELECT f.id, f.t, (SELECT sum(g.gate) FROM f g WHERE g.id = f.id) AS x, gate > 15 AS late FROM f`, `sources: legs: ["fuel"]`, "", own},
		"the label is the same sum":       {`SELECT f.id, f.t, h.x, g.s > 15 AS late FROM f JOIN h USING (id) JOIN (SELECT flight, sum(taxi) AS s FROM legs GROUP BY flight) g ON g.flight = f.id`, `sources: legs: ["fuel"]`, `SELECT flight AS id, sum(taxi) AS x FROM legs GROUP BY flight`, own},
		"the label is another sum":        {`SELECT f.id, f.t, h.x, g.s > 15 AS late FROM f JOIN h USING (id) JOIN (SELECT flight, sum(taxi) AS s FROM legs GROUP BY flight) g ON g.flight = f.id`, `sources: legs: ["fuel"]`, `SELECT flight AS id, sum(leg)::DOUBLE AS x FROM legs GROUP BY flight`, ""},
		"the label is the sum of another": {`SELECT f.id, f.t, h.x, g.s > 15 AS late FROM f JOIN h ON h.id = f.inbound JOIN (SELECT flight, sum(taxi) AS s FROM legs GROUP BY flight) g ON g.flight = f.id`, `sources: legs: ["fuel"]`, `SELECT flight AS id, sum(taxi) AS x FROM legs GROUP BY flight`, ""},
		"the label is the sum of some":    {`SELECT f.id, f.t, h.x, g.s > 15 AS late FROM f JOIN h USING (id) JOIN (SELECT flight, sum(taxi) AS s FROM legs GROUP BY flight) g ON g.flight = f.id`, `sources: legs: ["fuel"]`, `SELECT flight AS id, sum(taxi) AS x FROM legs WHERE leg < 2 GROUP BY flight`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := cmp.Or(tt.h, "SELECT id, distance AS x FROM f")
			files := map[string]string{"shop.cue": fmt.Sprintf(legs, reads(h), h, reads(tt.query), tt.query, tt.unavailable)}
			refuses(t, files, tt.want)
		})
	}
}

// reads returns the inputs of a query.
func reads(query string) string {
	in := map[string]string{"f": "sources.flights.out", "legs": "sources.legs.out", "h": "features.h.out"}
	var all []string
	for _, name := range []string{"f", "legs", "h"} {
		if regexp.MustCompile(`(FROM|JOIN) ` + name + `\b`).MatchString(query) {
			all = append(all, name+": "+in[name])
		}
	}
	return strings.Join(all, ", ")
}

const legs = `package shop

import (
	"tenon.dev/col"
	"tenon.dev/evaluate"
	"tenon.dev/feature"
	"tenon.dev/serve"
	"tenon.dev/source"
	"tenon.dev/split"
	"tenon.dev/tenon"
	"tenon.dev/train"
)

tenon.#System
name: "legs"

sources: flights: source.#CSV & {
	path: "flights.csv"
	schema: {
		id:       col.#Int64
		inbound:  col.#Int64 & {nullable: true}
		plane:    col.#String
		t:        col.#Timestamp
		day:      col.#Date
		distance: col.#Float64
		gate:     col.#Float64
		delay:    col.#Float64
	}
	keys: ["id"]
	timestamp: "t"
}

sources: legs: source.#CSV & {
	path: "legs.csv"
	schema: {
		flight: col.#Int64
		leg:    col.#Int64
		plane:  col.#String
		kind:   col.#String
		t:      col.#Timestamp
		day:    col.#Date
		taxi:   col.#Float64
		fuel:   col.#Float64
	}
	keys: ["flight", "leg"]
	timestamp: "t"
}

features: h: feature.#SQL & {
	in: {%s}
	sql: """
		%s
		"""
	schema: {
		id: col.#Int64
		x:  col.#Float64
	}
	keys: ["id"]
}

features: f: feature.#SQL & {
	in: {%s}
	trust: ["x"]
	sql: """
		%s
		"""
	schema: {
		id:   col.#Int64
		t:    col.#Timestamp
		late: col.#Bool
		x:    col.#Float64 & {nullable: true}
	}
	keys: ["id"]
	timestamp: "t"
}

models: m: train.#SKLearn & {
	in: table: features.f.out
	label:     "late"
	estimator: "sklearn.ensemble.HistGradientBoostingClassifier"
	test: split.#ByTime & {column: "t", after: "2024-01-01"}
	evaluation: evaluate.#Classification
}

deployments: api: serve.#HTTP & {
	in: model: models.m.out
	unavailable: %s
}
`
