package model_test

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// exported is a model that stdlib/lib/model/test_plane.py has trained, a request, and what
// the model itself predicted.
type exported struct {
	Document    model.Document
	Request     json.RawMessage
	Predictions []struct {
		Prediction  json.RawMessage
		Probability *float64
	}
}

func read(t testing.TB, path string) (*model.Model, exported) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var x exported
	if err := json.Unmarshal(b, &x); err != nil {
		t.Fatal(err)
	}
	m, err := model.New(x.Document)
	if err != nil {
		t.Fatal(err)
	}
	return m, x
}

func TestPredictionsAreThoseOfPython(t *testing.T) {
	paths, err := filepath.Glob("_testdata/*.json")
	if err != nil || len(paths) < 6 {
		t.Fatalf("%d models, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			m, x := read(t, path)
			d, err := request.New(m.Columns(), 1000)
			if err != nil {
				t.Fatal(err)
			}
			var rows request.Rows
			if errs := d.Decode(x.Request, &rows); len(errs) > 0 {
				t.Fatal(errs)
			}
			var b model.Buffer
			outputs := make([]float64, m.Outputs())
			for i, want := range x.Predictions {
				if err := m.Predict(t.Context(), rows.Row(i), outputs, &b); err != nil {
					t.Fatal(err)
				}
				if want.Probability == nil {
					var number float64
					if err := json.Unmarshal(want.Prediction, &number); err != nil || outputs[0] != number {
						t.Errorf("row %d: %v, want %s", i, outputs[0], want.Prediction)
					}
					continue
				}
				class, p := m.Class(outputs)
				if string(m.Classes()[class]) != string(want.Prediction) || p != *want.Probability {
					t.Errorf("row %d: %s with %v, want %s with %v", i, m.Classes()[class], p, want.Prediction, *want.Probability)
				}
			}
		})
	}
}

func TestPredictAllocatesNothing(t *testing.T) {
	m, x := read(t, "_testdata/hist.json")
	d, err := request.New(m.Columns(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	var rows request.Rows
	if errs := d.Decode(x.Request, &rows); len(errs) > 0 {
		t.Fatal(errs)
	}
	var b model.Buffer
	outputs := make([]float64, m.Outputs())
	if n := testing.AllocsPerRun(100, func() {
		if err := m.Predict(t.Context(), rows.Row(0), outputs, &b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a row", n)
	}
}

// Trees that read float32 take no number that is none of theirs: it would be infinite.
func TestNumbersBeyondFloat32(t *testing.T) {
	for name, refused := range map[string]bool{
		"forest": true, "extra_trees": true, "xgboost": true, "hist": false, "hist_regression": false, "lightgbm": false,
	} {
		m, _ := read(t, "_testdata/"+name+".json")
		for _, wind := range []float64{1e300, -1e300, math.MaxFloat32} {
			row := []rowsql.Value{rowsql.Int(0), rowsql.Null, rowsql.String("EWR"), rowsql.Int(20), rowsql.Float(wind), rowsql.Null}
			var b model.Buffer
			err := m.Predict(t.Context(), row, make([]float64, m.Outputs()), &b)
			var value *model.ValueError
			if got := errors.As(err, &value) && value.Column == "wind"; got != (refused && math.Abs(wind) > math.MaxFloat32) {
				t.Errorf("%s, wind %v: %v", name, wind, err)
			}
		}
	}
}
