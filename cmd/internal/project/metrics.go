package project

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/control"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
)

// Metrics of monitors, loops, releases and the controller.
const (
	metricVerdict  = "tenon_monitor_verdict"
	metricMeasured = "tenon_monitor_measured_timestamp_seconds"
	metricRows     = "tenon_monitor_rows"
	metricFigure   = "tenon_monitor_figure"
	metricEstimate = "tenon_monitor_estimate"

	metricLoopDoes    = "tenon_loop_does"
	metricLoopFailed  = "tenon_loop_failures"
	metricLoopHeld    = "tenon_loop_held"
	metricLoopTrained = "tenon_loop_trained_timestamp_seconds"
	metricLoopActs    = "tenon_loop_acts_total"

	metricRejected = "tenon_release_rejected"
	metricShare    = "tenon_release_challenger_share"

	metricBeat   = "tenon_controller_beat_timestamp_seconds"
	metricLooked = "tenon_controller_looked_timestamp_seconds"
	metricEvents = "tenon_controller_events_total"
)

// families are the metrics in the order of the text.
var families = []family{
	{metricVerdict, "gauge", "1 for the last verdict of a monitor, 0 for the others."},
	{metricMeasured, "gauge", "When a monitor was measured last."},
	{metricRows, "gauge", "Rows of the last measurement."},
	{metricFigure, "gauge", "A figure of the last measurement."},
	{metricEstimate, "gauge", "A figure that was estimated without labels."},
	{metricLoopDoes, "gauge", "1 for what a loop does now, 0 for the rest."},
	{metricLoopFailed, "gauge", "Acts of a kind that failed in a row."},
	{metricLoopHeld, "gauge", "1 if a decision of a person keeps a loop from acting."},
	{metricLoopTrained, "gauge", "When the last training began that did not fail."},
	{metricLoopActs, "counter", "Acts in the record of a loop."},
	{metricRejected, "gauge", "1 if the last release of a service was rejected."},
	{metricShare, "gauge", "Share of the requests that the challenger of a release gets."},
	{metricBeat, "gauge", "When the controller showed last that it lives."},
	{metricLooked, "gauge", "When the controller looked last at the system, between two acts."},
	{metricEvents, "counter", "Events of the controller since it started."},
}

// A family is a metric in the text format of Prometheus.
type family struct{ name, kind, help string }

// A measuredSystem is what metrics, rules and dashboards are made from.
type measuredSystem struct {
	*snapshot
	monitors []MonitorHistory // with the last measurement
	loops    []*ir.Unit
	services []string // units, sorted
}

func (w *Workspace) measuredSystem(ctx context.Context) (*measuredSystem, error) {
	s, err := w.deployed(ctx)
	if err != nil {
		return nil, err
	}
	m := &measuredSystem{snapshot: s, services: s.having(func(u *ir.Unit) bool { return u.Kind == ir.Service })}
	for _, id := range s.having(isMonitor) {
		h, err := w.history(ctx, id, s.units[id].Monitor, time.Time{}, 1)
		if err != nil {
			return nil, err
		}
		m.monitors = append(m.monitors, *h)
	}
	for _, id := range s.having(isLoop) {
		m.loops = append(m.loops, s.units[id])
	}
	return m, nil
}

// Health is what only a controller knows of itself.
type Health struct {
	Looked time.Time // zero before the first time
	Events map[control.EventType]int
}

// Clone returns a copy.
func (h Health) Clone() Health { return Health{h.Looked, maps.Clone(h.Events)} }

// samples are lines of the text format, by metric.
type samples map[string][]string

func (s samples) add(name string, labels []string, value float64, more ...string) {
	s[name] = append(s[name], sample(name, append(slices.Clone(labels), more...), value))
}

func (s samples) addTime(name string, labels []string, t time.Time) {
	if !t.IsZero() {
		s.add(name, labels, float64(t.UnixMicro())/1e6)
	}
}

// Metrics returns what is known of monitors, loops, releases and the controller, in the text format of
// Prometheus, version 0.0.4. h is that of the controller which asks, or nil.
func (w *Workspace) Metrics(ctx context.Context, h *Health) (string, error) {
	system, err := w.measuredSystem(ctx)
	if err != nil {
		return "", err
	}
	all := samples{}
	for i := range system.monitors {
		if err := w.monitorMetrics(all, system, &system.monitors[i]); err != nil {
			return "", err
		}
	}
	for _, u := range system.loops {
		s, err := w.LoopState(ctx, u)
		if err != nil {
			return "", err
		}
		loopMetrics(all, w.labels(system.system, "loop", u.ID), planner.StandingOf(*u.Loop, *s, time.Now()), w.acts.count(u.ID, s.Acts))
	}
	current, err := w.store.Current(ctx)
	if err != nil {
		return "", err
	}
	for _, id := range system.services {
		if system.units[id].Release == nil {
			continue
		}
		labels := w.labels(system.system, "deployment", id)
		route, rejected, share := current[id].Route, 0.0, 0.0
		if route != nil && route.Rejected != nil {
			rejected = 1
		}
		if route.Releasing() {
			share = float64(route.Challenger().Weight) / 100
		}
		all.add(metricRejected, labels, rejected)
		all.add(metricShare, labels, share)
	}
	controller, err := w.store.Controller(ctx)
	if err != nil {
		return "", err
	}
	if controller != nil && !controller.Gone {
		all.addTime(metricBeat, w.labels(system.system, "", ""), controller.At)
	}
	if h != nil {
		labels := w.labels(system.system, "", "")
		all.addTime(metricLooked, labels, h.Looked)
		for _, e := range control.EventTypes {
			all.add(metricEvents, labels, float64(h.Events[e]), "event", string(e))
		}
	}
	return textOf(families, all), nil
}

func textOf(families []family, all samples) string {
	var b strings.Builder
	for _, f := range families {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %[1]s %[3]s\n%[4]s", f.name, f.help, f.kind, strings.Join(all[f.name], ""))
	}
	return b.String()
}

func (w *Workspace) monitorMetrics(all samples, system *measuredSystem, h *MonitorHistory) error {
	if len(h.Measurements) == 0 {
		return nil
	}
	m := &h.Measurements[0]
	a, err := ReportOf(m)
	if err != nil {
		return err
	}
	labels := w.labels(system.system, "monitor", h.Unit)
	for _, v := range []measure.Verdict{measure.OK, measure.Warn, measure.Alert, measure.Unknown} {
		all.add(metricVerdict, labels, oneIf(m.Verdict == string(v)), "verdict", string(v))
	}
	all.addTime(metricMeasured, labels, m.At)
	all.add(metricRows, labels, float64(a.Rows))
	figures := func(name string, r *measure.Report) {
		if r == nil {
			return
		}
		for _, f := range r.Figures {
			if f.Value != nil {
				all.add(name, labels, *f.Value, figureLabels(&f)...)
			}
		}
	}
	figures(metricFigure, a.Report)
	figures(metricEstimate, a.Estimate)
	return nil
}

func loopMetrics(all samples, labels []string, s planner.LoopStanding, acts map[state.LoopActKind]int) {
	for _, does := range planner.LoopDoings {
		all.add(metricLoopDoes, labels, oneIf(s.Doing == does), "act", does)
	}
	for _, kind := range []state.LoopActKind{state.LoopRetrain, state.LoopRollback} {
		all.add(metricLoopFailed, labels, float64(s.Failed[kind]), "act", string(kind))
	}
	all.add(metricLoopHeld, labels, oneIf(s.Held != ""))
	all.addTime(metricLoopTrained, labels, s.Trained)
	for _, kind := range slices.Sorted(maps.Keys(acts)) {
		all.add(metricLoopActs, labels, float64(acts[kind]), "act", string(kind))
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// labels are names and values of the labels of everything about a unit of a kind, or about the system
// without a kind.
func (w *Workspace) labels(system, kind, unit string) []string {
	labels := []string{"system", system}
	if w.set.Env != "" {
		labels = append(labels, "env", w.set.Env)
	}
	if kind == "" {
		return labels
	}
	return append(labels, kind, strings.TrimPrefix(unit, kind+"s/"))
}

func figureLabels(f *measure.Figure) []string {
	labels := []string{"figure", f.Name}
	if f.Column != "" {
		labels = append(labels, "column", f.Column)
	}
	if f.Test != "" {
		labels = append(labels, "test", f.Test)
	}
	var segment []string
	for _, column := range slices.Sorted(maps.Keys(f.Segment)) {
		segment = append(segment, column+"="+f.Segment[column])
	}
	if len(segment) > 0 {
		labels = append(labels, "segment", strings.Join(segment, ","))
	}
	return labels
}

var escapeLabel = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// sample is a line of the text format. labels are names and values in turn.
func sample(name string, labels []string, value float64) string {
	var all []string
	for i := 0; i < len(labels); i += 2 {
		all = append(all, labels[i]+`="`+escapeLabel.Replace(strings.ToValidUTF8(labels[i+1], "\uFFFD"))+`"`)
	}
	return name + "{" + strings.Join(all, ",") + "} " + strconv.FormatFloat(value, 'g', -1, 64) + "\n"
}
