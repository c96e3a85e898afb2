package aws

import (
	"errors"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// The provider that the files are for, and the versions that they need.
const (
	provider        = "hashicorp/aws"
	providerVersion = "~> 6.62"
)

// Infrastructure returns the files for what the units of a system need, sorted by name. Equal
// systems give equal files.
func Infrastructure(sys *ir.System) ([]terraform.Document, error) {
	w, err := written(sys)
	if err != nil {
		return nil, err
	}
	return w.files.Documents(w.readme()), nil
}

// written returns a writer that has written all files of a system.
func written(sys *ir.System) (*writer, error) {
	s, err := SettingsOf(sys.Target)
	if err != nil {
		return nil, err
	}
	w := newWriter(sys, s)
	if err := errors.Join(clouds.Unambiguous(w.sys, "AWS"), clouds.EndpointsExist(w.sys, w.Endpoints), w.balancerFits()); err != nil {
		return nil, err
	}
	w.versions()
	w.variables()
	w.storage()
	w.images()
	if s.Cluster.Service == EKS {
		return w, w.cluster()
	}
	w.logs()
	w.secrets()
	if err := w.roles(); err != nil {
		return nil, err
	}
	if len(w.tasks()) > 0 {
		w.network()
	}
	if len(w.jobs()) > 0 {
		w.batch()
	}
	if w.Controller != nil {
		if err := w.schedule(); err != nil {
			return nil, err
		}
	}
	if w.any(onFargate) {
		w.containers()
	}
	w.alarms()
	if err := w.budget(); err != nil {
		return nil, err
	}
	w.outputs()
	return w, nil
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
		Settings: s, sys: sys, prefix: clouds.Prefix(sys, s.Prefix), root: clouds.Root(sys, s.Folder), files: terraform.Files{},
		units: append(clouds.Placed(sys, func(u *ir.Unit) bool { return s.place(u) != onTenon }), s.Controller.units(sys)...),
	}
}

// file returns the file of a name.
func (w *writer) file(name string) *terraform.File { return w.files.File(name) }

// at returns the units of a place.
func (w *writer) at(p place) []*ir.Unit { return clouds.At(w.units, w.place, p) }

// jobs returns the units that run on AWS Batch, with the controller.
func (w *writer) jobs() []*ir.Unit { return slices.Concat(w.at(onBatch), w.at(onSchedule)) }

func (w *writer) any(p place) bool { return len(w.at(p)) > 0 }

// name returns the name of what a unit has.
func (w *writer) name(u *ir.Unit) string { return w.prefix + "-" + label(u.ID) }

// environment returns the value of the tag that the resources of this environment, and no others,
// have.
func (w *writer) environment() string { return clouds.Environment(w.sys) }

// tagged adds the tag with the unit to a resource. The other tags are those of the provider.
func tagged(b *terraform.Body, u *ir.Unit) {
	b.Set("tags", terraform.Object(terraform.Field{Key: "tenon:unit", Value: terraform.Text(u.ID)}))
}

// arn returns the ARN of something in the region and the account.
func arn(service, resource string) terraform.Expr {
	return terraform.Join("arn:", terraform.Code("local.partition"), ":"+service+":", terraform.Code("var.region"), ":", terraform.Code("local.account"), ":"+resource)
}

func (w *writer) versions() {
	p := w.file("versions.tf").Requires(clouds.TerraformVersion, terraform.Provider{Name: "aws", Source: provider, Version: providerVersion})
	p.Set("region", terraform.Code("var.region"))
	if w.Account != "" {
		p.Set("allowed_account_ids", terraform.Texts(w.Account))
	}
	p.Block("default_tags").Set("tags", terraform.Code("local.tags"))
}

func (w *writer) variables() {
	f := w.file("variables.tf")
	f.Variable("region", "Region of all resources.", "string", terraform.Text(w.Region))
	f.Variable("log_retention_days", "Days after which log events are removed.", "number", terraform.Int(w.Retention))
	clouds.Images(f, "Images by unit, each with its digest. What runs a unit is made once its image is named.", w.at(onBatch))
	l := f.Block("locals")
	tags := []terraform.Field{{Key: "tenon:system", Value: terraform.Text(w.sys.Name)}, {Key: "tenon:environment", Value: terraform.Text(w.environment())}}
	l.Set("tags", terraform.Object(append(tags, clouds.Texts(w.Tags).Fields...)...))
	l.Set("account", terraform.Code("data.aws_caller_identity.current.account_id"))
	l.Set("partition", terraform.Code("data.aws_partition.current.partition"))
	f.Block("data", "aws_caller_identity", "current")
	f.Block("data", "aws_partition", "current")
}
