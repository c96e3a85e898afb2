package aws

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
)

// Reasons in the words of AWS, and the beginning of what a user reads.
func TestReasonsSayWhatToChange(t *testing.T) {
	for reason, want := range map[string]string{
		"MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - The job queue head job has resource requirements greater than the compute environments' max":        "it needs more cores than all jobs",
		"MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - All connected compute environments have no instances that meet the requirements":                            "the compute environment has no task of that size: lower needs",
		"MISCONFIGURATION:SERVICE_ROLE_PERMISSIONS - AWS Batch service role has a permission issue":                                                              "AWS Batch lacks rights of its own role",
		"CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the capacity requested for instance type":                                              "the region has no capacity for it now",
		"Capacity is unavailable at this time. Please try again later or in a different availability zone":                                                       "the region has no capacity for it now",
		"You've reached the limit on the number of vCPUs you can run concurrently":                                                                               "a quota of the account is used up or 0",
		"CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref x@sha256:0: not found":                                  "its image is not in the repository",
		"CannotPullContainerError: inspect image has been retried: failed to resolve ref: manifest unknown":                                                      "its image is not in the repository",
		"CannotPullContainerError: AccessDeniedException: User is not authorized to perform: ecr:GetAuthorizationToken":                                          "its role may not pull its image",
		"CannotPullContainerError: failed to do request: Head \"https://x\": dial tcp 10.0.0.1:443: i/o timeout":                                                 "its image cannot be pulled, because its subnet does not reach ECR",
		"CannotPullContainerError: image Manifest does not contain descriptor matching platform 'linux/amd64'":                                                   "its image is for another architecture",
		"CannotPullContainerError: write /var/lib/containerd: no space left on device":                                                                           "its image does not fit on the disk",
		"ResourceInitializationError: unable to pull secrets or registry auth: AccessDeniedException: not authorized to perform: secretsmanager:GetSecretValue":  "its role may not read its secrets",
		"ResourceInitializationError: unable to pull secrets or registry auth: ResourceNotFoundException: Secrets Manager can't find the specified secret value": "one of its secrets has no value",
		"ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: i/o timeout":                                 "its subnet does not reach Secrets Manager",
		"ResourceInitializationError: failed to validate logger args: The specified log group does not exist":                                                    "its log group does not exist",
		"ECS was unable to assume the role 'arn:aws:iam::123456789012:role/x' that was provided for this task":                                                   "its role does not exist, or Amazon ECS may not assume it",
		"OutOfMemoryError: Container killed due to memory usage":                                                                                                 "it used more memory than its container has",
		"Job attempt duration exceeded timeout":                                                                       "it took longer than its timeout",
		"Your Spot Task was interrupted.":                                                                             "AWS took the spare capacity back",
		"Host EC2 (instance i-0123456789abcdef0) terminated.":                                                         "AWS took the spare capacity back",
		"exec /tenon/bin/tenon-pod: exec format error":                                                                "its image is for another architecture",
		"Timeout waiting for network interface provisioning to complete.":                                             "AWS gave it no network interface in time",
		"CapacityError: Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error.": "the region has no capacity for it now",
		"ResourceLimitExceeded: The account-level service limit 'ml.g5.xlarge for training job usage' is 0 Instances": "a quota of the account is used up or 0: raise the one that AWS names",
		"ValidationException: Could not assume role arn:aws:iam::1:role/x. Please ensure that the role exists":        "its role does not exist, or SageMaker may not assume it",
		"ClientError: ECR image 1.dkr.ecr.eu-central-1.amazonaws.com/x@sha256:0 not found":                            "its image is not in the repository",
		"MaxRuntimeExceeded":  "it took longer than its timeout",
		"MaxWaitTimeExceeded": "AWS had no spare capacity for it in time",
		"InternalServerError: We encountered an internal error. Please try again.": "SageMaker had a fault of its own",
		"Essential container in task exited":                                       "",
		"Something that AWS has never said before":                                 "Something that AWS has never said before",
	} {
		got := explainReason(reason)
		if !strings.HasPrefix(got, want) || (want == "") != (got == "") || strings.Contains(got, "\n") {
			t.Errorf("%s\ngives %q, want %q", reason, got, want)
		}
		if got != "" && !strings.Contains(got, strings.TrimSuffix(reason, ".")) {
			t.Errorf("%q does not have the reason %q", got, reason)
		}
	}
}

func TestQueuesThatCannotRunAJob(t *testing.T) {
	queue := func(change func(*types.JobQueueDetail, *types.ComputeEnvironmentDetail)) (*types.JobQueueDetail, *types.ComputeEnvironmentDetail) {
		q := &types.JobQueueDetail{State: types.JQStateEnabled, Status: types.JQStatusValid}
		env := &types.ComputeEnvironmentDetail{ComputeEnvironmentName: aws.String("env"), State: types.CEStateEnabled, Status: types.CEStatusValid, ComputeResources: &types.ComputeResource{MaxvCpus: aws.Int32(4)}}
		change(q, env)
		return q, env
	}
	for name, c := range map[string]struct {
		change func(*types.JobQueueDetail, *types.ComputeEnvironmentDetail)
		milli  int64
		want   string
	}{
		"fits":                 {func(*types.JobQueueDetail, *types.ComputeEnvironmentDetail) {}, 4000, ""},
		"too many cores":       {func(*types.JobQueueDetail, *types.ComputeEnvironmentDetail) {}, 5000, "it needs 8 cores, and all jobs of the queue q may have 4: raise jobs: cpu"},
		"disabled":             {func(q *types.JobQueueDetail, _ *types.ComputeEnvironmentDetail) { q.State = types.JQStateDisabled }, 0, "the queue q is disabled: run `aws batch update-job-queue"},
		"invalid":              {func(q *types.JobQueueDetail, _ *types.ComputeEnvironmentDetail) { q.Status = types.JQStatusInvalid }, 0, "the queue q is invalid: apply"},
		"environment disabled": {func(_ *types.JobQueueDetail, e *types.ComputeEnvironmentDetail) { e.State = types.CEStateDisabled }, 0, "the compute environment env is disabled: run"},
		"environment invalid": {func(_ *types.JobQueueDetail, e *types.ComputeEnvironmentDetail) {
			e.Status, e.StatusReason = types.CEStatusInvalid, aws.String("CLIENT_ERROR - Subnet is gone")
		}, 0, "the compute environment env is invalid: CLIENT_ERROR - Subnet is gone"},
	} {
		q, env := queue(c.change)
		got := stuck("q", q, env, ir.Resources{MilliCPU: c.milli})
		if !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if got := stuck("q", nil, nil, ir.Resources{}); !strings.HasPrefix(got, "the queue q does not exist in the region: apply the infrastructure") {
		t.Errorf("no queue: %q", got)
	}
}

// Of what AWS Batch and tenon-pod say, one may be missing.
func TestStatusOfAJobThatHasEnded(t *testing.T) {
	job := func(status types.JobStatus, exit int32, reason string) *types.JobDetail {
		return &types.JobDetail{Status: status, StatusReason: aws.String("Essential container in task exited"), Container: &types.ContainerDetail{ExitCode: &exit, Reason: &reason}}
	}
	for name, c := range map[string]struct {
		job  *types.JobDetail
		res  *pod.Result
		want state.Status
	}{
		"success":            {job(types.JobStatusSucceeded, 0, ""), &pod.Result{}, state.Status{Phase: state.Succeeded, Over: true}},
		"forgotten by Batch": {nil, &pod.Result{}, state.Status{Phase: state.Succeeded}},
		"failure":            {job(types.JobStatusFailed, 3, ""), &pod.Result{End: pod.End{ExitCode: 3}}, state.Status{Phase: state.Failed, ExitCode: 3, Message: "exit 3"}},
		"a fault":            {job(types.JobStatusFailed, 126, ""), &pod.Result{End: pod.End{ExitCode: 126, Fault: "no such program"}}, state.Status{Phase: state.Failed, ExitCode: 126, Message: "no such program"}},
		"a signal":           {job(types.JobStatusFailed, 137, ""), &pod.Result{End: pod.End{ExitCode: 137, Signal: "SIGKILL"}}, state.Status{Phase: state.Failed, ExitCode: 137, Signal: "SIGKILL", Message: "killed by SIGKILL"}},
		"taken back":         {job(types.JobStatusFailed, 143, "Your Spot Task was interrupted."), &pod.Result{End: pod.End{ExitCode: 143, Signal: "SIGTERM"}}, state.Status{Phase: state.Failed, ExitCode: 143, Signal: "SIGTERM", Message: spot + " (AWS: Essential container in task exited Your Spot Task was interrupted)", Interrupted: true}},
		"no result":          {job(types.JobStatusSucceeded, 0, ""), nil, state.Status{Phase: state.Failed, Message: "its result is not in the bucket"}},
		"killed as a whole":  {job(types.JobStatusFailed, 137, ""), nil, state.Status{Phase: state.Failed, ExitCode: 137, Signal: "SIGKILL", Message: "exit 137"}},
	} {
		got := statusOf(jobEnding(c.job), c.res)
		got.Started, got.Finished = c.want.Started, c.want.Finished
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	if got := statusOf(jobEnding(job(types.JobStatusFailed, 137, "OutOfMemoryError: Container killed due to memory usage")), nil); !strings.Contains(got.Message, "raise needs.memory") {
		t.Errorf("out of memory gives %q", got.Message)
	}
}

// What tenon-pod wrote into the file for failures is part of what SageMaker says. It may be cut off.
func TestTheEndOfATrainingJob(t *testing.T) {
	for reason, want := range map[string]ending{
		`AlgorithmError: {"exit_code":126,"fault":"secret TOKEN: no right"}, exit code: 126`: {exit: 126, reason: "secret TOKEN: no right"},
		`AlgorithmError: {"exit_code":3,"stored":true}, exit code: 3`:                        {exit: 3},
		`AlgorithmError: {"exit_code":126,"fault":"sec, exit code: 126`:                      {exit: 126, reason: `AlgorithmError: {"exit_code":126,"fault":"sec, exit code: 126`},
		"AlgorithmError: , exit code: 137":                                                   {exit: 137, reason: "AlgorithmError: , exit code: 137"},
		"CapacityError: none":                                                                {reason: "CapacityError: none"},
	} {
		got := trainingEnd(&trainingJob{FailureReason: reason})
		if got.exit != want.exit || got.reason != want.reason || !got.over {
			t.Errorf("%s: %+v, want %+v", reason, got, want)
		}
	}
}
