package aws

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/tenon-ml/tenon/compiler/ir"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// principals are the services that assume the role of a unit.
var principals = map[place]string{
	onBatch:     "ecs-tasks.amazonaws.com",
	onFargate:   "ecs-tasks.amazonaws.com",
	onSchedule:  "ecs-tasks.amazonaws.com",
	onTraining:  "sagemaker.amazonaws.com",
	onSageMaker: "sagemaker.amazonaws.com",
	onLambda:    "lambda.amazonaws.com",
	onCluster:   "pods.eks.amazonaws.com",
}

// mostPolicy is the number of characters that AWS allows in the policies within a role.
const mostPolicy = 10_240

// roles writes a role for each unit, with the rights of [accessOf] and no others. What a task of Amazon ECS needs before its
// program runs is allowed to another role, which the program does not have.
func (w *writer) roles() error {
	f := w.file("roles.tf")
	for _, u := range w.units {
		program, start := w.program(u), w.start(u)
		if !onECS(w.place(u)) {
			if err := w.unitRole(f, u, w.placed(u), "What "+u.ID+" of "+w.sys.Name+" may do.", append(program, start...)); err != nil {
				return err
			}
			continue
		}
		if err := w.unitRole(f, u, w.placed(u), "What the program of "+u.ID+" of "+w.sys.Name+" may do.", program); err != nil {
			return err
		}
		if err := w.unitRole(f, u, execution(u.ID), "What starts "+u.ID+" of "+w.sys.Name+".", start); err != nil {
			return err
		}
	}
	return nil
}

// onECS reports whether a place runs tasks of Amazon ECS, which have two roles.
func onECS(p place) bool { return p == onBatch || p == onFargate || p == onSchedule }

// unitRole writes one role of a unit.
func (w *writer) unitRole(f *terraform.File, u *ir.Unit, name, description string, allowed statements) error {
	trust := statement{id: "Assume", principal: &principal{service: principals[w.place(u)]}, actions: []string{"sts:AssumeRole"}}
	switch w.place(u) {
	case onCluster:
		trust.actions, trust.conditions = append(trust.actions, "sts:TagSession"), w.ofPod(u)
	case onLambda: // its requests to assume a role have no source
	default:
		trust.conditions = []condition{{"StringEquals", "aws:SourceAccount", []terraform.Expr{terraform.Code("local.account")}}}
	}
	b := f.Resource("aws_iam_role", name)
	b.Set("name", terraform.Text(w.roleName(name)))
	b.Set("description", terraform.Text(description))
	b.Set("assume_role_policy", policy(trust))
	tagged(b, u)
	if n := characters(allowed); n > mostPolicy {
		if w.place(u) == onSchedule {
			return fmt.Errorf("the policy of the controller would have %d characters, and AWS allows %d: the system has %d units, and a pass needs rights for each: "+
				"remove controller from the target, and run `tenon run` on a machine", n, mostPolicy, len(w.units)-1)
		}
		return fmt.Errorf("the policy of %s would have %d characters, and AWS allows %d: it has %d inputs and outputs; put a step in between that joins some of them", u.ID, n, mostPolicy, len(u.Inputs)+len(u.Outputs))
	}
	b = f.Resource("aws_iam_role_policy", name)
	b.Set("name", terraform.Text("unit"))
	b.Set("role", reference("aws_iam_role", name, "id"))
	b.Set("policy", policy(allowed...))
	return nil
}

// placed returns what the role and the log group of a unit are called among the resources. A service that moves to another
// place has others there, so that those before stay as they are until it has moved.
func (w *writer) placed(u *ir.Unit) string { return placedAt(w.place(u), u.ID) }

func placedAt(p place, unit string) string {
	return map[place]string{onFargate: "task-", onSageMaker: "endpoint-"}[p] + label(unit)
}

// execution is [writer.placed] for the role with which Amazon ECS starts the tasks of a unit.
func execution(unit string) string { return "execution-" + label(unit) }

// roleName returns the name of a role by what it is called among the resources.
func (w *writer) roleName(name string) string { return fit(w.prefix+"-"+name, mostRole) }

// statements are what a role allows.
type statements []statement

// add allows actions on resources, if there are any.
func (s *statements) add(id string, resources []terraform.Expr, actions ...string) {
	if len(resources) > 0 {
		*s = append(*s, statement{id: id, actions: actions, resources: resources})
	}
}

// start returns what a unit needs before its program runs: its secrets, its log and its image.
func (w *writer) start(u *ir.Unit) (all statements) {
	if w.place(u) == onCluster {
		return nil // other roles allow it
	}
	var kept, parameters []terraform.Expr
	for _, variable := range w.access(u).Secrets {
		if strings.Contains(w.Existing.Secrets[variable], ":ssm:") {
			parameters = append(parameters, w.secret(variable))
		} else {
			kept = append(kept, w.secret(variable))
		}
	}
	all.add("Secrets", kept, "secretsmanager:GetSecretValue")
	all.add("Parameters", parameters, "ssm:GetParameters")
	if w.place(u) == onTraining {
		const group = "log-group:/aws/sagemaker/TrainingJobs"
		// AWS compares the name of a group with ":*" behind it.
		all.add("LogGroup", []terraform.Expr{arn("logs", group+":*")}, "logs:CreateLogGroup", "logs:DescribeLogStreams")
		all.add("Log", []terraform.Expr{arn("logs", group+":log-stream:"+w.training(u)+"*")}, "logs:CreateLogStream", "logs:PutLogEvents")
	} else {
		writes := []string{"logs:CreateLogStream", "logs:PutLogEvents"}
		if w.place(u) == onSageMaker { // as "CreateModel API: Execution Role Permissions" of its developer guide says
			writes = append(writes, "logs:DescribeLogStreams")
		}
		all.add("Log", []terraform.Expr{terraform.Join(reference("aws_cloudwatch_log_group", w.placed(u), "arn"), ":*")}, writes...)
	}
	if w.place(u) != onLambda {
		all.add("Image", []terraform.Expr{terraform.Code("local.repository_arn")}, "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
		all = append(all, statement{id: "Registry", actions: []string{"ecr:GetAuthorizationToken"}, resources: []terraform.Expr{terraform.Text("*")},
			comment: "AWS has no resource for this action. The token alone opens no repository."})
	}
	return all
}

// program returns what the program of a unit does.
func (w *writer) program(u *ir.Unit) (all statements) {
	switch w.place(u) {
	case onCluster:
		return w.inCluster(u)
	case onSchedule:
		return w.controls(u)
	}
	a := w.access(u)
	all.add("Read", under("local.root_arn", a.Reads), "s3:GetObject")
	if len(a.Reads) > 0 {
		all = append(all, statement{id: "List", actions: []string{"s3:ListBucket"}, resources: []terraform.Expr{terraform.Code("local.bucket_arn")},
			conditions: []condition{{"StringLike", "s3:prefix", under("local.root", a.Reads)}}})
	}
	all.add("Write", under("local.root_arn", a.Writes), "s3:PutObject", "s3:AbortMultipartUpload")
	all.add("Remove", under("local.root_arn", a.Removes), "s3:DeleteObject")
	var functions, endpoints []terraform.Expr
	for _, id := range a.Asks {
		asked := w.sys.Unit(id)
		if asked == nil {
			continue
		}
		switch w.place(asked) {
		case onLambda:
			functions = append(functions, arn("lambda", "function:"+w.function(asked)+":"+live))
		case onSageMaker:
			endpoints = append(endpoints, arn("sagemaker", "endpoint/"+w.endpoint(asked)))
		default: // the load balancer in front of containers asks for no right
		}
	}
	if len(functions) > 0 { // since October 2025, AWS wants both rights for a URL
		all = append(all,
			statement{id: "InvokeFunctionUrls", actions: []string{"lambda:InvokeFunctionUrl"}, resources: functions,
				conditions: []condition{{"StringEquals", "lambda:FunctionUrlAuthType", []terraform.Expr{terraform.Text(string(types.FunctionUrlAuthTypeAwsIam))}}}},
			statement{id: "InvokeFunctionsByUrl", actions: []string{"lambda:InvokeFunction"}, resources: functions,
				conditions: []condition{{"Bool", "lambda:InvokedViaFunctionUrl", []terraform.Expr{terraform.Text("true")}}}})
	}
	all.add("InvokeEndpoints", endpoints, "sagemaker:InvokeEndpoint")
	return all
}

// access returns what a unit may do. The container of an endpoint fetches what it answers with, as
// a job does, and leaves nothing.
func (w *writer) access(u *ir.Unit) clouds.Access {
	switch w.place(u) {
	case onFargate:
		return clouds.AccessOfService(u)
	case onSchedule:
		return clouds.Access{Secrets: accessOf(u).Secrets}
	case onSageMaker:
	default:
		return accessOf(u)
	}
	fetches := *u
	fetches.Kind = ir.Job
	a := accessOf(&fetches)
	return clouds.Access{Reads: a.Reads}
}

// under returns all that begins with prefixes below a local value.
func under(root string, prefixes []string) []terraform.Expr {
	all := make([]terraform.Expr, len(prefixes))
	for i, p := range prefixes {
		all[i] = terraform.Join(terraform.Code(root), "/"+p+"*")
	}
	return all
}

// characters returns at most how many characters a policy has, without white space.
func characters(all []statement) (n int) {
	const syntax = 120
	longest := func(name string) int {
		switch {
		case name == "local.partition", name == "var.region", name == "local.account":
			return 16
		case strings.HasPrefix(name, "aws_iam_role."):
			return 45 + mostRole // arn:aws-us-gov:iam::123456789012:role/NAME
		}
		return 160
	}
	for _, s := range all {
		n += syntax + len(s.id)
		for _, a := range s.actions {
			n += len(a) + 3
		}
		for _, x := range s.resources {
			n += x.Len(longest) + 3
		}
		for _, c := range s.conditions {
			for _, x := range c.values {
				n += x.Len(longest) + 3
			}
		}
	}
	return n
}

// training returns how the names of a unit's training jobs begin. It has a fixed length, so
// that the streams of one unit never begin as those of another.
func (w *writer) training(u *ir.Unit) string { return "t" + short(w.prefix+" "+u.ID) + "-" }
