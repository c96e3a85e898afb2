// Package terraform writes files in the language of OpenTofu and Terraform. It knows the
// syntax and no provider.
package terraform
