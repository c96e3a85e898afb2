package measure

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"
)

// Columns of the rows of an experiment, beside those of a metric.
const (
	UnitColumn = ".unit" // of analysis: what was given to a version as a whole
	TimeColumn = ".at"   // BIGINT: time of the request, in microseconds since 1970
	ArmColumn  = ".arm"  // INTEGER: 0 is the champion, 1 the challenger
)

// Figures of [Experiment] beside the one of the metric, whose value is that of the challenger and whose
// reference is that of the champion.
const (
	FigureDifference = "difference" // challenger - champion, with its always-valid interval and p-value
	FigureUnits      = "units"      // of the challenger that count; the reference's are the champion's
	FigureShare      = "share"      // of the challenger in all units, from 0 to 1; the reference is its weight
	FigureMixed      = "mixed"      // share of units that both versions have answered, from 0 to 1
)

const (
	// ratioAlpha is the p-value below which versions do not have the units that they should have.
	ratioAlpha = 0.001
	// maxMixed is the share of units of both versions above which nothing is compared.
	maxMixed = 0.01
	// rounding is the part of a metric below which differences and deviations are rounding errors of sums.
	rounding = 1e-10
)

// An ExperimentSpec says how [Experiment] compares two versions.
type ExperimentSpec struct {
	Aggregate string // of the metric
	// Share is that of the challenger in all units, above 0 and below 1.
	Share float64
	// Observe is how long a unit counts from its first request on.
	Observe time.Duration
	End     time.Time // no request is later
	// Alpha is the probability of ever finding a difference where there is none.
	Alpha float64
	// MinEffect is the least difference that matters.
	MinEffect float64
	// MinUnits is the least number of units of each version. With fewer, nothing is compared.
	MinUnits int64
	// Expected is the number of units of both versions at which the interval is narrowest.
	Expected int64
	// Lower says that less is better.
	Lower bool
	// Over says that the time of the experiment is over: what is undecided stays so.
	Over bool
}

// An arm is what is known of the units of a version. x is what the values of a unit add up to, and y what
// that is divided by. What a unit contributes to the metric v = mean(x) / mean(y) is, by the delta
// method, d = (x - v y) / mean(y): the metric of n units has 1/n of its variance. See A. Deng,
// U. Knoblich and J. Lu, Applying the Delta Method in Metric Analytics, KDD 2018, section 3.1.
type arm struct {
	units, rows int64
	finite      bool
	x, y        float64 // means over the units
	variance    float64 // of d
	skewness    float64 // of d
}

// value is the metric.
func (a *arm) value() float64 { return a.x / a.y }

// enough is how many units are needed before the metric of so many is nearly normal. R. Kohavi, A. Deng,
// R. Longbotham and Y. Xu (Seven Rules of Thumb for Web Site Experimenters, KDD 2014, rule 7) ask for 355
// times the square of the skewness for an interval of one mean. A difference is less skewed, and a
// sequence that holds at all times is wider: here 30 suffice, as a test shows, which is about 30 events
// where events are rare.
func (a *arm) enough(least int64) int64 {
	return max(least, int64(math.Ceil(30*a.skewness*a.skewness)), 2)
}

// Experiment compares the metric of two versions by a sequential test, see [mixture]. Rows without a
// version are left out. The unit of analysis is what was assigned to a version as a whole, since rows
// of one unit depend on each other. A unit counts once, when it was observed for the time of the
// spec from its first request on, with all values of this time, so that what it contributes never
// changes afterwards: units are then a sequence of independent observations, whatever the number of
// looks. Units of both versions are left out.
//
// The mean and the ratio are sums over all units, divided by each other. The sum is that of a unit, on
// average: the totals of two versions differ with their weights.
//
// The verdict is OK if the challenger is better, if the difference is certainly smaller than the least one that
// matters, or if the time is over; Alert if it is worse; and Unknown before. It is also Unknown if the
// versions do not have the units that they should have: then something else than the versions differs.
func Experiment(ctx context.Context, db *sql.DB, rows string, spec ExperimentSpec) (*Report, error) {
	if spec.Share <= 0 || spec.Share >= 1 || spec.Alpha <= 0 || spec.Alpha >= 1 || spec.Expected < 1 {
		return nil, errors.New("an experiment needs a share and an alpha between 0 and 1, and an expected number of units")
	}
	arms, mixed, err := units(ctx, db, rows, spec.Aggregate, spec.Observe, spec.End)
	if err != nil {
		return nil, err
	}
	r := &Report{Rows: arms[1].rows, ReferenceRows: arms[0].rows}
	r.Verdict, r.Reason = spec.compare(r, &arms[0], &arms[1], mixed)
	return r, nil
}

// compare adds the figures of two versions to a report.
func (s *ExperimentSpec) compare(r *Report, champion, challenger *arm, mixed int64) (Verdict, string) {
	a, b := float64(champion.units), float64(challenger.units)
	n := a + b
	add := func(f Figure) {
		f.judge()
		r.Figures = append(r.Figures, f)
	}
	add(Figure{Name: FigureUnits, Value: &b, Reference: &a})
	if n == 0 && mixed == 0 {
		return s.undecided("no unit has been observed to its end")
	}
	if m := float64(mixed); m > 0 {
		f := Figure{Name: FigureMixed, Value: ptr(m / (m + n))}
		if *f.Value > maxMixed {
			f.Verdict, f.Reason = Unknown, "the assignment to versions does not stick"
		}
		add(f)
		if f.Verdict == Unknown {
			return Unknown, fmt.Sprintf("%.3g %% of the units were answered by both versions: %s", 100**f.Value, f.Reason)
		}
	}
	share := Figure{Name: FigureShare, Value: ptr(b / n), Reference: &s.Share, P: ptr(ratioP(champion.units, challenger.units, s.Share))}
	if *share.P <= ratioAlpha {
		share.Verdict, share.Reason = Unknown, "sample ratio mismatch"
	}
	add(share)
	if share.Verdict == Unknown {
		return Unknown, fmt.Sprintf("sample ratio mismatch: the challenger has %.4g %% of the units instead of %.4g %%, p %.2g", 100*b/n, 100*s.Share, *share.P)
	}
	for _, x := range []*arm{champion, challenger} {
		if least := x.enough(s.MinUnits); x.units < least {
			return s.undecided(fmt.Sprintf("%d and %d units, wanted at least %d of each version", champion.units, challenger.units, least))
		}
	}
	metric := Figure{Name: s.Aggregate}
	switch {
	case !champion.finite || !challenger.finite:
		metric.Reason = "there are values that are NaN, infinite or too large"
	case champion.y == 0 || challenger.y == 0:
		metric.Reason = "a version has no values"
	default:
		metric.Value, metric.Reference = ptr(challenger.value()), ptr(champion.value())
	}
	add(metric)
	if metric.Value == nil {
		return s.undecided(s.Aggregate + " is not known: " + metric.Reason)
	}
	delta, half, p := s.difference(champion, challenger)
	least := rounding * max(math.Abs(*metric.Value), math.Abs(*metric.Reference))
	if !(half < math.MaxFloat64) || half <= least && math.Abs(delta) <= least {
		return s.undecided("all units have the same value, or values too large to compare")
	}
	f := Figure{Name: FigureDifference, Value: &delta, Lower: ptr(delta - half), Upper: ptr(delta + half), P: &p}
	verdict, word := s.verdict(*f.Lower, *f.Upper)
	if f.Verdict = verdict; verdict == Unknown {
		f.Verdict = OK // the value itself is known
	}
	says := fmt.Sprintf("%s %.4g instead of %.4g, difference %.4g (%.4g to %.4g), p %.2g", s.Aggregate, *metric.Value, *metric.Reference, delta, *f.Lower, *f.Upper, *f.P)
	f.Reason = word
	add(f)
	if verdict == Unknown {
		return s.undecided(says)
	}
	return verdict, "the challenger is " + word + ": " + says
}

// difference is that of the metrics, half the width of its interval, and its p-value.
func (s *ExperimentSpec) difference(champion, challenger *arm) (delta, half, p float64) {
	a, b := float64(champion.units), float64(challenger.units)
	// The difference is the mean of n observations, each one of a unit divided by the share of its version.
	n := a + b
	deviation := math.Sqrt(n * (champion.variance/a + challenger.variance/b))
	test := newMixture(s.Alpha, float64(s.Expected))
	delta = challenger.value() - champion.value()
	return delta, test.width(n) * deviation, test.p(n, delta/deviation)
}

// verdict says what an interval of the difference means.
func (s *ExperimentSpec) verdict(lower, upper float64) (Verdict, string) {
	if s.Lower {
		lower, upper = -upper, -lower
	}
	switch {
	case lower > 0:
		return OK, "better"
	case -s.MinEffect < lower && upper < s.MinEffect: // also if it is certainly worse: that does not matter
		return OK, "as good"
	case upper < 0:
		return Alert, "worse"
	}
	return Unknown, "undecided"
}

// undecided is the verdict without a decision.
func (s *ExperimentSpec) undecided(why string) (Verdict, string) {
	if s.Over {
		return OK, "undecided when the time was over: " + why
	}
	return Unknown, "undecided: " + why
}

// observed are the rows of units that were observed to their end, with the first and the last version
// of each unit.
func observed(rows, aggregate string, observe time.Duration, end time.Time) string {
	value, per := ident(ValueColumn), "CAST(1 AS DOUBLE)"
	if aggregate == Ratio {
		per = ident(PerColumn)
	}
	// Of a mean and of a ratio, a row counts only with both numbers.
	used := value + " IS NOT NULL AND " + per + " IS NOT NULL"
	x, y := "coalesce(sum("+value+") FILTER ("+used+"), 0)", "coalesce(sum("+per+") FILTER ("+used+"), 0)"
	if aggregate == Sum {
		y = "1"
	}
	return fmt.Sprintf(`SELECT any_value(began) AS first, any_value(low) AS lo, any_value(high) AS hi, CAST(%s AS DOUBLE) AS x, CAST(%s AS DOUBLE) AS y, count(*) AS n FROM (
SELECT *, min(%[3]s) OVER u AS began, min(%[4]s) OVER u AS low, max(%[4]s) OVER u AS high FROM %[5]s WHERE %[4]s IS NOT NULL WINDOW u AS (PARTITION BY %[6]s))
WHERE %[3]s <= began + %[7]d AND began + %[7]d <= %[8]d GROUP BY %[6]s`,
		x, y, ident(TimeColumn), ident(ArmColumn), from(rows), ident(UnitColumn), observe.Microseconds(), end.UnixMicro())
}

// units sums up the units of both versions, and counts those of both.
func units(ctx context.Context, db *sql.DB, rows, aggregate string, observe time.Duration, end time.Time) (arms [2]arm, mixed int64, err error) {
	// A number that large has no square.
	q := `SELECT lo, hi, count(*), sum(n), bool_and(ok), coalesce(any_value(mx), 0), coalesce(any_value(my), 0), coalesce(var_samp(d), 0), coalesce(skewness(d), 0) FROM (
SELECT *, (x - y * mx / nullif(my, 0)) / nullif(my, 0) AS d FROM (
SELECT *, avg(x) FILTER (ok) OVER a AS mx, avg(y) FILTER (ok) OVER a AS my FROM (
SELECT lo, hi, n, ok, CASE WHEN ok THEN x END AS x, CASE WHEN ok THEN y END AS y FROM (
SELECT *, isfinite(x) AND isfinite(y) AND abs(x) < 1e100 AND abs(y) < 1e100 AS ok FROM (` +
		observed(rows, aggregate, observe, end) + "))) WINDOW a AS (PARTITION BY lo, hi))) GROUP BY lo, hi"
	found, err := db.QueryContext(ctx, q)
	if err != nil {
		return arms, 0, fmt.Errorf("sum up the units: %w", err)
	}
	defer found.Close()
	for found.Next() {
		var lo, hi int
		var a arm
		if err := found.Scan(&lo, &hi, &a.units, &a.rows, &a.finite, &a.x, &a.y, &a.variance, &a.skewness); err != nil {
			return arms, 0, err
		}
		if lo != hi {
			mixed += a.units
			continue
		}
		if lo < 0 || lo > 1 {
			return arms, 0, fmt.Errorf("there is no version %d", lo)
		}
		arms[lo] = a
	}
	return arms, mixed, found.Err()
}
