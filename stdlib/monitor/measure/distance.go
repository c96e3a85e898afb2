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
	// Times are far from zero and near each other, so the least value is taken away first. Divided by the
	// range, no square overflows or vanishes.
	part := 1.0
	if math.IsInf(x[len(x)-1]-x[0], 0) {
		part = 0.5
	}
	low := x[0] * part
	width := x[len(x)-1]*part - low
	if width == 0 {
		return 0
	}
	n, mean, sum, rest := float64(len(x)), 0.0, 0.0, 0.0
	for _, v := range x {
		mean += (v*part - low) / width / n
	}
	for _, v := range x {
		off := (v*part-low)/width - mean
		sum += off * off / n
		rest += off / n // what rounding has left in the mean
	}
	return sqrt(sum-rest*rest) * width / part
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
func jensenShannon(all []tally) float64 {
	n := totals(all)
	d := 0.0
	for _, t := range all {
		p, q := t.reference/n[0], t.current/n[1]
		m := (p + q) / 2
		d += (entropy(p, m) + entropy(q, m)) * t.values
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
func psi(all []tally) float64 {
	n := totals(all)
	least := [2]float64{1, 1}
	for _, t := range all {
		for side, rows := range t.sides() {
			if rows > 0 {
				least[side] = min(least[side], rows/n[side])
			}
		}
	}
	sum := 0.0
	for _, t := range all {
		shares := t.sides()
		for side, rows := range shares {
			switch {
			case rows > 0:
				shares[side] = rows / n[side]
			case least[side] <= 0.0001:
				shares[side] = least[side] / 1e6
			default:
				shares[side] = 0.0001
			}
		}
		sum += (shares[0] - shares[1]) * math.Log(shares[0]/shares[1]) * t.values
	}
	return sum
}

// chiSquare is the statistic of the chi-square test of homogeneity and its degrees of freedom, as
// scipy.stats.chi2_contingency without Yates's correction.
func chiSquare(all []tally) (statistic float64, degrees int) {
	n := totals(all)
	values := 0.0
	for _, t := range all {
		for side, rows := range t.sides() {
			expected := (t.reference + t.current) * n[side] / (n[0] + n[1])
			statistic += (rows - expected) * (rows - expected) / expected * t.values
		}
		values += t.values
	}
	return statistic, int(values) - 1
}

// sides are the numbers of one value in the reference and in the window.
func (t tally) sides() [2]float64 { return [2]float64{t.reference, t.current} }

// totals are the numbers of rows of both sides.
func totals(all []tally) (n [2]float64) {
	for _, t := range all {
		n[0] += t.reference * t.values
		n[1] += t.current * t.values
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
