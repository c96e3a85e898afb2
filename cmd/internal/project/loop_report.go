package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// loopReportVersion is the version of the JSON document.
const loopReportVersion = 1

// A LoopReport is what happened to a model from From until To: what was measured, what its loop did,
// and which version answered.
type LoopReport struct {
	Version int    `json:"loop_report"`
	System  string `json:"system"`
	Env     string `json:"env,omitempty"`
	Loop
	From      time.Time          `json:"from"`
	To        time.Time          `json:"to"`
	Acts      []state.LoopAct    `json:"acts"`      // newest first
	Monitors  []MonitorHistory   `json:"monitors"`  // that the loop reads
	Revisions []ReportedRevision `json:"revisions"` // that changed the model or its deployments, newest first
	Services  []LoopService      `json:"services"`  // its deployments
	Currency  string             `json:"currency,omitempty"`
	Notes     []string           `json:"notes,omitempty"` // about what is not in the report
}

// A ReportedRevision is a revision in the report on a loop.
type ReportedRevision struct {
	Number   int                `json:"revision"`
	Act      state.Act          `json:"act"`
	BackTo   int                `json:"back_to,omitempty"`
	Started  time.Time          `json:"started"`
	Finished time.Time          `json:"finished,omitzero"`
	Outcome  state.Outcome      `json:"outcome"`
	Cause    *planner.Cause     `json:"cause,omitempty"` // nil if a person made it
	Reasons  []planner.Reason   `json:"reasons,omitempty"`
	Metrics  map[string]float64 `json:"metrics,omitempty"` // of the evaluation of the model, if it ran
}

// A LoopService is a deployment of the model of a loop.
type LoopService struct {
	Unit   string  `json:"unit"`
	Shares []Share `json:"shares"` // oldest first
	// Traffic is what the request log has, in intervals of Step. Unknown says why there is none.
	Step    time.Duration    `json:"step_ns,omitempty"`
	Traffic []window.Traffic `json:"traffic,omitempty"`
	Unknown string           `json:"unknown,omitempty"`
}

// A Share says which versions of a service answer how much from a time on.
type Share struct {
	From     time.Time      `json:"from"`
	Revision int            `json:"revision"`
	Versions []VersionShare `json:"versions"` // the champion first
}

// A VersionShare is one version in a [Share].
type VersionShare struct {
	Name     string `json:"name,omitempty"` // "late v3", once a release has named it
	Key      string `json:"key"`            // identifies it
	Revision int    `json:"revision"`       // that deployed it
	Weight   int    `json:"weight"`         // percent of the requests
	// Shadow is the fraction of the requests that it computes without answering.
	Shadow float64 `json:"shadow,omitempty"`
}

// LoopReport returns the report on a loop since a time. The zero time is the first act or measurement,
// or the time at which the loop was deployed. Without a name it is the only loop.
func (w *Workspace) LoopReport(ctx context.Context, name string, since, now time.Time) (*LoopReport, error) {
	u, err := w.loopNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	l, st, err := w.loopNow(ctx, u, now)
	if err != nil {
		return nil, err
	}
	s, err := w.deployed(ctx)
	if err != nil {
		return nil, err
	}
	r := &LoopReport{
		Version: loopReportVersion, System: s.system, Env: w.set.Env, Loop: *l, From: since, To: now,
		Acts: []state.LoopAct{}, Monitors: []MonitorHistory{}, Revisions: []ReportedRevision{}, Services: []LoopService{},
	}
	for _, a := range st.Acts {
		if !a.At.Before(since) {
			r.Acts = append(r.Acts, a)
		}
	}
	for _, id := range u.Loop.Monitors() {
		m := s.units[id]
		if m == nil || m.Monitor == nil {
			continue
		}
		h, err := w.history(ctx, id, m.Monitor, since, shownMeasurements)
		if err != nil {
			return nil, err
		}
		r.Monitors = append(r.Monitors, *h)
		if len(h.Measurements) == shownMeasurements {
			r.Notes = append(r.Notes, fmt.Sprintf("Only the newest %d measurements of %s are shown.", shownMeasurements, id))
		}
	}
	if since.IsZero() {
		r.From = r.begin(st.Since)
	}
	if err := w.reportRevisions(ctx, r); err != nil {
		return nil, err
	}
	for i := range r.Services {
		if err := w.addTraffic(ctx, s, &r.Services[i], r.From, r.To); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// begin returns the time of the first act or measurement of a report, or that of the deployment if that is
// earlier.
func (r *LoopReport) begin(deployed time.Time) time.Time {
	first := r.To
	earlier := func(t time.Time) {
		if !t.IsZero() && t.Before(first) {
			first = t
		}
	}
	earlier(deployed)
	if n := len(r.Acts); n > 0 {
		earlier(r.Acts[n-1].At)
	}
	for _, m := range r.Monitors {
		if n := len(m.Measurements); n > 0 {
			earlier(m.Measurements[n-1].At)
		}
	}
	return first
}

// reportRevisions adds the revisions that changed the model or its deployments, and which versions answered.
func (w *Workspace) reportRevisions(ctx context.Context, r *LoopReport) error {
	revisions, err := w.store.Revisions(ctx, 0)
	if err != nil {
		return err
	}
	services := map[string]*LoopService{}
	names := map[string]string{} // of versions, by key
	for _, v := range slices.Backward(revisions) {
		if v.Act == state.Refresh || v.Act == state.Repair {
			continue // these deploy nothing
		}
		p, err := w.recordedPlan(ctx, &v)
		if errors.Is(err, artifact.ErrMissing) {
			continue // it was removed by hand
		}
		if err != nil {
			return err
		}
		if p.Pricing != nil {
			r.Currency = p.Pricing.Currency
		}
		runs, err := w.store.RunsOf(ctx, v.Number)
		if err != nil {
			return err
		}
		now := namesSince(v, revisions)
		shown := ReportedRevision{Number: v.Number, Act: v.Act, BackTo: v.BackTo, Started: v.Started, Finished: v.Finished, Outcome: v.Outcome, Cause: p.Cause}
		concerns := false
		for _, it := range p.Items {
			id := nameNow(it.Unit, now)
			entity, _ := ir.SplitID(id)
			if !slices.Contains(r.Loop.Loop.Changes(), entity) || !it.Action.Changes() {
				continue
			}
			concerns = true
			shown.Reasons = append(shown.Reasons, it.Reasons...)
			if it.Kind == ir.Service {
				if services[id] == nil {
					services[id] = &LoopService{Unit: id, Shares: []Share{}}
				}
				services[id].follow(v, it, p.System.Unit(it.Unit), runs, names)
			}
		}
		for _, run := range runs {
			u := p.System.Unit(run.Unit)
			if entity, _ := ir.SplitID(nameNow(run.Unit, now)); u != nil && entity == r.Loop.Loop.Model && stage(u) == "evaluate" && len(run.Metrics) > 0 {
				shown.Metrics = run.Metrics
			}
		}
		if concerns && (v.Finished.IsZero() || !v.Finished.Before(r.From)) {
			r.Revisions = append(r.Revisions, shown)
		}
	}
	slices.Reverse(r.Revisions)
	for _, id := range slices.Sorted(maps.Keys(services)) {
		s := services[id]
		s.name(names)
		s.since(r.From)
		r.Services = append(r.Services, *s)
	}
	return nil
}

// follow adds the shares that a revision gave the versions of a service. Each version is known by the key of
// its run: a plan may not know that yet.
func (s *LoopService) follow(r state.Revision, it planner.Item, u *ir.Unit, runs []state.Run, names map[string]string) {
	share := Share{Revision: r.Number}
	switch {
	case r.Outcome != state.Done:
		return
	case it.Action == planner.Delete:
		share.From = r.Finished
	case it.Route != nil && len(it.Route.Versions) > 0:
		share.From = it.Route.Since
		for _, v := range it.Route.Versions {
			names[v.Key] = v.Name
			share.Versions = append(share.Versions, VersionShare{Key: v.Key, Revision: v.Revision, Weight: v.Weight, Shadow: v.Shadow})
		}
	default:
		i := slices.IndexFunc(runs, func(run state.Run) bool { return run.Unit == it.Unit && run.Attempt > 0 && run.Outcome == state.Done })
		if i < 0 {
			return
		}
		share.From = runs[i].Finished
		made := VersionShare{Key: runs[i].Key, Revision: r.Number, Weight: 100}
		if champion := s.champion(); champion != nil && champion.Key != made.Key && r.Act == state.Apply && u != nil && u.Release != nil {
			made.Weight, made.Shadow = planner.FirstWeight(*u.Release)
			before := *champion
			before.Weight = 100 - made.Weight
			share.Versions = append(share.Versions, before)
		}
		share.Versions = append(share.Versions, made)
	}
	s.Shares = append(s.Shares, share)
}

// champion returns the version that answers, or that answered before a release began, or nil.
func (s *LoopService) champion() *VersionShare {
	if len(s.Shares) == 0 || len(s.Shares[len(s.Shares)-1].Versions) == 0 {
		return nil
	}
	return &s.Shares[len(s.Shares)-1].Versions[0]
}

// name gives versions the names that releases gave them.
func (s *LoopService) name(names map[string]string) {
	for i := range s.Shares {
		for j := range s.Shares[i].Versions {
			v := &s.Shares[i].Versions[j]
			v.Name = names[v.Key]
		}
	}
}

// since leaves out the shares that ended before a time.
func (s *LoopService) since(from time.Time) {
	for len(s.Shares) > 1 && !s.Shares[1].From.After(from) {
		s.Shares = s.Shares[1:]
	}
}

// mostIntervals is into how many intervals the time of a report is divided at most.
const mostIntervals = 120

// intervals are the lengths of intervals, shortest first.
var intervals = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour,
}

// addTraffic adds what the request log of a service has.
func (w *Workspace) addTraffic(ctx context.Context, s *snapshot, of *LoopService, from, to time.Time) error {
	u := s.units[of.Unit]
	switch {
	case u == nil:
		of.Unknown = "it is not deployed any more"
		return nil
	case !logsRequests(u):
		of.Unknown = "it does not log its requests: add log: {}"
		return nil
	}
	i := slices.IndexFunc(intervals, func(d time.Duration) bool { return to.Sub(from) <= mostIntervals*d })
	if i < 0 {
		i = len(intervals) - 1
	}
	of.Step = intervals[i]
	from = from.Truncate(of.Step)
	log, err := w.requestLog(ctx, u, from)
	if err = w.partly(err); err != nil {
		return err
	}
	duck, err := w.set.SQL.Program(ctx)
	if err != nil {
		return err
	}
	q := window.TrafficQuestion{Log: log, Begin: from, End: to, Step: of.Step}
	return w.ask(ctx, duck, "traffic", u, q, func(line []byte) error { return json.Unmarshal(line, &of.Traffic) })
}

// VersionOf returns the number of the model in the name of a version, such as "3" for "late v3", or "".
func (v VersionShare) VersionOf() string {
	i := strings.LastIndex(v.Name, " v")
	if i < 0 {
		return ""
	}
	return v.Name[i+len(" v"):]
}
