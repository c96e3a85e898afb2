package azure

import (
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
)

// An mlReason is a part of what Azure Machine Learning says, in lower case, and what that means to a user.
type mlReason struct{ part, message string }

// mlReasons are parts of what Azure Machine Learning says when it refuses a job, when a cluster gets no node, and when a
// job has failed, in lower case, and what that means to a user. The first that fits counts. Source: "Troubleshoot jobs and
// compute" of Azure Machine Learning.
var mlReasons = []mlReason{
	{"quota", mlQuota},
	{"exceeds the limit of cores", mlQuota},
	{"preempt", takenBack},
	{"evicted", takenBack},
	{"allocationfailed", noNode},
	{"outofcapacity", noNode},
	{"skunotavailable", noSize},
	{"not supported in this region", noSize},
	{"vmsize", noSize},
	{"manifest unknown", "its image is not in the registry: plan and apply again, which pushes it"},
	{"imagepullunauthorized", "its identity may not pull its image: " + infrastructure},
	{"unauthorized: authentication required", "its identity may not pull its image: " + infrastructure},
	{"managed identity", "its cluster does not have the identity of its unit: " + infrastructure},
	{"compute target", "its cluster does not exist: " + infrastructure},
	{"disk full", "the disk of its node is full: raise needs.disk"},
	{"no space left", "the disk of its node is full: raise needs.disk"},
	{"out of memory", cloud.OutOfMemory},
	{"exec format error", "its image is for another architecture than x86_64, which Azure Machine Learning has"},
	{"/bin/sh", "its base image has no /bin/sh, with which Azure Machine Learning starts programs: choose another base"},
	{"timeout", "it took longer than its timeout"},
	{"serviceerror", "Azure Machine Learning had a fault of its own: set retries to run it again"},
}

const (
	mlQuota   = "a quota of Azure Machine Learning for cores of its machines is used up or 0: raise that of their family under Quotas, Machine Learning, for the location of the target"
	takenBack = "its node was taken back, as those of spot may be: set retries to run it again"
	noNode    = "the location has no such machine free now: try again, set retries, choose another GPU, or another location"
	noSize    = "the location has no such machines: choose another GPU, or another location"
)

// knownML returns what to do about an error of Azure Machine Learning, with what Azure says, or "".
func knownML(is mlError) string { return matchedML(mlReasons, is) }

// matchedML returns the message of the first reason that fits, with what Azure says, or "".
func matchedML(reasons []mlReason, is mlError) string {
	low := strings.ToLower(is.Code + " " + is.Message)
	for _, r := range reasons {
		if strings.Contains(low, r.part) {
			return r.message + " (Azure: " + strings.TrimSuffix(oneLine(is.Message), ".") + ")"
		}
	}
	return ""
}

// exits begins what Azure says about the exit status of a program. What the program has printed follows.
var exits = regexp.MustCompile(`(?i)user process|exited with (?:status |exit )?code`)

// explainedML is knownML, or what Azure says if that is more than that the program has failed. Words that the program has
// printed are not those of Azure.
func explainedML(is mlError) string {
	of := is.Message
	if at := exits.FindStringIndex(of); at != nil {
		of = of[:at[0]]
	}
	if why := knownML(mlError{is.Code, of}); why != "" {
		return why
	}
	return oneLine(is.Message)
}

// explainML is explainCall with what Azure Machine Learning says.
func explainML(what string, err error) error {
	var api *refusal
	if !errors.As(err, &api) || api.status >= http.StatusInternalServerError || hintOf(api) == rightHint { // a gateway has a timeout, too
		return explainCall(what, err)
	}
	why := knownML(mlError{api.code, api.message})
	if why == "" {
		return explainCall(what, err)
	}
	if err = errors.New(why); cloud.Lacks(why, lacking) {
		return &executors.LackingError{Err: err}
	}
	return err
}
