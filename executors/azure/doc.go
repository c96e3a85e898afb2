// Package azure runs jobs and services on Container Apps, and those that need more on Azure Machine Learning. It knows Azure
// as a target: what a system needs there, and which units fit. It writes the infrastructure as files for OpenTofu or Terraform, and runs units in what these files make,
// which it finds by its names.
//
// Rights follow from the units: [cloud.Access] is what a unit reads, writes and may see, and the only source of the
// rights of its identity. So each port of a unit is a store of its own in the container of blobs, and conditions of
// the assignments of roles name its prefix.
//
// # A task on Azure
//
// The record of a task is a job of Container Apps, whose name follows from the task and the state, and whose tags have a
// token of this start. Azure names its executions, so a start cannot be repeated: whoever finds a job without an execution
// waits first until Azure would list one. Container Apps make one attempt, whose first process is tenon-pod.
//
// A job on Azure Machine Learning has a name with the token, and a tag by which the jobs of its task are found. A start is
// claimed in the container of blobs before its job is made: see ml.go.
//
// # A service on Azure
//
// A service has an app of Container Apps, whose tags have its unit and the state, and a task is a revision of it. Requests
// go to one revision by name: [Executor.Wait] moves them once a revision is ready, and [Executor.Destroy] to the former
// one if there is one. A revision cannot be removed: one that is not active counts as absent.
//
// A service that needs more has an online endpoint of Azure Machine Learning, and a task is a deployment there for each of its
// versions: see endpoint.go.
package azure
