// Package linear evaluates linear models: a sum of weighted numbers for each output, and a
// link that makes predictions of the sums. The library that trained a model adds in another
// order, which depends on the processor and on the number of rows. [Linear.Allowed] says how
// far two predictions of one row may therefore be apart.
package linear

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/libm"
)

// Version is the version of the JSON of a model.
const Version = 1

// A Model is plain data, as tenon_linear.py writes it.
type Model struct {
	Version    int         `json:"version"`
	Weights    [][]float64 `json:"weights"`    // of each sum, one for each number of a row
	Intercepts []float64   `json:"intercepts"` // of each sum
	Link       Link        `json:"link"`
	Tolerance  float64     `json:"tolerance"` // see [Linear.Allowed]
}

// A Link makes predictions of sums.
type Link string

const (
	Identity Link = "identity"
	Exp      Link = "exp"
	Logistic Link = "logistic" // of one sum: the probabilities of both classes
	Softmax  Link = "softmax"  // of one sum for each class
)

// A Linear is a model made ready to be asked. It is safe for concurrent use.
type Linear struct{ m Model }

// New checks a model.
func New(m Model) (*Linear, error) {
	sums := len(m.Weights)
	switch {
	case m.Version != Version:
		return nil, fmt.Errorf("the linear model has version %d; this tenon reads %d", m.Version, Version)
	case sums == 0 || len(m.Weights[0]) == 0:
		return nil, errors.New("a linear model needs weights")
	case len(m.Intercepts) != sums:
		return nil, fmt.Errorf("a linear model has %d intercepts for %d sums", len(m.Intercepts), sums)
	case !(m.Tolerance > 0 && m.Tolerance <= 1e-6):
		return nil, fmt.Errorf("a linear model has the tolerance %v", m.Tolerance)
	}
	for _, w := range m.Weights {
		if len(w) != len(m.Weights[0]) {
			return nil, errors.New("the sums of a linear model have different numbers of weights")
		}
	}
	switch m.Link {
	case Identity, Exp, Logistic:
		if sums != 1 {
			return nil, fmt.Errorf("the link %q wants 1 sum, not %d", m.Link, sums)
		}
	case Softmax:
		if sums < 2 {
			return nil, fmt.Errorf("the link %q wants a sum for each class", m.Link)
		}
	default:
		return nil, fmt.Errorf("unknown link %q of a linear model", m.Link)
	}
	return &Linear{m}, nil
}

// Features is how many numbers a row has.
func (l *Linear) Features() int { return len(l.m.Weights[0]) }

// Outputs is how many numbers [Linear.Predict] gives.
func (l *Linear) Outputs() int {
	if l.m.Link == Logistic {
		return 2
	}
	return len(l.m.Weights)
}

// Predict writes the predictions for a row into out: probabilities of the classes, or the
// number of a regression. It allocates nothing.
func (l *Linear) Predict(row, out []float64) {
	for i, weights := range l.m.Weights {
		sum := 0.0
		for j, w := range weights {
			sum += w * row[j]
		}
		out[i] = sum + l.m.Intercepts[i]
	}
	switch l.m.Link {
	case Exp:
		out[0] = libm.Exp(out[0])
	case Logistic:
		p := 1 / (1 + libm.Exp(-out[0]))
		out[0], out[1] = 1-p, p
	case Softmax:
		most, total := slices.Max(out), 0.0
		for i := range out {
			out[i] = libm.Exp(out[i] - most)
			total += out[i]
		}
		for i := range out {
			out[i] /= total
		}
	}
}

// Allowed returns how far the predictions of a row may be from those wanted. A sum may differ
// by the tolerance times the sum of the absolute values of its parts, which bounds what the
// order of additions can do however much they cancel out. The derivatives of the links are
// at most 1 (probabilities) or the prediction itself (exp).
func (l *Linear) Allowed(row []float64, want []float64) float64 {
	most := 0.0
	for i, weights := range l.m.Weights {
		parts := math.Abs(l.m.Intercepts[i])
		for j, w := range weights {
			parts += math.Abs(w * row[j])
		}
		most = max(most, parts)
	}
	if math.IsInf(most, 1) || math.IsNaN(most) {
		return 0 // what overflows, overflows in any order
	}
	switch l.m.Link {
	case Identity:
		return l.m.Tolerance * most
	case Exp:
		return l.m.Tolerance * (1 + most) * math.Abs(want[0])
	}
	return l.m.Tolerance * (1 + 2*most)
}
