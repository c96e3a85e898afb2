package plane

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/traces"
)

// Probes and unknown paths would fill a collector: only requests that are computed make spans.
func TestOnlyPredictionsAreTraced(t *testing.T) {
	var mu sync.Mutex
	var names []string
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var message struct {
			ResourceSpans []struct {
				ScopeSpans []struct{ Spans []struct{ Name string } }
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			t.Error(err)
			return
		}
		for _, s := range message.ResourceSpans[0].ScopeSpans[0].Spans {
			if strings.HasPrefix(s.Name, "POST ") || strings.HasPrefix(s.Name, "GET ") {
				names = append(names, s.Name)
			}
		}
	}))
	defer collector.Close()
	tracer, err := traces.New(traces.Config{Endpoint: collector.URL, Sample: 1}, func(line string) { t.Error(line) })
	if err != nil {
		t.Fatal(err)
	}
	p, x := planeOf(t, func(c *Config) { c.Tracer = tracer })
	call, end := overGRPC(t, p)
	for method, message := range map[string][]byte{"ServerLive": nil, "ServerReady": nil, "ModelReady": named("late", ""), "ModelInfer": rowOf(false)} {
		if _, err := call(method, message); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
	ask(p, "GET", "/healthz", "")
	ask(p, "POST", "/nothing", "{}")
	if w := ask(p, "POST", "/predict", string(x.Request)); w.Code != http.StatusOK {
		t.Error(w.Body)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	tracer.Close()
	slices.Sort(names)
	if want := []string{"POST " + grpcService + "ModelInfer", "POST /predict"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

// A connection of HTTP/2 ends after its life, whatever its client asks for.
func TestOldConnectionsEnd(t *testing.T) {
	p, _ := planeOf(t, nil)
	for _, tt := range []struct {
		proto int
		age   time.Duration
		want  string
	}{
		{2, 0, ""},
		{2, longestLife + time.Second, "close"},
		{1, longestLife + time.Second, ""},
	} {
		for _, path := range []string{"/healthz", "/v2/health/live", "/nothing"} {
			r := httptest.NewRequest("GET", path, nil)
			r.ProtoMajor = tt.proto
			r = r.WithContext(context.WithValue(r.Context(), bornKey{}, time.Now().Add(-tt.age)))
			w := httptest.NewRecorder()
			p.ServeHTTP(w, r)
			if got := w.Header().Get("Connection"); got != tt.want {
				t.Errorf("%s over HTTP/%d after %v: Connection is %q, want %q", path, tt.proto, tt.age, got, tt.want)
			}
		}
	}
}
