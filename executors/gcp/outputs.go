package gcp

import (
	"bytes"
	_ "embed"
	"fmt"
	"text/template"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// outputs writes what whoever runs units has to know.
func (w *writer) outputs() {
	f := w.file("outputs.tf")
	output := func(name, description string, value terraform.Expr) {
		b := f.Block("output", name)
		b.Set("description", terraform.Text(description))
		b.Set("value", value)
	}
	each := func(units []*ir.Unit, value func(label string) terraform.Expr) terraform.Expr {
		var fields []terraform.Field
		for _, u := range units {
			fields = append(fields, terraform.Field{Key: u.ID, Value: value(cloud.Label(u.ID))})
		}
		return terraform.Object(fields...)
	}
	output("artifacts", "Folder of the system in the bucket.", terraform.Join("gs://", terraform.Code("local.bucket"), "/", terraform.Code("local.root")))
	output("accounts", "Service accounts by unit.", each(w.units, func(l string) terraform.Expr { return cloud.Reference("google_service_account", l, "email") }))
	if len(w.units) > 0 {
		output("repository", "Where images are pushed.", terraform.Join(terraform.Code("var.region"), "-docker.pkg.dev/", terraform.Code("var.project"), "/"+w.repository()+"/units"))
	}
	if services := w.at(onService); len(services) > 0 {
		output("urls", "URLs of deployments; null until the image is named.", each(services, func(l string) terraform.Expr {
			return terraform.Code(fmt.Sprintf("one(google_cloud_run_v2_service.%s[*].uri)", l))
		}))
	}
}

//go:embed readme.md.tmpl
var readmeText string

var readmeTemplate = template.Must(template.New("README.md").Parse(readmeText))

// readme returns the page for whoever applies the files.
func (w *writer) readme() ([]byte, error) {
	var secrets []string
	for _, variable := range w.made() {
		secrets = append(secrets, w.secretID(variable))
	}
	data := struct {
		Header, System, Environment, Project, Region, Provider, Version string
		Secrets, Emails                                                 []string
		Services, Trainings                                             []*ir.Unit
		Jobs, Closed, Alerts, Budget                                    bool
	}{
		Header: terraform.Header, System: w.sys.Name, Environment: cloud.Environment(w.sys), Project: w.Project, Region: w.Region, Provider: provider, Version: providerVersion,
		Secrets: secrets, Emails: w.emails(), Services: w.at(onService), Trainings: w.at(onVertex),
		Jobs: w.any(onJob), Closed: len(w.closed()) > 0, Alerts: w.watched(), Budget: w.sys.Budget.Month != nil,
	}
	var b bytes.Buffer
	err := readmeTemplate.Execute(&b, data)
	return b.Bytes(), err
}
