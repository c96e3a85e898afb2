package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// Variables of each version of a function, which say whose it is. AWS publishes no version that is
// equal to the one before, so they also make a version of each task.
const (
	envRun   = "TENON_TASK"
	envUnit  = "TENON_UNIT"
	envReady = "TENON_READY"
	// envVersion is the name of a version of a release.
	envVersion = "TENON_VERSION"
)

// live is the alias that the URL of a function invokes.
const live = "live"

// latest is what AWS calls the version that can be changed.
const latest = "$LATEST"

// A version is a published version of a function.
type version struct {
	types.FunctionConfiguration
	number string
	run    string // of the task
	unit   string
	ready  string // path
	name   string // in a release
	route  *step.Route
}

func versionOf(f types.FunctionConfiguration) version {
	v := version{FunctionConfiguration: f, number: aws.ToString(f.Version)}
	if f.Environment != nil {
		has := f.Environment.Variables
		v.run, v.unit, v.ready, v.name, v.route = has[envRun], has[envUnit], has[envReady], has[envVersion], routeOf(has)
	}
	return v
}

// missing reports whether a call failed because what it names does not exist.
func missing(err error) bool {
	var e *types.ResourceNotFoundException
	return errors.As(err, &e)
}

// busy reports whether a call failed because the function is being changed.
func busy(err error) bool {
	var e *types.ResourceConflictException
	return errors.As(err, &e)
}

// function returns a function and its tags, or nil.
func (c *cloud) function(ctx context.Context, name string) (*lambda.GetFunctionOutput, error) {
	f, err := c.lambda.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: &name})
	if missing(err) {
		return nil, nil
	}
	if err == nil && f.TagsError != nil { // without tags, its owner is unknown
		return nil, fmt.Errorf("read the tags of the function %s in AWS: %s: grant lambda:ListTags to these credentials: docs/aws.md lists the rights", name, oneLine(aws.ToString(f.TagsError.Message)))
	}
	return f, explainLambda("look at the function "+name, err)
}

// versions returns the published versions of a function, the oldest first, and what can be
// changed, or nil if there is no such function.
func (c *cloud) versions(ctx context.Context, name string) (published []version, now *version, err error) {
	pages := lambda.NewListVersionsByFunctionPaginator(c.lambda, &lambda.ListVersionsByFunctionInput{FunctionName: &name})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if missing(err) {
			return nil, nil, nil
		}
		if err != nil {
			return nil, nil, explainLambda("list the versions of the function "+name, err)
		}
		for _, f := range out.Versions {
			v := versionOf(f)
			if v.number == latest {
				now = &v
			} else {
				published = append(published, v)
			}
		}
	}
	slices.SortFunc(published, func(a, b version) int { // AWS counts from 1, without zeros before
		return cmp.Or(cmp.Compare(len(a.number), len(b.number)), cmp.Compare(a.number, b.number))
	})
	return published, now, nil
}

// alias returns the alias of a function that its URL invokes, or nil.
func (c *cloud) alias(ctx context.Context, name string) (*lambda.GetAliasOutput, error) {
	a, err := c.lambda.GetAlias(ctx, &lambda.GetAliasInput{FunctionName: &name, Name: aws.String(live)})
	if missing(err) {
		return nil, nil
	}
	return a, explainLambda("look at the alias of the function "+name, err)
}

// settled waits until the last change of a function is done, and returns its configuration.
func (e *Executor) settled(ctx context.Context, c *cloud, name string) (*lambda.GetFunctionConfigurationOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	for pause := e.opts.Pause / 4; ; pause = min(2*pause, e.opts.Longest) {
		f, err := c.lambda.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &name})
		if err != nil {
			return nil, explainLambda("look at the function "+name, err)
		}
		switch {
		case f.State == types.StateFailed:
			return nil, errors.New(explainState(string(f.StateReasonCode), aws.ToString(f.StateReason)))
		case f.LastUpdateStatus == types.LastUpdateStatusFailed:
			return nil, errors.New(explainState(string(f.LastUpdateStatusReasonCode), aws.ToString(f.LastUpdateStatusReason)))
		case f.State != types.StatePending && f.LastUpdateStatus != types.LastUpdateStatusInProgress:
			return f, nil
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, fmt.Errorf("AWS Lambda has not made the function %s ready within %s: apply again", name, settlePatience)
		}
	}
}

// settlePatience is how long AWS may take to make a function that was created or changed, or to
// let it have a role that was just made.
const settlePatience = 3 * time.Minute

// again repeats a call while AWS says that the function is being changed, or that its new role
// cannot be assumed yet.
func (e *Executor) again(ctx context.Context, call func() error) error {
	end := time.Now().Add(settlePatience)
	for pause := e.opts.Pause / 4; ; pause = min(2*pause, e.opts.Longest) {
		err := call()
		if !busy(err) && !notAssumed(err) || time.Now().After(end) {
			return err
		}
		if sleep(ctx, pause) != nil {
			return err
		}
	}
}

// notAssumed reports whether AWS Lambda, SageMaker or Amazon ECS may not assume a role, as in its first seconds. Amazon ECS calls
// it a role that is not valid.
func notAssumed(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	return api.ErrorCode() == "InvalidParameterValueException" && strings.Contains(api.ErrorMessage(), "cannot be assumed") ||
		refusedAsInvalid(err) && strings.Contains(api.ErrorMessage(), "Could not assume role") ||
		api.ErrorCode() == "ClientException" && strings.Contains(api.ErrorMessage(), "Role is not valid")
}
