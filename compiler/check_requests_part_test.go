package compiler_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// Only what a request needs of a query has to be computed for it. Each refused system has a
// sound twin.
func TestRequestsNeedOnlyAPart(t *testing.T) {
	const (
		cannot  = "features.f cannot be computed for one request: "
		tag     = `regexp_extract(coalesce(note, ''), 'x[0-9]+') AS x`
		calls   = `(SELECT customer, count(*) AS n FROM k GROUP BY customer) g`
		needs   = "models.m needs refund, which is not known when deployments.api predicts"
		earlier = `WHERE t < TIMESTAMP '2023-01-01'`
	)
	for name, tt := range map[string]struct {
		query    string // of features.f
		x        string // the type of its column x
		model    string // further fields of the model
		h        string // the query of features.h
		excluded string
		returns  string
		lookup   string
		want     string
		keys     string // of features.f, instead of id
	}{
		"a function that only training needs":         {`SELECT id, t, amount, ` + tag + `, refunded FROM o`, `col.#String`, `exclude: ["x"]`, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"id"`, ``, "", ""},
		"a function that the model needs":             {`SELECT id, t, amount, ` + tag + `, refunded FROM o`, `col.#String`, ``, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"id"`, ``, cannot + "the function regexp_extract is not computed row by row: it is not one of those that serving implements", ""},
		"a function that the answer needs":            {`SELECT id, t, amount, ` + tag + `, refunded FROM o`, `col.#String`, `exclude: ["x"]`, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"x"`, ``, cannot + "the function regexp_extract is not computed row by row: it is not one of those that serving implements", ""},
		"a function of a column that is excluded":     {`SELECT id, t, amount, refund::VARCHAR || md5(refund::VARCHAR) AS x, refunded FROM o`, `col.#String & {nullable: true}`, `exclude: ["x"]`, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"id"`, ``, "", ""},
		"a function in a condition":                   {`SELECT id, t, amount, customer AS x, refunded FROM o WHERE regexp_matches(coalesce(note, ''), 'a')`, `col.#Int64`, ``, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"id"`, ``, cannot + "the function regexp_matches is not computed row by row: it is not one of those that serving implements", ""},
		"a function in a condition of training":       {`SELECT id, t, amount, customer AS x, refunded FROM o WHERE regexp_matches(coalesce(refund, 0)::VARCHAR, '0')`, `col.#Int64`, ``, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"id"`, ``, "", ""},
		"the label of a window":                       {`SELECT id, t, amount, customer AS x, coalesce(lead(amount) OVER (PARTITION BY customer ORDER BY t, id), 0) > 9 AS refunded FROM o`, `col.#Int64`, ``, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"id"`, ``, "", ""},
		"an input of a window":                        {`SELECT id, t, amount, lag(amount) OVER (PARTITION BY customer ORDER BY t, id) AS x, refunded FROM o`, `col.#Float64 & {nullable: true}`, ``, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"id"`, ``, "features.f needs earlier rows of \"o\", which history of deployments.api does not list", ""},
		"an input of a window over floats":            {`SELECT id, t, amount, avg(amount) OVER (PARTITION BY customer ORDER BY t, id) AS x, refunded FROM o`, `col.#Float64 & {nullable: true}`, ``, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"id"`, ``, cannot + "avg of a window over a DOUBLE is not computed for one row: DuckDB adds floats in an order that depends on all rows", ""},
		"the label of a subquery":                     {`SELECT id, t, amount, customer AS x, (SELECT count(*) FROM k WHERE k.customer = o.customer AND k.t > o.t) > 3 AS refunded FROM o`, `col.#Int64`, ``, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"id"`, ``, "", ""},
		"an input of a subquery":                      {`SELECT id, t, amount, (SELECT count(*) FROM k WHERE k.customer = o.customer AND k.t < o.t) AS x, refunded FROM o`, `col.#Int64 & {nullable: true}`, ``, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"id"`, ``, cannot + "a subquery that depends on the row is not computed row by row", ""},
		"the label of EXISTS":                         {`SELECT id, t, amount, customer AS x, EXISTS (SELECT 1 FROM k WHERE k.customer = o.customer AND k.t > o.t) AS refunded FROM o`, `col.#Int64`, ``, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"id"`, ``, "", ""},
		"the label of an aggregate that is joined":    {`SELECT o.id, o.t, o.amount, o.customer AS x, coalesce(g.n, 0) > 3 AS refunded FROM o LEFT JOIN ` + calls + ` ON o.customer = g.customer`, `col.#Int64`, ``, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"id"`, ``, "", ""},
		"an input of an aggregate that is joined":     {`SELECT o.id, o.t, o.amount, g.n AS x, o.refunded FROM o LEFT JOIN ` + calls + ` ON o.customer = g.customer`, `col.#Int64 & {nullable: true}`, ``, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"id"`, ``, cannot + "an aggregate or GROUP BY is not computed row by row", ""},
		"rows that an aggregate selects":              {`SELECT o.id, o.t, o.amount, o.customer AS x, o.refunded FROM o JOIN ` + calls + ` ON o.customer = g.customer`, `col.#Int64`, ``, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"id"`, ``, cannot + "an aggregate or GROUP BY is not computed row by row", ""},
		"a key that is not computed":                  {`SELECT id, t, amount, md5(coalesce(note, '')) AS x, refunded FROM o`, `col.#String`, ``, `SELECT id, amount AS r FROM o`, `"refund", "refunded"`, `"id"`, ``, cannot + "the function md5 is not computed row by row: it is not one of those that serving implements", `["id", "x"]`},
		"a table that gives the row's own value back": {`SELECT o.id, o.t, o.amount, h.r AS x, o.refunded FROM o LEFT JOIN h ON h.id = o.id`, `col.#Float64 & {nullable: true}`, ``, `SELECT id, coalesce(refund, 0) AS r FROM o`, `"refund", "refunded"`, `"id"`, `h: {}`, needs, ""},
		"a table that sums up the row's own value":    {`SELECT o.id, o.t, o.amount, h.r AS x, o.refunded FROM o LEFT JOIN h ON h.id = o.id`, `col.#Float64 & {nullable: true}`, ``, `SELECT id, coalesce(sum(refund), 0) AS r FROM o GROUP BY id`, `"refund", "refunded"`, `"id"`, `h: {}`, needs, ""},
		"a table of the sums of customers":            {`SELECT o.id, o.t, o.amount, h.r AS x, o.refunded FROM o LEFT JOIN h ON h.id = o.customer`, `col.#Float64 & {nullable: true}`, ``, `SELECT customer AS id, coalesce(sum(refund), 0) AS r FROM o ` + earlier + ` GROUP BY customer`, `"refund", "refunded"`, `"id"`, `h: {}`, "", ""},
		"a table of another value of the row":         {`SELECT o.id, o.t, o.amount, h.r AS x, o.refunded FROM o LEFT JOIN h ON h.id = o.id`, `col.#Float64 & {nullable: true}`, ``, `SELECT id, amount * 2 AS r FROM o`, `"refund", "refunded"`, `"id"`, `h: {}`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := fmt.Sprintf(shopRequest, tt.h, shopInputs(tt.query), tt.query, tt.x, tt.model, tt.excluded, tt.lookup, tt.returns)
			if tt.keys != "" {
				text = strings.Replace(text, "keys: [\"id\"]\n\ttimestamp: \"t\"\n\tsql", "keys: "+tt.keys+"\n\ttimestamp: \"t\"\n\tsql", 1)
			}
			refuses(t, map[string]string{"shop.cue": text}, tt.want)
		})
	}
}

// shopInputs returns the inputs of features.f.
func shopInputs(query string) string {
	all := "o: sources.orders.out"
	for name, out := range map[string]string{"k": "sources.calls.out", "h": "features.h.out"} {
		if regexp.MustCompile(`(FROM|JOIN) ` + name + `\b`).MatchString(query) {
			all += ", " + name + ": " + out
		}
	}
	return all
}

const shopRequest = `package shop

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

sources: orders: source.#CSV & {
	path: "orders.csv"
	keys: ["id"]
	timestamp: "t"
	schema: {
		id:       col.#Int64
		customer: col.#Int64
		t:        col.#Timestamp
		amount:   col.#Float64
		note:     col.#String & {nullable: true}
		refund:   col.#Float64 & {nullable: true}
		refunded: col.#Bool
	}
}
sources: calls: source.#CSV & {
	path: "calls.csv"
	keys: ["call"]
	timestamp: "t"
	schema: {
		call:     col.#Int64
		customer: col.#Int64
		t:        col.#Timestamp
	}
}

features: h: feature.#SQL & {
	in: o: sources.orders.out
	keys: ["id"]
	sql: """
		%s
		"""
	schema: {
		id: col.#Int64
		r:  col.#Float64
	}
}

features: f: feature.#SQL & {
	in: {%s}
	keys: ["id"]
	timestamp: "t"
	sql: """
		%s
		"""
	schema: {
		id:       col.#Int64
		t:        col.#Timestamp
		amount:   col.#Float64
		x:        %s
		refunded: col.#Bool
	}
}

models: m: train.#SKLearn & {
	in: table: features.f.out
	label:     "refunded"
	%s
	test: split.#ByTime & {column: "t", after: "2024-01-01"}
	estimator: "sklearn.ensemble.HistGradientBoostingClassifier"
	evaluation: evaluate.#Classification
}

deployments: api: serve.#HTTP & {
	in: {model: models.m.out, table: features.f.out}
	request: o: exclude: [%s]
	lookup: {%s}
	returns: [%s]
}
`
