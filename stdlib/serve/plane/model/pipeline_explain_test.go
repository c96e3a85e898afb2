package model_test

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
)

// document is a kept one as a model folder has it.
func document(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("_testdata/pipelines/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var x struct{ Document json.RawMessage }
	if err := json.Unmarshal(b, &x); err != nil {
		t.Fatal(err)
	}
	return x.Document
}

// What steps make of a column counts as that column, and all of it adds up to the prediction.
func TestTreesAfterStepsAreExplainedByColumn(t *testing.T) {
	for name, sum := range map[string]func(outputs []float64) float64{
		"mixed":    func(p []float64) float64 { return math.Log(p[1] / p[0]) },
		"ordinal":  func(p []float64) float64 { return math.Log(p[1] / p[0]) },
		"imputers": func(p []float64) float64 { return p[1] },
	} {
		t.Run(name, func(t *testing.T) {
			m, x := readPiped(t, "_testdata/pipelines/"+name+".json")
			explainer, err := model.NewExplainer(m, document(t, name))
			if err != nil {
				t.Fatal(err)
			}
			d, err := request.New(m.Columns(), 1)
			if err != nil {
				t.Fatal(err)
			}
			var rows request.Rows
			var b model.Buffer
			contributed := make([]bool, len(m.Columns()))
			for _, row := range x.Request.Instances[:40] {
				if errs := d.Decode([]byte(`{"instances":[`+string(row)+`]}`), &rows); len(errs) > 0 {
					t.Fatal(errs)
				}
				outputs, parts := make([]float64, m.Outputs()), make([]float64, len(m.Columns()))
				if err := m.Predict(t.Context(), rows.Row(0), outputs, &b); err != nil {
					t.Fatal(err)
				}
				if err := explainer.Explain(t.Context(), rows.Row(0), parts, &b); err != nil {
					t.Fatal(err)
				}
				got := explainer.Base()[0]
				for i, p := range parts {
					got += p
					contributed[i] = contributed[i] || p != 0
				}
				if want := sum(outputs); math.Abs(got-want) > 1e-9 {
					t.Errorf("%s: contributions add up to %v, the prediction is %v", row, got, want)
				}
			}
			if !contributed[4] { // town, of which a step makes numbers
				t.Errorf("%v: the town contributes nothing", contributed)
			}
		})
	}
}

func TestWhatIsNotExplained(t *testing.T) {
	m, _ := readPiped(t, "_testdata/pipelines/logistic.json")
	if _, err := model.NewExplainer(m, document(t, "logistic")); err == nil || !strings.Contains(err.Error(), "it is a linear model") {
		t.Error(err)
	}
	_, x := readPiped(t, "_testdata/pipelines/ordinal.json")
	x.Document.Steps = append(x.Document.Steps, model.Step{Op: model.OpProduct, Of: []int{0, 1}})
	m, err := model.New(x.Document)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := model.NewExplainer(m, document(t, "ordinal")); err == nil || !strings.Contains(err.Error(), "multiplies columns") {
		t.Error(err)
	}
}
