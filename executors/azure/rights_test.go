package azure

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

// An assignment lets an identity have a role, under a condition.
type assignment struct{ identity, role, scope, condition string }

// A fatal is a test of package testing or rapid.
type fatal interface {
	Fatal(...any)
	Fatalf(string, ...any)
}

// assignmentsOf evaluates the assignments of roles in a file, and the actions of the roles. References are written
// without their last attribute.
func assignmentsOf(t fatal, text []byte) (all []assignment, actions map[string][]string) {
	f, diags := hclsyntax.ParseConfig(text, "rights.tf", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	actions = map[string][]string{}
	known := map[string]bool{}
	vault := cty.ObjectVal(map[string]cty.Value{"secrets": cty.ObjectVal(map[string]cty.Value{"id": cty.StringVal("vault")})})
	for _, b := range f.Body.(*hclsyntax.Body).Blocks { //nolint:forcetypeassert // of ParseConfig
		name := strings.Join(b.Labels, ".")
		if known[name] {
			t.Fatalf("%s is there twice", name)
		}
		known[name] = true
		value := func(body *hclsyntax.Body, name string) cty.Value {
			if body.Attributes[name] == nil {
				return cty.StringVal("")
			}
			x := body.Attributes[name].Expr
			if s, ok := x.(*hclsyntax.ScopeTraversalExpr); ok {
				return cty.StringVal(s.Traversal.RootName() + "." + s.Traversal[1].(hcl.TraverseAttr).Name) //nolint:forcetypeassert // of a resource
			}
			v, diags := x.Value(&hcl.EvalContext{Variables: map[string]cty.Value{"azurerm_key_vault": vault}})
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			return v
		}
		switch b.Labels[0] {
		case "azurerm_role_definition":
			for _, p := range b.Body.Blocks {
				for _, a := range value(p.Body, "data_actions").AsValueSlice() {
					actions[name] = append(actions[name], a.AsString())
				}
			}
		case "azurerm_role_assignment":
			all = append(all, assignment{
				identity: value(b.Body, "principal_id").AsString(), scope: value(b.Body, "scope").AsString(), condition: value(b.Body, "condition").AsString(),
				role: value(b.Body, "role_definition_id").AsString() + value(b.Body, "role_definition_name").AsString(),
			})
		}
	}
	return all, actions
}

var operand = regexp.MustCompile(`(@Resource|@Request)\[[^\]]*:(path|prefix)\] String(StartsWith|Like) '([^']*)'`)

// holds evaluates a condition for an action on the path of a blob, or for a list with a prefix. It knows the two forms
// that are written, and no more.
func holds(t fatal, condition, action, blob, prefix string) bool {
	if len(condition) > mostCondition {
		t.Fatalf("a condition has %d characters", len(condition))
	}
	begins := func(of, attribute string) (is bool) {
		for _, m := range operand.FindAllStringSubmatch(condition, -1) {
			if m[3] == "Like" { // with stars and nothing else
				before, after, _ := strings.Cut(strings.TrimSuffix(m[4], "*"), "*")
				rest, begins := strings.CutPrefix(of, before)
				is = is || m[2] == attribute && begins && strings.Contains(rest, after)
				continue
			}
			is = is || m[2] == attribute && strings.HasPrefix(of, m[4])
		}
		return is
	}
	rest := operand.ReplaceAllString(condition, "$2")
	rest = regexp.MustCompile(`(path|prefix)( OR (path|prefix))*`).ReplaceAllString(rest, "$1")
	switch rest {
	case "((" + notReading + ") OR (path)) AND ((" + notListing + ") OR (prefix))":
		switch {
		case action != readBlob:
			return true
		case prefix != "":
			return begins(prefix, "prefix")
		}
		return begins(blob, "path")
	case notRemoving + " OR (path)":
		return action != removeBlob || begins(blob, "path")
	case notWriting + " OR (path)":
		return action != writeBlob && action != addBlob || begins(blob, "path")
	}
	t.Fatalf("unknown condition %s", rest)
	return false
}

// The identity of each unit may read and write what the unit reads and writes, and nothing else of any unit: neither
// blobs, nor lists of them, nor secrets.
func TestIdentitiesMayDoExactlyWhatUnitsDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sys := cloudtest.AnySystem(t, target(nil))
		docs, err := Infrastructure(sys)
		if err != nil {
			t.Fatal(err)
		}
		var all []assignment
		actions := map[string][]string{}
		for _, d := range docs {
			if d.Name == "rights.tf" {
				all, actions = assignmentsOf(t, d.Content)
			}
		}
		for _, u := range sys.Units {
			identity := "azurerm_user_assigned_identity." + cloud.Label(u.ID)
			may := func(action, blob, prefix string) bool {
				return slices.ContainsFunc(all, func(a assignment) bool {
					return a.scope == "local.container_id" && a.identity == identity && slices.Contains(actions[a.role], action) && holds(t, a.condition, action, blob, prefix)
				})
			}
			env := sys.Env
			if env == "" {
				env = "_"
			}
			for _, of := range sys.Units {
				for _, folder := range cloudtest.Folders(of) {
					blob := path.Join("tenon/s", env, "units", cloud.Label(of.ID), folder, "part-0")
					reads, writes := cloudtest.ExpectedInContainer(u, of, folder)
					for action, want := range map[string]bool{readBlob: reads, writeBlob: writes, addBlob: writes, removeBlob: writes && folder == cloudtest.Checkpoints} {
						if got := may(action, blob, ""); got != want {
							t.Fatalf("%s: %s of %s is allowed: %v, want %v", u.ID, action, blob, got, want)
						}
					}
					if got := may(readBlob, "", path.Dir(blob)+"/"); got != reads {
						t.Fatalf("%s may list %s: %v", u.ID, path.Dir(blob), got)
					}
				}
			}
			for _, variable := range []string{"TOKEN", "KEY"} {
				want := slices.ContainsFunc(u.Secrets, func(s ir.Secret) bool { return s.Env == variable })
				got := slices.ContainsFunc(all, func(a assignment) bool {
					return a.identity == identity && a.role == "Key Vault Secrets User" && a.scope == "vault/secrets/"+secretName(variable)
				})
				if got != want {
					t.Fatalf("%s may read the secret %s: %v", u.ID, variable, got)
				}
			}
		}
		for _, a := range all {
			if !slices.Contains([]string{"AcrPull", "Key Vault Secrets User", "azurerm_role_definition.read", "azurerm_role_definition.write", "azurerm_role_definition.remove"}, a.role) {
				t.Fatalf("%s has the role %s", a.identity, a.role)
			}
		}
	})
}

// In a cluster, a unit reads, writes and removes what it keeps itself, below any lineage of a state.
func TestIdentitiesInAClusterKeepTheirOwn(t *testing.T) {
	all, actions := assignmentsOf(t, write(t, withClusters()["cluster"])["rights.tf"])
	for blob, wants := range cloudtest.KeptInCluster() {
		for unit, want := range wants {
			for _, action := range []string{readBlob, writeBlob, removeBlob} {
				got := slices.ContainsFunc(all, func(a assignment) bool {
					return a.identity == "azurerm_user_assigned_identity."+cloud.Label(unit) && slices.Contains(actions[a.role], action) && holds(t, a.condition, action, "tenon/flights/prod/"+blob, "")
				})
				if got != want {
					t.Errorf("%s: %s of %s is allowed: %v", unit, action, blob, got)
				}
			}
		}
	}
}

var names = map[string]*regexp.Regexp{
	"identity": regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{2,127}$`), "app": regexp.MustCompile(`^[a-z]([a-z0-9]|-[a-z0-9]){0,31}$`),
}

// Names of units have the form that Azure allows, and differ.
func TestNamesOfUnitsFit(t *testing.T) {
	global := regexp.MustCompile(`^[a-z][a-z0-9]{4,23}$`)
	rapid.Check(t, func(t *rapid.T) {
		sys := cloudtest.AnySystem(t, target(map[string]any{"prefix": rapid.StringMatching(`[a-z][a-z0-9-]{2,29}[a-z0-9]`).Draw(t, "prefix")}))
		s, err := SettingsOf(sys.Target)
		if err != nil {
			t.Fatal(err)
		}
		w, seen := newWriter(sys, s), map[string]string{}
		if !global.MatchString(w.global()) || strings.Contains(w.prefix, "--") || len(w.prefix) > mostPrefix {
			t.Fatalf("names are %s and %s", w.global(), w.prefix)
		}
		for _, u := range sys.Units {
			for kind, name := range map[string]string{"identity": w.identity(u.ID), "app": w.service(u.ID)} {
				if !names[kind].MatchString(name) || len(name) > mostIdentity || kind == "app" && len(name) > mostJob {
					t.Fatalf("%s of %s: %s", kind, u.ID, name)
				}
				if other := seen[kind+strings.ToLower(name)]; other != "" {
					t.Fatalf("%s of %s and %s: %s", kind, other, u.ID, name)
				}
				seen[kind+strings.ToLower(name)] = u.ID
			}
		}
	})
}
