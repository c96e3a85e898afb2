// Package azure runs jobs on Container Apps jobs, and knows Azure as a target: what a system needs there, and which
// units fit. It writes the infrastructure as files for OpenTofu or Terraform, and runs jobs in what these files make,
// which it finds by its names.
//
// Rights follow from the units: [cloud.Access] is what a unit reads, writes and may see, and the only source of the
// rights of its identity. So each port of a unit is a store of its own in the container of blobs, and conditions of
// the assignments of roles name its prefix.
package azure
