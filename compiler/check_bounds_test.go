package compiler_test

import (
	"fmt"
	"strings"
	"testing"
)

const bounded = `package shop

import (
	"tenon.dev/col"
	"tenon.dev/evaluate"
	"tenon.dev/serve"
	"tenon.dev/slo"
	"tenon.dev/source"
	"tenon.dev/split"
	"tenon.dev/tenon"
	"tenon.dev/train"
)

tenon.#System
name: "shop"

sources: orders: source.#Postgres & {
	dsn: secret: env: "DSN"
	query:   "SELECT * FROM orders"
	max_age: "1d"
	schema: {
		amount: col.#Float64
		price:  col.#Float64
		flag:   col.#Bool
	}
}

models: sold: train.#SKLearn & {
	in: table: sources.orders.out
	label:     "flag"
	estimator: "sklearn.linear_model.LogisticRegression"
	test: split.#Random
	evaluation: evaluate.#Classification & {gates: {%s}}
}

models: price: train.#SKLearn & {
	in: table: sources.orders.out
	label:     "price"
	estimator: "sklearn.linear_model.LinearRegression"
	test: split.#Random
	evaluation: evaluate.#Regression & {gates: {%s}}
}

deployments: api: serve.#HTTP & {in: model: models.sold.out}

slos: api: slo.#Objectives & {
	on:           deployments.api.out
	availability: 0.99
	%s
}
`

// Every bound that cannot hold has a twin that can.
func TestBounds(t *testing.T) {
	const of = "evaluation.gates."
	for name, tt := range map[string]struct{ sold, price, slo, want string }{
		"an AUC above one":                   {"roc_auc: min: 1.5", "", "", of + "roc_auc of models.sold has a min that roc_auc cannot have"},
		"an AUC of one":                      {"roc_auc: min: 1", "", "", ""},
		"an accuracy in percent":             {"accuracy: min: 85", "", "", of + "accuracy of models.sold has a min that accuracy cannot have"},
		"an accuracy as a share":             {"accuracy: min: 0.85", "", "", ""},
		"a negative F1":                      {"f1: max: -0.5", "", "", of + "f1 of models.sold has a max that f1 cannot have"},
		"an F1 of at least nothing":          {"f1: min: 0", "", "", ""},
		"a negative log loss":                {"log_loss: max: -0.1", "", "", of + "log_loss of models.sold has a max that log_loss cannot have"},
		"a log loss above one":               {"log_loss: max: 3.5", "", "", ""},
		"a correlation below minus one":      {"matthews_corrcoef: min: -1.5", "", "", of + "matthews_corrcoef of models.sold has a min that matthews_corrcoef cannot have"},
		"a negative correlation":             {"matthews_corrcoef: min: -0.5", "", "", ""},
		"a min above its max":                {"recall: {min: 0.8, max: 0.7}", "", "", of + "recall of models.sold has a min above its max, which no value satisfies"},
		"a min below its max":                {"recall: {min: 0.7, max: 0.8}", "", "", ""},
		"a min that is its max":              {"recall: {min: 0.7, max: 0.7}", "", "", ""},
		"a gain above one":                   {"roc_auc: baseline_gain: 5", "", "", of + "roc_auc of models.sold asks for a larger baseline_gain than roc_auc can have"},
		"a gain below one":                   {"roc_auc: baseline_gain: 0.05", "", "", ""},
		"a negative error":                   {"", "root_mean_squared_error: max: -1", "", of + "root_mean_squared_error of models.price has a max that root_mean_squared_error cannot have"},
		"a large error":                      {"", "root_mean_squared_error: max: 1e6", "", ""},
		"an R2 above one":                    {"", "r2: min: 1.2", "", of + "r2 of models.price has a min that r2 cannot have"},
		"a negative R2":                      {"", "r2: min: -3", "", ""},
		"a large gain of an error":           {"", "max_error: baseline_gain: 50", "", ""},
		"a quality in percent":               {"", "", "quality: roc_auc: min: 90", "quality.roc_auc of slos.api has a min that roc_auc cannot have"},
		"a quality as a share":               {"", "", "quality: roc_auc: min: 0.9", ""},
		"a quality that excludes itself":     {"", "", "quality: roc_auc: {min: 0.9, max: 0.8}", "quality.roc_auc of slos.api has a min above its max, which no value satisfies"},
		"a median above the 99th percentile": {"", "", `latency: {p50: "1s", p99: "500ms"}`, "latency.p50 of slos.api is above latency.p99, which includes these requests"},
		"a median below the 99th percentile": {"", "", `latency: {p50: "100ms", p99: "0.5s"}`, ""},
		"equal quantiles in two units":       {"", "", `latency: {p90: "1000ms", p95: "1s"}`, ""},
		"three quantiles out of order":       {"", "", `latency: {p50: "10ms", p90: "2s", p95: "1s"}`, "latency.p90 of slos.api is above latency.p95, which includes these requests"},
		"fresher than the data":              {"", "", `freshness: "12h"`, "the freshness of slos.api is shorter than the time in which new data for models.sold arrives"},
		"as fresh as the data":               {"", "", `freshness: "24h"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": fmt.Sprintf(bounded, tt.sold, tt.price, tt.slo)}, tt.want)
		})
	}
}

// A file may change at any time.
func TestFreshnessOfFiles(t *testing.T) {
	system := fmt.Sprintf(bounded, "", "", `freshness: "12h"`)
	file := strings.NewReplacer("source.#Postgres", "source.#CSV", "dsn: secret: env: \"DSN\"", "", "query:   \"SELECT * FROM orders\"", `path: "orders.csv"`).Replace(system)
	refuses(t, map[string]string{"shop.cue": file}, "")
	refuses(t, map[string]string{"shop.cue": strings.Replace(system, `max_age: "1d"`, "", 1)}, "")
}
