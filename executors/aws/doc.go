// Package aws runs jobs on AWS Batch and SageMaker and services on AWS Lambda, and knows AWS as a
// target: what a system needs there, and which units fit. It writes the infrastructure as files for
// OpenTofu or Terraform, and runs units on what these files make, which it finds by its names.
//
// Rights follow from the units: [clouds.Access] is what a unit reads, writes, calls and may see, and
// the only source of its role. So each port of a unit is a store of its own in the bucket.
//
// # A task in AWS
//
// A [backend] runs the tasks of a place; the executor does what backends have in common.
//
// On AWS Batch, the record of a task is an active revision of a job definition, whose name follows from the
// task and the state. It is registered before the job is submitted and deregistered after the job
// has ended, by [Executor.Destroy] alone. A job counts only for the revision that it was submitted
// with. So each step of a killed apply is found again, and a task that was destroyed starts again
// under its name.
//
// A training job of SageMaker is its own record: its name follows from the task, SageMaker refuses a
// name that exists, and [Executor.Destroy] deletes the job.
//
// On AWS Lambda, the record of a task is a published version of the function of its unit, which
// has the name of the task in a variable.
//
// Jobs get one attempt. The first process of the container is tenon-pod, as in a cluster: it
// fetches what the job reads, runs its program, and stores what it leaves, with its result last.
package aws
