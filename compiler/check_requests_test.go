package compiler_test

import (
	"strings"
	"testing"
)

// A system in which a caller of deployments.api sends a flight.
const requested = `package shop

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
	keys: ["id"]
	timestamp: "t"
	schema: {
		id:       col.#Int64 & {unique: true}
		t:        col.#Timestamp
		plane:    col.#String & {nullable: true}
		distance: col.#Float64 & {min: 0, unit: "mi", description: "between the airports"}
		taxi:     col.#Float64
		delay:    col.#Float64
	}
}
sources: planes: source.#CSV & {
	path: "planes.csv"
	keys: ["plane"]
	schema: {
		plane: col.#String
		year:  col.#Int64
	}
}
sources: weather: source.#CSV & {
	path: "weather.csv"
	keys: ["t"]
	schema: {
		t:    col.#Timestamp
		temp: col.#Float64
	}
}

features: d: feature.#SQL & {
	in: {f: sources.flights.out, p: sources.planes.out}
	keys: ["id"]
	timestamp: "t"
	sql: """
		SELECT f.id, f.t, f.distance / 2 AS half, p.year, f.delay > 15 AS late
		FROM f LEFT JOIN p ON f.plane = p.plane
		WHERE f.delay IS NOT NULL
		"""
	schema: {
		id:   col.#Int64
		t:    col.#Timestamp
		half: col.#Float64
		year: col.#Int64 & {nullable: true}
		late: col.#Bool
	}
}

models: m: train.#SKLearn & {
	in: table: features.d.out
	label:     "late"
	estimator: "sklearn.ensemble.HistGradientBoostingClassifier"
	test: split.#Random & {fraction: 0.2}
	evaluation: evaluate.#Classification
}

deployments: api: serve.#HTTP & {
	in: {model: models.m.out, table: features.d.out}
	request: f: exclude: ["delay", "taxi"]
	lookup: p: {}
	returns: ["id"]
}
`

// An edit replaces one part of a text with another.
type edit struct{ old, new string }

func edited(t *testing.T, text string, edits []edit) string {
	t.Helper()
	for _, e := range edits {
		if !strings.Contains(text, e.old) {
			t.Fatalf("the system has no %q", e.old)
		}
		text = strings.Replace(text, e.old, e.new, 1)
	}
	return text
}

const (
	selected  = "f.distance / 2 AS half, p.year"
	rows      = "FROM f LEFT JOIN p ON f.plane = p.plane\n"
	readTable = "table: features.d.out}"
	modelOf   = "in: table: features.d.out"
	rest      = "models: m:"
)

var onDuckDB = edit{"request: f:", "engine: \"duckdb\"\n\trequest: f:"}

// a second feature, from which the first one is computed.
const before = `features: b: feature.#SQL & {
	in: f: sources.flights.out
	keys: ["id"]
	sql: "SELECT id, t, plane, distance * 2 AS twice, delay, taxi * 2 AS worse FROM f"
	schema: {
		id: col.#Int64
		t:  col.#Timestamp
		plane: col.#String & {nullable: true}
		twice: col.#Float64
		delay: col.#Float64
		worse: col.#Float64
	}
}

models: m:`

var onB = []edit{{rest, before}, {"in: {f: sources.flights.out,", "in: {b: features.b.out,"}, {"f.id, f.t, f.distance / 2 AS half", "b.id, b.t, b.twice AS half"},
	{"f.delay > 15 AS late", "b.delay > 15 AS late"}, {rows, "FROM b LEFT JOIN p ON b.plane = p.plane\n"}, {"WHERE f.delay", "WHERE b.delay"}}

const redisStore = `lookup: p: store: serve.#Redis & {url: "redis://h:6379/0", password: secret: env: "REDIS_PASSWORD"}`

// the weather of the flight besides.
var onW = []edit{{", p: sources.planes.out}", ", p: sources.planes.out, w: sources.weather.out}"}, {selected, "w.temp AS half, p.year"}, {"half: col.#Float64", "half: col.#Float64 & {nullable: true}"},
	{rows, "FROM f LEFT JOIN p ON f.plane = p.plane ASOF LEFT JOIN w ON f.t > w.t\n"}}

// Every refused deployment has a sound twin.
func TestRequests(t *testing.T) {
	const (
		needsTaxi = "models.m needs taxi, which a request of deployments.api does not have"
		cannot    = "features.d cannot be computed for one request: "
		noP       = "features.d needs rows of \"p\", which lookup of deployments.api does not list"
	)
	for name, tt := range map[string]struct {
		edits []edit
		want  string
	}{
		"sound":                {nil, ""},
		"an input is excluded": {[]edit{{selected, "f.taxi AS half, p.year"}}, needsTaxi},
		"an input is computed from what is excluded":    {[]edit{{selected, "f.distance / f.taxi AS half, p.year"}}, needsTaxi},
		"an input is decided by what is excluded":       {[]edit{{selected, "CASE WHEN f.taxi > 1 THEN 1.5::DOUBLE ELSE 2 END AS half, p.year"}}, needsTaxi},
		"an input is found by what is excluded":         {[]edit{{`exclude: ["delay", "taxi"]`, `exclude: ["delay", "plane"]`}}, "models.m needs plane, which a request of deployments.api does not have"},
		"two inputs, one cause":                         {[]edit{{selected, "f.taxi AS half, CAST(f.taxi AS BIGINT) AS year"}, {rows, "FROM f\n"}, {", p: sources.planes.out", ""}, {"lookup: p: {}", ""}}, needsTaxi},
		"what is excluded is not an input of the model": {[]edit{{selected, "f.taxi AS half, p.year"}, {"label:", "exclude: [\"half\"]\n\tlabel:"}}, ""},
		"nothing is excluded":                           {[]edit{{`f: exclude: ["delay", "taxi"]`, `f: {}`}, {selected, "f.taxi AS half, p.year"}}, ""},
		"a column is excluded that nothing reads":       {[]edit{{`exclude: ["delay", "taxi"]`, `exclude: ["delay", "t"]`}}, ""},
		"a column in a CTE":                             {[]edit{{selected, "f.x AS half, p.year"}, {"SELECT f.id", "WITH f2 AS (SELECT *, f.taxi / 2 AS x FROM f) SELECT f.id"}, {"FROM f LEFT", "FROM f2 f LEFT"}}, needsTaxi},
		"another column in a CTE":                       {[]edit{{selected, "f.x AS half, p.year"}, {"SELECT f.id", "WITH f2 AS (SELECT *, f.distance / 2 AS x FROM f) SELECT f.id"}, {"FROM f LEFT", "FROM f2 f LEFT"}}, ""},
		"an excluded column that does not exist":        {[]edit{{`["delay", "taxi"]`, `["delai"]`}}, `exclude of deployments.api refers to a column "delai" that sources.flights does not have`},
		"a window":                                      {[]edit{{selected, "avg(f.distance) OVER (PARTITION BY f.plane ORDER BY f.t, f.id ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS half, p.year"}}, cannot + "avg of a window over a DOUBLE is not computed for one row: DuckDB adds floats in an order that depends on all rows"},
		"a window for two deployments":                  {[]edit{{selected, "avg(f.distance) OVER (PARTITION BY f.plane ORDER BY f.t, f.id ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS half, p.year"}, {"deployments: api:", "deployments: other: serve.#HTTP & {in: {model: models.m.out, table: features.d.out}, port: 9090, request: f: {}, lookup: p: {}}\n\ndeployments: api:"}}, cannot + "avg of a window over a DOUBLE is not computed for one row: DuckDB adds floats in an order that depends on all rows"},
		"an aggregate":                                  {[]edit{{"SELECT f.id, f.t, " + selected + ", f.delay > 15 AS late", "SELECT f.id, any_value(f.t) AS t, max(f.distance) AS half, any_value(p.year) AS year, max(f.delay) > 15 AS late"}, {"IS NOT NULL", "IS NOT NULL GROUP BY f.id"}}, cannot + "an aggregate or GROUP BY is not computed row by row"},
		"a function that is not computed":               {[]edit{{selected, "CAST(levenshtein(f.plane, 'x') AS DOUBLE) AS half, p.year"}, {"half: col.#Float64", "half: col.#Float64 & {nullable: true}"}}, cannot + "the function levenshtein is not computed row by row: it is not one of those that serving implements"},
		"a function that is computed":                   {[]edit{{selected, "CAST(length(f.plane) AS DOUBLE) AS half, p.year"}, {"half: col.#Float64", "half: col.#Float64 & {nullable: true}"}}, ""},
		"a function that DuckDB computes":               {[]edit{{selected, "CAST(levenshtein(f.plane, 'x') AS DOUBLE) AS half, p.year"}, {"half: col.#Float64", "half: col.#Float64 & {nullable: true}"}, onDuckDB}, ""},
		"a window, with DuckDB":                         {[]edit{{selected, "avg(f.distance) OVER (PARTITION BY f.plane ORDER BY f.t, f.id ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS half, p.year"}, onDuckDB}, cannot + "avg of a window over a DOUBLE is not computed for one row: DuckDB adds floats in an order that depends on all rows"},
		"an excluded column, with DuckDB":               {[]edit{{selected, "CAST(levenshtein(f.plane, CAST(f.taxi AS VARCHAR)) AS DOUBLE) AS half, p.year"}, {"half: col.#Float64", "half: col.#Float64 & {nullable: true}"}, onDuckDB}, needsTaxi},
		"another engine":                                {[]edit{{"request: f:", "engine: \"sqlite\"\n\trequest: f:"}}, "deployments.api.engine cannot be \"sqlite\""},
		"a lookup without keys":                         {[]edit{{"\tkeys: [\"plane\"]\n", ""}, {"keys: [\"id\"]\n\ttimestamp: \"t\"\n\tsql", "keys: [\"id\", \"year\"]\n\ttimestamp: \"t\"\n\tsql"}, {selected, "f.distance / 2 AS half, coalesce(p.year, 0) AS year"}, {"year: col.#Int64 & {nullable: true}", "year: col.#Int64"}}, cannot + "several rows of \"p\" may match, because the join compares no key of it"},
		"a lookup by a unique column":                   {[]edit{{"\tkeys: [\"plane\"]\n", ""}, {"plane: col.#String\n", "plane: col.#String & {unique: true}\n"}}, ""},
		"a lookup that is not listed":                   {[]edit{{"lookup: p: {}", ""}}, noP},
		"another lookup is listed":                      {[]edit{{"lookup: p: {}", "lookup: q: {}"}}, "lookup of deployments.api lists \"q\", which the query of features.d does not join"},
		"the row itself is listed":                      {[]edit{{"lookup: p: {}", "lookup: {p: {}, f: {}}"}}, "lookup of deployments.api lists \"f\", which the query of features.d does not join"},
		"a lookup that no input of the model needs":     {[]edit{{"lookup: p: {}", ""}, {"label:", "exclude: [\"year\"]\n\tlabel:"}}, ""},
		"a lookup for a condition":                      {[]edit{{"lookup: p: {}", ""}, {"label:", "exclude: [\"year\"]\n\tlabel:"}, {"IS NOT NULL", "IS NOT NULL AND p.year > 1950"}}, noP},
		"a lookup for a condition of training":          {[]edit{{"lookup: p: {}", ""}, {"label:", "exclude: [\"year\"]\n\tlabel:"}, {"IS NOT NULL", "IS NOT NULL AND (p.year > 1950 OR f.delay > 3)"}}, ""},
		"a lookup of an age":                            {append(edits(onW), edit{"lookup: p: {}", `lookup: {p: {}, w: max_age: "2h"}`}), ""},
		"a lookup of no age":                            {append(edits(onW), edit{"lookup: p: {}", `lookup: {p: {}, w: max_age: "0s"}`}), "max_age of \"w\" in deployments.api is no length of time"},
		"a later lookup of an age":                      {append(edits(onW), edit{"lookup: p: {}", `lookup: {p: {}, w: max_age: "2h"}`}, edit{"f.t > w.t", "f.t <= w.t"}), "deployments.api limits the age of rows of \"w\", which features.d does not join by time"},
		"a lookup by its key, of an age":                {[]edit{{"lookup: p: {}", `lookup: p: max_age: "2h"`}}, "deployments.api limits the age of rows of \"p\", which features.d does not join by time"},
		"a lookup of an age that is none":               {[]edit{{"lookup: p: {}", `lookup: p: max_age: "2 hours"`}}, `deployments.api.lookup.p.max_age cannot be "2 hours"`},
		"a lookup in a store":                           {[]edit{{"lookup: p: {}", redisStore}}, ""},
		"a lookup by time in a store":                   {append(edits(onW), edit{"lookup: p: {}", "lookup: {p: {}, w: store: serve.#Postgres & {url: \"postgres://h/db\"}}"}), ""},
		"a lookup by a number in a store":               {append(edits(onW), edit{"lookup: p: {}", "lookup: {p: {}, w: store: serve.#Postgres & {url: \"postgres://h/db\"}}"}, edit{"f.t > w.t", "f.distance > w.temp"}, edit{"keys: [\"t\"]", "keys: [\"temp\"]"}), "deployments.api cannot look up rows of \"w\" in a store: its join takes the nearest value of the type DOUBLE, whose order a store does not have: only integers, dates and times have it"},
		"a lookup by a number":                          {append(edits(onW), edit{"lookup: p: {}", "lookup: {p: {}, w: {}}"}, edit{"f.t > w.t", "f.distance > w.temp"}, edit{"keys: [\"t\"]", "keys: [\"temp\"]"}), ""},
		"a password in the place of a store":            {[]edit{{"lookup: p: {}", `lookup: p: store: serve.#Redis & {url: "redis://:hunter2@h"}`}}, "deployments.api.lookup.p.store.url looks like a secret in plain text"},
		"a password that has no source":                 {[]edit{{"lookup: p: {}", `lookup: p: store: serve.#Redis & {url: "redis://h", password: secret: {}}`}}, "the secret lookup.p.store.password of deployments.api needs exactly one source"},
		"a store of another kind":                       {[]edit{{"lookup: p: {}", `lookup: p: store: serve.#Redis & {url: "http://h"}`}}, `deployments.api.lookup.p.store.url cannot be "http://h"`},
		"a lookup of a large age":                       {[]edit{{"lookup: p: {}", `lookup: p: max_age: "99999999d"`}}, "a number of deployments.api is too large"},
		"a request of no input":                         {[]edit{{"request: f:", "request: g:"}}, "request of deployments.api names \"g\", which is no input of the query of features.d"},
		"a request of a joined table":                   {[]edit{{`request: f: exclude: ["delay", "taxi"]`, "request: p: {}"}}, "a request of deployments.api cannot be a row of \"p\": the query of features.d begins with \"f\""},
		"two requests":                                  {[]edit{{`request: f: exclude: ["delay", "taxi"]`, "request: {f: {}, p: {}}"}}, "request of deployments.api names several rows: f, p"},
		"an empty request":                              {[]edit{{`request: f: exclude: ["delay", "taxi"]`, "request: {}"}}, "request of deployments.api names no row"},
		"nothing of the row is read":                    {[]edit{{"f.distance / 2 AS half", "CAST(7 AS DOUBLE) AS half"}, {"label:", "exclude: [\"year\"]\n\tlabel:"}}, "models.m reads nothing that is computed from a row of \"f\""},
		"no request":                                    {[]edit{{"\trequest: f: exclude: [\"delay\", \"taxi\"]\n\tlookup: p: {}\n\treturns: [\"id\"]\n", ""}, {"{model: models.m.out, table: features.d.out}", "model: models.m.out"}}, ""},
		"a table without a request":                     {[]edit{{"\trequest: f: exclude: [\"delay\", \"taxi\"]\n\tlookup: p: {}\n\treturns: [\"id\"]\n", ""}}, "deployments.api reads features.d, but has no request that it is computed from"},
		"a lookup without a request":                    {[]edit{{"\trequest: f: exclude: [\"delay\", \"taxi\"]\n", ""}}, "deployments.api has lookup, but no request"},
		"a request without a table":                     {[]edit{{"{model: models.m.out, table: features.d.out}", "model: models.m.out"}}, "deployments.api has a request, but not the features that are computed from it"},
		"a column of the features is returned":          {[]edit{{`returns: ["id"]`, `returns: ["id", "half"]`}}, ""},
		"a column of the request is returned":           {[]edit{{`returns: ["id"]`, `returns: ["plane"]`}}, ""},
		"no column is returned":                         {[]edit{{`returns: ["id"]`, `returns: ["identity"]`}}, `returns of deployments.api names "identity", which is no column of features.d or of a request`},
		"an excluded column is returned":                {[]edit{{`returns: ["id"]`, `returns: ["delay"]`}}, "returns of deployments.api names delay, which a request does not have"},
		"the label is returned":                         {[]edit{{`returns: ["id"]`, `returns: ["late"]`}}, "returns of deployments.api names late, which needs delay, and a request does not have that"},
		"a column is returned twice":                    {[]edit{{`returns: ["id"]`, `returns: ["id", "id"]`}}, "returns of deployments.api names id twice"},
		"a column is returned that the answer has":      {[]edit{{"f.distance / 2 AS half", "f.distance / 2 AS prediction"}, {"half: col", "prediction: col"}, {`returns: ["id"]`, `returns: ["prediction"]`}}, "returns of deployments.api names prediction, which the answer has already"},
		"a model of another feature":                    {[]edit{{rest, strings.ReplaceAll(twin, "VALUE", "half")}, {readTable, "table: features.o.out}"}}, "models.m was not trained on features.o"},
		"a model of a feature that lacks a column":      {[]edit{{rest, strings.ReplaceAll(twin, "VALUE", "third")}, {readTable, "table: features.o.out}"}}, "models.m reads half, which features.o does not compute"},
		"a table that no query makes":                   {[]edit{{modelOf, "in: table: sources.flights.out"}, {`"late"`, `"id"`}, {"table: features.d.out", "table: sources.flights.out"}, {"label: ", "exclude: [\"plane\"]\n\tlabel: "}}, "request of deployments.api has nothing to compute: no query makes sources.flights"},
		"a feature of another feature":                  {onB, ""},
		"a request is a row of a feature":               {append(edits(onB), edit{`request: f: exclude: ["delay", "taxi"]`, `request: b: exclude: ["delay"]`}), ""},
		"leakage through two features":                  {append(edits(onB), edit{"b.twice AS half", "b.worse AS half"}), needsTaxi},
		"a column of the first request is returned":     {append(edits(onB), edit{`returns: ["id"]`, `returns: ["distance"]`}), `returns of deployments.api names "distance", which is no column of features.d or of a request`},
		"an excluded column of the feature":             {append(edits(onB), edit{`request: f: exclude: ["delay", "taxi"]`, `request: b: exclude: ["delay", "twice"]`}), "models.m needs twice, which a request of deployments.api does not have"},
		"a request of no input of two features":         {append(edits(onB), edit{"request: f: ", "request: g: "}), "request of deployments.api names \"g\", which is no input of the query of features.d"},
		"the first of two features is not computed":     {append(edits(onB), edit{"distance * 2 AS twice", "sum(distance) OVER (ORDER BY id) AS twice"}), "features.b cannot be computed for one request: a window that is not ordered by a time is not computed for one row: nothing says which rows are before it. It is ordered by a BIGINT"},
		"two features join different tables by a name":  {append(edits(onB), edit{"in: f: sources.flights.out\n", "in: {f: sources.flights.out, p: sources.weather.out}\n"}, edit{"SELECT id, t, plane, distance * 2", "SELECT f.id, f.t, f.plane, p.temp AS twice, f.delay, f.taxi * 2 AS worse FROM f LEFT JOIN p USING (t)\" // "}, edit{"twice: col.#Float64", "twice: col.#Float64 & {nullable: true}"}, edit{"half: col.#Float64", "half: col.#Float64 & {nullable: true}"}), "features.b and features.d join different tables by the name \"p\""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": edited(t, requested, tt.edits)}, tt.want)
		})
	}
}

func edits(all []edit) []edit { return append([]edit(nil), all...) }

// a feature beside features.d.
const twin = `features: o: feature.#SQL & {
	in: {f: sources.flights.out, p: sources.planes.out}
	keys: ["id"]
	sql: """
		SELECT f.id, f.t, f.distance / 2 AS VALUE, p.year, f.delay > 15 AS late
		FROM f LEFT JOIN p ON f.plane = p.plane
		"""
	schema: {
		id:   col.#Int64
		t:    col.#Timestamp
		VALUE: col.#Float64
		year: col.#Int64 & {nullable: true}
		late: col.#Bool
	}
}

models: m:`
