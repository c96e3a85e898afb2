package aws

import (
	"bytes"
	_ "embed"
	"text/template"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/terraform"
)

//go:embed readme.md.tmpl cloudformation.md.tmpl
var readmes embed.FS

var readmeTemplates = template.Must(template.ParseFS(readmes, "*.tmpl"))

// readme returns the page for whoever applies the files.
func (w *writer) readme() []byte { return w.page("readme.md.tmpl", terraform.Header) }

// page returns the page of a template.
func (w *writer) page(name, header string) []byte {
	var made []string
	for _, variable := range w.made() {
		made = append(made, w.root+"/"+variable)
	}
	data := struct {
		Header, System, Environment, Region, Provider, Version string
		Account, Stack                                         string
		Secrets                                                []string
		Images, Functions, Endpoints, Trainings                []*ir.Unit
		Jobs, Network, Alarms, Budget                          bool
		Emails                                                 []string
	}{
		Header: terraform.Header, System: w.sys.Name, Environment: w.environment(), Region: w.Region, Provider: provider, Version: providerVersion,
		Secrets: made, Images: w.at(onBatch), Functions: w.at(onLambda), Endpoints: w.at(onSageMaker), Trainings: w.at(onTraining),
		Jobs: w.any(onBatch), Network: w.any(onBatch) && w.Existing.Network == nil && !w.lanes()[0].open,
		Alarms: w.files["alarms.tf"] != nil && !w.files["alarms.tf"].Empty(), Budget: w.sys.Budget.Month != nil, Emails: w.Emails,
	}
	var b bytes.Buffer
	if err := readmeTemplates.ExecuteTemplate(&b, name, data); err != nil {
		panic(err) // the template and its data are of this package
	}
	return b.Bytes()
}
