package plane

import (
	"sync/atomic"

	"github.com/tenon-ml/tenon/internal/replicas"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/edge"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
)

// A process is what all versions of a service in one process share: their limits, what the service
// does for whoever asks it, and whether they answer at all.
type process struct {
	draining   atomic.Bool
	load       replicas.Load // requests, without those about health and metrics
	waiting    atomic.Int64  // requests that wait to be computed
	bodies     atomic.Int64  // memory of all bodies, in bytes
	mostBodies int64         // the limit of bodies
	computing  chan struct{} // a slot for each request that is computed in this process
	missing    atomic.Pointer[string]
	platform   map[string]string // paths of a platform, with those that they mean, see [hosted]
	counted    *release.Printed  // what is printed of the requests that ask the model; nil prints nothing

	edge               *edge.Edge       // nil lets everything through
	aside              *edge.Management // nil if there is one port for everything
	management         *socket          // of the other port
	managementListener atomic.Pointer[listener]
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

// Drain makes it say that it is not ready, and close connections after their next answer. It
// keeps answering.
func (c *process) Drain() { c.draining.Store(true) }

// unready says why the service is not ready, or nothing if it is.
func (c *process) unready() string {
	if c.draining.Load() {
		return "draining"
	}
	if why := c.missing.Load(); why != nil {
		return *why
	}
	return c.edge.Unready()
}

// metricsText is what Prometheus reads. write adds what belongs to versions. labels are those of
// everything else.
func (c *process) metricsText(labels map[string]string, write func(*metricText)) []byte {
	w := &metricText{all: labels}
	c.describe(w)
	write(w)
	w.all = labels
	c.edgeText(w)
	return w.bytes()
}
