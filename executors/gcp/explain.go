package gcp

import (
	"strings"

	"github.com/tenon-ml/tenon/executors/cloud"
)

// reasons are parts of what Cloud Run says when a job has failed or cannot start, in lower case, and
// what that means to a user: the reason of a condition, and its message. All parts have to occur; the
// first that fits counts. Sources: the reference of version 2 of the API, and "Troubleshoot Cloud Run
// issues".
var reasons = []struct {
	parts   []string
	message string
}{
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
	{[]string{"no available instance"}, "the region has no capacity for it now: try again, lower needs, or choose another region"},
	{[]string{"insufficient capacity"}, "the region has no capacity for it now: try again, lower needs, or choose another region"},
	{[]string{"subnet", "ip address"}, "its subnet has no free addresses: choose a larger cidr, or another existing: network"},
	{[]string{"cancelled"}, "it was cancelled on Google Cloud"},
	{[]string{"internal"}, "Cloud Run had a fault of its own: set retries to run it again"},
}

const (
	quota        = "a quota of the project is used up or 0: raise it under IAM & Admin, Quotas, for the region of the target"
	noImage      = "its image is not in the repository: plan and apply again, which pushes it"
	noPull       = "the service agent of Cloud Run may not pull its image: grant it roles/artifactregistry.reader on the repository"
	otherMachine = "its image is for another architecture than x86_64, which Cloud Run has"
)

// known returns what to do about the end of a job, with what Cloud Run says, or "".
func known(c runCondition, attempt *runAttempt) string {
	said := said(c, attempt)
	low := strings.ToLower(c.Reason + " " + c.ExecutionReason + " " + said)
	for _, r := range reasons {
		fits := true
		for _, p := range r.parts {
			fits = fits && strings.Contains(low, p)
		}
		if fits {
			return r.message + " (Google Cloud: " + strings.TrimSuffix(said, ".") + ")"
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
		text = c.Reason + c.ExecutionReason
	}
	return oneLine(text)
}
