package aws

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

// pages are those of a log by token: a line, or "" for a page without one, and the next token.
type pages map[string][2]string

func (p pages) streams(context.Context, string, string) ([]logStream, error) {
	return nil, errors.New("it is not asked")
}

func (p pages) page(_ context.Context, _, _, token string) (events []logEvent, next string, err error) {
	page := p[token]
	if page[0] != "" {
		events = []logEvent{{Message: page[0]}}
	}
	return events, page[1], nil
}

func (p pages) filter(context.Context, string, string, int64, string) ([]logEvent, string, error) {
	return nil, "", errors.New("it is not asked")
}

// CloudWatch may answer with an empty page although others follow. The end of a log is a page whose
// next token is its own.
func TestEmptyPagesOfALog(t *testing.T) {
	log := pages{"": {"", "1"}, "1": {"first", "2"}, "2": {"", "3"}, "3": {"second", "4"}, "4": {"", "4"}}
	var got bytes.Buffer
	f := &followed{e: New(Options{}), c: &cloud{logs: log}, st: taskState{Job: "job"}, at: logPosition{stream: "stream"}}
	for _, want := range []string{"first\nsecond\n", "first\nsecond\nthird\n"} {
		for more := true; more; more = f.More() {
			lines, err := f.Printed(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Count(lines, []byte("\n")) > 1 {
				t.Errorf("several pages are in memory: %q", lines)
			}
			got.Write(lines)
		}
		if got.String() != want {
			t.Errorf("the log is %q, want %q", got.String(), want)
		}
		log["4"], log["5"] = [2]string{"third", "5"}, [2]string{"", "5"}
	}
}

// events are those of a group, whose streams arrive one by one.
type events []logEvent

func (e *events) streams(context.Context, string, string) ([]logStream, error) { return nil, nil }

func (e *events) page(context.Context, string, string, string) ([]logEvent, string, error) {
	return nil, "", errors.New("it is not asked")
}

func (e *events) filter(_ context.Context, _, _ string, since int64, _ string) (found []logEvent, next string, err error) {
	for _, x := range *e {
		if x.Timestamp >= since {
			found = append(found, x)
		}
	}
	return found, "", nil
}

// An event that arrives after a later one of another stream is read, and none is read twice.
func TestEventsThatArriveLate(t *testing.T) {
	all := &events{}
	at := &logPosition{since: 50_000}
	var got bytes.Buffer
	for _, x := range []logEvent{{"a", "one", 50_000, "first"}, {"b", "one", 60_000, "second"}, {"c", "two", 55_000, "late"}, {"d", "one", 75_000, "last"}} {
		*all = append(*all, x)
		if err := at.readSince(t.Context(), &cloud{logs: all}, "group", func(string) bool { return true }, &got); err != nil {
			t.Fatal(err)
		}
	}
	if want := "first\nsecond\nlate\nlast\n"; got.String() != want {
		t.Errorf("the log is %q, want %q", got.String(), want)
	}
}
