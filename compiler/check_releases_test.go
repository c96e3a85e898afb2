package compiler_test

import (
	"fmt"
	"testing"
)

// releaseSystem is a system with the release of a service, %s.
const releaseSystem = `package shop

import (
	"tenon.dev/col"
	"tenon.dev/evaluate"
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
	schema: {
		id:       col.#Int64 & {unique: true}
		customer: col.#String & {nullable: true}
		amount:   col.#Float64
		late:     col.#Bool
	}
}
models: late: train.#SKLearn & {
	in: table: sources.orders.out
	label:     "late"
	exclude: ["id"]
	test:      split.#Random & {fraction: 0.2}
	estimator: "sklearn.ensemble.HistGradientBoostingClassifier"
	evaluation: evaluate.#Classification
}
deployments: api: serve.#HTTP & {
	in: model: models.late.out
	%s
}
`

func TestReleases(t *testing.T) {
	for name, tt := range map[string]struct{ release, want string }{
		"the defaults":               {`release: {}`, ""},
		"a step of everything":       {`release: steps: [100]`, ""},
		"ascending steps":            {`release: steps: [1, 2, 100]`, ""},
		"equal steps":                {`release: steps: [1, 1, 100]`, "the steps of deployments.api do not ascend: 1 comes after 1"},
		"descending steps":           {`release: steps: [50, 10]`, "the steps of deployments.api do not ascend: 10 comes after 50"},
		"a column of the request":    {`release: by: "customer"`, ""},
		"a column of the table":      {`release: by: "id"`, `by of deployments.api names "id", which is no column of its requests`},
		"a column that is misspelt":  {`release: by: "custmer"`, `by of deployments.api names "custmer", which is no column of its requests`},
		"a judge of errors":          {`release: judge: error_rate: max: 0.01`, ""},
		"a judge of differences":     {`release: {shadow: 0.1, judge: disagreement: max: 0.2}`, ""},
		"differences without shadow": {`release: judge: disagreement: max: 0.2`, "the judge of deployments.api limits disagreement, but no rows are compared"},
		"a p99":                      {`release: judge: p99: "50ms"`, ""},
		"a p99 of nothing":           {`release: judge: p99: "0s"`, "no request of deployments.api can be answered within a p99 of 0s"},
		"a judge that gives up":      {`release: {each: "10m", judge: within: "2h"}`, ""},
		"a judge of another opinion": {`release: {each: "10m", judge: {within: "2h", otherwise: "next"}}`, ""},
		"one that gives up at once":  {`release: {each: "10m", judge: within: "10m"}`, "the judge of deployments.api waits for requests no longer than 10m, but a step lasts 10m"},
		"a step of a day":            {`release: each: "1d"`, ""},
		"a step of ages":             {`release: each: "40000d"`, "a number of deployments.api is too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": fmt.Sprintf(releaseSystem, tt.release)}, tt.want)
		})
	}
}
