package parity_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/parity"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A model in Python predicts for other numbers of rows at once in the service than in training,
// so sums may differ in their last digits.
func TestRoundingOfAModelInPython(t *testing.T) {
	for difference, count := range map[float64]int64{1e-12: 0, 1e-3: 1} {
		s := newShop(t, unfiltered)
		s.inPython = true
		s.predictions(map[int]float64{0: 0.1 + difference})
		r, err := s.run()
		if r.Counts.Predictions != rows || r.Counts.Differences[parity.Prediction] != count || (err != nil) != (count > 0) {
			t.Errorf("%g: %+v, %v", difference, r.Counts, err)
		}
	}
}

// votes is a model in Python, which knows classes with or without probabilities.
type votes struct {
	parity.Predictor
	class   float64
	p       []float64
	refuses int // row of the first batch that has no prediction
}

func (v *votes) Classes() []json.RawMessage {
	return []json.RawMessage{json.RawMessage(`"a"`), json.RawMessage(`"b"`)}
}

func (v *votes) Outputs() int { return len(v.p) + 1 }

func (v *votes) Probabilities() bool { return len(v.p) > 0 }

func (v *votes) Class(outputs []float64) (int, float64) {
	return int(outputs[len(outputs)-1]), math.NaN()
}

func (v *votes) Predict(_ context.Context, _ []rowsql.Value, outputs []float64, _ *model.Buffer) error {
	if v.refuses > 0 {
		row := v.refuses
		v.refuses = 0
		return &model.RowError{Row: row, Err: errors.New("no prediction")}
	}
	for i := 0; i < len(outputs); i += v.Outputs() {
		copy(outputs[i:], append(v.p[:len(v.p):len(v.p)], v.class))
	}
	return nil
}

func TestClassesOfAModelInPython(t *testing.T) {
	for name, c := range map[string]struct {
		service votes
		python  []float64 // the record of each row
		count   int64
	}{
		"equal":                                 {votes{class: 1, p: []float64{0.2, 0.8}}, []float64{1, 0.2, 0.8}, 0},
		"other probabilities":                   {votes{class: 1, p: []float64{0.2, 0.8}}, []float64{1, 0.3, 0.7}, rows},
		"another class":                         {votes{class: 1, p: []float64{0.2, 0.8}}, []float64{0, 0.2, 0.8}, rows},
		"another class of the same probability": {votes{class: 1, p: []float64{0.5, 0.5}}, []float64{0, 0.5, 0.5}, 0},
		"no probabilities":                      {votes{class: 1}, []float64{1}, 0},
		"another class without probabilities":   {votes{class: 1}, []float64{0}, rows},
		"a row that the service refuses":        {votes{class: 1, refuses: 7}, []float64{1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, unfiltered)
			c.service.Predictor = s.model
			s.model, s.inPython = &c.service, true
			s.step.Resources.MilliCPU = 1000 // one after the other, so that the first batch is one
			var b []byte
			for range rows {
				for _, x := range c.python {
					b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
				}
			}
			if err := os.WriteFile(s.python+".out", b, 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := s.run()
			if r.Counts.Predictions != rows || r.Counts.Differences[parity.Prediction] != c.count || (err != nil) != (c.count > 0) {
				t.Errorf("%+v, %v", r.Counts, err)
			}
		})
	}
}
