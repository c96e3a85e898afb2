package plane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// versions are the versions of a service that one process has, while a route says which of them
// answer. Each has a plane of its own. Paths of the process, such as health and metrics, are
// answered by the version with most weight.
type versions struct {
	*process
	labels  map[string]string // of metrics of the process
	routing atomic.Pointer[routing]
	turns   sync.Pool
	most    int64 // bytes that a body may have, of all versions
	say     func(string)

	mu      sync.Mutex          // for what follows
	all     map[string]*version // those that are not removed
	before  step.Observed       // what an earlier process has observed of the route
	path    string              // of the file for what is observed
	failing string              // why that was not written
	ending  sync.WaitGroup      // versions that are removed

	hopeless context.CancelCauseFunc // called when no version will answer any more
}

// A version is one of them.
type version struct {
	name    string
	plane   *Plane // nil if it could not be loaded
	fault   atomic.Pointer[string]
	stop    func() // frees what it has
	turns   atomic.Int64
	gone    atomic.Bool // no turn may begin
	shadows *shadows
}

// able reports whether it can answer now.
func (v *version) able() bool {
	return v.plane != nil && v.fault.Load() == nil && (v.plane.workers == nil || v.plane.workers.Alive()) && v.plane.functions.alive()
}

// why says why it cannot answer.
func (v *version) why() string {
	if fault := v.fault.Load(); fault != nil {
		return *fault
	}
	if !v.able() {
		return "no process of its model, or of a feature, is ready"
	}
	return ""
}

// has reports whether it has a path.
func (v *version) has(path string) bool {
	if v.plane == nil {
		return false
	}
	_, ok := v.plane.routes[path]
	return ok
}

// A routing is a route that is in effect, and what is counted since then.
type routing struct {
	*release.Route
	versions    []*version // in its order
	counts      []release.Counts
	differences release.Differences
	since       time.Time
	face        int // the version that answers for the process
	reader      int // the version that reads bodies to choose by a column
	column      int // of its rows; -1 if the choice is random
}

// apply makes a route the one in effect.
func (v *versions) apply(r step.Route) error {
	route, err := release.New(r)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &routing{Route: route, counts: make([]release.Counts, len(r.Versions)), since: time.Now(), face: -1, column: -1}
	var missing, shares []string
	for i, of := range r.Versions {
		x := v.all[of.Name]
		if x == nil {
			return fmt.Errorf("this process does not have the version %s", of.Name)
		}
		s.versions = append(s.versions, x)
		shares = append(shares, fmt.Sprintf("%s %d %%", of.Name, of.Weight))
		switch {
		case x.plane != nil:
			if s.face < 0 || of.Weight > r.Versions[s.face].Weight {
				s.face = i
			}
			if at := slices.IndexFunc(x.plane.columns, func(c ir.Column) bool { return c.Name == r.By }); r.By != "" && s.column < 0 && at >= 0 {
				s.reader, s.column = i, at
			}
		case of.Weight > 0:
			missing = append(missing, fmt.Sprintf("%s cannot answer: %s", of.Name, x.why()))
		}
	}
	if s.face < 0 {
		return errors.New(strings.Join(missing, "; "))
	}
	if s.column < 0 {
		s.reader = s.face
	}
	if r.By != "" && s.column < 0 {
		return fmt.Errorf("the versions are chosen by %s, which a request does not have", r.By)
	}
	switch {
	case len(missing) == 0:
		v.missing.Store(nil)
	case v.routing.Load() == nil: // a process that has begun to answer goes on
		all := strings.Join(missing, "; ")
		v.missing.Store(&all)
	}
	v.routing.Store(s)
	v.say(fmt.Sprintf("route %d: %s", r.Serial, strings.Join(shares, ", ")))
	for name, x := range v.all {
		if !slices.Contains(s.versions, x) {
			delete(v.all, name)
			v.ending.Go(func() { v.remove(x) })
		}
	}
	v.write()
	return nil
}

// remove frees a version once its last request is answered.
func (v *versions) remove(x *version) {
	x.gone.Store(true)
	for x.turns.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	x.stop()
	debug.FreeOSMemory()
	v.say("removed " + x.name)
}

// close frees all versions. Nobody asks any more. What they have answered last is written as well.
func (v *versions) close() {
	v.ending.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.routing.Load() != nil {
		v.write()
	}
	for _, x := range v.all {
		x.gone.Store(true)
		x.stop()
	}
}

// others reports whether a version can answer that has none of the processes of one.
func (v *versions) others(than *version) bool {
	return slices.ContainsFunc(v.routing.Load().versions, func(x *version) bool { return x != than && x.able() })
}

// failed notes that a version will not answer any more.
func (v *versions) failed(x *version, err error) {
	says := err.Error()
	x.fault.Store(&says)
	v.say(fmt.Sprintf("error: %s cannot answer any more: %s", x.name, says))
	for _, x := range v.routing.Load().versions {
		if x.plane != nil && x.fault.Load() == nil {
			return
		}
	}
	v.hopeless(err)
}

// A turn is a request that a version answers.
type turn struct {
	of      *versions
	routing *routing
	index   int
	asks    bool // the model, so that it counts
	instead bool // of a version that cannot answer
	held    heldBody
	key     []byte
}

// front is what a server asks for all versions.
func (v *versions) front() front { return front{process: v.process, of: v, log: v.say} }

// ServeHTTP answers a request by one of the versions.
func (v *versions) ServeHTTP(w http.ResponseWriter, r *http.Request) { v.front().ServeHTTP(w, r) }

func (v *versions) find(path string) (route, bool) {
	for _, x := range v.routing.Load().versions {
		if x.has(path) {
			return x.plane.find(path)
		}
	}
	return route{}, false
}

// answer passes a request to the version that answers it. One that the edge refuses counts for none.
func (v *versions) answer(w http.ResponseWriter, r *http.Request, c *call) {
	if c.managed && r.URL.Path == releasePath {
		v.report(w, r)
		return
	}
	t := v.turns.Get().(*turn)
	t.instead = false
	t.of, t.asks = v, c.refusal == nil && !c.managed && AsksModel(r)
	for range release.MostVersions {
		if x := t.begin(r); !x.plane.serveTurn(w, r, t, c) {
			return
		}
	}
	t.begin(r).plane.unavailable(w, r, t, c)
}

// begin chooses the version whose turn it is.
func (t *turn) begin(r *http.Request) *version {
	for {
		t.routing = t.of.routing.Load()
		wanted, may := t.choose(r)
		t.index = t.routing.able(wanted, may)
		t.instead = t.instead || t.index != wanted && may(t.routing.versions[wanted])
		x := t.routing.versions[t.index]
		if x.turns.Add(1); !x.gone.Load() {
			return x
		}
		x.turns.Add(-1) // the route has just changed
	}
}

// leave ends the turn of a version whose processes have died, which counts as its failure. The body
// waits for the next one.
func (t *turn) leave(p *Plane, x *work, r *http.Request, took time.Duration) {
	answered := t.routing.versions[t.index]
	t.routing.counts[t.index].Request(http.StatusServiceUnavailable, took)
	t.held.drop()
	t.held = heldBody{from: p, x: x}
	r.Body = &t.held
	x.answered, x.span = answer{}, nil
	t.instead = true
	answered.turns.Add(-1)
}

// unavailable answers 503 for a request that asks for a version which cannot answer.
func (p *Plane) unavailable(w http.ResponseWriter, r *http.Request, t *turn, c *call) {
	w.Header().Set("Retry-After", "1")
	a := &answer{w, 0, &p.draining, protocolOf(r)}
	detail(a, http.StatusServiceUnavailable, "the version cannot answer now")
	c.status, c.version = a.status, p.Version
	p.metrics.observe(p.metrics.path(r.URL.Path), a.status, time.Since(c.began))
	t.end(nil, r, a.status, time.Since(c.began))
}

// end counts what a version has answered. x is nil after a fault of this program.
func (t *turn) end(x *work, r *http.Request, status int, took time.Duration) {
	if t == nil {
		return
	}
	s, answered := t.routing, t.routing.versions[t.index]
	if t.asks {
		s.counts[t.index].Request(status, took)
		if x != nil && status == http.StatusOK {
			s.shadow(t.index, x, r)
		}
	}
	t.held.drop()
	v := t.of
	t.routing, t.of = nil, nil
	v.turns.Put(t)
	answered.turns.Add(-1)
}

const modelInfer = grpcService + "ModelInfer"

// AsksModel reports whether a version is chosen for a request, for which it then counts.
func AsksModel(r *http.Request) bool {
	path := r.URL.Path
	return r.Method == http.MethodPost && (path == "/predict" || path == "/explain" || path == modelInfer || strings.HasPrefix(path, "/v2/models/") && strings.HasSuffix(path, "/infer"))
}

// choose returns the version that is to answer a request, and which ones may.
func (t *turn) choose(r *http.Request) (wanted int, may func(*version) bool) {
	s := t.routing
	may = func(x *version) bool { return x.has(r.URL.Path) }
	if !t.asks {
		return s.face, may
	}
	if r.URL.Path == modelInfer {
		if asked, ok := t.named(r); ok {
			may = func(x *version) bool { return x.has(modelInfer) && x.plane.names(asked.Infer) }
		}
	}
	if s.column >= 0 {
		if key, ok := t.sticky(r); ok {
			return s.Of(key), may
		}
		return 0, may // which says what is wrong with the request
	}
	return s.Random(), may
}

// able returns a version that may answer and can: the wanted one, or the first one in the route.
func (s *routing) able(wanted int, may func(*version) bool) int {
	if x := s.versions[wanted]; may(x) && x.able() {
		return wanted
	}
	if i := slices.IndexFunc(s.versions, func(x *version) bool { return may(x) && x.able() }); i >= 0 {
		return i
	}
	if may(s.versions[wanted]) {
		return wanted // it waits until the version can answer again
	}
	if i := slices.IndexFunc(s.versions, may); i >= 0 {
		return i
	}
	return s.face // which says what is wrong
}

// shadow makes other versions compute a request that one has answered.
func (s *routing) shadow(answered int, x *work, r *http.Request) {
	if len(s.versions) == 1 {
		return
	}
	var job *shadow
	for i, of := range s.Versions {
		if i == answered || of.Shadow == 0 || of.Shadow < 1 && rand.Float64() >= of.Shadow || !s.versions[i].able() {
			continue
		}
		if job == nil {
			if job = newShadow(s, answered, x, r); job == nil {
				return
			}
		}
		s.versions[i].shadows.add(job, i)
	}
}

// follow applies the route whenever its file changes, and writes what is observed.
func (v *versions) follow(ctx context.Context, path string) {
	go release.Follow(ctx, path, v.routing.Load().Serial, v.apply, v.say)
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		v.mu.Lock()
		v.write()
		v.mu.Unlock()
	}
}

// text is what Prometheus reads.
func (v *versions) text() []byte { return v.metricsText(v.labels, v.writeMetrics) }

func (v *versions) writeMetrics(w *metricText) {
	s := v.routing.Load()
	var weights, dropped []sample
	for i, x := range s.versions {
		labels := [][2]string{{"version", x.name}}
		weights = append(weights, sample{"", labels, float64(s.Versions[i].Weight)})
		if x.plane != nil {
			dropped = append(dropped, sample{"_total", labels, float64(x.shadows.dropped.Load())})
		}
	}
	w.metric("tenon_version_weight", "gauge", "Percent of requests that a version answers", weights...)
	w.counter("tenon_shadow_dropped", "Requests that a version was to compute beside the one that answered, and did not for lack of time", dropped, nil)
	for _, x := range s.versions {
		if x.plane == nil {
			continue
		}
		w.all = map[string]string{"version": x.name}
		for k, value := range x.plane.Labels {
			w.all[k] = cmp.Or(w.all[k], value)
		}
		x.plane.metrics.write(w)
	}
}
