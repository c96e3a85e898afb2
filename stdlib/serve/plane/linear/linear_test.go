package linear

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// What the order of additions changes is less than what is allowed, and what another weight
// changes is more. Large parts cancel out.
func TestAllowed(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const n = 400
	m := Model{Version: 1, Weights: [][]float64{make([]float64, n)}, Intercepts: []float64{0.5}, Tolerance: 1e-12}
	row := make([]float64, n)
	for i := range n / 2 {
		m.Weights[0][i], m.Weights[0][n/2+i] = r.NormFloat64(), 0
		m.Weights[0][n/2+i] = m.Weights[0][i] * (1 + r.NormFloat64()*1e-6)
		row[i] = r.NormFloat64() * 1e3
		row[n/2+i] = -row[i]
	}
	order := r.Perm(n)
	shuffled := Model{Version: 1, Weights: [][]float64{nil}, Intercepts: m.Intercepts, Tolerance: m.Tolerance}
	var other []float64
	for _, i := range order {
		shuffled.Weights[0], other = append(shuffled.Weights[0], m.Weights[0][i]), append(other, row[i])
	}
	for _, link := range []Link{Identity, Exp, Logistic} {
		m.Link, shuffled.Link = link, link
		a, b := ready(t, m), ready(t, shuffled)
		want, got := make([]float64, a.Outputs()), make([]float64, a.Outputs())
		a.Predict(row, want)
		b.Predict(other, got)
		allowed := a.Allowed(row, want)
		if slices.Equal(want, got) {
			t.Errorf("%s: another order of additions gives the same %v", link, got)
		}
		for i := range want {
			if !(math.Abs(want[i]-got[i]) <= allowed) {
				t.Errorf("%s: %v and %v differ by more than %v", link, want[i], got[i], allowed)
			}
		}
		changed := m
		changed.Weights = [][]float64{slices.Clone(m.Weights[0])}
		changed.Weights[0][0] *= 1 + 1e-6
		ready(t, changed).Predict(row, got)
		if math.Abs(want[0]-got[0]) <= allowed {
			t.Errorf("%s: with another weight, %v and %v differ by no more than %v", link, want[0], got[0], allowed)
		}
	}
}

// Nothing is allowed beside infinity: it is the same in any order.
func TestNothingIsAllowedBesideInfinity(t *testing.T) {
	l := ready(t, Model{Version: 1, Weights: [][]float64{{1e200}}, Intercepts: []float64{0}, Tolerance: 1e-12, Link: Identity})
	if got := l.Allowed([]float64{1e200}, []float64{math.Inf(1)}); got != 0 {
		t.Errorf("%v", got)
	}
}

func TestSoftmaxOfLargeSums(t *testing.T) {
	l := ready(t, Model{Version: 1, Weights: [][]float64{{1}, {2}, {-1}}, Intercepts: []float64{0, 0, 0}, Tolerance: 1e-12, Link: Softmax})
	out := make([]float64, 3)
	if l.Predict([]float64{1e6}, out); !slices.Equal(out, []float64{0, 1, 0}) {
		t.Errorf("%v", out)
	}
}

func ready(t *testing.T, m Model) *Linear {
	t.Helper()
	l, err := New(m)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func BenchmarkPredict(b *testing.B) {
	m := Model{Version: 1, Weights: [][]float64{make([]float64, 50)}, Intercepts: []float64{0}, Tolerance: 1e-12, Link: Logistic}
	l, err := New(m)
	if err != nil {
		b.Fatal(err)
	}
	row, out := make([]float64, 50), make([]float64, 2)
	for b.Loop() {
		l.Predict(row, out)
	}
}
