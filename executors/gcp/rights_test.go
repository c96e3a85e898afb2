package gcp

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
)

// A binding lets an account have a role, under a condition. References are written as the name of what
// they refer to: "google_service_account.steps-a".
type binding struct{ kind, account, role, of, condition string }

// bindingsOf evaluates the bindings in a file, and the permissions of the roles.
func bindingsOf(t interface{ Fatal(...any) }, text []byte) (all []binding, permissions map[string][]string) {
	f, diags := hclsyntax.ParseConfig(text, "rights.tf", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	permissions = map[string][]string{}
	for _, b := range f.Body.(*hclsyntax.Body).Blocks { //nolint:forcetypeassert // of ParseConfig
		value := func(body *hclsyntax.Body, name string) cty.Value {
			if body.Attributes[name] == nil {
				return cty.StringVal("")
			}
			x := body.Attributes[name].Expr
			if s, ok := x.(*hclsyntax.ScopeTraversalExpr); ok && s.Traversal.RootName() != "local" {
				return cty.StringVal(s.Traversal.RootName() + "." + s.Traversal[1].(hcl.TraverseAttr).Name) //nolint:forcetypeassert // of a resource
			}
			v, diags := x.Value(&hcl.EvalContext{Variables: map[string]cty.Value{"local": cty.ObjectVal(map[string]cty.Value{
				"bucket": cty.StringVal("b"), "root": cty.StringVal("root"), "objects": cty.StringVal("projects/_/buckets/b/objects/root"),
			})}})
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			return v
		}
		if b.Labels[0] == "google_project_iam_custom_role" {
			for _, p := range value(b.Body, "permissions").AsValueSlice() {
				id := "google_project_iam_custom_role." + b.Labels[1]
				permissions[id] = append(permissions[id], p.AsString())
			}
		}
		if !strings.HasSuffix(b.Labels[0], "_iam_member") {
			continue
		}
		x := binding{kind: b.Labels[0], account: value(b.Body, "member").AsString(), role: value(b.Body, "role").AsString(), of: b.Labels[1]}
		switch x.kind {
		case "google_storage_bucket_iam_member":
			if len(b.Body.Blocks) != 1 {
				t.Fatal("a binding of the bucket has no condition")
			}
			x.condition = value(b.Body.Blocks[0].Body, "expression").AsString()
		case "google_secret_manager_secret_iam_member":
			x.of = value(b.Body, "secret_id").AsString()
		}
		all = append(all, x)
	}
	return all, permissions
}

var operand = regexp.MustCompile(`^(resource\.name|api\.getAttribute\("storage\.googleapis\.com/objectListPrefix", ""\))\.startsWith\("([^"\\]*)"\)$`)

var extracted = regexp.MustCompile(`^resource\.name\.extract\("([^"{\\]*)\{lineage\}([^"{\\]*)"\) != ""$`)

// holds evaluates a condition for a resource and the prefix of a list. It knows what is written, and no more.
func holds(t interface{ Fatalf(string, ...any) }, condition, resource, prefix string) bool {
	operands := strings.Split(condition, " || ")
	if len(operands) > mostOperators+1 {
		t.Fatalf("a condition has %d operators, and IAM allows %d", len(operands)-1, mostOperators)
	}
	is := false
	for _, o := range operands {
		if m := extracted.FindStringSubmatch(o); m != nil {
			_, rest, begins := strings.Cut(resource, m[1])
			at := strings.Index(rest, m[2])
			is = is || begins && at > 0
			continue
		}
		m := operand.FindStringSubmatch(o)
		if m == nil {
			t.Fatalf("unknown in a condition: %s", o)
		}
		of := prefix
		if m[1] == "resource.name" {
			of = resource
		}
		is = is || strings.HasPrefix(of, m[2])
	}
	return is
}

// The account of each unit may read and write what the unit reads and writes, and nothing else of any unit:
// neither objects, nor lists of them, nor secrets.
func TestAccountsMayDoExactlyWhatUnitsDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sys := cloudtest.AnySystem(t, ir.Target{Executor: Name, Settings: settings(nil)})
		docs, err := Infrastructure(sys)
		if err != nil {
			t.Fatal(err)
		}
		var all []binding
		permissions := map[string][]string{}
		for _, d := range docs {
			if d.Name == "rights.tf" {
				all, permissions = bindingsOf(t, d.Content)
			}
		}
		for _, u := range sys.Units {
			account := "google_service_account." + cloud.Label(u.ID)
			may := func(permission, resource, prefix string) bool {
				return slices.ContainsFunc(all, func(b binding) bool {
					return b.kind == "google_storage_bucket_iam_member" && b.account == account && slices.Contains(permissions[b.role], permission) && holds(t, b.condition, resource, prefix)
				})
			}
			for _, of := range sys.Units {
				for _, folder := range cloudtest.Folders(of) {
					key := path.Join("root/units", cloud.Label(of.ID), folder, "part-0")
					object := "projects/_/buckets/b/objects/" + key
					reads, writes := cloudtest.ExpectedInContainer(u, of, folder)
					for permission, want := range map[string]bool{
						"storage.objects.get": reads, "storage.objects.create": writes, "storage.objects.delete": writes,
						"storage.objects.update": false, "storage.objects.setIamPolicy": false,
					} {
						if got := may(permission, object, ""); got != want {
							t.Fatalf("%s: %s of %s is allowed: %v, want %v", u.ID, permission, key, got, want)
						}
					}
					if got := may("storage.objects.list", "projects/_/buckets/b", path.Dir(key)+"/"); got != reads {
						t.Fatalf("%s may list %s: %v", u.ID, path.Dir(key), got)
					}
				}
			}
			for _, variable := range []string{"TOKEN", "KEY"} {
				want := slices.ContainsFunc(u.Secrets, func(s ir.Secret) bool { return s.Env == variable })
				got := slices.ContainsFunc(all, func(b binding) bool {
					return b.account == account && b.role == "roles/secretmanager.secretAccessor" && b.of == "google_secret_manager_secret."+variable
				})
				if got != want {
					t.Fatalf("%s may read the secret %s: %v", u.ID, variable, got)
				}
			}
		}
		known := []string{"roles/secretmanager.secretAccessor", "google_project_iam_custom_role.read", "google_project_iam_custom_role.write"}
		for _, b := range all {
			if !slices.Contains(known, b.role) {
				t.Fatalf("%s has the role %s", b.account, b.role)
			}
		}
	})
}

var names = map[string]*regexp.Regexp{
	"account": regexp.MustCompile(`^[a-z][a-z0-9-]{4,28}[a-z0-9]$`), "service": regexp.MustCompile(`^[a-z][a-z0-9-]{0,47}[a-z0-9]$`), "label": regexp.MustCompile(`^[a-z0-9_-]{0,63}$`),
}

// Names of units have the form that Google Cloud allows, and differ.
func TestNamesOfUnitsFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sys := cloudtest.AnySystem(t, ir.Target{Executor: Name, Settings: settings(map[string]any{"prefix": rapid.StringMatching(`[a-z][a-z0-9-]{0,30}[a-z0-9]`).Draw(t, "prefix")})})
		s, err := SettingsOf(sys.Target)
		if err != nil {
			t.Fatal(err)
		}
		w, seen := newWriter(sys, s), map[string]string{}
		for _, u := range sys.Units {
			for kind, name := range map[string]string{"account": w.account(u.ID), "service": w.service(u.ID), "label": labelOf(u.ID)} {
				if !names[kind].MatchString(name) {
					t.Fatalf("%s of %s: %s", kind, u.ID, name)
				}
				if other := seen[kind+name]; other != "" {
					t.Fatalf("%s of %s and %s: %s", kind, other, u.ID, name)
				}
				seen[kind+name] = u.ID
			}
		}
	})
}

// In a cluster, a unit reads and writes what it keeps itself, below any lineage of a state.
func TestPodsKeepTheirOwn(t *testing.T) {
	text := write(t, withClusters()["cluster"])["rights.tf"]
	text = []byte(regexp.MustCompile(`member = "[^"]*/sa/([^"]*)"`).ReplaceAllString(string(text), `member = "$1"`))
	all, permissions := bindingsOf(t, text)
	for object, wants := range cloudtest.KeptInCluster() {
		for unit, want := range wants {
			for _, permission := range []string{"storage.objects.get", "storage.objects.create", "storage.objects.delete"} {
				got := slices.ContainsFunc(all, func(b binding) bool {
					return b.account == cloud.ServiceAccount(unit) && slices.Contains(permissions[b.role], permission) && holds(t, b.condition, "projects/_/buckets/b/objects/root/"+object, "")
				})
				if got != want {
					t.Errorf("%s: %s of %s is allowed: %v", unit, permission, object, got)
				}
			}
		}
	}
}
