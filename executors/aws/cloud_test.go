package aws

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
)

// queues is AWS Batch with some queues, which refuses to list the jobs of any.
type queues struct {
	batchAPI
	all []types.JobQueueDetail
}

func (q queues) ListJobs(context.Context, *batch.ListJobsInput, ...func(*batch.Options)) (*batch.ListJobsOutput, error) {
	message := "no jobs can be listed"
	return nil, &types.ClientException{Message: &message}
}

func (q queues) DescribeJobQueues(context.Context, *batch.DescribeJobQueuesInput, ...func(*batch.Options)) (*batch.DescribeJobQueuesOutput, error) {
	return &batch.DescribeJobQueuesOutput{JobQueues: q.all}, nil
}

// A task can be destroyed after its queue was.
func TestAQueueThatIsGoneHasNoJobs(t *testing.T) {
	st := taskState{Queue: "queue"}
	if jobs, err := (&cloud{batch: queues{}}).jobsOf(t.Context(), st); err != nil || len(jobs) > 0 {
		t.Errorf("a queue that is gone has %v, %v", jobs, err)
	}
	there := queues{all: make([]types.JobQueueDetail, 1)}
	if _, err := (&cloud{batch: there}).jobsOf(t.Context(), st); err == nil || !strings.Contains(err.Error(), "no jobs can be listed") {
		t.Errorf("a queue that is there gives %v", err)
	}
}
