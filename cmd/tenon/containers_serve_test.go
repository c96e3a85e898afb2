package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// servedInContainers has two services: one whose features in Python have a package that its model has
// not, and one that checks its requests.
const servedInContainers = `package shop

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
name:   "shop"
target: "here"
targets: here: %s

sources: orders: source.#CSV & {
	path: "orders.csv"
	keys: ["id"]
	schema: {id: col.#String, amount: col.#Int64 & {min: 0}, late: col.#Bool}
}
features: paid: feature.#SQL & {
	in: o: sources.orders.out
	keys: ["id"]
	sql: "SELECT id, amount, amount %% 7 AS rest, late FROM o"
	schema: {id: in.o.schema.id, amount: in.o.schema.amount, rest: col.#Int64, late: in.o.schema.late}
}
features: named: feature.#Python & {
	in: p: features.paid.out
	script:   "names.py"
	row:      true
	packages: ["six==1.17.0"]
	keys: ["id"]
	schema: {id: in.p.schema.id, amount: in.p.schema.amount, rest: in.p.schema.rest, major: col.#Int64, late: in.p.schema.late}
}
models: [_]: train.#SKLearn & {
	label:      "late"
	test:       split.#Random & {fraction: 0.2}
	estimator:  "sklearn.ensemble.HistGradientBoostingClassifier"
	evaluation: evaluate.#Classification
}
models: named: in: table: features.named.out
models: plain: in: table: features.paid.out
deployments: named: serve.#HTTP & {
	in: {model: models.named.out, table: features.named.out}
	request: o: exclude: ["late"]
	returns: ["id", "major"]
	port: %d
	log: interval: "1s"
}
deployments: checked: serve.#HTTP & {
	in: {model: models.plain.out, table: features.paid.out}
	request: o: exclude: ["late"]
	returns: ["id"]
	port:   %d
	parity: 1
}
`

// A service in a container asks a function in Python in an environment of its own, and another one
// computes its requests again with DuckDB.
func TestServicesInContainers(t *testing.T) {
	_, target, env := startContainers(t)
	s := newSystem(t, nil)
	s.program = "tenon"
	env = append(env, "TENON_CACHE="+sharedCache(t))
	var orders strings.Builder
	for i := range 80 {
		fmt.Fprintf(&orders, "o%d,%d,%t\n", i, i*31%97, i*31%97 > 40)
	}
	s.write("orders.csv", "id,amount,late\n"+orders.String())
	s.write("names.py", "import six\n\n\ndef transform(rest):\n    return {\"major\": int(six.__version__.split(\".\")[0]) + rest}\n")
	named, checked := freePort(t), freePort(t)
	s.write("system.cue", fmt.Sprintf(servedInContainers, target(fmt.Sprintf("base: %q", madeImage)), named, checked))
	says := func(want string, args ...string) {
		t.Helper()
		if out, err := s.tenon(args, env...); err != nil || !strings.Contains(out, want) {
			t.Fatalf("%v: %v, want %q in\n%s", args, err, want, out)
		}
	}
	t.Cleanup(func() {
		if out, err := s.tenon([]string{"destroy", "--yes"}, env...); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		s.remove()
	})
	says("deployments/checked", "apply", "--yes")
	ask := func(port int, want string) {
		t.Helper()
		r, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/predict", port), "application/json", strings.NewReader(`{"instances": [{"id": "x", "amount": 10}]}`))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if b, err := io.ReadAll(r.Body); err != nil || r.StatusCode != 200 || !strings.Contains(string(b), want) {
			t.Fatalf("%d %s, %v", r.StatusCode, b, err)
		}
	}
	ask(named, `"id":"x","major":4`) // the first of 1.17.0, and 10 % 7
	ask(checked, `"id":"x"`)
	until := func(want string, args ...string) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
			out, err := s.tenon(args, env...)
			if err == nil && strings.Contains(out, want) {
				return
			}
			if time.Now().After(end) {
				log, _ := s.tenon([]string{"logs", "deployments/checked"}, env...)
				t.Fatalf("%v: %v, want %q in\n%s\nthe log is\n%s", args, err, want, out, log)
			}
		}
	}
	until("v1", "requests", "deployments/named")
	until("deployments/checked: checked 1 row, of which 0 differ", "requests", "deployments/checked", "--different")
}
