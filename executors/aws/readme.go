package aws

import (
	"bytes"
	"embed"
	"text/template"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/terraform"
)

//go:embed readme.md.tmpl eks.md.tmpl cloudformation.md.tmpl
var readmes embed.FS

var readmeTemplates = template.Must(template.ParseFS(readmes, "*.tmpl"))

// readme returns the page for whoever applies the files.
func (w *writer) readme() []byte {
	if w.Cluster.Service == EKS {
		return w.page("eks.md.tmpl", terraform.Header)
	}
	return w.page("readme.md.tmpl", terraform.Header)
}

// page returns the page of a template.
func (w *writer) page(name, header string) []byte {
	var made []string
	for _, variable := range w.made() {
		made = append(made, w.root+"/"+variable)
	}
	data := struct {
		Header, System, Environment, Region, Provider, Version string
		Account, Stack, Prefix                                 string
		Secrets                                                []string
		Images, Functions, Endpoints, Trainings, Containers    []*ir.Unit
		Jobs, Network, Alarms, Budget                          bool
		Emails                                                 []string
	}{
		Header: header, Prefix: w.prefix, Account: w.Account, Stack: hyphened(w.prefix, mostStack), System: w.sys.Name, Environment: w.environment(), Region: w.Region, Provider: provider, Version: providerVersion,
		Secrets: made, Images: w.at(onBatch), Endpoints: w.at(onSageMaker), Functions: w.at(onLambda), Trainings: w.at(onTraining), Containers: w.at(onFargate),
		Jobs: w.any(onBatch), Network: w.billedNetwork(),
		Alarms: w.files["alarms.tf"] != nil && !w.files["alarms.tf"].Empty(), Budget: w.sys.Budget.Month != nil, Emails: w.Emails,
	}
	var b bytes.Buffer
	if err := readmeTemplates.ExecuteTemplate(&b, name, data); err != nil {
		panic(err) // the template and its data are of this package
	}
	return b.Bytes()
}

// billedNetwork reports whether parts of the network that is made are billed by the hour.
func (w *writer) billedNetwork() bool {
	if w.Existing.Network != nil {
		return false
	}
	return w.any(onCluster) || len(w.tasks()) > 0 && !w.lanes()[0].open
}
