package aws

import (
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/aws/cloudformation"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// CloudFormation returns [Infrastructure] as a template, and a page for whoever applies it. It returns an error
// that names what a system needs and the template does not support.
func CloudFormation(sys *ir.System) ([]terraform.Document, error) {
	w, err := written(sys)
	if err != nil {
		return nil, err
	}
	t, err := cloudformation.New(w.files, "Infrastructure of "+w.environment()+" in AWS, written by Tenon.")
	if err != nil {
		return nil, err
	}
	text, err := t.YAML()
	if err != nil {
		return nil, err
	}
	return []terraform.Document{{Name: "README.md", Content: w.page("cloudformation.md.tmpl", cloudformation.Header)}, {Name: "template.yaml", Content: text}}, nil
}
