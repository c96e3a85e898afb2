// Package azure runs jobs on Container Apps jobs, and knows Azure as a target: what a system needs there, and which
// units fit. It writes the infrastructure as files for OpenTofu or Terraform, and runs jobs in what these files make,
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
package azure
