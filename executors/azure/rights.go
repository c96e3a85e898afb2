package azure

import (
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// mostCondition is how many characters the condition of an assignment of a role has at most. An identity has each role
// once in a container of blobs, so that its rights are in one condition. See "What is Azure attribute-based access
// control", limits.
const mostCondition = 8192

// What conditions name, and the actions on blobs.
const (
	blobs       = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
	readBlob    = blobs + "/read"
	writeBlob   = blobs + "/write"
	addBlob     = blobs + "/add/action"
	removeBlob  = blobs + "/delete"
	pathOf      = "@Resource[" + blobs + ":path]"
	prefixOf    = "@Request[" + blobs + ":prefix]"
	notReading  = "!(ActionMatches{'" + readBlob + "'} AND NOT SubOperationMatches{'Blob.List'})"
	notListing  = "!(ActionMatches{'" + readBlob + "'} AND SubOperationMatches{'Blob.List'})"
	notRemoving = "!(ActionMatches{'" + removeBlob + "'})"
	notWriting  = "(!(ActionMatches{'" + writeBlob + "'}) AND !(ActionMatches{'" + addBlob + "'}))"
)

// The roles of units, which are made because no existing role has so few rights: anyone with the role Storage
// Blob Data Contributor may also remove all blobs, and even the container.
var roles = []struct {
	id, title, does string
	actions         []string // on data
	prefixes        func(cloud.Access) []string
	condition       func(paths []string) string
}{
	{"read", "Reads artifacts", "reads", []string{readBlob}, func(a cloud.Access) []string { return a.Reads }, readCondition},
	{"write", "Writes artifacts", "writes", []string{writeBlob, addBlob}, func(a cloud.Access) []string { return a.Writes }, writeCondition},
	{"remove", "Removes checkpoints and old logs", "removes", []string{removeBlob}, func(a cloud.Access) []string { return a.Removes }, removeCondition},
}

// readCondition is true for reading blobs whose paths begin with one of some prefixes, and for listing these.
func readCondition(paths []string) string {
	return "((" + notReading + ") OR (" + anyPrefix(pathOf, paths) + ")) AND ((" + notListing + ") OR (" + anyPrefix(prefixOf, paths) + "))"
}

// writeCondition is true for writing blobs whose paths begin with one of some prefixes.
func writeCondition(paths []string) string {
	return notWriting + " OR (" + anyPrefix(pathOf, paths) + ")"
}

// removeCondition is true for removing blobs whose paths begin with one of some prefixes.
func removeCondition(paths []string) string {
	return notRemoving + " OR (" + anyPrefix(pathOf, paths) + ")"
}

func anyPrefix(attribute string, prefixes []string) string {
	parts := make([]string, len(prefixes))
	for i, p := range prefixes {
		if strings.Contains(p, cloud.AnyLineage) { // a pattern: names of units have no other stars, and no question marks
			parts[i] = attribute + " StringLike '" + p + "*'"
			continue
		}
		parts[i] = attribute + " StringStartsWith '" + p + "'"
	}
	return strings.Join(parts, " OR ")
}

// rights writes an identity for each unit, with the rights of [writer.access] and no others.
func (w *writer) rights() error {
	f := w.file("rights.tf")
	for _, r := range roles {
		if !slices.ContainsFunc(w.units, func(u *ir.Unit) bool { return len(r.prefixes(w.access(u))) > 0 }) {
			continue
		}
		b := f.Resource("azurerm_role_definition", r.id)
		b.Comment("Names of roles are unique in a tenant.")
		b.Set("name", terraform.Text(r.title+" of "+w.global()))
		b.Set("description", terraform.Text(r.title+" of "+cloud.Environment(w.sys)+", as conditions allow."))
		b.Set("scope", terraform.Code("local.group_id"))
		b.Set("assignable_scopes", terraform.List(terraform.Code("local.group_id")))
		b.Block("permissions").Set("data_actions", terraform.Texts(r.actions...))
	}
	for _, u := range w.units {
		if err := w.unitRights(f, u); err != nil {
			return err
		}
	}
	return nil
}

// access returns what a unit may do.
func (w *writer) access(u *ir.Unit) cloud.Access {
	if w.Service == AKS {
		return cloud.AccessInCluster(w.sys.Env, u)
	}
	as := *u
	if w.place(u) == onEndpoint {
		as.Release = nil // whose versions share no route in the container of blobs
	}
	return cloud.AccessInContainer(&as)
}

func (w *writer) unitRights(f *terraform.File, u *ir.Unit) error {
	l, a := cloud.Label(u.ID), w.access(u)
	b := f.Resource("azurerm_user_assigned_identity", l)
	b.Set("name", terraform.Text(w.identity(u.ID)))
	placed(b, u)
	assign := func(name string, scope terraform.Expr) *terraform.Body {
		b := f.Resource("azurerm_role_assignment", name+"-"+l)
		b.Set("scope", scope)
		b.Set("principal_id", cloud.Reference("azurerm_user_assigned_identity", l, "principal_id"))
		b.Set("principal_type", terraform.Text("ServicePrincipal"))
		return b
	}
	for _, r := range roles {
		folders := r.prefixes(a)
		if len(folders) == 0 {
			continue
		}
		paths := make([]string, len(folders))
		for i, p := range folders {
			paths[i] = w.root + "/" + p
		}
		condition := r.condition(paths)
		if len(condition) > mostCondition {
			return errPorts(u.ID, r.does, len(folders))
		}
		b := assign(r.id, terraform.Code("local.container_id"))
		b.Set("role_definition_id", cloud.Reference("azurerm_role_definition", r.id, "role_definition_resource_id"))
		b.Set("condition_version", terraform.Text("2.0"))
		b.Set("condition", terraform.Text(condition))
	}
	if w.Service == AKS { // where nodes pull images, and secrets are those of the cluster
		w.federated(f, u)
		return nil
	}
	assign("pull", w.registryOf("id")).Set("role_definition_name", terraform.Text("AcrPull"))
	for _, variable := range a.Secrets {
		assign("secret-"+variable, w.secretID(variable)).Set("role_definition_name", terraform.Text("Key Vault Secrets User"))
	}
	return nil
}
