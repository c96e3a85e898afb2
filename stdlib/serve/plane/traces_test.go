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

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/traces"
)

// Probes and unknown paths would fill a collector: only requests that are computed make spans.
func TestOnlyWorkIsTraced(t *testing.T) {
	var mu sync.Mutex
	var names []string
	phases := map[string][]string{} // by span
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var message struct {
			ResourceSpans []struct {
				ScopeSpans []struct {
					Spans []struct{ Name, SpanID, ParentSpanID string }
				}
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			t.Error(err)
			return
		}
		spans := message.ResourceSpans[0].ScopeSpans[0].Spans
		for _, s := range spans {
			for _, of := range spans {
				if s.ParentSpanID == of.SpanID {
					phases[of.Name] = append(phases[of.Name], s.Name)
				}
			}
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
	p, x := explained(t, "hist", func(c *Config) {
		c.Tracer = tracer
		c.eventsConfig = eventsConfig{Events: &takes{}, EventColumns: ir.Schema{{Name: "id", Type: "int64"}}, MaxEvents: 2}
	})
	call, end := overGRPC(t, p)
	for method, message := range map[string][]byte{"ServerLive": nil, "ServerReady": nil, "ModelReady": named("late", ""), "ModelInfer": rowOf(false)} {
		if _, err := call(method, message); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
	ask(p, "GET", "/healthz", "")
	ask(p, "POST", "/nothing", "{}")
	for path, body := range map[string]string{"/predict": string(x.Request), "/explain": string(x.Request), "/events": `{"events":[{"id":1},{"id":2}]}`} {
		if w := ask(p, "POST", path, body); w.Code != http.StatusOK {
			t.Error(w.Body)
		}
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	tracer.Close()
	slices.Sort(names)
	if want := []string{"POST /events", "POST /explain", "POST " + grpcService + "ModelInfer", "POST /predict"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	for name, want := range map[string][]string{"POST /predict": {"receive", "decode", "predict"}, "POST /explain": {"receive", "decode", "predict", "explain"}, "POST /events": {"receive", "decode", "write"}} {
		if got := phases[name]; !slices.Equal(got, want) {
			t.Errorf("%s has the parts %q, want %q", name, got, want)
		}
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
