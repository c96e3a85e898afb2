package measure

import "math"

// exactRows is the number of rows up to which the p-value of the two-sample test is exact, as in
// scipy.stats.ks_2samp(method="auto").
const exactRows = 10_000

// ksPValue is the two-sided p-value of the two-sample Kolmogorov-Smirnov test: the probability
// that samples of m and n values of one continuous distribution have a statistic of at least d.
//
// It is exact if neither sample has more than [exactRows] values, and else that of the one-sample
// test with round(mn/(m+n)) values, as in scipy.stats.ks_2samp.
func ksPValue(m, n int64, d float64) float64 {
	if max(m, n) <= exactRows {
		return ksExact(m, n, d)
	}
	en := float64(m) * (float64(n) / float64(m+n))
	return kolmogorovSF(math.RoundToEven(en), d)
}

// negligible is the value of n d² from which a p-value, about 2 exp(-2 n d²), is below the smallest
// number that has a full mantissa.
const negligible = 370

// ksExact is the share of the lattice paths from (0, 0) to (m, n) that leave the band
// |x/m - y/n| < d, by the theorem of Gnedenko and Korolyuk. A path is a random walk without
// replacement; the sum is over the points where it leaves, so all terms are positive and nothing
// cancels. Source: J. L. Hodges, The significance probability of the Smirnov two-sample test,
// Arkiv för Matematik 3 (1958).
func ksExact(m, n int64, d float64) float64 {
	lcm := m / gcd(m, n) * n
	a, b := lcm/m, lcm/n // the distance of (x, y) is |a x - b y| / lcm
	h := int64(math.Round(d * float64(lcm)))
	switch {
	case h <= 0:
		return 1
	case d*d*float64(m)*float64(n)/float64(m+n) >= negligible:
		return 0
	}
	// at[y] is the probability to be at (x, y) without having left.
	at := make([]float64, n+1)
	low := func(x int64) int64 { return max(0, floorDiv(a*x-h, b)+1) } // first y inside
	high := func(x int64) int64 { return min(n, ceilDiv(a*x+h, b)-1) } // last y inside
	outside := 0.0
	for x := range m + 1 {
		lo, hi := low(x), high(x)
		// From (x-1, y) a path goes to (x, y) with the probability (m-x+1)/left, and from (x, y-1) with (n-y+1)/left.
		forward, from, before := float64(m-x+1), lo, 0.0
		if x == 0 {
			at[0], from, before = 1, 1, 1
		} else {
			for y := low(x - 1); y <= min(high(x-1), hi, lo-1); y++ {
				outside += at[y] * (forward / float64(m+n-x+1-y))
				at[y] = 0
			}
		}
		up, left := float64(n-from+1), float64(m+n-x-from+1)
		for y := from; y <= hi; y++ {
			part := 1 / left // beside the chain of values, which limits the speed
			before = at[y]*(forward*part) + before*(up*part)
			at[y] = before
			up--
			left--
		}
		if hi >= lo && hi < n {
			outside += at[hi] * float64(n-hi) / float64(m+n-x-hi)
		}
	}
	return min(outside, 1)
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func floorDiv(a, b int64) int64 {
	if q := a / b; a%b != 0 && a < 0 {
		return q - 1
	} else {
		return q
	}
}

func ceilDiv(a, b int64) int64 { return -floorDiv(-a, b) }

// kolmogorovSF is P(D ≥ x) of the two-sided one-sample statistic D of n values.
//
// The choice of the formula is that of R. Simard and P. L'Ecuyer, Computing the two-sided
// Kolmogorov-Smirnov distribution, Journal of Statistical Software 39 (2011), with the limits of
// scipy.stats.kstwo.
func kolmogorovSF(n, x float64) float64 {
	t := n * x
	nxx := t * x
	switch {
	case n <= 0 || x <= 0 || t <= 0.5:
		return 1
	case x >= 1:
		return 0
	case t <= 1: // Ruben and Gambino
		if n <= 140 {
			p := 1.0
			for i := 1.0; i <= n; i++ {
				p *= i * (1 / n) * (2*t - 1)
			}
			return 1 - p
		}
		return 1 - math.Exp(stirling(n)+math.Log(2*math.Pi*n)/2-n+n*math.Log(2*t-1))
	case t >= n-1:
		return clip(2 * math.Pow(1-x, n))
	case x >= 0.5 || n <= 140 && nxx > 4:
		return clip(2 * smirnovSF(n, x))
	case n <= 140:
		return clip(1 - durbin(n, x))
	case nxx >= negligible:
		return 0
	case nxx >= 2.2:
		return clip(2 * smirnovSF(n, x))
	case n <= 100_000 && n*math.Pow(x, 1.5) <= 1.4:
		return clip(1 - durbin(n, x))
	}
	return clip(1 - pelzGood(n, x))
}

func clip(p float64) float64 { return min(max(p, 0), 1) }

// smirnovSF is P(D⁺ ≥ x) of the one-sided one-sample statistic of n values: the sum over
// j ≤ n(1-x) of x C(n,j) (x+j/n)^(j-1) (1-x-j/n)^(n-j), Birnbaum and Tingey (1951). Each term is a
// binomial probability times x/(x+j/n), which loses no digits. From a million values on it is
// exp(-(6nx+1)²/18n), Miller's approximation, as in scipy.special.smirnov.
func smirnovSF(n, x float64) float64 {
	if n > 1e6 {
		y := 6*n*x + 1
		return math.Exp(-y * y / 18 / n)
	}
	t, sum := n*x, 0.0
	for j := 0.0; j <= math.Floor(n*(1-x)); j++ {
		sum += binomial(j, n, t) * t / (t + j)
	}
	return sum
}

// binomial is the probability of j successes in n trials, each of probability (j+t)/n, by the
// saddle-point expansion of C. Loader, Fast and accurate computation of binomial probabilities
// (2000).
func binomial(j, n, t float64) float64 {
	rest := n - j
	switch {
	case rest-t <= 0:
		return 0
	case j == 0:
		return math.Exp(n * math.Log1p(-t/n))
	}
	e := stirling(n) - stirling(j) - stirling(rest) - deviance(j, t) - deviance(rest, -t)
	return math.Exp(e) * math.Sqrt(n/(2*math.Pi*j*rest))
}

// stirling is the error of Stirling's formula: ln n! - ln(sqrt(2πn) (n/e)^n).
func stirling(n float64) float64 {
	if n <= 15 {
		g, _ := math.Lgamma(n + 1)
		return g - (n+0.5)*math.Log(n) + n - math.Log(2*math.Pi)/2
	}
	s := n * n
	return (1.0/12 - (1.0/360-(1.0/1260-(1.0/1680-1.0/1188/s)/s)/s)/s) / n
}

// deviance is x ln(x/m) + m - x with m = x + t, without cancellation for small t.
func deviance(x, t float64) float64 {
	m := x + t
	if math.Abs(t) >= 0.1*(x+m) {
		return x*math.Log(x/m) + t
	}
	v := -t / (x + m)
	sum, e := -t*v, 2*x*v
	for j := 3.0; ; j += 2 {
		e *= v * v
		next := sum + e/j
		if next == sum {
			return sum
		}
		sum = next
	}
}

// durbin is P(D ≤ x), exactly, by the matrix of Durbin: G. Marsaglia, W. W. Tsang and J. Wang,
// Evaluating Kolmogorov's distribution, Journal of Statistical Software 8 (2003). The matrix is
// divided by e, so that its powers stay near 1.
func durbin(n, x float64) float64 {
	k := int(math.Ceil(n * x))
	h, size := float64(k)-n*x, 2*k-1
	m := square{size, make([]float64, size*size)}
	at := func(i, j int) *float64 { return &m.v[i*size+j] }
	for i := range size {
		for j := range min(i+2, size) {
			*at(i, j) = 1
		}
	}
	for i := range size {
		*at(i, 0) -= math.Pow(h, float64(i+1))
		*at(size-1, i) -= math.Pow(h, float64(size-i))
	}
	if 2*h > 1 {
		*at(size-1, 0) += math.Pow(2*h-1, float64(size))
	}
	for i := range size {
		for j := range min(i+2, size) {
			*at(i, j) /= math.Gamma(float64(i-j+2)) * math.E
		}
	}
	p := m.power(int(n))
	return p.v[(k-1)*size+k-1] * math.Exp(stirling(n)) * math.Sqrt(2*math.Pi*n)
}

// A square is a square matrix, row by row.
type square struct {
	n int
	v []float64
}

func (a square) times(b square) square {
	c := square{a.n, make([]float64, len(a.v))}
	for i := range a.n {
		row := c.v[i*a.n : (i+1)*a.n]
		for k, x := range a.v[i*a.n : (i+1)*a.n] {
			if x == 0 {
				continue
			}
			for j, y := range b.v[k*a.n : (k+1)*a.n] {
				row[j] += x * y
			}
		}
	}
	return c
}

func (a square) power(n int) square {
	if n == 1 {
		return a
	}
	half := a.power(n / 2)
	p := half.times(half)
	if n%2 == 1 {
		p = p.times(a)
	}
	return p
}

// pelzGood is P(D ≤ x) by the first four terms of the expansion in 1/sqrt(n) of W. Pelz and I. J.
// Good, Approximating the lower tail-areas of the Kolmogorov-Smirnov one-sample statistic, Journal
// of the Royal Statistical Society B 38 (1976), in the form of Simard and L'Ecuyer.
func pelzGood(n, x float64) float64 {
	z := math.Sqrt(n) * x
	z2, z4, z6 := z*z, z*z*z*z, z*z*z*z*z*z
	const pi2, pi4, pi6 = math.Pi * math.Pi, math.Pi * math.Pi * math.Pi * math.Pi, math.Pi * math.Pi * math.Pi * math.Pi * math.Pi * math.Pi
	var k0, k1, k2, k3, extra2, extra3 float64
	for i := 0; ; i++ {
		// The sums are over all integers k. Those of k+½ are even, and of k as well.
		h := float64(i) + 0.5
		h2 := h * h
		e := math.Exp(-pi2 * h2 / (2 * z2))
		k0 += e
		k1 += (pi2*h2 - z2) * e
		k2 += (6*z6 + 2*z4 + pi2*(2*z4-5*z2)*h2 + pi4*(1-2*z2)*h2*h2) * e
		k3 += (pi6*h2*h2*h2*(5-30*z2) + pi4*h2*h2*(-60*z2+212*z4) + pi2*h2*(135*z4-96*z6) - 30*z6 - 90*z4*z4) * e
		q := float64(i * i)
		f := math.Exp(-pi2 * q / (2 * z2))
		extra2 += pi2 * q * f
		extra3 += (-pi4*q*q + 3*pi2*q*z2) * f
		if i > 1 && e < 1e-40 {
			break
		}
	}
	root := math.Sqrt(math.Pi / 2)
	k0 *= 2 * root / z
	k1 *= 2 * root / (6 * z4)
	k2 = 2*root*k2/(72*z6*z) - 2*root*extra2/(36*z2*z)
	k3 = 2*root*k3/(6480*z6*z4) + 2*root*extra3/(216*z6)
	r := math.Sqrt(n)
	return k0 + k1/r + k2/n + k3/(n*r)
}
