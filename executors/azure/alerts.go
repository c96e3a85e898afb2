package azure

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// requestLog is the category of logs, and the table, with a line for each request that the ingress of an environment has
// answered. Source: "Monitor logs in Azure Container Apps with Log Analytics", HTTP logs.
const requestLog = "ContainerAppHTTPLogs"

// watched reports whether there are objectives with alerts.
func (w *writer) watched() (watched bool) {
	cloud.EachObjective(w.sys, func(_, on *ir.Unit, o cloud.Objectives) {
		watched = watched || w.place(on) == onService && len(o.Burns(on))+len(o.Slow(on)) > 0
	})
	return watched
}

// alerts writes alert rules for the objectives of deployments, the log that they query, and the group that they notify. They
// query a log because metrics of Container Apps have neither quantiles nor shares.
func (w *writer) alerts() {
	if !w.watched() {
		return
	}
	f := w.file("alerts.tf")
	b := f.Resource("azurerm_monitor_diagnostic_setting", "requests")
	b.Set("name", terraform.Text("requests"))
	b.Set("target_resource_id", cloud.Reference("azurerm_container_app_environment", "open", "id"))
	b.Set("log_analytics_workspace_id", cloud.Reference("azurerm_log_analytics_workspace", "log", "id"))
	b.Block("enabled_log").Set("category", terraform.Text(requestLog))
	if w.Existing.ActionGroup == "" && len(w.emails()) > 0 {
		b := f.Resource("azurerm_monitor_action_group", "alerts")
		b.Set("name", terraform.Text(w.prefix))
		b.Set("resource_group_name", terraform.Code("local.group"))
		b.Set("short_name", terraform.Text("tenon"))
		for _, email := range w.emails() {
			r := b.Block("email_receiver")
			r.Set("name", terraform.Text("email-"+cloud.Short(email)))
			r.Set("email_address", terraform.Text(email))
			r.Set("use_common_alert_schema", terraform.Bool(true))
		}
		tagged(b, nil)
	}
	cloud.EachObjective(w.sys, func(slo, on *ir.Unit, o cloud.Objectives) { w.objectives(f, slo, on, o) })
}

// late is how long a line of a log may take to arrive: a window has to be longer to have some.
const late = 15 * time.Minute

// objectives writes the rules of an objective. A query returns a row if the alert is on. That on an error budget has a
// short window too: the Site Reliability Workbook, chapter 5.
func (w *writer) objectives(f *terraform.File, slo, on *ir.Unit, o cloud.Objectives) {
	if w.place(on) != onService {
		return
	}
	of := requestLog + "\n| where ContainerAppName == '" + w.service(on.ID) + "'\n"
	rule := func(name, description string, window time.Duration, query string) {
		b := f.Resource("azurerm_monitor_scheduled_query_rules_alert_v2", cloud.Label(slo.ID)+"-"+name)
		b.Set("name", terraform.Text(cloud.Fit(w.prefix+"-"+cloud.Label(slo.ID)+"-"+name, mostRule)))
		b.Set("description", terraform.Text(description))
		placed(b, slo)
		b.Set("scopes", terraform.List(cloud.Reference("azurerm_log_analytics_workspace", "log", "id")))
		b.Set("severity", terraform.Int(2)) // a warning
		b.Set("window_duration", terraform.Text(period(window)))
		b.Set("evaluation_frequency", terraform.Text(period(5*time.Minute)))
		b.Set("auto_mitigation_enabled", terraform.Bool(true))
		b.Comment("The table does not exist before the first request.")
		b.Set("skip_query_validation", terraform.Bool(true))
		c := b.Block("criteria")
		c.Set("query", terraform.Text(of+query))
		c.Set("time_aggregation_method", terraform.Text("Count"))
		c.Set("operator", terraform.Text("GreaterThan"))
		c.Set("threshold", terraform.Int(0))
		p := c.Block("failing_periods")
		p.Set("number_of_evaluation_periods", terraform.Int(1))
		p.Set("minimum_failing_periods_to_trigger_alert", terraform.Int(1))
		if g := w.actionGroup(); g != nil {
			b.Block("action").Set("action_groups", terraform.List(*g))
		}
		b.Set("depends_on", terraform.List(terraform.Code("azurerm_monitor_diagnostic_setting.requests")))
	}
	for _, r := range o.Burns(on) {
		recent := "TimeGenerated > ago(" + strconv.Itoa(int(max(r.Window/12, late).Minutes())) + "m)"
		rule(r.Name, r.Description, r.Window, strings.Join([]string{
			"| extend failed = StatusCode >= 500, recent = " + recent,
			"| summarize requests = count(), failures = countif(failed), lately = countif(recent), failures_lately = countif(failed and recent)",
			fmt.Sprintf("| where failures > %s * requests and failures_lately > %[1]s * lately", r.Share),
		}, "\n"))
	}
	for _, x := range o.Slow(on) {
		rule(x.Name, x.Description, late, fmt.Sprintf("| summarize took = percentile(RequestDuration, %s)\n| where took > %s",
			cloud.Number(x.Percent), cloud.Number(float64(x.Limit)/float64(time.Millisecond))))
	}
}

// actionGroup returns the resource id of what alerts notify, or nil if there is none.
func (w *writer) actionGroup() *terraform.Expr {
	var g terraform.Expr
	switch {
	case w.Existing.ActionGroup != "":
		g = terraform.Text(w.Existing.ActionGroup)
	case len(w.emails()) > 0:
		g = cloud.Reference("azurerm_monitor_action_group", "alerts", "id")
	default:
		return nil
	}
	return &g
}

// period writes a duration of whole minutes as ISO 8601 does, and as rules have it: a day is P1D.
func period(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("P%dD", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("PT%dH", d/time.Hour)
	}
	return fmt.Sprintf("PT%dM", d/time.Minute)
}
