package aws

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// A Controller is the controller of a system where no machine stays up: EventBridge starts a job of AWS Batch for each of its
// passes, which is what `tenon run --once` does.
type Controller struct {
	Every string `json:"every"` // whole minutes or hours: "15m"
}

// controllerUnit is the id of the unit that stands for the controller in the infrastructure. Those of a system have a slash.
const controllerUnit = "controller"

// stateVariable is the variable, and the secret, with the URL of the state.
const stateVariable = "TENON_STATE"

// What a pass may use: DuckDB measures in it.
const (
	passCPU    = 1000 // thousandths of a core
	passMemory = 4 << 30
)

// passTime is when AWS ends a pass that hangs. The next one continues what it did.
const passTime = 24 * time.Hour

// units returns the unit that stands for the controller, or none. It has the secrets of all units, because it starts them.
func (c *Controller) units(sys *ir.System) []*ir.Unit {
	if c == nil {
		return nil
	}
	u := &ir.Unit{ID: controllerUnit, Kind: ir.Job, Network: ir.NetworkOpen, Timeout: passTime, Needs: ir.Resources{MilliCPU: passCPU, Memory: passMemory}}
	for _, variable := range append(clouds.SecretVariables(sys), stateVariable) {
		u.Secrets = append(u.Secrets, ir.Secret{Name: variable, Env: variable})
	}
	return []*ir.Unit{u}
}

// expression returns the rate of the schedule, as EventBridge spells it: "rate(15 minutes)".
func (c *Controller) expression() (string, error) {
	d, err := time.ParseDuration(c.Every)
	if err != nil || d < time.Minute || d%time.Minute != 0 {
		return "", fmt.Errorf("controller: every of the target is %q, and EventBridge takes whole minutes: write \"15m\"", c.Every)
	}
	n, unit := int64(d/time.Minute), "minute"
	if d%time.Hour == 0 {
		n, unit = int64(d/time.Hour), "hour"
	}
	if n != 1 {
		unit += "s"
	}
	return "rate(" + strconv.FormatInt(n, 10) + " " + unit + ")", nil
}

// passName is the name of the job definition and of the jobs of passes, and that of the rule which starts them.
func (w *writer) passName() string { return fit(w.prefix+"-"+controllerUnit, mostRule) }

// schedule writes the rule that starts a pass, and its role. The job definition is none of the infrastructure: `tenon run --detach`
// registers it. Until then, and after `tenon run --stop`, the rule starts nothing.
func (w *writer) schedule() error {
	rate, err := w.Controller.expression()
	if err != nil {
		return err
	}
	name := w.passName()
	f := w.file("schedule.tf")
	b := f.Resource("aws_iam_role", "schedule")
	b.Set("name", terraform.Text(fit(w.prefix+"-schedule", mostRole)))
	b.Set("description", terraform.Text("Starts passes of the controller of "+w.sys.Name+"."))
	b.Set("assume_role_policy", policy(statement{id: "Assume", principal: &principal{service: "events.amazonaws.com"}, actions: []string{"sts:AssumeRole"},
		conditions: []condition{{"StringEquals", "aws:SourceAccount", []terraform.Expr{terraform.Code("local.account")}}}}))
	b = f.Resource("aws_iam_role_policy", "schedule")
	b.Set("name", terraform.Text("schedule"))
	b.Set("role", reference("aws_iam_role", "schedule", "id"))
	b.Set("policy", policy(statement{id: "Submit", actions: []string{"batch:SubmitJob"}, resources: []terraform.Expr{
		arn("batch", "job-definition/"+name), arn("batch", "job-definition/"+name+":*"), reference("aws_batch_job_queue", openLane.name, "arn"),
	}}))
	b = f.Resource("aws_cloudwatch_event_rule", controllerUnit)
	b.Set("name", terraform.Text(name))
	b.Set("description", terraform.Text("Starts a pass of the controller of "+w.sys.Name+"."))
	b.Set("schedule_expression", terraform.Text(rate))
	b = f.Resource("aws_cloudwatch_event_target", controllerUnit)
	b.Set("rule", reference("aws_cloudwatch_event_rule", controllerUnit, "name"))
	b.Set("target_id", terraform.Text(controllerUnit))
	b.Set("arn", reference("aws_batch_job_queue", openLane.name, "arn"))
	b.Set("role_arn", reference("aws_iam_role", "schedule", "arn"))
	t := b.Block("batch_target")
	t.Set("job_definition", terraform.Text(name))
	t.Set("job_name", terraform.Text(name))
	r := b.Block("retry_policy")
	r.Comment("A pass that could not start is as good as the next one.")
	r.Set("maximum_event_age_in_seconds", terraform.Int(60))
	r.Set("maximum_retry_attempts", terraform.Int(0))
	return nil
}

// Rights of a controller, by service. They are those that docs/aws.md lists for whoever runs tenon apply.
var (
	// batchStarts and batchEnds are about what has the tags of the system.
	batchStarts = []string{"batch:RegisterJobDefinition", "batch:SubmitJob", "batch:TagResource"}
	batchEnds   = []string{"batch:DeregisterJobDefinition", "batch:TerminateJob"}
	// looks are rights for which AWS knows no resources, or which find what a name begins with.
	looks = []string{
		"batch:DescribeComputeEnvironments", "batch:DescribeJobDefinitions", "batch:DescribeJobQueues", "batch:DescribeJobs", "batch:ListJobs",
		"ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitionFamilies", "lambda:ListFunctions", "sagemaker:ListEndpointConfigs", "sagemaker:ListModels", "sagemaker:ListTags", "sagemaker:ListTrainingJobs", "servicequotas:ListServiceQuotas",
	}
	trainingRights = []string{
		"sagemaker:AddTags", "sagemaker:CreateTrainingJob", "sagemaker:DeleteTrainingJob", "sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob",
	}
	functionRights = []string{
		"lambda:CreateAlias", "lambda:CreateFunction", "lambda:CreateFunctionUrlConfig", "lambda:DeleteFunction", "lambda:DeleteFunctionConcurrency", "lambda:DeleteFunctionUrlConfig", "lambda:GetAlias",
		"lambda:GetFunction", "lambda:GetFunctionConcurrency", "lambda:GetFunctionConfiguration", "lambda:GetFunctionUrlConfig", "lambda:InvokeFunction", "lambda:ListTags",
		"lambda:ListVersionsByFunction", "lambda:PublishVersion", "lambda:PutFunctionConcurrency", "lambda:TagResource", "lambda:UpdateAlias", "lambda:UpdateFunctionCode",
		"lambda:UpdateFunctionConfiguration",
	}
	logReads = []string{"logs:DescribeLogStreams", "logs:FilterLogEvents", "logs:GetLogEvents"}
)

// controls returns what the role of the controller allows: what an apply of jobs and functions of this system needs.
func (w *writer) controls(u *ir.Unit) []statement {
	add := func(all []statement, id string, resources []terraform.Expr, actions []string, when ...condition) []statement {
		if len(resources) == 0 {
			return all
		}
		return append(all, statement{id: id, actions: actions, resources: resources, conditions: when})
	}
	every := []string{""}
	all := []statement{
		{id: "Artifacts", actions: []string{"s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"}, resources: under("local.root_arn", every)},
		{id: "List", actions: []string{"s3:ListBucket"}, resources: []terraform.Expr{terraform.Code("local.bucket_arn")},
			conditions: []condition{{"StringLike", "s3:prefix", under("local.root", every)}}},
	}
	var kept []terraform.Expr
	for _, x := range w.access(u).Secrets {
		if x != stateVariable && w.Existing.Secrets[x] == "" { // a pass compares their values before it starts a unit
			kept = append(kept, w.secret(x))
		}
	}
	all = add(all, "Secrets", kept, []string{"secretsmanager:GetSecretValue"})
	definitions, jobs := arn("batch", "job-definition/tenon-*"), arn("batch", "job/*")
	starts := []terraform.Expr{definitions, jobs}
	for _, l := range lanesOf(w.at(onBatch)) {
		starts = append(starts, reference("aws_batch_job_queue", l.name, "arn"))
	}
	own := func(of string) condition {
		return condition{"StringEquals", "aws:" + of + "Tag/tenon:environment", []terraform.Expr{terraform.Text(w.environment())}}
	}
	if w.any(onBatch) {
		all = add(all, "Start", starts, batchStarts, own("Request"))
		all = add(all, "End", []terraform.Expr{definitions, jobs}, batchEnds, own("Resource"))
	}
	var roles, trainings, functions, groups []terraform.Expr
	var services []string // that get roles
	for _, x := range w.units {
		switch w.place(x) {
		case onSchedule:
			continue
		case onTraining:
			trainings = append(trainings, arn("sagemaker", "training-job/"+w.training(x)+"*"))
		case onLambda:
			functions = append(functions, arn("lambda", "function:"+w.function(x)), arn("lambda", "function:"+w.function(x)+":*"))
		}
		roles, services = append(roles, reference("aws_iam_role", w.placed(x), "arn")), append(services, principals[w.place(x)])
		if w.place(x) == onBatch { // which passes them on
			services = append(services, "batch.amazonaws.com")
		}
		if onECS(w.place(x)) {
			roles = append(roles, reference("aws_iam_role", execution(x.ID), "arn"))
		}
		if w.logGroup(x) != "" {
			groups = append(groups, terraform.Join(reference("aws_cloudwatch_log_group", w.placed(x), "arn"), ":*"))
		}
	}
	if len(trainings) > 0 {
		groups = append(groups, arn("logs", "log-group:"+trainingGroup+":*"))
	}
	all = add(all, "Train", trainings, trainingRights)
	all = add(all, "Serve", functions, functionRights)
	slices.Sort(services)
	passed := condition{operator: "StringEquals", key: "iam:PassedToService"}
	for _, service := range slices.Compact(services) {
		passed.values = append(passed.values, terraform.Text(service))
	}
	all = add(all, "Pass", roles, []string{"iam:PassRole"}, passed)
	all = add(all, "Logs", groups, logReads)
	return append(all, statement{id: "Look", actions: looks, resources: []terraform.Expr{terraform.Text("*")}, comment: "AWS has no resource for these actions, or tenon looks for what exists. They change nothing."})
}

// scheduled reports what a controller on a schedule has no rights for.
func (c *checks) scheduled(u ir.Unit) {
	if c.settings.Controller == nil {
		return
	}
	if p := c.settings.place(&u); p == onSageMaker || p == onFargate {
		c.Fault("endpoint", "remove controller from the target, and run `tenon run` on a machine, or write in the target: endpoints: "+entityName(&u)+": on: \"lambda\"",
			"a controller on a schedule of EventBridge makes no endpoints of SageMaker and no services on Fargate: its role has no rights for them")
	}
	if n := c.settings.Existing.Network; n != nil && len(n.OpenSubnets) == 0 {
		c.Faults = append(c.Faults, ir.Fault{Field: "controller", Target: true, Message: "a pass of the controller uses the network, but the target has no subnets for that", Hint: "add open_subnets to existing: network of the target"})
	}
}
