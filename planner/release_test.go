package planner_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

var releaseBegin = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func fraction(f float64) *float64 { return &f }

// releasing returns a route whose challenger has a weight.
func releasing(weight int) state.Route {
	return state.Route{Serial: 3, Since: releaseBegin, Versions: []state.RouteVersion{
		{Name: "late v3", Key: "a", Weight: 100 - weight}, {Name: "late v4", Key: "b", Weight: weight},
	}}
}

func observed(o step.Observation) *step.Observed {
	return &step.Observed{Serial: 3, Versions: map[string]step.Observation{"late v4": o}}
}

// latencies returns counts of requests that took so long.
func latencies(took map[time.Duration]int64) []int64 {
	counts := make([]int64, len(step.LatencyBuckets)+1)
	for d, n := range took {
		i := 0
		for i < len(step.LatencyBuckets) && step.LatencyBuckets[i] < d.Seconds() {
			i++
		}
		counts[i] += n
	}
	return counts
}

func TestDecideRelease(t *testing.T) {
	judge := ir.Judge{ErrorRate: fraction(0.01), P99: 50 * time.Millisecond, Disagreement: fraction(0.2), Requests: 100}
	policy := ir.Release{Steps: []int{1, 10, 100}, Each: 10 * time.Minute, Judge: judge}
	test := ir.Release{Steps: []int{10, 50}, Each: 10 * time.Minute, Judge: judge}
	shadow := ir.Release{Steps: []int{1, 100}, Each: time.Minute, Shadow: 0.1, Judge: judge}
	none, timed := policy, policy
	none.Judge.Requests, timed.Judge = 0, ir.Judge{}
	paused := releasing(10)
	paused.Paused = true
	good := observed(step.Observation{Requests: 400, Failed: 2})
	byColumn := policy
	byColumn.By = "customer"
	within := func(p ir.Release, otherwise string) ir.Release {
		p.Judge.Within, p.Judge.Otherwise = 2*time.Hour, otherwise
		return p
	}
	both := func(challenger, champion int64) *step.Observed {
		return &step.Observed{Serial: 3, Versions: map[string]step.Observation{"late v3": {Requests: champion}, "late v4": {Requests: challenger}}}
	}
	for _, c := range []struct {
		name   string
		policy ir.Release
		route  state.Route
		seen   *step.Observed
		after  time.Duration
		act    planner.ReleaseAct
		weight int
		reason string
	}{
		{"the step is over", policy, releasing(1), good, 10 * time.Minute, planner.ReleaseNext, 10, "it was good at 1 %: 0.5 % of 400 requests failed, 0 % of 400 requests took longer than 50ms"},
		{"it is not over", policy, releasing(1), good, 9 * time.Minute, planner.ReleaseWait, 1, "this step takes 10m"},
		{"too few requests", policy, releasing(1), observed(step.Observation{Requests: 99}), time.Hour, planner.ReleaseWait, 1, "it answered 99 of 100 requests"},
		{"shadows are no answers", policy, releasing(1), observed(step.Observation{Requests: 500, Shadows: 450}), time.Hour, planner.ReleaseWait, 1, "it answered 50 of 100 requests"},
		{"too few requests for long", within(policy, "abort"), releasing(1), observed(step.Observation{Requests: 99}), 2 * time.Hour, planner.ReleaseAbort, 0, "it answered 99 of 100 requests within 2h"},
		{"too few requests for long, and it goes on", within(policy, "next"), releasing(1), observed(step.Observation{Requests: 99}), 2 * time.Hour, planner.ReleaseNext, 10, "it answered 99 of 100 requests within 2h"},
		{"too few requests at last, and it goes on", within(policy, "next"), releasing(100), observed(step.Observation{}), 2 * time.Hour, planner.ReleaseFinish, 100, "it answered 0 of 100 requests within 2h"},
		{"too few requests yet", within(policy, "abort"), releasing(1), observed(step.Observation{Requests: 99}), 2*time.Hour - 1, planner.ReleaseWait, 1, "it answered 99 of 100 requests"},
		{"too few values", byColumn, releasing(1), both(0, 22000), time.Hour, planner.ReleaseWait, 1,
			"it answered 0 of 100 requests, of 22000 in all: too few values of customer are given to it at 1 %; tenon release next takes the next step"},
		{"few requests in all", byColumn, releasing(1), both(0, 21999), time.Hour, planner.ReleaseWait, 1, "it answered 0 of 100 requests"},
		{"few by chance", policy, releasing(1), both(0, 22000), time.Hour, planner.ReleaseWait, 1, "it answered 0 of 100 requests"},
		{"the last step is over", policy, releasing(100), good, time.Hour, planner.ReleaseFinish, 100, "it was good at 100 %: 0.5 % of 400 requests failed, 0 % of 400 requests took longer than 50ms"},
		{"no step of 100", test, releasing(50), good, time.Hour, planner.ReleaseHold, 50, "it stays at 50 % until somebody decides"},
		{"no step of 100, and it fails", test, releasing(50), observed(step.Observation{Requests: 400, Failed: 8}), time.Hour, planner.ReleaseAbort, 0, "2 % of 400 requests failed, at most 1 % may"},
		{"paused", policy, paused, observed(step.Observation{Requests: 400, Failed: 400}), time.Hour, planner.ReleaseHold, 10, "it is paused"},
		{"nothing is known", policy, releasing(1), nil, time.Hour, planner.ReleaseWait, 1, "the service has not reported on this step yet"},
		{"figures of the step before", policy, releasing(1), &step.Observed{Serial: 2, Versions: good.Versions}, time.Hour, planner.ReleaseWait, 1, "the service has not reported on this step yet"},
		{"no figures any more", policy, releasing(1), &step.Observed{Serial: 3, At: releaseBegin, Versions: good.Versions}, 10 * time.Minute, planner.ReleaseWait, 1, "the service has not reported for 10m"},
		{"errors", policy, releasing(1), observed(step.Observation{Requests: 412, Failed: 13}), time.Minute, planner.ReleaseAbort, 0, "3.2 % of 412 requests failed, at most 1 % may"},
		{"errors that others cannot make up for", policy, releasing(1), observed(step.Observation{Requests: 12, Failed: 2}), time.Second, planner.ReleaseAbort, 0, "2 of 12 requests failed, at most 1 % of 100 may"},
		{"an error that others can make up for", policy, releasing(1), observed(step.Observation{Requests: 12, Failed: 1}), time.Second, planner.ReleaseWait, 1, "this step takes 10m"},
		{"slow", policy, releasing(1), observed(step.Observation{Requests: 200, Latency: latencies(map[time.Duration]int64{time.Millisecond: 190, 80 * time.Millisecond: 10})}), time.Second, planner.ReleaseAbort, 0,
			"5 % of 200 requests took longer than 50ms, at most 1 % may"},
		{"fast but for one", policy, releasing(1), observed(step.Observation{Requests: 200, Latency: latencies(map[time.Duration]int64{time.Millisecond: 199, 80 * time.Millisecond: 1})}), time.Second, planner.ReleaseWait, 1, "this step takes 10m"},
		{"different", policy, releasing(1), observed(step.Observation{Requests: 10, Compared: 200, Different: 41}), time.Second, planner.ReleaseAbort, 0, "20.5 % of 200 compared rows were different, at most 20 % may"},
		{"a fault at first", policy, releasing(1), observed(step.Observation{Fault: "out of memory"}), 10 * time.Second, planner.ReleaseWait, 1, "this step takes 10m"},
		{"a fault", policy, releasing(1), observed(step.Observation{Fault: "out of memory"}), time.Minute, planner.ReleaseAbort, 0, "it cannot answer: out of memory"},
		{"the shadow was good", shadow, releasing(0), observed(step.Observation{Requests: 100, Shadows: 100, Compared: 100}), time.Minute, planner.ReleaseNext, 1,
			"it was good as a shadow: 0 % of 100 requests failed, 0 % of 100 requests took longer than 50ms, 0 % of 100 compared rows were different"},
		{"nothing was compared", shadow, releasing(0), observed(step.Observation{Requests: 100, Shadows: 100}), time.Minute, planner.ReleaseWait, 0, "no row of it was compared"},
		{"nothing is compared after the last step", shadow, releasing(100), good, time.Minute, planner.ReleaseFinish, 100, "it was good at 100 %: 0.5 % of 400 requests failed, 0 % of 400 requests took longer than 50ms"},
		{"no requests keep no limit", none, releasing(1), observed(step.Observation{}), 10 * time.Minute, planner.ReleaseWait, 1, "it answered 0 of 1 requests"},
		{"without limits, time decides", timed, releasing(1), observed(step.Observation{}), 10 * time.Minute, planner.ReleaseNext, 10, "it was good at 1 %"},
		{"the shadow lacks requests", shadow, releasing(0), observed(step.Observation{Requests: 99, Shadows: 99}), time.Hour, planner.ReleaseWait, 0, "it computed 99 of 100 requests"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := planner.DecideRelease(c.policy, c.route, c.seen, releaseBegin.Add(c.after))
			if got.Act != c.act || got.Weight != c.weight || got.Reason != c.reason {
				t.Errorf("got %s %d %q, want %s %d %q", got.Act, got.Weight, got.Reason, c.act, c.weight, c.reason)
			}
		})
	}
}

// A release in virtual time, with any policy, traffic and faults: it takes its steps one after the
// other, never gives the challenger more than the step it is in, never makes a version the champion
// that breaks a limit, and comes to an end if there is traffic.
func TestReleaseInVirtualTime(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := newVirtual(r)
		s.run(t)
		if t.Failed() {
			t.Fatalf("seed %d: policy %+v, failing %g, different %g\n%s", seed, s.policy, s.fails, s.differs, strings.Join(s.story, "\n"))
		}
	}
}

// A virtual release is a service whose challenger fails and differs with given probabilities.
type virtual struct {
	r              *rand.Rand
	policy         ir.Release
	route          *state.Route
	now            time.Time
	seen           *step.Observed
	fails, differs float64
	story          []string
}

func newVirtual(r *rand.Rand) *virtual {
	s := &virtual{r: r, now: releaseBegin}
	for w := 0; w < 100; {
		if w += 1 + r.IntN(60); w <= 100 {
			s.policy.Steps = append(s.policy.Steps, w)
		}
	}
	if r.IntN(4) > 0 && s.last() != 100 {
		s.policy.Steps = append(s.policy.Steps, 100)
	}
	if len(s.policy.Steps) == 0 {
		s.policy.Steps = []int{100}
	}
	s.policy.Each = time.Duration(r.IntN(600)) * time.Second
	s.policy.Judge.Requests = int64(r.IntN(300))
	if r.IntN(2) == 0 {
		s.policy.Shadow = 0.01 + 0.99*r.Float64()
		s.policy.Judge.Disagreement = fraction(r.Float64() / 2)
	}
	if r.IntN(4) > 0 {
		s.policy.Judge.ErrorRate = fraction(r.Float64() / 5)
	}
	s.fails, s.differs = r.Float64()*[]float64{0, 0, 0.1, 1}[r.IntN(4)], r.Float64()*[]float64{0, 1}[r.IntN(2)]
	weight, shadow := planner.FirstWeight(s.policy)
	s.route = &state.Route{Serial: 1, Since: s.now, Versions: []state.RouteVersion{{Name: "old", Key: "a", Weight: 100 - weight}, {Name: "new", Key: "b", Weight: weight, Shadow: shadow}}}
	return s
}

func (s *virtual) last() int {
	if len(s.policy.Steps) == 0 {
		return 0
	}
	return s.policy.Steps[len(s.policy.Steps)-1]
}

// traffic is what happens in some seconds.
func (s *virtual) traffic(d time.Duration) {
	s.now = s.now.Add(d)
	if s.seen == nil || s.seen.Serial != s.route.Serial {
		s.seen = &step.Observed{Serial: s.route.Serial, Versions: map[string]step.Observation{}}
	}
	o := s.seen.Versions["new"]
	v := s.route.Challenger()
	for range s.r.IntN(200) {
		answers := s.r.IntN(100) < v.Weight
		shadows := !answers && s.r.Float64() < v.Shadow
		if !answers && !shadows {
			continue
		}
		o.Requests++
		if shadows {
			o.Shadows++
			o.Compared++
			if s.r.Float64() < s.differs {
				o.Different++
			}
		}
		if s.r.Float64() < s.fails {
			o.Failed++
		}
	}
	s.seen.Versions["new"] = o
}

func (s *virtual) run(t *testing.T) {
	var weights []int
	if s.policy.Shadow == 0 {
		weights = []int{s.policy.Steps[0]}
	} else {
		weights = []int{0}
	}
	for range 20000 {
		s.traffic(time.Duration(1+s.r.IntN(20)) * time.Second)
		seen := s.seen
		if s.r.IntN(10) == 0 {
			seen = nil // the file cannot be read now
		}
		d := planner.DecideRelease(s.policy, *s.route, seen, s.now)
		was := s.route.Challenger().Weight
		s.story = append(s.story, fmt.Sprintf("%s at %d %%: %s %d: %s", s.now.Format(time.TimeOnly), was, d.Act, d.Weight, d.Reason))
		switch d.Act {
		case planner.ReleaseWait:
			if d.Weight != was {
				t.Errorf("waiting changes the weight from %d to %d", was, d.Weight)
				return
			}
			continue
		case planner.ReleaseHold:
			if s.last() == 100 || was != s.last() {
				t.Errorf("it holds at %d although a step follows", was)
			}
			return
		case planner.ReleaseAbort:
			r := planner.Aborted(s.route, s.now, d.Reason)
			if r.Champion().Weight != 100 || r.Challenger().Weight != 0 || r.Challenger().Shadow != 0 {
				t.Errorf("after an abort, the champion does not answer everything: %+v", r.Versions)
			}
			if s.breaks() == "" {
				t.Errorf("a version is rejected that breaks no limit: %s", d.Reason)
			}
			return
		case planner.ReleaseFinish, planner.ReleaseNext:
			o := s.seen.Versions["new"]
			if seen == nil || s.now.Sub(s.route.Since) < s.policy.Each || o.Requests < s.policy.Judge.Requests {
				t.Errorf("a step ends before its time, or without its requests")
			}
			if broken := s.rateBroken(); broken != "" {
				t.Errorf("a step ends well although %s", broken)
			}
			if d.Act == planner.ReleaseFinish {
				if want := append(first(s.policy), s.policy.Steps...); fmt.Sprint(weights) != fmt.Sprint(want) || s.last() != 100 {
					t.Errorf("it took the steps %v, want %v", weights, want)
				}
				return
			}
		}
		next := planner.Advanced(s.policy, s.route, d.Weight, s.now, d.Reason)
		if next.Champion().Weight+next.Challenger().Weight != 100 || next.Serial <= s.route.Serial {
			t.Errorf("the weights are %+v, of serial %d after %d", next.Versions, next.Serial, s.route.Serial)
		}
		s.route = next
		weights = append(weights, d.Weight)
	}
	t.Errorf("it does not come to an end")
}

func first(p ir.Release) []int {
	if p.Shadow > 0 {
		return []int{0}
	}
	return nil
}

// breaks says which limit the challenger breaks, or cannot keep any more.
func (s *virtual) breaks() string {
	o, j := s.seen.Versions["new"], s.policy.Judge
	if j.ErrorRate != nil && float64(o.Failed) > *j.ErrorRate*float64(max(o.Requests, j.Requests)) {
		return "errors"
	}
	if j.Disagreement != nil && float64(o.Different) > *j.Disagreement*float64(max(o.Compared, j.Requests)) {
		return "differences"
	}
	return ""
}

// rateBroken compares the rates, which is what a limit means once there were enough requests.
func (s *virtual) rateBroken() string {
	o, j := s.seen.Versions["new"], s.policy.Judge
	if j.ErrorRate != nil && o.Requests > 0 && float64(o.Failed)/float64(o.Requests) > *j.ErrorRate {
		return fmt.Sprintf("%d of %d requests failed", o.Failed, o.Requests)
	}
	if j.Disagreement != nil && o.Compared >= j.Requests && o.Compared > 0 && float64(o.Different)/float64(o.Compared) > *j.Disagreement {
		return fmt.Sprintf("%d of %d rows differ", o.Different, o.Compared)
	}
	return ""
}
