package aws

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// metrics are those of CloudWatch for what answers.
type metrics struct {
	namespace                string
	requests, errors, waited string
	unit                     time.Duration // of waited
	dimensions               []terraform.Field
}

func (w *writer) metrics(u *ir.Unit) metrics {
	if w.place(u) == onLambda { // those of its URL
		return metrics{"AWS/Lambda", "UrlRequestCount", "Url5xxCount", "UrlRequestLatency", time.Millisecond,
			[]terraform.Field{{Key: "FunctionName", Value: terraform.Text(w.function(u))}}}
	}
	if w.place(u) == onFargate {
		return metrics{"AWS/ApplicationELB", "RequestCount", "HTTPCode_Target_5XX_Count", "TargetResponseTime", time.Second, []terraform.Field{
			{Key: "LoadBalancer", Value: reference("aws_lb", "main", "arn_suffix")}, {Key: "TargetGroup", Value: reference("aws_lb_target_group", label(u.ID), "arn_suffix")}}}
	}
	return metrics{"AWS/SageMaker", "Invocations", "Invocation5XXErrors", "ModelLatency", time.Microsecond,
		[]terraform.Field{{Key: "EndpointName", Value: terraform.Text(w.endpoint(u))}, {Key: "VariantName", Value: terraform.Text(clouds.MainVariant)}}}
}

// alarms writes alarms for the objectives of deployments.
func (w *writer) alarms() {
	f := w.file("alarms.tf")
	clouds.EachObjective(w.sys, func(slo, on *ir.Unit, o objectives) { w.objectives(f, slo, on, o) })
	if !f.Empty() || w.sys.Budget.Month != nil {
		w.topic(w.file("alarms.tf"))
	}
}

func (w *writer) objectives(f *terraform.File, slo, on *ir.Unit, o objectives) {
	m := w.metrics(on)
	alarm := func(name, description string) *terraform.Body {
		b := f.Resource("aws_cloudwatch_metric_alarm", label(slo.ID)+"-"+name)
		b.Set("alarm_name", terraform.Text(fit(w.prefix+"-"+label(slo.ID)+"-"+name, mostAlarm)))
		b.Set("alarm_description", terraform.Text(description))
		b.Set("comparison_operator", terraform.Text("GreaterThanThreshold"))
		b.Set("treat_missing_data", terraform.Text("notBreaching"))
		b.Set("alarm_actions", terraform.List(w.topicARN()))
		b.Set("ok_actions", terraform.List(w.topicARN()))
		tagged(b, slo)
		return b
	}
	if o.Availability != "" && w.place(on) == onFargate {
		w.outage(alarm("outage", fmt.Sprintf("no container of %s has been healthy for %d minutes", on.ID, outageMinutes)), m)
	}
	for _, r := range o.Burns(on) {
		b := alarm(r.Name, r.Description)
		b.Set("threshold", terraform.Number(r.Share))
		b.Set("evaluation_periods", terraform.Int(1))
		for _, q := range []struct{ id, metric string }{{"requests", m.requests}, {"errors", m.errors}} {
			query := b.Block("metric_query")
			query.Set("id", terraform.Text(q.id))
			x := query.Block("metric")
			x.Set("namespace", terraform.Text(m.namespace))
			x.Set("metric_name", terraform.Text(q.metric))
			x.Set("period", terraform.Int(int64(r.Window.Seconds())))
			x.Set("stat", terraform.Text("Sum"))
			x.Set("dimensions", terraform.Object(m.dimensions...))
		}
		query := b.Block("metric_query")
		query.Set("id", terraform.Text("ratio"))
		query.Set("label", terraform.Text("share of requests that fail"))
		query.Set("expression", terraform.Text("IF(requests > 0, FILL(errors, 0) / requests, 0)"))
		query.Set("return_data", terraform.Bool(true))
	}
	for _, x := range o.Slow(on) {
		b := alarm(x.Name, x.Description)
		b.Set("namespace", terraform.Text(m.namespace))
		b.Set("metric_name", terraform.Text(m.waited))
		b.Set("dimensions", terraform.Object(m.dimensions...))
		b.Set("extended_statistic", terraform.Text(x.Quantile))
		b.Set("period", terraform.Int(300))
		b.Set("evaluation_periods", terraform.Int(3))
		b.Set("threshold", terraform.Number(number(float64(x.Limit)/float64(m.unit))))
	}
}

// outageMinutes is how long no container answers before there is an alarm. A first version may take as long to start.
const outageMinutes = 5

// outage completes the alarm for containers of which none is healthy. The load balancer answers instead of them, and counts
// no request of their group, so that the share of requests that fail does not show it. It reports nothing of a group without containers.
func (w *writer) outage(b *terraform.Body, m metrics) {
	b.Set("comparison_operator", terraform.Text("LessThanThreshold"))
	b.Set("treat_missing_data", terraform.Text("breaching"))
	b.Set("namespace", terraform.Text(m.namespace))
	b.Set("metric_name", terraform.Text("HealthyHostCount"))
	b.Set("dimensions", terraform.Object(m.dimensions...))
	b.Set("statistic", terraform.Text("Maximum")) // of the zones
	b.Set("period", terraform.Int(60))
	b.Set("evaluation_periods", terraform.Int(outageMinutes))
	b.Set("threshold", terraform.Int(1))
}

// topicARN returns where alarms and the budget go.
func (w *writer) topicARN() terraform.Expr {
	if w.Existing.Topic != "" {
		return terraform.Text(w.Existing.Topic)
	}
	return reference("aws_sns_topic", "alarms", "arn")
}

// topic writes the topic, and lets only alarms and the budget of this account publish.
func (w *writer) topic(f *terraform.File) {
	if w.Existing.Topic == "" {
		f.Resource("aws_sns_topic", "alarms").Set("name", terraform.Text(w.prefix+"-alarms"))
		b := f.Resource("aws_sns_topic_policy", "alarms")
		b.Set("arn", w.topicARN())
		publish := func(id, service string) statement {
			return statement{id: id, principal: &principal{service: service}, actions: []string{"sns:Publish"}, resources: []terraform.Expr{w.topicARN()},
				conditions: []condition{{"StringEquals", "aws:SourceAccount", []terraform.Expr{terraform.Code("local.account")}}}}
		}
		b.Set("policy", policy(publish("Alarms", "cloudwatch.amazonaws.com"), publish("Budget", "budgets.amazonaws.com")))
	}
	for _, email := range slices.Compact(slices.Sorted(slices.Values(w.Emails))) {
		b := f.Resource("aws_sns_topic_subscription", "email-"+short(email))
		b.Set("topic_arn", w.topicARN())
		b.Set("protocol", terraform.Text("email"))
		b.Set("endpoint", terraform.Text(email))
	}
}

// budget writes the budget of a month, for all that has the tag of the environment.
func (w *writer) budget() error {
	month := w.sys.Budget.Month
	if month == nil {
		return nil
	}
	if w.sys.Budget.Currency != "USD" {
		return fmt.Errorf("budget.month is in %s: AWS Budgets compares with USD, so write it in USD", w.sys.Budget.Currency)
	}
	b := w.file("budget.tf").Resource("aws_budgets_budget", "month")
	b.Set("name", terraform.Text(w.prefix))
	b.Set("budget_type", terraform.Text("COST"))
	amount, _, _ := strings.Cut(month.Format("USD"), " ")
	b.Set("limit_amount", terraform.Text(amount))
	b.Set("limit_unit", terraform.Text("USD"))
	b.Set("time_unit", terraform.Text("MONTHLY"))
	filter := b.Block("cost_filter")
	filter.Set("name", terraform.Text("TagKeyValue"))
	filter.Set("values", terraform.Texts("user:tenon:environment$"+w.environment()))
	for _, n := range []struct {
		kind    string
		percent int64
	}{{"ACTUAL", 80}, {"ACTUAL", 100}, {"FORECASTED", 100}} {
		x := b.Block("notification")
		x.Set("comparison_operator", terraform.Text("GREATER_THAN"))
		x.Set("notification_type", terraform.Text(n.kind))
		x.Set("threshold", terraform.Int(n.percent))
		x.Set("threshold_type", terraform.Text("PERCENTAGE"))
		x.Set("subscriber_sns_topic_arns", terraform.List(w.topicARN()))
	}
	return nil
}
