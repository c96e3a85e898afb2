package aws

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/smithy-go"

	clouds "github.com/tenon-ml/tenon/executors/cloud"
)

// lambdaReasons are parts of what AWS Lambda says when it refuses a call or when a function fails, in
// lower case, and what that means to a user, as in reasons. Sources: the errors of the operations
// in the AWS Lambda API reference, and "Troubleshoot invocation issues" of the developer guide.
var lambdaReasons = []reason{
	{[]string{"cannot be assumed by lambda"}, "its role does not exist, or AWS Lambda may not assume it: " + infrastructure},
	{[]string{"codestorageexceeded"}, "the archives of the account's functions need more than its quota: raise \"Function and layer storage\" in Service Quotas of the region"},
	{[]string{"unreservedconcurrentexecution"}, "the account has no " + inFlight + " left to reserve: lower max in replicas, or raise \"Concurrent executions\" in Service Quotas of the region"},
	{[]string{"memorysize", "less than or equal to"}, "the account may not have so much memory: lower needs.memory, or raise the memory of functions in a support case"},
	{[]string{"unzipped size must be smaller"}, "its files are too large for AWS Lambda: place it on SageMaker, with endpoints of the target"},
	{[]string{"requestentitytoolarge"}, tooLarge},
	{[]string{"request must be smaller than"}, tooLarge},
	{[]string{"task timed out"}, fmt.Sprintf("it did not answer within %d s: raise needs.memory, with which AWS Lambda also gives it more of a core", lambdaTimeout)},
	{[]string{"sandbox.timedout"}, fmt.Sprintf("it did not answer within %d s: raise needs.memory, with which AWS Lambda also gives it more of a core", lambdaTimeout)},
	{[]string{"runtime.outofmemory"}, clouds.OutOfMemory},
	{[]string{"signal: killed"}, clouds.OutOfMemory},
	{[]string{"invalidentrypoint"}, otherMachine},
	{[]string{"exec format error"}, otherMachine},
	{[]string{"enilimitexceeded"}, "a quota of network interfaces is used up: raise it in Service Quotas of the region"},
}

const (
	inFlight = "requests at a time"
	tooLarge = "its archive is larger than the 50 MiB that AWS Lambda takes: use a smaller model, or place it on SageMaker, with endpoints of the target"
)

// fromLambda returns what to do about what AWS Lambda says, with that, or "".
func fromLambda(said string) string { return explained(lambdaReasons, said) }

// explainLambda is explainCall with what AWS Lambda says.
func explainLambda(what string, err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		if why := fromLambda(api.ErrorCode() + ": " + api.ErrorMessage()); why != "" {
			return fmt.Errorf("%s in AWS: %s", what, why)
		}
	}
	return explainCall(what, err)
}

// explainState returns why a function cannot be used.
func explainState(code, reason string) string {
	said := strings.TrimPrefix(oneLine(code+": "+reason), ": ")
	if why := fromLambda(said); why != "" {
		return why
	}
	return "AWS Lambda cannot run it: " + said
}
