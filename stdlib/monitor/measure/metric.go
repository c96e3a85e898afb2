package measure

import (
	"context"
	"database/sql"
	"fmt"
)

// Aggregates of [MetricSpec.Aggregate]. They are the names of the figures as well.
const (
	Mean  = "mean"
	Sum   = "sum"
	Ratio = "ratio" // of two sums
)

// FigureOutcomes is the share of the rows whose outcome is known, from 0 to 1.
const FigureOutcomes = "outcomes"

// Columns of the rows of a metric, beside those of [MetricSpec.By].
const (
	ValueColumn   = ".value"   // DOUBLE: what is summed up
	PerColumn     = ".per"     // DOUBLE: what a ratio is per
	OutcomeColumn = ".outcome" // BOOLEAN: whether the row has an outcome
)

// A MetricSpec says how [Metric] sums up the values of rows.
type MetricSpec struct {
	Aggregate string
	Gate
	// Outcomes says that rows may have an outcome.
	Outcomes bool
	// By are columns by whose values the figures are repeated.
	By []string
	// MinRows is the least number of rows with a value. With fewer, the verdict is Unknown.
	MinRows int64
}

// Metric sums up the values of rows, which are the name of a relation or a SELECT: the mean or the sum of
// [ValueColumn], or its sum divided by that of [PerColumn]. Rows without a value, and of a ratio those
// without either, are left out. A value that is NaN or infinite leaves the metric without a value.
func Metric(ctx context.Context, db *sql.DB, rows string, spec MetricSpec) (*Report, error) {
	r, err := open(ctx, db, "window", rows)
	if err != nil {
		return nil, err
	}
	m := &metric{db: db, spec: spec}
	report := &Report{}
	all, err := m.measure(ctx, r, nil, report)
	if err != nil {
		return nil, err
	}
	return report, report.divide(ctx, db, r, all, spec.By, func(part relation, segment map[string]string) (Segment, error) {
		return m.measure(ctx, part, segment, report)
	})
}

// metric is one measurement.
type metric struct {
	db   *sql.DB
	spec MetricSpec
}

// measure adds the figures of a group of rows to a report.
func (m *metric) measure(ctx context.Context, r relation, segment map[string]string, report *Report) (s Segment, err error) {
	s.Values = segment
	used, per := ident(ValueColumn)+" IS NOT NULL", "1"
	if m.spec.Aggregate == Ratio {
		per = ident(PerColumn)
		used += " AND " + per + " IS NOT NULL"
	}
	only := " FILTER (" + used + " AND isfinite(" + ident(ValueColumn) + ") AND isfinite(CAST(" + per + " AS DOUBLE)))"
	v, err := one(ctx, m.db, []string{
		"count(*)", "count_if(" + ident(OutcomeColumn) + ")", "count_if(" + used + ")", "count(*)" + only,
		"fsum(" + ident(ValueColumn) + ")" + only, "fsum(" + per + ")" + only,
	}, r.from)
	if err != nil {
		return s, fmt.Errorf("sum up the values: %w", err)
	}
	s.Rows = int64(v[0].Float64)
	n, finite, total, divisor := int64(v[2].Float64), int64(v[3].Float64), v[4].Float64, v[5].Float64
	if m.spec.Outcomes && s.Rows > 0 {
		f := Figure{Name: FigureOutcomes, Value: ptr(v[1].Float64 / v[0].Float64), Segment: segment}
		f.judge()
		report.Figures = append(report.Figures, f)
	}
	f := Figure{Name: m.spec.Aggregate, Min: m.spec.Min, Max: m.spec.Max, Segment: segment}
	switch {
	case s.Rows == 0:
		s.Reason = "the window has no rows"
	case n == 0:
		s.Reason = "no row has a value"
	case n < m.spec.MinRows:
		s.Reason = fmt.Sprintf("%d rows with a value, wanted at least %d", n, m.spec.MinRows)
	}
	switch {
	case s.Reason != "":
		s.Verdict = Unknown
		return s, nil
	case finite < n:
		f.Reason = fmt.Sprintf("%d values are NaN or infinite", n-finite)
	case m.spec.Aggregate == Sum:
		f.Value = &total
	case divisor == 0:
		f.Reason = "the sum of what it is per is 0"
	default:
		f.Value = ptr(total / divisor)
	}
	f.judge()
	report.Figures = append(report.Figures, f)
	s.Verdict = f.Verdict
	if f.Verdict != OK {
		s.Reason = f.says()
	}
	return s, nil
}
