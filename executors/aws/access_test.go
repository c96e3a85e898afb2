package aws

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
)

// A document is a policy as AWS reads it.
type document struct{ Statement []permission }

type permission struct {
	Sid, Effect      string
	Action, Resource []string
	Condition        map[string]map[string][]string
}

// policiesOf evaluates the policies of roles in a file, by the label of the resource.
func policiesOf(t interface{ Fatal(...any) }, text []byte) map[string]document {
	return documentsOf(t, text, "aws_iam_role_policy", "policy")
}

// documentsOf evaluates an attribute of the resources of a type, which is a policy.
func documentsOf(t interface{ Fatal(...any) }, text []byte, kind, attribute string) map[string]document {
	f, diags := hclsyntax.ParseConfig(text, "roles.tf", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	out := map[string]document{}
	for _, b := range f.Body.(*hclsyntax.Body).Blocks { //nolint:forcetypeassert // of ParseConfig
		if b.Labels[0] != kind {
			continue
		}
		x := b.Body.Attributes[attribute].Expr
		v, diags := x.Value(names(x))
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		var d document
		if err := json.Unmarshal([]byte(v.AsString()), &d); err != nil {
			t.Fatal(err)
		}
		out[b.Labels[1]] = d
	}
	return out
}

// names gives a value to each name in an expression: that of the bucket, and ARNs that have the name of
// their resource.
func names(x hclsyntax.Expression) *hcl.EvalContext {
	values := map[string]map[string]cty.Value{"local": {
		"bucket_arn": cty.StringVal("arn:aws:s3:::b"), "root_arn": cty.StringVal("arn:aws:s3:::b/root"), "root": cty.StringVal("root"),
		"repository_arn": cty.StringVal("repository"), "partition": cty.StringVal("aws"), "account": cty.StringVal("1"),
	}, "var": {"region": cty.StringVal("r")}}
	for _, t := range x.Variables() {
		if root := t.RootName(); root != "local" && root != "var" {
			if values[root] == nil {
				values[root] = map[string]cty.Value{}
			}
			name := t[1].(hcl.TraverseAttr).Name //nolint:forcetypeassert // of a resource
			values[root][name] = cty.ObjectVal(map[string]cty.Value{"arn": cty.StringVal(root + "/" + name)})
		}
	}
	all := map[string]cty.Value{}
	for root, v := range values {
		all[root] = cty.ObjectVal(v)
	}
	return &hcl.EvalContext{Variables: all, Functions: map[string]function.Function{"jsonencode": stdlib.JSONEncodeFunc}}
}

// allows reports whether a policy allows an action on a resource, as IAM decides: a star is any text, if the operator is
// not that of equal texts.
func (d document) allows(action, resource string, keys map[string]string) bool {
	return slices.ContainsFunc(d.Statement, func(s permission) bool {
		for operator, c := range s.Condition {
			for key, patterns := range c {
				value, there := keys[key]
				switch operator {
				case "StringLike", "StringLikeIfExists":
					if operator == "StringLikeIfExists" && !there {
						continue
					}
					if !slices.ContainsFunc(patterns, func(p string) bool { return like(p, value) }) {
						return false
					}
				case "StringEquals", "Bool":
					if !slices.Contains(patterns, value) {
						return false
					}
				default:
					return false
				}
			}
		}
		return s.Effect == "Allow" && slices.Contains(s.Action, action) && slices.ContainsFunc(s.Resource, func(p string) bool { return like(p, resource) })
	})
}

// like reports whether a text is one that a pattern with stars stands for.
func like(pattern, text string) bool {
	first, rest, ok := strings.Cut(pattern, "*")
	if !ok {
		return pattern == text
	}
	if !strings.HasPrefix(text, first) {
		return false
	}
	for i := len(first); i <= len(text); i++ {
		if like(rest, text[i:]) {
			return true
		}
	}
	return false
}

// anySystem is a system of random units, one of which may be on SageMaker or on Fargate.
func anySystem(t *rapid.T) *ir.System {
	sys := cloudtest.AnySystem(t, ir.Target{Executor: Name, Settings: settings(map[string]any{
		"endpoints": map[string]any{"b": map[string]any{"on": rapid.SampledFrom([]string{"sagemaker", "fargate"}).Draw(t, "place"), "instance": "ml.m5.large"}},
	})})
	named := 0
	for i := range sys.Units {
		if u := &sys.Units[i]; u.Kind == ir.Service && entityName(u) == "b" {
			named++
		}
	}
	if named != 1 { // of several, each needs a host of its own
		delete(sys.Target.Settings, "endpoints")
	}
	return sys
}

// The role of each unit allows it to read and write what the unit reads and writes, and nothing else of any
// unit: neither objects, nor lists of them, nor secrets, logs and endpoints.
func TestRolesAllowExactlyWhatUnitsDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sys := anySystem(t)
		docs, err := Infrastructure(sys)
		if err != nil {
			t.Fatal(err)
		}
		var roles []byte
		for _, d := range docs {
			if d.Name == "roles.tf" {
				roles = d.Content
			}
		}
		policies := map[string]document{}
		if roles != nil {
			policies = policiesOf(t, roles)
		}
		for _, u := range sys.Units {
			place := must(SettingsOf(sys.Target)).place(&u)
			p, has := policies[placedAt(place, u.ID)]
			starts := p // what may use its secrets, its log and its image
			if onECS(place) {
				starts = policies[execution(u.ID)]
				for _, a := range []string{"logs:PutLogEvents", "secretsmanager:GetSecretValue", "ecr:BatchGetImage", "ecr:GetAuthorizationToken"} {
					if slices.ContainsFunc(p.Statement, func(s permission) bool { return slices.Contains(s.Action, a) }) {
						t.Fatalf("the program of %s may %s", u.ID, a)
					}
				}
				if slices.ContainsFunc(starts.Statement, func(s permission) bool { return strings.HasPrefix(s.Action[0], "s3:") }) {
					t.Fatalf("what starts %s has the bucket", u.ID)
				}
			}
			if has != (u.Kind != ir.Record) {
				t.Fatalf("%s has a role: %v", u.ID, has)
			}
			for _, of := range sys.Units {
				same := u.ID == of.ID
				if got, want := starts.allows("logs:PutLogEvents", "aws_cloudwatch_log_group/"+placedAt(must(SettingsOf(sys.Target)).place(&of), of.ID)+":*", nil), same && has && u.Needs.GPU == 0; got != want {
					t.Fatalf("%s may write the log of %s: %v", u.ID, of.ID, got)
				}
				for _, folder := range cloudtest.Folders(of) {
					key := path.Join("root/units", label(of.ID), folder, "part-0")
					reads, writes := cloudtest.Expected(u, of, folder)
					if hosted(sys, u) { // its container fetches what a job would
						fetches := u
						fetches.Kind = ir.Job
						reads, _ = cloudtest.Expected(fetches, of, folder)
					}
					check(t, p, "s3:GetObject", key, u.ID, reads)
					check(t, p, "s3:PutObject", key, u.ID, writes)
					check(t, p, "s3:DeleteObject", key, u.ID, writes && folder == cloudtest.Checkpoints)
					if got := p.allows("s3:ListBucket", "arn:aws:s3:::b", map[string]string{"s3:prefix": path.Dir(key) + "/"}); got != reads {
						t.Fatalf("%s may list %s: %v", u.ID, path.Dir(key), got)
					}
				}
				asks := u.Kind == ir.Job && slices.ContainsFunc(u.Inputs, func(in ir.Input) bool { return in.Unit == of.ID && in.Kind == ir.EndpointOf })
				w := newWriter(sys, must(SettingsOf(sys.Target)))
				function, byURL := "arn:aws:lambda:r:1:function:"+w.function(&of)+":live", map[string]string{"lambda:FunctionUrlAuthType": "AWS_IAM", "lambda:InvokedViaFunctionUrl": "true"}
				lambda := p.allows("lambda:InvokeFunctionUrl", function, byURL) && p.allows("lambda:InvokeFunction", function, byURL)
				if p.allows("lambda:InvokeFunction", function, map[string]string{"lambda:InvokedViaFunctionUrl": "false"}) || p.allows("lambda:InvokeFunctionUrl", function, map[string]string{"lambda:FunctionUrlAuthType": "NONE"}) {
					t.Fatalf("%s may call %s past its URL", u.ID, of.ID)
				}
				sagemaker := p.allows("sagemaker:InvokeEndpoint", "arn:aws:sagemaker:r:1:endpoint/"+w.endpoint(&of), nil)
				if w.place(&of) == onFargate { // whose load balancer asks for no right
					asks = false
				}
				if (lambda || sagemaker) != asks || lambda && sagemaker {
					t.Fatalf("%s may call %s: %v, %v", u.ID, of.ID, lambda, sagemaker)
				}
			}
			for _, variable := range []string{"TOKEN", "KEY"} {
				want := slices.ContainsFunc(u.Secrets, func(s ir.Secret) bool { return s.Env == variable })
				if got := starts.allows("secretsmanager:GetSecretValue", "aws_secretsmanager_secret/"+variable, nil); got != want {
					t.Fatalf("%s may read the secret %s: %v", u.ID, variable, got)
				}
			}
			for _, s := range slices.Concat(p.Statement, starts.Statement) {
				for _, a := range s.Action {
					if strings.Contains(a, "*") || slices.Contains(s.Resource, "*") && a != "ecr:GetAuthorizationToken" {
						t.Fatalf("%s may do %v to %v", u.ID, s.Action, s.Resource)
					}
				}
			}
		}
	})
}

// hosted reports whether a unit is an endpoint of SageMaker or a service on Fargate.
func hosted(sys *ir.System, u ir.Unit) bool {
	place := must(SettingsOf(sys.Target)).place(&u)
	return place == onSageMaker || place == onFargate
}

func check(t *rapid.T, p document, action, key, unit string, want bool) {
	if got := p.allows(action, "arn:aws:s3:::b/"+key, nil); got != want {
		t.Fatalf("%s: %s of %s is allowed: %v, want %v", unit, action, key, got, want)
	}
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{{"a", "a", true}, {"a", "ab", false}, {"a*", "ab", true}, {"a*c", "abbc", true}, {"a*c", "abcd", false}, {"*", "", true}} {
		if got := like(c.pattern, c.text); got != c.want {
			t.Errorf("%s is like %s: %v", c.text, c.pattern, got)
		}
	}
}

// A statement less is a right less: what the roles allow is not allowed twice.
func TestEveryStatementIsNeeded(t *testing.T) {
	all := newWriter(containerSystem(), must(SettingsOf(containerSystem().Target))).units
	sys := systems()["everything"]
	w := newWriter(sys, must(SettingsOf(sys.Target)))
	for _, u := range append(all, w.units...) {
		seen := map[string]string{}
		for _, s := range append(w.program(u), w.start(u)...) {
			for _, a := range s.actions {
				if other := seen[a]; other != "" {
					t.Errorf("%s: %s is allowed by %s and %s", u.ID, a, other, s.id)
				}
				seen[a] = s.id
			}
		}
	}
}
