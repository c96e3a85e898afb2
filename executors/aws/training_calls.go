package aws

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
	"github.com/tenon-ml/tenon/planner/state"
)

// A trainingJob is what SageMaker says of one. Source: "DescribeTrainingJob" in its API reference.
type trainingJob struct {
	TrainingJobArn             string
	TrainingJobStatus          string // "InProgress", "Completed", "Failed", "Stopping", "Stopped", "Deleting"
	SecondaryStatus            string
	SecondaryStatusTransitions []struct{ StatusMessage string }
	FailureReason              string
	CreationTime               epoch
	TrainingStartTime          epoch
	TrainingEndTime            epoch
	WarmPoolStatus             struct{ Status string } // "Available", "InUse", "Reused" or "Terminated"; "" without a pool
}

// over reports whether it has ended.
func (j *trainingJob) over() bool {
	return j.TrainingJobStatus == "Completed" || j.TrainingJobStatus == "Failed" || j.TrainingJobStatus == "Stopped"
}

// epoch is a time in seconds since 1970, or 0.
type epoch float64

func (e epoch) time() time.Time {
	if e == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(float64(e) * 1000)).UTC()
}

// A nameOf names the training job that a call is about.
type nameOf struct {
	TrainingJobName string
}

// training returns a training job, or nil if there is none of that name, or SageMaker deletes it.
func (c *cloud) training(ctx context.Context, name string) (*trainingJob, error) {
	job := &trainingJob{}
	err := c.sagemaker.call(ctx, "DescribeTrainingJob", nameOf{name}, job)
	if isMissing(err) || err == nil && job.TrainingJobStatus == "Deleting" {
		return nil, nil
	}
	return job, explainCall("look at the training job "+name, err)
}

// trainingsWith returns the names of the training jobs that end with a text.
func (c *cloud) trainingsWith(ctx context.Context, end string) (names []string, err error) {
	in := map[string]string{"NameContains": end}
	for {
		var out struct {
			TrainingJobSummaries []nameOf
			NextToken            string
		}
		if err := c.sagemaker.call(ctx, "ListTrainingJobs", in, &out); err != nil {
			return nil, explainCall("list training jobs", err)
		}
		for _, j := range out.TrainingJobSummaries {
			if strings.HasSuffix(j.TrainingJobName, end) {
				names = append(names, j.TrainingJobName)
			}
		}
		if out.NextToken == "" {
			return names, nil
		}
		in["NextToken"] = out.NextToken
	}
}

// A tag of something in SageMaker.
type tag struct{ Key, Value string }

// tagsOf returns the tags of something in SageMaker.
func (c *cloud) tagsOf(ctx context.Context, arn string) (map[string]string, error) {
	tags, in := map[string]string{}, map[string]string{"ResourceArn": arn}
	for {
		var out struct {
			Tags      []tag
			NextToken string
		}
		if err := c.sagemaker.call(ctx, "ListTags", in, &out); err != nil {
			return nil, explainCall("read the tags of "+arn, err)
		}
		for _, t := range out.Tags {
			tags[t.Key] = t.Value
		}
		if out.NextToken == "" {
			return tags, nil
		}
		in["NextToken"] = out.NextToken
	}
}

// tagList returns tags as SageMaker takes them.
func tagList(tags map[string]string) (list []tag) {
	for _, k := range sortedKeys(tags) {
		list = append(list, tag{k, tags[k]})
	}
	return list
}

// isMissing reports whether an error of SageMaker says that what was asked for does not exist. Most
// calls have no code for that.
func isMissing(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	says := strings.ToLower(api.ErrorMessage())
	return api.ErrorCode() == "ResourceNotFound" || refusedAsInvalid(err) && (strings.Contains(says, "not found") || strings.Contains(says, "could not find"))
}

// refusedAsInvalid reports whether SageMaker refused a call because of what it asks for.
func refusedAsInvalid(err error) bool { return hasCode(err, "ValidationException") }

// patient is how long the preparation of a job may take before users see it.
const patient = 5 * time.Second

// trainingNow returns the status of a training job that has not ended. Its time limit begins when
// its program starts.
func trainingNow(job *trainingJob) state.Status {
	now := state.Status{Phase: state.Running}
	switch job.SecondaryStatus {
	case "Training", "Uploading", "Stopping":
		now.Started = job.TrainingStartTime.time()
		return now
	case "Interrupted":
		now.Message = "AWS took the spare capacity back that it ran on: it starts again once there is some"
	default:
		if time.Since(job.CreationTime.time()) < patient {
			break
		}
		now.Message = "SageMaker prepares it"
		if n := len(job.SecondaryStatusTransitions); n > 0 {
			if says := oneLine(job.SecondaryStatusTransitions[n-1].StatusMessage); says != "" {
				now.Message += ": " + says
			}
		}
	}
	now.Queued = true
	return now
}

var exitCode = lazyregexp.New(`exit code:? ?([0-9]+)`)

// trainingEnd returns how a training job has ended. What tenon-pod left in the file for failures
// is part of what SageMaker says.
func trainingEnd(job *trainingJob) ending {
	end := ending{started: job.TrainingStartTime.time(), finished: job.TrainingEndTime.time(), over: true, reason: job.FailureReason}
	switch job.SecondaryStatus {
	case "MaxRuntimeExceeded":
		end.reason = "MaxRuntimeExceeded"
	case "MaxWaitTimeExceeded":
		end.reason = "MaxWaitTimeExceeded"
	case "Stopped":
		end.reason = "somebody stopped the training job"
	}
	if first := strings.Index(end.reason, "{"); first >= 0 {
		var said pod.End
		d := json.NewDecoder(strings.NewReader(end.reason[first:]))
		d.DisallowUnknownFields() // SageMaker may quote other documents
		if d.Decode(&said) == nil && said != (pod.End{}) {
			end.exit, end.reason = said.ExitCode, said.Fault
			return end
		}
	}
	if m := exitCode.FindStringSubmatch(end.reason); m != nil {
		end.exit, _ = strconv.Atoi(m[1]) // it has digits only
	}
	return end
}
