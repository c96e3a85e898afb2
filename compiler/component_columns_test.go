package compiler_test

import (
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// What a table says about a column holds for what is made of the table: the model, its
// service and its predictions.
func TestRulesOfColumnsReachModelsAndServices(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
	write(t, filepath.Join(dir, "system.cue"), []byte(`package system

import (
	"tenon.dev/col"
	"tenon.dev/evaluate"
	"tenon.dev/serve"
	"tenon.dev/source"
	"tenon.dev/split"
	"tenon.dev/tenon"
	"tenon.dev/train"
)

tenon.#System & {name: "rules"}

sources: s: source.#JSON & {
	path: "s.jsonl"
	keys: ["id", "place"]
	schema: {
		id:    col.#String & {json: true}
		place: col.#Float64 & {nan: true}
		doc:   col.#String & {json: true, nullable: true}
		plain: col.#String
		y:     col.#Float64
	}
}

models: m: train.#Script & {
	in: table: sources.s.out
	script: "m.py"
	label:  "y"
	test:   split.#Random & {fraction: 0.2}
	evaluation: evaluate.#Regression
}

deployments: api: serve.#HTTP & {in: model: models.m.out}
deployments: all: serve.#Batch & {in: {model: models.m.out, table: sources.s.out}}
`))
	write(t, filepath.Join(dir, "m.py"), []byte("def train(features, labels): ...\n"))
	result, _, err := load(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	outputs := func(unit string) ir.Output {
		u := result.System.Unit(unit)
		if u == nil {
			t.Fatalf("there is no unit %s", unit)
		}
		return u.Outputs[0]
	}
	for what, schema := range map[string]ir.Schema{
		"the signature of the model": outputs("models/m/train").Signature.Input,
		"a request":                  outputs("deployments/api").Request,
	} {
		if doc := find(t, schema, "doc"); !doc.JSON || !doc.Nullable {
			t.Errorf("%s: doc is %+v", what, doc)
		}
		if find(t, schema, "plain").JSON {
			t.Errorf("%s: plain is JSON", what)
		}
	}
	predicted := outputs("deployments/all").Schema
	if !find(t, predicted, "id").JSON || !find(t, predicted, "place").NaN {
		t.Errorf("the keys of predictions are %+v", predicted)
	}
}

func find(t *testing.T, schema ir.Schema, name string) ir.Column {
	t.Helper()
	for _, c := range schema {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("there is no column %s", name)
	return ir.Column{}
}
