package aws

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// definitions returns the active revisions of a definition, with the lowest first.
func (c *cloud) definitions(ctx context.Context, name string) ([]types.JobDefinition, error) {
	var all []types.JobDefinition
	pages := batch.NewDescribeJobDefinitionsPaginator(c.batch, &batch.DescribeJobDefinitionsInput{JobDefinitionName: &name, Status: aws.String(active)})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return nil, explainCall("look for the job definition "+name, err)
		}
		all = append(all, out.JobDefinitions...)
	}
	sortByRevision(all)
	return all, nil
}

const active = "ACTIVE"

// isActive reports whether a revision of a definition is active.
func (c *cloud) isActive(ctx context.Context, arn string) (bool, error) {
	out, err := c.batch.DescribeJobDefinitions(ctx, &batch.DescribeJobDefinitionsInput{JobDefinitions: []string{arn}})
	if err != nil {
		return false, explainCall("look for the job definition "+arn, err)
	}
	for _, d := range out.JobDefinitions {
		if aws.ToString(d.Status) == active {
			return true, nil
		}
	}
	return false, nil
}

// deregister makes a revision inactive. It may be so already.
func (c *cloud) deregister(ctx context.Context, arn string) error {
	if is, err := c.isActive(ctx, arn); err != nil || !is {
		return err
	}
	_, err := c.batch.DeregisterJobDefinition(ctx, &batch.DeregisterJobDefinitionInput{JobDefinition: &arn})
	return explainCall("deregister "+arn, err)
}

// jobsOf returns the ids of the jobs that were submitted for a start of a task, the first one
// first.
func (c *cloud) jobsOf(ctx context.Context, st taskState) ([]string, error) {
	all, err := c.jobsNamed(ctx, st.Queue, st.Run)
	var ids []string
	for _, j := range all {
		if aws.ToString(j.JobDefinition) == st.Record {
			ids = append(ids, aws.ToString(j.JobId))
		}
	}
	return ids, err
}

// jobsNamed returns the jobs with a name in a queue, of all definitions, the first one first.
func (c *cloud) jobsNamed(ctx context.Context, queue, name string) ([]types.JobSummary, error) {
	var found []types.JobSummary
	pages := batch.NewListJobsPaginator(c.batch, &batch.ListJobsInput{
		JobQueue: &queue, Filters: []types.KeyValuesPair{{Name: aws.String("JOB_NAME"), Values: []string{name}}},
	})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			if q, _, failed := c.queue(ctx, queue); failed == nil && q == nil {
				return nil, nil // AWS Batch ends all jobs of a queue that is deleted
			}
			return nil, explainCall("list the jobs of the queue "+queue, err)
		}
		for _, j := range out.JobSummaryList {
			if aws.ToString(j.JobName) == name {
				found = append(found, j)
			}
		}
	}
	sortByAge(found)
	return found, nil
}

// job returns a job, or nil if AWS Batch has forgotten it, as it does after some days.
func (c *cloud) job(ctx context.Context, id string) (*types.JobDetail, error) {
	out, err := c.batch.DescribeJobs(ctx, &batch.DescribeJobsInput{Jobs: []string{id}})
	if err != nil || len(out.Jobs) == 0 {
		return nil, explainCall("look at the job "+id, err)
	}
	return &out.Jobs[0], nil
}

func isOver(s types.JobStatus) bool {
	return s == types.JobStatusSucceeded || s == types.JobStatusFailed
}

// allOver reports whether all jobs have ended.
func (c *cloud) allOver(ctx context.Context, ids []string) (bool, error) {
	for _, id := range ids {
		if j, err := c.job(ctx, id); err != nil || j != nil && !isOver(j.Status) {
			return false, err
		}
	}
	return true, nil
}

// terminate asks a job to end, in whatever state it is.
func (c *cloud) terminate(ctx context.Context, id, reason string) error {
	_, err := c.batch.TerminateJob(ctx, &batch.TerminateJobInput{JobId: &id, Reason: &reason})
	return explainCall("end the job "+id, err)
}

// usable returns an error if a queue cannot run a job with such needs.
func (c *cloud) usable(ctx context.Context, queue string, n ir.Resources) error {
	q, env, err := c.queue(ctx, queue)
	if err != nil {
		return err
	}
	if why := stuck(queue, q, env, n); why != "" {
		return errors.New(why)
	}
	return nil
}

// queue returns a queue and its compute environment, or nil for those that do not exist.
func (c *cloud) queue(ctx context.Context, name string) (*types.JobQueueDetail, *types.ComputeEnvironmentDetail, error) {
	out, err := c.batch.DescribeJobQueues(ctx, &batch.DescribeJobQueuesInput{JobQueues: []string{name}})
	if err != nil || len(out.JobQueues) == 0 {
		return nil, nil, explainCall("look at the queue "+name, err)
	}
	q := &out.JobQueues[0]
	if len(q.ComputeEnvironmentOrder) == 0 {
		return q, nil, nil
	}
	at := aws.ToString(q.ComputeEnvironmentOrder[0].ComputeEnvironment)
	envs, err := c.batch.DescribeComputeEnvironments(ctx, &batch.DescribeComputeEnvironmentsInput{ComputeEnvironments: []string{at}})
	if err != nil || len(envs.ComputeEnvironments) == 0 {
		return q, nil, explainCall("look at the compute environment "+at, err)
	}
	return q, &envs.ComputeEnvironments[0], nil
}

// onlyThrottled repeats a call only if AWS has refused it because of too many requests. A call
// whose answer was lost may have submitted the job, and has no token that says so.
func onlyThrottled(o *batch.Options) {
	o.Retryer = retry.NewStandard(func(s *retry.StandardOptions) {
		s.Retryables = []retry.IsErrorRetryable{retry.RetryableErrorCode{Codes: retry.DefaultThrottleErrorCodes}}
	})
}

func sortByRevision(all []types.JobDefinition) {
	slices.SortFunc(all, func(a, b types.JobDefinition) int {
		return cmp.Compare(aws.ToInt32(a.Revision), aws.ToInt32(b.Revision))
	})
}

func sortByAge(all []types.JobSummary) {
	slices.SortFunc(all, func(a, b types.JobSummary) int {
		return cmp.Or(cmp.Compare(aws.ToInt64(a.CreatedAt), aws.ToInt64(b.CreatedAt)), cmp.Compare(aws.ToString(a.JobId), aws.ToString(b.JobId)))
	})
}
