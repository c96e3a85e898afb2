package notify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/planner"
)

var rejected = EventOf("late", "prod", "loops/late", planner.Notice{
	ID: "0c3ad4b0a3b8e1f07c55d0e1f8d2a9b4", Type: planner.ReleaseRejected, At: time.Date(2026, 3, 1, 12, 0, 4, 0, time.UTC),
	Unit: "deployments/api", Number: 14, Text: "late v7 was rejected: accuracy 0.41 < 0.6", Revision: 14,
})

// What is sent is what docs/notices.md shows.
func TestEventIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/notices.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```json\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("docs/notices.md has no example")
	}
	sent, err := json.Marshal(rejected)
	if err != nil {
		t.Fatal(err)
	}
	var want, got any
	if err := errors.Join(json.Unmarshal([]byte(example), &want), json.Unmarshal(sent, &got)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-documented +sent)\n%s", diff)
	}
	for _, typ := range []planner.NoticeType{planner.MonitorAlert, planner.MonitorResolved, planner.TrainingBegun, planner.TrainingEnded, planner.TrainingFailed, planner.TrainingGated,
		planner.TrainingGivenUp, planner.RollbackEnded, planner.RollbackFailed, planner.RollbackGivenUp, planner.ReleaseRejected, planner.LoopHeld, planner.LoopBacksOff, planner.LoopNeedsSomeone} {
		if !strings.Contains(string(doc), "`"+string(typ)+"`") {
			t.Errorf("docs/notices.md does not describe %s", typ)
		}
	}
}

func TestWebhook(t *testing.T) {
	var got Event
	status := http.StatusNoContent
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	defer s.Close()
	mux.HandleFunc("POST /s3cret", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(b, &got); err != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/cloudevents+json") {
			t.Errorf("%v, %s", err, r.Header)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "s3cret")
	})
	redirect := func(from, to string, code int) {
		mux.HandleFunc(from, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, code) })
	}
	redirect("/within-s3cret", "/s3cret", http.StatusTemporaryRedirect)
	redirect("/get-s3cret", "/s3cret", http.StatusFound)
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it follows a redirect to another host") }))
	defer other.Close()
	redirect("/away-s3cret", other.URL, http.StatusPermanentRedirect)
	redirect("/loop-s3cret", "/loop-s3cret", http.StatusTemporaryRedirect)
	gone := httptest.NewServer(nil)
	gone.Close()
	tls := httptest.NewTLSServer(mux)
	defer tls.Close()
	for _, tt := range []struct {
		url, want string
		status    int
		refused   bool
	}{
		{s.URL + "/s3cret", "", 204, false},
		{s.URL + "/within-s3cret", "", 200, false},
		{s.URL + "/s3cret", "it answered 503 Service Unavailable", 503, false},
		{s.URL + "/s3cret", "it answered 404 Not Found", 404, false}, // the URL may be corrected
		{s.URL + "/s3cret", "it answered 400 Bad Request", 400, true},
		{s.URL + "/get-s3cret", "it redirects elsewhere, which is not followed", 204, false},
		{s.URL + "/away-s3cret", "it redirects elsewhere, which is not followed", 204, false},
		{s.URL + "/loop-s3cret", "it redirects elsewhere, which is not followed", 204, false},
		{gone.URL + "/s3cret", "connection refused", 204, false},
		{tls.URL + "/s3cret", "its certificate is not valid", 204, false},
	} {
		got, status = Event{}, tt.status
		to, err := CheckWebhook(tt.url, false)
		if err != nil {
			t.Fatal(err)
		}
		err = NewClient().Webhook(t.Context(), to, rejected)
		refused := (*RefusedError)(nil)
		if text := errorText(err); text != tt.want || errors.As(err, &refused) != tt.refused {
			t.Errorf("%s, %d: %q", tt.url, tt.status, text)
		}
		if err == nil && got != rejected {
			t.Errorf("it got %+v", got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := NewClient().Webhook(ctx, &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, rejected); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestCheckWebhook(t *testing.T) {
	for _, tt := range []struct {
		url   string
		plain bool
		want  string
	}{
		{"https://hooks.example.com/s3cret", false, ""},
		{"http://127.0.0.1:80/s3cret\n", false, ""},
		{"http://[::1]/s3cret", false, ""},
		{"http://localhost:1234/s3cret", false, ""},
		{"http://hooks.example.com/s3cret", true, ""},
		{"http://hooks.example.com/s3cret", false, "no TLS"},
		{"http://127.0.0.1.example.com/s3cret", false, "no TLS"},
		{"ftp://hooks.example.com/s3cret", true, "not a URL"},
		{"s3cret", false, "not a URL"},
		{"https://%zz/s3cret", false, "not a URL"},
		{"", false, "not a URL"},
	} {
		_, err := CheckWebhook(tt.url, tt.plain)
		if text := errorText(err); !strings.Contains(text, tt.want) || (text == "") != (tt.want == "") || strings.Contains(text, "s3cret") || strings.Contains(text, "example") {
			t.Errorf("%q: %q", tt.url, text)
		}
	}
}
