package trees_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/trees"
)

// edges are values at which decisions change, and their neighbours.
func edges() []float64 {
	const zero = float64(float32(1e-35)) // LightGBM's
	all := []float64{0, math.Copysign(0, -1), zero, -zero, 1e-300, 31.5, 32, 33, 1e9, math.Inf(1), math.Inf(-1), math.NaN()}
	for _, x := range []float64{-3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, zero, -zero} {
		all = append(all, x, math.Nextafter(x, math.Inf(1)), math.Nextafter(x, math.Inf(-1)),
			float64(math.Nextafter32(float32(x), 9)), float64(math.Nextafter32(float32(x), -9)))
	}
	return all
}

func TestMasksFindTheLeavesOfAWalk(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 14))
	masked, at := 0, edges()
	for range 400 {
		features, outputs := 1+r.IntN(5), 1+r.IntN(3)
		f := grow(r, features, outputs)
		for i := range f.model.Trees {
			thresholds := f.model.Trees[i].Threshold
			for j := range thresholds {
				if r.IntN(4) == 0 {
					thresholds[j] = []float64{0.1, -1e-36, 1e-35, -0.5}[r.IntN(4)]
				}
			}
		}
		e, err := trees.New(f.model)
		if err != nil {
			t.Fatal(err)
		}
		if e.Masked() {
			masked++
		}
		walked := e.Unmasked()
		var scratch trees.Scratch
		got, want, row := make([]float64, outputs), make([]float64, outputs), make([]float64, features)
		for range 200 {
			for i := range row {
				row[i] = at[r.IntN(len(at))]
			}
			e.Predict(row, got, &scratch)
			walked.Predict(row, want, &scratch)
			if !slices.Equal(got, want) {
				t.Fatalf("%v: %v, wanted %v of %+v", row, got, want, f.model)
			}
		}
	}
	if masked < 200 {
		t.Errorf("only %d ensembles are masked", masked)
	}
}

func TestModelsOfLibrariesAreMasked(t *testing.T) {
	for name, want := range map[string]bool{
		"hist_classifier": true, "lightgbm_multiclass": true, "lightgbm_zero_as_missing": true, "xgboost_binary": true, "forest_regressor": true,
		"forest_classifier": false, // its leaves have several values
	} {
		e, err := trees.New(read(t, "_testdata/"+name+".json").Model)
		if err != nil {
			t.Fatal(err)
		}
		if e.Masked() != want {
			t.Errorf("%s: masked is %v", name, e.Masked())
		}
	}
}

// Large trees, and so many thresholds that a cache would not hold the masks, are walked.
func TestLargeEnsemblesAreWalked(t *testing.T) {
	grown := func(count, nodes int) *trees.Ensemble {
		m := trees.Model{Version: 1, Features: 1, Rule: trees.SKLearn, Outputs: 1, Link: trees.Identity}
		for i := range count {
			x := trees.Tree{Values: []float64{0}}
			for j := range nodes {
				x.Feature, x.Threshold, x.Missing = append(x.Feature, 0), append(x.Threshold, float64(i*nodes+j)), append(x.Missing, "left")
				x.Left, x.Right = append(x.Left, -1-j), append(x.Right, j+1)
				x.Values = append(x.Values, 1)
			}
			x.Right[nodes-1] = -1 - nodes
			m.Trees = append(m.Trees, x)
		}
		e, err := trees.New(m)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if !grown(10, 63).Masked() || grown(10, 64).Masked() || grown(2000, 30).Masked() {
		t.Error("masked")
	}
}
