package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/edge"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/edge/keys"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// edgedVersions are two versions behind one edge. kept is the folder of the service.
func edgedVersions(t *testing.T, d edge.Declared, r step.Route) (v *versions, kept string) {
	t.Helper()
	kept = t.TempDir()
	e, err := edge.Open(t.Context(), d, edge.Options{Kept: kept, Instance: "i1", Log: func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return versionsOf(t, r, func(_ string, c *Config) { c.process.edge, c.process.aside = e, d.Management }), kept
}

// The edge is asked once for a request, before a version is chosen. What it refuses counts for no version.
func TestTheEdgeIsThatOfAllVersions(t *testing.T) {
	d, of := declared(t, `{"auth": {"keys": "KEYS"}, "limits": {"rate": 0.001, "burst": 40}, "audit": {"keep": "1GiB"}, "cors": {"origins": ["*"]}}`, "predict", "metrics")
	v, kept := edgedVersions(t, d, by("carrier", routeOf(1, 50, 50, 0)))
	answered(t, asked(v, "POST", "/predict", aFlight), 401, `{"detail":"say who you are: send a key or a token"}`)
	answered(t, asked(v, "POST", "/predict", aFlight, "X-API-Key", of["metrics"]), 403, "")
	answered(t, asked(v, "GET", "/none", ""), 404, "")
	answered(t, asked(v, "OPTIONS", "/predict", "", "Origin", "https://shop.example", "Access-Control-Request-Method", "POST"), 204, "")
	by := map[string]int{}
	for i := range 50 {
		w := asked(v, "POST", "/predict", flight(fmt.Sprint("c", i), 3), "X-API-Key", of["predict"])
		if w.Code == 200 {
			by[w.Header().Get(versionHeader)]++
		} else if w.Code != 429 || i < 40 {
			t.Fatalf("request %d: %d %s", i, w.Code, w.Body)
		}
	}
	if by["v1"] == 0 || by["v2"] == 0 || by["v1"]+by["v2"] != 40 {
		t.Errorf("answers %v, of a burst of 40", by)
	}
	o := v.observed()
	for name, n := range by {
		if got := o.Versions[name]; got.Requests != int64(n) || got.Refused != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	text := asked(v, "GET", "/metrics", "", "X-API-Key", of["metrics"]).Body.String()
	if want := `tenon_edge_refused_requests_total{deployment="api",reason="rate"} 10.0`; strings.Count(text, want) != 1 {
		t.Errorf("no %s in\n%s", want, text)
	}
	v.edge.Close()
	files, _ := filepath.Glob(filepath.Join(kept, "audit", "*"))
	if len(files) != 1 {
		t.Fatalf("files %q", files)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]int{}
	for line := range strings.Lines(string(b)) {
		var l struct {
			Path, Version string
			Status        int
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if l.Path == "/predict" && l.Status == 200 {
			lines[l.Version]++
		}
	}
	if lines["v1"] != by["v1"] || lines["v2"] != by["v2"] {
		t.Errorf("the audit log has %v, want %v", lines, by)
	}
}

// A request that a second version answers, because the first one could not, counts once.
func TestARequestThatMovesCountsOnce(t *testing.T) {
	d, of := declared(t, `{"auth": {"keys": "KEYS"}, "limits": {"rate": 0.001, "burst": 1, "concurrency": 1}, "cors": {"origins": ["https://shop.example"]}}`, "predict")
	v, _ := edgedVersions(t, d, routeOf(1, 100, 0, 0))
	p := v.all["v1"].plane
	p.Model = always{Model: p.Model.(always).Model, err: worker.ErrAway}
	w := asked(v, "POST", "/predict", aFlight, "X-API-Key", of["predict"])
	if w.Code != 503 && (w.Code != 200 || w.Header().Get(versionHeader) != "v2") || len(w.Header().Values("Vary")) != 1 {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	answered(t, asked(v, "POST", "/predict", aFlight, "X-API-Key", of["predict"]), 429, "")
}

// The port for management has what the route does, and no rows.
func TestTheRouteOnThePortForManagement(t *testing.T) {
	v, _ := edgedVersions(t, edge.Declared{Management: &edge.Management{}}, by("carrier", routeOf(7, 90, 10, 0.5)))
	ask(v, "POST", "/predict", aFlight)
	f := v.front()
	f.managed = true
	answered(t, ask(v, "GET", releasePath, ""), 404, "")
	answered(t, ask(f, "POST", releasePath, ""), 405, "")
	answered(t, ask(f, "POST", "/predict", aFlight), 404, "")
	var got struct {
		Serial   int
		By       string
		Versions []struct {
			Name             string
			Weight, Requests int
		}
	}
	w := ask(f, "GET", releasePath, "")
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Serial != 7 || got.By != "carrier" || len(got.Versions) != 2 || got.Versions[0].Name != "v1" || got.Versions[0].Weight != 90 ||
		got.Versions[0].Requests+got.Versions[1].Requests != 1 || strings.Contains(w.Body.String(), "EWR") {
		t.Errorf("%s", w.Body)
	}
	answered(t, ask(f, "GET", "/metrics", ""), 200, "")
}

// A call of gRPC for a version that cannot answer gets a status of gRPC.
func TestACallForAVersionThatCannotAnswer(t *testing.T) {
	v := versionsOf(t, routeOf(1, 50, 50, 0), nil)
	for path, want := range map[string]string{modelInfer: "application/grpc", "/predict": "application/json"} {
		r := httptest.NewRequest("POST", path, nil)
		if path == modelInfer {
			r.ProtoMajor = 2
		}
		w := httptest.NewRecorder()
		c := &call{began: time.Now()}
		turn := v.turns.Get().(*turn)
		turn.of = v
		turn.begin(r).plane.unavailable(w, r, turn, c)
		grpc := w.Header().Get(http.TrailerPrefix + "Grpc-Status")
		if w.Header().Get("Content-Type") != want || (path == modelInfer) != (grpc == "14") || c.status != 503 {
			t.Errorf("%s: %d %v %s", path, w.Code, w.Header(), w.Body)
		}
	}
}

// A path with a slash too many leads to the scheme of its port.
func TestRedirectsStayOnTheirPort(t *testing.T) {
	p, _, _, _, _ := secured(t, `{"management": {"public": ["health"]}}`, nil)
	for want, h := range map[string]http.Handler{"https://": p, "http://": managed(p)} {
		if w := ask(h, "GET", "/healthz/", ""); w.Code != 307 || !strings.HasPrefix(w.Header().Get("Location"), want) {
			t.Errorf("%d %v, want %s", w.Code, w.Header(), want)
		}
	}
}

// A release has the edge of the challenger from its start. The champion that is started alone has its own.
func TestAReleaseWithAnotherEdge(t *testing.T) {
	key := keys.New()
	may, err := keys.ParseScopes([]string{"predict"})
	if err != nil {
		t.Fatal(err)
	}
	line, err := keys.Line("mobile", key, may)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(list, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newReleasing(t)
	s.params = map[string]string{"v1": `{"drain_seconds": 0.2, "limits": {"rate": 0.001, "burst": 1}}`, "v2": fmt.Sprintf(`{"drain_seconds": 0.2, "auth": {"keys": %q}}`, list)}
	s.route(step.RouteVersion{Name: "v1", Weight: 50}, step.RouteVersion{Name: "v2", Weight: 50})
	ready, end := s.start("v2", "v1")
	ready()
	post := func(key string) (int, string) {
		r, err := http.NewRequestWithContext(context.Background(), "POST", s.url("/predict"), strings.NewReader(aFlight))
		if err != nil {
			t.Fatal(err)
		}
		if key != "" {
			r.Header.Set("X-API-Key", key)
		}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode, resp.Header.Get(versionHeader)
	}
	by := map[string]int{}
	for range 40 {
		if code, _ := post(""); code != 401 {
			t.Fatalf("without a key: %d", code)
		}
		code, name := post(key)
		if code != 200 {
			t.Fatalf("with a key: %d by %s", code, name)
		}
		by[name]++
	}
	if by["v1"] == 0 || by["v2"] == 0 {
		t.Errorf("answers: %v", by)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	ready, end = s.start("v1")
	ready()
	if code, _ := post(""); code != 200 {
		t.Errorf("the champion alone: %d", code)
	}
	if code, _ := post(""); code != 429 {
		t.Errorf("the champion alone, beyond its limit: %d", code)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}
