// Package tool runs OpenTofu or Terraform: it plans and applies a configuration whose state
// package backend keeps. It runs the program itself, because terraform-exec kills it at once when its
// caller is killed, and the program would forget what it has just created. This one is interrupted,
// completes what it does, and leaves its state in a file, see [Dir.Left].
package tool
