package measure

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// An EstimateSpec says how [Estimate] estimates the quality of a classification.
type EstimateSpec struct {
	// Label and Prediction are columns; the label only of the reference. Without a prediction, only
	// roc_auc is estimated.
	Label      string `json:"label"`
	Prediction string `json:"prediction,omitempty"`
	// Probability is the column with the probability of the class Positive.
	Probability string `json:"probability"`
	Positive    string `json:"positive"` // class, as text
	// Confidence says that the classes are whether the prediction of any number of classes is right. Then only the
	// accuracy is estimated.
	Confidence bool `json:"confidence,omitempty"`
	// Gates by metric. An estimate beyond its limit is a warning, and an alert if its whole interval is.
	Gates map[string]Gate `json:"gates,omitempty"`
	// MinRows is the least number of rows of the window, and of the reference. At least 1.
	MinRows int64 `json:"min_rows,omitempty"`
}

var estimates = []string{"roc_auc", "accuracy", "precision", "recall", "specificity", "f1"}

// metrics are those that are estimated.
func (s EstimateSpec) metrics() []string {
	switch {
	case s.Confidence:
		return []string{"accuracy"}
	case s.Prediction == "":
		return []string{"roc_auc"}
	}
	return estimates
}

// intervalErrors is how many standard errors an interval is wide on each side, as NannyML's.
const intervalErrors = 3

// Estimate estimates the quality of predictions whose labels have not arrived, from their
// probabilities: confidence-based performance estimation (CBPE) of NannyML.
//
// If a row is positive with probability c, it counts as c positive and 1-c negative rows. So the
// expected numbers of true positives and of false ones are the sums of c and of 1-c over the rows
// that are predicted positive, and those of the negatives over the others; metrics are computed of
// them as of a confusion matrix, and roc_auc of the curve of the rows by their probability. c is the
// probability of the model, calibrated by an isotonic regression of the labels of the reference if
// that makes the calibration of rows better that it has not seen.
//
// Lower and Upper are the estimate ± 3 standard errors of the sampling, from the reference: of the mean
// of the rows that a metric is about, and for roc_auc of the Mann-Whitney statistic. They do not
// contain the error of a model whose calibration has drifted: CBPE assumes that P(label | features) is
// that of the reference.
//
// Of more than two classes, the accuracy is the mean probability of the predicted class, calibrated as one: NannyML
// calibrates the probability of each class, and takes that of the predicted one.
//
// Source: https://nannyml.readthedocs.io/en/stable/how_it_works/performance_estimation.html. Values
// equal NannyML's, except that rows of equal probability have no order here (NannyML gives them an
// arbitrary one), and that the ten parts of the reference, on which the calibration is tried, are
// chosen by rank instead of at random.
func Estimate(ctx context.Context, db *sql.DB, reference, current string, spec EstimateSpec) (*Report, error) {
	if spec.Label == "" || spec.Probability == "" || spec.Positive == "" {
		return nil, errors.New("an estimate needs the columns of the label and of the probability, and the positive class")
	}
	if err := checkGates(spec.Gates, estimates); err != nil {
		return nil, err
	}
	spec.MinRows = max(spec.MinRows, 1)
	ref, refWhy, err := spec.read(ctx, db, "reference", reference, spec.Label)
	if err != nil {
		return nil, err
	}
	cur, curWhy, err := spec.read(ctx, db, "window", current, "")
	if err != nil {
		return nil, err
	}
	r := &Report{Rows: int64(cur.rows()), ReferenceRows: int64(ref.rows()), Verdict: Unknown}
	positive, rows := ref.levels().totals()
	switch {
	case refWhy != "" || curWhy != "":
		r.Reason = refWhy + curWhy
	case r.Rows < spec.MinRows:
		r.Reason = fmt.Sprintf("%d rows, wanted at least %d", r.Rows, spec.MinRows)
	case r.ReferenceRows < spec.MinRows:
		r.Reason = fmt.Sprintf("%d rows of the reference, wanted at least %d", r.ReferenceRows, spec.MinRows)
	case spec.Confidence && (positive == 0 || positive == rows):
		r.Reason = "all predictions of the reference are right, or all are wrong"
	case positive == 0 || positive == rows:
		r.Reason = "all labels of the reference are of one class"
	default:
		r.Figures = spec.estimate(ref, cur)
		if r.Verdict, r.Reason = sum(r.Figures); len(spec.Gates) == 0 {
			r.Verdict, r.Reason = OK, ""
		}
	}
	return r, nil
}

// A scored is the rows with one probability, divided by their prediction: 0 is negative.
type scored struct {
	p              float64
	rows, positive [2]float64
}

type scores []scored // in ascending order

func (s scores) rows() (n float64) {
	for _, x := range s {
		n += x.rows[0] + x.rows[1]
	}
	return n
}

func (s scores) levels() levels {
	l := make(levels, len(s))
	for i, x := range s {
		l[i] = level{x.p, x.positive[0] + x.positive[1], x.rows[0] + x.rows[1]}
	}
	return l
}

// read reads the probabilities of one side. why says why they cannot be used.
func (s EstimateSpec) read(ctx context.Context, db *sql.DB, what, of, label string) (all scores, why string, err error) {
	r, err := open(ctx, db, what, of)
	if err != nil {
		return nil, "", err
	}
	for _, name := range []string{s.Probability, s.Prediction, label} {
		if name != "" && r.column(name) == nil {
			return nil, "", fmt.Errorf("the %s has no column %q; it has %s", what, name, strings.Join(r.names(), ", "))
		}
	}
	a := *r.column(s.Probability)
	if kindOf(a.typ) != number {
		return nil, "", fmt.Errorf("column %q is %s; a probability is a number", a.name, a.typ)
	}
	// is compares a column with the positive class. A NULL is not compared.
	is := func(name, without string) string {
		if name == "" {
			return without
		}
		return "CAST(CAST(" + ident(name) + " AS VARCHAR) = " + quote(s.Positive) + " AS INTEGER)"
	}
	bad := 0.0
	q := fmt.Sprintf("SELECT CAST(p AS DOUBLE), CAST(h AS DOUBLE), CAST(count(*) AS DOUBLE), CAST(sum(y) AS DOUBLE), CAST(count_if(p IS NULL OR p < 0 OR p > 1) AS DOUBLE) FROM "+
		"(SELECT coalesce(%s + 0.0, -1) AS p, %s AS h, %s AS y FROM %s) WHERE h IS NOT NULL AND y IS NOT NULL GROUP BY p, h ORDER BY p, h",
		a.finite(), is(s.Prediction, "1"), is(label, "0"), r.from)
	err = each(ctx, db, q, func(row []driver.Value) error {
		v, err := floats(row)
		if err != nil {
			return err
		}
		bad += v[4]
		if len(all) == 0 || all[len(all)-1].p != v[0] {
			all = append(all, scored{p: v[0]})
		}
		last := &all[len(all)-1]
		last.rows[int(v[1])], last.positive[int(v[1])] = v[2], v[3]
		return nil
	})
	if bad > 0 {
		why = fmt.Sprintf("%.0f probabilities of the %s are missing, or not from 0 to 1", bad, what)
	}
	return all, why, err
}

// estimate returns the figures.
func (s EstimateSpec) estimate(ref, cur scores) (figures []Figure) {
	calibrated := func(p float64) float64 { return p }
	if l := ref.levels(); calibrationHelps(l) {
		calibrated = isotonic(l)
	}
	// Expected rows of the window by their prediction and their label.
	var expected, seen [2][2]float64
	for _, x := range cur {
		c := calibrated(x.p)
		for h := range x.rows {
			expected[h][1] += c * x.rows[h]
			expected[h][0] += (1 - c) * x.rows[h]
		}
	}
	for _, x := range ref {
		for h := range x.rows {
			seen[h][1] += x.positive[h]
			seen[h][0] += x.rows[h] - x.positive[h]
		}
	}
	n := cur.rows()
	for _, name := range s.metrics() {
		var f Figure
		var e float64
		if name == "roc_auc" {
			f, e = expectedArea(cur.levels(), calibrated), areaError(ref.levels(), n)
		} else {
			right, wrong, weight := about(name, expected)
			f = ratio(name, right, right+weight*wrong, "no row of the window counts for it")
			e = sampling(name, seen, ref.rows(), n)
		}
		if f.Value != nil && !math.IsNaN(e) {
			f.Lower, f.Upper = ptr(clip(*f.Value-intervalErrors*e)), ptr(clip(*f.Value+intervalErrors*e))
		}
		g := s.Gates[name]
		f.Min, f.Max = g.Min, g.Max
		if f.judge(); f.Verdict == Alert && (f.Lower == nil || !(f.Max != nil && *f.Lower > *f.Max || f.Min != nil && *f.Upper < *f.Min)) {
			f.Verdict = Warn
		}
		figures = append(figures, f)
	}
	return figures
}

// about returns the rows that a metric counts as right and as wrong, of counts by prediction and label:
// the metric is right / (right + weight × wrong).
func about(metric string, n [2][2]float64) (right, wrong, weight float64) {
	switch metric {
	case "accuracy":
		return n[0][0] + n[1][1], n[0][1] + n[1][0], 1
	case "precision":
		return n[1][1], n[1][0], 1
	case "recall":
		return n[1][1], n[0][1], 1
	case "specificity":
		return n[0][0], n[1][0], 1
	}
	return n[1][1], n[1][0] + n[0][1], 0.5 // f1
}

// sampling is the standard error of a metric of so many rows: that of a mean of the rows that it is about,
// from their share and variance in the reference.
func sampling(metric string, seen [2][2]float64, referenceRows, rows float64) float64 {
	right, wrong, weight := about(metric, seen)
	relevant := right + wrong
	q := right / relevant
	return relevant / (right + weight*wrong) * math.Sqrt(q*(1-q)) / math.Sqrt(rows*relevant/referenceRows)
}

// expectedArea is the expected area under the ROC curve.
func expectedArea(cur levels, calibrated func(float64) float64) Figure {
	var area, below, positive float64
	for _, x := range cur {
		c := calibrated(x.p)
		area += c * x.rows * (below + (1-c)*x.rows/2)
		positive += c * x.rows
		below += (1 - c) * x.rows
	}
	return ratio("roc_auc", area, positive*below, "all rows of the window are expected to be of one class")
}

// areaError is the standard error of the area under the ROC curve of so many rows. The area is the mean over
// the rows of the rarer class of the share of the others that are below; the error is that of the mean.
func areaError(ref levels, rows float64) float64 {
	positive, n := ref.totals()
	if positive > n/2 {
		ref = slices.Clone(ref)
		slices.Reverse(ref)
		for i, x := range ref {
			ref[i].positive = x.rows - x.positive
		}
		positive = n - positive
	}
	var below, first, second float64
	for _, x := range ref {
		negative := x.rows - x.positive
		share := (below + negative/2) / (n - positive)
		first += x.positive * share
		second += x.positive * share * share
		below += negative
	}
	mean := first / positive
	return sqrt(second/positive-mean*mean) / math.Sqrt(rows*positive/n)
}

// isotonic is the non-decreasing function that is nearest to the labels, by least squares, with lines
// between its steps, as scikit-learn's IsotonicRegression(out_of_bounds="clip"): the pool adjacent
// violators algorithm.
func isotonic(l levels) func(float64) float64 {
	type block struct{ first, last, positive, rows float64 } // probabilities, and sums
	var blocks []block
	for _, x := range l {
		b := block{x.p, x.p, x.positive, x.rows}
		for len(blocks) > 0 && blocks[len(blocks)-1].positive*b.rows >= b.positive*blocks[len(blocks)-1].rows {
			before := blocks[len(blocks)-1]
			blocks = blocks[:len(blocks)-1]
			b = block{before.first, b.last, before.positive + b.positive, before.rows + b.rows}
		}
		blocks = append(blocks, b)
	}
	return func(p float64) float64 {
		i, _ := slices.BinarySearchFunc(blocks, p, func(b block, p float64) int {
			if b.last < p {
				return -1
			}
			return 1
		})
		switch {
		case i == len(blocks):
			i--
		case p < blocks[i].first && i > 0:
			a, b := blocks[i-1], blocks[i]
			low, high := a.positive/a.rows, b.positive/b.rows
			return low + (high-low)*(p-a.last)/(b.first-a.last)
		}
		return blocks[i].positive / blocks[i].rows
	}
}

// parts is how many parts of a reference the calibration is tried on.
const parts = 10

// calibrationHelps reports whether an isotonic regression of nine tenths of the rows makes the expected
// calibration error of the others smaller, in ten bins with equally many rows. Rows are divided by
// their rank and label, so that the parts have the same distribution.
func calibrationHelps(l levels) bool {
	_, rows := l.totals()
	if area := l.metrics()[0].Value; rows < 2*parts || area == nil || *area > 0.999 {
		return false
	}
	tests := [parts]levels{}
	trains := [parts]levels{}
	rank := [2]int{}
	for _, x := range l {
		var test [parts]level
		for label, n := range []float64{x.rows - x.positive, x.positive} {
			for range int(n) {
				part := &test[rank[label]%parts]
				part.rows++
				part.positive += float64(label)
				rank[label]++
			}
		}
		for i, t := range test {
			if t.rows > 0 {
				tests[i] = append(tests[i], level{x.p, t.positive, t.rows})
			}
			if t.rows < x.rows {
				trains[i] = append(trains[i], level{x.p, x.positive - t.positive, x.rows - t.rows})
			}
		}
	}
	var after levels
	for i, test := range tests {
		calibrated := isotonic(trains[i])
		for _, x := range test {
			after = append(after, level{calibrated(x.p), x.positive, x.rows})
		}
	}
	return rankedError(l, rows) > rankedError(after, rows)
}

// rankedError is the expected calibration error in ten bins with equally many rows.
func rankedError(l levels, rows float64) float64 {
	l = slices.Clone(l)
	slices.SortStableFunc(l, func(a, b level) int {
		switch {
		case a.p < b.p:
			return -1
		case a.p > b.p:
			return 1
		}
		return 0
	})
	var sum, seen, p, positive float64
	for i, x := range l {
		seen += x.rows
		p += x.p * x.rows
		positive += x.positive
		if seen >= rows/parts || i == len(l)-1 {
			sum += math.Abs(p - positive)
			seen, p, positive = 0, 0, 0
		}
	}
	return sum / rows
}
