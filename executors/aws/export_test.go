package aws

import (
	"context"
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/tenon-ml/tenon/executors"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/planner/state"
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

// EndpointNames returns the names of what the task of a handle has in SageMaker.
func EndpointNames(h state.Handle) []string {
	var st taskState
	_ = json.Unmarshal(h.Data, &st) // without names, nothing was created
	return []string{st.Endpoint, st.Run + oneVariant, st.Run + "-" + clouds.MainVariant}
}

// PublicAddress returns whether the tasks of a service have public addresses, as Amazon ECS says it.
func (e *Executor) PublicAddress(ctx context.Context, h state.Handle) (string, error) {
	st, c, err := e.open(ctx, h)
	if err != nil {
		return "", err
	}
	s, err := c.service(ctx, &st)
	if err != nil || s == nil {
		return "", err
	}
	return s.NetworkConfiguration.AwsvpcConfiguration.AssignPublicIP, nil
}
