package aws

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/tenon-ml/tenon/planner/state"
)

// An endpoint is what SageMaker says of one. Source: "DescribeEndpoint" in its API reference.
type endpoint struct {
	EndpointArn        string
	EndpointConfigName string
	// "Creating", "Updating", "SystemUpdating", "RollingBack", "InService", "OutOfService", "Deleting", "Failed",
	// "UpdateRollbackFailed"
	EndpointStatus     string
	FailureReason      string
	CreationTime       epoch
	LastModifiedTime   epoch
	ProductionVariants []struct {
		VariantName                  string
		CurrentWeight, DesiredWeight float64
		VariantStatus                []struct{ Status, StatusMessage string }
	}
	PendingDeploymentSummary *struct{ EndpointConfigName string } // while it changes
}

// changing reports whether SageMaker changes it, and takes no other change.
func (x *endpoint) changing() bool {
	switch x.EndpointStatus {
	case "Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting":
		return true
	}
	return false
}

// heading returns the configuration that it has, or will have if its change succeeds.
func (x *endpoint) heading() string {
	if p := x.PendingDeploymentSummary; p != nil && x.EndpointStatus != "RollingBack" {
		return cmp.Or(p.EndpointConfigName, x.EndpointConfigName)
	}
	return x.EndpointConfigName
}

// status returns the status of the task whose configuration it has.
func (x *endpoint) status() state.Status {
	now := state.Status{Phase: state.Running, Started: x.LastModifiedTime.time()}
	switch x.EndpointStatus {
	case "InService":
		now.Phase = state.Ready
	case "Failed", "UpdateRollbackFailed", "OutOfService":
		now.Phase, now.Message = state.Failed, explainFailure(x.FailureReason)
	default:
		now.Message = "SageMaker prepares it"
		for _, v := range x.ProductionVariants {
			for _, s := range v.VariantStatus {
				if s.StatusMessage != "" {
					now.Message = "SageMaker prepares it: " + oneLine(s.StatusMessage)
				}
			}
		}
	}
	return now
}

// describe returns something in SageMaker, or nil if there is none of that name.
func describe[T any](ctx context.Context, c *cloud, kind, name string) (*T, error) {
	out := new(T)
	err := c.sagemaker.call(ctx, "Describe"+kind, map[string]string{kind + "Name": name}, out)
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, explainCall("look at "+name, err)
	}
	return out, nil
}

func (c *cloud) describeEndpoint(ctx context.Context, name string) (*endpoint, error) {
	return describe[endpoint](ctx, c, "Endpoint", name)
}

// An endpointConfig is a configuration of an endpoint.
type endpointConfig struct {
	CreationTime       epoch
	ProductionVariants []production
}

// A production is a variant in a configuration.
type production struct {
	VariantName, ModelName, InstanceType        string
	InitialInstanceCount                        int64
	InitialVariantWeight                        float64 // fraction of all weights
	ContainerStartupHealthCheckTimeoutInSeconds int64
	VolumeSizeInGB                              int64 `json:",omitempty"`
}

func (c *cloud) endpointConfig(ctx context.Context, name string) (*endpointConfig, error) {
	return describe[endpointConfig](ctx, c, "EndpointConfig", name)
}

// A hostedModel is a model of SageMaker: an image with variables.
type hostedModel struct {
	PrimaryContainer struct{ Environment map[string]string }
}

func (c *cloud) model(ctx context.Context, name string) (*hostedModel, error) {
	return describe[hostedModel](ctx, c, "Model", name)
}

// deleteEndpoint removes an endpoint. SageMaker may take some time for that.
func (c *cloud) deleteEndpoint(ctx context.Context, name string) error {
	return c.remove(ctx, "Endpoint", name)
}

// remove removes something in SageMaker, if it exists.
func (c *cloud) remove(ctx context.Context, kind, name string) error {
	err := c.sagemaker.call(ctx, "Delete"+kind, map[string]string{kind + "Name": name}, nil)
	if isMissing(err) {
		return nil
	}
	return explainCall("remove "+name, err)
}

// A listed is something in SageMaker with its name.
type listed struct {
	name, arn string
	created   epoch
}

// named returns what SageMaker has of a kind with a text in its name.
func (c *cloud) named(ctx context.Context, kind, text string) (all []listed, err error) {
	in := map[string]any{"NameContains": text, "MaxResults": 100}
	for {
		var out struct {
			EndpointConfigs []struct {
				EndpointConfigName, EndpointConfigArn string
				CreationTime                          epoch
			}
			Models []struct {
				ModelName, ModelArn string
				CreationTime        epoch
			}
			NextToken string
		}
		if err := c.sagemaker.call(ctx, "List"+kind+"s", in, &out); err != nil {
			return nil, explainCall("list what SageMaker has of "+text, err)
		}
		for _, x := range out.EndpointConfigs {
			all = append(all, listed{x.EndpointConfigName, x.EndpointConfigArn, x.CreationTime})
		}
		for _, x := range out.Models {
			all = append(all, listed{x.ModelName, x.ModelArn, x.CreationTime})
		}
		if out.NextToken == "" {
			return all, nil
		}
		in["NextToken"] = out.NextToken
	}
}

// invocations returns the URL at which an endpoint is invoked.
func (c *cloud) invocations(endpoint string) string {
	return strings.TrimSuffix(c.runtime.endpoint, "/") + "/endpoints/" + endpoint + "/invocations"
}

// alreadyThere reports whether SageMaker refused to create something whose name exists.
func alreadyThere(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && refusedAsInvalid(err) && strings.Contains(strings.ToLower(api.ErrorMessage()), "already exist")
}

// beingChanged reports whether SageMaker refused to change an endpoint because it is being changed.
func beingChanged(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && refusedAsInvalid(err) && strings.Contains(strings.ToLower(api.ErrorMessage()), "in-progress")
}
