package project

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/slo/rules"
)

// figureTable are the columns of exported figures.
var figureTable = ir.Schema{
	{Name: "monitor", Type: "string"}, {Name: "number", Type: "int64"}, {Name: "at", Type: "timestamptz"}, {Name: "begin", Type: "timestamptz"}, {Name: "end", Type: "timestamptz"},
	{Name: "estimated", Type: "bool"}, {Name: "column", Type: "string", Nullable: true}, {Name: "name", Type: "string"}, {Name: "test", Type: "string", Nullable: true},
	{Name: "segment", Type: "string", Nullable: true, JSON: true}, {Name: "value", Type: "float64", Nullable: true}, {Name: "p", Type: "float64", Nullable: true},
	{Name: "p_adj", Type: "float64", Nullable: true}, {Name: "reference", Type: "float64", Nullable: true}, {Name: "lower", Type: "float64", Nullable: true},
	{Name: "upper", Type: "float64", Nullable: true}, {Name: "min", Type: "float64", Nullable: true}, {Name: "max", Type: "float64", Nullable: true},
	{Name: "verdict", Type: "string"}, {Name: "reason", Type: "string", Nullable: true},
}

// ExportFigures writes the figures of measurements to a Parquet file, the oldest first, and returns
// how many there are.
func (w *Workspace) ExportFigures(ctx context.Context, h *MonitorHistory, to string, force bool) (int64, error) {
	if !force && exists(to) {
		return 0, existsError(to)
	}
	rows := duck.Rows{}
	for _, c := range figureTable {
		rows.Columns = append(rows.Columns, c.Name)
	}
	for _, m := range slices.Backward(h.Measurements) {
		a, err := ReportOf(&m)
		if err != nil {
			return 0, err
		}
		rows.Values = append(rows.Values, figureRows(&m, a.Report, false)...)
		rows.Values = append(rows.Values, figureRows(&m, a.Estimate, true)...)
	}
	return int64(len(rows.Values)), inPlace(to, "write to "+to, force, func(made string) error {
		broken, err := w.set.SQL.Write(ctx, map[string]duck.Literal{"figures": {Schema: figureTable, Rows: rows}}, map[string]string{"figures": made})
		if err == nil && len(broken["figures"]) > 0 {
			err = fmt.Errorf("a figure does not fit the table: %s", broken["figures"][0])
		}
		return err
	})
}

func figureRows(m *state.Measurement, r *measure.Report, estimated bool) (all [][]*string) {
	if r == nil {
		return nil
	}
	text := func(s string) *string { return &s }
	some := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	number := func(f *float64) *string {
		if f == nil {
			return nil
		}
		return text(strconv.FormatFloat(*f, 'g', -1, 64))
	}
	moment := func(t time.Time) *string { return text(t.UTC().Format("2006-01-02T15:04:05.000000Z")) }
	for _, f := range r.Figures {
		segment := ""
		if len(f.Segment) > 0 {
			b, _ := json.Marshal(f.Segment) // texts are always JSON
			segment = string(b)
		}
		all = append(all, []*string{
			text(m.Monitor), text(strconv.FormatInt(m.Number, 10)), moment(m.At), moment(m.Begin), moment(m.End), text(strconv.FormatBool(estimated)),
			some(f.Column), text(f.Name), some(f.Test), some(segment), number(f.Value), number(f.P), number(f.PAdj), number(f.Reference), number(f.Lower), number(f.Upper),
			number(f.Min), number(f.Max), text(string(f.Verdict)), some(f.Reason),
		})
	}
	return all
}

// lastMeasured returns the monitors with their last measurements, which have reports.
func (w *Workspace) lastMeasured(ctx context.Context) (system string, all []MonitorHistory, err error) {
	s, err := w.deployed(ctx)
	if err != nil {
		return "", nil, err
	}
	for _, id := range s.having(isMonitor) {
		h, err := w.history(ctx, id, s.units[id].Monitor, time.Time{}, 1)
		if err != nil {
			return "", nil, err
		}
		all = append(all, *h)
	}
	return s.system, all, nil
}

// Metrics of monitors.
const (
	metricVerdict  = "tenon_monitor_verdict"
	metricMeasured = "tenon_monitor_measured_timestamp_seconds"
	metricRows     = "tenon_monitor_rows"
	metricFigure   = "tenon_monitor_figure"
	metricEstimate = "tenon_monitor_estimate"
)

// MonitorMetrics returns the last verdict and the last figures of each monitor in the text format of
// Prometheus, version 0.0.4.
func (w *Workspace) MonitorMetrics(ctx context.Context) (string, error) {
	system, all, err := w.lastMeasured(ctx)
	if err != nil {
		return "", err
	}
	families := []struct{ name, help string }{
		{metricVerdict, "1 for the last verdict of a monitor, 0 for the others."},
		{metricMeasured, "When a monitor was measured last."},
		{metricRows, "Rows of the last measurement."},
		{metricFigure, "A figure of the last measurement."},
		{metricEstimate, "A figure that was estimated without labels."},
	}
	samples := map[string][]string{}
	for _, h := range all {
		if len(h.Measurements) == 0 {
			continue
		}
		m := &h.Measurements[0]
		a, err := ReportOf(m)
		if err != nil {
			return "", err
		}
		labels := w.monitorLabels(system, h.Unit)
		add := func(name string, value float64, more ...string) {
			samples[name] = append(samples[name], sample(name, append(slices.Clone(labels), more...), value))
		}
		for _, v := range []measure.Verdict{measure.OK, measure.Warn, measure.Alert, measure.Unknown} {
			is := 0.0
			if m.Verdict == string(v) {
				is = 1
			}
			add(metricVerdict, is, "verdict", string(v))
		}
		add(metricMeasured, float64(m.At.UnixMicro())/1e6)
		add(metricRows, float64(a.Rows))
		figures := func(name string, r *measure.Report) {
			if r == nil {
				return
			}
			for _, f := range r.Figures {
				if f.Value != nil {
					add(name, *f.Value, figureLabels(&f)...)
				}
			}
		}
		figures(metricFigure, a.Report)
		figures(metricEstimate, a.Estimate)
	}
	var b strings.Builder
	for _, f := range families {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %[1]s gauge\n%[3]s", f.name, f.help, strings.Join(samples[f.name], ""))
	}
	return b.String(), nil
}

// monitorLabels are names and values of the labels of everything about a monitor.
func (w *Workspace) monitorLabels(system, unit string) []string {
	labels := []string{"system", system}
	if w.set.Env != "" {
		labels = append(labels, "env", w.set.Env)
	}
	return append(labels, "monitor", strings.TrimPrefix(unit, "monitors/"))
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

// MonitorRules returns a Prometheus rule file with alerts on all monitors.
func (w *Workspace) MonitorRules(ctx context.Context) (string, error) {
	system, all, err := w.lastMeasured(ctx)
	if err != nil {
		return "", err
	}
	group := rules.Group{Name: system + "-monitors"}
	if w.set.Env != "" {
		group.Name = system + "-" + w.set.Env + "-monitors"
	}
	for _, h := range all {
		pairs := w.monitorLabels(system, h.Unit)
		labels, selector := map[string]string{"severity": h.Monitor.Severity}, []string{}
		for i := 0; i < len(pairs); i += 2 {
			labels[pairs[i]] = pairs[i+1]
			selector = append(selector, fmt.Sprintf("%s=%q", pairs[i], pairs[i+1]))
		}
		whose := strings.Join(selector, ",")
		add := func(name, expr, wait, summary string) {
			group.Rules = append(group.Rules, rules.Rule{
				Alert: name, Expr: expr, For: wait, Labels: labels,
				Annotations: map[string]string{"summary": summary, "description": fmt.Sprintf("Declared as %s.", dotted(h.Unit))},
			})
		}
		what := fmt.Sprintf("%s of %s", dotted(h.Unit), dotted(h.Monitor.Of()))
		add("TenonMonitorAlert", fmt.Sprintf(`%s{%s,verdict="alert"} == 1`, metricVerdict, whose), "", what+" is beyond its limits")
		if h.Monitor.MinRows > 0 && h.Monitor.Service == nil { // that few people ask is not a fault of a service
			add("TenonMonitorUnknown", fmt.Sprintf(`%s{%s,verdict="unknown"} == 1`, metricVerdict, whose), prometheusDuration(h.Monitor.Window), what+" has too few rows for a verdict")
		}
		add("TenonMonitorStale", fmt.Sprintf("time() - %s{%s} > %d", metricMeasured, whose, int64((3*h.Monitor.Every).Seconds())), "", what+" is not measured any more")
	}
	f := rules.File{}
	if len(group.Rules) > 0 {
		f.Groups = []rules.Group{group}
	}
	return f.Text()
}

// prometheusDuration writes a length of time as Prometheus reads it, in whole seconds.
func prometheusDuration(d time.Duration) string { return fmt.Sprintf("%ds", int64(d.Seconds())) }
