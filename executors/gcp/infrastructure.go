package gcp

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// The provider that the files are for, and the versions that they need.
const (
	provider        = "hashicorp/google"
	providerVersion = "~> 6.50"
)

// Infrastructure returns the files for what the units of a system need, sorted by name. Equal
// systems give equal files.
func Infrastructure(sys *ir.System) ([]terraform.Document, error) {
	s, err := SettingsOf(sys.Target)
	if err != nil {
		return nil, err
	}
	w := newWriter(sys, s)
	if err := errors.Join(cloud.Unambiguous(sys, "Google Cloud"), cloud.EndpointsExist(sys, s.Endpoints)); err != nil {
		return nil, err
	}
	w.versions()
	w.variables()
	w.storage()
	w.images()
	if w.Service == GKE {
		if err := w.cluster(); err != nil {
			return nil, err
		}
		page, err := w.readme()
		return w.files.Documents(page), err
	}
	w.secrets()
	if err := w.rights(); err != nil {
		return nil, err
	}
	w.logs()
	w.network()
	w.alerts()
	if err := w.budget(); err != nil {
		return nil, err
	}
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
	root   string     // folder of the system in the bucket
	units  []*ir.Unit // jobs and services, by id
	files  terraform.Files
}

func newWriter(sys *ir.System, s Settings) *writer {
	return &writer{
		Settings: s, sys: sys, prefix: cloud.Hyphened(cloud.Prefix(sys, s.Prefix), mostPrefix), root: cloud.Root(sys, s.Folder), files: terraform.Files{},
		units: cloud.Placed(sys, func(u *ir.Unit) bool { return u.Kind != ir.Record }),
	}
}

// Longest names that Google Cloud allows.
const (
	mostPrefix  = 32 // with a hyphen and the id of a project, which has at most 30, the name of a bucket
	mostAccount = 30
	mostService = 49
	mostLabel   = 63 // the value of a label
)

// file returns the file of a name.
func (w *writer) file(name string) *terraform.File { return w.files.File(name) }

// at returns the units of a place.
func (w *writer) at(p place) []*ir.Unit { return cloud.At(w.units, w.place, p) }

func (w *writer) any(p place) bool { return len(w.at(p)) > 0 }

// bucket, repository, account and service return names. The account of a unit is a service account.
func (w *writer) bucket() string { return cmp.Or(w.Existing.Bucket, w.prefix+"-"+w.Project) }

func (w *writer) repository() string { return cmp.Or(w.Existing.Repository, w.prefix) }

func (w *writer) account(unit string) string {
	return cloud.Hyphened(w.prefix+"-"+cloud.Label(unit), mostAccount)
}

func (w *writer) service(unit string) string {
	return cloud.Hyphened(w.prefix+"-"+cloud.Label(unit), mostService)
}

// email returns the address of the service account of a unit.
func (w *writer) email(unit string) string {
	return w.account(unit) + "@" + w.Project + ".iam.gserviceaccount.com"
}

// registry returns where images are pushed.
func (w *writer) registry() string {
	return w.Region + "-docker.pkg.dev/" + w.Project + "/" + w.repository() + "/units"
}

// labels returns the labels of all resources of the environment. Values have neither capitals nor
// slashes.
func (w *writer) labels() map[string]string {
	all := map[string]string{"tenon-system": labelOf(w.sys.Name), "tenon-environment": labelOf(cloud.Environment(w.sys))}
	maps.Copy(all, w.Labels)
	return all
}

// labelOf returns a name as the value of a label.
func labelOf(name string) string { return cloud.Hyphened(cloud.Label(name), mostLabel) }

// enabled makes a resource wait for the APIs.
func enabled(b *terraform.Body) {
	b.Set("depends_on", terraform.List(terraform.Code("google_project_service.apis")))
}

func (w *writer) versions() {
	p := w.file("versions.tf").Requires(cloud.TerraformVersion, terraform.Provider{Name: "google", Source: provider, Version: providerVersion})
	p.Set("project", terraform.Code("var.project"))
	p.Set("region", terraform.Code("var.region"))
	p.Set("default_labels", terraform.Code("local.labels"))
	if w.sys.Budget.Month != nil {
		p.Comment("The API of budgets asks whose quota its calls use.")
		p.Set("billing_project", terraform.Code("var.project"))
		p.Set("user_project_override", terraform.Bool(true))
	}
}

func (w *writer) variables() {
	f := w.file("variables.tf")
	f.Variable("project", "Id of the project of all resources.", "string", terraform.Text(w.Project))
	f.Variable("region", "Region of all resources.", "string", terraform.Text(w.Region))
	if w.any(onJob) || w.any(onService) {
		f.Variable("log_retention_days", "Days after which log entries are removed.", "number", terraform.Int(w.Retention))
	}
	f.Block("locals").Set("labels", cloud.Texts(w.labels()))
	f = w.file("apis.tf")
	b := f.Resource("google_project_service", "apis")
	b.Set("for_each", terraform.Call("toset", terraform.Texts(w.apis()...)))
	b.Set("service", terraform.Code("each.value"))
	b.Comment("Others in the project may use them.")
	b.Set("disable_on_destroy", terraform.Bool(false))
}

// apis returns the services of Google that the resources and the units use.
func (w *writer) apis() []string {
	apis := []string{"iam.googleapis.com", "storage.googleapis.com"}
	if w.any(onJob) || w.any(onService) {
		apis = append(apis, "logging.googleapis.com", "run.googleapis.com")
	}
	if len(w.units) > 0 {
		apis = append(apis, "artifactregistry.googleapis.com")
	}
	if w.any(onVertex) || w.any(onHosted) {
		apis = append(apis, "aiplatform.googleapis.com")
	}
	if len(w.closed()) > 0 && w.Existing.Network == nil {
		apis = append(apis, "compute.googleapis.com")
	}
	if w.Service == "" && slices.ContainsFunc(w.units, func(u *ir.Unit) bool { return len(w.accessOf(u).Secrets) > 0 }) {
		apis = append(apis, "secretmanager.googleapis.com")
	}
	if w.Service == "" && w.watched() {
		apis = append(apis, "monitoring.googleapis.com")
	}
	if w.sys.Budget.Month != nil {
		apis = append(apis, "billingbudgets.googleapis.com")
	}
	if w.Service == GKE {
		apis = append(apis, "compute.googleapis.com", "container.googleapis.com")
	}
	slices.Sort(apis)
	return apis
}

// errBilling says that nothing watches a budget.
var errBilling = errors.New("budget.month needs a billing account: add billing_account: \"01ABCD-23EF45-678901\" to the target, or remove budget.month")
