package traces

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

const client = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func start(t *Tracer, header string) *Span {
	r := httptest.NewRequest("POST", "/predict", nil)
	if header != "" {
		r.Header.Set("Traceparent", header)
	}
	return t.Start(r, time.Now())
}

func tracer(t *testing.T, endpoint string, sample float64, log func(string)) *Tracer {
	t.Helper()
	x, err := New(Config{endpoint, sample}, log, "service.name", "api")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	return x
}

func TestTracesOfClientsAreContinued(t *testing.T) {
	x := tracer(t, "http://127.0.0.1:1", 0, func(string) {})
	for header, want := range map[string]bool{
		client:                      true,
		client[:53] + "00":          false, // the client does not sample
		"01" + client[2:] + "-more": true,  // of a later version
		"":                          false,
		"ff" + client[2:]:           false,
		client + "-more":            false,
		client[:54]:                 false,
		strings.ToUpper(client):     false,
		strings.Replace(client, "0af7651916cd43dd8448eb211c80319c", strings.Repeat("0", 32), 1): false,
		strings.Replace(client, "b7ad6b7169203331", strings.Repeat("0", 16), 1):                 false,
		strings.Replace(client, "0af", "xyz", 1):                                                false,
	} {
		if s := start(x, header); (s != nil) != want {
			t.Errorf("%q: traced %v", header, s != nil)
		}
	}
	var none *Tracer
	if s := start(none, client); s != nil {
		t.Error("a service without a collector traces")
	}
}

func TestChanceSamplesOthers(t *testing.T) {
	x := tracer(t, "http://127.0.0.1:1", 0.25, func(string) {})
	n := 0
	for range 4000 {
		if start(x, "") != nil {
			n++
		}
	}
	if n < 800 || n > 1200 {
		t.Errorf("%d of 4000", n)
	}
}

func TestACollectorGetsSpans(t *testing.T) {
	var mu sync.Mutex
	var got exported
	var path, kind string
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		path, kind = r.URL.Path, r.Header.Get("Content-Type")
		_ = json.NewDecoder(r.Body).Decode(&got)
	}))
	defer collector.Close()
	x := tracer(t, collector.URL, 0, func(line string) { t.Error(line) })
	s := start(x, client)
	s.Phase("decode")
	s.Phase("predict")
	s.Rows(3)
	s.End("POST", "/predict", 503)
	x.Close()
	mu.Lock()
	defer mu.Unlock()
	if path != "/v1/traces" || kind != "application/json" || len(got.ResourceSpans) != 1 {
		t.Fatalf("%s, %s, %v", path, kind, got)
	}
	all := got.ResourceSpans[0]
	if a := all.Resource.Attributes; len(a) != 1 || a[0] != text("service.name", "api") {
		t.Errorf("%v", a)
	}
	spans := all.ScopeSpans[0].Spans
	if len(spans) != 3 {
		t.Fatalf("%v", spans)
	}
	server, decode, predict := spans[0], spans[1], spans[2]
	if server.Trace != client[3:35] || server.Parent != client[36:52] || server.Name != "POST /predict" || server.Kind != 2 || server.Status == nil || server.Status.Code != 2 {
		t.Errorf("%+v", server)
	}
	if a := server.Attributes; len(a) != 4 || a[0] != number("tenon.rows", 3) || a[3] != number("http.response.status_code", 503) {
		t.Errorf("%v", a)
	}
	if decode.Parent != server.ID || predict.Parent != server.ID || decode.Trace != server.Trace || decode.Start != server.Start || decode.End != predict.Start {
		t.Errorf("%+v\n%+v", decode, predict)
	}
}

// A collector that hangs or fails costs spans, and no request waits for it.
func TestACollectorThatFails(t *testing.T) {
	release := make(chan struct{})
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-release
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer collector.Close()
	var mu sync.Mutex
	var lines []string
	x := tracer(t, collector.URL, 1, func(line string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, line)
	})
	for range 2 * (mostQueued + mostSent) {
		start(x, "").End("POST", "/predict", 200)
	}
	if x.dropped.Load() == 0 {
		t.Error("the queue has no end")
	}
	close(release)
	x.Close()
	mu.Lock()
	defer mu.Unlock()
	if len(lines) != 2 || !strings.Contains(lines[0], "the collector answers 503") {
		t.Fatalf("%q", lines)
	}
	if all := fmt.Sprintf("%d requests so far", 2*(mostQueued+mostSent)); !strings.Contains(lines[1], all) {
		t.Errorf("the last line is %q, want %s", lines[1], all)
	}
}

// Spans that found no room in the queue are logged, too, though the collector takes all others.
func TestASlowCollector(t *testing.T) {
	release := make(chan struct{})
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer collector.Close()
	var mu sync.Mutex
	var lines []string
	x := tracer(t, collector.URL, 1, func(line string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, line)
	})
	for range 2 * (mostQueued + mostSent) {
		start(x, "").End("POST", "/predict", 200)
	}
	close(release)
	x.Close()
	mu.Lock()
	defer mu.Unlock()
	want := fmt.Sprintf("note: traces are lost, %d requests so far: the collector takes them too slowly", x.dropped.Load())
	if len(lines) == 0 || lines[len(lines)-1] != want {
		t.Errorf("%q, want %q", lines, want)
	}
}

func TestEndpoints(t *testing.T) {
	for endpoint, want := range map[string]string{
		"http://c:4318":           "http://c:4318/v1/traces",
		"http://c:4318/":          "http://c:4318/v1/traces",
		"https://c/otlp":          "https://c/otlp/v1/traces",
		"http://c:4318/v1/traces": "http://c:4318/v1/traces",
	} {
		if x := tracer(t, endpoint, 0, func(string) {}); x.url != want {
			t.Errorf("%s: %s, want %s", endpoint, x.url, want)
		}
	}
	for _, bad := range []string{"", "collector:4318", "ftp://c", "http://"} {
		if _, err := New(Config{Endpoint: bad}, nil); err == nil {
			t.Errorf("%q is an endpoint", bad)
		}
	}
}
