package examples_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

const oneIris = `{"instances": [{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2, "petal_ratio": 7}]}`

// newStarter is what tenon init makes, on a free port.
func newStarter(t *testing.T) (s *system, url string) {
	t.Helper()
	s = &system{t: t, dir: filepath.Join(t.TempDir(), "eine Blüte 🌸")}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := s.run("destroy", "--yes"); err != nil {
			t.Errorf("destroy: %v\n%s", err, out)
		}
	})
	s.must("init")
	port := freePort(t)
	s.edit("system.cue", "8765", fmt.Sprint(port))
	return s, fmt.Sprintf("http://127.0.0.1:%d", port)
}

func TestGateKeepsAWorseModelOutOfService(t *testing.T) {
	s, url := newStarter(t)
	s.must("apply", "--yes")
	status, served := post(t, url+"/predict", oneIris)
	if status != 200 {
		t.Fatalf("POST /predict: %d %s", status, served)
	}
	contains(t, served, `"prediction":"setosa"`, `"version":1`)

	// So little freedom that the model can only guess.
	s.edit("system.cue", "params: max_iter: 1000", "params: {max_iter: 1000, C: 1e-9}")
	out, err := s.run("apply", "--yes")
	if err == nil {
		t.Fatal("the gate held a model that guesses")
	}
	contains(t, out, "models/species/gate", "is below the floor 0.9", "models/species/register", "depends on models/species/gate")
	if status, now := post(t, url+"/predict", oneIris); status != 200 || now != served {
		t.Errorf("the service no longer answers as before: %d %s", status, now)
	}

	s.edit("system.cue", "C: 1e-9", "C: 2.0")
	s.must("apply", "--yes")
	_, served = post(t, url+"/predict", oneIris)
	contains(t, served, `"version":2`)
	contains(t, s.must("models"), "2 *")
}

func TestGateComparesWithTheModelInService(t *testing.T) {
	s, _ := newStarter(t)
	s.edit("system.cue", "accuracy: {min: 0.9, baseline_gain: 0.3}", "accuracy: {min: 0.1, serving_drop: 0.02}")
	s.must("apply", "--yes")
	s.edit("system.cue", "params: max_iter: 1000", "params: {max_iter: 1000, C: 1e-9}")
	out, err := s.run("apply", "--yes")
	if err == nil {
		t.Fatal("a model far worse than the one in service passed")
	}
	contains(t, out, "models/species/gate", "model in service")
	s.edit("system.cue", "C: 1e-9", "C: 1.0")
	s.must("apply", "--yes")
	contains(t, s.must("plan"), "Nothing to do")
}

func TestEveryTrainerTrains(t *testing.T) {
	s, _ := newStarter(t)
	more := `package iris

import (
	"tenon.dev/evaluate"
	"tenon.dev/split"
	"tenon.dev/train"
)

_judged: {
	in: table: features.shapes.out
	label: "species"
	test: split.#Random & {fraction: 0.3, stratify: "species"}
	seed: 3
	evaluation: evaluate.#Classification & {gates: accuracy: min: 0.85}
}
models: {
	xgb:    train.#XGBoost & {_judged, rounds: 20, params: max_depth: 3, early_stopping: rounds: 5}
	lgbm:   train.#LightGBM & {_judged, rounds: 20, params: num_leaves: 7}
	own:    train.#Script & {_judged, script: "own.py"}
	pipe:   train.#SKLearn & {_judged
		estimator: "sklearn.svm.SVC"
		params: {probability: true, C: 2.0}
		pipeline: [{transformer: "sklearn.preprocessing.StandardScaler"}]
	}
}
`
	script := `from sklearn.neighbors import KNeighborsClassifier


def train(features, labels, *, seed, **_):
    return KNeighborsClassifier(3).fit(features, labels)
`
	for file, text := range map[string]string{"more.cue": more, "own.py": script} {
		if err := os.WriteFile(filepath.Join(s.dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.must("apply", "--yes")
	contains(t, s.must("models"), "models/xgb", "models/lgbm", "models/own", "models/pipe", "models/species")
	contains(t, s.must("plan"), "Nothing to do")
}
