package measure

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"gonum.org/v1/gonum/mathext"
)

// A PlanSpec says what [PlanExperiment] expects of an experiment.
type PlanSpec struct {
	ExperimentSpec
	Begin   time.Time // of the rows
	Power   float64   // probability of finding a difference
	Horizon time.Duration
	// Delay is how long after it a request is measured.
	Delay time.Duration
	// Shares are those of the challenger in the steps of a release, above 0 and below 1.
	Shares []float64
}

// A Plan is what an experiment would find, if its versions were asked as the rows were.
type Plan struct {
	Units     int64   `json:"units"`     // that the plan is based on
	Value     float64 `json:"value"`     // of the metric
	Deviation float64 `json:"deviation"` // standard deviation of what a unit contributes to it
	Expected  int64   `json:"expected"`  // units that suffice for the least effect in the widest step, see [ExperimentSpec.Expected]
	Steps     []Step  `json:"steps"`
}

// A Step is a step of a release. What is nil is not reached within ten times the horizon.
type Step struct {
	Share  float64  `json:"share"`  // of the challenger
	Units  int64    `json:"units"`  // of both versions that can be observed within the horizon
	Effect *float64 `json:"effect"` // least difference that is found within the horizon with the power
	Fixed  *float64 `json:"fixed"`  // the same for a test that is looked at once, at the horizon
	// Half and Time are until the least effect that matters is found with a probability of a half, and
	// with the power.
	Half *time.Duration `json:"half_ns"`
	Time *time.Duration `json:"time_ns"`
}

// fewUnits is how many units a plan needs to know their variance somewhat.
const fewUnits = 30

// PlanExperiment says what an experiment can find, from rows without a challenger. The variance of a unit
// and how fast new units come are taken from the rows; later than these, units come as fast as in their second half.
//
// A test that is looked at once finds a difference d with the probability power if
//
//	d = (z(1 - alpha/2) + z(power)) sqrt(v / n), v = variance (1/share + 1/(1 - share))
//
// (S. Chow, J. Shao and H. Wang, Sample Size Calculations in Clinical Research, chapter 3, for groups of
// unequal size). The sequential test finds it by then if d is at least half the width of its interval plus
// z(power) sqrt(v / n): then the estimate is outside of the interval around zero with this probability,
// and an earlier end adds to it.
func PlanExperiment(ctx context.Context, db *sql.DB, rows string, spec PlanSpec) (*Plan, error) {
	arms, _, err := units(ctx, db, rows, spec.Aggregate, spec.Observe, spec.End)
	if err != nil {
		return nil, err
	}
	a := arms[0]
	switch {
	case a.units < fewUnits:
		return nil, fmt.Errorf("%d units were observed to their end, and a plan needs %d: plan over a longer time", a.units, fewUnits)
	case !a.finite || a.y == 0:
		return nil, errors.New("the recorded requests have no values, or some that are NaN, infinite or too large")
	}
	coming, err := arrivals(ctx, db, rows, spec)
	if err != nil {
		return nil, err
	}
	spec.MinUnits = a.enough(spec.MinUnits)
	p := &Plan{Units: a.units, Value: a.value(), Deviation: math.Sqrt(a.variance)}
	if p.Deviation <= rounding*math.Abs(p.Value) {
		return nil, errors.New("all units have the same value: nothing can be planned")
	}
	for i, share := range spec.Shares {
		step, enough := spec.step(p, share, coming)
		if p.Steps = append(p.Steps, step); i == 0 || enough < p.Expected {
			p.Expected = enough
		}
	}
	return p, nil
}

// step plans a step, and returns how many units it needs for the least effect that matters.
func (s *PlanSpec) step(p *Plan, share float64, coming *curve) (step Step, enough int64) {
	test := newMixture(s.Alpha, float64(s.Expected))
	deviation := p.Deviation * math.Sqrt(1/share+1/(1-share))
	until := func(power float64) (float64, *time.Duration) {
		n := unitsFor(func(n float64) bool { return test.detects(n, power)*deviation <= s.MinEffect })
		n = max(n, float64(s.MinUnits)/min(share, 1-share))
		d := coming.until(n)
		if d < 0 || (d+s.Observe+s.Delay)/10 > s.Horizon { // ten times a horizon could overflow
			return n, nil
		}
		d += s.Observe + s.Delay
		return n, &d
	}
	n, within := until(s.Power)
	step = Step{Share: share, Units: int64(coming.after(s.Horizon - s.Observe - s.Delay)), Time: within}
	_, step.Half = until(0.5)
	if all := float64(step.Units); all*min(share, 1-share) >= float64(max(s.MinUnits, 2)) {
		step.Effect = ptr(test.detects(all, s.Power) * deviation)
		step.Fixed = ptr(detectsOnce(s.Alpha, s.Power, all) * deviation)
	}
	return step, int64(math.Ceil(n))
}

// detectsOnce is the least mean, in standard deviations of one observation, that a test of n observations
// finds that is looked at once.
func detectsOnce(alpha, power, n float64) float64 {
	return (mathext.NormalQuantile(1-alpha/2) + mathext.NormalQuantile(power)) / math.Sqrt(n)
}

// unitsFor returns the least number for which a condition holds that holds for all larger ones.
func unitsFor(holds func(n float64) bool) float64 {
	low, high := 0.0, 1.0
	for !holds(high) && high < 1e18 {
		low, high = high, high*2
	}
	for high-low > 0.5 {
		if mid := (low + high) / 2; holds(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return math.Ceil(high)
}

// A curve is how many units have come by a time from the beginning.
type curve struct {
	bins  []float64     // sums at the ends of equal parts of the time
	whole time.Duration // all of them
}

// curveParts is into how many parts the time of a curve is divided.
const curveParts = 100

// arrivals returns how the units of rows came.
func arrivals(ctx context.Context, db *sql.DB, rows string, spec PlanSpec) (*curve, error) {
	// The last units could not be observed to their end.
	whole := spec.End.Sub(spec.Begin) - spec.Observe
	c := &curve{make([]float64, curveParts), whole}
	if whole <= 0 {
		return nil, errors.New("plan over a longer time than a unit is observed")
	}
	q := fmt.Sprintf("SELECT CAST(least(%d, (first - %d) * %d // %d) AS INTEGER) AS part, count(*) FROM (%s) GROUP BY part", curveParts-1, spec.Begin.UnixMicro(), curveParts, whole.Microseconds(),
		observed(rows, spec.Aggregate, spec.Observe, spec.End))
	found, err := db.QueryContext(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("count the units: %w", err)
	}
	defer found.Close()
	for found.Next() {
		var i, n int
		if err := found.Scan(&i, &n); err != nil {
			return nil, err
		}
		if i >= 0 && i < curveParts {
			c.bins[i] = float64(n)
		}
	}
	for i := 1; i < curveParts; i++ {
		c.bins[i] += c.bins[i-1]
	}
	return c, found.Err()
}

// later is how many units come in the time of one part, after those that are known.
func (c *curve) later() float64 {
	return (c.bins[curveParts-1] - c.bins[curveParts/2-1]) / (curveParts / 2)
}

// after is how many units come within a time.
func (c *curve) after(d time.Duration) float64 {
	at := float64(d) / float64(c.whole) * curveParts // in parts
	switch i := int(at); {
	case at <= 0:
		return 0
	case i >= curveParts:
		return c.bins[curveParts-1] + (at-curveParts)*c.later()
	case i == 0:
		return at * c.bins[0]
	default:
		return c.bins[i-1] + (at-float64(i))*(c.bins[i]-c.bins[i-1])
	}
}

// until is the time within which so many units come, or negative if they never do.
func (c *curve) until(n float64) time.Duration {
	one := float64(c.whole) / curveParts
	for i, sum := range c.bins {
		if sum >= n {
			before := 0.0
			if i > 0 {
				before = c.bins[i-1]
			}
			return time.Duration((float64(i) + (n-before)/(sum-before)) * one)
		}
	}
	at := (curveParts + (n-c.bins[curveParts-1])/c.later()) * one
	if !(at < float64(math.MaxInt64)/2) { // also if no more units come
		return -1
	}
	return time.Duration(at)
}
