// Package aws knows AWS as a target: what a system needs there, and which units fit. It
// writes the infrastructure as files for OpenTofu or Terraform. It calls nothing in AWS and
// runs no units.
//
// Rights follow from the units: [access] is what a unit reads, writes, calls and may see, and
// the only source of its role.
package aws
