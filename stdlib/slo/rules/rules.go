// Package rules turns objectives into Prometheus rules: recorded error ratios and
// burn-rate alerts.
package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/compute/entity"
)

// promises are the fields of an objective.
type promises struct {
	Window       string                            `json:"window,omitempty"`
	Availability json.Number                       `json:"availability,omitempty"`
	Latency      map[string]string                 `json:"latency,omitempty"`
	Freshness    string                            `json:"freshness,omitempty"`
	Quality      map[string]map[string]json.Number `json:"quality,omitempty"`
	Parity       json.Number                       `json:"parity,omitempty"`
	Saturation   json.Number                       `json:"saturation,omitempty"`
	Labels       map[string]string                 `json:"labels,omitempty"`
}

// Params are the rule file, its name and the objectives that it follows from.
func Params(e entity.Entity) (map[string]any, error) {
	var p promises
	if err := e.Decode(&p); err != nil {
		return nil, err
	}
	content, err := ruleText(e, p)
	if err != nil {
		return nil, err
	}
	var objectives map[string]any
	d := json.NewDecoder(bytes.NewReader(e.Fields))
	d.UseNumber()
	if err := d.Decode(&objectives); err != nil {
		return nil, err
	}
	known := []string{"window", "availability", "latency", "freshness", "quality", "parity", "saturation", "labels"}
	maps.DeleteFunc(objectives, func(name string, _ any) bool { return !slices.Contains(known, name) })
	return map[string]any{"file": fileName(e), "content": content, "objectives": objectives}, nil
}

// fileName returns the name of the rule file. No entity has a dot in its name.
func fileName(e entity.Entity) string {
	if e.Env != "" {
		return e.Name + "." + e.Env + ".rules.yml"
	}
	return e.Name + ".rules.yml"
}

// ruleText writes the rule file.
func ruleText(e entity.Entity, p promises) (string, error) {
	on := e.Inputs["on"]
	onName := on.Section + "." + on.Name
	whose, group := fmt.Sprintf("system=%q", e.System), e.System
	if e.Env != "" {
		whose, group = fmt.Sprintf("%s,env=%q", whose, e.Env), group+"-"+e.Env
	}
	o := objectives{
		entity: e.Section + "." + e.Name, deployment: on.Name, windowText: p.Window,
		service:  fmt.Sprintf(`%s,deployment=%q`, whose, on.Name),
		selector: fmt.Sprintf(`%s,deployment=%q,path=~%q`, whose, on.Name, Predictions),
		own:      fmt.Sprintf(`{%s,slo=%q}`, whose, e.Name),
		prefix:   "slo:" + metricName(e.Name),
		window:   duration.Parse(p.Window),
		labels:   map[string]string{"system": e.System, "deployment": on.Name, "slo": e.Name},
	}
	if e.Env != "" {
		o.labels["env"] = e.Env
	}
	maps.Copy(o.labels, p.Labels)
	var recording, alerts []Rule
	if p.Availability != "" {
		o.budget(&recording, &alerts, "availability", "Availability", p.Availability,
			fmt.Sprintf(`sum(rate(tenon_http_requests_total{%s,code=~"5.."}[%%[1]s])) / sum(rate(tenon_http_requests_total{%s}[%%[1]s]))`, o.selector, o.selector),
			fmt.Sprintf("requests to %s fail", onName))
	}
	for _, quantile := range slices.Sorted(maps.Keys(p.Latency)) {
		threshold := p.Latency[quantile]
		seconds := duration.Parse(threshold).Seconds()
		q, err := strconv.Atoi(quantile[1:])
		if err != nil {
			return "", fmt.Errorf("quantile %q: %w", quantile, err)
		}
		le := strconv.FormatFloat(seconds, 'g', -1, 64)
		if seconds == math.Trunc(seconds) {
			le += ".0" // as the client writes the label
		}
		o.budget(&recording, &alerts, "latency_"+quantile, "Latency"+quantile, json.Number(strconv.FormatFloat(float64(q)/100, 'g', -1, 64)),
			fmt.Sprintf(`1 - sum(rate(tenon_http_request_duration_seconds_bucket{%s,le=%q}[%%[1]s])) / sum(rate(tenon_http_request_duration_seconds_count{%s}[%%[1]s]))`, o.selector, le, o.selector),
			fmt.Sprintf("requests to %s take longer than %s", onName, threshold))
	}
	if p.Freshness != "" {
		alerts = append(alerts, o.alert("Freshness", "ticket",
			fmt.Sprintf(`time() - max(tenon_model_created_timestamp_seconds{%s}) > %s`, o.service, formatSeconds(duration.Parse(p.Freshness))), "5m",
			fmt.Sprintf("the model behind %s is older than %s", onName, p.Freshness)))
	}
	for _, metric := range slices.Sorted(maps.Keys(p.Quality)) {
		for _, b := range []struct{ name, op, words string }{{"min", "<", "below"}, {"max", ">", "above"}} {
			if n, ok := p.Quality[metric][b.name]; ok {
				a := o.alert("Quality", "ticket",
					fmt.Sprintf(`max(tenon_model_evaluation{%s,metric=%q}) %s %s`, o.service, metric, b.op, n), "5m",
					fmt.Sprintf("%s of the model behind %s is %s %s", metric, onName, b.words, n))
				a.Labels["metric"], a.Labels["bound"] = metric, b.name
				alerts = append(alerts, a)
			}
		}
	}
	if p.Saturation != "" {
		most, err := p.Saturation.Float64()
		if err != nil {
			return "", fmt.Errorf("saturation: %w", err)
		}
		o.budget(&recording, &alerts, "saturation", "Saturation", json.Number(strconv.FormatFloat(1-most, 'g', 15, 64)),
			fmt.Sprintf(`sum(rate(tenon_http_requests_total{%s,code="429"}[%%[1]s])) / sum(rate(tenon_http_requests_total{%s}[%%[1]s]))`, o.selector, o.selector),
			fmt.Sprintf("requests to %s are refused", onName))
	}
	if p.Parity != "" {
		alerts = append(alerts, o.parity(p.Parity, onName)...)
	}
	file := File{}
	for _, g := range []Group{{group + "-" + e.Name + "-ratios", recording}, {group + "-" + e.Name + "-alerts", alerts}} {
		if len(g.Rules) > 0 {
			file.Groups = append(file.Groups, g)
		}
	}
	return file.Text()
}

// objectives are what the rules of one entity share.
type objectives struct {
	entity     string // "slos.api"
	deployment string
	service    string // selects what the service exports
	selector   string // selects its predictions
	own        string // selects what this objective records
	prefix     string
	window     time.Duration
	windowText string
	labels     map[string]string
}

// budget makes the recorded error ratios of one objective and the alerts on
// how fast they use up its error budget, 1 - target. ratio holds %[1]s where
// the window goes.
func (o objectives) budget(recording, alerts *[]Rule, name, title string, target json.Number, ratio, summary string) {
	nameOf := func(window string) string { return fmt.Sprintf("%s:%s:errors_%s", o.prefix, name, window) }
	for _, w := range burnWindows {
		*recording = append(*recording, Rule{Record: nameOf(w), Expr: fmt.Sprintf(ratio, w), Labels: o.labels})
	}
	for _, b := range Burns(o.window) {
		if goal, err := target.Float64(); err != nil || b.Rate*(1-goal) >= 1 {
			continue // more than every request would have to fail
		}
		condition := func(w string) string {
			return fmt.Sprintf("%s%s > %s * (1 - %s)", nameOf(w), o.own, strconv.FormatFloat(b.Rate, 'g', 4, 64), target)
		}
		a := o.alert(title+"Burn", b.Severity, condition(b.Long)+" and "+condition(b.Short), "",
			fmt.Sprintf("%s: %s%% of the error budget of %s is used up in %s", summary, strconv.FormatFloat(b.Budget*100, 'g', -1, 64), o.windowText, b.Long))
		a.Labels["window"] = b.Long
		*alerts = append(*alerts, a)
	}
}

// parity alerts if requests differ from training, and if they are not checked any more.
func (o objectives) parity(most json.Number, on string) []Rule {
	increase := func(metric string) string { return fmt.Sprintf("sum(increase(%s{%s}[1h]))", metric, o.service) }
	return []Rule{
		o.alert("Parity", "page", increase("tenon_parity_different_total")+" / "+increase("tenon_parity_checked_total")+" > "+most.String(), "",
			fmt.Sprintf("requests to %s are computed otherwise than in training", on)),
		o.alert("ParityUnchecked", "ticket", increase("tenon_parity_failed_total")+" > 0 unless "+increase("tenon_parity_checked_total")+" > 0", "1h",
			fmt.Sprintf("requests to %s are not compared with training: the checks fail", on)),
	}
}

func (o objectives) alert(name, severity, expr, wait, summary string) Rule {
	labels := map[string]string{"severity": severity}
	for k, v := range o.labels {
		labels[k] = v
	}
	return Rule{
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
