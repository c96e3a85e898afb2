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
)

// piped is a pipeline or a linear model that stdlib/lib/model/test_pipelines.py has trained, a
// request, and what the model itself answers for each row.
type piped struct {
	Document model.Document
	Request  struct{ Instances []json.RawMessage }
	Answers  []struct {
		Prediction   json.RawMessage
		Outputs      []float64
		Column, Says string // of a value that is refused
		Nothing      bool   // there is no prediction
	}
}

func readPiped(t testing.TB, path string) (*model.Model, piped) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var x piped
	if err := json.Unmarshal(b, &x); err != nil {
		t.Fatal(err)
	}
	m, err := model.New(x.Document)
	if err != nil {
		t.Fatal(err)
	}
	return m, x
}

func TestPipelinesAnswerAsPython(t *testing.T) {
	paths, err := filepath.Glob("_testdata/pipelines/*.json")
	if err != nil || len(paths) < 22 {
		t.Fatalf("%d models, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			m, x := readPiped(t, path)
			d, err := request.New(m.Columns(), 1)
			if err != nil {
				t.Fatal(err)
			}
			var rows request.Rows
			var b model.Buffer
			exact := 0
			for i, want := range x.Answers {
				row := x.Request.Instances[i]
				if errs := d.Decode([]byte(`{"instances":[`+string(row)+`]}`), &rows); len(errs) > 0 {
					t.Fatalf("%s: %v", row, errs)
				}
				outputs := make([]float64, m.Outputs())
				err := m.Predict(t.Context(), rows.Row(0), outputs, &b)
				if want.Says != "" {
					var value *model.ValueError
					if !errors.As(err, &value) || value.Column != want.Column || value.Reason != want.Says {
						t.Errorf("%s: %v, wanted column %s: %s", row, err, want.Column, want.Says)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", row, err)
					continue
				}
				if want.Nothing {
					if !math.IsInf(outputs[0], 0) && !math.IsNaN(outputs[0]) {
						t.Errorf("%s: %v, wanted nothing", row, outputs)
					}
					continue
				}
				allowed := m.Allowed(rows.Row(0), want.Outputs, &b)
				if x.Document.Trees != nil && allowed != 0 {
					t.Fatalf("%s: predictions may differ by %v", row, allowed)
				}
				for j, got := range outputs {
					if !model.Same(got, want.Outputs[j], allowed) {
						t.Errorf("%s: output %d is %v, wanted %v within %v", row, j, got, want.Outputs[j], allowed)
					}
					if got == want.Outputs[j] {
						exact++
					}
				}
				if len(m.Classes()) > 0 {
					if class, _ := m.Class(outputs); string(m.Classes()[class]) != string(want.Prediction) {
						t.Errorf("%s: %s, wanted %s", row, m.Classes()[class], want.Prediction)
					}
				}
			}
			t.Logf("%d outputs are equal to the last bit", exact)
		})
	}
}

func TestStepsAllocateNothing(t *testing.T) {
	for _, name := range []string{"encoders", "imputers", "bins", "polynomial"} {
		m, x := readPiped(t, "_testdata/pipelines/"+name+".json")
		d, err := request.New(m.Columns(), 1)
		if err != nil {
			t.Fatal(err)
		}
		var rows request.Rows
		if errs := d.Decode([]byte(`{"instances":[`+string(x.Request.Instances[0])+`]}`), &rows); len(errs) > 0 {
			t.Fatal(errs)
		}
		var b model.Buffer
		outputs := make([]float64, m.Outputs())
		if n := testing.AllocsPerRun(100, func() {
			if err := m.Predict(t.Context(), rows.Row(0), outputs, &b); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a row", name, n)
		}
	}
}

// A document is data from a model folder: whatever is wrong in it is an error, not a panic.
func TestWrongSteps(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(d *model.Document)
		says string
	}{
		"another version":       {func(d *model.Document) { d.Version = 9 }, "version 9"},
		"neither trees":         {func(d *model.Document) { d.Linear = nil }, "wants one of trees, a linear model or a graph"},
		"an unknown operation":  {func(d *model.Document) { op(d, model.OpScale).Op = "pickle" }, `unknown operation "pickle"`},
		"a later register":      {func(d *model.Document) { d.Steps[0].Of[0] = 8 }, "reads register 8 of 8"},
		"a text as a number":    {func(d *model.Document) { op(d, model.OpImpute).Of[0] = 4 }, "reads the text of register 4"},
		"too few values":        {func(d *model.Document) { s := op(d, model.OpTable); s.Values = s.Values[1:] }, "values and"},
		"too few for others":    {func(d *model.Document) { s := op(d, model.OpTable); s.Unknown = s.Unknown[1:] }, "for 5 categories"},
		"a position":            {func(d *model.Document) { op(d, model.OpOneHot).Positions[0] = 7 }, "a category is at 7 of"},
		"a category of numbers": {func(d *model.Document) { op(d, model.OpOneHot).Categories[0] = 1.5 }, "of another kind"},
		"a category of lists":   {func(d *model.Document) { op(d, model.OpOneHot).Categories[0] = []any{} }, "a category is a []"},
		"scales":                {func(d *model.Document) { s := op(d, model.OpScale); s.Divide = s.Divide[1:] }, "numbers for"},
		"a bound":               {func(d *model.Document) { op(d, model.OpScale).Clip = []float64{1} }, "clipped to 1 numbers"},
		"no register":           {func(d *model.Document) { op(d, model.OpTable).Of = nil }, `"table" reads 1 registers, not 0`},
		"what the model reads":  {func(d *model.Document) { d.Reads = d.Reads[1:] }, "numbers of"},
		"a text that it reads":  {func(d *model.Document) { d.Reads[0] = 4 }, "reads register 4, which has no number"},
		"a negative register":   {func(d *model.Document) { d.Reads[0] = -1 }, "reads register -1"},
		"weights":               {func(d *model.Document) { d.Linear.Weights[1] = nil }, "different numbers of weights"},
		"a link":                {func(d *model.Document) { d.Linear.Link = "probit" }, `unknown link "probit"`},
		"a link of one sum":     {func(d *model.Document) { d.Linear.Link = "logistic" }, "wants 1 sum, not 3"},
		"no tolerance":          {func(d *model.Document) { d.Linear.Tolerance = 0 }, "the tolerance 0"},
		"any tolerance":         {func(d *model.Document) { d.Linear.Tolerance = 0.5 }, "the tolerance 0.5"},
	} {
		t.Run(name, func(t *testing.T) {
			_, x := readPiped(t, "_testdata/pipelines/encoders.json")
			test.edit(&x.Document)
			if _, err := model.New(x.Document); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, wanted %q", err, test.says)
			}
		})
	}
}

// op is the first step of a document with an operation.
func op(d *model.Document, op model.Op) *model.Step {
	for i := range d.Steps {
		if d.Steps[i].Op == op {
			return &d.Steps[i]
		}
	}
	panic(op)
}

func BenchmarkPipelines(b *testing.B) {
	for _, name := range []string{"logistic", "encoders", "ordinal", "polynomial"} {
		b.Run(name, func(b *testing.B) {
			m, x := readPiped(b, "_testdata/pipelines/"+name+".json")
			d, err := request.New(m.Columns(), 1)
			if err != nil {
				b.Fatal(err)
			}
			var rows request.Rows
			if errs := d.Decode([]byte(`{"instances":[`+string(x.Request.Instances[0])+`]}`), &rows); len(errs) > 0 {
				b.Fatal(errs)
			}
			var buffer model.Buffer
			outputs := make([]float64, m.Outputs())
			for b.Loop() {
				if err := m.Predict(b.Context(), rows.Row(0), outputs, &buffer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
