package aws

import (
	"errors"
	"fmt"

	"github.com/aws/smithy-go"
)

// containerReasons are parts of what Amazon ECS says of services that the list of jobs lacks, in lower case, and what
// that means to a user, as in reasons. Sources: "Stopped task error messages", "Service event messages" and "API error codes" of the
// Amazon ECS developer guide.
var containerReasons = []reason{
	{[]string{"failed elb health checks"}, notHealthy},
	{[]string{"is unhealthy in"}, notHealthy},
	{[]string{"does not have an associated load balancer"}, "its target group has no load balancer: " + infrastructure},
	{[]string{"unable to assume the service linked role"}, "the account has no role for Amazon ECS yet: run `aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com`"},
	{[]string{"platform feature", "not available"}, "the region has no such task on Fargate: choose architecture: \"x86_64\", or another region"},
	{[]string{"clusternotfound"}, "its cluster does not exist: " + infrastructure},
	{[]string{"the target group", "does not exist"}, "its target group does not exist: " + infrastructure},
	{[]string{"invalidsubnet"}, "one of its subnets does not exist: " + infrastructure},
	{[]string{"invalidgroup"}, "one of its security groups does not exist: " + infrastructure},
	{[]string{"no container instances were found"}, "its cluster has no capacity for Fargate: " + infrastructure},
}

const notHealthy = "it did not become ready in time, as the load balancer sees it: its log says more; raise timeout if the model takes long to load"

// fromContainers returns what to do about what Amazon ECS says, with that, or "".
func fromContainers(said string) string {
	if why := explained(containerReasons, said); why != "" {
		return why
	}
	return fromList(said)
}

// explainContainer is explainCall with what Amazon ECS says.
func explainContainer(what string, err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		if why := fromContainers(api.ErrorCode() + ": " + api.ErrorMessage()); why != "" {
			return fmt.Errorf("%s in AWS: %w", what, lackingError(why))
		}
	}
	return explainCall(what, err)
}

// explainStopped returns why a task stopped, in the words of AWS if nothing else is known.
func explainStopped(said string) string {
	said = oneLine(said)
	if why := fromContainers(said); why != "" {
		return why
	}
	return said
}
