package parity_test

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/linear"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/parity"
)

// constant is a linear model of two of the features that has no weights.
func constant(t testing.TB, task string, link linear.Link, intercept float64) *model.Model {
	t.Helper()
	zero := 0.0
	doc := model.Document{Version: 2, Task: task, Columns: ir.Schema{computed[3], computed[2]},
		Features: []model.Feature{{Column: 0, As: model.Number, Missing: &zero}, {Column: 1, As: model.Number, Missing: &zero}},
		Linear:   &linear.Model{Version: 1, Weights: [][]float64{{0, 0}}, Intercepts: []float64{intercept}, Link: link, Tolerance: 1e-12},
	}
	if task == "classification" {
		doc.Classes = []json.RawMessage{json.RawMessage("false"), json.RawMessage("true")}
	}
	m, err := model.New(doc)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// everywhere makes a program in the place of Python that predicts the same for all rows but
// those in other.
func (s *shop) everywhere(same []float64, other map[int][]float64) {
	s.Helper()
	var b []byte
	for i := range rows {
		record := same
		if r, ok := other[i]; ok {
			record = r
		}
		for _, x := range record {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
		}
	}
	if err := os.WriteFile(s.python+".out", b, 0o600); err != nil {
		s.Fatal(err)
	}
}

// A linear model may differ from Python by its tolerance, and by no more.
func TestLinearModelsMayDifferByRounding(t *testing.T) {
	for name, c := range map[string]struct {
		model *model.Model
		same  []float64
		other map[int][]float64
		says  string // "" if there is no difference
	}{
		"a rounded number": {constant(t, "regression", linear.Identity, 0.1), []float64{0.1}, map[int][]float64{2000: {0.1 + 5e-14}}, ""},
		"another number":   {constant(t, "regression", linear.Identity, 0.1), []float64{0.1}, map[int][]float64{2000: {0.1 + 5e-13}}, "row 2001 of the source (id=2000): the prediction: wanted 0.1000000000005"},
		"no number":        {constant(t, "regression", linear.Identity, 0.1), []float64{0.1}, map[int][]float64{2000: {math.NaN()}}, "wanted NaN"},
		"either of two equal classes": {constant(t, "classification", linear.Logistic, 1e-17), []float64{1, 0.5, 0.5},
			map[int][]float64{2000: {0, 0.5, 0.5}, 2001: {0, 0.5 + 1e-13, 0.5 - 1e-13}}, ""},
		"another class":            {constant(t, "classification", linear.Logistic, 1), []float64{1, 1 - 0.7310585786300049, 0.7310585786300049}, map[int][]float64{2000: {0, 1 - 0.7310585786300049, 0.7310585786300049}}, "wanted class 0"},
		"a class that is not":      {constant(t, "classification", linear.Logistic, 1e-17), []float64{1, 0.5, 0.5}, map[int][]float64{2000: {2, 0.5, 0.5}}, "wanted class 2"},
		"a class that is negative": {constant(t, "classification", linear.Logistic, 1e-17), []float64{1, 0.5, 0.5}, map[int][]float64{2000: {-1, 0.5, 0.5}}, "wanted class -1"},
		"another probability":      {constant(t, "classification", linear.Logistic, 1e-17), []float64{1, 0.5, 0.5}, map[int][]float64{2000: {0, 0.5 + 1e-11, 0.5 - 1e-11}}, "wanted 0.50000000001"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, unfiltered)
			s.model = c.model
			s.everywhere(c.same, c.other)
			r, err := s.run()
			switch {
			case c.says == "" && err != nil:
				t.Error(err)
			case c.says == "" && r.Counts.Predictions != rows:
				t.Errorf("%d predictions", r.Counts.Predictions)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || r.Counts.Differences[parity.Prediction] != 1):
				t.Errorf("%v\nwant %q", err, c.says)
			}
		})
	}
}
