package aws

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
)

// infrastructure is what to do when something is missing that Terraform makes.
const infrastructure = "apply the infrastructure that tenon compile --format=terraform writes"

// An ending is what AWS says about a job that has ended.
type ending struct {
	started, finished time.Time
	exit              int    // of its container
	reason            string // in the words of AWS
	over              bool   // nothing of it runs
}

// statusOf returns the status of a job that has ended. Of its two sources, what AWS says and what
// tenon-pod stored, one may be missing.
func statusOf(end ending, res *pod.Result) state.Status {
	st := state.Status{Phase: state.Failed, Started: end.started, Finished: end.finished, ExitCode: end.exit}
	reason := end.reason
	if res == nil {
		if st.ExitCode > 128 {
			st.Signal = unix.SignalName(unix.Signal(st.ExitCode - 128))
		}
		if st.Message = explainReason(reason); st.Message == "" {
			st.Message = "its result is not in the bucket"
			if st.ExitCode != 0 {
				st.Message = fmt.Sprintf("exit %d", st.ExitCode)
			}
		}
		st.Lacking, st.Interrupted = clouds.Lacks(st.Message, lacking), strings.HasPrefix(st.Message, spot)
		return st
	}
	clouds.Ended(&st, res)
	st.Over = end.over && st.Phase == state.Succeeded
	// What AWS says of a job that has stored its result is how its container ended.
	if why := fromList(reason); why != "" && st.Phase == state.Failed && res.Fault == "" && !res.OutOfMemory {
		st.Message = why // AWS ended it, and the program had time to end
		st.Lacking, st.Interrupted = clouds.Lacks(why, lacking), strings.HasPrefix(why, spot)
	}
	return st
}

// A reason is what AWS says, by parts of it, and what that means to a user.
type reason struct {
	parts   []string
	message string
}

// reasons are parts of what AWS says when a job has failed or cannot start, in lower case, and
// what that means to a user. All parts of a reason have to occur; the first reason that fits
// counts. Sources: the AWS Batch user guide, "Troubleshooting" and "Job queue blocked events", the
// Amazon ECS developer guide, "Stopped task error messages", and the SageMaker API reference,
// "DescribeTrainingJob" and "Common errors".
var reasons = []reason{
	{[]string{"misconfiguration:compute_environment_max_resource"}, "it needs more cores than all jobs of the target may have: raise jobs: cpu of the target, and " + infrastructure},
	{[]string{"misconfiguration:job_resource_requirement"}, "the compute environment has no task of that size: lower needs"},
	{[]string{"misconfiguration:service_role_permissions"}, "AWS Batch lacks rights of its own role: " + infrastructure},
	{[]string{"capacity:insufficient_instance_capacity"}, noCapacity},
	{[]string{"capacity is unavailable"}, noSpare},
	{[]string{"capacityerror"}, noCapacity},
	{[]string{"account-level service limit"}, quotaNamed},
	{[]string{"maxwaittimeexceeded"}, noSpareInTime},
	{[]string{"maxruntimeexceeded"}, "it took longer than its timeout"},
	{[]string{"could not assume role"}, "its role does not exist, or SageMaker may not assume it: " + infrastructure},
	{[]string{"unable to assume role", "sagemaker"}, "its role does not exist, or SageMaker may not assume it: " + infrastructure},
	{[]string{"ecr image", "not found"}, noImage},
	{[]string{"requested image", "not found"}, noImage},
	{[]string{"ecr image", "denied"}, noPull},
	{[]string{"ecr image", "not authorized"}, noPull},
	{[]string{"cannot access", "ecr"}, noPull},
	{[]string{"no s3 objects"}, "the bucket of the target lacks what it reads: plan and apply again"},
	{[]string{"internalservererror"}, "SageMaker had a fault of its own: set retries to run it again"},
	{[]string{"you've reached the limit on the number of"}, quotaUsed},
	{[]string{"you have reached the limit on the number of"}, quotaUsed},
	{[]string{"vcpu limit"}, quotaUsed},
	{[]string{"limitexceeded"}, quotaUsed},
	{[]string{"cannotpullcontainererror", "not found"}, noImage},
	{[]string{"cannotpullcontainererror", "manifest unknown"}, noImage},
	{[]string{"cannotpullcontainererror", "does not exist"}, noImage},
	{[]string{"cannotpullcontainererror", "no basic auth"}, noPull},
	{[]string{"cannotpullcontainererror", "not authorized"}, noPull},
	{[]string{"cannotpullcontainererror", "denied"}, noPull},
	{[]string{"cannotpullcontainererror", "403"}, noPull},
	{[]string{"cannotpullcontainererror", "platform"}, otherMachine},
	{[]string{"cannotpullcontainererror", "no space left"}, "its image does not fit on the disk: raise needs.disk"},
	{[]string{"cannotpullcontainererror"}, "its image cannot be pulled, because its subnet does not reach ECR: existing: network needs subnets with interfaces of ECR and S3, or a way to the Internet"},
	{[]string{"unable to pull secrets", "accessdenied"}, "its role may not read its secrets: " + infrastructure},
	{[]string{"unable to pull secrets", "resourcenotfound"}, "one of its secrets has no value: see `aws secretsmanager put-secret-value`"},
	{[]string{"unable to pull secrets"}, "its subnet does not reach Secrets Manager: existing: network needs subnets with an interface of it, or a way to the Internet"},
	{[]string{"unable to pull registry auth", "accessdenied"}, noPull},
	{[]string{"unable to pull registry auth"}, "its subnet does not reach ECR: existing: network needs subnets with interfaces of ECR and S3, or a way to the Internet"},
	{[]string{"resourceinitializationerror", "log"}, "its log group does not exist, or its subnet does not reach CloudWatch Logs: " + infrastructure},
	{[]string{"unable to assume the role"}, "its role does not exist, or Amazon ECS may not assume it: " + infrastructure},
	{[]string{"unable to assume role"}, "its role does not exist, or Amazon ECS may not assume it: " + infrastructure},
	{[]string{"outofmemory"}, clouds.OutOfMemory},
	{[]string{"exec format error"}, otherMachine},
	{[]string{"exceeded timeout"}, "it took longer than its timeout"},
	{[]string{"spot interruption"}, spot},
	{[]string{"spottermination"}, spot},
	{[]string{"spot task was interrupted"}, spot},
	{[]string{"host ec2", "terminated"}, spot},
	{[]string{"timeout waiting for network interface provisioning"}, "AWS gave it no network interface in time: set retries to run it again"},
}

const (
	quotaUsed     = "a quota of the account is used up or 0: raise \"Fargate On-Demand vCPU resource count\", or the one for Spot, in Service Quotas of the region"
	quotaNamed    = "a quota of the account is used up or 0: raise the one that AWS names in Service Quotas of the region"
	noSpare       = "the region has no capacity for it now: try again, lower needs, or choose another region; spot: true has the least"
	noSpareInTime = "AWS had no spare capacity for it in time: raise wait in jobs of the target, set retries, or spot: false"
	noCapacity    = "the region has no capacity for it now: try again, lower needs, or choose another region"
	noImage       = "its image is not in the repository: plan and apply again, which pushes it"
	noPull        = "its role may not pull its image: " + infrastructure
	otherMachine  = "its image is for another architecture than architecture of the target"
	spot          = "AWS took the spare capacity back that it ran on: set retries to run it again, or spot: false in jobs of the target"
)

// lacking are the messages about a lack of capacity or of a quota.
var lacking = []string{noCapacity, noSpare, noSpareInTime, quotaUsed, quotaNamed}

// lackingError makes an error of a message from the lists.
func lackingError(why string) error {
	err := errors.New(why)
	if clouds.Lacks(why, lacking) {
		return &executors.LackingError{Err: err}
	}
	return err
}

// explainReason returns what to do about a reason that AWS gives, with the reason.
func explainReason(reason string) string {
	reason = oneLine(reason)
	if why := fromList(reason); why != "" {
		return why
	}
	if strings.EqualFold(reason, "essential container in task exited") { // which says nothing about why
		return ""
	}
	return reason
}

// fromList returns what to do about a reason in the list above, with the reason, or "".
func fromList(reason string) string { return explained(reasons, reason) }

// explained returns what to do about what AWS says, from a list, with what it says, or "".
func explained(list []reason, said string) string {
	said = oneLine(said)
	low := strings.ToLower(said)
	for _, r := range list {
		fits := true
		for _, p := range r.parts {
			fits = fits && strings.Contains(low, p)
		}
		if fits {
			return r.message + " (AWS: " + strings.TrimSuffix(said, ".") + ")"
		}
	}
	return ""
}

// waits returns why a job does not run yet, in one line.
func waits(job types.JobDetail) string {
	if reason := aws.ToString(job.StatusReason); reason != "" {
		return explainReason(reason)
	}
	if job.Status == types.JobStatusRunnable {
		return "it waits for free cores in the queue"
	}
	return "AWS Batch prepares it"
}

// stuck returns why a queue can never run a job with such needs, or "". It may not exist.
func stuck(name string, q *types.JobQueueDetail, env *types.ComputeEnvironmentDetail, n ir.Resources) string {
	if why := cannotRun(name, q, env); why != "" {
		return why
	}
	milli, _, _ := size(n)
	if most := int64(aws.ToInt32(env.ComputeResources.MaxvCpus)); milli > most*1000 {
		return fmt.Sprintf("it needs %s cores, and all jobs of the queue %s may have %d: raise jobs: cpu of the target, and %s", ir.FormatCores(milli), name, most, infrastructure)
	}
	return ""
}

// cannotRun returns why a queue runs nothing, or "".
func cannotRun(name string, q *types.JobQueueDetail, env *types.ComputeEnvironmentDetail) string {
	switch {
	case q == nil:
		return fmt.Sprintf("the queue %s does not exist in the region: %s", name, infrastructure)
	case q.State != types.JQStateEnabled:
		return fmt.Sprintf("the queue %s is disabled: run `aws batch update-job-queue --job-queue %[1]s --state ENABLED`", name)
	case q.Status == types.JQStatusInvalid:
		return fmt.Sprintf("the queue %s is invalid: %s", name, cmp.Or(oneLine(aws.ToString(q.StatusReason)), infrastructure))
	case env == nil || env.ComputeResources == nil:
		return fmt.Sprintf("the queue %s has no compute environment that AWS Batch manages: %s", name, infrastructure)
	}
	of := aws.ToString(env.ComputeEnvironmentName)
	switch {
	case env.State != types.CEStateEnabled:
		return fmt.Sprintf("the compute environment %s is disabled: run `aws batch update-compute-environment --compute-environment %[1]s --state ENABLED`", of)
	case env.Status == types.CEStatusInvalid:
		return fmt.Sprintf("the compute environment %s is invalid: %s", of, cmp.Or(explainReason(aws.ToString(env.StatusReason)), infrastructure))
	}
	return ""
}
