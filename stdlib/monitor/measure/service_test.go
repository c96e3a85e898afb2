package measure_test

import (
	"math/rand/v2"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
)

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

// A step that just keeps its objective alerts with a probability of at most 1 %, however often it is judged.
func TestAStepMayBeJudgedAnyTime(t *testing.T) {
	for target, requests := range map[float64]int{0.999: 3000, 0.9: 1000} {
		r := rand.New(rand.NewPCG(7, 1))
		spec := measure.ServiceSpec{Objectives: []measure.Goal{{Name: "availability", Target: target}}, Step: true}
		const trials = 300
		alerts := 0
		for range trials {
			seen := measure.Answered{Bad: []int64{0}}
			for range requests {
				if seen.Requests++; r.Float64() >= target {
					seen.Bad[0]++
					if measure.Service(spec, seen, measure.Answered{}, nil).Verdict == measure.Alert {
						alerts++
						break
					}
				}
			}
		}
		if alerts > 8 {
			t.Errorf("of %d steps that keep %v, %d alert, at most 1 %% may", trials, target, alerts)
		}
	}
}
