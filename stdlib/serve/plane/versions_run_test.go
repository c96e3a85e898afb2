package plane

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A releasing is a service on a port, of which several processes may answer.
type releasing struct {
	t        testing.TB
	port     int
	dir      string
	models   map[string]string // folders by version
	params   map[string]string // by version, if they differ
	started  int
	released int64
}

// late is a model folder whose model has another base, so that no flight is late, or all are.
func late(t testing.TB, by float64) string {
	return folder(t, func(doc map[string]any) {
		trees := doc["trees"].(map[string]any)
		trees["baseline"] = []any{trees["baseline"].([]any)[0].(float64) + by}
	})
}

func newReleasing(t testing.TB) *releasing {
	return &releasing{t: t, port: freePort(t), dir: t.TempDir(), models: map[string]string{"v1": late(t, -50), "v2": late(t, 50)}}
}

func (s *releasing) url(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", s.port, path)
}

func (s *releasing) step(name string) *step.Step {
	// Each client sends a request while a process drains, also on a machine that is busy.
	params := cmp.Or(s.params[name], `{"drain_seconds": 1.5, "max_waiting": 1000}`)
	return &step.Step{
		Version: step.Version, Unit: "deployments/api", Name: name, Params: json.RawMessage(params), Scratch: s.t.TempDir(),
		Inputs: map[string]step.Port{"model": {Kind: ir.Model, Path: s.models[name], Version: int(name[1] - '0'), Digest: "sha256:" + name}},
	}
}

// route writes the route of the next process, or of the one that runs.
func (s *releasing) route(versions ...step.RouteVersion) {
	s.t.Helper()
	s.released++
	b, err := json.Marshal(step.Route{Serial: s.released, Versions: versions})
	if err == nil {
		err = files.Write(filepath.Join(s.dir, "route"), b, 0o644)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *releasing) observed() (o step.Observed) {
	b, _ := os.ReadFile(filepath.Join(s.dir, "observed"))
	_ = json.Unmarshal(b, &o)
	return o
}

// start starts a process of a version, and of those beside it. end ends it. ready waits until it is.
func (s *releasing) start(name string, beside ...string) (ready func(), end func() error) {
	s.t.Helper()
	x := s.step(name)
	s.started++
	x.Instance, x.Endpoint = fmt.Sprint("i", s.started), &ir.Endpoint{Port: s.port, Ready: "/readyz", Replicas: 2}
	if len(beside) > 0 {
		x.Beside, x.Route, x.Observed = map[string]*step.Step{}, filepath.Join(s.dir, "route"), filepath.Join(s.dir, "observed")
	}
	for _, other := range beside {
		x.Beside[other] = s.step(other)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, x, nil) }()
	ended := sync.OnceValue(func() error { stop(); return <-done })
	s.t.Cleanup(func() { _ = ended() })
	return func() {
		s.t.Helper()
		until(s.t, "it is not ready", func() bool {
			// A connection of its own: the kernel chooses between the processes.
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			r, err := client.Get(s.url("/readyz"))
			if err != nil {
				select {
				case err := <-done:
					s.t.Fatal(err)
				default:
				}
				return false
			}
			r.Body.Close()
			return r.StatusCode == 200 && r.Header.Get("X-Tenon-Instance") == x.Instance
		})
	}, ended
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(b)
}

// From one version to the next: shadow, steps, the end, and back, each as the engine does it. 64
// clients send requests. None fails, and each answer is that of the version that it names.
func TestARelease(t *testing.T) {
	s := newReleasing(t)
	ready, endFirst := s.start("v1")
	ready()
	c := s.clients(64)
	time.Sleep(300 * time.Millisecond)
	rest := c.phase()
	s.route(step.RouteVersion{Name: "v1", Weight: 100}, step.RouteVersion{Name: "v2", Shadow: 0.5})
	ready, endBoth := s.start("v2", "v1")
	ready()
	if err := endFirst(); err != nil {
		t.Error(err)
	}
	until(t, "nothing is compared", func() bool { return s.observed().Versions["v2"].Compared > 0 })
	for _, weight := range []int{1, 10, 50, 100} {
		s.route(step.RouteVersion{Name: "v1", Weight: 100 - weight}, step.RouteVersion{Name: "v2", Weight: weight})
		began := time.Now()
		until(t, "the route is not in effect", func() bool { return s.observed().Serial == s.released })
		if took := time.Since(began); took > time.Second {
			t.Errorf("a weight takes effect after %s", took)
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.route(step.RouteVersion{Name: "v2", Weight: 100})
	until(t, "the route is not in effect", func() bool { return len(s.observed().Versions) == 1 })
	ready, endAlone := s.start("v2")
	ready()
	if err := endBoth(); err != nil {
		t.Error(err)
	}
	time.Sleep(100 * time.Millisecond)
	moves := c.phase()
	by := c.end()
	if by["v1"] == 0 || by["v2"] == 0 {
		t.Errorf("answers: %v", by)
	}
	t.Logf("%v answers; p99 at rest %s, during moves %s", by, rest, moves)
	if err := endAlone(); err != nil {
		t.Error(err)
	}
}

// clients send requests until they are ended.
type clients struct {
	t       testing.TB
	stop    context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	by      map[string]int
	took    []time.Duration
}

func (s *releasing) clients(n int) *clients {
	ctx, stop := context.WithCancel(context.Background())
	c := &clients{t: s.t, stop: stop, by: map[string]int{}}
	var failures atomic.Int64
	for range n {
		c.running.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil && failures.Load() < 5 {
				began := time.Now()
				r, err := client.Post(s.url("/predict"), "application/json", strings.NewReader(aFlight))
				if err != nil {
					failures.Add(1)
					s.t.Error(err)
					continue
				}
				b, err := io.ReadAll(r.Body)
				r.Body.Close()
				name := r.Header.Get(versionHeader)
				want := map[string]string{"v1": "false", "v2": "true"}[name]
				if err != nil || r.StatusCode != 200 || !strings.HasPrefix(string(b), `{"predictions":[{"prediction":`+want) {
					failures.Add(1)
					s.t.Errorf("%d %s %v by %s", r.StatusCode, b, err, name)
				}
				c.mu.Lock()
				c.by[name]++
				c.took = append(c.took, time.Since(began))
				c.mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		})
	}
	return c
}

// phase returns the 99th percentile since the phase before.
func (c *clients) phase() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.took)
	if len(c.took) == 0 {
		c.t.Fatal("no answers")
	}
	p99 := c.took[len(c.took)*99/100]
	c.took = c.took[:0]
	return p99
}

func (c *clients) end() map[string]int {
	c.stop()
	c.running.Wait()
	return c.by
}

// A challenger that cannot be loaded does not keep the others from answering. The process is ready
// unless the challenger was to answer.
func TestAChallengerThatCannotBeLoaded(t *testing.T) {
	for _, weight := range []int{0, 10} {
		s := newReleasing(t)
		if err := os.WriteFile(filepath.Join(s.models["v2"], Exported), []byte("{"), 0o644); err != nil {
			t.Fatal(err)
		}
		s.route(step.RouteVersion{Name: "v1", Weight: 100 - weight}, step.RouteVersion{Name: "v2", Weight: weight})
		ready, end := s.start("v2", "v1")
		if weight == 0 {
			ready()
		}
		until(t, "nothing is observed", func() bool { return s.observed().Serial == 1 })
		if o := s.observed().Versions["v2"]; !strings.Contains(o.Fault, "read the exported model: ") {
			t.Errorf("%+v", o)
		}
		until(t, "it does not listen", func() bool { r, err := http.Get(s.url("/healthz")); return err == nil && r.Body.Close() == nil })
		if code, says := get(t, s.url("/readyz")); (code == 200) != (weight == 0) || weight > 0 && !strings.Contains(says, "v2 cannot answer: read the exported model") {
			t.Errorf("weight %d: %d %s", weight, code, says)
		}
		for range 30 {
			r, err := http.Post(s.url("/predict"), "application/json", strings.NewReader(aFlight))
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			if r.StatusCode != 200 || r.Header.Get(versionHeader) != "v1" {
				t.Fatalf("%d by %s", r.StatusCode, r.Header.Get(versionHeader))
			}
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}

func TestNoVersionCanBeLoaded(t *testing.T) {
	s := newReleasing(t)
	for _, dir := range s.models {
		if err := os.WriteFile(filepath.Join(dir, Exported), []byte("{"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.route(step.RouteVersion{Name: "v1", Weight: 50}, step.RouteVersion{Name: "v2", Weight: 50})
	x := s.step("v2")
	x.Endpoint, x.Beside, x.Route = &ir.Endpoint{Port: s.port}, map[string]*step.Step{"v1": s.step("v1")}, filepath.Join(s.dir, "route")
	if err := Run(t.Context(), x, nil); err == nil || !strings.Contains(err.Error(), "v1 cannot answer: ") || !strings.Contains(err.Error(), "v2 cannot answer: ") {
		t.Errorf("got %v", err)
	}
}

// Versions with the same model have it once.
func TestAModelIsLoadedOnce(t *testing.T) {
	s := newReleasing(t)
	x := s.step("v2")
	l := newLoader(x, nil)
	a, err := l.model(x)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := l.model(s.step("v2")); err != nil || a != b {
		t.Errorf("%p and %p, %v", a, b, err)
	}
	if b, err := l.model(s.step("v1")); err != nil || a == b {
		t.Errorf("another model is the same one, %v", err)
	}
}

// BenchmarkMove compares the 99th percentile of 64 clients while weights change with that at rest, in
// turns.
func BenchmarkMove(b *testing.B) {
	s := newReleasing(b)
	s.route(step.RouteVersion{Name: "v1", Weight: 100}, step.RouteVersion{Name: "v2"})
	ready, end := s.start("v2", "v1")
	ready()
	c := s.clients(64)
	time.Sleep(500 * time.Millisecond)
	c.phase()
	var all [2][]time.Duration
	n := 0
	for b.Loop() {
		for moves := range 2 {
			for range 10 {
				if moves == 1 {
					n++
					s.route(step.RouteVersion{Name: "v1", Weight: n % 101}, step.RouteVersion{Name: "v2", Weight: 100 - n%101})
				}
				time.Sleep(100 * time.Millisecond)
			}
			c.mu.Lock()
			all[moves] = append(all[moves], c.took...)
			c.took = c.took[:0]
			c.mu.Unlock()
		}
	}
	c.end()
	var p99 [2]time.Duration
	for i, took := range all {
		slices.Sort(took)
		p99[i] = took[len(took)*99/100]
		b.ReportMetric(float64(p99[i].Microseconds())/1000, []string{"ms-at-rest", "ms-in-moves"}[i])
	}
	b.ReportMetric(p99[1].Seconds()/p99[0].Seconds(), "ratio")
	if err := end(); err != nil {
		b.Error(err)
	}
}
