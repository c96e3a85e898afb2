package project

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/control"
	"github.com/tenon-ml/tenon/cmd/internal/notify"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/slo/rules"
)

// Alerts of rules. Those that an Alertmanager gets without Prometheus have the same names and labels, so
// that it does not count them twice.
const (
	alertMonitor   = "TenonMonitorAlert"
	alertUnknown   = "TenonMonitorUnknown"
	alertStale     = "TenonMonitorStale"
	alertBackOff   = "TenonLoopBackOff"
	alertHeld      = "TenonLoopHeld"
	alertRejected  = "TenonReleaseRejected"
	alertNoControl = "TenonControllerGone"
)

// ticket is the severity of alerts of what declares none.
const ticket = "ticket"

// controllerMissed is for how long nothing may be heard of a controller.
const controllerMissed = 10 * control.BeatsLast

// alertText describes an alert.
type alertText struct {
	labels, annotations map[string]string
}

// alertAbout returns the labels and the texts of alerts about a unit of a kind.
func (w *Workspace) alertAbout(system, kind, unit, severity, summary string) alertText {
	t := alertText{map[string]string{"severity": severity}, map[string]string{"summary": summary}}
	pairs := w.labels(system, kind, unit)
	for i := 0; i < len(pairs); i += 2 {
		t.labels[pairs[i]] = pairs[i+1]
	}
	if unit != "" {
		t.annotations["description"] = fmt.Sprintf("Declared as %s.", dotted(unit))
	}
	return t
}

// selector selects the metrics about a unit of a kind.
func (w *Workspace) selector(system, kind, unit string) string {
	pairs := w.labels(system, kind, unit)
	var all []string
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, fmt.Sprintf("%s=%q", pairs[i], pairs[i+1]))
	}
	return strings.Join(all, ",")
}

// Rules returns a Prometheus rule file with alerts on all monitors, loops and the releases that these judge.
func (w *Workspace) Rules(ctx context.Context) (string, error) {
	m, err := w.measuredSystem(ctx)
	if err != nil {
		return "", err
	}
	group := rules.Group{Name: m.system + "-monitors"}
	if w.set.Env != "" {
		group.Name = m.system + "-" + w.set.Env + "-monitors"
	}
	add := func(name, expr, wait string, t alertText) {
		group.Rules = append(group.Rules, rules.Rule{Alert: name, Expr: expr, For: wait, Labels: t.labels, Annotations: t.annotations})
	}
	for _, h := range m.monitors {
		whose := w.selector(m.system, "monitor", h.Unit)
		about := func(summary string) alertText {
			return w.alertAbout(m.system, "monitor", h.Unit, h.Monitor.Severity, monitorName(h.Unit, h.Monitor)+" "+summary)
		}
		add(alertMonitor, fmt.Sprintf(`%s{%s,verdict="alert"} == 1`, metricVerdict, whose), "", about("is beyond its limits"))
		if h.Monitor.MinRows > 0 && h.Monitor.Service == nil { // that few people ask is not a fault of a service
			add(alertUnknown, fmt.Sprintf(`%s{%s,verdict="unknown"} == 1`, metricVerdict, whose), prometheusDuration(h.Monitor.Window), about("has too few rows for a verdict"))
		}
		add(alertStale, fmt.Sprintf("time() - %s{%s} > %d", metricMeasured, whose, int64((3*h.Monitor.Every).Seconds())), "", about("is no longer measured"))
	}
	for _, u := range m.loops {
		whose := w.selector(m.system, "loop", u.ID)
		add(alertBackOff, fmt.Sprintf("sum without (act) (%s{%s}) > 0", metricLoopFailed, whose), "", w.alertAbout(m.system, "loop", u.ID, ticket, backOffSummary(u.ID)))
		add(alertHeld, fmt.Sprintf("%s{%s} == 1", metricLoopHeld, whose), "", w.alertAbout(m.system, "loop", u.ID, ticket, heldSummary(u.ID)))
	}
	for _, id := range m.services {
		if m.units[id].Release != nil {
			add(alertRejected, fmt.Sprintf("%s{%s} == 1", metricRejected, w.selector(m.system, "deployment", id)), "", w.alertAbout(m.system, "deployment", id, ticket, rejectedSummary(id)))
		}
	}
	if len(m.loops) > 0 {
		whose := w.selector(m.system, "", "")
		add(alertNoControl, fmt.Sprintf("time() - %s{%s} > %d or absent(%[1]s{%[2]s})", metricBeat, whose, int64(controllerMissed.Seconds())), prometheusDuration(controllerMissed),
			w.alertAbout(m.system, "", "", ticket, "no controller carries out the loops of "+m.system+": run tenon run"))
	}
	f := rules.File{}
	if len(group.Rules) > 0 {
		f.Groups = []rules.Group{group}
	}
	return f.Text()
}

func monitorName(unit string, m *ir.Monitor) string {
	return fmt.Sprintf("%s of %s", dotted(unit), dotted(m.Of()))
}

func backOffSummary(loop string) string { return dotted(loop) + " waits because it failed" }

func heldSummary(loop string) string {
	return dotted(loop) + " has a cause to act, but a decision of a person keeps it from that"
}

func rejectedSummary(service string) string {
	return "the last release of " + dotted(service) + " was rejected"
}

// prometheusDuration writes a length of time as Prometheus reads it, in whole seconds.
func prometheusDuration(d time.Duration) string { return fmt.Sprintf("%ds", int64(d.Seconds())) }

// Alert implements [control.Mailer]. An alert that is not sent again ends by itself, so those that fire are
// repeated.
func (n *mailer) Alert(ctx context.Context, now time.Time) error {
	declarers, current, err := n.declarers(ctx)
	if err != nil {
		return err
	}
	system, err := n.systemName(ctx)
	if err != nil {
		return err
	}
	stands := map[string]map[string]notify.Alert{} // by URL and labels
	for _, d := range declarers {
		for _, r := range d.receivers {
			if r.Alertmanager == "" {
				continue
			}
			if stands[r.Alertmanager] == nil {
				stands[r.Alertmanager] = map[string]notify.Alert{}
			}
			alerts, err := n.standing(ctx, system, d, current, now)
			if err != nil {
				return err
			}
			for _, a := range alerts {
				stands[r.Alertmanager][fmt.Sprint(a.Labels)] = a // maps are printed sorted
			}
		}
	}
	var errs []error
	for _, at := range slices.Sorted(maps.Keys(stands)) {
		if err := n.alert(ctx, at, stands[at], now); err != nil {
			errs = append(errs, fmt.Errorf("alerts to %s: %w", at, err))
		}
	}
	return errors.Join(errs...)
}

// alert sends to an Alertmanager the alerts that fire, and the end of those that did, unless it has recently
// got the same.
func (n *mailer) alert(ctx context.Context, at string, stands map[string]notify.Alert, now time.Time) error {
	var all []notify.Alert
	changed := now.Sub(n.sent[at]).Abs() >= alertsLast/5
	for _, id := range slices.Sorted(maps.Keys(stands)) {
		a := stands[id]
		a.EndsAt = now.Add(alertsLast)
		all = append(all, a)
		_, known := n.firing[at][id]
		changed = changed || !known
	}
	for _, id := range slices.Sorted(maps.Keys(n.firing[at])) {
		if _, still := stands[id]; !still {
			a := n.firing[at][id]
			a.EndsAt = now
			all, changed = append(all, a), true
		}
	}
	if len(all) == 0 || !changed {
		return nil
	}
	if err := n.client.Alertmanager(ctx, at, all); err != nil {
		return err
	}
	n.firing[at], n.sent[at] = stands, now
	return nil
}

// standing returns the alerts of a loop or a monitor that stand.
func (n *mailer) standing(ctx context.Context, system string, d declarer, current map[string]state.Current, now time.Time) (all []notify.Alert, err error) {
	add := func(name string, since time.Time, text string, t alertText) {
		t.labels["alertname"], t.annotations["reason"] = name, text
		all = append(all, notify.Alert{Labels: t.labels, Annotations: t.annotations, StartsAt: since})
	}
	monitors := []string{d.unit.ID}
	if l := d.unit.Loop; l != nil {
		monitors = l.Monitors()
		s, err := n.LoopState(ctx, d.unit)
		if err != nil {
			return nil, err
		}
		st := planner.StandingOf(*l, *s, now)
		if failed := st.Failed[state.LoopRetrain] + st.Failed[state.LoopRollback]; failed > 0 {
			add(alertBackOff, st.FailedAt, fmt.Sprintf("%d failed in a row; tenon loops explain has the reason", failed), n.alertAbout(system, "loop", d.unit.ID, ticket, backOffSummary(d.unit.ID)))
		}
		if st.Held != "" {
			add(alertHeld, st.HeldAt, st.Held, n.alertAbout(system, "loop", d.unit.ID, ticket, heldSummary(d.unit.ID)))
		}
		for unit, cur := range current {
			if entity, _ := ir.SplitID(unit); cur.Kind == ir.Service && slices.Contains(l.Deployments, entity) && cur.Route != nil && cur.Route.Rejected != nil {
				add(alertRejected, cur.Route.Since, planner.WithoutFault(cur.Route.Rejected.Reason), n.alertAbout(system, "deployment", unit, ticket, rejectedSummary(unit)))
			}
		}
	}
	for _, id := range monitors {
		last, err := n.store.Measurements(ctx, id, time.Time{}, 1)
		if err != nil {
			return nil, err
		}
		if len(last) == 0 || last[0].Verdict != string(measure.Alert) {
			continue
		}
		cur, ok := current[id]
		if !ok { // a destroy that was killed has left the loop alone
			continue
		}
		u, err := n.appliedAt(ctx, cur)
		if err != nil {
			return nil, err
		}
		add(alertMonitor, last[0].At, last[0].Reason, n.alertAbout(system, "monitor", id, u.Monitor.Severity, monitorName(id, u.Monitor)+" is beyond its limits"))
	}
	return all, nil
}
