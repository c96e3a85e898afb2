package measure

import "math"

// ksStatistic is the largest distance of the empirical distribution functions of two sorted
// samples.
func ksStatistic(a, b []float64) float64 {
	d, na, nb := 0.0, float64(len(a)), float64(len(b))
	merge(a, b, func(_, _ float64, i, j int) {
		d = max(d, math.Abs(float64(i)/na-float64(j)/nb))
	})
	return d
}

// wasserstein is the area between the empirical distribution functions of two sorted samples: the
// first Wasserstein distance, as scipy.stats.wasserstein_distance.
func wasserstein(a, b []float64) float64 {
	var sum, lost float64
	na, nb := float64(len(a)), float64(len(b))
	merge(a, b, func(x, next float64, i, j int) {
		// Summed as Kahan does, because there may be millions of terms.
		term := math.Abs(float64(i)/na-float64(j)/nb)*(next-x) - lost
		total := sum + term
		lost = total - sum - term
		sum = total
	})
	return sum
}

// deviation is the standard deviation of a sorted sample, with the divisor n, as numpy.std.
func deviation(x []float64) float64 {
	most := max(math.Abs(x[0]), math.Abs(x[len(x)-1]))
	if most == 0 {
		return 0
	}
	// Divided by the largest value, no square overflows.
	n, mean, sum := float64(len(x)), 0.0, 0.0
	for _, v := range x {
		mean += v / most / n
	}
	for _, v := range x {
		sum += (v/most - mean) * (v/most - mean) / n
	}
	return math.Sqrt(sum) * most
}

// merge goes through the different values of two sorted samples, and calls f with each value but
// the last, the next value, and how many values of each sample are at most the former.
func merge(a, b []float64, f func(x, next float64, i, j int)) {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		x := min(a[i], b[j])
		for i < len(a) && a[i] == x {
			i++
		}
		for j < len(b) && b[j] == x {
			j++
		}
		switch {
		case i < len(a) && j < len(b):
			f(x, min(a[i], b[j]), i, j)
		case i < len(a):
			f(x, a[i], i, j)
		case j < len(b):
			f(x, b[j], i, j)
		}
	}
	for ; i+1 < len(a); i++ {
		f(a[i], a[i+1], i+1, j)
	}
	for ; j+1 < len(b); j++ {
		f(b[j], b[j+1], i, j+1)
	}
}

// jensenShannon is the square root of the Jensen-Shannon divergence of two lists of counts, base e,
// as scipy.spatial.distance.jensenshannon. 0 ≤ d ≤ sqrt(ln 2).
func jensenShannon(pairs [][2]float64) float64 {
	n := totals(pairs)
	d := 0.0
	for _, c := range pairs {
		p, q := c[0]/n[0], c[1]/n[1]
		m := (p + q) / 2
		d += entropy(p, m) + entropy(q, m)
	}
	return math.Sqrt(max(d, 0) / 2)
}

func entropy(p, q float64) float64 {
	if p == 0 {
		return 0
	}
	return p * math.Log(p/q)
}

// psi is the population stability index of two lists of counts, the sum of (p-q) ln(p/q). A share
// of zero counts as 0.0001, or as a millionth of the least other share of its list if that is at
// most 0.0001: this is Evidently's rule.
func psi(pairs [][2]float64) float64 {
	n := totals(pairs)
	var zero [2]float64
	for side := range zero {
		least := 1.0
		for _, c := range pairs {
			if c[side] > 0 {
				least = min(least, c[side]/n[side])
			}
		}
		if zero[side] = 0.0001; least <= 0.0001 {
			zero[side] = least / 1e6
		}
	}
	share := func(c [2]float64, side int) float64 {
		if c[side] == 0 {
			return zero[side]
		}
		return c[side] / n[side]
	}
	sum := 0.0
	for _, c := range pairs {
		p, q := share(c, 0), share(c, 1)
		sum += (p - q) * math.Log(p/q)
	}
	return sum
}

// chiSquare is the statistic of the chi-square test of homogeneity and its degrees of freedom, as
// scipy.stats.chi2_contingency without Yates's correction.
func chiSquare(pairs [][2]float64) (statistic float64, degrees int) {
	n := totals(pairs)
	for _, c := range pairs {
		for side := range n {
			expected := (c[0] + c[1]) * n[side] / (n[0] + n[1])
			statistic += (c[side] - expected) * (c[side] - expected) / expected
		}
	}
	return statistic, len(pairs) - 1
}

func totals(pairs [][2]float64) (n [2]float64) {
	for _, c := range pairs {
		n[0] += c[0]
		n[1] += c[1]
	}
	return n
}

// sturges are the edges of equally wide intervals from the least to the greatest of n values, by
// the rule of Sturges, as numpy.histogram_bin_edges(bins="sturges"). An interval of whole numbers is
// at least 1 wide.
func sturges(low, high float64, n int64, whole bool) []float64 {
	width := (high - low) / (math.Log2(float64(n)) + 1)
	if whole && width > 0 {
		width = max(width, 1)
	}
	bins := 1
	if width > 0 {
		bins = int(math.Ceil((high - low) / width))
	} else {
		low, high = low-0.5, high+0.5
	}
	edges := make([]float64, bins+1)
	step := (high - low) / float64(bins)
	for i := range edges {
		edges[i] = low + float64(i)*step
	}
	edges[bins] = high
	return edges
}
