package compiler_test

import (
	"strings"
	"testing"
)

// A system in which a payment is judged by those before it.
const remembered = `package shop

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
name: "shop"

sources: payments: source.#CSV & {
	path: "payments.csv"
	keys: ["id"]
	timestamp: "paid"
	schema: {
		id:       col.#String
		paid:     col.#Timestamp
		customer: col.#String
		cents:    col.#Int64
		euros:    col.#Float64
		fraud:    col.#Bool
	}
}
sources: customers: source.#CSV & {
	path: "customers.csv"
	keys: ["customer"]
	schema: {
		customer: col.#String
		since:    col.#Timestamp
	}
}

features: f: feature.#SQL & {
	in: {p: sources.payments.out, c: sources.customers.out}
	keys: ["id"]
	timestamp: "paid"
	sql: """
		SELECT p.id, p.paid, p.cents, sum(p.cents) OVER (PARTITION BY p.customer ORDER BY p.paid RANGE BETWEEN INTERVAL 7 DAYS PRECEDING AND CURRENT ROW) / 1 AS week, p.fraud
		FROM p LEFT JOIN c ON p.customer = c.customer
		"""
	schema: {
		id:    col.#String
		paid:  col.#Timestamp
		cents: col.#Int64
		week:  col.#Float64 & {nullable: true}
		fraud: col.#Bool
	}
}

models: m: train.#SKLearn & {
	in: table: features.f.out
	label:     "fraud"
	estimator: "sklearn.ensemble.HistGradientBoostingClassifier"
	test: split.#ByTime & {column: "paid", after: "2024-03-01"}
	evaluation: evaluate.#Classification
}

deployments: api: serve.#HTTP & {
	in: {model: models.m.out, table: features.f.out}
	request: p: exclude: ["fraud"]
	history: p: {}
	events: {}
}
`

func TestHistories(t *testing.T) {
	t.Parallel()
	const (
		window = "sum(p.cents) OVER (PARTITION BY p.customer ORDER BY p.paid RANGE BETWEEN INTERVAL 7 DAYS PRECEDING AND CURRENT ROW)"
		from   = "FROM p LEFT JOIN c ON p.customer = c.customer"
		listed = "\thistory: p: {}\n"
		events = "\tevents: {}\n"
		cannot = "features.f cannot be computed for one request: "
	)
	over := func(other string) []edit { return []edit{{window, other}} }
	before := []edit{{"features: f:", `features: b: feature.#SQL & {
	in: q: sources.payments.out
	keys: ["id"]
	sql: "SELECT * FROM q"
	schema: in.q.schema
}

features: f:`}, {"p: sources.payments.out", "p: features.b.out"}, {"request: p:", "request: q:"}, {"history: p:", "history: q:"}}
	for name, tt := range map[string]struct {
		edits []edit
		want  string
	}{
		"a history and events":             {nil, ""},
		"a history without events":         {[]edit{{events, ""}}, ""},
		"no history":                       {[]edit{{listed, ""}, {events, ""}}, `features.f needs earlier rows of "p", which history of deployments.api does not list`},
		"no history, but events":           {[]edit{{listed, ""}}, `features.f needs earlier rows of "p", which history of deployments.api does not list`},
		"a history of a joined table":      {[]edit{{listed, "\thistory: c: {}\n"}}, `history of deployments.api lists "c", over whose rows no window goes that the model needs`},
		"a history that nothing needs":     {[]edit{{window, "p.cents"}, {events, ""}}, `history of deployments.api lists "p", over whose rows no window goes that the model needs`},
		"events that nothing needs":        {[]edit{{window, "p.cents"}, {listed, ""}}, "deployments.api takes events, but the features that its model reads have no windows over them"},
		"a window that the model excludes": {[]edit{{"label: ", "exclude: [\"week\"]\n\tlabel: "}, {listed, ""}, {events, ""}}, ""},
		"a history without a request":      {[]edit{{"\trequest: p: exclude: [\"fraud\"]\n", ""}}, "deployments.api has history, but no request"},
		"events without a request":         {[]edit{{"\trequest: p: exclude: [\"fraud\"]\n", ""}, {listed, ""}}, "deployments.api has events, but no request"},
		"events without keys":              {[]edit{{"\tkeys: [\"id\"]\n\ttimestamp: \"paid\"\n\tschema", "\ttimestamp: \"paid\"\n\tschema"}}, `deployments.api takes events of "p", whose rows have no keys: one that is sent again would count twice`},
		"a history without keys":           {[]edit{{"\tkeys: [\"id\"]\n\ttimestamp: \"paid\"\n\tschema", "\ttimestamp: \"paid\"\n\tschema"}, {events, ""}}, ""},
		"no length of time":                {[]edit{{listed, "\thistory: p: late: \"0s\"\n"}}, `late of "p" in deployments.api is no length of time`},
		"other limits":                     {[]edit{{listed, "\thistory: p: {late: \"2d\", max_keys: 10, max_events: 20}\n"}}, ""},
		"events of two weeks":              {[]edit{{listed, "\thistory: p: keep: \"14d\"\n"}}, ""},
		"events of too few days":           {[]edit{{listed, "\thistory: p: {keep: \"7d\", late: \"1d\"}\n"}}, `deployments.api cannot keep events of "p" for 7d: its windows look back 7d, and events may be 1d late`},
		"events of too few seconds":        {append(over(strings.Replace(window, "7 DAYS", "90 SECONDS", 1)), edit{listed, "\thistory: p: {keep: \"1m\", late: \"1s\"}\n"}), `deployments.api cannot keep events of "p" for 1m: its windows look back 90s, and events may be 1s late`},
		"a length of rows that are kept":   {append(over("sum(p.cents) OVER (PARTITION BY p.customer ORDER BY p.paid)"), edit{listed, "\thistory: p: keep: \"14d\"\n"}), `deployments.api cannot keep events of "p" for 14d: its windows have rows however old they are`},
		"events by another time are kept":  {append(over(strings.Replace(window, "BY p.paid", "BY p.paid + INTERVAL 1 DAY", 1)), edit{listed, "\thistory: p: keep: \"14d\"\n"}), `deployments.api cannot keep events of "p" for 14d: its windows are not all ordered by the same column of it, which says how old an event is`},
		"no events are kept":               {[]edit{{listed, "\thistory: p: keep: \"14d\"\n"}, {events, ""}}, `deployments.api cannot keep events of "p" for 14d: it takes none`},
		"a mean of floats":                 {over("avg(p.euros) OVER (PARTITION BY p.customer ORDER BY p.paid)"), cannot + "avg of a window over a DOUBLE is not computed for one row: DuckDB adds floats in an order that depends on all rows"},
		"a mean of decimals":               {over("avg(CAST(p.euros AS DECIMAL(18, 2))) OVER (PARTITION BY p.customer ORDER BY p.paid)"), ""},
		"the largest float":                {over("max(p.euros) OVER (PARTITION BY p.customer ORDER BY p.paid)"), ""},
		"a window by the customer's time":  {append(over("sum(p.cents) OVER (PARTITION BY p.customer ORDER BY c.since)"), edit{listed, listed + "\tlookup: c: {}\n"}), ""},
		"a window that looks ahead":        {over("lead(p.cents) OVER (PARTITION BY p.customer ORDER BY p.paid)"), "models.m learns from later rows"},
		"a window without an order":        {over("sum(p.cents) OVER (PARTITION BY p.customer)"), cannot + "a window without ORDER BY is not computed for one row: its frame would hold the rows after it"},
		"a count of the label":             {over("count(*) FILTER (WHERE p.fraud) OVER (PARTITION BY p.customer ORDER BY p.paid ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"), "models.m needs fraud, which a request of deployments.api does not have"},
		"a condition on the label":         {[]edit{{from, from + " WHERE p.fraud OR p.cents > 5"}}, "models.m needs fraud, which a request of deployments.api does not have"},
		"a condition on the row":           {[]edit{{from, from + " WHERE p.cents > 0"}}, ""},
		"a condition above the windows":    {[]edit{{"SELECT p.id", "SELECT * FROM (SELECT p.id"}, {from, from + ") WHERE fraud OR cents > 5"}}, ""},
		"windows over another feature":     {before, ""},
		"a condition in another feature":   {append(edits(before), edit{"FROM q\"", "FROM q WHERE fraud OR cents > 5\""}), cannot + "its windows go over rows that training leaves out by conditions on columns that a request does not have"},
		"windows of two features":          {append(edits(before), edit{"SELECT * FROM q\"", "SELECT * REPLACE (count(*) OVER (ORDER BY paid) AS cents) FROM q\""}), cannot + "it has windows over what features.b computes, which has windows itself"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": edited(t, remembered, tt.edits)}, tt.want)
		})
	}
}
