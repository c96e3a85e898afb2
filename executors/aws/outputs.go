package aws

import (
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
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
	// each returns an object with a value for each unit of some places.
	each := func(value func(*ir.Unit) terraform.Expr, places ...place) terraform.Expr {
		var fields []terraform.Field
		for _, u := range w.units {
			for _, p := range places {
				if w.place(u) == p {
					fields = append(fields, terraform.Field{Key: u.ID, Value: value(u)})
				}
			}
		}
		return terraform.Object(fields...)
	}
	first := func(kind, attribute string) func(*ir.Unit) terraform.Expr {
		return func(u *ir.Unit) terraform.Expr {
			return terraform.Code(fmt.Sprintf("one(%s.%s[*].%s)", kind, label(u.ID), attribute))
		}
	}
	output("artifacts", "Folder of the system in the bucket.", terraform.Join("s3://", terraform.Code("local.bucket"), "/", terraform.Code("local.root")))
	output("roles", "Roles by unit.", each(func(u *ir.Unit) terraform.Expr { return reference("aws_iam_role", label(u.ID), "arn") }, onBatch, onTraining, onLambda, onSageMaker))
	if w.any(onBatch) || w.any(onTraining) || w.any(onSageMaker) {
		output("repository", "Where images are pushed.", terraform.Code("local.repository_url"))
	}
	if w.any(onBatch) {
		output("job_queues", "Queues of AWS Batch by unit.", each(func(u *ir.Unit) terraform.Expr {
			return reference("aws_batch_job_queue", laneOf(u).name, "arn")
		}, onBatch))
		output("job_definitions", "Job definitions by unit; null until its image is named.", each(first("aws_batch_job_definition", "arn"), onBatch))
	}
	if w.any(onTraining) {
		output("training_jobs", "How the names of training jobs begin, by unit. The role of a unit only writes the logs of these.", each(func(u *ir.Unit) terraform.Expr { return terraform.Text(w.training(u)) }, onTraining))
	}
	if w.any(onSageMaker) {
		output("endpoints", "Endpoints of SageMaker by deployment; null until the image is named.", each(first("aws_sagemaker_endpoint", "name"), onSageMaker))
	}
}
