package examples_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const orders = `package shop

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
	schema: {
		id:    col.#Int64
		code:  col.#String & {nullable: true}
		price: col.#Float64 & {min: 0}
		late:  col.#Bool
	}
}
features: order: feature.#SQL & {
	in: o: sources.orders.out
	keys: ["id"]
	sql: """
		SELECT id, CAST(regexp_extract(code, '-([0-9]+)$', 1) AS BIGINT) AS size, levenshtein(code, 'AB-10') AS far,
		       price, late
		FROM o
		"""
	schema: {
		id:    col.#Int64
		size:  col.#Int64 & {nullable: true}
		far:   col.#Int64 & {nullable: true}
		price: in.o.schema.price
		late:  col.#Bool
	}
}
models: late: train.#SKLearn & {
	in: table: features.order.out
	label:     "late"
	estimator: "sklearn.ensemble.HistGradientBoostingClassifier"
	params: max_iter: 20
	test: split.#Random & {fraction: 0.2}
	evaluation: evaluate.#Classification
}
deployments: api: serve.#HTTP & {
	in: {model: models.late.out, table: features.order.out}
	request: o: exclude: ["late"]
	engine: "duckdb"
	port:   PORT
}
`

// A service leaves to DuckDB what is not computed without it.
func TestFeaturesOfARequestByDuckDB(t *testing.T) {
	s := &system{t: t, dir: t.TempDir()}
	port := freePort(t)
	random := rand.New(rand.NewPCG(1, 2))
	var rows strings.Builder
	rows.WriteString("id,code,price,late\n")
	for i := range 400 {
		size := random.IntN(30)
		code := fmt.Sprintf("%c%c-%d", 'A'+random.IntN(3), 'B'+random.IntN(3), size)
		if i%20 == 0 {
			code = ""
		}
		fmt.Fprintf(&rows, "%d,%s,%d.5,%t\n", i, code, random.IntN(100), size > 15 && random.IntN(10) > 1)
	}
	for name, text := range map[string]string{"shop.cue": strings.ReplaceAll(orders, "PORT", fmt.Sprint(port)), "orders.csv": rows.String()} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if out, err := s.run("destroy", "--yes"); err != nil {
			t.Errorf("destroy: %v\n%s", err, out)
		}
	})
	s.must("init")
	s.must("apply", "--yes")
	url := fmt.Sprintf("http://127.0.0.1:%d/predict", port)
	status, body := post(t, url, `{"instances": [{"code": "AB-28", "price": 5.5}, {"code": "AB-2", "price": 5.5}, {"price": 1}]}`)
	if status != 200 {
		t.Fatalf("POST /predict: %d %s", status, body)
	}
	contains(t, body, `{"predictions":[{"prediction":true,`, `},{"prediction":false,`)
	status, body = post(t, url, `{"instances": [{"code": "AB-99999999999999999999", "price": 1}]}`)
	if status != 422 {
		t.Errorf("a number that the query cannot read: %d %s", status, body)
	}
	contains(t, body, "99999999999999999999")
}
