// Package dashboard makes dashboards of Grafana: of endpoints, monitors and loops, over the metrics that a
// service and a controller expose. The input is plain data, the result is the JSON model of Grafana, the
// same for the same input. It knows neither Grafana's API nor a server.
package dashboard

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
)

// schemaVersion is that of Grafana's JSON model, of Grafana 10.4 and later. Newer versions of Grafana
// upgrade it.
const schemaVersion = 39

// The part of Grafana's JSON model that is used.
type (
	// A Dashboard is a page of panels.
	Dashboard struct {
		UID           string      `json:"uid"`
		Title         string      `json:"title"`
		Description   string      `json:"description,omitempty"`
		Tags          []string    `json:"tags"`
		Editable      bool        `json:"editable"`
		SchemaVersion int         `json:"schemaVersion"`
		Timezone      string      `json:"timezone"`
		Refresh       string      `json:"refresh"`
		Time          timeRange   `json:"time"`
		Templating    templating  `json:"templating"`
		Annotations   annotations `json:"annotations"`
		Panels        []Panel     `json:"panels"`
	}
	timeRange struct {
		From string `json:"from"`
		To   string `json:"to"`
	}
	templating struct {
		List []variable `json:"list"`
	}
	annotations struct {
		List []struct{} `json:"list"`
	}
	variable struct {
		Name  string `json:"name"`
		Label string `json:"label"`
		Type  string `json:"type"`
		Query string `json:"query"`
	}
	// A Panel is a plot, or one number.
	Panel struct {
		ID          int         `json:"id"`
		Type        string      `json:"type"`
		Title       string      `json:"title"`
		Description string      `json:"description,omitempty"`
		Datasource  datasource  `json:"datasource"`
		GridPos     gridPos     `json:"gridPos"`
		Targets     []Target    `json:"targets"`
		FieldConfig fieldConfig `json:"fieldConfig"`
	}
	datasource struct {
		Type string `json:"type"`
		UID  string `json:"uid"`
	}
	gridPos struct {
		H int `json:"h"`
		W int `json:"w"`
		X int `json:"x"`
		Y int `json:"y"`
	}
	// A Target is what a panel shows: an expression in PromQL.
	Target struct {
		RefID        string     `json:"refId"`
		Datasource   datasource `json:"datasource"`
		Expr         string     `json:"expr"`
		LegendFormat string     `json:"legendFormat"`
	}
	fieldConfig struct {
		Defaults  fieldDefaults `json:"defaults"`
		Overrides []struct{}    `json:"overrides"`
	}
	fieldDefaults struct {
		Unit string   `json:"unit,omitempty"`
		Min  *float64 `json:"min,omitempty"`
		Max  *float64 `json:"max,omitempty"`
	}
)

// Kinds of panels.
const (
	plot  = "timeseries"
	stat  = "stat"
	state = "state-timeline"
)

// columns is the width of Grafana's grid, in which two panels stand side by side.
const (
	columns = 24
	height  = 8
)

// prometheus is the data source that the user of the dashboard chooses.
var prometheus = datasource{"prometheus", "${datasource}"}

// About is what a dashboard is about.
type About struct {
	System, Env string
	Unit        string // "deployments/api"
	Name        string // how people write it: "deployments.api"
	Selector    string // of its metrics: `system="late",deployment="api"`
}

func (a About) dashboard(kind string) *Dashboard {
	where := a.System
	if a.Env != "" {
		where += " (" + a.Env + ")"
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", a.System, a.Env, a.Unit))
	return &Dashboard{
		UID: "tenon-" + hex.EncodeToString(sum[:12]), Title: where + ": " + a.Name, Tags: []string{"tenon", kind},
		Editable: true, SchemaVersion: schemaVersion, Timezone: "browser", Refresh: "1m", Time: timeRange{"now-24h", "now"},
		Templating: templating{[]variable{{"datasource", "Data source", "datasource", "prometheus"}}}, Annotations: annotations{[]struct{}{}}, Panels: []Panel{},
	}
}

// add adds a panel. lines are expressions, each followed by the legend of its lines.
func (d *Dashboard) add(kind, title, unit string, lines ...string) *Panel {
	n := len(d.Panels)
	p := Panel{
		ID: n + 1, Type: kind, Title: title, Datasource: prometheus,
		GridPos:     gridPos{H: height, W: columns / 2, X: n % 2 * columns / 2, Y: n / 2 * height},
		FieldConfig: fieldConfig{Defaults: fieldDefaults{Unit: unit}, Overrides: []struct{}{}},
	}
	for i := 0; i < len(lines); i += 2 {
		p.Targets = append(p.Targets, Target{RefID: string(rune('A' + i/2)), Datasource: prometheus, Expr: lines[i], LegendFormat: lines[i+1]})
	}
	d.Panels = append(d.Panels, p)
	return &d.Panels[n]
}

func (p *Panel) from(min float64) *Panel {
	p.FieldConfig.Defaults.Min = &min
	return p
}

func (p *Panel) upTo(max float64) *Panel {
	p.FieldConfig.Defaults.Max = &max
	return p
}

// JSON returns the dashboard as Grafana imports it.
func (d *Dashboard) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// Endpoint is the dashboard of a service. predictions selects the paths that predict, and releases says
// whether its versions are released in steps.
func Endpoint(a About, predictions string, releases bool) *Dashboard {
	d := a.dashboard("endpoint")
	asked := fmt.Sprintf("%s,path=~%s", a.Selector, strconv.Quote(predictions))
	rate := func(metric, selector string) string {
		return fmt.Sprintf("rate(%s{%s}[$__rate_interval])", metric, selector)
	}
	d.add(plot, "Requests", "reqps", "sum by (code) ("+rate("tenon_http_requests_total", asked)+")", "{{code}}").from(0)
	d.add(plot, "Requests that fail", "percentunit",
		fmt.Sprintf("(sum(%s) or vector(0)) / sum(%s)", rate("tenon_http_requests_total", asked+`,code=~"5.."`), rate("tenon_http_requests_total", asked)), "5xx").from(0).upTo(1)
	var quantiles []string
	for _, q := range []string{"0.5", "0.95", "0.99"} {
		quantiles = append(quantiles, fmt.Sprintf("histogram_quantile(%s, sum by (le) (%s))", q, rate("tenon_http_request_duration_seconds_bucket", asked)), "p"+q[2:])
	}
	quantiles[1] = "p50"
	d.add(plot, "Time to answer", "s", quantiles...).from(0)
	d.add(plot, "Predictions", "cps", "sum("+rate("tenon_predictions_total", a.Selector)+")", "rows per second").from(0)
	d.add(stat, "Model that answers", "", fmt.Sprintf("max by (name, version) (tenon_model_info{%s})", a.Selector), "{{name}} v{{version}}")
	d.add(plot, "Age of the model", "s", fmt.Sprintf("time() - max(tenon_model_created_timestamp_seconds{%s})", a.Selector), "age").from(0)
	d.add(plot, "Evaluation of the model", "", fmt.Sprintf("max by (metric) (tenon_model_evaluation{%s})", a.Selector), "{{metric}}")
	if releases {
		d.add(plot, "Share of the challenger", "percentunit", fmt.Sprintf("max(tenon_release_challenger_share{%s})", a.Selector), "challenger").from(0).upTo(1)
		d.add(stat, "Last release rejected", "bool_yes_no", fmt.Sprintf("max(tenon_release_rejected{%s})", a.Selector), "rejected")
	}
	return d
}

// Kinds of monitors that have panels of their own.
const (
	Drift   = "drift"
	Quality = "quality" // figures are estimated until labels come
)

// Monitor is the dashboard of a monitor of a kind, or of one of the others with "".
func Monitor(a About, kind string) *Dashboard {
	d := a.dashboard("monitor")
	of := func(metric, more string) string { return fmt.Sprintf("%s{%s%s}", metric, a.Selector, more) }
	d.add(state, "Verdict", "bool_yes_no", fmt.Sprintf("max by (verdict) (%s)", of("tenon_monitor_verdict", "")), "{{verdict}}")
	d.add(stat, "Since the last measurement", "s", fmt.Sprintf("time() - max(%s)", of("tenon_monitor_measured_timestamp_seconds", "")), "measured").from(0)
	d.add(plot, "Rows", "short", fmt.Sprintf("max(%s)", of("tenon_monitor_rows", "")), "rows").from(0)
	// Without a segment: figures of segments can be many.
	switch kind {
	case Quality:
		d.add(plot, "Metrics", "", fmt.Sprintf("max by (figure) (%s)", of("tenon_monitor_figure", `,segment=""`)), "{{figure}}")
		d.add(plot, "Metrics, estimated without labels", "", fmt.Sprintf("max by (figure) (%s)", of("tenon_monitor_estimate", `,segment=""`)), "{{figure}}")
	case Drift:
		d.add(plot, "Drift by column", "", fmt.Sprintf("max by (column, test) (%s)", of("tenon_monitor_figure", `,figure="drift",segment=""`)), "{{column}} {{test}}").from(0)
		d.add(plot, "Other figures by column", "", fmt.Sprintf("max by (column, figure) (%s)", of("tenon_monitor_figure", `,figure!="drift",segment=""`)), "{{column}} {{figure}}")
	default:
		d.add(plot, "Figures", "", fmt.Sprintf("max by (column, figure) (%s)", of("tenon_monitor_figure", `,segment=""`)), "{{column}} {{figure}}")
	}
	d.add(plot, "Figures by segment", "", fmt.Sprintf("max by (segment, column, figure) (%s)", of("tenon_monitor_figure", `,segment!=""`)), "{{segment}} {{column}} {{figure}}")
	return d
}

// A Selected is something beside the subject of a dashboard.
type Selected struct{ Name, Selector string }

// Loop is the dashboard of a loop: of its monitors, and of releases of its deployments. controller selects
// the metrics of the controller.
func Loop(a About, monitors, deployments []Selected, controller string) *Dashboard {
	d := a.dashboard("loop")
	of := func(metric string) string { return fmt.Sprintf("%s{%s}", metric, a.Selector) }
	d.add(state, "What it does", "bool_yes_no", fmt.Sprintf("max by (act) (%s)", of("tenon_loop_does")), "{{act}}")
	d.add(plot, "Failed in a row", "short", fmt.Sprintf("max by (act) (%s)", of("tenon_loop_failures")), "{{act}}").from(0)
	d.add(stat, "Since the last training", "s", fmt.Sprintf("time() - max(%s)", of("tenon_loop_trained_timestamp_seconds")), "training").from(0)
	d.add(plot, "Acts in a day", "short", fmt.Sprintf("max by (act) (increase(%s[1d]))", of("tenon_loop_acts_total")), "{{act}}").from(0)
	d.add(stat, "Held by a person", "bool_yes_no", fmt.Sprintf("max(%s)", of("tenon_loop_held")), "held")
	d.add(plot, "Since the controller showed that it lives", "s", fmt.Sprintf("time() - max(tenon_controller_beat_timestamp_seconds{%s})", controller), "controller").from(0)
	if len(monitors) > 0 {
		var lines []string
		for _, m := range monitors {
			lines = append(lines, fmt.Sprintf(`max(tenon_monitor_verdict{%s,verdict="alert"})`, m.Selector), m.Name)
		}
		d.add(state, "Alerts of its monitors", "bool_yes_no", lines...)
	}
	if len(deployments) > 0 {
		var lines []string
		for _, s := range deployments {
			lines = append(lines, fmt.Sprintf("max(tenon_release_challenger_share{%s})", s.Selector), s.Name)
		}
		d.add(plot, "Share of the challenger", "percentunit", lines...).from(0).upTo(1)
	}
	return d
}
