package measure

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// A mixture is a sequential test of whether a mean is zero, and the confidence sequence that belongs
// to it. Both hold at all times at once: whoever looks after each observation, and stops whenever they
// like, is wrong with a probability of at most alpha.
//
// Its statistic is the likelihood ratio of the mixture sequential probability ratio test (mSPRT), whose
// effect is normal around zero, with rho² as its variance in units of the variance of an observation:
//
//	Λ(n) = exp(n² ρ² z² / (2 (n ρ² + 1))) / sqrt(n ρ² + 1), z = mean / standard deviation
//
// By Ville's inequality, 1/Λ(n) is an always-valid p-value: R. Johari, P. Koomen, L. Pekelis and
// D. Walsh, Always Valid Inference: Continuous Monitoring of A/B Tests, Operations Research 70(3), 2022.
// That is exact for normal observations of a known variance. With an estimated variance, and for any
// observations with more than two moments, it holds as the number of observations at the first look
// grows: I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy and A. Ramdas, Time-uniform central limit
// theory and asymptotic confidence sequences, Annals of Statistics 52(6), 2024, theorem 2.2.
type mixture struct {
	alpha float64 // probability of ever being wrong
	rho2  float64
}

// newMixture returns the test whose interval is narrowest after n observations. With x = n ρ², the width
// is smallest where x = ln(1 + x) + 2 ln(1 / alpha), see section 3.5 of S. R. Howard, A. Ramdas,
// J. McAuliffe and J. Sekhon, Time-uniform, nonparametric, nonasymptotic confidence sequences, Annals of
// Statistics 49(2), 2021.
func newMixture(alpha, n float64) mixture {
	x, before := 1.0, 0.0
	for math.Abs(x-before) > 1e-12*x { // the slope of the right side is below 1
		x, before = math.Log1p(x)-2*math.Log(alpha), x
	}
	return mixture{alpha, x / n}
}

// width is half the width of the confidence sequence of the mean of n observations, in standard
// deviations of one observation.
func (m mixture) width(n float64) float64 {
	x := n * m.rho2
	return math.Sqrt(2 * (x + 1) / (n * x) * (math.Log1p(x)/2 - math.Log(m.alpha)))
}

// p is the always-valid p-value of the mean of n observations, in standard deviations of one.
func (m mixture) p(n, z float64) float64 {
	x := n * m.rho2
	return min(1, math.Exp(math.Log1p(x)/2-n*x*z*z/(2*(x+1))))
}

// detects is the least mean, in standard deviations of one observation, that the test finds within n
// observations with a probability of at least power: the mean of n observations is beyond the interval
// around zero with this probability, and a test that stops earlier has found it as well.
func (m mixture) detects(n, power float64) float64 {
	return m.width(n) + mathext.NormalQuantile(power)/math.Sqrt(n)
}

// ratioP is the always-valid p-value of counts of two groups, of which the second one should have a
// share of all, above 0 and below 1: the Bayes factor of the binomial distribution against a beta mixture of others, see
// M. Lindon and A. Malek, Anytime-Valid Inference For Multinomial Count Data, NeurIPS 2022.
func ratioP(first, second int64, share float64) float64 {
	a, b := float64(second), float64(first)
	u, v := ratioPrior*share, ratioPrior*(1-share)
	log := logBeta(u+a, v+b) - logBeta(u, v) - a*math.Log(share) - b*math.Log1p(-share)
	return min(1, math.Exp(-log))
}

// ratioPrior is how many observations the prior of other shares is worth. The larger it is, the
// smaller the differences that are found soonest.
const ratioPrior = 100

func logBeta(a, b float64) float64 {
	x, _ := math.Lgamma(a)
	y, _ := math.Lgamma(b)
	z, _ := math.Lgamma(a + b)
	return x + y - z
}
