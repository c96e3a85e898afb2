package compiler_test

import (
	"strings"
	"testing"
)

// byRow is a system in which a function in Python computes a column for a request, between a
// query and the model.
var byRow = strings.NewReplacer(
	"models: m:", `features: s: feature.#Python & {
	in: d: features.d.out
	script: "s.py"
	row:    true
	keys: ["id"]
	timestamp: "t"
	schema: {
		id:   col.#Int64
		t:    col.#Timestamp
		half: col.#Float64
		age:  col.#Int64 & {nullable: true}
		late: col.#Bool
	}
}

models: m:`, modelOf, "in: table: features.s.out", readTable, "table: features.s.out}").Replace(requested)

const age = "def transform(t, year):\n    return {'age': None if year is None else t.year - year}\n"

// Each refused system has a sound twin of its shape.
func TestFunctionsOfOneRow(t *testing.T) {
	const needs = "models.m needs delay, which a request of deployments.api does not have"
	fromSource := []edit{
		{"in: d: features.d.out", "in: f: sources.flights.out"}, {"half: col.#Float64\n\t\tage:", "distance: col.#Float64\n\t\tage:"},
		{"late: col.#Bool\n\t}\n}\n\nmodels", "late: col.#Bool\n\t\tdelay: col.#Float64\n\t}\n}\n\nmodels"}, {"lookup: p: {}\n", ""},
		{`label:     "late"`, `label: "delay"` + "\n\texclude: [\"late\"]"}, {"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"}, {"evaluate.#Classification", "evaluate.#Regression"},
	}
	window := func(over string) []edit {
		return []edit{
			{"in: d: features.d.out", "in: f: sources.flights.out"}, {"half: col.#Float64\n\t\tage:  col.#Int64 & {nullable: true}\n\t\tlate: col.#Bool", "plane: col.#String & {nullable: true}\n\t\tage: col.#Int64\n\t\tdelay: col.#Float64"},
			{"models: m:", `features: w: feature.#SQL & {
	in: s: features.s.out
	keys: ["id"]
	timestamp: "t"
	sql: "SELECT id, t, age, ` + over + ` AS n, delay > 15 AS late FROM s"
	schema: {
		id: col.#Int64
		t: col.#Timestamp
		age: col.#Int64
		n: col.#Int64
		late: col.#Bool
	}
}

models: m:`}, {"in: table: features.s.out", "in: table: features.w.out"}, {"table: features.s.out}", "table: features.w.out}"}, {"lookup: p: {}", "history: f: {}"},
		}
	}
	for name, tt := range map[string]struct {
		edits  []edit
		script string
		want   string
	}{
		"a function of a row":         {nil, age, ""},
		"a function of a whole table": {[]edit{{"row:    true\n", ""}}, "def transform(d):\n    return d\n", "features.s cannot be computed for one request: its function takes whole tables"},

		"two inputs": {[]edit{{"in: d: features.d.out", "in: {d: features.d.out, p: sources.planes.out}"}}, age, "features.s computes its rows one by one, but has 2 inputs"},
		"two inputs of a whole table, which no request needs": {[]edit{
			{"in: d: features.d.out", "in: {d: features.d.out, p: sources.planes.out}"}, {"row:    true\n", ""}, {", table: features.s.out}", "}"},
			{"request: f: exclude: [\"delay\", \"taxi\"]\n\tlookup: p: {}\n\treturns: [\"id\"]\n", ""},
		}, "def transform(d, p):\n    return d\n", ""},

		"a copy of another type":      {[]edit{{"half: col.#Float64\n\t\tage", "half: col.#Float32\n\t\tage"}}, age, "features.s copies half of features.d, but declares it as another type"},
		"a copy that may not be null": {[]edit{{"half: col.#Float64\n\t\tage", "half: col.#Float64 & {min: 0}\n\t\tage"}}, age, ""},

		"no column of its own": {[]edit{{"age:  col.#Int64 & {nullable: true}\n", ""}}, age, "the function of features.s has no column to compute: features.d has all of them"},

		"a parameter that is no column":                     {nil, strings.ReplaceAll(age, "year)", "yaer)"), "transform() of features.s takes yaer, which is no column of features.d"},
		"a parameter with a default":                        {nil, strings.ReplaceAll(age, "year)", "year, yaer=3)"), ""},
		"a parameter that is an argument":                   {[]edit{{"row:    true\n", "row: true\n\targs: unit: 1\n"}}, strings.ReplaceAll(age, "year)", "year, *, unit)"), ""},
		"an argument that is also a column":                 {[]edit{{"row:    true\n", "row: true\n\targs: year: 1\n"}}, age, "transform() of features.s takes year, which is both a column of features.d and an argument"},
		"an argument of the name of a column that it lacks": {[]edit{{"row:    true\n", "row: true\n\targs: years: 1\n"}}, strings.ReplaceAll(age, "year)", "year, years)"), ""},
		"an argument that it does not take":                 {[]edit{{"row:    true\n", "row: true\n\targs: unit: 1\n"}}, age, `features.s cannot call transform in s.py: it has no parameter "unit"`},

		"a parameter by position only":           {nil, strings.ReplaceAll(age, "year)", "year, /)"), "transform() of features.s takes t by position, and columns are passed by name"},
		"a parameter by name only":               {nil, strings.ReplaceAll(age, "(t, year)", "(*, t, year)"), ""},
		"no parameter":                           {nil, "def transform():\n    return {'age': 1}\n", "transform() of features.s takes no column of features.d"},
		"only parameters of any number":          {nil, "def transform(*all):\n    return {'age': 1}\n", "transform() of features.s takes no column of features.d"},
		"one parameter":                          {nil, "def transform(half):\n    return {'age': 1}\n", ""},
		"no such function":                       {nil, "def transfrom(t):\n    return {'age': 1}\n", `s.py has no function "transform"`},
		"a function that is made of another one": {[]edit{{`exclude: ["delay", "taxi"]`, `exclude: []`}}, "import functools\ndef f(t, n):\n    return {'age': n}\ntransform = functools.partial(f, n=1)\n", ""},
		"a file that is not Python":              {nil, "def transform(t:\n", "s.py is not valid Python"},

		"all columns, also those of the label":      {nil, "def transform(**row):\n    return {'age': row['t'].year}\n", needs},
		"all columns, of which the caller has each": {[]edit{{`exclude: ["delay", "taxi"]`, `exclude: ["taxi"]`}}, "def transform(**row):\n    return {'age': row['t'].year}\n", ""},
		"the label": {nil, strings.ReplaceAll(age, "year)", "year, late)"), needs},
		"the label, for a column that nothing reads":  {[]edit{{`label:     "late"`, `label: "late"` + "\n\texclude: [\"age\"]"}}, strings.ReplaceAll(age, "year)", "year, late)"), ""},
		"a decorated function may take all columns":   {nil, "import functools\n@functools.cache\n" + age, needs},
		"an excluded column in the answer":            {[]edit{{`label:     "late"`, `label: "late"` + "\n\texclude: [\"age\"]"}, {`returns: ["id"]`, `returns: ["age"]`}}, strings.ReplaceAll(age, "year)", "year, late)"), "returns of deployments.api names age, which needs delay, and a request does not have that"},
		"a computed column in the answer":             {[]edit{{`returns: ["id"]`, `returns: ["age"]`}}, age, ""},
		"the row of a source, with an excluded one":   {fromSource, "def transform(distance, delay):\n    return {'age': 1, 'late': delay > 15}\n", needs},
		"the row of a source, with what there is":     {fromSource, "def transform(distance):\n    return {'age': 1, 'late': False}\n", ""},
		"a row of no input":                           {append(fromSource, edit{"request: f:", "request: g:"}), "def transform(distance):\n    return {'age': 1, 'late': False}\n", `request of deployments.api names "g", which is no input of the function of features.s`},
		"a table that nothing joins":                  {append(fromSource, edit{`returns: ["id"]`, `lookup: p: {}`}), "def transform(distance):\n    return {'age': 1, 'late': False}\n", `lookup of deployments.api lists "p", which the query of features.s does not join`},
		"a row of the query before":                   {[]edit{{`request: f: exclude: ["delay", "taxi"]`, `request: d: exclude: ["late"]`}, {"lookup: p: {}\n", ""}}, age, ""},
		"a row of the query before that lacks a part": {[]edit{{`request: f: exclude: ["delay", "taxi"]`, `request: d: exclude: ["year", "late"]`}, {"lookup: p: {}\n", ""}}, age, "models.m needs year, which a request of deployments.api does not have"},

		"windows over what it computes": {window("count(*) OVER (PARTITION BY plane ORDER BY t, id)"), "def transform(distance):\n    return {'age': 1}\n", "features.w cannot be computed for one request: its windows go over rows of features.s, which a function in Python computes"},
		"a query of what it computes":   {append(window("age * 2"), edit{"history: f: {}\n\t", ""}), "def transform(distance):\n    return {'age': 1}\n", ""},

		"a column that is not available":         {[]edit{{`returns: ["id"]`, `returns: ["id"]` + "\n\tunavailable: sources: planes: [\"year\"]"}}, age, "models.m needs year, which is not known when deployments.api predicts"},
		"a column of the row that is not there":  {[]edit{{`returns: ["id"]`, `returns: ["id"]` + "\n\tunavailable: sources: flights: [\"distance\"]"}, {`label:     "late"`, `label: "late"` + "\n\texclude: [\"half\"]"}}, strings.ReplaceAll(age, "year)", "year, half)"), "models.m needs distance, which is not known when deployments.api predicts"},
		"a column of the row that it leaves out": {[]edit{{`returns: ["id"]`, `returns: ["id"]` + "\n\tunavailable: sources: flights: [\"distance\"]"}, {`label:     "late"`, `label: "late"` + "\n\texclude: [\"half\"]"}}, age, ""},
		"DuckDB for other parts":                 {[]edit{onDuckDB}, age, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": edited(t, byRow, tt.edits), "s.py": tt.script}, tt.want)
		})
	}
}
