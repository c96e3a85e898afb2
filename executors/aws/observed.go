package aws

import (
	"context"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// late is by how much the times of events may differ from the order in which CloudWatch has them.
const late = time.Minute

// A tally is what was counted of the versions of a task under a route, and how far the log has been read. Without
// it, the log is read again from the start of the route.
type tally struct {
	serial  int64
	since   time.Time        // of the route
	newest  int64            // milliseconds
	seen    map[string]int64 // times of the last events, by id
	failed  map[string]bool  // ids of requests that were not answered
	counted map[string]step.Observation
}

// A reading is how the log of a service says what its versions did.
type reading struct {
	pattern string // of the events that say so, in the syntax of CloudWatch
	what    string // whose log it is, for errors
	// version returns the version of which an event is, or false. line is its text.
	version func(x logEvent, line string) (name string, own bool)
	// other returns what a line says of a version besides its counts.
	other func(n *tally, line string) step.Observation
}

// counted returns what the versions of a task counted under a route, according to their log.
func (e *Executor) counted(ctx context.Context, c *cloud, st *taskState, serial int64, since time.Time, versions []string, by reading) (*step.Observed, error) {
	e.observing.Lock()
	defer e.observing.Unlock()
	n := e.tallies[st.Record]
	if n == nil || n.serial != serial || !n.since.Equal(since) {
		n = &tally{serial: serial, since: since, seen: map[string]int64{}, failed: map[string]bool{}, counted: map[string]step.Observation{}}
		e.tallies[st.Record] = n
	}
	if err := n.read(ctx, c, st.Group, by); err != nil {
		return nil, err
	}
	o := &step.Observed{Serial: serial, Since: since}
	o.Add(step.Observed{Since: since, Versions: n.counted})
	for _, name := range versions {
		if _, has := o.Versions[name]; !has { // it had no requests
			o.Versions[name] = step.Observation{}
		}
	}
	o.At = time.Now().UTC()
	return o, nil
}

// read reads what the log has got since the last call.
func (n *tally) read(ctx context.Context, c *cloud, group string, by reading) error {
	from := max(n.since.UnixMilli(), n.newest-late.Milliseconds())
	for token := ""; ; {
		events, next, err := c.logs.filter(ctx, group, by.pattern, from, token)
		if logsMissing(err) {
			return nil
		}
		if err != nil {
			return explainCall("read the log of "+by.what, err)
		}
		for _, x := range events {
			line := strings.TrimSuffix(x.Message, "\n")
			name, own := by.version(x, line)
			if _, again := n.seen[x.EventID]; again || !own {
				continue
			}
			n.seen[x.EventID], n.newest = x.Timestamp, max(n.newest, x.Timestamp)
			n.add(name, line, by)
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
func (n *tally) add(name, line string, by reading) {
	more := by.other(n, line)
	if count, is := release.ReadCount(line); is && !count.Since.Before(n.since) {
		more = count.Observation
		if count.Requests == 0 && count.Since.After(n.since.Add(startSlack)) {
			more.Fault = restarted
		}
	}
	sum := step.Observed{Versions: n.counted}
	sum.Add(step.Observed{Versions: map[string]step.Observation{name: more}})
}

// restarted is the fault of a version whose process started after its route was effective, by more than clocks may
// differ. Processes of functions do not print that they start.
const (
	restarted  = "its container ended and was started again: its log says more"
	startSlack = time.Second
)
