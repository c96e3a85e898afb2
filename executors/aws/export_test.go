package aws

import (
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/tenon-ml/tenon/executors"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
)

// RunName returns the name of a task in the region.
func RunName(lineage, task string) string {
	return New(Options{Options: clouds.Options{State: lineage}}).runName(task)
}

// Configure changes the configuration of the clients of an executor that has not connected yet.
func Configure(e *Executor, change func(*aws.Config)) { e.config = change }

// TrainingName returns the name of the training job of a task.
func TrainingName(o Options, t executors.Task) string {
	e := New(o)
	return e.trainingName(e.names().training(&t.Unit), t.Name)
}
