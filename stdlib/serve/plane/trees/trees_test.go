package trees_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/trees"
)

// asked is a model that stdlib/lib/model/test_trees.py has trained, rows, and what the
// library predicted for them.
type asked struct {
	Model       trees.Model
	Rows        [][]*float64
	Predictions [][]float64
}

func read(t testing.TB, path string) asked {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var a asked
	if err := json.Unmarshal(b, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *asked) row(i int) []float64 {
	row := make([]float64, len(a.Rows[i]))
	for j, x := range a.Rows[i] {
		if row[j] = math.NaN(); x != nil {
			row[j] = *x
		}
	}
	return row
}

func TestPredictionsAreThoseOfTheLibrary(t *testing.T) {
	paths, err := filepath.Glob("_testdata/*.json")
	if err != nil || len(paths) < 12 {
		t.Fatalf("%d models, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			a := read(t, path)
			e, err := trees.New(a.Model)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]float64, e.Outputs())
			var scratch trees.Scratch
			for i, want := range a.Predictions {
				e.Predict(a.row(i), got, &scratch)
				for j := range want {
					if len(want) != len(got) || got[j] != want[j] {
						t.Fatalf("row %d: %v, want %v", i, got, want)
					}
				}
			}
		})
	}
}

func TestPredictAllocatesNothing(t *testing.T) {
	a := read(t, "_testdata/hist_classifier.json")
	e, err := trees.New(a.Model)
	if err != nil {
		t.Fatal(err)
	}
	row, out, scratch := a.row(0), make([]float64, e.Outputs()), new(trees.Scratch)
	if n := testing.AllocsPerRun(100, func() { e.Predict(row, out, scratch) }); n != 0 {
		t.Errorf("%v allocations a row", n)
	}
}

func TestBrokenModelsAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(m *trees.Model)
		want string
	}{
		"another version":         {func(m *trees.Model) { m.Version = 9 }, "version 9"},
		"an unknown rule":         {func(m *trees.Model) { m.Rule = "catboost" }, `unknown rule "catboost"`},
		"an unknown link":         {func(m *trees.Model) { m.Link = "probit" }, `unknown link "probit"`},
		"two logistic outputs":    {func(m *trees.Model) { m.Link, m.Outputs = trees.Logistic, 2 }, "wants 1 output, not 2"},
		"baselines":               {func(m *trees.Model) { m.Baseline = []float64{1, 2} }, "2 baselines for 1 outputs"},
		"no output":               {func(m *trees.Model) { m.Trees[0].Output = 1 }, "tree 0: it gives outputs 1 to 1 of 1"},
		"a feature":               {func(m *trees.Model) { m.Trees[0].Feature[1] = 2 }, "node 1 reads feature 2 of 2"},
		"columns":                 {func(m *trees.Model) { m.Trees[0].Left = m.Trees[0].Left[:1] }, "different lengths"},
		"values":                  {func(m *trees.Model) { m.Trees[0].Values = m.Trees[0].Values[:2] }, "2 values for 3 leaves"},
		"a cycle":                 {func(m *trees.Model) { m.Trees[0].Left[1] = 0 }, "node 1 leads back to 0"},
		"itself":                  {func(m *trees.Model) { m.Trees[0].Left[1] = 1 }, "node 1 leads back to 1"},
		"a leaf twice":            {func(m *trees.Model) { m.Trees[0].Left[1] = -3 }, "node 1 leads back to -3"},
		"a child that is not":     {func(m *trees.Model) { m.Trees[0].Left[0] = 7 }, "node 0 has a child 7 of 2 nodes"},
		"a leaf that is not":      {func(m *trees.Model) { m.Trees[0].Left[0] = -9 }, "node 0 has a child -9 of 2 nodes"},
		"the least of all leaves": {func(m *trees.Model) { m.Trees[0].Left[0] = math.MinInt }, "node 0 has a child"},
		"a side":                  {func(m *trees.Model) { m.Trees[0].Missing[0] = "up" }, `unknown side "up"`},
		"none that it averages":   {func(m *trees.Model) { m.Average, m.Outputs = true, 2 }, "no tree gives output 1"},
	} {
		t.Run(name, func(t *testing.T) {
			m := trees.Model{Version: 1, Features: 2, Rule: trees.SKLearn, Outputs: 1, Link: trees.Identity, Trees: []trees.Tree{{
				Feature: []int{0, 1}, Threshold: []float64{1, 2}, Left: []int{1, -1}, Right: []int{-3, -2},
				Missing: []string{"left", "right"}, Values: []float64{1, 2, 3},
			}}}
			if _, err := trees.New(m); err != nil {
				t.Fatal(err)
			}
			tt.edit(&m)
			if _, err := trees.New(m); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func BenchmarkPredict(b *testing.B) {
	a := read(b, "_testdata/hist_classifier.json")
	e, err := trees.New(a.Model)
	if err != nil {
		b.Fatal(err)
	}
	row, out, scratch := a.row(0), make([]float64, e.Outputs()), new(trees.Scratch)
	b.ReportAllocs()
	for b.Loop() {
		e.Predict(row, out, scratch)
	}
}
