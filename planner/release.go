package planner

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// ReleaseAct is what happens next in a release.
type ReleaseAct string

const (
	ReleaseWait   ReleaseAct = "wait"   // nothing, until something is known
	ReleaseHold   ReleaseAct = "hold"   // nothing, until somebody decides
	ReleaseNext   ReleaseAct = "next"   // the challenger gets more requests
	ReleaseFinish ReleaseAct = "finish" // the challenger becomes the champion
	ReleaseAbort  ReleaseAct = "abort"  // the challenger is rejected
)

// A ReleaseDecision is what happens next in a release, and why.
type ReleaseDecision struct {
	Act    ReleaseAct `json:"act"`
	Weight int        `json:"weight"`         // of the challenger, from then on
	Until  time.Time  `json:"until,omitzero"` // wait: at least that long, if that is what it waits for
	Reason string     `json:"reason"`         // with figures
}

// silence is how long a service may not report, which it does each second, before its figures say
// nothing about what it does now.
const silence = 10 * time.Second

// faultTime is how long a challenger may be unable to answer at the begin of a step.
const faultTime = 30 * time.Second

// faultReason is with what the reason begins if a challenger cannot answer. What follows is what it printed.
const faultReason = "it cannot answer: "

// DecideRelease decides what happens next to a release in progress, from its policy, its route,
// what the service observed (nil if nothing is known), and the time. It is pure.
//
// A challenger takes one step after the other. It stays in a step for at least the time of the
// policy, and until it had the requests by which it is judged, or the time for these is up. It is
// rejected as soon as it breaks a limit, or has so many failures that the requests which are still missing cannot make up for
// them.
func DecideRelease(p ir.Release, r state.Route, seen *step.Observed, now time.Time) ReleaseDecision {
	weight := r.Challenger().Weight
	stay := func(act ReleaseAct, format string, args ...any) ReleaseDecision {
		return ReleaseDecision{Act: act, Weight: weight, Reason: fmt.Sprintf(format, args...)}
	}
	if r.Paused {
		return stay(ReleaseHold, "it is paused")
	}
	if seen == nil || seen.Serial != r.Serial {
		return stay(ReleaseWait, "the service has not reported on this step yet")
	}
	if silent := now.Sub(seen.At); !seen.At.IsZero() && silent > silence {
		return stay(ReleaseWait, "the service has not reported for %s", length(silent.Round(time.Second)))
	}
	o := seen.Versions[r.Challenger().Name]
	age := now.Sub(r.Since)
	over := age >= p.Each
	if o.Fault != "" && (over || age >= faultTime) {
		return ReleaseDecision{Act: ReleaseAbort, Reason: faultReason + o.Fault}
	}
	if why := judge(p.Judge).rejects(o); why != "" {
		return ReleaseDecision{Act: ReleaseAbort, Reason: why}
	}
	next, more := nextWeight(p, weight)
	if !more && weight < 100 {
		return stay(ReleaseHold, "it stays at %d %% until somebody decides", weight)
	}
	if !over {
		d := stay(ReleaseWait, "this step takes %s", length(p.Each))
		d.Until = r.Since.Add(p.Each)
		return d
	}
	if o.Fault != "" {
		return stay(ReleaseWait, faultReason+"%s", o.Fault)
	}
	lacks := lack(p, r, seen)
	if lacks != "" && (p.Judge.Within == 0 || age < p.Judge.Within) {
		return stay(ReleaseWait, "%s", lacks)
	}
	if lacks != "" {
		lacks += " within " + length(p.Judge.Within)
		switch {
		case p.Judge.Otherwise != string(ReleaseNext):
			return ReleaseDecision{Act: ReleaseAbort, Reason: lacks}
		case weight == 100:
			return ReleaseDecision{Act: ReleaseFinish, Weight: 100, Reason: lacks}
		}
		return ReleaseDecision{Act: ReleaseNext, Weight: next, Reason: lacks}
	}
	why := fmt.Sprintf("it was good at %d %%", weight)
	if weight == 0 {
		why = "it was good as a shadow"
	}
	if figures := judge(p.Judge).figures(o); figures != "" {
		why += ": " + figures
	}
	if weight == 100 {
		return ReleaseDecision{Act: ReleaseFinish, Weight: 100, Reason: why}
	}
	return ReleaseDecision{Act: ReleaseNext, Weight: next, Reason: why}
}

// lack says how many of the requests by which a challenger is judged it had not, or returns "". With
// a column that has few values, none of them may be the challenger's: it then waits for requests that
// never come.
func lack(p ir.Release, r state.Route, seen *step.Observed) string {
	o, weight := seen.Versions[r.Challenger().Name], r.Challenger().Weight
	n, did := o.Requests-o.Shadows, "answered"
	if weight == 0 {
		n, did = o.Shadows, "computed"
	}
	wanted := p.Judge.Requests
	if p.Judge.ErrorRate != nil || p.Judge.P99 > 0 {
		wanted = max(wanted, 1) // no requests keep every limit
	}
	if n >= wanted {
		if p.Judge.Disagreement != nil && p.Shadow > 0 && weight < 100 && o.Compared == 0 {
			return "no row of it was compared"
		}
		return ""
	}
	text := fmt.Sprintf("it %s %d of %d requests", did, n, wanted)
	all := n + seen.Versions[r.Champion().Name].Requests
	if p.By != "" && weight > 0 && weight < 100 && all*int64(weight) >= 100*(2*p.Judge.Requests+fewRequests) {
		text += fmt.Sprintf(", of %d in all: too few values of %s are given to it at %d %%; tenon release next takes the next step", all, p.By, weight)
	}
	return text
}

// fewRequests is how many requests more than expected must be there before their number says that a
// version gets too few of them.
const fewRequests = 20

// FirstWeight returns the weight, and the fraction of requests that it computes without answering,
// with which a challenger begins.
func FirstWeight(p ir.Release) (weight int, shadow float64) {
	if p.Shadow == 0 && len(p.Steps) > 0 {
		return p.Steps[0], 0
	}
	return 0, p.Shadow
}

// nextWeight returns the weight of the step after one.
func nextWeight(p ir.Release, weight int) (next int, more bool) {
	for _, s := range p.Steps {
		if s > weight {
			return s, true
		}
	}
	return weight, false
}

// rejects says which limit a challenger breaks, with figures, or returns "". Limits are those of
// fractions: of all requests, or of as many as it is judged by while it has not had them yet.
func (j judge) rejects(o step.Observation) string {
	for _, l := range j.limits(o) {
		if of := max(l.of, j.Requests); float64(l.bad) > l.most*float64(of) {
			if l.of < j.Requests {
				return fmt.Sprintf("%d of %d %s %s, at most %s of %d may", l.bad, l.of, l.things, l.did, percent(l.most), j.Requests)
			}
			return fmt.Sprintf("%s of %d %s %s, at most %s may", percent(float64(l.bad)/float64(l.of)), l.of, l.things, l.did, percent(l.most))
		}
	}
	return ""
}

// figures lists what a challenger is judged by.
func (j judge) figures(o step.Observation) string {
	var all []string
	for _, l := range j.limits(o) {
		if l.of > 0 {
			all = append(all, fmt.Sprintf("%s of %d %s %s", percent(float64(l.bad)/float64(l.of)), l.of, l.things, l.did))
		}
	}
	return strings.Join(all, ", ")
}

// A judge is an [ir.Judge].
type judge ir.Judge

// A limit is the largest fraction of things that may be bad.
type limit struct {
	most        float64
	bad, of     int64
	things, did string // "requests", "failed"
}

func (j judge) limits(o step.Observation) (all []limit) {
	if j.ErrorRate != nil {
		all = append(all, limit{*j.ErrorRate, o.Failed, o.Requests, "requests", "failed"})
	}
	if j.P99 > 0 {
		all = append(all, limit{0.01, slower(o.Latency, j.P99), o.Requests, "requests", "took longer than " + length(j.P99)})
	}
	if j.Disagreement != nil {
		all = append(all, limit{*j.Disagreement, o.Different, o.Compared, "compared rows", "were different"})
	}
	return all
}

// slower returns how many requests certainly took longer, given counts by [step.LatencyBuckets].
func slower(counts []int64, than time.Duration) (n int64) {
	for i, c := range counts {
		if i > 0 && i <= len(step.LatencyBuckets) && step.LatencyBuckets[i-1] >= than.Seconds() {
			n += c
		}
	}
	return n
}

// P99 returns the 99th percentile of latencies, rounded up to the bound of a bucket, or 0.
func P99(counts []int64) time.Duration {
	var all, below int64
	for _, c := range counts {
		all += c
	}
	for i, c := range counts {
		if below += c; all > 0 && float64(below) >= 0.99*float64(all) {
			bound := step.LatencyBuckets[min(i, len(step.LatencyBuckets)-1)]
			return time.Duration(bound * float64(time.Second))
		}
	}
	return 0
}

// Advanced returns a route in which the challenger has another weight.
func Advanced(p ir.Release, r *state.Route, weight int, now time.Time, reason string) *state.Route {
	n := r.Clone()
	n.Serial, n.Since, n.Reason, n.Rejected = r.Serial+1, now, reason, nil
	n.Champion().Weight, n.Champion().Shadow = 100-weight, 0
	n.Challenger().Weight, n.Challenger().Shadow = weight, p.Shadow
	if weight == 100 {
		n.Challenger().Shadow = 0 // nobody else answers
	}
	return n
}

// Finished returns the route at the end of a release: the challenger answers alone.
func Finished(r *state.Route, now time.Time, reason string) *state.Route {
	last := *r.Challenger()
	last.Weight, last.Shadow = 100, 0
	return &state.Route{Versions: []state.RouteVersion{last}, Since: now, Serial: r.Serial + 1, Reason: reason}
}

// Aborted returns a route in which the champion answers everything.
func Aborted(r *state.Route, now time.Time, reason string) *state.Route {
	n := r.Clone()
	n.Serial, n.Since, n.Reason, n.Paused = r.Serial+1, now, reason, false
	n.Champion().Weight, n.Champion().Shadow = 100, 0
	n.Challenger().Weight, n.Challenger().Shadow = 0, 0
	return n
}

// PlanRoute returns the plan of a revision that gives a service another route. sys is what was
// applied last, and u the service in it. If a challenger is rejected, the champion runs alone from
// then on.
func PlanRoute(sys *ir.System, meta state.Meta, u *ir.Unit, c state.Current, to *state.Route) *Plan {
	item := Item{Unit: u.ID, Kind: ir.Service, Action: Release, Key: c.Key, Route: to, Reasons: weightReasons(c.Route, to)}
	if to.Ending() {
		champion := to.Champion()
		u, item.Key, item.Pinned = champion.Unit, champion.Key, &state.Pinned{Unit: *champion.Unit, Run: champion.Run}
	}
	with := *sys
	with.Units = slices.DeleteFunc(slices.Clone(sys.Units), func(other ir.Unit) bool { return other.ID == u.ID })
	with.Units = append(with.Units, *u)
	slices.SortFunc(with.Units, func(a, b ir.Unit) int { return strings.Compare(a.ID, b.ID) })
	return &Plan{Version: Version, System: &with, State: meta, Items: []Item{item}}
}

// weightReasons says how a route changes.
func weightReasons(from, to *state.Route) []Reason {
	var all []Reason
	for _, v := range from.Versions {
		weight := 0
		for _, n := range to.Versions {
			if n.Name == v.Name {
				weight = n.Weight
			}
		}
		if weight != v.Weight {
			all = append(all, Reason{What: v.Name, Before: fmt.Sprintf("%d %%", v.Weight), After: fmt.Sprintf("%d %%", weight)})
		}
	}
	last := from.Versions[len(from.Versions)-1].Name
	switch {
	case to.Ending():
		return append(all, Reason{What: fmt.Sprintf("%s was rejected: %s", last, to.Reason)})
	case len(to.Versions) == 1:
		return append(all, Reason{What: fmt.Sprintf("%s is the champion: %s", last, to.Reason)})
	}
	return append(all, Reason{What: to.Reason})
}

// ServingKey returns the key of the version of a service that counts: after a rejection, that is
// the champion's, even while the process of both still runs.
func ServingKey(c state.Current) string {
	if c.Route.Ending() {
		return c.Route.Champion().Key
	}
	return c.Key
}

// RecordedImage returns the image that a run had, or "".
func RecordedImage(inputs map[string]string) string {
	for name, ref := range inputs {
		if strings.HasPrefix(name, imagePrefix) || strings.HasPrefix(name, basePrefix) {
			return ref
		}
	}
	return ""
}

// percent formats a fraction: "3.1 %".
func percent(f float64) string {
	p := math.Round(f*1000) / 10
	if p == 0 && f > 0 {
		return fmt.Sprintf("%.2g %%", f*100)
	}
	return fmt.Sprintf("%g %%", p)
}
