package plane

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/events"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// takes are events that are all new, or refused.
type takes struct {
	got []rowsql.Value
	err error
}

func (f *takes) Post(rows []rowsql.Value, n int) (int, error) {
	f.got = append([]rowsql.Value(nil), rows...)
	return n - 1, f.err
}

func (f *takes) Follow()      {}
func (f *takes) Name() string { return "log" }

func seen(p *Plane, path string) string {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Body.String()
}

func TestEvents(t *testing.T) {
	m, _ := readExported(t, "hist")
	feed := &takes{}
	p, err := New(Config{Model: m, MaxRows: 10, MaxBytes: 1000, Task: "classification", Label: ir.Column{Name: "late", Type: "bool"},
		eventsConfig: eventsConfig{Events: feed, EventColumns: ir.Schema{{Name: "id", Type: "int64"}, {Name: "at", Type: "timestamp"}}, MaxEvents: 2,
			Memory: func() features.Memory {
				return features.Memory{Keys: 3, Events: 5, Bytes: 700, Newest: time.Now().Add(-time.Minute).UnixMicro()}
			}}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, body string) (int, string) {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(method, "/events", strings.NewReader(body)))
		return w.Code, w.Body.String()
	}
	const two = `{"events":[{"id":1,"at":"2024-01-01T00:00:00"},{"at":"1970-01-01T00:00:01","id":2}]}`
	if status, says := ask("POST", two); status != http.StatusOK || says != `{"added":1,"known":1}` {
		t.Errorf("two events: %d, %s", status, says)
	}
	if len(feed.got) != 4 || feed.got[2].Int() != 2 || feed.got[3].Int() != 1_000_000 {
		t.Errorf("it got %v", feed.got)
	}
	for body, want := range map[string]string{
		`{"events":[{"id":"x","at":"2024-01-01T00:00:00"}]}`: `{"detail":[{"type":"int_type","loc":["body","events",0,"id"],"msg":"Input should be a valid integer"}]}`,
		`{"instances":[]}`: `wanted an object with a list \"events\", such as {\"events\": [{\"id\": 0, `,
		`{"events":[]}`:    `{"detail":[{"type":"value_error","loc":["body","events"],"msg":"the list has to have at least 1 item"}]}`,
		`{"events":[{"id":1,"at":"2024-01-01T00:00:00"},{"id":1,"at":"2024-01-01T00:00:00"},{"id":1,"at":"2024-01-01T00:00:00"}]}`: `the list may have at most 2 items`,
	} {
		if status, says := ask("POST", body); status != http.StatusUnprocessableEntity || !strings.Contains(says, want) {
			t.Errorf("%s: %d, %s, wanted %s", body, status, says, want)
		}
	}
	for _, tt := range []struct {
		err    error
		status int
		want   string
	}{
		{&events.RowError{Row: 1, Err: &rowsql.Error{Message: "it comes too late"}}, 422, `{"detail":[{"type":"value_error","loc":["body","events",1],"msg":"it comes too late"}]}`},
		{&events.RowError{Row: 1, Err: &model.ValueError{Column: "x", Reason: "it is null"}}, 422, `"loc":["body","events",1,"x"],"msg":"it is null"`},
		{&events.RowError{Err: rowsql.ErrFull}, 507, "the history is full"},
		{events.ErrStopped, 503, "the service stops"},
		{errors.New("no space left on device"), 500, "Send them again"},
	} {
		feed.err = tt.err
		if status, says := ask("POST", two); status != tt.status || !strings.Contains(says, tt.want) {
			t.Errorf("%v: %d, %s", tt.err, status, says)
		}
	}
	if status, _ := ask("GET", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", status)
	}
	if !strings.Contains(string(p.openAPI), `"/events":{"post":`) {
		t.Error("the OpenAPI document lacks the path")
	}
	metrics := seen(p, "/metrics")
	for _, want := range []string{
		`tenon_events_total{result="added"} 1.0`, `tenon_events_total{result="known"} 1.0`, `tenon_events_total{result="refused"} 10.0`, `tenon_events_bad_requests_total 4.0`,
		"tenon_history_keys 3.0", "tenon_history_events 5.0", "tenon_history_bytes 700.0", "tenon_history_newest_event_age_seconds 60.",
	} {
		if !strings.Contains(metrics, "\n"+want) {
			t.Errorf("the metrics lack %s:\n%s", want, metrics)
		}
	}
	p, err = New(Config{Model: m, MaxRows: 10, MaxBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := ask("POST", two); status != http.StatusNotFound || strings.Contains(string(p.openAPI), "/events") {
		t.Errorf("without events: %d", status)
	}
}
