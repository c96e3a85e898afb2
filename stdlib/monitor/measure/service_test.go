package measure_test

import (
	"math"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
)

// The sums are exact, computed with fractions.
func TestAtLeast(t *testing.T) {
	for _, c := range []struct {
		k, n int64
		p    float64
		want float64
	}{
		{0, 10, 0.5, 1}, {5, 5, 0.1, 1e-05}, {1, 100, 0.001, 0.09520785288629095}, {2, 100, 0.001, 0.004638068390424187},
		{30, 1000, 0.02, 0.020696518673239506}, {700, 1000, 0.5, 8.832839003975068e-38}, {6, 5, 0.1, 0}, {100, 1000, 0.2, 1},
	} {
		if got := measure.AtLeast(c.k, c.n, c.p); math.Abs(got-c.want) > 1e-10*c.want {
			t.Errorf("at least %d of %d with %v: %v, want %v", c.k, c.n, c.p, got, c.want)
		}
	}
}

// The budget of 99.9 % is a thousandth.
func TestServiceKeepsItsObjective(t *testing.T) {
	seen := func(bad, n int64) measure.Answered { return measure.Answered{Requests: n, Bad: []int64{bad}} }
	pair := func(long, short measure.Answered) []measure.Burning {
		return []measure.Burning{{LongName: "1h", ShortName: "5m", Long: long, Short: short, Max: 14.4}}
	}
	for name, c := range map[string]struct {
		step    bool
		target  float64
		seen    measure.Answered
		burning []measure.Burning
		want    measure.Verdict
		reason  string
	}{
		"a step that keeps it":               {true, 0.999, seen(0, 200), nil, measure.OK, ""},
		"a step with one failure by chance":  {true, 0.999, seen(1, 200), nil, measure.Warn, "availability: burn_rate 5 > 1"},
		"a step that breaks it":              {true, 0.999, seen(5, 200), nil, measure.Alert, "availability: burn_rate 25 > 1, of 200 requests"},
		"a step with few requests":           {true, 0.999, seen(0, 20), nil, measure.Unknown, "there are 20 requests, at least 100 are needed"},
		"a step that breaks it soon":         {true, 0.999, seen(3, 20), nil, measure.Alert, "availability: burn_rate 150 > 1, of 20 requests"},
		"a step without requests":            {true, 0.999, seen(0, 0), nil, measure.Unknown, "there are 0 requests, at least 100 are needed"},
		"the budget burns over both windows": {false, 0.999, seen(40, 2000), pair(seen(40, 2000), seen(20, 200)), measure.Alert, "availability: burn_rate_1h 20 > 14.4, of 2000 requests"},
		"it does not burn any more":          {false, 0.999, seen(40, 2000), pair(seen(40, 2000), seen(0, 200)), measure.OK, ""},
		"it burns slowly":                    {false, 0.999, seen(4, 2000), pair(seen(4, 2000), seen(4, 200)), measure.OK, ""},
		"a rate that no service can reach":   {false, 0.9, seen(2000, 2000), pair(seen(2000, 2000), seen(200, 200)), measure.Unknown, "no figure has a limit"},
	} {
		t.Run(name, func(t *testing.T) {
			r := measure.Service(measure.ServiceSpec{Objectives: []measure.Goal{{Name: "availability", Target: c.target}}, MinRows: 100, Step: c.step}, c.seen, c.seen, c.burning)
			if r.Verdict != c.want || r.Reason != c.reason {
				t.Errorf("%s: %q, want %s: %q", r.Verdict, r.Reason, c.want, c.reason)
			}
		})
	}
}
