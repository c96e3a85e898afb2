package aws

import (
	"context"
	"regexp"
	"strings"
	"time"

	runtime "github.com/tenon-ml/tenon/internal/lambda"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// countsPattern selects what is counted from the log of a function, in the syntax of CloudWatch: the counts that
// instances print, and what AWS says of requests that they did not answer, because they ended or took too long. Source:
// "Troubleshoot invocation issues in Lambda" of the developer guide.
const countsPattern = `?"` + runtime.CountPrefix + `" ?"Status: error" ?"Status: timeout" ?"Task timed out after" ?"Runtime exited with error"`

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

// late is how long after an event that is older another one may become known.
const late = time.Minute

// A tally is what was counted of the versions of a task under a route, and how far the log has been read. Without
// it, the log is read again from the begin of the route.
type tally struct {
	serial  int64
	newest  int64            // milliseconds
	seen    map[string]int64 // times of the last events, by id
	failed  map[string]bool  // ids of requests that were not answered
	counted map[string]step.Observation
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
	e.observing.Lock()
	defer e.observing.Unlock()
	n := e.tallies[st.Record]
	if n == nil || n.serial != r.Serial {
		n = &tally{serial: r.Serial, seen: map[string]int64{}, failed: map[string]bool{}, counted: map[string]step.Observation{}}
		e.tallies[st.Record] = n
	}
	if err := n.read(ctx, c, st, r.since, names); err != nil {
		return nil, err
	}
	o := &step.Observed{Serial: r.Serial, Since: r.since}
	o.Add(step.Observed{Since: r.since, Versions: n.counted})
	for _, name := range names {
		if _, has := o.Versions[name]; !has { // it had no requests
			o.Versions[name] = step.Observation{}
		}
	}
	o.At = time.Now().UTC()
	return o, nil
}

// read reads what the log has got since the last call.
func (n *tally) read(ctx context.Context, c *cloud, st *taskState, since time.Time, names map[string]string) error {
	from := max(since.UnixMilli(), n.newest-late.Milliseconds())
	for token := ""; ; {
		events, next, err := c.logs.filter(ctx, st.Group, countsPattern, from, token)
		if logsMissing(err) {
			return nil
		}
		if err != nil {
			return explainCall("read the log of the function "+st.Function, err)
		}
		for _, x := range events {
			name, own := names[versionOfStream(x.LogStreamName)]
			if _, again := n.seen[x.EventID]; again || !own {
				continue
			}
			n.seen[x.EventID], n.newest = x.Timestamp, max(n.newest, x.Timestamp)
			n.add(name, strings.TrimSuffix(x.Message, "\n"), since)
		}
		if token = next; token == "" {
			break
		}
	}
	for id, at := range n.seen {
		if at < n.newest-late.Milliseconds() {
			delete(n.seen, id)
		}
	}
	return nil
}

// add adds a line of a version. What was answered under an earlier route does not count.
func (n *tally) add(name, line string, since time.Time) {
	var more step.Observation
	if count, is := runtime.ReadCount(line); is && !count.Since.Before(since) {
		more = count.Observation
	} else if id := unanswered(line); id != "" && !n.failed[id] {
		n.failed[id] = true
		more.Requests, more.Failed = 1, 1
	}
	sum := step.Observed{Versions: n.counted}
	sum.Add(step.Observed{Versions: map[string]step.Observation{name: more}})
}
