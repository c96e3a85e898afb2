package aws

import "github.com/aws/aws-sdk-go-v2/aws"

// RunName returns the name of a task in the region.
func RunName(lineage, task string) string { return New(Options{State: lineage}).runName(task) }

// Configure changes the configuration of the clients of an executor that has not connected yet.
func Configure(e *Executor, change func(*aws.Config)) { e.config = change }
