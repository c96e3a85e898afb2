package aws

import (
	"bytes"
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
)

// pages are those of a log by token: a line, or "" for a page without one, and the next token.
type pages map[string][2]string

func (p pages) GetLogEvents(_ context.Context, in *cloudwatchlogs.GetLogEventsInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.GetLogEventsOutput, error) {
	page := p[aws.ToString(in.NextToken)]
	out := &cloudwatchlogs.GetLogEventsOutput{NextForwardToken: &page[1]}
	if page[0] != "" {
		out.Events = []types.OutputLogEvent{{Message: &page[0]}}
	}
	return out, nil
}

func (p pages) FilterLogEvents(context.Context, *cloudwatchlogs.FilterLogEventsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.FilterLogEventsOutput, error) {
	return &cloudwatchlogs.FilterLogEventsOutput{}, nil
}

// CloudWatch may answer with an empty page although others follow. The end of a log is a page whose
// next token is its own.
func TestEmptyPagesOfALog(t *testing.T) {
	log := pages{"": {"", "1"}, "1": {"first", "2"}, "2": {"", "3"}, "3": {"second", "4"}, "4": {"", "4"}}
	c, e, st := &cloud{logs: log}, New(Options{}), taskState{Job: "job"}
	var got bytes.Buffer
	l := &logCopy{stream: "stream", reader: pod.NewLogReader(&got, nil)}
	for _, want := range []string{"first\nsecond\n", "first\nsecond\nthird\n"} {
		if err := e.copyLog(t.Context(), c, st, l); err != nil {
			t.Fatal(err)
		}
		if got.String() != want {
			t.Errorf("the log is %q, want %q", got.String(), want)
		}
		log["4"], log["5"] = [2]string{"third", "5"}, [2]string{"", "5"}
	}
}
