package compiler_test

import (
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib"
)

const networkSystem = `package t

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
name: "t"
sources: s: source.#CSV & {
	path: "s.csv"
	schema: {x: col.#Float64, y: col.#Bool}
}
models: m: train.#PyTorch & {
	in: table: sources.s.out
	label:      "y"
	test:       split.#Random & {}
	evaluation: evaluate.#Classification
	script:     "net.py"
}
deployments: api: serve.#HTTP & {in: model: models.m.out}
deployments: scores: serve.#Batch & {in: {model: models.m.out, table: sources.s.out}}
`

// Only training has PyTorch. A service is the program that can load ONNX Runtime.
func TestModelsThatAreLoadedInAnotherEnvironment(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
	write(t, filepath.Join(dir, "t.cue"), []byte(networkSystem))
	write(t, filepath.Join(dir, "net.py"), []byte("def network(inputs, outputs):\n    return None\n"))
	write(t, filepath.Join(dir, "s.csv"), []byte("x,y\n1,true\n"))
	r, _, err := load(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]struct {
		lock    string
		runtime ir.Runtime
	}{
		"models/m/train":     {"train/pytorch", ir.Python},
		"models/m/evaluate":  {"lib/onnx", ir.Python},
		"deployments/api":    {"lib/onnx", ir.PlaneDuckDB},
		"deployments/scores": {"lib/onnx", ir.Python},
	} {
		lock, err := fs.ReadFile(stdlib.Files(), want.lock+"/requirements.lock")
		if err != nil {
			t.Fatal(err)
		}
		u := r.System.Unit(id)
		if u == nil {
			t.Fatalf("no unit %s", id)
		}
		if u.Code.Lock != ir.Sum(lock) || u.Code.Runtime != want.runtime {
			t.Errorf("%s has the runtime %q and the lock %s; wanted %q and %s", id, u.Code.Runtime, u.Code.Lock, want.runtime, want.lock)
		}
	}
}
