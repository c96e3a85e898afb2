package plane

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local/lives"
	"github.com/tenon-ml/tenon/internal/replicas"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// defaultIdle is how long fewer replicas have to be enough, where nothing else is said. The
// autoscaler of a cluster waits for as long.
const defaultIdle = 5 * time.Minute

// followEvery is how often the load is measured.
const followEvery = time.Second

// A following makes the number of processes in Python follow the requests in flight.
type following struct {
	rule replicas.Rule
	each float64 // requests at each process
	load *replicas.Load
	note string // file that says how many there are; "" is none

	mu    sync.Mutex
	pools []*worker.Pool
	want  int
}

func newFollowing(s *step.Step, c *process) *following {
	e := s.Endpoint
	f := &following{rule: replicas.Rule{Min: max(e.Replicas, 1), Max: e.Scale.Max, Idle: cmp.Or(e.Scale.Idle, defaultIdle)}, each: eachOf(e.Scale), load: &c.load}
	f.want = f.rule.Min
	if s.Lives != "" {
		f.note = filepath.Join(filepath.Dir(s.Lives), filepath.Base(lives.Count))
	}
	return f
}

// eachOf is how many requests a process is to have. Without a number of requests, it is to be busy
// for the share of the time that says how busy cores are to be, since it answers one at a time.
func eachOf(s *ir.Scale) float64 {
	if s.InFlight > 0 {
		return float64(s.InFlight)
	}
	return float64(s.CPU) / 100
}

// add makes a pool one whose number of processes follows.
func (f *following) add(p *worker.Pool) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pools = append(f.pools, p)
	p.Resize(f.want)
}

// run follows until ctx ends.
func (f *following) run(ctx context.Context) {
	if f == nil {
		return
	}
	var follower replicas.Follower
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	at, sum := time.Now(), f.load.Seconds()
	f.say()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, until := time.Now(), f.load.Seconds()
		mean := (until - sum) / now.Sub(at).Seconds()
		at, sum = now, until
		want := follower.Want(f.rule, now, f.want, replicas.Need(mean, f.each))
		if want != f.want {
			logLine(fmt.Sprintf("%d replicas instead of %d: %.1f requests in flight", want, f.want, mean))
		}
		f.resize(want)
	}
}

// resize sets the number of processes. One that could not be started is tried again.
func (f *following) resize(want int) {
	f.mu.Lock()
	changed := want != f.want
	f.want = want
	alive := f.pools[:0]
	for _, p := range f.pools {
		if p.Err() == nil {
			p.Resize(want)
			alive = append(alive, p)
		}
	}
	clear(f.pools[len(alive):])
	f.pools = alive
	f.mu.Unlock()
	if changed {
		f.say()
	}
}

// say notes how many replicas there are, for tenon status.
func (f *following) say() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.note == "" || len(f.pools) == 0 {
		return
	}
	part := f.note + ".part"
	err := os.WriteFile(part, fmt.Appendf(nil, "%d\n", f.want), 0o644)
	if err == nil {
		err = os.Rename(part, f.note)
	}
	if err != nil {
		logLine("note: " + err.Error())
	}
}
