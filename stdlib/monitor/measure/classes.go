package measure

import (
	"context"
	"database/sql/driver"
	"fmt"
	"maps"
	"math"
	"slices"
)

func sqrt(x float64) float64 { return math.Sqrt(max(x, 0)) }

// classification adds the metrics of a classification.
func (q *quality) classification(ctx context.Context, r relation, segment map[string]string, add func(Figure), report *Report) error {
	confused, err := q.confusion(ctx, r)
	if err != nil {
		return fmt.Errorf("count the classes: %w", err)
	}
	for _, f := range confused.metrics(q.spec.Positive) {
		add(f)
	}
	if q.spec.Probability == "" {
		for _, name := range probabilityMetrics {
			if _, gated := q.spec.Gates[name]; gated {
				add(Figure{Name: name, Reason: "no probability of the positive class is recorded"})
			}
		}
		return nil
	}
	levels, why, err := q.levels(ctx, r)
	if err != nil {
		return fmt.Errorf("read the probabilities: %w", err)
	}
	if why != "" {
		for _, name := range probabilityMetrics {
			add(Figure{Name: name, Reason: why})
		}
		return nil
	}
	for _, f := range levels.metrics() {
		add(f)
	}
	bins := levels.bins(q.spec.Bins)
	add(Figure{Name: FigureCalibration, Value: ptr(calibrationError(bins))})
	for _, b := range bins {
		b.Segment = segment
		report.Bins = append(report.Bins, b)
	}
	return nil
}

// A confusion counts rows by their label and their prediction.
type confusion map[[2]string]float64

func (q *quality) confusion(ctx context.Context, r relation) (confusion, error) {
	c := confusion{}
	query := fmt.Sprintf("SELECT CAST(%s AS VARCHAR), CAST(%s AS VARCHAR), CAST(count(*) AS DOUBLE) FROM %s GROUP BY ALL LIMIT %d", ident(q.spec.Label), ident(q.spec.Prediction), r.from, maxCategories+1)
	err := each(ctx, q.db, query, func(row []driver.Value) error {
		n, err := floats(row[2:])
		if err != nil {
			return err
		}
		c[[2]string{fmt.Sprint(row[0]), fmt.Sprint(row[1])}] = n[0]
		return nil
	})
	if err == nil && len(c) > maxCategories {
		err = fmt.Errorf("labels and predictions form more than %d pairs; for numbers, set the task to %s", maxCategories, Regression)
	}
	return c, err
}

// classes are the labels and predictions that occur.
func (c confusion) classes() []string {
	seen := map[string]bool{}
	for pair := range c {
		seen[pair[0]], seen[pair[1]] = true, true
	}
	return slices.Sorted(maps.Keys(seen))
}

// of returns the numbers of true positives, false positives and false negatives of a class.
func (c confusion) of(class string) (tp, fp, fn float64) {
	for pair, n := range c {
		switch {
		case pair[0] == class && pair[1] == class:
			tp += n
		case pair[1] == class:
			fp += n
		case pair[0] == class:
			fn += n
		}
	}
	return tp, fp, fn
}

// metrics are the metrics of scikit-learn that need no probability: of the positive class, or the
// means of all classes.
func (c confusion) metrics(positive string) []Figure {
	n, right := 0.0, 0.0
	for pair, rows := range c {
		if n += rows; pair[0] == pair[1] {
			right += rows
		}
	}
	figures := []Figure{{Name: "accuracy", Value: ptr(right / n)}, c.balanced()}
	if positive != "" {
		tp, fp, fn := c.of(positive)
		figures = append(figures,
			ratio("precision", tp, tp+fp, "no row is predicted to be "+positive),
			ratio("recall", tp, tp+fn, "no row has the label "+positive),
			ratio("f1", 2*tp, 2*tp+fp+fn, "no row has the label or the prediction "+positive))
	} else {
		figures = append(figures, c.macro()...)
	}
	return append(figures, c.matthews(n, right))
}

func ratio(name string, a, b float64, why string) Figure {
	if b == 0 {
		return Figure{Name: name, Reason: why}
	}
	return Figure{Name: name, Value: ptr(a / b)}
}

// balanced is the mean of the recalls of the classes that labels have.
func (c confusion) balanced() Figure {
	sum, n := 0.0, 0.0
	for _, class := range c.classes() {
		if tp, _, fn := c.of(class); tp+fn > 0 {
			sum += tp / (tp + fn)
			n++
		}
	}
	return ratio("balanced_accuracy", sum, n, "no row has a label")
}

// macro is precision, recall and f1 with average="macro". A class that is never predicted has the
// precision 0, and one that no label has the recall 0, as in scikit-learn; a reason says so.
func (c confusion) macro() []Figure {
	var precision, recall, f1 float64
	unpredicted, unlabelled := 0, 0
	classes := c.classes()
	for _, class := range classes {
		tp, fp, fn := c.of(class)
		if tp+fp > 0 {
			precision += tp / (tp + fp)
		} else {
			unpredicted++
		}
		if tp+fn > 0 {
			recall += tp / (tp + fn)
		} else {
			unlabelled++
		}
		f1 += 2 * tp / (2*tp + fp + fn)
	}
	k := float64(len(classes))
	note := func(n int, what string) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("%d of %d classes %s and count as 0", n, len(classes), what)
	}
	return []Figure{
		{Name: "precision", Value: ptr(precision / k), Reason: note(unpredicted, "are never predicted")},
		{Name: "recall", Value: ptr(recall / k), Reason: note(unlabelled, "have no label")},
		{Name: "f1", Value: ptr(f1 / k)},
	}
}

// matthews is the correlation coefficient of any number of classes, J. Gorodkin, Comparing two
// K-category assignments by a K-category correlation coefficient (2004).
func (c confusion) matthews(n, right float64) Figure {
	var both, labels, predictions float64
	for _, class := range c.classes() {
		tp, fp, fn := c.of(class)
		both += (tp + fn) * (tp + fp)
		labels += (tp + fn) * (tp + fn)
		predictions += (tp + fp) * (tp + fp)
	}
	below := math.Sqrt((n*n - labels) * (n*n - predictions))
	return ratio("matthews_corrcoef", right*n-both, below, "all labels or all predictions are equal")
}

// A level is the rows with one probability.
type level struct{ p, positive, rows float64 }

// levels are in ascending order.
type levels []level

// levels reads the probabilities with their labels. why says why they cannot be used.
func (q *quality) levels(ctx context.Context, r relation) (all levels, why string, err error) {
	a := *r.column(q.spec.Probability)
	if kindOf(a.typ) != number {
		return nil, "", fmt.Errorf("column %q is %s; a probability is a number", a.name, a.typ)
	}
	p := a.finite()
	bad, err := one(ctx, q.db, []string{fmt.Sprintf("count_if(%s IS NULL OR %s < 0 OR %s > 1)", p, p, p)}, r.from)
	if err != nil {
		return nil, "", err
	}
	if n := bad[0].Float64; n > 0 {
		return nil, fmt.Sprintf("%.0f probabilities are missing, or not from 0 to 1", n), nil
	}
	query := fmt.Sprintf("SELECT p, CAST(sum(y) AS DOUBLE), CAST(count(*) AS DOUBLE) FROM (SELECT %s + 0.0 AS p, CAST(CAST(%s AS VARCHAR) = %s AS INTEGER) AS y FROM %s) GROUP BY p ORDER BY p",
		p, ident(q.spec.Label), quote(q.spec.Positive), r.from)
	err = each(ctx, q.db, query, func(row []driver.Value) error {
		v, err := floats(row)
		if err == nil {
			all = append(all, level{v[0], v[1], v[2]})
		}
		return err
	})
	return all, "", err
}

func (l levels) totals() (positive, rows float64) {
	for _, x := range l {
		positive += x.positive
		rows += x.rows
	}
	return positive, rows
}

// metrics are the metrics of scikit-learn that need probabilities.
func (l levels) metrics() []Figure {
	positive, rows := l.totals()
	negative := rows - positive
	var below, pairs, found, seen, precision, loss, brier float64
	const epsilon = 2.220446049250313e-16 // to which log_loss clips
	for _, x := range l {
		n := x.rows - x.positive
		pairs += x.positive * (below + n/2)
		below += n
		p := min(max(x.p, epsilon), 1-epsilon)
		if x.positive > 0 {
			loss -= x.positive * math.Log(p)
		}
		if n > 0 {
			loss -= n * math.Log1p(-p)
		}
		brier += x.positive*(1-x.p)*(1-x.p) + n*x.p*x.p
	}
	for _, x := range slices.Backward(l) {
		found += x.positive
		seen += x.rows
		precision += x.positive / positive * found / seen
	}
	const one = "all labels are of one class"
	figures := []Figure{
		ratio("roc_auc", pairs, positive*negative, one),
		ratio("average_precision", precision, 1, ""),
		ratio("log_loss", loss, rows, ""),
		ratio("brier_score_loss", brier, rows, ""),
	}
	if positive == 0 {
		figures[1] = Figure{Name: "average_precision", Reason: "no label is of the positive class"}
	}
	return figures
}

// bins are the intervals of a calibration that have rows: (0, 1/n], (1/n, 2/n] ..., where the first
// one contains 0.
func (l levels) bins(n int) (all []Bin) {
	sums := make([]struct{ p, positive, rows float64 }, n)
	for _, x := range l {
		i := min(max(int(math.Ceil(x.p*float64(n)))-1, 0), n-1)
		sums[i].p += x.p * x.rows
		sums[i].positive += x.positive
		sums[i].rows += x.rows
	}
	for i, s := range sums {
		if s.rows > 0 {
			all = append(all, Bin{Low: float64(i) / float64(n), High: float64(i+1) / float64(n), Rows: int64(s.rows), Mean: s.p / s.rows, Rate: s.positive / s.rows})
		}
	}
	return all
}

// calibrationError is the expected calibration error: the mean over the rows of |mean probability -
// share of positives| of their bin. Source: M. P. Naeini, G. F. Cooper and M. Hauskrecht, Obtaining
// well calibrated probabilities using Bayesian binning (2015).
func calibrationError(bins []Bin) float64 {
	sum, rows := 0.0, 0.0
	for _, b := range bins {
		sum += float64(b.Rows) * math.Abs(b.Mean-b.Rate)
		rows += float64(b.Rows)
	}
	return sum / rows
}
