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

// endpoints writes what answers for deployments.
func (w *writer) endpoints() {
	f := w.file("endpoints.tf")
	for _, u := range w.units {
		switch w.place(u) {
		case onLambda:
			w.lambda(f, u)
		case onSageMaker:
			w.sagemaker(f, u)
		case onTenon, onBatch, onTraining:
		}
	}
}

// lambda writes a function with a URL, which only callers with rights in the account may ask.
func (w *writer) lambda(f *terraform.File, u *ir.Unit) {
	l, archive := label(u.ID), key("archives", u)
	b := f.Resource("aws_s3_object", l)
	once(b, "archives", u)
	b.Set("bucket", terraform.Code("local.bucket"))
	b.Set("key", terraform.Join(terraform.Code("local.root"), "/archives/"+l+".zip"))
	b.Set("source", archive)
	b.Set("source_hash", terraform.Call("filemd5", archive))
	tagged(b, u)
	b = f.Resource("aws_lambda_function", l)
	once(b, "archives", u)
	b.Set("function_name", terraform.Text(w.function(u)))
	b.Set("description", terraform.Text(u.ID+" of "+w.sys.Name))
	b.Set("role", reference("aws_iam_role", l, "arn"))
	b.Set("runtime", terraform.Text("provided.al2023"))
	b.Set("handler", terraform.Text("bootstrap"))
	b.Set("architectures", terraform.Texts(w.Architecture))
	memory := int64(usualMemory)
	if u.Needs.Memory > 0 {
		memory = max((u.Needs.Memory-1)>>20+1, serviceMin)
	}
	b.Set("memory_size", terraform.Int(memory))
	b.Set("timeout", terraform.Int(30))
	b.Set("s3_bucket", terraform.Code(fmt.Sprintf("aws_s3_object.%s[0].bucket", l)))
	b.Set("s3_key", terraform.Code(fmt.Sprintf("aws_s3_object.%s[0].key", l)))
	b.Set("source_code_hash", terraform.Call("filebase64sha256", archive))
	if u.Needs.Disk > 0 {
		b.Block("ephemeral_storage").Set("size", terraform.Int(max((u.Needs.Disk-1)>>20+1, leastScratch)))
	}
	b.Set("depends_on", terraform.List(terraform.Code("aws_cloudwatch_log_group."+l), terraform.Code("aws_iam_role_policy."+l)))
	tagged(b, u)
	b = f.Resource("aws_lambda_function_url", l)
	once(b, "archives", u)
	b.Set("function_name", terraform.Code(fmt.Sprintf("aws_lambda_function.%s[0].function_name", l)))
	b.Set("authorization_type", terraform.Text("AWS_IAM"))
}

// leastScratch is the disk that every function has, in MiB.
const leastScratch = 512

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
