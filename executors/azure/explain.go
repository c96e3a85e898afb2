package azure

import (
	"errors"
	"net/http"
	"strings"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
)

// reasons are parts of what the log of the system says when a job has failed or cannot start, in lower case, and
// what that means to a user. The first that fits a line counts. Sources: "Troubleshoot image pull failures" and
// "Troubleshoot job failures" of Container Apps.
var reasons = []struct{ part, message string }{
	{"manifest unknown", "its image is not in the registry: plan and apply again, which pushes it"},
	{"not found: manifest", "its image is not in the registry: plan and apply again, which pushes it"},
	{"unauthorized", "its identity may not pull its image: " + infrastructure},
	{"imagepullunauthorized", "its identity may not pull its image: " + infrastructure},
	{"imagepull", "its image could not be pulled: see that its subnet reaches the registry, and apply again"},
	{"key vault", "its identity may not read its secrets, or one of them has no value: " + infrastructure},
	{"keyvault", "its identity may not read its secrets, or one of them has no value: " + infrastructure},
	{"oomkilled", cloud.OutOfMemory},
	{"out of memory", cloud.OutOfMemory},
	{"exec format error", "its image is for another architecture than x86_64, which Container Apps have"},
	{"probe", "its program did not answer in time: see its log"},
	{"containerterminated", notReady},
	{"containercrashing", notReady},
	{"workloadprofile", "its environment lacks the workload profile of its GPU: " + infrastructure},
	{"deadlineexceeded", "it took longer than its timeout"},
	{"quota", quota},
	{"insufficient cpu", noCapacity},
	{"insufficient memory", noCapacity},
	{"insufficient resources", noCapacity},
	{"capacity", noCapacity},
}

const noCapacity = "the location has no capacity for it now: try again, lower needs, or choose another location"

// lacking are the messages about a lack of capacity or of a quota.
var lacking = []string{noCapacity, quota, mlQuota, noNode, servingQuota, noHost}

// notReady is what a revision lacks about which Azure says nothing else.
const notReady = "its program ended, or did not answer in time"

// known returns what to do about a failure, with the line of those of Azure that says so, or "".
func known(lines []string) string {
	for _, r := range reasons {
		for _, line := range lines {
			if strings.Contains(strings.ToLower(line), r.part) {
				return r.message + " (Azure: " + strings.TrimSuffix(oneLine(line), ".") + ")"
			}
		}
	}
	return ""
}

// explain returns what to do about a failure, or what Azure says first, or "".
func explain(lines []string) string {
	if why := known(lines); why != "" || len(lines) == 0 {
		return why
	}
	return oneLine(lines[0])
}

// explainApp is explainCall with what Container Apps say when they cannot make a revision.
func explainApp(what string, err error) error {
	var api *refusal
	if !errors.As(err, &api) || api.status != http.StatusBadRequest {
		return explainCall(what, err)
	}
	why := known([]string{api.Error()})
	if why == "" {
		return explainCall(what, err)
	}
	if err = errors.New(why); cloud.Lacks(why, lacking) {
		return &executors.LackingError{Err: err}
	}
	return err
}
