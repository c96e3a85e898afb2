package azure

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// The provider that the files are for, and the versions that they need.
const (
	provider        = "hashicorp/azurerm"
	providerVersion = "~> 4.55"
)

// Infrastructure returns the files for what the units of a system need, sorted by name. Equal
// systems give equal files.
func Infrastructure(sys *ir.System) ([]terraform.Document, error) {
	s, err := SettingsOf(sys.Target)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(cloud.Unambiguous(sys, "Azure"), cloud.EndpointsExist(sys, s.Endpoints)); err != nil {
		return nil, err
	}
	w := newWriter(sys, s)
	w.versions()
	w.variables()
	w.group()
	w.storage()
	w.images()
	if w.Service == AKS {
		if err := w.cluster(); err != nil {
			return nil, err
		}
		page, err := w.readme()
		return w.files.Documents(page), err
	}
	w.vault()
	if err := w.rights(); err != nil {
		return nil, err
	}
	w.network()
	w.environments()
	w.learning()
	w.alerts()
	w.budget()
	w.outputs()
	page, err := w.readme()
	if err != nil {
		return nil, err
	}
	return w.files.Documents(page), nil
}

// A writer writes the files of one system.
type writer struct {
	Settings
	sys    *ir.System
	prefix string     // of names
	root   string     // folder of the system in the container of blobs
	units  []*ir.Unit // jobs and services, by id
	files  terraform.Files
}

func newWriter(sys *ir.System, s Settings) *writer {
	return &writer{
		Settings: s, sys: sys, prefix: plain(cloud.Prefix(sys, s.Prefix), mostPrefix), root: cloud.Root(sys, s.Folder),
		units: cloud.Placed(sys, func(u *ir.Unit) bool { return s.place(u) != onTenon }), files: terraform.Files{},
	}
}

// Longest names that Azure allows.
const (
	mostPrefix   = 32
	mostJob      = 32 // and of an app
	mostGlobal   = 24 // of an account of storage, a registry and a vault
	mostIdentity = 128
	mostRule     = 260 // of an alert
)

// plain returns a name in lower case of at most max characters, in which no hyphen follows another, as Container Apps
// want it. One that is changed ends with a part of its digest.
func plain(name string, most int) string {
	parts := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '-' || r == '_' })
	joined := strings.Join(parts, "-")
	if joined == name && len(name) <= most {
		return name
	}
	return strings.TrimRight(joined[:min(len(joined), most-9)], "-") + "-" + cloud.Short(name)
}

// file returns the file of a name.
func (w *writer) file(name string) *terraform.File { return w.files.File(name) }

// at returns the units of a place.
func (w *writer) at(p place) []*ir.Unit { return cloud.At(w.units, w.place, p) }

// in returns the units of an environment of Container Apps, in which no jobs of Azure Machine Learning are.
// A deployment at an endpoint of Azure Machine Learning counts as well: it may come from there, and its app is removed after
// the infrastructure has changed.
func (w *writer) in(opened bool) []*ir.Unit {
	return slices.DeleteFunc(cloud.At(w.units, open, opened), func(u *ir.Unit) bool { return w.place(u) == onML })
}

// global returns a name that is unique among all customers of Azure, of letters and digits: it has a part of the
// digest of what the resource is for.
func (w *writer) global() string { return w.globalOf("") }

// globalOf is global for another resource of the same kind.
func (w *writer) globalOf(of string) string {
	letters := strings.ReplaceAll(w.prefix, "-", "")
	return letters[:min(len(letters), mostGlobal-8)] + cloud.Short(w.Subscription+"/"+w.Group+"/"+w.prefix+of)
}

// account, container, registry and vaultName return names of resources that are made or exist.
func (w *writer) account() string {
	if s := w.Existing.Storage; s != nil {
		return s.Account
	}
	return w.global()
}

func (w *writer) container() string {
	if s := w.Existing.Storage; s != nil {
		return s.Container
	}
	return "artifacts"
}

func (w *writer) registry() string { return cmp.Or(w.Existing.Registry, w.global()) }

// repository returns where images are pushed.
func (w *writer) repository() string {
	return strings.ToLower(w.registry()) + ".azurecr.io/" + w.prefix + "/units"
}

// identity returns the name of the identity of a unit, and service that of its app.
func (w *writer) identity(unit string) string {
	return cloud.Fit(w.prefix+"-"+cloud.Label(unit), mostIdentity)
}

func (w *writer) service(unit string) string {
	return plain(w.prefix+"-"+cloud.Label(unit), mostJob)
}

// environment returns the name of the environment of Container Apps that a unit runs in.
func (w *writer) environment(open bool) string {
	if open {
		return w.prefix + "-open"
	}
	return w.prefix + "-closed"
}

// groupID returns the resource id of the resource group, and id that of a resource in it.
func (w *writer) groupID() string {
	return "/subscriptions/" + w.Subscription + "/resourceGroups/" + w.Group
}

func (w *writer) id(kind, name string) string { return w.groupID() + "/providers/" + kind + "/" + name }

// tags returns the tags of all resources of the environment.
func (w *writer) tags() map[string]string {
	all := map[string]string{"tenon-system": w.sys.Name, "tenon-environment": cloud.Environment(w.sys)}
	maps.Copy(all, w.Tags)
	return all
}

// placed sets where a resource is, and its tags, with that of a unit if it is for one.
func placed(b *terraform.Body, u *ir.Unit) {
	b.Set("resource_group_name", terraform.Code("local.group"))
	b.Set("location", terraform.Code("var.location"))
	tagged(b, u)
}

func tagged(b *terraform.Body, u *ir.Unit) {
	if u == nil {
		b.Set("tags", terraform.Code("local.tags"))
		return
	}
	b.Set("tags", terraform.Call("merge", terraform.Code("local.tags"), terraform.Object(terraform.Field{Key: "tenon-unit", Value: terraform.Text(u.ID)})))
}

func (w *writer) versions() {
	p := w.file("versions.tf").Requires(cloud.TerraformVersion, terraform.Provider{Name: "azurerm", Source: provider, Version: providerVersion})
	p.Set("subscription_id", terraform.Code("var.subscription"))
	p.Comment("The account of storage has no shared keys.")
	p.Set("storage_use_azuread", terraform.Bool(true))
	p.Set("resource_provider_registrations", terraform.Text("core"))
	p.Set("resource_providers_to_register", terraform.Texts(w.namespaces()...))
	features := p.Block("features")
	if w.learns() {
		b := features.Block("machine_learning")
		b.Comment("Azure would keep a workspace that is removed, and its name.")
		b.Set("purge_soft_deleted_workspace_on_destroy", terraform.Bool(true))
	}
}

// namespaces returns the resource providers that are used.
func (w *writer) namespaces() []string {
	all := []string{"Microsoft.ContainerRegistry", "Microsoft.ManagedIdentity", "Microsoft.Storage"}
	switch {
	case w.Service == AKS:
		all = append(all, "Microsoft.ContainerService")
	case len(w.made()) > 0:
		all = append(all, "Microsoft.KeyVault")
		fallthrough
	default:
		all = append(all, "Microsoft.App", "Microsoft.OperationalInsights")
	}
	if w.Service == "" && w.watched() {
		all = append(all, "Microsoft.Insights")
	}
	if w.sys.Budget.Month != nil {
		all = append(all, "Microsoft.Consumption")
	}
	if w.learns() {
		all = append(all, "Microsoft.Insights", "Microsoft.KeyVault", "Microsoft.MachineLearningServices")
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (w *writer) variables() {
	f := w.file("variables.tf")
	f.Variable("subscription", "Id of the subscription of all resources.", "string", terraform.Text(w.Subscription))
	f.Variable("location", "Location of all resources.", "string", terraform.Text(w.Location))
	if len(w.units) > 0 && w.Service == "" {
		f.Variable("log_retention_days", "Days after which the log is removed.", "number", terraform.Int(w.Retention))
	}
	f.Block("locals").Set("tags", cloud.Texts(w.tags()))
}

// group writes the resource group, or looks at it.
func (w *writer) group() {
	f := w.file("group.tf")
	kind := "azurerm_resource_group"
	if w.Existing.Group {
		f.Block("data", kind, "system").Set("name", terraform.Text(w.Group))
		kind = "data." + kind
	} else {
		b := f.Resource(kind, "system")
		b.Set("name", terraform.Text(w.Group))
		b.Set("location", terraform.Code("var.location"))
		tagged(b, nil)
	}
	l := f.Block("locals")
	l.Set("group", cloud.Reference(kind, "system", "name"))
	l.Set("group_id", cloud.Reference(kind, "system", "id"))
}

// budget writes the budget of a month, for all that has the tag of the environment. Its amount is in the currency
// in which Azure bills the subscription.
func (w *writer) budget() {
	month := w.sys.Budget.Month
	if month == nil {
		return
	}
	amount, _, _ := strings.Cut(month.Format(w.sys.Budget.Currency), " ")
	b := w.file("budget.tf").Resource("azurerm_consumption_budget_resource_group", "month")
	b.Set("name", terraform.Text(w.prefix))
	b.Set("resource_group_id", terraform.Code("local.group_id"))
	b.Set("amount", terraform.Number(amount))
	b.Set("time_grain", terraform.Text("Monthly"))
	b.Block("time_period").Set("start_date", terraform.Code(`formatdate("YYYY-MM-01'T'00:00:00'Z'", plantimestamp())`))
	t := b.Block("filter").Block("tag")
	t.Set("name", terraform.Text("tenon-environment"))
	t.Set("values", terraform.Texts(cloud.Environment(w.sys)))
	for _, r := range []struct {
		share int64
		kind  string
	}{{80, "Actual"}, {100, "Actual"}, {100, "Forecasted"}} {
		n := b.Block("notification")
		n.Set("operator", terraform.Text("GreaterThanOrEqualTo"))
		n.Set("threshold", terraform.Int(r.share))
		n.Set("threshold_type", terraform.Text(r.kind))
		switch emails := w.emails(); {
		case len(emails) > 0:
			n.Set("contact_emails", terraform.Texts(emails...))
		case w.Existing.ActionGroup == "":
			n.Set("contact_roles", terraform.Texts("Owner"))
		}
		if g := w.Existing.ActionGroup; g != "" {
			n.Set("contact_groups", terraform.Texts(g))
		}
	}
	b.Comment("It begins in the month in which it is made.")
	b.Block("lifecycle").Set("ignore_changes", terraform.List(terraform.Code("time_period")))
}

func (w *writer) emails() []string { return slices.Compact(slices.Sorted(slices.Values(w.Emails))) }

// errPorts says that a unit has more rights than Azure allows in one condition.
func errPorts(unit, what string, ports int) error {
	return fmt.Errorf("%s %s %d folders, and a condition of Azure has at most %d characters: put a step in between that joins some of them", unit, what, ports, mostCondition)
}
