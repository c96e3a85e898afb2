package trees_test

import (
	"encoding/json"
	"math"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/trees"
)

// A forest is a random ensemble, and how much of its training data reached each node.
type forest struct {
	model  trees.Model
	covers [][]float64
}

// grow makes a random ensemble that reads its features many times on one path, with missing
// values, categories and sides that no training data reached.
func grow(r *rand.Rand, features, outputs int) forest {
	f := forest{model: trees.Model{
		Version: trees.Version, Features: features, Outputs: outputs, Link: trees.Identity,
		Rule: []trees.Rule{trees.SKLearn, trees.LightGBM, trees.XGBoost}[r.IntN(3)],
	}}
	for range outputs {
		f.model.Baseline = append(f.model.Baseline, r.NormFloat64())
	}
	f.model.Average = r.IntN(3) == 0
	f.model.Float32 = f.model.Rule == trees.SKLearn && r.IntN(2) == 0
	sides := map[trees.Rule][]string{
		trees.LightGBM: {"none", "nan left", "nan right", "zero left", "zero right"},
	}[f.model.Rule]
	if sides == nil {
		sides = []string{"left", "right"}
	}
	wide := r.IntN(3) == 0
	for i := range 2*outputs + r.IntN(3) {
		t := trees.Tree{Output: i % outputs}
		if wide {
			t.Output, t.Width = 0, outputs
		}
		nodes := r.IntN(12)
		var covers, leaves []float64
		// A node is split as long as there are nodes left; its children follow it.
		var split func(n int, cover float64) int
		split = func(n int, cover float64) int {
			if n == 0 || cover == 0 {
				for range max(t.Width, 1) {
					t.Values = append(t.Values, float64(float32(r.NormFloat64())))
				}
				leaves = append(leaves, cover)
				return -len(leaves)
			}
			at := len(t.Feature)
			feature := r.IntN(features)
			t.Feature = append(t.Feature, feature)
			t.Threshold = append(t.Threshold, float64(r.IntN(5)-2))
			t.Missing = append(t.Missing, sides[r.IntN(len(sides))])
			var set []uint32
			if feature == 0 { // one with categories
				set = []uint32{uint32(r.IntN(16))}
			}
			t.Categories = append(t.Categories, set)
			t.Left, t.Right = append(t.Left, 0), append(t.Right, 0)
			covers = append(covers, cover)
			toLeft := math.Floor(cover * []float64{0, 0.1, 0.5, 0.7, 1}[r.IntN(5)])
			below := r.IntN(n)
			t.Left[at] = split(below, toLeft)
			t.Right[at] = split(n-1-below, cover-toLeft)
			return at
		}
		split(nodes, 1000)
		f.model.Trees, f.covers = append(f.model.Trees, t), append(f.covers, append(covers, leaves...))
	}
	return f
}

// left is the decision of a node, written from the descriptions of the rules.
func (f *forest) left(t *trees.Tree, node int, x float64) bool {
	if f.model.Float32 || f.model.Rule == trees.XGBoost {
		x = float64(float32(x))
	}
	listed := func() bool {
		set := t.Categories[node][0]
		return x >= 0 && x < 32 && set>>int(x)&1 == 1
	}
	missing := t.Missing[node]
	if f.model.Rule == trees.LightGBM {
		switch {
		case t.Categories[node] != nil:
			return listed()
		case missing[0] == 'n' && missing != "none" && math.IsNaN(x):
			return missing == "nan left"
		case math.IsNaN(x):
			x = 0
		}
		if missing[0] == 'z' && math.Abs(x) <= float64(float32(1e-35)) {
			return missing == "zero left"
		}
		return x <= t.Threshold[node]
	}
	switch {
	case math.IsNaN(x):
		return missing == "left"
	case t.Categories[node] != nil:
		return listed() == (f.model.Rule == trees.SKLearn)
	case f.model.Rule == trees.XGBoost:
		return x < t.Threshold[node]
	}
	return x <= t.Threshold[node]
}

// expected is the mean of a tree's value, of which the features in a set of bits are known.
func (f *forest) expected(tree, node, value int, row []float64, known uint) float64 {
	t := &f.model.Trees[tree]
	if node < 0 {
		return t.Values[(-1-node)*max(t.Width, 1)+value]
	}
	if known>>t.Feature[node]&1 == 1 {
		if f.left(t, node, row[t.Feature[node]]) {
			return f.expected(tree, t.Left[node], value, row, known)
		}
		return f.expected(tree, t.Right[node], value, row, known)
	}
	cover := func(child int) float64 {
		if child < 0 {
			return f.covers[tree][len(t.Feature)-1-child]
		}
		return f.covers[tree][child]
	}
	sum := 0.0
	for _, child := range []int{t.Left[node], t.Right[node]} {
		if cover(child) > 0 {
			sum += cover(child) / cover(node) * f.expected(tree, child, value, row, known)
		}
	}
	return sum
}

// game is what is expected of an output.
func (f *forest) game(output int, row []float64, known uint) float64 {
	sum, n := f.model.Baseline[output], 0
	for i, t := range f.model.Trees {
		root := 0
		if len(t.Feature) == 0 {
			root = -1
		}
		if value := output - t.Output; value >= 0 && value < max(t.Width, 1) {
			sum += f.expected(i, root, value, row, known)
			n++
		}
	}
	if f.model.Average {
		sum /= float64(n)
	}
	return sum
}

// shapley is the value of a feature by its definition, over all sets of the others.
func (f *forest) shapley(output, feature int, row []float64) float64 {
	n := f.model.Features
	sum := 0.0
	for known := range uint(1) << n {
		if known>>feature&1 == 1 {
			continue
		}
		// How many of the orders of all features begin with this set and go on with the feature.
		size := bits.OnesCount(known)
		orders := math.Gamma(float64(size+1)) * math.Gamma(float64(n-size)) / math.Gamma(float64(n+1))
		sum += orders * (f.game(output, row, known|1<<feature) - f.game(output, row, known))
	}
	return sum
}

func randomRow(r *rand.Rand, features int) []float64 {
	row := make([]float64, features)
	for i := range row {
		switch row[i] = float64(r.IntN(9)-4) / 2; {
		case r.IntN(6) == 0:
			row[i] = math.NaN()
		case i == 0:
			row[i] = float64(r.IntN(6) - 1)
		}
	}
	return row
}

func TestContributionsAreShapleyValues(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 2020))
	for range 300 {
		features, outputs := 1+r.IntN(5), 1+r.IntN(3)
		f := grow(r, features, outputs)
		e, err := trees.New(f.model)
		if err != nil {
			t.Fatal(err)
		}
		column := r.Perm(features)
		x, err := trees.NewExplainer(e, f.covers, column, features)
		if err != nil {
			t.Fatal(err)
		}
		var scratch trees.Scratch
		var explain trees.ExplainScratch
		sums, got := make([]float64, outputs), make([]float64, outputs*features)
		for range 4 {
			row := randomRow(r, features)
			e.Predict(row, sums, &scratch)
			x.Explain(row, got, &explain)
			for o := range outputs {
				near(t, "base", x.Base()[o], f.game(o, row, 0), 1e-12)
				total := x.Base()[o]
				for i := range features {
					near(t, "contribution", got[o*features+column[i]], f.shapley(o, i, row), 1e-12)
					total += got[o*features+column[i]]
				}
				tolerance := 1e-12
				if f.model.Rule == trees.XGBoost {
					tolerance = 1e-6 // it adds float32
				}
				near(t, "sum", total, sums[o], tolerance)
			}
		}
	}
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*max(1, math.Abs(want))) {
		t.Fatalf("%s: %v, wanted %v", what, got, want)
	}
}

// A column of which trees read several features has the sum of their contributions.
func TestFeaturesOfAColumnAreAddedUp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	f := grow(r, 4, 2)
	e, err := trees.New(f.model)
	if err != nil {
		t.Fatal(err)
	}
	explain := func(columns int, column ...int) []float64 {
		x, err := trees.NewExplainer(e, f.covers, column, columns)
		if err != nil {
			t.Fatal(err)
		}
		out := make([]float64, 2*columns)
		x.Explain([]float64{1, -2, math.NaN(), 0.5}, out, new(trees.ExplainScratch))
		return out
	}
	alone, added := explain(4, 0, 1, 2, 3), explain(2, 1, 0, 1, 0)
	for o := range 2 {
		near(t, "column 0", added[2*o], alone[4*o+1]+alone[4*o+3], 1e-12)
		near(t, "column 1", added[2*o+1], alone[4*o]+alone[4*o+2], 1e-12)
	}
}

// A path of many features keeps all digits: the contributions of a chain of equal nodes are
// equal.
func TestDeepTrees(t *testing.T) {
	const n = 200
	m := trees.Model{Version: 1, Features: n, Rule: trees.SKLearn, Outputs: 1, Link: trees.Identity}
	var x trees.Tree
	covers, leaves := []float64{}, []float64{}
	cover := 1e9
	for i := range n {
		x.Feature, x.Threshold, x.Missing = append(x.Feature, i), append(x.Threshold, 0), append(x.Missing, "left")
		x.Left, x.Right = append(x.Left, -1-i), append(x.Right, i+1)
		x.Values = append(x.Values, 0)
		covers, leaves = append(covers, cover), append(leaves, cover*0.1)
		cover *= 0.9
	}
	x.Right[n-1], x.Values = -1-n, append(x.Values, 1)
	m.Trees = []trees.Tree{x}
	covers = append(append(covers, leaves...), cover)
	e, err := trees.New(m)
	if err != nil {
		t.Fatal(err)
	}
	row, column := make([]float64, n), make([]int, n)
	for i := range row {
		row[i], column[i] = 1, i
	}
	explainer, err := trees.NewExplainer(e, [][]float64{covers}, column, n)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float64, n)
	explainer.Explain(row, got, new(trees.ExplainScratch))
	want := (1 - math.Pow(0.9, n)) / n
	for _, v := range got {
		near(t, "contribution", v/want, 1, 1e-11)
	}
}

func TestBrokenCoversAreRefused(t *testing.T) {
	f := grow(rand.New(rand.NewPCG(1, 1)), 4, 2)
	e, err := trees.New(f.model)
	if err != nil {
		t.Fatal(err)
	}
	split := 0
	for len(f.model.Trees[split].Feature) == 0 {
		split++
	}
	with := func(covers []float64) [][]float64 {
		all := append([][]float64{}, f.covers...)
		all[split] = covers
		return all
	}
	zeros := make([]float64, len(f.covers[split]))
	for name, tt := range map[string]struct {
		covers [][]float64
		column []int
	}{
		"of other trees":        {f.covers[1:], []int{0, 1, 2, 3}},
		"of other nodes":        {with(f.covers[split][1:]), []int{0, 1, 2, 3}},
		"none":                  {with(nil), []int{0, 1, 2, 3}},
		"of no training data":   {with(zeros), []int{0, 1, 2, 3}},
		"columns of others":     {f.covers, []int{0, 1}},
		"a column that is none": {f.covers, []int{0, 1, 2, 4}},
	} {
		if _, err := trees.NewExplainer(e, tt.covers, tt.column, 4); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The contributions of libraries are those of the package shap, which for LightGBM and XGBoost
// asks these. XGBoost computes them in float32.
func TestContributionsAreThoseOfLibraries(t *testing.T) {
	paths, err := filepath.Glob("_testdata/explained/*.json")
	if err != nil || len(paths) < 15 {
		t.Fatalf("%d models, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var kept struct {
				Model struct {
					Trees []struct{ Covers []float64 }
				}
				Contributions [][][]float64
				Base          []float64
			}
			if err := json.Unmarshal(b, &kept); err != nil {
				t.Fatal(err)
			}
			a := read(t, path)
			e, err := trees.New(a.Model)
			if err != nil {
				t.Fatal(err)
			}
			var covers [][]float64
			for _, tree := range kept.Model.Trees {
				covers = append(covers, tree.Covers)
			}
			column := make([]int, e.Features())
			for i := range column {
				column[i] = i
			}
			x, err := trees.NewExplainer(e, covers, column, len(column))
			if err != nil {
				t.Fatal(err)
			}
			tolerance := 1e-10
			if a.Model.Rule == trees.XGBoost {
				tolerance = 1e-6
			}
			var scratch trees.ExplainScratch
			got := make([]float64, len(kept.Base)*len(column))
			worst := 0.0
			for i, row := range kept.Contributions {
				x.Explain(a.row(i), got, &scratch)
				for o, want := range row {
					margin := kept.Base[o]
					for _, v := range want {
						margin += v
					}
					for j, v := range want {
						worst = max(worst, math.Abs(got[o*len(column)+j]-v)/max(1, math.Abs(margin)))
					}
					near(t, "base", x.Base()[o], kept.Base[o], tolerance)
				}
			}
			t.Logf("the largest difference is %.1e of the margin", worst)
			if worst > tolerance {
				t.Errorf("the largest difference is %v of the margin", worst)
			}
		})
	}
}
