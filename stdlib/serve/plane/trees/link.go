package trees

import (
	"slices"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/libm"
)

func (e *Ensemble) link(out []float64) {
	if e.m.Rule == XGBoost {
		e.link32(out)
		return
	}
	switch e.m.Link {
	case Logistic:
		p := 1 / (1 + libm.Exp(-out[0]))
		out[0], out[1] = 1-p, p
	case Softmax:
		sums := out[:e.m.Outputs]
		most, sum := slices.Max(sums), 0.0
		for i := range sums {
			sums[i] = libm.Exp(sums[i] - most)
			sum += sums[i]
		}
		for i := range sums {
			sums[i] /= sum
		}
	}
}

// link32 is that of XGBoost, in float32 but for the sum of a softmax.
func (e *Ensemble) link32(out []float64) {
	switch e.m.Link {
	case Logistic:
		p := 1 / (libm.Exp32(min(float32(-out[0]), 88.7)) + 1 + 1e-16)
		out[0], out[1] = float64(1-p), float64(p)
	case Softmax:
		sums := out[:e.m.Outputs]
		most, sum := slices.Max(sums), 0.0
		for i := range sums {
			sums[i] = float64(libm.Exp32(float32(sums[i] - most)))
			sum += sums[i]
		}
		for i := range sums {
			sums[i] = float64(float32(sums[i]) / float32(sum))
		}
	}
}
