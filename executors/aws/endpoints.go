package aws

import (
	"cmp"
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// function returns the name of a service on Lambda, endpoint that of one on SageMaker.
func (w *writer) function(u *ir.Unit) string { return fit(w.name(u), mostFunction) }
func (w *writer) endpoint(u *ir.Unit) string { return hyphened(w.name(u), mostSageMaker) }

// endpoints writes the endpoints of SageMaker. Functions are those of the executor, which makes a
// version of one for each version of a deployment.
func (w *writer) endpoints() {
	f := w.file("endpoints.tf")
	for _, u := range w.at(onSageMaker) {
		w.sagemaker(f, u)
	}
}

// sagemaker writes a model, its configuration and an endpoint. The first two are made again
// under another name if something changes, before the former ones go.
func (w *writer) sagemaker(f *terraform.File, u *ir.Unit) {
	l, name, instance := label(u.ID), w.endpoint(u), w.Settings.endpoint(u).Instance
	replicas := int64(cmp.Or(u.Endpoint.Replicas, 1))
	versioned := func(of terraform.Expr) terraform.Expr {
		return terraform.Join(name+"-", terraform.Call("substr", terraform.Call("sha256", of), terraform.Int(0), terraform.Int(8)))
	}
	before := func(b *terraform.Body) {
		b.Block("lifecycle").Set("create_before_destroy", terraform.Bool(true))
	}
	image := key("images", u)
	b := f.Resource("aws_sagemaker_model", l)
	once(b, "images", u)
	b.Set("name", versioned(image))
	b.Set("execution_role_arn", reference("aws_iam_role", l, "arn"))
	b.Set("enable_network_isolation", terraform.Bool(u.Network != ir.NetworkOpen))
	b.Block("primary_container").Set("image", image)
	before(b)
	b.Set("depends_on", terraform.List(terraform.Code("aws_iam_role_policy."+l)))
	tagged(b, u)
	b = f.Resource("aws_sagemaker_endpoint_configuration", l)
	once(b, "images", u)
	b.Set("name", versioned(terraform.Join(image, fmt.Sprintf(" %s %d", instance, replicas))))
	v := b.Block("production_variants")
	v.Set("variant_name", terraform.Text(variant))
	v.Set("model_name", terraform.Code(fmt.Sprintf("aws_sagemaker_model.%s[0].name", l)))
	v.Set("instance_type", terraform.Text(instance))
	v.Set("initial_instance_count", terraform.Int(replicas))
	before(b)
	tagged(b, u)
	b = f.Resource("aws_sagemaker_endpoint", l)
	once(b, "images", u)
	b.Set("name", terraform.Text(name))
	b.Set("endpoint_config_name", terraform.Code(fmt.Sprintf("aws_sagemaker_endpoint_configuration.%s[0].name", l)))
	b.Set("depends_on", terraform.List(terraform.Code("aws_cloudwatch_log_group."+l)))
	tagged(b, u)
}

// variant is the name of the only variant of an endpoint.
const variant = "main"
