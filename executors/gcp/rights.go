package gcp

import (
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// What IAM allows: logical operators in a condition, and bindings of an account to a role of a bucket that
// only differ in their conditions. See "Quotas and limits" of IAM.
const (
	mostOperators = 12
	mostBindings  = 20
)

// The roles of units, which are made because no existing role has so few rights: writing over an object,
// which a start after a failure does, needs the right to remove it. The bucket keeps what was there.
var roles = []struct {
	id, title   string
	permissions []string
	prefixes    func(cloud.Access) []string
	operands    int // of a condition for a prefix
}{
	{"read", "Reads artifacts", []string{"storage.objects.get", "storage.objects.list"}, func(a cloud.Access) []string { return a.Reads }, 2},
	{"write", "Writes artifacts", []string{"storage.objects.create", "storage.objects.delete"}, func(a cloud.Access) []string { return a.Writes }, 1},
}

// accessOf returns what a unit may do.
func (s Settings) accessOf(u *ir.Unit) cloud.Access {
	as := *u
	if s.place(u) == onHosted {
		as.Release = nil // whose versions share no route in the bucket
	}
	return cloud.AccessInContainer(&as)
}

// rights writes an account for each unit, with the rights of [Settings.accessOf] and no others.
func (w *writer) rights() error {
	f := w.file("rights.tf")
	if len(w.units) > 0 {
		w.storageRoles(f)
	}
	for _, u := range w.units {
		if err := w.unitRights(f, u); err != nil {
			return err
		}
	}
	return nil
}

// storageRoles writes the roles of the bucket.
func (w *writer) storageRoles(f *terraform.File) {
	for _, r := range roles {
		b := f.Resource("google_project_iam_custom_role", r.id)
		b.Set("role_id", terraform.Text(strings.ReplaceAll(w.prefix, "-", "_")+"_"+r.id))
		b.Set("title", terraform.Text(r.title+" of "+cloud.Environment(w.sys)))
		b.Set("permissions", terraform.Texts(r.permissions...))
		enabled(b)
	}
}

func (w *writer) unitRights(f *terraform.File, u *ir.Unit) error {
	l, a := cloud.Label(u.ID), w.accessOf(u)
	member := cloud.Reference("google_service_account", l, "member")
	b := f.Resource("google_service_account", l)
	b.Set("account_id", terraform.Text(w.account(u.ID)))
	b.Set("display_name", terraform.Text(shortened(u.ID+" of "+cloud.Environment(w.sys))))
	enabled(b)
	if err := w.bucketRights(f, u, a, member); err != nil {
		return err
	}
	for _, variable := range a.Secrets {
		b := f.Resource("google_secret_manager_secret_iam_member", l+"-"+variable)
		b.Set("secret_id", w.secret(variable))
		b.Set("role", terraform.Text("roles/secretmanager.secretAccessor"))
		b.Set("member", member)
	}
	return nil
}

// tooMany says that a unit has more bindings to a role than IAM allows.
func tooMany(u *ir.Unit, role string, ports, operands int) error {
	return fmt.Errorf("%s %s %d ports, and IAM allows %d: put a step in between that joins some of them", u.ID, role+"s", ports, mostBindings*((mostOperators+1)/operands))
}

// shortened returns a text of at most 100 characters, which a display name has.
func shortened(s string) string { return strings.ToValidUTF8(s[:min(len(s), 100)], "") }

// conditions returns expressions of IAM that together are true for objects that begin with one of some
// prefixes and, with two operands for each, for lists of them.
func conditions(prefixes []string, operands int) (all []terraform.Expr) {
	each := (mostOperators + 1) / operands
	for len(prefixes) > 0 {
		n := min(each, len(prefixes))
		var parts []any
		for i, p := range prefixes[:n] {
			if i > 0 {
				parts = append(parts, " || ")
			}
			parts = append(parts, within(p)...)
			if operands == 2 {
				listed, _, _ := strings.Cut(p, cloud.AnyLineage) // names are all that a list has
				parts = append(parts, ` || api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith("`, terraform.Code("local.root"), "/"+listed+`")`)
			}
		}
		all, prefixes = append(all, terraform.Join(parts...)), prefixes[n:]
	}
	return all
}

// within returns an expression of IAM that is true for objects that begin with a prefix. IAM extracts nothing from the
// name of an object that does not have what is before and after the braces.
func within(prefix string) []any {
	before, after, anyLineage := strings.Cut(prefix, cloud.AnyLineage)
	if anyLineage {
		return []any{`resource.name.extract("`, terraform.Code("local.objects"), "/" + before + "{lineage}" + after + `") != ""`}
	}
	return []any{`resource.name.startsWith("`, terraform.Code("local.objects"), "/" + prefix + `")`}
}
