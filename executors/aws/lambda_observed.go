package aws

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// countsPattern selects what is counted from the log of a function, in the syntax of CloudWatch: the counts that
// instances print, and what AWS says of requests that they did not answer, because they ended or took too long. Source:
// "Troubleshoot invocation issues in Lambda" of the developer guide.
const countsPattern = `?"` + release.CountPrefix + `" ?"Status: error" ?"Status: timeout" ?"Task timed out after" ?"Runtime exited with error"`

var requestID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// unanswered returns the id of the request that an instance did not answer, if a line says so, or "". Several
// lines may say so of the same request.
func unanswered(line string) string {
	report := strings.HasPrefix(line, "REPORT ") && (strings.Contains(line, "Status: error") || strings.Contains(line, "Status: timeout"))
	if !report && !strings.Contains(line, "Task timed out after") && !strings.Contains(line, "Error: Runtime exited with error") {
		return ""
	}
	return requestID.FindString(line)
}

// observe implements [releaser].
func (e functions) observe(ctx context.Context, c *cloud, st *taskState) (*step.Observed, error) {
	published, _, err := c.versions(ctx, st.Function)
	if err != nil {
		return nil, err
	}
	a, err := c.alias(ctx, st.Function)
	if err != nil || a == nil {
		return nil, err
	}
	names, answers := map[string]string{}, false
	for _, v := range st.own(published) {
		names[v.number] = v.name
		answers = answers || invokes(a, v)
	}
	r, ok := effective(a)
	if !ok || !answers {
		return nil, nil
	}
	return e.counted(ctx, c, st, r.Serial, r.since, slices.Collect(maps.Values(names)), reading{
		pattern: countsPattern, what: "the function " + st.Function,
		version: func(x logEvent, _ string) (string, bool) {
			name, own := names[versionOfStream(x.LogStreamName)]
			return name, own
		},
		other: (*tally).unanswered,
	})
}

// unanswered returns the failure of a request that an instance did not answer, if a line is the first to say so.
func (n *tally) unanswered(line string) (more step.Observation) {
	if id := unanswered(line); id != "" && !n.failed[id] {
		n.failed[id] = true
		more.Requests, more.Failed = 1, 1
	}
	return more
}
