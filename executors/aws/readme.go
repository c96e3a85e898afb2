package aws

import (
	"bytes"
	_ "embed"
	"slices"
	"text/template"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/terraform"
)

//go:embed readme.md.tmpl
var readmeText string

var readmeTemplate = template.Must(template.New("README.md").Parse(readmeText))

// readme returns the page for whoever applies the files.
func (w *writer) readme() []byte {
	var made []string
	for _, variable := range w.made() {
		made = append(made, w.root+"/"+variable)
	}
	data := struct {
		Header, System, Environment, Region, Provider, Version string
		Secrets                                                []string
		Images, Functions, Trainings                           []*ir.Unit
		Jobs, SageMaker, Network, Alarms, Budget               bool
		Emails                                                 []string
	}{
		Header: terraform.Header, System: w.sys.Name, Environment: w.environment(), Region: w.Region, Provider: provider, Version: providerVersion,
		Secrets: made, Images: slices.Concat(w.at(onBatch), w.at(onSageMaker)), Functions: w.at(onLambda), Trainings: w.at(onTraining),
		Jobs: w.any(onBatch), SageMaker: w.any(onSageMaker), Network: w.any(onBatch) && w.Existing.Network == nil && !w.lanes()[0].open,
		Alarms: w.files["alarms.tf"] != nil && !w.files["alarms.tf"].Empty(), Budget: w.sys.Budget.Month != nil, Emails: w.Emails,
	}
	var b bytes.Buffer
	if err := readmeTemplate.Execute(&b, data); err != nil {
		panic(err) // the template and its data are of this package
	}
	return b.Bytes()
}
