package aws

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/aws/cloudformation"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/executors/terraform"
	"github.com/tenon-ml/tenon/internal/test/cfntest"
)

// stacks are the systems whose infrastructure can be a template. The ids of networks are long enough for cfn-lint.
func stacks() map[string]*ir.System {
	all := systems()
	existing, _ := all["existing"].Target.Settings["existing"].(map[string]any)
	existing["network"] = map[string]any{"vpc": "vpc-0a0a0a0a", "subnets": []string{"subnet-0a0a0a0a", "subnet-0b0b0b0b"}, "open_subnets": []string{"subnet-0c0c0c0c"}}
	return all
}

func TestTemplates(t *testing.T) {
	templates := map[string][]byte{}
	for name, sys := range stacks() {
		docs, err := CloudFormation(sys)
		if err != nil {
			t.Fatal(name, err)
		}
		files := map[string][]byte{}
		for _, d := range docs {
			if files[d.Name] = d.Content; !cloudformation.Written(d.Content) {
				t.Errorf("%s does not say that tenon has written it", d.Name)
			}
		}
		cloudtest.Golden(t, filepath.Join("testdata", "cloudformation", name), files, cloudtest.Update())
		templates[name] = files["template.yaml"]
	}
	templates["faulty"] = []byte(strings.Replace(string(templates["empty"]), "BucketName", "BucketNames", 1))
	found := 0
	for _, fault := range cfntest.Lint(t, "eu-central-1", templates) {
		if strings.HasPrefix(fault, "faulty.yaml") && strings.Contains(fault, "BucketNames") {
			found++
			continue
		}
		t.Error(fault)
	}
	if found == 0 {
		t.Error("cfn-lint does not find a misspelled property")
	}
}

func TestWhatHasNoTemplateIsRefused(t *testing.T) {
	_, err := CloudFormation(clusterSystem())
	if want := "--format=cloudformation does not support aws_eks_"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	changes := map[string]func(*terraform.Body){
		"aws_s3_bucket.artifacts: it has force_destroy, which nothing maps":       func(b *terraform.Body) { b.Set("force_destroy", terraform.Bool(true)) },
		"aws_s3_bucket.artifacts: it has logging.target, which nothing maps":      func(b *terraform.Body) { b.Block("logging").Set("target", terraform.Text("x")) },
		"aws_s3_bucket.artifacts: it has logging, which nothing maps":             func(b *terraform.Body) { b.Block("logging") },
		"nothing maps the attribute region of aws_s3_bucket":                      func(b *terraform.Body) { b.Set("bucket", terraform.Code("aws_s3_bucket.artifacts.region")) },
		"the function sha256 has no counterpart in CloudFormation":                func(b *terraform.Body) { b.Set("bucket", terraform.Call("sha256", terraform.Text("x"))) },
		"upper(var.region): it has no counterpart":                                func(b *terraform.Body) { b.Set("bucket", terraform.Code("upper(var.region)")) },
		"var.nothing: it is not declared":                                         func(b *terraform.Body) { b.Set("bucket", terraform.Code("var.nothing")) },
		"aws_s3_bucket.artifacts: its count has no counterpart in CloudFormation": func(b *terraform.Body) { b.Set("count", terraform.Code("var.region == \"x\" ? 1 : 0")) },
	}
	for want, change := range changes {
		w, err := written(systems()["empty"])
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range w.files["storage.tf"].Blocks {
			if b.Kind == "resource" && b.Labels[0] == "aws_s3_bucket" {
				change(&b.Body)
			}
		}
		if _, err := cloudformation.New(w.files, "x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Each resource of the files is in the template, and each of the template in the files. Policies, with the values of
// what they refer to, are the same.
func TestTemplatesHaveWhatTheFilesHave(t *testing.T) {
	for name, sys := range stacks() {
		t.Run(name, func(t *testing.T) {
			w, err := written(sys)
			if err != nil {
				t.Fatal(err)
			}
			template, err := cloudformation.New(w.files, name)
			if err != nil {
				t.Fatal(err)
			}
			of, policies := map[string]string{}, map[string]any{} // addresses and policies, by logical id
			for id, r := range template.Resources {
				for _, address := range r.From {
					plain, _, _ := strings.Cut(address, "[")
					if of[id] == "" {
						of[id] = plain
					}
					for _, property := range []string{"PolicyDocument", "AssumeRolePolicyDocument"} {
						if p := r.Properties[property]; p != nil {
							policies[plain+" "+property] = p
						}
					}
				}
			}
			stack := stackValues{template, of}
			got, want := map[string]any{}, map[string]any{}
			for at, p := range policies {
				got[at] = jsonOf(t, stack.resolve(t, p))
			}
			seen := map[string]bool{}
			for _, r := range template.Resources {
				for _, address := range r.From {
					seen[address] = true
				}
			}
			for file, f := range w.files {
				scope := hclScope(t, w.files)
				for _, b := range f.Blocks {
					if b.Kind != "resource" {
						continue
					}
					address := strings.Join(b.Labels, ".")
					if count, ok := b.Body.Attribute("count"); ok && count.Kind == terraform.IsNumber {
						delete(seen, address+"[1]")
						address += "[0]"
					}
					if !seen[address] {
						t.Errorf("the template lacks %s of %s", address, file)
					}
					delete(seen, address)
				}
				for at, p := range hclPolicies(t, f.Bytes(), scope) {
					want[at] = p
				}
			}
			for address := range seen {
				t.Errorf("only the template has %s", address)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("policies of the files and of the template (-files +template):\n%s", diff)
			}
			if len(sys.Units) > 0 && len(got) < 2*len(w.units) {
				t.Errorf("only %d policies were compared", len(got))
			}
		})
	}
}

func jsonOf(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// stackValues gives values to intrinsic functions, as CloudFormation does: those that hclScope has.
type stackValues struct {
	*cloudformation.Template
	of map[string]string
}

func (s stackValues) resolve(t *testing.T, v any) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = s.resolve(t, v[i])
		}
		return list
	case map[string]any:
		if id, ok := v["Ref"].(string); ok {
			return s.ref(t, id)
		}
		if at, ok := v["Fn::GetAtt"].([]any); ok {
			return s.att(t, fmt.Sprint(at[0]), fmt.Sprint(at[1]))
		}
		if text, ok := v["Fn::Sub"].(string); ok {
			var out strings.Builder
			for {
				before, rest, found := strings.Cut(text, "${")
				out.WriteString(before)
				if !found {
					return out.String()
				}
				name, after, _ := strings.Cut(rest, "}")
				if id, attribute, ok := strings.Cut(name, "."); ok {
					out.WriteString(s.att(t, id, attribute))
				} else {
					out.WriteString(s.ref(t, name))
				}
				text = after
			}
		}
		object := map[string]any{}
		for k, x := range v {
			object[k] = s.resolve(t, x)
		}
		return object
	}
	return v
}

var pseudo = map[string]string{"AWS::Region": "r", "AWS::AccountId": "1", "AWS::Partition": "aws"}

func (s stackValues) ref(t *testing.T, id string) string {
	if v, ok := pseudo[id]; ok {
		return v
	}
	switch address := s.of[id]; {
	case address == "":
		t.Fatalf("%s is not in the template", id)
		return ""
	case strings.HasPrefix(address, "aws_sns_topic."), strings.HasPrefix(address, "aws_secretsmanager_secret."), strings.HasPrefix(address, "aws_batch_job_definition."):
		return "arn of " + address
	default:
		return "id of " + address
	}
}

func (s stackValues) att(t *testing.T, id, attribute string) string {
	if s.of[id] == "" || !strings.HasSuffix(attribute, "Arn") {
		t.Fatalf("%s of %s is not expected in a policy", attribute, id)
	}
	return "arn of " + s.of[id]
}

// hclScope gives values to what expressions of files name.
func hclScope(t *testing.T, files terraform.Files) *hcl.EvalContext {
	t.Helper()
	kinds := map[string]map[string]cty.Value{}
	locals, values := map[string]hclsyntax.Expression{}, map[string]cty.Value{}
	for _, f := range files {
		parsed, diags := hclsyntax.ParseConfig(f.Bytes(), "f.tf", hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		for _, b := range parsed.Body.(*hclsyntax.Body).Blocks { //nolint:forcetypeassert // of ParseConfig
			if b.Type == "locals" {
				for name, a := range b.Body.Attributes {
					locals[name] = a.Expr
				}
			}
			if b.Type != "resource" {
				continue
			}
			address := strings.Join(b.Labels, ".")
			id, arn := cty.StringVal("id of "+address), cty.StringVal("arn of "+address)
			if b.Labels[0] == "aws_cloudwatch_log_group" {
				arn = cty.StringVal("arn:aws:logs:r:1:log-group:id of " + address)
			}
			if kinds[b.Labels[0]] == nil {
				kinds[b.Labels[0]] = map[string]cty.Value{}
			}
			kinds[b.Labels[0]][b.Labels[1]] = cty.ObjectVal(map[string]cty.Value{"id": id, "name": id, "bucket": id, "arn": arn, "repository_url": cty.StringVal("url")})
		}
	}
	one := func(k string, v cty.Value) cty.Value { return cty.ObjectVal(map[string]cty.Value{k: v}) }
	scope := &hcl.EvalContext{Functions: map[string]function.Function{"jsonencode": stdlib.JSONEncodeFunc}, Variables: map[string]cty.Value{
		"var": one("region", cty.StringVal("r")),
		"data": cty.ObjectVal(map[string]cty.Value{
			"aws_caller_identity": one("current", one("account_id", cty.StringVal("1"))), "aws_partition": one("current", one("partition", cty.StringVal("aws"))),
			"aws_ecr_repository": one("images", cty.ObjectVal(map[string]cty.Value{"arn": cty.StringVal("arn:aws:ecr:r:1:repository/ml/images"), "repository_url": cty.StringVal("url")})),
		}),
	}}
	for k, v := range kinds {
		scope.Variables[k] = cty.ObjectVal(v)
	}
	for range len(locals) { // those that others need first
		for name, x := range locals {
			if v, diags := x.Value(scope); !diags.HasErrors() {
				values[name] = v
			}
		}
		scope.Variables["local"] = cty.ObjectVal(values)
	}
	if len(values) != len(locals) {
		t.Fatalf("of the locals, only %v have values", sortedKeys(values))
	}
	return scope
}

// hclPolicies returns the policies of resources in a file, by address and property of CloudFormation.
func hclPolicies(t *testing.T, text []byte, scope *hcl.EvalContext) map[string]any {
	t.Helper()
	parsed, _ := hclsyntax.ParseConfig(text, "f.tf", hcl.InitialPos)
	all := map[string]any{}
	for _, b := range parsed.Body.(*hclsyntax.Body).Blocks { //nolint:forcetypeassert // of ParseConfig
		for attribute, property := range map[string]string{"policy": "PolicyDocument", "assume_role_policy": "AssumeRolePolicyDocument"} {
			a := b.Body.Attributes[attribute]
			if a == nil {
				continue
			}
			v, diags := a.Expr.Value(scope)
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			var p any
			if err := json.Unmarshal([]byte(v.AsString()), &p); err != nil {
				t.Fatal(err)
			}
			all[strings.Join(b.Labels, ".")+" "+property] = p
		}
	}
	return all
}
