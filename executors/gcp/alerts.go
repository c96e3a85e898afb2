package gcp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// watched reports whether there are objectives with alerts or a budget, about which somebody has to be notified.
func (w *writer) watched() bool {
	watched := w.sys.Budget.Month != nil
	cloud.EachObjective(w.sys, func(_, on *ir.Unit, _ cloud.Objectives) { watched = watched || w.place(on) != onHosted })
	return watched
}

// alerts writes alert policies for the objectives of deployments, and the channels that they notify.
func (w *writer) alerts() {
	f := w.file("alerts.tf")
	cloud.EachObjective(w.sys, func(slo, on *ir.Unit, o cloud.Objectives) { w.objectives(f, slo, on, o) })
	if !w.watched() {
		return
	}
	for _, email := range w.emails() {
		b := f.Resource("google_monitoring_notification_channel", channel(email))
		b.Set("display_name", terraform.Text(email))
		b.Set("type", terraform.Text("email"))
		b.Set("labels", terraform.Object(terraform.Field{Key: "email_address", Value: terraform.Text(email)}))
		enabled(b)
	}
}

func (w *writer) emails() []string { return slices.Compact(slices.Sorted(slices.Values(w.Emails))) }

func channel(email string) string { return "email-" + cloud.Short(email) }

// channels returns what is notified.
func (w *writer) channels() terraform.Expr {
	var all []terraform.Expr
	for _, name := range w.Existing.Channels {
		all = append(all, terraform.Text(name))
	}
	for _, email := range w.emails() {
		all = append(all, cloud.Reference("google_monitoring_notification_channel", channel(email), "id"))
	}
	return terraform.List(all...)
}

// objectives writes the policies of an objective. Their conditions are in PromQL, so that an alert on
// an error budget has a short window too: the Site Reliability Workbook, chapter 5.
func (w *writer) objectives(f *terraform.File, slo, on *ir.Unit, o cloud.Objectives) {
	policy := func(name, description, query string, wait time.Duration) {
		b := f.Resource("google_monitoring_alert_policy", cloud.Label(slo.ID)+"-"+name)
		b.Set("display_name", terraform.Text(cloud.Environment(w.sys)+": "+slo.ID+" "+name))
		b.Set("combiner", terraform.Text("OR"))
		b.Set("notification_channels", w.channels())
		b.Set("user_labels", terraform.Object(terraform.Field{Key: "tenon-unit", Value: terraform.Text(labelOf(slo.ID))}))
		c := b.Block("conditions")
		c.Set("display_name", terraform.Text(description))
		q := c.Block("condition_prometheus_query_language")
		q.Set("query", terraform.Text(query))
		q.Set("duration", terraform.Text(seconds(wait)))
		q.Set("evaluation_interval", terraform.Text("60s"))
		b.Block("documentation").Set("content", terraform.Text(description))
		enabled(b)
	}
	if w.place(on) == onHosted {
		return // see [cloud.Checks.Unwatched]
	}
	of := fmt.Sprintf("monitored_resource=%q,service_name=%q", "cloud_run_revision", w.service(on.ID))
	for _, r := range o.Burns(on) {
		fails := func(window time.Duration) string {
			const count = "sum(rate(run_googleapis_com:request_count{%s}[%s]))"
			return fmt.Sprintf(count+" / "+count+" > %s", of+`,response_code_class="5xx"`, seconds(window), of, seconds(window), r.Share)
		}
		policy(r.Name, r.Description, fails(r.Window)+" and "+fails(r.Window/12), 0)
	}
	for _, x := range o.Slow(on) {
		policy(x.Name, x.Description,
			fmt.Sprintf("histogram_quantile(%s, sum by (le) (rate(run_googleapis_com:request_latencies_bucket{%s}[5m]))) > %s",
				cloud.Number(x.Percent/100), of, cloud.Number(float64(x.Limit)/float64(time.Millisecond))), 15*time.Minute)
	}
}

// seconds writes a duration as Google Cloud does: "900s".
func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) + "s" }

// budget writes the budget of a month, for all that has the label of the environment.
func (w *writer) budget() error {
	month := w.sys.Budget.Month
	if month == nil {
		return nil
	}
	if w.Billing == "" {
		return errBilling
	}
	amount, _, _ := strings.Cut(month.Format(w.sys.Budget.Currency), " ")
	units, cents, _ := strings.Cut(amount, ".")
	nanos, err := strconv.ParseInt((cents + "000000000")[:9], 10, 64)
	if err != nil {
		return fmt.Errorf("budget.month is %s: %w", amount, err)
	}
	f := w.file("budget.tf")
	f.Block("data", "google_project", "current")
	b := f.Resource("google_billing_budget", "month")
	b.Set("billing_account", terraform.Text(w.Billing))
	b.Set("display_name", terraform.Text(cloud.Environment(w.sys)))
	filter := b.Block("budget_filter")
	filter.Set("projects", terraform.List(terraform.Join("projects/", terraform.Code("data.google_project.current.number"))))
	filter.Set("labels", terraform.Object(terraform.Field{Key: "tenon-environment", Value: terraform.Text(w.labels()["tenon-environment"])}))
	filter.Set("calendar_period", terraform.Text("MONTH"))
	a := b.Block("amount").Block("specified_amount")
	a.Set("currency_code", terraform.Text(w.sys.Budget.Currency))
	a.Set("units", terraform.Text(units))
	if nanos > 0 {
		a.Set("nanos", terraform.Int(nanos))
	}
	for _, r := range []struct{ share, basis string }{{"0.8", "CURRENT_SPEND"}, {"1.0", "CURRENT_SPEND"}, {"1.0", "FORECASTED_SPEND"}} {
		x := b.Block("threshold_rules")
		x.Set("threshold_percent", terraform.Number(r.share))
		x.Set("spend_basis", terraform.Text(r.basis))
	}
	if len(w.Existing.Channels)+len(w.Emails) > 0 {
		b.Block("all_updates_rule").Set("monitoring_notification_channels", w.channels())
	}
	enabled(b)
	return nil
}
