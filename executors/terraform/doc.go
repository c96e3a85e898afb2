// Package terraform has a model of infrastructure, and writes it in the language of OpenTofu and
// Terraform. The model is plain data: files of blocks with attributes, whose values are expressions.
// It knows no provider. Whatever is written in another format is made from the same files.
package terraform
