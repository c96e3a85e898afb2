package plane

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// explained is a plane that explains one of the kept models.
func explained(t testing.TB, name string, change func(*Config)) (*Plane, exported) {
	t.Helper()
	m, x := readExported(t, name)
	explainer, err := model.NewExplainer(m, x.Document)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := planeOf(t, func(c *Config) {
		c.Model, c.Explainer = m, explainer
		if len(m.Classes()) == 0 {
			c.Task, c.Label = "regression", ir.Column{Name: "delay", Type: "float64"}
		} else if len(m.Classes()) > 2 {
			c.Label = ir.Column{Name: "kind", Type: "string"}
		}
		if change != nil {
			change(c)
		}
	})
	return p, x
}

// What is explained is the prediction: contributions and base add up to what the probability is made of.
func TestContributionsAddUpToThePrediction(t *testing.T) {
	for name, unit := range map[string]string{
		"hist": "log-odds", "hist_regression": "prediction", "forest": "probability", "extra_trees": "prediction", "lightgbm": "score", "xgboost": "log-odds",
	} {
		t.Run(name, func(t *testing.T) {
			p, x := explained(t, name, nil)
			w := ask(p, "POST", "/explain?probabilities=true", string(x.Request))
			var got struct {
				Explanations []struct {
					Prediction          any
					Probabilities       map[string]float64
					Base, Contributions json.RawMessage
				}
				Explains string
				Class    any
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || len(got.Explanations) != len(x.Predictions) || got.Explains != unit {
				t.Fatalf("%d %.300s, %v", w.Code, w.Body, err)
			}
			if unit == "log-odds" != (got.Class == true) {
				t.Errorf("the class is %v", got.Class)
			}
			for i, e := range got.Explanations {
				sums := map[string]float64{}
				var bases map[string]float64
				var parts map[string]map[string]float64
				if p.Explainer.Classes() == nil || len(p.Explainer.Classes()) == 1 {
					e.Base = json.RawMessage(`{"true":` + string(e.Base) + `}`)
					e.Contributions = json.RawMessage(`{"true":` + string(e.Contributions) + `}`)
				}
				if json.Unmarshal(e.Base, &bases) != nil || json.Unmarshal(e.Contributions, &parts) != nil {
					t.Fatalf("%s %s", e.Base, e.Contributions)
				}
				for class, base := range bases {
					sums[class] = base
					if len(parts[class]) != len(p.columns) {
						t.Fatalf("%d contributions of %d columns", len(parts[class]), len(p.columns))
					}
					for _, v := range parts[class] {
						sums[class] += v
					}
				}
				want := e.Probabilities
				switch unit {
				case "log-odds":
					sums["true"] = 1 / (1 + math.Exp(-sums["true"]))
					sums["false"] = 1 - sums["true"]
				case "score":
					total := 0.0
					for class := range sums {
						sums[class] = math.Exp(sums[class])
						total += sums[class]
					}
					for class := range sums {
						sums[class] /= total
					}
				case "prediction":
					want = map[string]float64{"true": e.Prediction.(float64)}
				}
				if len(sums) != len(want) {
					t.Fatalf("%v, wanted %v", sums, want)
				}
				tolerance := 1e-12
				if name == "xgboost" {
					tolerance = 1e-6
				}
				for class, v := range want {
					if math.Abs(sums[class]-v) > tolerance*max(1, math.Abs(v)) {
						t.Fatalf("row %d: %v, wanted %v", i, sums, want)
					}
				}
			}
		})
	}
}

// With features, contributions are those of the inputs of the model, and stand beside them.
func TestExplanationsOfComputedFeatures(t *testing.T) {
	p, _ := explained(t, "hist", func(c *Config) {
		c.Features = inputs{c.Model.Columns()}
	})
	w := ask(p, "POST", "/explain", `{"instances":[{"hours":7}]}`)
	var got struct {
		Explanations []struct {
			Inputs        map[string]any
			Contributions map[string]float64
			Hours         int
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
		t.Fatalf("%d %s %v", w.Code, w.Body, err)
	}
	e := got.Explanations[0]
	if e.Inputs["hour"] != 7.0 || e.Inputs["wind"] != nil || e.Inputs["at"] != "2024-05-17T13:37:00" || len(e.Inputs) != 6 || len(e.Contributions) != 6 || e.Hours != 7 {
		t.Errorf("%s", w.Body)
	}
	if _, err := New(Config{Model: p.Model, Explainer: p.Explainer, Features: computed(ir.Schema{{Name: "base", Type: "bool"}}, nil), MaxRows: 1}); err == nil {
		t.Error("an explanation has two fields with one name")
	}
}

// inputs are features that are computed from a number of hours.
type inputs struct{ model ir.Schema }

func (inputs) Columns() ir.Schema    { return ir.Schema{{Name: "hours", Type: "int64"}} }
func (inputs) Returns() ir.Schema    { return ir.Schema{{Name: "hours", Type: "int64"}} }
func (f inputs) NewRow() RowComputer { return f }
func (f inputs) Position() int64     { return 0 }
func (f inputs) Missed() string      { return "" }

func (f inputs) Compute(request, row, returned []rowsql.Value) (bool, error) {
	for i, c := range f.model {
		switch row[i] = rowsql.Null; c.Name {
		case "at":
			row[i] = rowsql.Int(1715953020000000)
		case "hour":
			row[i] = request[0]
		case "origin":
			row[i] = rowsql.String("EWR")
		}
	}
	copy(returned, request)
	return true, nil
}

func TestExplanationsAreRefusedAsPredictionsAre(t *testing.T) {
	p, x := explained(t, "xgboost", func(c *Config) { c.MaxRows, c.MaxBytes = 5, 2000 })
	row := func(more string) string {
		return `{"instances":[{"at":"2024-05-17T13:37:00","origin":"EWR","hour":20` + more + `}]}`
	}
	for _, body := range []string{
		string(x.Request), "", "{}", row(`,"wind":NaN`), row(`,"wind":1e300`), row(`,"wind":"x"`), row(`,"other":1`), `{"instances":[1,2,3,4,5,6]}`,
	} {
		predicted, explained := ask(p, "POST", "/predict", body), ask(p, "POST", "/explain", body)
		if predicted.Code < 400 || explained.Code != predicted.Code || explained.Body.String() != predicted.Body.String() {
			t.Errorf("%.100s: %d %s, predictions answer %d %s", body, explained.Code, explained.Body, predicted.Code, predicted.Body)
		}
	}
	answered(t, ask(p, "POST", "/explain?probabilities=maybe", row("")), 422, "")
	answered(t, ask(p, "GET", "/explain", ""), 405, "")
	answered(t, ask(p, "POST", "/explain", row("")), 200, "")
	w := ask(p, "GET", "/metrics", "")
	for _, want := range []string{
		`tenon_http_requests_total{code="200",deployment="api",path="/explain"} 1.0`,
		`tenon_predictions_total{deployment="api"} 0.0`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("no %s in %s", want, w.Body)
		}
	}
	p.slots <- struct{}{}
	p.slots <- struct{}{}
	p.waiting.Store(int64(p.Waiting))
	answered(t, ask(p, "POST", "/explain", row("")), 429, "")
}

// many is an explainer with so many classes that few rows fill an answer.
type many struct{ Explainer }

func (many) Base() []float64 { return make([]float64, mostContributions/12) }

func TestAnswersAreBounded(t *testing.T) {
	p, x := explained(t, "hist", func(c *Config) { c.Explainer = many{c.Explainer} })
	w := ask(p, "POST", "/explain", string(x.Request))
	answered(t, w, 422, `{"detail":[{"type":"value_error","loc":["body","instances"],"msg":"at most 2 instances of this model are explained at a time"}]}`)
}

func TestModelsThatAreNotExplained(t *testing.T) {
	p, x := planeOf(t, nil)
	answered(t, ask(p, "POST", "/explain", string(x.Request)), 404, `{"detail":"Not Found"}`)
	said := func(c *Config, folder string) string {
		if err := c.explain(&step.Step{Inputs: map[string]step.Port{"model": {Path: folder}}}); err != nil {
			t.Fatal(err)
		}
		p, err := New(*c)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(ask(p, "GET", "/openapi.json", "").Body.String(), "xplain") {
			t.Error("it is documented")
		}
		w := ask(p, "POST", "/explain", string(x.Request))
		answered(t, w, http.StatusNotImplemented, "")
		return w.Body.String()
	}
	c := p.Config
	c.Model = struct{ Predictor }{p.Model}
	if got := said(&c, ""); !strings.Contains(got, "only predictions of trees") {
		t.Error(got)
	}
	// One of an earlier version of Tenon.
	dir := t.TempDir()
	old := bytes.ReplaceAll(x.Document, []byte(`"covers"`), []byte(`"others"`))
	if err := os.WriteFile(filepath.Join(dir, Exported), old, 0o644); err != nil {
		t.Fatal(err)
	}
	c = p.Config
	if got := said(&c, dir); !strings.Contains(got, "trained by an earlier version") {
		t.Error(got)
	}
}

func TestExplanationsAreDocumented(t *testing.T) {
	for _, name := range []string{"hist", "lightgbm", "extra_trees"} {
		p, _ := explained(t, name, nil)
		var doc struct {
			Paths      map[string]any
			Components struct {
				Schemas map[string]struct {
					Required   []string
					Properties map[string]any
				}
			}
		}
		if err := json.Unmarshal(ask(p, "GET", "/openapi.json", "").Body.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		if doc.Paths["/explain"] == nil || doc.Components.Schemas["Explanation"].Properties["contributions"] == nil ||
			len(doc.Components.Schemas["ExplainResponse"].Required) < 3 {
			t.Errorf("%s: %v", name, doc)
		}
		if page := ask(p, "GET", "/docs", "").Body.String(); !strings.Contains(page, "<code>POST /explain</code>") {
			t.Error(page)
		}
	}
}

// What an explanation costs does not grow with its rows.
func TestExplanationsAllocateNothing(t *testing.T) {
	p, _ := explained(t, "hist", nil)
	_, body := manyRows(t, 100)
	e := &explaining{p: p, tail: []byte("}")}
	for range p.columns {
		e.names = append(e.names, []byte(`"x":`))
	}
	x := p.newWork()
	x.body.Write(body)
	if n := testing.AllocsPerRun(20, func() {
		p.slots <- struct{}{}
		if !e.compute(t.Context(), x, true) {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations for 100 rows", n)
	}
}
