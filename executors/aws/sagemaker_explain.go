package aws

import (
	"errors"
	"fmt"

	"github.com/aws/smithy-go"
)

// endpointReasons are parts of what SageMaker says when it refuses an endpoint or when that fails, in lower
// case, and what that means to a user, as in reasons. Sources: the errors of the operations in the API
// reference of SageMaker, and "Troubleshoot Amazon SageMaker model deployments" of its developer guide.
var endpointReasons = []reason{
	{[]string{"did not pass the ping health check"}, "its container did not become ready in time: its log says more; raise timeout if the model takes long to load"},
	{[]string{"cannotstartcontainererror"}, "its container does not start: its log says more; the base of the target has to be for x86_64, unless the instance is one of Graviton"},
	{[]string{"for endpoint usage"}, "a quota of the account is used up or 0: raise the one that AWS names in Service Quotas of the region, or choose another instance in endpoints of the target"},
	{[]string{"insufficientinstancecapacity"}, noInstance},
	{[]string{"unable to provision requested ml compute capacity"}, noInstance},
	{[]string{"the image", "does not exist"}, noImage},
	{[]string{"does not have", "permission", "image"}, noPull},
	{[]string{"does not grant", "image"}, noPull},
	{[]string{"volumesizeingb"}, "the instance has a disk of its own, whose size is fixed: remove needs.disk"},
	{[]string{"instance type", "not supported"}, noType},
	{[]string{"instancetype", "enum value set"}, noType},
}

const (
	noInstance = "the region has no such instance now: try again, or choose another instance in endpoints of the target, or another region"
	noType     = "SageMaker has no such instance for endpoints in the region: choose another one in endpoints of the target"
)

// fromSageMaker returns what to do about what SageMaker says of an endpoint, with that, or "".
func fromSageMaker(said string) string {
	if why := explained(endpointReasons, said); why != "" {
		return why
	}
	return fromList(said)
}

// explainEndpoint is explainCall with what SageMaker says of endpoints.
func explainEndpoint(what string, err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		if why := fromSageMaker(api.ErrorCode() + ": " + api.ErrorMessage()); why != "" {
			return fmt.Errorf("%s in AWS: %s", what, why)
		}
	}
	return explainCall(what, err)
}

// explainFailure returns why an endpoint failed.
func explainFailure(reason string) string {
	reason = oneLine(reason)
	if reason == "" {
		return "SageMaker went back to the version before, without a reason: see the endpoint in the console of SageMaker"
	}
	if why := fromSageMaker(reason); why != "" {
		return why
	}
	return "SageMaker cannot run it: " + reason
}
