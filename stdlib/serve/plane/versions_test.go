package plane

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/openinference"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// always is a model that gives every row the same class.
type always struct {
	*model.Model
	late bool
	err  error
}

func (a always) Predict(_ context.Context, _ []rowsql.Value, outputs []float64, _ *model.Buffer) error {
	for i := 0; i < len(outputs); i += 2 {
		outputs[i], outputs[i+1] = 0.75, 0.25
		if a.late {
			outputs[i], outputs[i+1] = 0.25, 0.75
		}
	}
	return a.err
}

// versionsOf are versions of the model hist behind a route: v1 says that no flight is late, v2 that all are.
func versionsOf(t testing.TB, r step.Route, change func(name string, c *Config)) *versions {
	t.Helper()
	shared, all := new(process), map[string]*version{}
	for i, name := range []string{"v1", "v2"} {
		p, _ := planeOf(t, func(c *Config) {
			c.Version, c.process, c.About.Version = name, shared, 4+i
			c.Model = always{Model: c.Model.(*model.Model), late: name == "v2"}
			if change != nil {
				change(name, c)
			}
		})
		x := &version{name: name, plane: p, stop: func() {}}
		x.shadows = newShadows(x, []string{"carrier"}, func(line string) { t.Log(line) })
		all[name] = x
	}
	v := newVersions(shared, all, func(string) {})
	v.path = filepath.Join(t.TempDir(), "observed")
	if err := v.apply(r); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	v.watch(ctx)
	t.Cleanup(end)
	return v
}

func routeOf(serial int64, first, second int, shadow float64) step.Route {
	return step.Route{Serial: serial, Versions: []step.RouteVersion{{Name: "v1", Weight: first}, {Name: "v2", Weight: second, Shadow: shadow}}}
}

func by(column string, r step.Route) step.Route {
	r.By = column
	return r
}

func answeredBy(t *testing.T, h http.Handler, r *http.Request) string {
	t.Helper()
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Header().Get(versionHeader)
}

func flight(carrier, hour any) string {
	b, _ := json.Marshal(map[string]any{"instances": []any{map[string]any{"at": "2024-05-17T13:37:00", "origin": "EWR", "carrier": carrier, "hour": hour}}})
	return string(b)
}

func TestRequestsAreDividedByWeight(t *testing.T) {
	v := versionsOf(t, routeOf(1, 70, 30, 0), nil)
	got := map[string]int{}
	const n = 4000
	for range n {
		w := ask(v, "POST", "/predict", aFlight)
		name := w.Header().Get(versionHeader)
		want := map[string]string{"v1": `{"predictions":[{"prediction":false,"probability":0.25}],"model":{"name":"late","version":4,"digest":"sha256:abc"}}`,
			"v2": `{"predictions":[{"prediction":true,"probability":0.75}],"model":{"name":"late","version":5,"digest":"sha256:abc"}}`}[name]
		answered(t, w, 200, want)
		got[name]++
	}
	if math.Abs(float64(got["v2"])-0.3*n) > 5*math.Sqrt(n*0.3*0.7) {
		t.Errorf("%v", got)
	}
	o := v.observed()
	if o.Versions["v1"].Requests != int64(got["v1"]) || o.Versions["v2"].Requests != int64(got["v2"]) || o.Serial != 1 {
		t.Errorf("%v, observed %+v", got, o)
	}
	text := ask(v, "GET", "/metrics", "").Body.String()
	for _, want := range []string{
		fmt.Sprintf(`tenon_predictions_total{deployment="api",version="v1"} %d.0`, got["v1"]),
		fmt.Sprintf(`tenon_predictions_total{deployment="api",version="v2"} %d.0`, got["v2"]),
		fmt.Sprintf(`tenon_http_requests_total{code="200",deployment="api",path="/predict",version="v2"} %d.0`, got["v2"]),
		`tenon_model_info{deployment="api",digest="sha256:abc",name="late",version="5"} 1.0`,
		`tenon_version_weight{deployment="api",version="v2"} 30.0`,
	} {
		if strings.Count(text, "\n"+want+"\n") != 1 {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if n := strings.Count(text, "# TYPE tenon_predictions_total "); n != 1 {
		t.Errorf("the metric has %d heads", n)
	}
}

// A value of the column gets the same version in every protocol, whatever else a request has.
func TestStickyRequests(t *testing.T) {
	v := versionsOf(t, by("carrier", routeOf(1, 50, 50, 0)), nil)
	p := v.routing.Load().versions[0].plane
	got := map[string]int{}
	for i := range 60 {
		carrier := fmt.Sprintf("c%d", i)
		body := flight(carrier, i%24)
		wants := answeredBy(t, v, httptest.NewRequest("POST", "/predict", strings.NewReader(body)))
		got[wants]++
		second := strings.Replace(body, "]}", `,{"at": "2024-01-01", "origin": "JFK", "carrier": "other", "hour": 1}]}`, 1)
		tensors := fmt.Sprintf(`{"inputs": [{"name": "hour", "datatype": "INT32", "shape": [1], "data": [3]}, {"name": "at", "datatype": "BYTES", "shape": [1], "data": ["2024-05-17T13:37:00"]},
			{"name": "origin", "datatype": "BYTES", "shape": [1], "data": ["JFK"]}, {"name": "carrier", "datatype": "BYTES", "shape": [1], "data": [%q]},
			{"name": "wind", "datatype": "FP64", "shape": [1], "data": [null]}, {"name": "holiday", "datatype": "BOOL", "shape": [1], "data": [null]}]}`, carrier)
		arrow := httptest.NewRequest("POST", "/predict", bytes.NewReader(streamOf(t, p, []byte(body))))
		arrow.Header.Set("Content-Type", arrowStream)
		for name, r := range map[string]*http.Request{
			"again": httptest.NewRequest("POST", "/predict?probabilities=true", strings.NewReader(body)),
			"rows":  httptest.NewRequest("POST", "/predict", strings.NewReader(second)),
			"v2":    httptest.NewRequest("POST", "/v2/models/late/infer", strings.NewReader(tensors)),
			"arrow": arrow,
			"grpc":  calling(t, carrier),
		} {
			if by := answeredBy(t, v, r); by != wants {
				t.Errorf("%s: %s is answered by %s, then by %s", name, carrier, wants, by)
			}
		}
	}
	if got["v1"] < 15 || got["v2"] < 15 {
		t.Errorf("%v", got)
	}
	// What no version can answer is refused by the first one.
	for _, body := range []string{``, `{"instances": []}`, `{"instances": [{"carrier": 1}]}`, `{"instances": [`} {
		if w := ask(v, "POST", "/predict", body); w.Code != 422 || w.Header().Get(versionHeader) != "v1" {
			t.Errorf("%q: %d by %s", body, w.Code, w.Header().Get(versionHeader))
		}
	}
	if n := v.bodies.Load(); n != 0 {
		t.Errorf("%d bytes of bodies are still counted", n)
	}
}

// calling is a call of gRPC for one row.
func calling(t *testing.T, carrier string) *http.Request {
	t.Helper()
	b := openinference.Text(nil, 1, "late")
	add := func(name, datatype string, contents []byte) {
		b = openinference.Bytes(b, 5, openinference.Bytes(openinference.Tensor(nil, name, datatype, []int64{1}), 5, contents))
	}
	add("at", "BYTES", openinference.Text(nil, 8, "2024-03-15T19:27:57"))
	add("carrier", "BYTES", openinference.Text(nil, 8, carrier))
	add("origin", "BYTES", openinference.Text(nil, 8, "EWR"))
	add("hour", "INT32", openinference.Bytes(nil, 2, []byte{17}))
	add("wind", "FP64", openinference.Bytes(nil, 7, make([]byte, 8)))
	add("holiday", "BOOL", openinference.Bytes(nil, 1, []byte{0}))
	return framedCall(b)
}

func framedCall(message []byte) *http.Request {
	r := httptest.NewRequest("POST", modelInfer, bytes.NewReader(append([]byte{0, 0, 0, byte(len(message) >> 8), byte(len(message))}, message...)))
	r.ProtoMajor = 2
	r.Header.Set("Content-Type", "application/grpc")
	return r
}

// A client that asks for a version of the model gets it, whatever the weights are.
func TestAModelVersionThatIsAskedFor(t *testing.T) {
	v := versionsOf(t, routeOf(1, 100, 0, 0), nil)
	body := `{"inputs": [{"name": "hour", "datatype": "INT32", "shape": [1], "data": [3]}]}`
	for path, want := range map[string]string{"/v2/models/late/infer": "v1", "/v2/models/late/versions/4/infer": "v1", "/v2/models/late/versions/5/infer": "v2", "/v2/models/other/infer": "v1"} {
		if got := ask(v, "POST", path, body).Header().Get(versionHeader); got != want {
			t.Errorf("%s is answered by %s", path, got)
		}
	}
	for version, want := range map[string]string{"": "v1", "4": "v1", "5": "v2", "6": "v1"} {
		w := httptest.NewRecorder()
		if v.ServeHTTP(w, framedCall(named("late", version))); w.Header().Get(versionHeader) != want {
			t.Errorf("a call for version %q is answered by %s", version, w.Header().Get(versionHeader))
		}
	}
	if w := ask(v, "GET", "/v2/models/late/versions/5", ""); w.Code != 200 {
		t.Errorf("the metadata of version 5: %d", w.Code)
	}
}

// A version that cannot answer gets no requests. They go to the first one that can.
func TestAVersionThatCannotAnswer(t *testing.T) {
	v := versionsOf(t, routeOf(1, 50, 50, 0), nil)
	v.failed(v.all["v2"], errors.New("its processes are dead"))
	for range 50 {
		if got := answeredBy(t, v, httptest.NewRequest("POST", "/predict", strings.NewReader(aFlight))); got != "v1" {
			t.Fatalf("%s answers", got)
		}
	}
	if o := v.observed(); o.Versions["v2"].Fault != "its processes are dead" || o.Versions["v1"].Fault != "" {
		t.Errorf("%+v", o.Versions)
	}
	hopeless := false
	v.hopeless = func(error) { hopeless = true }
	v.failed(v.all["v1"], errors.New("so are these"))
	if !hopeless {
		t.Error("the service goes on without a version")
	}
}

// A request whose version loses all its processes is answered by another one.
func TestARequestMovesToAnotherVersion(t *testing.T) {
	for _, by := range []string{"", "carrier"} {
		r := routeOf(1, 50, 50, 0)
		r.By = by
		v := versionsOf(t, r, func(name string, c *Config) {
			if name == "v2" {
				c.Model = always{c.Model.(always).Model, true, worker.ErrAway}
			}
		})
		lost := &v.all["v2"].fault
		v.all["v2"].plane.Model = away{v.all["v2"].plane.Model.(always), func() { says := "dead"; lost.Store(&says) }}
		dir := t.TempDir()
		log, err := requestlog.Open(requestlog.Options{Dir: dir, Sample: 1, Head: requestlog.Head{Request: v.all["v1"].plane.Model.Columns(), Classes: v.all["v1"].plane.Model.Classes(), Label: v.all["v1"].plane.Label}})
		if err != nil {
			t.Fatal(err)
		}
		v.all["v1"].plane.Requests = log
		moved := int64(0)
		for i := range 50 {
			lost.Store(nil)
			if got := answeredBy(t, v, httptest.NewRequest("POST", "/predict", strings.NewReader(flight(fmt.Sprint(i), 1)))); got != "v1" {
				t.Fatalf("%s answers", got)
			}
			if lost.Load() != nil {
				moved++
			}
		}
		o := v.observed().Versions
		if o["v1"].Requests != 50 || o["v1"].Failed != 0 || o["v2"].Failed != moved || moved < 5 {
			t.Errorf("%d moved, %+v", moved, o)
		}
		log.Close(10 * time.Second)
		if n := fallbacks(t, dir)["version"]; n != moved {
			t.Errorf("%d rows are logged as moved, want %d", n, moved)
		}
		if v.bodies.Load() != 0 || v.all["v2"].turns.Load() != 0 {
			t.Error("something is still counted")
		}
	}
}

// away is a model whose processes die when it is asked.
type away struct {
	always
	dies func()
}

func (a away) Predict(context.Context, []rowsql.Value, []float64, *model.Buffer) error {
	a.dies()
	return worker.ErrAway
}

func TestAVersionThatAloneMayAnswerIsAway(t *testing.T) {
	v := versionsOf(t, routeOf(1, 50, 50, 0), func(name string, c *Config) {
		if name == "v2" {
			c.Model = always{c.Model.(always).Model, true, worker.ErrAway}
		}
	})
	w := ask(v, "POST", "/v2/models/late/versions/5/infer", `{"inputs": [{"name": "hour", "datatype": "INT32", "shape": [1], "data": [3]},
		{"name": "at", "datatype": "BYTES", "shape": [1], "data": ["2024-05-17T13:37:00"]}, {"name": "origin", "datatype": "BYTES", "shape": [1], "data": ["JFK"]},
		{"name": "carrier", "datatype": "BYTES", "shape": [1], "data": [null]}, {"name": "wind", "datatype": "FP64", "shape": [1], "data": [null]}, {"name": "holiday", "datatype": "BOOL", "shape": [1], "data": [null]}]}`)
	answered(t, w, 503, `{"error":"the version cannot answer now"}`)
	if v.bodies.Load() != 0 || v.all["v2"].turns.Load() != 0 {
		t.Error("something is still counted")
	}
}

// A process that answers stays ready, also if a version is to answer that cannot.
func TestAnUnloadedVersionGetsAWeight(t *testing.T) {
	v := versionsOf(t, routeOf(1, 100, 0, 0), nil)
	broken := &version{name: "v3", stop: func() {}}
	says := "its model is damaged"
	broken.fault.Store(&says)
	v.all["v3"] = broken
	if err := v.apply(step.Route{Serial: 2, Versions: []step.RouteVersion{{Name: "v1", Weight: 1}, {Name: "v3", Weight: 99}}}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if got := answeredBy(t, v, httptest.NewRequest("POST", "/predict", strings.NewReader(aFlight))); got != "v1" {
			t.Fatalf("%s answers", got)
		}
	}
	answered(t, ask(v, "GET", "/readyz", ""), 200, "")
	if got := v.observed().Versions["v3"].Fault; got != says {
		t.Errorf("the fault is %q", got)
	}
}

func TestShadowsAreComparedAndNeverAnswer(t *testing.T) {
	v := versionsOf(t, routeOf(1, 100, 0, 1), nil)
	const n = 60
	for i := range n {
		body := flight([]string{"AA", "DL"}[i%2], i%2)
		if got := answeredBy(t, v, httptest.NewRequest("POST", "/predict", strings.NewReader(body))); got != "v1" {
			t.Fatalf("%s answers", got)
		}
	}
	until(t, "not all are compared", func() bool { return v.observed().Versions["v2"].Compared == n })
	o := v.observed()
	if v1, v2 := o.Versions["v1"], o.Versions["v2"]; v1.Requests != n || v1.Compared != 0 || v2.Requests != n || v2.Different != n || v2.Failed != 0 {
		t.Errorf("%+v", o.Versions)
	}
	var hours []string
	for _, s := range o.Segments {
		if s.Column == "hour" {
			hours = append(hours, fmt.Sprintf("%s %s %d/%d", s.Version, s.Value, s.Different, s.Compared))
		}
		if s.Column == "carrier" {
			t.Errorf("a segment of a private column: %+v", s)
		}
	}
	if got := strings.Join(hours, ", "); got != "v2 0 30/30, v2 1 30/30" {
		t.Error(got)
	}
	b, err := json.Marshal(o.Examples[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"answered":"v1","other":"v2"`, `"carrier":"(private)"`, `"at":"2024-05-17T13:37:00"`, `"gave":{"prediction":false,"probability":0.25},"would_give":{"prediction":true,"probability":0.75}`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
	text := ask(v, "GET", "/metrics", "").Body.String()
	if !strings.Contains(text, "\ntenon_predictions_total{deployment=\"api\",version=\"v2\"} 0.0\n") {
		t.Error("a shadow counts as a prediction")
	}
}

// What a shadow refuses, and where it fails, is counted, and no client sees it.
func TestShadowsThatFail(t *testing.T) {
	v := versionsOf(t, routeOf(1, 100, 0, 1), func(name string, c *Config) {
		if name == "v2" {
			c.Model = always{c.Model.(always).Model, false, errors.New("no memory")}
		}
	})
	for range 10 {
		answered(t, ask(v, "POST", "/predict", aFlight), 200, "")
	}
	until(t, "they are not counted", func() bool { return v.observed().Versions["v2"].Failed == 10 })
	if o := v.observed().Versions["v2"]; o.Compared != 0 {
		t.Errorf("%+v", o)
	}
}

func TestShadowsBeyondTheQueueAreDropped(t *testing.T) {
	v := versionsOf(t, routeOf(1, 100, 0, 1), nil)
	s := newShadows(v.all["v2"], nil, nil) // which nobody computes
	s.queue = make(chan queued, 2)
	v.all["v2"].shadows = s
	for range 5 {
		answered(t, ask(v, "POST", "/predict", aFlight), 200, "")
	}
	if n := s.dropped.Load(); n != 3 {
		t.Errorf("%d are dropped", n)
	}
	if n, want := s.bytes.Load(), int64(2*len(aFlight)); n != want {
		t.Errorf("%d bytes wait, want %d", n, want)
	}
	if text := ask(v, "GET", "/metrics", "").Body.String(); !strings.Contains(text, `tenon_shadow_dropped_total{deployment="api",version="v2"} 3.0`) {
		t.Error("no metric says it")
	}
}

// A version that is not in the route any more is freed after its last answer.
func TestRemovingAVersionWaitsForItsAnswers(t *testing.T) {
	entered, release, stopped := make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	v := versionsOf(t, routeOf(1, 0, 100, 0), func(name string, c *Config) {
		if name == "v2" {
			c.Features = computed(oneColumn, func([]rowsql.Value) (bool, error) {
				entered <- struct{}{}
				<-release
				return true, nil
			})
		}
	})
	v.all["v2"].stop = func() { close(stopped) }
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() { done <- ask(v, "POST", "/predict", oneRow) }()
	<-entered
	if err := v.apply(step.Route{Serial: 2, Versions: []step.RouteVersion{{Name: "v1", Weight: 100}}}); err != nil {
		t.Fatal(err)
	}
	if got := answeredBy(t, v, httptest.NewRequest("POST", "/predict", strings.NewReader(aFlight))); got != "v1" {
		t.Errorf("%s answers after the route has changed", got)
	}
	select {
	case <-stopped:
		t.Fatal("the version is freed while it answers")
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	if w := <-done; w.Code != 200 || w.Header().Get(versionHeader) != "v2" {
		t.Errorf("%d by %s", w.Code, w.Header().Get(versionHeader))
	}
	select {
	case <-stopped:
	case <-time.After(5 * time.Second):
		t.Fatal("the version is not freed")
	}
	if err := v.apply(routeOf(3, 50, 50, 0)); err == nil || !strings.Contains(err.Error(), "does not have the version v2") {
		t.Errorf("got %v", err)
	}
}

func TestRoutesThatAProcessCannotFollow(t *testing.T) {
	v := versionsOf(t, routeOf(1, 100, 0, 0), nil)
	for want, r := range map[string]step.Route{
		"does not have the version v9":                                       {Serial: 2, Versions: []step.RouteVersion{{Name: "v9", Weight: 100}}},
		"the versions are chosen by customer, which a request does not have": by("customer", routeOf(2, 50, 50, 0)),
		"the weights are 101 together":                                       routeOf(2, 51, 50, 0),
	} {
		if err := v.apply(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if s := v.routing.Load(); s.Serial != 1 {
		t.Errorf("route %d is in effect", s.Serial)
	}
}

// What a process has observed goes on after it was killed, until the route changes.
func TestAKilledProcessForgetsNothing(t *testing.T) {
	v := versionsOf(t, routeOf(7, 100, 0, 0), nil)
	for range 3 {
		answered(t, ask(v, "POST", "/predict", aFlight), 200, "")
	}
	v.mu.Lock()
	v.write()
	v.mu.Unlock()
	next := versionsOf(t, routeOf(7, 100, 0, 0), nil)
	next.path = v.path
	next.resume(7)
	answered(t, ask(next, "POST", "/predict", aFlight), 200, "")
	if o := next.observed(); o.Versions["v1"].Requests != 4 || !o.Since.Equal(v.observed().Since) {
		t.Errorf("%+v", o.Versions["v1"])
	}
	if err := next.apply(routeOf(8, 100, 0, 0)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(v.path)
	var o step.Observed
	if err != nil || json.Unmarshal(b, &o) != nil || o.Serial != 8 || o.Versions["v1"].Requests != 0 {
		t.Errorf("%s, %v", b, err)
	}
}

// Random routes and shadows, while clients send requests: each is answered by a version that is in
// a route at that time.
func TestNoRequestFailsWhileRoutesChange(t *testing.T) {
	v := versionsOf(t, routeOf(1, 100, 0, 0), func(_ string, c *Config) { c.Waiting = 1000 })
	server := httptest.NewServer(v)
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	ctx, end := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var n atomic.Int64
	for i := range 64 {
		clients.Go(func() {
			for ctx.Err() == nil {
				r, err := client.Post(server.URL+"/predict", "application/json", strings.NewReader(flight(fmt.Sprint(i), i%24)))
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(r.Body)
				r.Body.Close()
				late := map[string]string{"v1": "false", "v2": "true"}[r.Header.Get(versionHeader)]
				if err != nil || r.StatusCode != 200 || !strings.HasPrefix(string(b), `{"predictions":[{"prediction":`+late) {
					t.Errorf("%d %s %v by %q", r.StatusCode, b, err, r.Header.Get(versionHeader))
					return
				}
				n.Add(1)
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 2))
	for serial := int64(2); serial < 102; serial++ {
		weight := random.IntN(101)
		r := routeOf(serial, 100-weight, weight, float64(random.IntN(3))/2)
		if random.IntN(2) == 0 {
			r.By = "carrier"
		}
		if err := v.apply(r); err != nil {
			t.Fatal(err)
		}
		if random.IntN(5) == 0 { // workers die, and are back
			says := "dead"
			v.all["v2"].fault.Store(&says)
		} else {
			v.all["v2"].fault.Store(nil)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := v.apply(step.Route{Serial: 102, Versions: []step.RouteVersion{{Name: "v2", Weight: 100}}}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	end()
	clients.Wait()
	if n.Load() < 100 {
		t.Errorf("only %d requests were answered", n.Load())
	}
	if v.bodies.Load() != 0 || v.waiting.Load() != 0 {
		t.Error("something is still counted")
	}
}

func BenchmarkVersions(b *testing.B) {
	for name, r := range map[string]step.Route{"random": routeOf(1, 50, 50, 0), "sticky": by("carrier", routeOf(1, 50, 50, 0)), "shadow 10 %": routeOf(1, 100, 0, 0.1)} {
		b.Run(name, func(b *testing.B) {
			v := versionsOf(b, r, func(_ string, c *Config) { c.Model = c.Model.(always).Model })
			_, body := manyRows(b, 1)
			x := &repeated{body: bytes.NewReader(body), header: http.Header{}}
			x.request = httptest.NewRequest("POST", "/predict", nil)
			content := io.NopCloser(x.body)
			x.request.ContentLength = int64(len(body))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = x.body.Seek(0, io.SeekStart)
				x.request.Body = content
				if v.ServeHTTP(x, x.request); x.status != 200 {
					b.Fatal(x.status)
				}
			}
		})
	}
}

// A version whose function in Python cannot be started again answers no more, as one whose model
// cannot: the others answer.
func TestAVersionWithoutItsFunctionAnswersNoMore(t *testing.T) {
	v := versionsOf(t, step.Route{Serial: 1, Versions: []step.RouteVersion{{Name: "v1", Weight: 0}, {Name: "v2", Weight: 100}}}, nil)
	failed := make(chan struct{})
	close(failed)
	v.awaitFault(t.Context(), v.all["v2"], failed, func() error { return errors.New("features.s: it ended") })
	if got := ask(v, "POST", "/predict", aFlight).Header().Get(versionHeader); got != "v1" {
		t.Errorf("%q answers", got)
	}
}
