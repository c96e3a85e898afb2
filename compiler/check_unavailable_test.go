package compiler_test

import (
	"fmt"
	"strings"
	"testing"
)

// A deployment says which columns are not known when it predicts. Every refused query has a
// sound twin of the same shape.
func TestUnavailable(t *testing.T) {
	const (
		arrival = `sources: flights: ["arr_delay"]`
		needs   = "models.m needs arr_delay, which is not known when deployments.api predicts"
		storm   = "models.m needs storm, which is not known when deployments.api predicts"
		late    = "dep_delay > 15 AS late"
	)
	for name, tt := range map[string]struct {
		query       string // of features.f
		schema      string // of its columns besides id, t and late
		unavailable string
		model       string // further fields of the model
		want        string
	}{
		"an input":                          {`SELECT id, t, arr_delay, ` + late + ` FROM flights`, `arr_delay: col.#Float64`, arrival, "", needs},
		"another column":                    {`SELECT id, t, distance, ` + late + ` FROM flights`, `distance: col.#Float64`, arrival, "", ""},
		"an excluded input":                 {`SELECT id, t, distance, arr_delay, ` + late + ` FROM flights`, `distance: col.#Float64, arr_delay: col.#Float64`, arrival, `exclude: ["arr_delay"]`, ""},
		"an input that is known":            {`SELECT id, t, arr_delay, ` + late + ` FROM flights`, `arr_delay: col.#Float64`, arrival, `known: ["arr_delay"]`, ""},
		"only the label":                    {`SELECT id, t, distance, arr_delay > 15 AS late FROM flights`, `distance: col.#Float64`, arrival, "", ""},
		"a function of it":                  {`SELECT id, t, arr_delay / distance AS x, ` + late + ` FROM flights`, `x: col.#Float64`, arrival, "", needs},
		"a CASE on it":                      {`SELECT id, t, CASE WHEN arr_delay > 60 THEN 'x' ELSE 'y' END AS x, ` + late + ` FROM flights`, `x: col.#String`, arrival, "", needs},
		"a CASE on another":                 {`SELECT id, t, CASE WHEN distance > 60 THEN 'x' ELSE 'y' END AS x, ` + late + ` FROM flights`, `x: col.#String`, arrival, "", ""},
		"only a filter":                     {`SELECT id, t, distance, ` + late + ` FROM flights WHERE arr_delay < 1000`, `distance: col.#Float64`, arrival, "", ""},
		"only the order of the rows":        {`SELECT id, t, distance, ` + late + ` FROM flights QUALIFY row_number() OVER (PARTITION BY id ORDER BY arr_delay) = 1`, `distance: col.#Float64`, arrival, "", ""},
		"of the row before":                 {`SELECT id, t, lag(arr_delay) OVER (PARTITION BY plane ORDER BY t, id) AS x, ` + late + ` FROM flights`, `x: col.#Float64 & {nullable: true}`, arrival, "", ""},
		"a running mean with the row":       {`SELECT id, t, avg(arr_delay) OVER (PARTITION BY plane ORDER BY t, id ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) AS x, ` + late + ` FROM flights`, `x: col.#Float64 & {nullable: true}`, arrival, "", needs},
		"a running mean before the row":     {`SELECT id, t, avg(arr_delay) OVER (PARTITION BY plane ORDER BY t, id ROWS BETWEEN 9 PRECEDING AND 1 PRECEDING) AS x, ` + late + ` FROM flights`, `x: col.#Float64 & {nullable: true}`, arrival, "", ""},
		"a join on the key":                 {`SELECT f.id, f.t, g.arr_delay AS x, f.dep_delay > 15 AS late FROM flights f JOIN flights g ON f.id = g.id`, `x: col.#Float64`, arrival, "", needs},
		"a join on an earlier time":         {`SELECT f.id, f.t, g.arr_delay AS x, f.dep_delay > 15 AS late FROM flights f ASOF JOIN flights g ON f.plane = g.plane AND f.t > g.t`, `x: col.#Float64`, arrival, "", ""},
		"a join on the flight before":       {`SELECT f.id, f.t, g.arr_delay AS x, f.dep_delay > 15 AS late FROM flights f JOIN flights g ON f.inbound = g.id`, `x: col.#Float64`, arrival, "", ""},
		"an earlier mean by a subquery":     {`SELECT id, t, (SELECT avg(g.arr_delay) FROM flights g WHERE g.plane = f.plane AND g.t < f.t) AS x, ` + late + ` FROM flights f`, `x: col.#Float64 & {nullable: true}`, arrival, "", ""},
		"another table by its key":          {`SELECT id, t, storm, ` + late + ` FROM flights JOIN weather USING (airport, day)`, `storm: col.#Bool`, `sources: weather: ["storm"]`, "", storm},
		"another table with ON":             {`SELECT id, t, storm, ` + late + ` FROM flights f LEFT JOIN weather w ON f.airport = w.airport AND CAST(f.t AS DATE) = w.day`, `storm: col.#Bool & {nullable: true}`, `sources: weather: ["storm"]`, "", storm},
		"another table, another column":     {`SELECT id, t, temp, ` + late + ` FROM flights JOIN weather USING (airport, day)`, `temp: col.#Float64`, `sources: weather: ["storm"]`, "", ""},
		"another table with a filter":       {`SELECT id, t, storm, ` + late + ` FROM flights JOIN weather USING (airport, day) WHERE distance > 10`, `storm: col.#Bool`, `sources: weather: ["storm"]`, "", storm},
		"another table of the day before":   {`SELECT id, t, storm, ` + late + ` FROM flights f JOIN weather w ON f.airport = w.airport AND w.day = f.day - 1`, `storm: col.#Bool`, `sources: weather: ["storm"]`, "", ""},
		"another table, computed before":    {`SELECT id, t, storm, ` + late + ` FROM (SELECT *, day - 1 AS before FROM flights) f JOIN weather w ON f.airport = w.airport AND w.day = f.before`, `storm: col.#Bool`, `sources: weather: ["storm"]`, "", ""},
		"another table, USING what is":      {`SELECT id, t, storm, ` + late + ` FROM (SELECT * REPLACE (day - 1 AS day) FROM flights) f JOIN weather w USING (airport, day)`, `storm: col.#Bool`, `sources: weather: ["storm"]`, "", ""},
		"another table at an earlier time":  {`SELECT id, t, storm, ` + late + ` FROM flights f ASOF JOIN weather w ON f.airport = w.airport AND f.t > w.day`, `storm: col.#Bool`, `sources: weather: ["storm"]`, "", ""},
		"the latest of another table":       {`SELECT id, t, (SELECT w.storm FROM weather w WHERE w.airport = f.airport AND w.day < f.day ORDER BY w.day DESC LIMIT 1) AS x, ` + late + ` FROM flights f`, `x: col.#Bool & {nullable: true}`, `sources: weather: ["storm"]`, "", ""},
		"a column of a feature":             {`SELECT id, t, h.x, ` + late + ` FROM flights JOIN h USING (id)`, `x: col.#Float64`, `features: h: ["x"]`, "", "models.m needs x, which is not known when deployments.api predicts"},
		"another column of a feature":       {`SELECT id, t, h.y, ` + late + ` FROM flights JOIN h USING (id)`, `y: col.#Float64`, `features: h: ["x"]`, "", ""},
		"of a source, through a feature":    {`SELECT id, t, h.x, ` + late + ` FROM flights JOIN h USING (id)`, `x: col.#Float64`, arrival, "", needs},
		"of a source, besides a feature":    {`SELECT id, t, h.y, ` + late + ` FROM flights JOIN h USING (id)`, `y: col.#Float64`, arrival, "", ""},
		"a column that is used nowhere":     {`SELECT id, t, distance, ` + late + ` FROM flights`, `distance: col.#Float64`, `sources: {flights: ["arr_delay"], weather: ["storm"]}`, "", ""},
		"a source that does not exist":      {`SELECT id, t, distance, ` + late + ` FROM flights`, `distance: col.#Float64`, `sources: flight: ["arr_delay"]`, "", "unavailable of deployments.api refers to sources.flight, which does not exist"},
		"a column that does not exist":      {`SELECT id, t, distance, ` + late + ` FROM flights`, `distance: col.#Float64`, `sources: flights: ["arrdelay"]`, "", `unavailable of deployments.api refers to a column "arrdelay" that sources.flights does not have`},
		"several inputs, one cause":         {`SELECT id, t, arr_delay, arr_delay * 2 AS x, ` + late + ` FROM flights`, `arr_delay: col.#Float64, x: col.#Float64`, arrival, "", needs},
		"both branches of a union":          {`SELECT id, t, arr_delay AS x, ` + late + ` FROM flights WHERE distance > 9 UNION ALL SELECT id, t, 0, ` + late + ` FROM flights WHERE distance <= 9`, `x: col.#Float64`, arrival, "", needs},
		"a union without it":                {`SELECT id, t, distance AS x, ` + late + ` FROM flights WHERE distance > 9 UNION ALL SELECT id, t, 0, ` + late + ` FROM flights WHERE distance <= 9`, `x: col.#Float64`, arrival, "", ""},
		"the maximum of the row's group":    {`SELECT id, any_value(t) AS t, max(arr_delay) AS x, any_value(dep_delay) > 15 AS late FROM flights GROUP BY id`, `x: col.#Float64`, arrival, "", needs},
		"the maximum of a larger group":     {`SELECT id, t, m.x, ` + late + ` FROM flights JOIN (SELECT plane, max(arr_delay) AS x FROM flights WHERE t < TIMESTAMP '2024-01-01' GROUP BY plane) m USING (plane)`, `x: col.#Float64`, arrival, "", ""},
		"the day of the row, not the storm": {`SELECT id, t, w.day < f.day AS x, ` + late + ` FROM flights f JOIN weather w USING (airport, day)`, `x: col.#Bool`, `sources: weather: ["storm"]`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			more := ""
			if strings.Contains(tt.query, "weather") {
				more += ", weather: sources.weather.out"
			}
			if strings.Contains(tt.query, "JOIN h ") {
				more += ", h: features.h.out"
			}
			refuses(t, map[string]string{"shop.cue": fmt.Sprintf(delayed, more, tt.query, tt.schema, tt.model, tt.unavailable)}, tt.want)
		})
	}
}

const delayed = `package shop

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
name: "delays"

sources: flights: source.#CSV & {
	path: "flights.csv"
	schema: {
		id:        col.#Int64 & {unique: true}
		inbound:   col.#Int64 & {nullable: true}
		plane:     col.#String
		airport:   col.#String
		t:         col.#Timestamp
		day:       col.#Date
		distance:  col.#Float64
		dep_delay: col.#Float64
		arr_delay: col.#Float64
	}
	keys: ["id"]
}

sources: weather: source.#CSV & {
	path: "weather.csv"
	schema: {
		airport: col.#String
		day:     col.#Date
		storm:   col.#Bool
		temp:    col.#Float64
	}
	keys: ["airport", "day"]
}

features: h: feature.#SQL & {
	in: flights: sources.flights.out
	sql: "SELECT id, arr_delay * 2 AS x, distance AS y FROM flights"
	schema: {
		id: col.#Int64
		x:  col.#Float64
		y:  col.#Float64
	}
	keys: ["id"]
}

features: f: feature.#SQL & {
	in: {flights: sources.flights.out%s}
	sql: """
		%s
		"""
	schema: {
		id:   col.#Int64
		t:    col.#Timestamp
		late: col.#Bool
		%s
	}
	keys: ["id"]
	timestamp: "t"
}

models: m: train.#SKLearn & {
	in: table: features.f.out
	label:     "late"
	estimator: "sklearn.ensemble.HistGradientBoostingClassifier"
	pipeline: [{transformer: "sklearn.preprocessing.OrdinalEncoder"}]
	test: split.#ByTime & {column: "t", after: "2024-01-01"}
	evaluation: evaluate.#Classification
	%s
}

deployments: api: serve.#HTTP & {
	in: model: models.m.out
	unavailable: %s
}
`
