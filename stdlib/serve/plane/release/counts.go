package release

import (
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// Counts are what one version did since a route is in effect. They are safe for concurrent use.
type Counts struct {
	requests, refused, failed atomic.Int64
	shadows                   atomic.Int64 // of the requests
	latency                   [len(step.LatencyBuckets) + 1]atomic.Int64
	compared, different       atomic.Int64
}

// Request counts a request that the version answered, or computed as a shadow.
func (c *Counts) Request(status int, took time.Duration) {
	c.requests.Add(1)
	switch {
	case status >= 500:
		c.failed.Add(1)
	case status >= 400:
		c.refused.Add(1)
	}
	c.latency[bucket(took)].Add(1)
}

// Shadow counts a request that the version computed as a shadow.
func (c *Counts) Shadow(status int, took time.Duration) {
	c.shadows.Add(1)
	c.Request(status, took)
}

// bucket is the first one whose bound is not below a time.
func bucket(took time.Duration) int {
	s := took.Seconds()
	low, high := 0, len(step.LatencyBuckets)
	for low < high {
		if mid := (low + high) / 2; step.LatencyBuckets[mid] < s {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// Rows counts rows whose predictions were compared.
func (c *Counts) Rows(compared, different int) {
	c.compared.Add(int64(compared))
	c.different.Add(int64(different))
}

// Compared returns how many rows were compared, and how many of them differ.
func (c *Counts) Compared() (compared, different int64) { return c.compared.Load(), c.different.Load() }

// AddTo adds the counts to an observation.
func (c *Counts) AddTo(o *step.Observation) {
	o.Requests += c.requests.Load()
	o.Refused += c.refused.Load()
	o.Failed += c.failed.Load()
	o.Shadows += c.shadows.Load()
	o.Compared += c.compared.Load()
	o.Different += c.different.Load()
	if len(o.Latency) != len(c.latency) {
		o.Latency = make([]int64, len(c.latency))
	}
	for i := range c.latency {
		o.Latency[i] += c.latency[i].Load()
	}
}
