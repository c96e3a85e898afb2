package measure

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Figures of [Quality] and [Estimate] beside the metrics.
const (
	FigureLabelled    = "labelled"                   // share of the rows that have a label, from 0 to 1
	FigureCalibration = "expected_calibration_error" // from 0 to 1
)

// Quality compares the predictions of rows with their labels. The rows are the name of a relation or
// a SELECT: one row for each prediction, with the label if it has arrived. Whoever joins the labels
// makes sure that they are those of the time of the request.
//
// Metrics have scikit-learn's names and values:
//
//   - classification: accuracy, balanced_accuracy, precision, recall, f1 and matthews_corrcoef; of two
//     classes also roc_auc, average_precision, log_loss and brier_score_loss, and the expected
//     calibration error, if there is a probability. Labels and predictions are compared as text.
//   - regression: mean_absolute_error, mean_squared_error, root_mean_squared_error,
//     median_absolute_error, mean_absolute_percentage_error (against 2.2e-16 where a label is 0),
//     max_error, r2 and explained_variance.
//
// Where scikit-learn warns and returns 0, such as the precision without a positive prediction, or
// NaN, such as r2 of constant labels, the metric has no value. Rows without a label or a prediction
// are left out. A prediction that is NaN or infinite, or a probability outside 0 to 1, leaves the
// metrics that need it without a value.
func Quality(ctx context.Context, db *sql.DB, rows string, spec QualitySpec) (*Report, error) {
	r, err := open(ctx, db, "window", rows)
	if err != nil {
		return nil, err
	}
	if err := spec.complete(r); err != nil {
		return nil, err
	}
	q := &quality{db: db, spec: spec}
	report := &Report{}
	all, err := q.measure(ctx, r, nil, report)
	if err != nil {
		return nil, err
	}
	return report, report.divide(ctx, db, r, all, spec.By, func(part relation, segment map[string]string) (Segment, error) {
		return q.measure(ctx, part, segment, report)
	})
}

var (
	classMetrics       = []string{"accuracy", "balanced_accuracy", "precision", "recall", "f1", "matthews_corrcoef"}
	probabilityMetrics = []string{"roc_auc", "average_precision", "log_loss", "brier_score_loss", FigureCalibration}
	regressionMetrics  = []string{"mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "median_absolute_error",
		"mean_absolute_percentage_error", "max_error", "r2", "explained_variance"}
)

// metrics are those that may have a gate: with a positive class also those of probabilities, which
// are not known without them.
func (s *QualitySpec) metrics() []string {
	switch {
	case s.Task == Regression:
		return regressionMetrics
	case s.Positive == "":
		return classMetrics
	}
	return slices.Concat(classMetrics, probabilityMetrics)
}

func (s *QualitySpec) complete(r relation) error {
	if s.Task != Classification && s.Task != Regression {
		return fmt.Errorf("there is no task %q; there are %s and %s", s.Task, Classification, Regression)
	}
	if s.Bins == 0 {
		s.Bins = 10
	}
	if s.Bins < 1 {
		return fmt.Errorf("bins has to be at least 1, not %d", s.Bins)
	}
	s.MinRows = max(s.MinRows, 1)
	if s.Probability != "" && (s.Task != Classification || s.Positive == "") {
		return errors.New("a probability is that of one class of a classification: set the task to classification and name the positive class")
	}
	if s.Label == "" || s.Prediction == "" {
		return errors.New("name the columns of the label and of the prediction")
	}
	for _, name := range []string{s.Label, s.Prediction, s.Probability} {
		if name != "" && r.column(name) == nil {
			return fmt.Errorf("the rows have no column %q; they have %s", name, strings.Join(r.names(), ", "))
		}
	}
	return checkGates(s.Gates, slices.Concat(s.metrics(), []string{FigureLabelled}))
}

// checkGates refuses gates on metrics that are not measured.
func checkGates(gates map[string]Gate, metrics []string) error {
	for _, name := range slices.Sorted(maps.Keys(gates)) {
		if !slices.Contains(metrics, name) {
			return fmt.Errorf("the metric %q of a gate is not measured; measured are %s", name, strings.Join(metrics, ", "))
		}
	}
	return nil
}

// quality is one measurement.
type quality struct {
	db   *sql.DB
	spec QualitySpec
}

// measure adds the figures of a group of rows to a report.
func (q *quality) measure(ctx context.Context, r relation, segment map[string]string, report *Report) (s Segment, err error) {
	s.Values = segment
	var figures []Figure
	add := func(f Figure) {
		g := q.spec.Gates[f.Name]
		f.Min, f.Max, f.Segment = g.Min, g.Max, segment
		f.judge()
		figures = append(figures, f)
	}
	n, err := one(ctx, q.db, []string{"count(*)", "count(" + q.label(r) + ")", "count_if(" + q.label(r) + " IS NOT NULL AND " + ident(q.spec.Prediction) + " IS NOT NULL)"}, r.from)
	if err != nil {
		return s, fmt.Errorf("count the labels: %w", err)
	}
	s.Rows = int64(n[0].Float64)
	usable := int64(n[2].Float64)
	if s.Rows > 0 {
		add(Figure{Name: FigureLabelled, Value: ptr(n[1].Float64 / n[0].Float64)})
	}
	why := ""
	switch {
	case s.Rows == 0:
		why = "the window has no rows"
	case usable == 0:
		why = "no row has a label and a prediction"
	case usable < q.spec.MinRows:
		why = fmt.Sprintf("%d rows with a label and a prediction, wanted at least %d", usable, q.spec.MinRows)
	}
	if why == "" {
		r.from = fmt.Sprintf("(SELECT * FROM %s WHERE %s IS NOT NULL AND %s IS NOT NULL)", r.from, q.label(r), ident(q.spec.Prediction))
		metrics := q.classification
		if q.spec.Task == Regression {
			metrics = q.regression
		}
		if err := metrics(ctx, r, segment, add, report); err != nil {
			return s, err
		}
	}
	if s.Verdict, s.Reason = sum(figures); why != "" && s.Verdict != Alert {
		s.Verdict, s.Reason = Unknown, why
	} else if len(q.spec.Gates) == 0 {
		s.Verdict, s.Reason = OK, ""
	}
	report.Figures = append(report.Figures, figures...)
	return s, nil
}

// label is the label, and NULL if it is NULL or no finite number.
func (q *quality) label(r relation) string {
	if a := r.column(q.spec.Label); q.spec.Task == Regression && kindOf(a.typ) == number {
		return a.finite()
	}
	return ident(q.spec.Label)
}

// regression adds the metrics of a regression.
func (q *quality) regression(ctx context.Context, r relation, _ map[string]string, add func(Figure), _ *Report) error {
	label, prediction := *r.column(q.spec.Label), *r.column(q.spec.Prediction)
	for _, a := range []attribute{label, prediction} {
		if kindOf(a.typ) != number {
			return fmt.Errorf("column %q is %s; a regression needs numbers", a.name, a.typ)
		}
	}
	const epsilon = "2.220446049250313e-16::DOUBLE"
	from := fmt.Sprintf("(SELECT y, p, y - p AS e FROM (SELECT %s AS y, %s AS p FROM %s))", label.finite(), prediction.finite(), r.from)
	// A variance that overflows is an error of DuckDB, so it is only of what can be squared.
	const most = 1e150
	variance := func(x string) string { return fmt.Sprintf("var_pop(%s) FILTER (abs(%[1]s) < %[2]s)", x, double(most)) }
	v, err := one(ctx, q.db, []string{"count(*)", "count(p)", "favg(abs(e))", "favg(e * e)", "median(abs(e))", "favg(abs(e) / greatest(abs(y), " + epsilon + "))", "max(abs(e))", variance("y"), variance("e"), "max(abs(y))"}, from)
	if err != nil {
		return fmt.Errorf("measure the errors: %w", err)
	}
	reason := ""
	if bad := v[0].Float64 - v[1].Float64; bad > 0 {
		reason = fmt.Sprintf("%.0f predictions are NaN or infinite", bad)
	}
	metric := func(name string, value *float64, why string) {
		if reason != "" {
			value, why = nil, reason
		}
		add(Figure{Name: name, Value: value, Reason: why})
	}
	squared, spread, residual := v[3].Float64, v[7].Float64, v[8].Float64
	metric("mean_absolute_error", &v[2].Float64, "")
	metric("mean_squared_error", &squared, "")
	metric("root_mean_squared_error", ptr(sqrt(squared)), "")
	metric("median_absolute_error", &v[4].Float64, "")
	metric("mean_absolute_percentage_error", &v[5].Float64, "")
	metric("max_error", &v[6].Float64, "")
	why := ""
	switch {
	case max(v[6].Float64, v[9].Float64) >= most:
		why = tooLarge
	case spread == 0:
		why = "all labels are equal"
	}
	if why != "" {
		metric("r2", nil, why)
		metric("explained_variance", nil, why)
		return nil
	}
	metric("r2", ptr(1-squared/spread), "")
	metric("explained_variance", ptr(1-residual/spread), "")
	return nil
}
