package aws

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
)

// A logPosition is how far the log of a task in CloudWatch has been read.
type logPosition struct {
	group, stream, token string
	moved                bool // the last call found something
	more                 bool // and there is more
	// since is the time of the last event of several streams, in milliseconds, and seen are the ids
	// of those of the last look.
	since int64
	seen  map[string]bool
	next  map[string]bool // those of this look, while it has more pages
	from  int64           // since when this look asks
	// numbers are those of the versions of a function whose log it is.
	numbers map[string]bool
	began   int64 // when the task did, in milliseconds
}

// Printed returns what CloudWatch has got since the last call, or the first page of that.
func (f *followed) Printed(ctx context.Context) ([]byte, error) {
	var lines bytes.Buffer
	var err error
	f.at.more = false
	if s, ok := f.e.backend(f.st.Place).(streamed); ok {
		err = s.readStreams(ctx, f.c, f.st, &f.at, &lines)
	} else {
		err = f.readStream(ctx, &lines)
	}
	f.at.moved = lines.Len() > 0 || f.at.more
	return lines.Bytes(), err
}

// More reports whether the last call has left pages.
func (f *followed) More() bool { return f.at.more }

// readStream reads the next page of a log that is one stream.
func (f *followed) readStream(ctx context.Context, to *bytes.Buffer) error {
	at := &f.at
	if at.stream == "" || !at.moved && f.st.Place == onTraining { // a job that SageMaker starts again has another one
		group, stream, err := f.e.backend(f.st.Place).stream(ctx, f.c, f.st)
		if err != nil || stream == "" {
			return err
		}
		if stream != at.stream {
			at.group, at.stream, at.token = group, stream, ""
		}
	}
	events, next, err := f.c.logs.page(ctx, at.group, at.stream, at.token)
	if logsMissing(err) {
		return nil
	}
	if err != nil {
		return explainCall("read the log of the job", err)
	}
	for _, line := range events {
		to.WriteString(line.Message)
		to.WriteByte('\n')
	}
	if next != "" && next != at.token { // a page may be empty, and others follow it
		at.token, at.more = next, true
	}
	return nil
}

// overlap is how long before the last event that was read a look begins: CloudWatch gets the streams one by one, so
// that an event may arrive after later ones of other streams.
const overlap = 10 * time.Second

// readSince reads the next page of what some streams of a group have got since the last look. It leaves out the counts that
// functions and endpoints print for [Executor.counted].
func (at *logPosition) readSince(ctx context.Context, c *cloud, group string, of func(stream string) bool, to *bytes.Buffer) error {
	if at.token == "" { // the first page of a look
		at.from, at.next = max(0, at.since-overlap.Milliseconds()), map[string]bool{}
	}
	events, next, err := c.logs.filter(ctx, group, "", at.from, at.token)
	if logsMissing(err) {
		return nil
	}
	if err != nil { // the next call asks for the same page
		return explainCall("read the log "+group, err)
	}
	for _, x := range events {
		if !of(x.LogStreamName) {
			continue
		}
		line := strings.TrimSuffix(x.Message, "\n")
		at.since = max(at.since, x.Timestamp)
		at.next[x.EventID] = true
		if _, is := release.ReadCount(line); is || at.seen[x.EventID] {
			continue
		}
		to.WriteString(line)
		to.WriteByte('\n')
	}
	if at.token, at.more = next, next != ""; !at.more {
		at.seen = at.next // the next look begins no earlier, so it finds these again and no older ones
	}
	return nil
}
