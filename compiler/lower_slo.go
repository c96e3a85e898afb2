package compiler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// lowerObjectives makes the record of a Prometheus rule file.
func (c *compilation) lowerObjectives(e *entity) ir.Unit {
	u := c.unit(e, e.id(), e.component)
	u.Kind = ir.Record
	u.Code = ir.Code{Runtime: ir.Builtin, Version: 1}
	u.Inputs = inputs(e)
	u.Outputs = []ir.Output{{Port: "rules", Kind: ir.File}}
	content, err := c.ruleFile(e)
	if err != nil {
		c.internal(fmt.Errorf("rules of %s: %w", e, err))
	}
	// The rules are what is written; the objectives are what they say, for those
	// who compare two systems.
	objectives := e.fields.only("window", "availability", "latency", "freshness", "quality", "labels")
	u.Params = params(object{}.with("file", e.name+".rules.yml").with("content", content).with("objectives", objectives))
	return u
}

// The shape of a Prometheus rule file.
type (
	ruleFile  struct{ Groups []ruleGroup }
	ruleGroup struct {
		Name  string
		Rules []rule
	}
	rule struct {
		Record      string            `yaml:",omitempty"`
		Alert       string            `yaml:",omitempty"`
		Expr        string            ``
		For         string            `yaml:",omitempty"`
		Labels      map[string]string `yaml:",omitempty"`
		Annotations map[string]string `yaml:",omitempty"`
	}
)

// burnRates are the multi-window, multi-burn-rate alerts of the Site
// Reliability Workbook, chapter 5, table 5-8: an alert fires when the error
// budget burns at the rate over both windows. The rates are for a budget of 30
// days, and scaled to other windows.
var burnRates = []struct {
	long, short string
	budget      float64 // the share of the budget that is gone in the long window
	hours       float64 // the long window
	severity    string
}{
	{"1h", "5m", 0.02, 1, "page"},
	{"6h", "30m", 0.05, 6, "page"},
	{"1d", "2h", 0.10, 24, "ticket"},
	{"3d", "6h", 0.10, 72, "ticket"},
}

// burnWindows are all windows above, each once.
var burnWindows = []string{"5m", "30m", "1h", "2h", "6h", "1d", "3d"}

func (c *compilation) ruleFile(e *entity) (string, error) {
	system := c.systemName()
	on := e.input("on").out.entity
	o := objectives{
		entity: e, deployment: on.name,
		service:  fmt.Sprintf(`system=%q,deployment=%q`, system, on.name),
		selector: fmt.Sprintf(`system=%q,deployment=%q,path="/predict"`, system, on.name),
		own:      fmt.Sprintf(`{system=%q,slo=%q}`, system, e.name),
		prefix:   "slo:" + metricName(e.name),
		window:   duration(e.string("window")),
		labels:   map[string]string{"system": system, "deployment": on.name, "slo": e.name},
	}
	custom, _ := e.fields.get("labels").(object)
	for _, f := range custom {
		o.labels[f.name], _ = f.value.(string)
	}
	var records, alerts []rule
	if target, ok := e.fields.get("availability").(json.Number); ok {
		o.budget(&records, &alerts, "availability", "Availability", target,
			fmt.Sprintf(`sum(rate(tenon_http_requests_total{%s,code=~"5.."}[%%[1]s])) / sum(rate(tenon_http_requests_total{%s}[%%[1]s]))`, o.selector, o.selector),
			fmt.Sprintf("requests to %s fail", on))
	}
	latency, _ := e.fields.get("latency").(object)
	for _, f := range latency {
		s, _ := f.value.(string)
		q, _ := strconv.Atoi(f.name[1:])
		le := strconv.FormatFloat(duration(s).Seconds(), 'g', -1, 64)
		if i := duration(s).Seconds(); i == math.Trunc(i) {
			le += ".0" // as the client writes the label
		}
		o.budget(&records, &alerts, "latency_"+f.name, "Latency"+f.name, json.Number(formatFloat(float64(q)/100)),
			fmt.Sprintf(`1 - sum(rate(tenon_http_request_duration_seconds_bucket{%s,le=%q}[%%[1]s])) / sum(rate(tenon_http_request_duration_seconds_count{%s}[%%[1]s]))`, o.selector, le, o.selector),
			fmt.Sprintf("requests to %s take longer than %s", on, s))
	}
	if s := e.string("freshness"); s != "" {
		alerts = append(alerts, o.alert("Freshness", "ticket",
			fmt.Sprintf(`time() - max(tenon_model_created_timestamp_seconds{%s}) > %s`, o.service, formatSeconds(duration(s))), "5m",
			fmt.Sprintf("the model behind %s is older than %s", on, s)))
	}
	quality, _ := e.fields.get("quality").(object)
	for _, f := range quality {
		bounds, _ := f.value.(object)
		for _, b := range []struct{ name, op, words string }{{"min", "<", "below"}, {"max", ">", "above"}} {
			if n, ok := bounds.get(b.name).(json.Number); ok {
				a := o.alert("Quality", "ticket",
					fmt.Sprintf(`max(tenon_model_evaluation{%s,metric=%q}) %s %s`, o.service, f.name, b.op, n), "5m",
					fmt.Sprintf("%s of the model behind %s is %s %s", f.name, on, b.words, n))
				a.Labels["metric"], a.Labels["bound"] = f.name, b.name
				alerts = append(alerts, a)
			}
		}
	}
	file := ruleFile{}
	for _, g := range []ruleGroup{{system + "-" + e.name + "-ratios", records}, {system + "-" + e.name + "-alerts", alerts}} {
		if len(g.Rules) > 0 {
			file.Groups = append(file.Groups, g)
		}
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(file); err != nil {
		return "", err
	}
	return b.String(), enc.Close()
}

// objectives are what the rules of one entity share.
type objectives struct {
	entity     *entity
	deployment string
	service    string // selects what the service exports
	selector   string // selects its predictions
	own        string // selects what this objective records
	prefix     string
	window     time.Duration
	labels     map[string]string
}

// budget makes the recorded error ratios of one objective and the alerts on
// how fast they use up its error budget, 1 - target. ratio holds %[1]s where
// the window goes.
func (o objectives) budget(records, alerts *[]rule, name, title string, target json.Number, ratio, summary string) {
	record := func(window string) string { return fmt.Sprintf("%s:%s:errors_%s", o.prefix, name, window) }
	for _, w := range burnWindows {
		*records = append(*records, rule{Record: record(w), Expr: fmt.Sprintf(ratio, w), Labels: o.labels})
	}
	for _, b := range burnRates {
		rate := b.budget * o.window.Hours() / b.hours
		if goal, err := target.Float64(); err != nil || rate*(1-goal) >= 1 {
			continue // more than every request would have to fail
		}
		condition := func(w string) string {
			return fmt.Sprintf("%s%s > %s * (1 - %s)", record(w), o.own, strconv.FormatFloat(rate, 'g', 4, 64), target)
		}
		a := o.alert(title+"Burn", b.severity, condition(b.long)+" and "+condition(b.short), "",
			fmt.Sprintf("%s: %s%% of the error budget of %s is used up in %s", summary, strconv.FormatFloat(b.budget*100, 'g', -1, 64), o.entity.string("window"), b.long))
		a.Labels["window"] = b.long
		*alerts = append(*alerts, a)
	}
}

func (o objectives) alert(name, severity, expr, wait, summary string) rule {
	labels := map[string]string{"severity": severity}
	for k, v := range o.labels {
		labels[k] = v
	}
	return rule{
		Alert: "Tenon" + name, Expr: expr, For: wait, Labels: labels,
		Annotations: map[string]string{"summary": summary, "description": fmt.Sprintf("Declared as %s.", o.entity)},
	}
}

// metricName turns a name into what Prometheus allows in the name of a metric.
func metricName(s string) string {
	b := []byte(s)
	for i, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			b[i] = '_'
		}
	}
	return string(b)
}

func formatSeconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}
