package measure

import (
	"fmt"
	"math"
)

// Limits of the rules.
const (
	fewRows       = 1000    // up to which a test has enough power, and not too much
	fewValues     = 5       // up to which the values of a number are categories
	binnedValues  = 20      // from which numbers are put into intervals for PSI and Jensen-Shannon
	maxCategories = 100_000 // of a reference; with more it looks like an identifier
	maxSegments   = 100     // that are measured, the largest ones
)

// DefaultTest is the test of a column without one: with at most 1000 rows on one of the sides it is
// a test with a p-value, KS for numbers and times and chi-square for categories; with more rows it is a
// distance, Wasserstein (normed) and Jensen-Shannon, because with many rows every difference is
// significant. Numbers with at most five values are categories.
//
// This is the rule of Evidently (DataDriftPreset, get_stattest), with two differences: it looks at
// the smaller side, while Evidently looks at the reference only, and for two categories it takes
// chi-square, while Evidently takes a z-test, whose p-value is the same.
func DefaultTest(numeric bool, rows, referenceRows int64, values int) string {
	many := min(rows, referenceRows) > fewRows
	switch numeric = numeric && values > fewValues; {
	case numeric && many:
		return TestWassersteinSD
	case numeric:
		return TestKS
	case many:
		return TestJensenShannon
	}
	return TestChiSquare
}

// DefaultMax is the limit of a distance without one. It is that of Evidently. A test with a p-value
// has none.
func DefaultMax(test string) (limit float64, ok bool) {
	switch test {
	case TestWassersteinSD, TestJensenShannon, TestPSI:
		return 0.1, true
	}
	return 0, false
}

// Highest is a number that the statistic of a test never exceeds, if there is one.
func Highest(test string) (limit float64, ok bool) {
	switch test {
	case TestKS:
		return 1, true
	case TestJensenShannon:
		return 0.8326, true // sqrt(ln 2), rounded up
	}
	return 0, false
}

// fits says why a test does not fit a kind of columns, or "".
func fits(test string, k kind) string {
	switch test {
	case TestKS, TestWasserstein, TestWassersteinSD:
		if k == category {
			return fmt.Sprintf("%s compares numbers and times; use %s, %s or %s", test, TestChiSquare, TestJensenShannon, TestPSI)
		}
	case TestPSI, TestJensenShannon, TestChiSquare, "":
	default:
		return fmt.Sprintf("there is no test %q; there are %s, %s, %s, %s, %s and %s", test, TestKS, TestWasserstein, TestWassersteinSD, TestPSI, TestJensenShannon, TestChiSquare)
	}
	return ""
}

// tooLarge is why a statistic that overflows is not known.
const tooLarge = "the values are too large to compare"

// judge gives a figure without a verdict that of its limits, or OK. A value that overflows is not known.
func (f *Figure) judge() {
	if f.Value != nil && (math.IsInf(*f.Value, 0) || math.IsNaN(*f.Value)) {
		f.Value, f.P, f.Reason = nil, nil, tooLarge
	}
	switch {
	case f.Verdict != "":
	case f.Value == nil:
		f.Verdict = Unknown
	case f.Max != nil && *f.Value > *f.Max || f.Min != nil && *f.Value < *f.Min:
		f.Verdict = Alert
	default:
		f.Verdict = OK
	}
}

// decides reports whether a verdict is based on a figure.
func (f *Figure) decides() bool {
	return f.Min != nil || f.Max != nil || f.Name == FigureDrift || f.Verdict == Alert
}

// says describes a figure in a reason: "temp: ks 0.31 > 0.1".
func (f *Figure) says() string {
	what := f.Name
	if f.Test != "" {
		what = f.Test
	}
	if f.Column != "" {
		what = f.Column + ": " + what
	}
	switch {
	case f.Value == nil:
		return what + " is not known: " + f.Reason
	case f.Max != nil && *f.Value > *f.Max:
		return fmt.Sprintf("%s %.4g > %.4g", what, *f.Value, *f.Max)
	case f.Min != nil && *f.Value < *f.Min:
		return fmt.Sprintf("%s %.4g < %.4g", what, *f.Value, *f.Min)
	case f.PAdj != nil:
		return fmt.Sprintf("%s %.4g, p %.3g, corrected %.3g", what, *f.Value, *f.P, *f.PAdj)
	case f.Reason != "":
		return what + ": " + f.Reason
	}
	return fmt.Sprintf("%s %.4g", what, *f.Value)
}

var severity = map[Verdict]int{Unknown: 0, OK: 1, Warn: 2, Alert: 3}

// sum is the verdict of figures, and the reasons for it: the first one, and how many there are. The
// reason of OK is what is not known, if there is something.
func sum(figures []Figure) (v Verdict, reason string) {
	v = Unknown
	reasons := map[Verdict][]string{}
	for i := range figures {
		if f := &figures[i]; f.decides() {
			reasons[f.Verdict] = append(reasons[f.Verdict], f.says())
			if severity[f.Verdict] > severity[v] {
				v = f.Verdict
			}
		}
	}
	why := v
	if v == OK {
		why = Unknown
	}
	switch all := reasons[why]; {
	case len(all) > 1:
		return v, fmt.Sprintf("%s, and %d more", all[0], len(all)-1)
	case len(all) == 1:
		return v, all[0]
	case v == Unknown:
		return v, "no figure has a limit"
	}
	return v, ""
}
