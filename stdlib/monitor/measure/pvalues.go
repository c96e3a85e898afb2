package measure

import (
	"cmp"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// chiSquareSF is P(X ≥ x) of the chi-square distribution.
func chiSquareSF(x float64, degrees int) float64 {
	return mathext.GammaIncRegComp(float64(degrees)/2, x/2)
}

// adjust corrects p-values for their number. Those that come out below alpha are significant:
//
//   - Holm keeps the probability of any false alarm below alpha (S. Holm, A simple sequentially
//     rejective multiple test procedure, 1979);
//   - BenjaminiHochberg keeps the expected share of false ones among the alarms below alpha (1995),
//     for independent or positively dependent columns.
//
// They are the values of statsmodels' multipletests with "holm" and "fdr_bh".
func adjust(p []float64, correction string) []float64 {
	adjusted := slices.Clone(p)
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(p[i], p[j]) })
	n := len(p)
	switch correction {
	case Holm:
		least := 0.0
		for rank, i := range order {
			least = max(least, min(1, p[i]*float64(n-rank)))
			adjusted[i] = least
		}
	case BenjaminiHochberg:
		most := 1.0
		for rank := n - 1; rank >= 0; rank-- {
			i := order[rank]
			most = min(most, p[i]*float64(n)/float64(rank+1))
			adjusted[i] = most
		}
	}
	return adjusted
}
