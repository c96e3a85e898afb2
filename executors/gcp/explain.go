package gcp

import (
	"errors"
	"net/http"
	"strings"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
)

type reason struct {
	parts   []string
	message string
}

// reasons are parts of what Cloud Run says when a job has failed or cannot start, in lower case, and
// what that means to a user: the reason of a condition, and its message. All parts have to occur; the
// first that fits counts. Sources: the reference of version 2 of the API, and "Troubleshoot Cloud Run
// issues".
var reasons = []reason{
	{[]string{"container_missing"}, noImage},
	{[]string{"image", "not found"}, noImage},
	{[]string{"container_permission_denied"}, noPull},
	{[]string{"container_image_unauthorized"}, "Binary Authorization of the project refuses its image: allow images of the repository"},
	{[]string{"container_image_authorization_check_failed"}, "Binary Authorization could not check its image: try again"},
	{[]string{"secrets_access_check_failed"}, "its service account may not read its secrets, or one of them has no value: " + infrastructure},
	{[]string{"vpc_network_not_found"}, "its network does not exist: " + infrastructure},
	{[]string{"encryption_key"}, "the service agent of Cloud Run may not use the key that encrypts"},
	{[]string{"memory limit"}, cloud.OutOfMemory},
	{[]string{"out of memory"}, cloud.OutOfMemory},
	{[]string{"exec format error"}, otherMachine},
	{[]string{"timeout was reached"}, "it took longer than its timeout"},
	{[]string{"quota"}, quota},
	{[]string{"resource_exhausted"}, quota},
	{[]string{"no available instance"}, noCapacity},
	{[]string{"insufficient capacity"}, noCapacity},
	{[]string{"subnet", "ip address"}, "its subnet has no free addresses: choose a larger cidr, or another existing: network"},
	{[]string{"health_check_container_error"}, notReady},
	{[]string{"failed to start and listen"}, notReady},
	{[]string{"min_instances_not_provisioned"}, noInstances},
	{[]string{"active_revision_limit_reached"}, "the service has as many revisions as Cloud Run allows: remove old ones in its console"},
	{[]string{"cancelled"}, "it was cancelled on Google Cloud"},
	{[]string{"internal"}, "Cloud Run had a fault of its own: set retries to run it again"},
}

const (
	quota        = "a quota of the project is used up or 0: raise it under IAM & Admin, Quotas, for the region of the target"
	notReady     = "its program ended, or was not ready 4 minutes after it had started, which is the longest that Cloud Run waits"
	noCapacity   = "the region has no capacity for it now: try again, lower needs, or choose another region"
	noInstances  = "the region has no capacity for its instances now: try again, lower replicas or needs, or choose another region"
	noImage      = "its image is not in the repository: plan and apply again, which pushes it"
	noPull       = "the service agent of Cloud Run may not pull its image: grant it roles/artifactregistry.reader on the repository"
	otherMachine = "its image is for another architecture than x86_64, which Cloud Run has"
)

// lacking are the messages about a lack of capacity or of a quota.
var lacking = []string{noCapacity, noInstances, quota, noMachine, vertexQuota, servingQuota}

// known returns what to do about the end of a job, with what Cloud Run says, or "".
func known(c runCondition, attempt *runAttempt) string {
	said := said(c, attempt)
	return matched(reasons, c.Reason+" "+c.ExecutionReason+" "+c.RevisionReason+" "+said, said)
}

// matched returns the first message of a list whose parts all occur in a text, with what Google says, or "".
func matched(list []reason, text, said string) string {
	low := strings.ToLower(text)
	for _, r := range list {
		fits := true
		for _, p := range r.parts {
			fits = fits && strings.Contains(low, p)
		}
		if fits {
			return r.message + " (Google Cloud: " + strings.TrimSuffix(oneLine(said), ".") + ")"
		}
	}
	return ""
}

// explain returns what to do about the end of a job, or what Cloud Run says, if that is more than that its
// program has failed.
func explain(c runCondition, attempt *runAttempt) string {
	if why := known(c, attempt); why != "" || c.ExecutionReason == "NON_ZERO_EXIT_CODE" {
		return why
	}
	return said(c, attempt)
}

// said returns what Cloud Run says, in one line.
func said(c runCondition, attempt *runAttempt) string {
	text := c.Message
	if attempt != nil && attempt.Status.Message != "" {
		text = attempt.Status.Message
	}
	if text == "" {
		text = c.Reason + c.ExecutionReason + c.RevisionReason
	}
	return oneLine(text)
}

// vertexReasons are the same for Vertex AI: what it says when it refuses a custom job, and what the error of one that has
// failed says. Source: "Troubleshooting Vertex AI", and its quotas.
var vertexReasons = []reason{
	{[]string{"custom_model_training", "quota"}, vertexQuota},
	{[]string{"custommodeltraining", "quota"}, vertexQuota},
	{[]string{"quota metrics exceed"}, vertexQuota},
	{[]string{"quota_exceeded"}, vertexQuota},
	{[]string{"zone_resource_pool_exhausted"}, noMachine},
	{[]string{"stockout"}, noMachine},
	{[]string{"resources are insufficient in region"}, noMachine},
	{[]string{"does not have enough resources"}, noMachine},
	{[]string{"preempt"}, takenBack},
	{[]string{"image", "not found"}, noImage},
	{[]string{"image", "permission"}, "the service agent of Vertex AI may not pull its image: grant it roles/artifactregistry.reader on the repository"},
	{[]string{"image", "denied"}, "the service agent of Vertex AI may not pull its image: grant it roles/artifactregistry.reader on the repository"},
	{[]string{"actas"}, "the service account of the unit does not exist, for which " + infrastructure + "; or these credentials lack roles/iam.serviceAccountUser on it"},
	{[]string{"machine type", "not supported"}, noType},
	{[]string{"is not supported in region"}, noType},
	{[]string{"out of memory"}, cloud.OutOfMemory},
	{[]string{"timeout"}, "it took longer than its timeout"},
	{[]string{"internal error"}, "Vertex AI had a fault of its own: set retries to run it again"},
}

const (
	vertexQuota = "a quota of the project for GPUs in custom training is used up or 0: raise custom_model_training_..._gpus under IAM & Admin, Quotas, for the region of the target"
	takenBack   = "its machine was taken back, as those of spot may be: set retries to run it again"
	noMachine   = "the region has no such machine free now: try again, set retries, choose another GPU, or another region"
	noType      = "the region has no such machines: choose another GPU, or another region"
)

// exhausted marks the error of a call that creates something if a quota refuses it, also after all attempts.
func exhausted(err error) error {
	if isStatus(err, http.StatusTooManyRequests) {
		return &executors.LackingError{Err: err}
	}
	return err
}

// explainVertex is explainCall with what Vertex AI says.
func explainVertex(what string, err error) error {
	why := explained(err)
	if why == "" {
		return explainCall(what, err)
	}
	if err = errors.New(why); cloud.Lacks(why, lacking) {
		return &executors.LackingError{Err: err}
	}
	return err
}

// explained returns what to do about a refusal of Vertex AI that another attempt does not change, or "".
func explained(err error) string {
	var api *refusal
	if !errors.As(err, &api) {
		return ""
	}
	return matched(vertexReasons, api.status+" "+api.message, api.message)
}
