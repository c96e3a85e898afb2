package measure

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// A trial is an experiment whose units come one after the other. Each belongs to the challenger with the
// probability share; draw returns what a unit adds up to, and what that is divided by.
type trial struct {
	spec  ExperimentSpec
	units int
	draw  func(r *rand.Rand, arm int) (x, y float64)
}

// run looks after every unit, and returns the first verdict that the experiment has come to, or Unknown, and
// after how many units.
func (x trial) run(r *rand.Rand) (Verdict, int) {
	var sums [2]sums
	for n := 1; n <= x.units; n++ {
		i := 0
		if r.Float64() < x.spec.Share {
			i = 1
		}
		sums[i].add(x.draw(r, i))
		champion, challenger := sums[0].arm(), sums[1].arm()
		if champion.units < champion.enough(x.spec.MinUnits) || challenger.units < challenger.enough(x.spec.MinUnits) {
			continue
		}
		delta, half, _ := x.spec.difference(&champion, &challenger)
		if v, _ := x.spec.verdict(delta-half, delta+half); v != Unknown {
			return v, n
		}
	}
	return Unknown, x.units
}

// sums are those of x^i y^j over the units of a version.
type sums struct{ n, x, y, xx, xy, yy, xxx, xxy, xyy, yyy float64 }

func (s *sums) add(x, y float64) {
	s.n++
	s.x, s.y = s.x+x, s.y+y
	s.xx, s.xy, s.yy = s.xx+x*x, s.xy+x*y, s.yy+y*y
	s.xxx, s.xxy, s.xyy, s.yyy = s.xxx+x*x*x, s.xxy+x*x*y, s.xyy+x*y*y, s.yyy+y*y*y
}

func (s *sums) arm() arm {
	if s.n < 2 {
		return arm{}
	}
	v, y := s.x/s.y, s.y/s.n
	square, cube := (s.xx-2*v*s.xy+v*v*s.yy)/s.n, (s.xxx-3*v*s.xxy+3*v*v*s.xyy-v*v*v*s.yyy)/s.n
	a := arm{units: int64(s.n), x: s.x / s.n, y: y, variance: square / (y * y) * s.n / (s.n - 1), finite: true}
	if square > 0 {
		a.skewness = cube / math.Pow(square, 1.5)
	}
	return a
}

func bernoulli(r *rand.Rand, p float64) float64 {
	if r.Float64() < p {
		return 1
	}
	return 0
}

// draws are distributions of a unit whose metric is the same for both versions, plus an effect of the
// challenger.
var draws = map[string]func(effect float64) func(r *rand.Rand, arm int) (x, y float64){
	"normal": func(effect float64) func(*rand.Rand, int) (float64, float64) {
		return func(r *rand.Rand, arm int) (float64, float64) { return r.NormFloat64() + effect*float64(arm), 1 }
	},
	"a rare event": func(effect float64) func(*rand.Rand, int) (float64, float64) {
		return func(r *rand.Rand, arm int) (float64, float64) { return bernoulli(r, 0.05+effect*float64(arm)), 1 }
	},
	"revenue": func(effect float64) func(*rand.Rand, int) (float64, float64) { // most buy nothing, some very much
		return func(r *rand.Rand, arm int) (float64, float64) {
			return bernoulli(r, 0.3) * math.Exp(r.NormFloat64()) * (1 + effect*float64(arm)), 1
		}
	},
	// Customers differ, and have several requests each: as if rows were independent, most differences
	// would be significant.
	"rows of customers": func(effect float64) func(*rand.Rand, int) (float64, float64) {
		return func(r *rand.Rand, arm int) (float64, float64) {
			n, p := 1+float64(r.IntN(20)), 0.2+0.6*r.Float64()+effect*float64(arm)
			x := 0.0
			for range int(n) {
				x += bernoulli(r, p)
			}
			return x, n
		}
	},
}

// Without a difference, looking after every unit finds one with a probability of at most alpha, whatever is
// measured and however unequal the versions are.
func TestPeekingFindsNothingThatIsNotThere(t *testing.T) {
	const trials, alpha = 150, 0.1
	// Above this there are, of so many trials, fewer than 1 in 1000 if the probability is alpha.
	const most = alpha*trials + 3.1*3.7 // 3.7 is the square root of trials alpha (1 - alpha)
	for name, draw := range draws {
		for _, share := range []float64{0.5, 0.1} {
			false_ := 0
			for i := range trials {
				x := trial{ExperimentSpec{Aggregate: Ratio, Share: share, Alpha: alpha, MinUnits: 100, Expected: 2000}, 4000, draw(0)}
				if v, _ := x.run(rand.New(rand.NewPCG(17, uint64(i)))); v != Unknown {
					false_++
				}
			}
			t.Logf("%s, share %g: %.3f", name, share, float64(false_)/trials)
			if float64(false_) > most {
				t.Errorf("%s, share %g: %d of %d trials found a difference that is not there", name, share, false_, trials)
			}
		}
	}
}

// A difference as large as the plan says is found in time with the probability that the plan says.
func TestPowerIsAsPlanned(t *testing.T) {
	const trials, power = 300, 0.8
	spec := ExperimentSpec{Aggregate: Mean, Share: 0.3, Alpha: 0.05, MinEffect: 0.2, MinUnits: 100, Expected: 2000}
	plan := PlanSpec{ExperimentSpec: spec, Power: power, Horizon: time.Hour}
	// A unit each second.
	c := &curve{make([]float64, curveParts), curveParts * time.Second}
	for i := range c.bins {
		c.bins[i] = float64(i + 1)
	}
	step, enough := plan.step(&Plan{Deviation: 1}, spec.Share, c)
	if step.Time == nil || *step.Time != time.Duration(enough)*time.Second || step.Half == nil || *step.Half >= *step.Time {
		t.Fatalf("%+v, %d", step, enough)
	}
	found, half := 0, 0
	for i := range trials {
		x := trial{spec, int(enough), draws["normal"](spec.MinEffect)}
		x.spec.MinEffect = 0 // no end without a difference
		v, n := x.run(rand.New(rand.NewPCG(18, uint64(i))))
		if v == Alert {
			t.Errorf("trial %d: the better version is worse", i)
		}
		if v == OK {
			found++
			if time.Duration(n)*time.Second <= *step.Half {
				half++
			}
		}
	}
	t.Logf("%d units: power %.3f, half time %v: %.3f", enough, float64(found)/trials, *step.Half, float64(half)/trials)
	// An end before the time adds a little to the power.
	if p := float64(found) / trials; p < power-0.07 || p > power+0.1 {
		t.Errorf("%d units find the difference with a probability of %.3f, planned was %.2f", enough, p, power)
	}
	if p := float64(half) / trials; p < 0.43 || p > 0.65 {
		t.Errorf("after %v, the difference is found with a probability of %.3f, planned was a half", *step.Half, p)
	}
}

// The interval holds the true difference at all times with a probability of at least 1 - alpha, and its p-value
// is at most alpha exactly where it does not contain zero.
func TestIntervalsAndPValuesAgree(t *testing.T) {
	for _, alpha := range []float64{0.2, 0.05, 0.001} {
		test := newMixture(alpha, 500)
		best := test.width(500)
		for _, other := range []float64{100, 400, 600, 5000} {
			if w := newMixture(alpha, other).width(500); w < best {
				t.Errorf("alpha %g: the interval for %g units is narrower at 500 units: %g < %g", alpha, other, w, best)
			}
		}
		for _, n := range []float64{10, 500, 1e6} {
			w := test.width(n)
			if p := test.p(n, w); math.Abs(p/alpha-1) > 1e-9 {
				t.Errorf("alpha %g, n %g: p is %g at the edge of the interval", alpha, n, p)
			}
			if test.p(n, 0.999*w) <= alpha || test.p(n, 1.001*w) >= alpha {
				t.Errorf("alpha %g, n %g: p does not decide as the interval does", alpha, n)
			}
		}
	}
}

// Shares that are as declared do not count as a mismatch, however often one looks.
func TestSampleRatioMismatch(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 1))
	const trials = 500
	found := 0
	for range trials {
		var a, b int64
		for range 2000 {
			if r.Float64() < 0.2 {
				b++
			} else {
				a++
			}
			if ratioP(a, b, 0.2) <= 0.01 {
				found++
				break
			}
		}
	}
	if found > 12 {
		t.Errorf("%d of %d experiments have a mismatch, at most 1 %% may", found, trials)
	}
	if p := ratioP(8200, 1800, 0.2); p > ratioAlpha {
		t.Errorf("18 %% instead of 20 %% of 10,000 units is not found: p %g", p)
	}
}
