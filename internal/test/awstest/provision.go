package awstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// Provision makes what jobs need of the infrastructure in files of Terraform: buckets, log
// groups, secrets, queues with their compute environments, rules of EventBridge, a cluster of Amazon ECS with its load balancer, and roles. Networks
// are not made.
func (e *Emulator) Provision(ctx context.Context, files map[string][]byte) error {
	cfg, err := e.Config(ctx)
	if err != nil {
		return err
	}
	r, err := read(files)
	if err != nil {
		return err
	}
	queues, clusters, rules := []map[string]any{}, []map[string]any{}, map[string]any{}
	for _, b := range r.resources {
		switch name := func(attribute string) string { return r.text(b, attribute) }; b.Labels[0] {
		case "aws_batch_compute_environment":
			of := block(b, "compute_resources")
			most, _ := r.value(of.Body.Attributes["max_vcpus"].Expr).AsBigFloat().Int64()
			queues = append(queues, map[string]any{"name": name("name"), "max_vcpus": most}) // its queue has the same name
		case "aws_ecs_cluster":
			clusters = append(clusters, r.cluster(b))
		case "aws_cloudwatch_event_target":
			rules[name("rule")] = r.rule(b)
		case "aws_s3_bucket":
			err = errors.Join(err, makeBucket(ctx, cfg, name("bucket")))
		case "aws_cloudwatch_log_group":
			err = errors.Join(err, makeGroup(ctx, cfg, name("name")))
		case "aws_secretsmanager_secret":
			err = errors.Join(err, makeSecret(ctx, cfg, name("name")))
		}
	}
	return errors.Join(err, r.err, e.control(map[string]any{"queues": queues, "clusters": clusters, "roles": r.roles(), "rules": rules}), r.err)
}

// rule returns what the emulator has of a rule of EventBridge: its target.
func (r *reader) rule(b *hclsyntax.Block) map[string]any {
	job, role := block(b, "batch_target"), r.text(b, "role_arn")
	return map[string]any{
		"queue": r.text(b, "arn"), "definition": r.text(job, "job_definition"), "job": r.text(job, "job_name"), "role": role[strings.LastIndexByte(role, ':')+1:],
	}
}

// block returns the block of a kind in another one.
func block(b *hclsyntax.Block, kind string) *hclsyntax.Block {
	return b.Body.Blocks[slices.IndexFunc(b.Body.Blocks, func(b *hclsyntax.Block) bool { return b.Type == kind })]
}

// cluster returns what the emulator has of a cluster of Amazon ECS: its tags, the paths of target groups by ARN, and the target
// groups by host, or "" for all other hosts.
func (r *reader) cluster(b *hclsyntax.Block) map[string]any {
	tags, groups, hosts := map[string]string{}, map[string]string{}, map[string]string{}
	of, _ := b.Body.Attributes["tags"].Expr.(*hclsyntax.ObjectConsExpr)
	for _, i := range of.Items {
		name := r.value(i.KeyExpr).AsString()
		if tags[name] = "known"; strings.HasPrefix(name, "tenon:targets-") { // nothing else is looked at in the emulator
			tags[name] = r.value(i.ValueExpr).AsString()
		}
	}
	for _, x := range r.resources {
		switch x.Labels[0] {
		case "aws_lb_target_group":
			groups[r.resource(x.Labels[0], x.Labels[1]).GetAttr("arn").AsString()] = r.text(block(x, "health_check"), "path")
		case "aws_lb_listener":
			if a := block(x, "default_action"); a.Body.Attributes["target_group_arn"] != nil {
				hosts[""] = r.text(a, "target_group_arn")
			}
		case "aws_lb_listener_rule":
			host := r.value(block(block(x, "condition"), "host_header").Body.Attributes["values"].Expr).AsValueSlice()[0].AsString()
			hosts[host] = r.text(block(x, "action"), "target_group_arn")
		}
	}
	return map[string]any{"name": r.text(b, "name"), "tags": tags, "groups": groups, "hosts": hosts}
}

// Roles returns the policies of the roles in files of Terraform, in JSON, by the names of the roles.
func Roles(files map[string][]byte) (map[string]string, error) {
	r, err := read(files)
	if err != nil {
		return nil, err
	}
	all := r.roles()
	return all, r.err
}

// A reader evaluates the expressions that tenon writes.
type reader struct {
	resources []*hclsyntax.Block
	locals    map[string]hclsyntax.Expression
	err       error // the first
}

func read(files map[string][]byte) (*reader, error) {
	r := &reader{locals: map[string]hclsyntax.Expression{}}
	for name, text := range files {
		f, diags := hclsyntax.ParseConfig(text, name, hcl.InitialPos)
		if diags.HasErrors() {
			return nil, diags
		}
		body, is := f.Body.(*hclsyntax.Body)
		if !is {
			return nil, fmt.Errorf("%s has no body", name)
		}
		for _, b := range body.Blocks {
			switch b.Type {
			case "resource":
				r.resources = append(r.resources, b)
			case "locals":
				for k, a := range b.Body.Attributes {
					r.locals[k] = a.Expr
				}
			}
		}
	}
	return r, nil
}

// roles returns the policies of roles by their names.
func (r *reader) roles() map[string]string {
	names, all := map[string]string{}, map[string]string{}
	for _, b := range r.resources {
		if b.Labels[0] == "aws_iam_role" {
			names[b.Labels[1]] = r.text(b, "name")
		}
	}
	for _, b := range r.resources {
		if b.Labels[0] == "aws_iam_role_policy" {
			all[names[b.Labels[1]]] = r.text(b, "policy")
		}
	}
	return all
}

// text evaluates an attribute of a resource.
func (r *reader) text(b *hclsyntax.Block, attribute string) string {
	return r.value(b.Body.Attributes[attribute].Expr).AsString()
}

// value evaluates an expression.
func (r *reader) value(x hclsyntax.Expression) cty.Value {
	values := map[string]map[string]cty.Value{"var": {"region": cty.StringVal(Region)}}
	for _, t := range x.Variables() {
		root, name := t.RootName(), t[1].(hcl.TraverseAttr).Name //nolint:forcetypeassert // tenon writes no others
		if root == "var" {
			continue
		}
		if values[root] == nil {
			values[root] = map[string]cty.Value{}
		}
		if root == "local" {
			values[root][name] = r.local(name)
		} else if root != "data" {
			values[root][name] = r.resource(root, name)
		}
	}
	all := map[string]cty.Value{}
	for root, v := range values {
		all[root] = cty.ObjectVal(v)
	}
	v, diags := x.Value(&hcl.EvalContext{Variables: all, Functions: map[string]function.Function{"jsonencode": stdlib.JSONEncodeFunc}})
	if diags.HasErrors() {
		r.err = errors.Join(r.err, diags)
		return cty.StringVal("")
	}
	return v
}

func (r *reader) local(name string) cty.Value {
	switch name {
	case "account":
		return cty.StringVal(Account)
	case "partition":
		return cty.StringVal("aws")
	}
	return r.value(r.locals[name])
}

// resource returns what others read of a resource: its name and its ARN.
func (r *reader) resource(kind, label string) cty.Value {
	name := label
	for _, b := range r.resources {
		if b.Labels[0] != kind || b.Labels[1] != label {
			continue
		}
		for _, a := range []string{"name", "bucket"} {
			if b.Body.Attributes[a] != nil {
				name = r.text(b, a)
			}
		}
	}
	arns := map[string]string{"aws_batch_job_queue": "batch:" + Region + ":" + Account + ":job-queue/", "aws_cloudwatch_log_group": "logs:" + Region + ":" + Account + ":log-group:", "aws_secretsmanager_secret": "secretsmanager:" + Region + ":" + Account + ":secret:"}
	of, known := arns[kind]
	if !known {
		of = strings.TrimPrefix(kind, "aws_") + ":::"
	}
	end := name
	if kind == "aws_secretsmanager_secret" {
		end += "-*" // AWS adds six characters
	}
	return cty.ObjectVal(map[string]cty.Value{
		"arn": cty.StringVal("arn:aws:" + of + end), "id": cty.StringVal(name), "name": cty.StringVal(name), "bucket": cty.StringVal(name), "repository_url": cty.StringVal(name),
	})
}

func makeBucket(ctx context.Context, cfg aws.Config, name string) error {
	_, err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket: &name, CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: Region},
	})
	return unless[*s3types.BucketAlreadyOwnedByYou](err)
}

func makeGroup(ctx context.Context, cfg aws.Config, name string) error {
	_, err := cloudwatchlogs.NewFromConfig(cfg).CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &name})
	return unless[*cwtypes.ResourceAlreadyExistsException](err)
}

func makeSecret(ctx context.Context, cfg aws.Config, name string) error {
	_, err := secretsmanager.NewFromConfig(cfg).CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name})
	return unless[*smtypes.ResourceExistsException](err)
}

// unless returns an error that is not of a type.
func unless[E error](err error) error {
	var e E
	if errors.As(err, &e) {
		return nil
	}
	return err
}
