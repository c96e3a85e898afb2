package plane

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// votes is a classifier without probabilities, as a model in Python may be.
type votes struct {
	*model.Model
	err error
}

func (votes) Classes() []json.RawMessage {
	return []json.RawMessage{json.RawMessage(`"a"`), json.RawMessage(`"b"`)}
}

func (votes) ClassNames() []string { return []string{`"a"`, `"b"`} }

func (votes) Outputs() int { return 1 }

func (votes) Probabilities() bool { return false }

func (votes) Class(outputs []float64) (int, float64) { return int(outputs[0]), math.NaN() }

func (v votes) Predict(_ context.Context, _ []rowsql.Value, outputs []float64, _ *model.Buffer) error {
	for i := range outputs {
		outputs[i] = 1
	}
	return v.err
}

const aFlight = `{"instances": [{"at": "2024-05-17T13:37:00", "origin": "EWR", "hour": 20}]}`

func TestAModelWithoutProbabilities(t *testing.T) {
	p, _ := planeOf(t, func(c *Config) { c.Model = votes{Model: c.Model.(*model.Model)} })
	for _, query := range []string{"", "?probabilities=true"} {
		answered(t, ask(p, "POST", "/predict"+query, aFlight), 200, `{"predictions":[{"prediction":"b"}],"model":{"name":"late","version":4,"digest":"sha256:abc"}}`)
	}
	text := ask(p, "GET", "/metrics", "").Body.String()
	for _, want := range []string{
		`tenon_predictions_total{deployment="api"} 2.0`, `tenon_prediction_class_total{class="b",deployment="api"} 2.0`,
		`tenon_prediction_probability_count{deployment="api"} 0.0`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

// oneClass is a classifier that has learned a single class. It has one output, as others have
// one probability.
type oneClass struct{ votes }

func (oneClass) Classes() []json.RawMessage { return []json.RawMessage{json.RawMessage(`"a"`)} }

func (oneClass) ClassNames() []string { return []string{`"a"`} }

func (oneClass) Class([]float64) (int, float64) { return 0, math.NaN() }

func TestTheIndexOfAClassIsNoProbability(t *testing.T) {
	p, _ := planeOf(t, func(c *Config) { c.Model = oneClass{votes{Model: c.Model.(*model.Model)}} })
	for _, r := range p.newResults() {
		if r.Name != predictionName {
			t.Errorf("a model without probabilities has %s", r.Name)
		}
	}
}

// Versions that share processes have one set of their metrics, whichever of them is in the route.
func TestMetricsOfSharedWorkers(t *testing.T) {
	shared := &workers{batches: newHistogram(batchBuckets)}
	a, _ := planeOf(t, func(c *Config) { c.workers, c.Version = shared, "v1" })
	b, _ := planeOf(t, func(c *Config) { c.workers, c.Version = shared, "v2" })
	for _, planes := range [][]*Plane{{a, b}, {a}, {b}} {
		w := &metricText{}
		for _, p := range planes {
			w.all = map[string]string{"version": p.Version}
			p.metrics.write(w)
		}
		if n := strings.Count(string(w.bytes()), "\ntenon_worker_restarts_total{"); n != 1 {
			t.Errorf("%d versions show the restarts of their processes %d times", len(planes), n)
		}
	}
}

func TestFaultsOfWorkers(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{worker.ErrTimeout, 504, `{"detail":"the model did not answer in time"}`},
		{errors.New("two workers have ended"), 500, `{"detail":"the model failed; the log of the service says why"}`},
	} {
		var log logged
		p, _ := planeOf(t, func(c2 *Config) { c2.Model, c2.Log = votes{c2.Model.(*model.Model), c.err}, log.add })
		answered(t, ask(p, "POST", "/predict", aFlight), c.status, c.body)
		if c.status == 500 && !strings.Contains(log.String(), c.err.Error()) {
			t.Errorf("the log is %q", log.String())
		}
	}
}

// A model that Go cannot evaluate is not loaded without an interpreter, nor unchecked.
func TestAModelInPythonIsCheckedBeforeItIsLoaded(t *testing.T) {
	dir := folder(t, nil)
	if err := os.Remove(filepath.Join(dir, Exported)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		digest string
		python []string
		want   string
	}{
		{"", nil, "wanted the interpreter and the script"},
		{"", []string{"/bin/false", "x"}, "which digest the model has"},
		{"sha256:" + strings.Repeat("0", 64), []string{"/bin/false", "x"}, "it was changed after it was made, and is not loaded"},
	} {
		s := &step.Step{
			Unit: "deployments/api", Scratch: t.TempDir(), Endpoint: &ir.Endpoint{Port: freePort(t)},
			Inputs: map[string]step.Port{"model": {Kind: ir.Model, Path: dir, Digest: c.digest}},
		}
		if err := Run(t.Context(), s, c.python); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}
