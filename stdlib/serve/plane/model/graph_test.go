package model_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

const graph = `{
	"version": 3, "task": "regression",
	"columns": [{"name": "size", "type": "int64"}, {"name": "kind", "type": "string", "nullable": true}],
	"features": [
		{"column": 0, "as": "number"},
		{"column": 1, "as": "onehot", "category": "a"},
		{"column": 1, "as": "onehot", "category": null}
	],
	"onnx": {"file": "model.onnx", "digest": "sha256:0", "inputs": 3, "outputs": 1, "rows": 2, "runtime": "1.32.0", "tolerance": 1e-6, "scale": 1}
}`

// calls is a graph that adds up the numbers of a row, and notes how it was asked.
type calls []string

func (c *calls) Run(numbers, outputs []float64, _ *any) error {
	*c = append(*c, fmt.Sprint(numbers))
	for i := range outputs {
		for _, x := range numbers[i*3 : (i+1)*3] {
			outputs[i] += x
		}
	}
	return nil
}

func openGraph(t *testing.T, document string) (*model.Model, *calls, error) {
	t.Helper()
	var doc model.Document
	if err := json.Unmarshal([]byte(document), &doc); err != nil {
		t.Fatal(err)
	}
	m, err := model.New(doc)
	if err != nil {
		return nil, nil, err
	}
	asked := &calls{}
	defer func(before func(*model.ONNX, string, string) (model.Graph, error)) { model.OpenGraph = before }(model.OpenGraph)
	model.OpenGraph = func(o *model.ONNX, file, python string) (model.Graph, error) {
		if file != "/m/model.onnx" || python != "/env/bin/python" || o.Digest != "sha256:0" {
			t.Errorf("opened %s in %s", file, python)
		}
		return asked, nil
	}
	return m, asked, m.Open("/m", "/env/bin/python")
}

func row(size int64, kind string) []rowsql.Value {
	return []rowsql.Value{{Bits: uint64(size)}, {Text: kind, Null: kind == ""}}
}

func TestAGraphGetsNoMoreRowsThanItTakes(t *testing.T) {
	m, asked, err := openGraph(t, graph)
	if err != nil {
		t.Fatal(err)
	}
	rows := append(append(row(10, "a"), row(20, "b")...), row(30, "")...)
	outputs := make([]float64, 3)
	if err := m.Predict(t.Context(), rows, outputs, &model.Buffer{}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(outputs, *asked); got != "[11 20 31] [[10 1 0 20 0 0] [30 0 1]]" {
		t.Error(got)
	}
}

func TestARowThatAGraphCannotTakeIsNamed(t *testing.T) {
	m, _, err := openGraph(t, graph)
	if err != nil {
		t.Fatal(err)
	}
	rows := append(append(append(row(1, "a"), row(1, "a")...), row(1, "a")...), row(1<<53+1, "a")...)
	err = m.Predict(t.Context(), rows, make([]float64, 4), &model.Buffer{})
	var of *model.RowError
	var value *model.ValueError
	if !errors.As(err, &of) || of.Row != 3 || !errors.As(err, &value) || value.Column != "size" {
		t.Error(err)
	}
}

func TestPredictionsOfAGraphMayDifferByItsTolerance(t *testing.T) {
	m, _, err := openGraph(t, strings.Replace(graph, `"scale": 1`, `"scale": 64`, 1))
	if err != nil {
		t.Fatal(err)
	}
	for want, most := range map[float64]float64{3: 64e-6, -200: 200e-6} {
		if got := m.Allowed(nil, []float64{want}, &model.Buffer{}); math.Abs(got-most) > 1e-18 {
			t.Errorf("%v may differ by %v, wanted %v", want, got, most)
		}
	}
}

func TestAProgramWithoutONNXRuntimeSaysSo(t *testing.T) {
	var doc model.Document
	if err := json.Unmarshal([]byte(graph), &doc); err != nil {
		t.Fatal(err)
	}
	m, err := model.New(doc)
	if err != nil {
		t.Fatal(err)
	}
	const want = "this program has no ONNX Runtime"
	if err := m.Open("/m", "python"); err == nil || err.Error() != want {
		t.Error(err)
	}
	if err := m.Predict(t.Context(), row(1, "a"), make([]float64, 1), &model.Buffer{}); err == nil || err.Error() != want {
		t.Error(err)
	}
}

func TestWrongGraphsAreRefused(t *testing.T) {
	for _, tt := range []struct{ old, new, want string }{
		{`"file": "model.onnx"`, `"file": "../model.onnx"`, `the graph is in "../model.onnx", which is not in the folder of the model`},
		{`"rows": 2`, `"rows": 0`, "the graph has 3 inputs and 1 outputs for 0 rows"},
		{`"inputs": 3`, `"inputs": 2`, "the model reads 2 numbers of 3"},
		{`"tolerance": 1e-6`, `"tolerance": 0.1`, "the graph has the tolerance 0.1"},
		{`"scale": 1`, `"scale": 0`, "the graph has the scale 0"},
		{`"task": "regression"`, `"task": "classification"`, "the model gives 1 numbers for a classification of 0 classes"},
		{`"onnx"`, `"linear": {}, "onnx"`, "the exported model wants one of trees, a linear model or a graph"},
	} {
		if _, _, err := openGraph(t, strings.Replace(graph, tt.old, tt.new, 1)); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, wanted %s", tt.new, err, tt.want)
		}
	}
}
