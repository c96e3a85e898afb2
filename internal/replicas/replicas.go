// Package replicas measures the load of a service, and decides how many replicas it needs: pods of
// a cluster, or processes of a machine. It links nothing, so that small programs can use it.
package replicas

import (
	"math"
	"sync"
	"time"
)

// InFlightMetric is the metric in which a service reports [Load.Seconds]. Its growth in a second is
// how many requests were in flight on average.
const InFlightMetric = "tenon_http_in_flight_seconds_total"

// A Load adds up how long requests are in flight. Its zero value is ready, and it is safe for
// concurrent use.
type Load struct {
	mu    sync.Mutex
	now   int           // in flight
	sum   time.Duration // of all until since
	since time.Time
}

// Begin counts a request that has come.
func (l *Load) Begin() { l.change(1) }

// End counts a request that was answered.
func (l *Load) End() { l.change(-1) }

func (l *Load) change(by int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance()
	l.now += by
}

func (l *Load) advance() {
	at := time.Now()
	if l.now > 0 {
		l.sum += time.Duration(l.now) * at.Sub(l.since)
	}
	l.since = at
}

// Seconds is how long all requests until now were in flight, together.
func (l *Load) Seconds() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance()
	return l.sum.Seconds()
}

// Idle reports whether no request is in flight.
func (l *Load) Idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now == 0
}

// Need is how many replicas it takes if each is to have at most so much of a load.
func Need(load, each float64) int {
	if load <= 0 {
		return 0
	}
	return int(math.Ceil(min(load/each, math.MaxInt32)))
}

// A Rule says how many replicas there may be, and how long fewer have to be enough before there
// are fewer.
type Rule struct {
	Min, Max int
	Idle     time.Duration
}

// A Follower remembers how many replicas were needed lately. Its zero value is ready.
type Follower struct {
	begun bool
	peaks []peak // needed ever later, and ever fewer
}

type peak struct {
	at time.Time
	n  int
}

// Want returns how many replicas there are to be. have is how many there are, and need how many
// would be enough now. Whoever has just begun to follow knows nothing of earlier needs, and so keeps what there is.
func (f *Follower) Want(r Rule, now time.Time, have, need int) int {
	if !f.begun {
		f.begun = true
		f.add(peak{now, have})
	}
	f.add(peak{now, need})
	for len(f.peaks) > 1 && now.Sub(f.peaks[0].at) >= r.Idle {
		f.peaks = f.peaks[1:]
	}
	return min(max(f.peaks[0].n, r.Min), r.Max)
}

// add adds a need, which makes earlier needs for as many or fewer irrelevant.
func (f *Follower) add(p peak) {
	for len(f.peaks) > 0 && f.peaks[len(f.peaks)-1].n <= p.n {
		f.peaks = f.peaks[:len(f.peaks)-1]
	}
	f.peaks = append(f.peaks, p)
}
