package aws

import (
	"bytes"
	"context"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
)

// A backend is a service of AWS that runs the tasks of a place. The executor does what backends
// have in common: it waits, copies logs, and brings what a job leaves. A backend keeps nothing between
// calls. All that it knows about a task is in the state of the task, which it completes.
type backend interface {
	// prepare completes the state of a task with what follows from the task alone.
	prepare(st *taskState, t executors.Task)
	// apply makes a task exist, and sets its record. It is idempotent. prior is the deployed
	// service that the task takes over from, or nil.
	apply(ctx context.Context, c *cloud, st *taskState, t executors.Task, prior *taskState) error
	// find completes the state with what AWS has of the task, given the name of the task, and
	// reports whether it has a record.
	find(ctx context.Context, c *cloud, st *taskState) (there bool, err error)
	// look returns the status of a task that has a record, and the result of a job that has ended and
	// stored one. Messages say what a user has to change.
	look(ctx context.Context, c *cloud, st *taskState) (state.Status, *pod.Result, error)
	// stream returns where CloudWatch has the log, or "" while there is none.
	stream(ctx context.Context, c *cloud, st taskState) (group, stream string, err error)
	// end ends all that runs for a task, and returns once it has ended. The record stays.
	end(ctx context.Context, c *cloud, st *taskState) error
	// forget removes the record of a task that has ended.
	forget(ctx context.Context, c *cloud, st taskState) error
}

// A promoter is a backend whose services get requests only once they were seen ready.
type promoter interface {
	// promote lets requests go to a service that is ready, and to no other one of its unit.
	// It is idempotent.
	promote(ctx context.Context, c *cloud, st *taskState) error
}

// A streamed backend is one whose tasks have several streams of CloudWatch as their log.
type streamed interface {
	// readStreams reads what the streams have got since the last call, or the next page of that.
	readStreams(ctx context.Context, c *cloud, st taskState, at *logPosition, to *bytes.Buffer) error
}

// backends are the places that have a backend, in the order in which they are asked for a task.
var backends = []place{onBatch, onTraining, onLambda, onSageMaker, onFargate}

// backend returns what runs the tasks of a place, or nil.
func (e *Executor) backend(p place) backend {
	switch p {
	case onBatch:
		return batchJobs{e}
	case onTraining:
		return trainingJobs{e}
	case onLambda:
		return functions{e}
	case onSageMaker:
		return endpoints{e}
	case onFargate:
		return containers{e}
	case onTenon, onCluster, onSchedule:
	}
	return nil
}
