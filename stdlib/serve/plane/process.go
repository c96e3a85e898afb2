package plane

import (
	"net/http"
	"sync/atomic"

	"github.com/tenon-ml/tenon/internal/replicas"
)

// A process is what all versions of a service in one process share: their limits, and whether they
// answer at all.
type process struct {
	draining   atomic.Bool
	load       replicas.Load // requests, without those about health and metrics
	waiting    atomic.Int64  // requests that wait to be computed
	bodies     atomic.Int64  // memory of all bodies, in bytes
	mostBodies int64         // the limit of bodies
	computing  chan struct{} // a slot for each request that is computed in this process
	missing    atomic.Pointer[string]
}

const versionHeader = "Tenon-Version"

// join makes the plane one of its process, which is one of its own if it was given none.
func (p *Plane) join() {
	if p.process == nil {
		p.process = new(process)
	}
	p.mostBodies = max(p.mostBodies, mostBodies(p.MaxBytes, p.AtOnce))
	if p.Version != "" {
		p.version = []string{p.Version}
	}
	switch {
	case p.workers != nil: // processors of other processes
		p.slots = make(chan struct{}, p.AtOnce)
	case p.computing == nil:
		p.computing = make(chan struct{}, p.AtOnce)
		fallthrough
	default:
		p.slots = p.computing
	}
}

// describe adds the metrics of the process.
func (c *process) describe(w *metricText) {
	w.process()
	w.metric(replicas.InFlightMetric, "counter", "How long all requests were in flight, together", sample{"", nil, c.load.Seconds()})
}

// unready says why the service is not ready, or nothing if it is.
func (c *process) unready() string {
	if c.draining.Load() {
		return "draining"
	}
	if why := c.missing.Load(); why != nil {
		return *why
	}
	return ""
}

// handler is what the server asks.
func (p *Plane) handler() http.Handler {
	if p.front != nil {
		return p.front
	}
	return p
}
