package aws

import (
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// outputs writes what whoever runs units has to know.
func (w *writer) outputs() {
	f := w.file("outputs.tf")
	each := func(value func(*ir.Unit) terraform.Expr, p place) terraform.Expr { return clouds.Each(w.at(p), value) }
	first := func(kind, attribute string) func(*ir.Unit) terraform.Expr {
		return func(u *ir.Unit) terraform.Expr {
			return terraform.Code(fmt.Sprintf("one(%s.%s[*].%s)", kind, label(u.ID), attribute))
		}
	}
	f.Output("artifacts", "Folder of the system in the bucket.", terraform.Join("s3://", terraform.Code("local.bucket"), "/", terraform.Code("local.root")))
	f.Output("roles", "Roles by unit.", clouds.Each(w.units, func(u *ir.Unit) terraform.Expr { return reference("aws_iam_role", w.placed(u), "arn") }))
	if len(w.tasks()) > 0 || w.any(onTraining) || w.any(onSageMaker) {
		f.Output("repository", "Where images are pushed.", terraform.Code("local.repository_url"))
	}
	if w.any(onBatch) {
		f.Output("job_queues", "Queues of AWS Batch by unit.", each(func(u *ir.Unit) terraform.Expr {
			return reference("aws_batch_job_queue", laneOf(u).name, "arn")
		}, onBatch))
		f.Output("job_definitions", "Job definitions by unit; null until its image is named.", each(first("aws_batch_job_definition", "arn"), onBatch))
	}
	if w.any(onTraining) {
		f.Output("training_jobs", "How the names of training jobs begin, by unit. The role of a unit only writes the logs of these.", each(func(u *ir.Unit) terraform.Expr { return terraform.Text(w.training(u)) }, onTraining))
	}
	if w.any(onFargate) {
		f.Output("balancer", "Address of the load balancer: hosts of deployments are aliases of it.", reference("aws_lb", "main", "dns_name"))
	}
	if w.any(onSageMaker) {
		f.Output("endpoints", "Names of the endpoints of SageMaker, which tenon apply makes, by deployment.", each(func(u *ir.Unit) terraform.Expr { return terraform.Text(w.endpoint(u)) }, onSageMaker))
	}
}
