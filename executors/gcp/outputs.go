package gcp

import (
	"bytes"
	"embed"
	"fmt"
	"strings"
	"text/template"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// outputs writes what whoever runs units has to know.
func (w *writer) outputs() {
	f := w.file("outputs.tf")
	attribute := func(format string) func(*ir.Unit) terraform.Expr {
		return func(u *ir.Unit) terraform.Expr { return terraform.Code(fmt.Sprintf(format, cloud.Label(u.ID))) }
	}
	f.Output("artifacts", "Folder of the system in the bucket.", terraform.Join("gs://", terraform.Code("local.bucket"), "/", terraform.Code("local.root")))
	f.Output("accounts", "Service accounts by unit.", cloud.Each(w.units, attribute("google_service_account.%s.email")))
	if len(w.units) > 0 {
		f.Output("repository", "Where images are pushed.", terraform.Join(terraform.Code("var.region"), "-docker.pkg.dev/", terraform.Code("var.project"), "/"+w.repository()+"/units"))
	}
}

// runs says what tenon apply runs: "jobs and deployments", or "" if that is nothing.
func (w *writer) runs() string {
	var all []string
	if w.any(onJob) || w.any(onVertex) {
		all = append(all, "jobs")
	}
	if w.any(onService) || w.any(onHosted) {
		all = append(all, "deployments")
	}
	return strings.Join(all, " and ")
}

//go:embed readme.md.tmpl gke.md.tmpl
var readmes embed.FS

var readmeTemplates = template.Must(template.ParseFS(readmes, "*.tmpl"))

// readme returns the page for whoever applies the files.
func (w *writer) readme() ([]byte, error) {
	var secrets []string
	for _, variable := range w.made() {
		secrets = append(secrets, w.secretID(variable))
	}
	data := struct {
		Header, System, Environment, Project, Region, Provider, Version string
		Prefix                                                          string
		Secrets, Emails                                                 []string
		Trainings                                                       []*ir.Unit
		Runs                                                            string
		Services, Hosted, Closed, Alerts, Budget                        bool
	}{
		Header: terraform.Header, Prefix: w.prefix, System: w.sys.Name, Environment: cloud.Environment(w.sys), Project: w.Project, Region: w.Region, Provider: provider, Version: providerVersion,
		Secrets: secrets, Emails: w.emails(), Trainings: w.at(onVertex),
		Runs: w.runs(), Services: w.any(onService), Hosted: w.any(onHosted), Closed: len(w.closed()) > 0, Alerts: w.watched(), Budget: w.sys.Budget.Month != nil,
	}
	var b bytes.Buffer
	name := "readme.md.tmpl"
	if w.Service == GKE {
		name = "gke.md.tmpl"
	}
	err := readmeTemplates.ExecuteTemplate(&b, name, data)
	return b.Bytes(), err
}
