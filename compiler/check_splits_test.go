package compiler_test

import (
	"fmt"
	"strings"
	"testing"
)

// Every model that has seen its test rows has a sound twin of the same shape.
func TestStatisticsOfTestRows(t *testing.T) {
	const (
		all    = "models.m learns from statistics of its test rows"
		shared = "models.m is tested on rows that share values with those it learns from"
		random = `split.#Random`
		time   = `split.#ByTime & {column: "t", after: "2024-07-01"}`
		group  = `split.#ByGroup & {column: "customer"}`
		label  = "refund > 0 AS refunded"
		plain  = "id, t, customer, " + label
		means  = `SELECT o.id, o.t, o.customer, g.r, o.refund > 0 AS refunded FROM o JOIN (SELECT customer, avg(amount) AS r FROM o GROUP BY customer) AS g ON o.customer = g.customer`
	)
	for name, tt := range map[string]struct{ query, split, model, want string }{
		"a mean of all rows":                       {`SELECT ` + plain + `, amount - avg(amount) OVER () AS r FROM o`, time, "", all},
		"a mean of all rows, with a random split":  {`SELECT ` + plain + `, amount - avg(amount) OVER () AS r FROM o`, random, "", all},
		"a mean of all rows, split by groups":      {`SELECT ` + plain + `, amount - avg(amount) OVER () AS r FROM o`, group, "", all},
		"a mean of the rows before":                {`SELECT ` + plain + `, amount - avg(amount) OVER (ORDER BY t, id) AS r FROM o`, time, "", ""},
		"a mean that is known":                     {`SELECT ` + plain + `, amount - avg(amount) OVER () AS r FROM o`, time, `known: ["r"]`, ""},
		"a mean that is excluded":                  {`SELECT ` + plain + `, amount, amount - avg(amount) OVER () AS r FROM o`, time, `exclude: ["r"]`, ""},
		"a z-score":                                {`SELECT ` + plain + `, (amount - avg(amount) OVER ()) / stddev(amount) OVER () AS r FROM o`, time, "", all},
		"a z-score by a fixed mean":                {`SELECT ` + plain + `, (amount - 31.5) / 4.2 AS r FROM o`, time, "", ""},
		"scaled between the extremes":              {`SELECT ` + plain + `, (amount - (SELECT min(amount) FROM o)) / (SELECT max(amount) FROM o) AS r FROM o`, time, "", all},
		"scaled between those before a date":       {`SELECT ` + plain + `, (amount - (SELECT min(amount) FROM o WHERE t < TIMESTAMP '2024-07-01')) / (SELECT max(amount) FROM o WHERE t < TIMESTAMP '2024-07-01') AS r FROM o`, time, "", ""},
		"a mean from a CTE":                        {`WITH s AS (SELECT avg(amount) AS m FROM o) SELECT ` + plain + `, amount - m AS r FROM o, s`, time, "", all},
		"a mean from a CTE, before a date":         {`WITH s AS (SELECT avg(amount) AS m FROM o WHERE t < TIMESTAMP '2024-07-01') SELECT ` + plain + `, amount - m AS r FROM o, s`, time, "", ""},
		"a filtered mean":                          {`WITH s AS (SELECT avg(amount) FILTER (t < TIMESTAMP '2024-07-01') AS m FROM o) SELECT ` + plain + `, amount - m AS r FROM o, s`, time, "", ""},
		"a mean by customer, with a random split":  {means, random, "", shared},
		"a mean by customer, with a split by time": {means, time, "", shared},
		"a mean by customer, split by customer":    {means, group, "", ""},
		"a window by customer, random":             {`SELECT ` + plain + `, avg(amount) OVER (PARTITION BY customer) AS r FROM o`, random, "", shared},
		"a window by customer, split by customer":  {`SELECT ` + plain + `, avg(amount) OVER (PARTITION BY customer) AS r FROM o`, group, "", ""},
		"a running window by customer, random":     {`SELECT ` + plain + `, avg(amount) OVER (PARTITION BY customer ORDER BY t, id) AS r FROM o`, random, "", ""},
		"a subquery by customer, random":           {`SELECT ` + plain + `, (SELECT avg(p.amount) FROM o AS p WHERE p.customer = o.customer) AS r FROM o`, random, "", shared},
		"a subquery by customer and earlier":       {`SELECT ` + plain + `, (SELECT avg(p.amount) FROM o AS p WHERE p.customer = o.customer AND p.t < o.t) AS r FROM o`, random, "", ""},
		"a subquery by customer, grouped":          {`SELECT ` + plain + `, (SELECT avg(p.amount) FROM o AS p WHERE p.customer = o.customer) AS r FROM o`, group, "", ""},
		"a mean by day":                            {`SELECT ` + plain + `, avg(amount) OVER (PARTITION BY t) AS r FROM o`, time, "", ""},
		"a mean by the key":                        {`SELECT ` + plain + `, avg(amount) OVER (PARTITION BY id) AS r FROM o`, random, "", ""},
		"a place among all rows":                   {`SELECT ` + plain + `, percent_rank() OVER (ORDER BY amount) AS r FROM o`, random, "", all},
		"a place among earlier rows":               {`SELECT ` + plain + `, percent_rank() OVER (PARTITION BY t ORDER BY amount) AS r FROM o`, random, "", ""},
		"a place in time":                          {`SELECT ` + plain + `, cume_dist() OVER (ORDER BY t) AS r FROM o`, random, "", ""},
		"a place among the rows of a customer":     {`SELECT ` + plain + `, CAST(ntile(4) OVER (PARTITION BY customer ORDER BY amount) AS DOUBLE) AS r FROM o`, random, "", shared},
		"a mean of another table":                  {`SELECT ` + plain + `, (SELECT avg(price) FROM p) AS r FROM o`, random, "", ""},
		"a mean by channel of another table":       {`SELECT o.id, o.t, o.customer, o.refund > 0 AS refunded, g.r FROM o LEFT JOIN (SELECT channel, avg(price) AS r FROM p GROUP BY channel) AS g ON o.channel = g.channel`, random, "", ""},
		"a row of the customer's own":              {`SELECT ` + plain + `, lag(amount) OVER (PARTITION BY customer ORDER BY t, id) AS r FROM o`, random, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			system := strings.Replace(leaky, "split.#Random & {fraction: 0.3}", tt.split, 1)
			system = strings.Replace(system, "features: f:", "sources: prices: source.#CSV & {path: \"prices.csv\", schema: {channel: col.#String, price: col.#Float64}}\n\nfeatures: f:", 1)
			schema := "customer: col.#String\n\t\tr: col.#Float64 & {nullable: true}"
			if strings.Contains(tt.query, ", amount, ") {
				schema += "\n\t\tamount: col.#Float64"
			}
			if strings.Contains(tt.query, "FROM p") {
				system = strings.Replace(system, "in: o: sources.orders.out", "in: {o: sources.orders.out, p: sources.prices.out}", 1)
			}
			refuses(t, map[string]string{"shop.cue": fmt.Sprintf(system, tt.query, schema, tt.model)}, tt.want)
		})
	}
}

// Rows of customers with statistics of their events are no statistics of other rows.
func TestStatisticsOfOtherRows(t *testing.T) {
	const query = `SELECT c.id, c.t, c.refund > 0 AS refunded, coalesce(e.r, 0) AS r FROM c LEFT JOIN (SELECT customer, avg(amount) AS r FROM o GROUP BY customer) AS e ON e.customer = c.name`
	system := strings.Replace(leaky, "in: o: sources.orders.out", "in: {o: sources.orders.out, c: sources.customers.out}", 1)
	system = strings.Replace(system, "features: f:", "sources: customers: source.#CSV & {path: \"c.csv\", keys: [\"id\"], schema: {id: col.#Int64, name: col.#String, t: col.#Timestamp, refund: col.#Float64}}\n\nfeatures: f:", 1)
	refuses(t, map[string]string{"shop.cue": fmt.Sprintf(system, query, "r: col.#Float64", "")}, "")
}

func TestPredictionsForTrainingRows(t *testing.T) {
	const stacked = `
deployments: scores: serve.#Batch & {in: {model: models.m.out, table: features.%s.out}}

features: later: feature.#SQL & {
	in: o: features.f.out
	sql:       "SELECT * FROM o WHERE t >= TIMESTAMP '2024-07-01'"
	schema:    in.o.schema
	keys: ["id"]
	timestamp: "t"
}
features: second: feature.#SQL & {
	in: {o: features.f.out, s: deployments.scores.out}
	sql: "SELECT o.id, o.t, s.probability, o.%s FROM o JOIN s ON o.id = s.id %s"
	schema: {
		id:          col.#Int64
		t:           col.#Timestamp
		probability: col.#Float64 & {nullable: true}
		%[2]s: in.o.schema.%[2]s
	}
	keys: ["id"]
	timestamp: "t"
}
models: stacked: train.#SKLearn & {
	in: table: features.second.out
	label:     "%[2]s"
	estimator: "sklearn.linear_model.LogisticRegression"
	test: split.#Random
	evaluation: evaluate.#Classification
	%[4]s
}
`
	const found = "models.stacked learns from what models.m predicts for its own training rows"
	for name, tt := range map[string]struct{ rows, label, where, model, want string }{
		"the rows it was trained on":    {"f", "refunded", "", "", found},
		"later rows":                    {"later", "refunded", "", "", ""},
		"another label":                 {"f", "returned", "", "", ""},
		"only rows after a date":        {"f", "refunded", "WHERE o.t >= TIMESTAMP '2024-07-01'", "", ""},
		"a prediction that is known":    {"f", "refunded", "", `known: ["probability"]`, ""},
		"a prediction that is no input": {"f", "refunded", "", `exclude: ["probability"]`, "models.stacked has no feature columns left"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			system := strings.Replace(leaky, "\"tenon.dev/source\"", "\"tenon.dev/serve\"\n\t\"tenon.dev/source\"", 1) + stacked
			query := "SELECT id, t, amount, refund > 0 AS refunded, channel IS NULL AS returned FROM o"
			args := []any{query, "amount: col.#Float64\n\t\treturned: col.#Bool", ""}
			system = fmt.Sprintf(system[:len(system)-len(stacked)], args...) + fmt.Sprintf(stacked, tt.rows, tt.label, tt.where, tt.model)
			refuses(t, map[string]string{"shop.cue": system}, tt.want)
		})
	}
}
