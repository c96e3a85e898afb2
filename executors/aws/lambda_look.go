package aws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
)

// look implements [backend]. It invokes the version to see whether it is ready, so it may start it.
func (e functions) look(ctx context.Context, c *cloud, st *taskState) (state.Status, *pod.Result, error) {
	now := state.Status{Phase: state.Absent}
	published, _, err := c.versions(ctx, st.Function)
	if err != nil {
		return now, nil, err
	}
	own := st.own(published)
	if len(own) == 0 {
		return now, nil, nil
	}
	for _, v := range own {
		if now, err = e.answers(ctx, c, st, v); err != nil || now.Phase != state.Ready {
			if v.name != "" && now.Message != "" {
				now.Message = v.name + ": " + now.Message
			}
			return now, nil, err
		}
	}
	return now, nil, nil
}

// answers returns the status of a version.
func (e functions) answers(ctx context.Context, c *cloud, st *taskState, v version) (state.Status, error) {
	now := state.Status{Phase: state.Running, Started: parsed(v.LastModified)}
	f, err := c.lambda.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &st.Function, Qualifier: &v.number})
	switch {
	case missing(err):
		return state.Status{Phase: state.Absent}, nil
	case err != nil:
		return now, explainLambda("look at the function "+st.Function, err)
	case f.State == types.StatePending:
		now.Message = "AWS Lambda prepares it"
		return now, nil
	case f.State == types.StateFailed:
		now.Phase, now.Message = state.Failed, explainState(string(f.StateReasonCode), aws.ToString(f.StateReason))
		return now, nil
	}
	ask, err := json.Marshal(map[string]any{
		"version": "2.0", "rawPath": v.ready, "headers": map[string]string{}, "requestContext": map[string]any{"stage": "$default", "http": map[string]string{"method": "GET", "path": v.ready}},
	})
	if err != nil {
		return now, err
	}
	out, err := c.lambda.Invoke(ctx, &lambda.InvokeInput{FunctionName: &st.Function, Qualifier: &v.number, Payload: ask}, func(o *lambda.Options) { o.RetryMaxAttempts = 2 })
	var full *types.TooManyRequestsException
	if errors.As(err, &full) {
		now.Message = "it has as many requests at a time as it, or the account, may have"
		return now, nil
	}
	if missing(err) {
		return state.Status{Phase: state.Absent}, nil
	}
	if err != nil {
		return now, explainLambda("invoke the function "+st.Function, err)
	}
	if out.FunctionError != nil {
		var said struct{ ErrorMessage, ErrorType string }
		text := string(out.Payload)
		if json.Unmarshal(out.Payload, &said) == nil && said.ErrorMessage != "" {
			text = strings.TrimPrefix(said.ErrorType+": "+said.ErrorMessage, ": ")
		}
		now.Phase, now.Message = state.Failed, fromLambda(text)
		if now.Message == "" {
			now.Message = "it does not start: " + oneLine(text)
		}
		return now, nil
	}
	var answer struct {
		StatusCode int
		Body       string
	}
	if err := json.Unmarshal(out.Payload, &answer); err != nil {
		return now, fmt.Errorf("read what the function %s answers: %w", st.Function, err)
	}
	if answer.StatusCode != 200 {
		now.Message = strings.TrimSpace(fmt.Sprintf("it answers %s with %d: %s", v.ready, answer.StatusCode, oneLine(answer.Body)))
		return now, nil
	}
	now.Phase = state.Ready
	return now, nil
}

// parsed returns a time of AWS Lambda, or zero.
func parsed(text *string) time.Time {
	at, err := time.Parse("2006-01-02T15:04:05.000-0700", aws.ToString(text))
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

// stream implements [backend]. A version has a stream for each of its instances, all of which
// [functions.readStreams] reads.
func (e functions) stream(context.Context, *cloud, taskState) (group, stream string, err error) {
	return "", "", nil
}

// versionOfStream returns the number of the version that has a stream. AWS names it
// "2026/11/29/[VERSION]INSTANCE".
func versionOfStream(name string) string {
	_, at, _ := strings.Cut(name, "[")
	number, _, _ := strings.Cut(at, "]")
	return number
}

// readStreams implements [streamed].
func (e functions) readStreams(ctx context.Context, c *cloud, st taskState, at *logPosition, to *bytes.Buffer) error {
	if at.since == 0 { // the log of versions before may be long
		published, _, err := c.versions(ctx, st.Function)
		if err != nil {
			return err
		}
		at.numbers, at.since = map[string]bool{}, math.MaxInt64
		for _, v := range st.own(published) {
			at.numbers[v.number] = true
			at.since = min(at.since, max(parsed(v.LastModified).UnixMilli(), 0))
		}
		if len(at.numbers) == 0 {
			at.since = 0
			return nil
		}
	}
	return at.readSince(ctx, c, st.Group, func(stream string) bool { return at.numbers[versionOfStream(stream)] }, to)
}
