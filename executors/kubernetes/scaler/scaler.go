// Package scaler makes the number of pods of a service follow its load: the requests in flight,
// and the use of cores. It runs in the cluster, in a pod of its own, as `tenon-pod scale`.
//
// A service that may have no pods at all also has it answer while there are none: it holds
// requests, starts a pod, and passes them on. Its pod is one of those that the Service selects,
// and it is ready only then, so the cluster itself decides where requests go, and the scaler may
// change nothing but the number of replicas. Either change overlaps: the scaler still passes
// requests on for a while after it has stopped to be ready, and the last pods end only after it
// has been ready for a while.
//
// It keeps nothing. One that is started again takes the number of replicas from the Deployment,
// and reduces it only after it has seen itself that fewer are enough.
package scaler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/internal/replicas"
)

// Config is what a scaler is for.
type Config struct {
	// Deployment is scaled. Its name is also the value of the labels that select pods.
	Deployment string `json:"deployment"`
	// Pods selects the pods of the Deployment.
	Pods string `json:"pods"`
	// Own selects the pods of the scaler itself.
	Own string `json:"own"`

	// Service is the name of the Service in front of all versions.
	Service string `json:"service"`

	Port    int  `json:"port"`          // of the service
	Metrics int  `json:"metrics"`       // port on which pods report their load
	TLS     bool `json:"tls,omitempty"` // they do so over HTTPS

	Min      int           `json:"min"`
	Max      int           `json:"max"`
	InFlight int           `json:"in_flight"`         // requests at each pod
	CPU      int           `json:"cpu"`               // percent of MilliCPU at each pod
	MilliCPU int64         `json:"milli_cpu"`         // of a pod; 0 if cores do not matter
	Idle     time.Duration `json:"idle_ns"`           // how long fewer pods have to be enough
	Patience time.Duration `json:"patience_ns"`       // how long a request waits for a pod
	Holds    int           `json:"holds,omitempty"`   // requests that may wait
	Period   time.Duration `json:"period_ns"`         // between two measurements
	Settle   time.Duration `json:"settle_ns"`         // until all nodes know where requests go
	Within   time.Duration `json:"answers_within_ns"` // how long requests under way may take at the end
}

// A Scaler scales one Deployment.
type Scaler struct {
	Config
	cluster *cluster
	log     io.Writer
	follow  replicas.Follower
	meter   meter
	woken   chan struct{} // somebody waits for a pod

	mu      sync.Mutex
	changed chan struct{} // closed when what follows changes
	ready   []string      // addresses of pods that answer
	held    int           // requests that wait for a pod
	asked   time.Time     // when one came last
	taking  bool          // the last pods are about to end
	ending  bool          // another scaler takes over
	passing bool          // and so does the Service, for requests that still wait here
}

// New returns a scaler that reaches the cluster as its pod does.
func New(c Config, log io.Writer) (*Scaler, error) {
	cluster, err := inCluster()
	if err != nil {
		return nil, err
	}
	return &Scaler{Config: c, cluster: cluster, log: log, meter: newMeter(c), woken: make(chan struct{}, 1), changed: make(chan struct{})}, nil
}

// Run scales until ctx ends, and then answers what it has begun to.
func (s *Scaler) Run(ctx context.Context) error {
	failed := make(chan error, 1)
	front := s.front()
	if front != nil {
		go func() { failed <- front.ListenAndServe() }()
	}
	scaling, stop := context.WithCancel(context.WithoutCancel(ctx))
	var done sync.WaitGroup
	done.Go(func() { s.scale(scaling) })
	defer done.Wait()
	defer stop()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	if front == nil {
		return nil
	}
	// Requests still come, until all nodes know where else to send them.
	time.Sleep(s.Settle)
	s.set(func() { s.passing = true })
	within, cancel := context.WithTimeout(scaling, s.Within)
	defer cancel()
	return front.Shutdown(within)
}

// waking is how often to look for a pod for which requests wait.
const waking = 200 * time.Millisecond

// scale looks at the load again and again.
func (s *Scaler) scale(ctx context.Context) {
	said := ""
	for {
		err := s.look(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != said {
			fmt.Fprintf(s.log, "tenon: %v\n", err)
		}
		if said = ""; err != nil {
			said = err.Error()
		}
		pause := s.Period
		if s.waits() {
			pause = min(pause, waking)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.woken:
		case <-time.After(pause):
		}
	}
}

// waits reports whether requests wait for a pod.
func (s *Scaler) waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held > 0
}

// look measures the load once, and changes the number of replicas if that is not what is needed.
func (s *Scaler) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	have, err := s.cluster.replicas(ctx, s.Deployment)
	if err != nil {
		return err
	}
	pods, err := s.cluster.pods(ctx, s.Pods)
	if err != nil {
		return err
	}
	var ready []string
	for _, p := range pods {
		if p.answers() {
			ready = append(ready, p.IP)
		}
	}
	s.publish(ready)
	load, err := s.meter.measure(ctx, ready)
	need := s.need(load)
	if err != nil || load.unknown {
		need = max(need, have) // as long as it cannot be known that fewer are enough
	}
	s.mu.Lock()
	ending := s.ending
	s.mu.Unlock()
	want := s.follow.Want(replicas.Rule{Min: s.Min, Max: s.Max, Idle: s.Idle}, time.Now(), have, need)
	switch {
	case want < have && ending: // the next scaler has seen less, or more
		return err
	case want == 0 && have > 0:
		if took, terr := s.takeOver(ctx); terr != nil || !took {
			return errors.Join(err, terr)
		}
	default:
		s.set(func() { s.taking = false })
	}
	if want == have {
		return err
	}
	if serr := s.cluster.scale(ctx, s.Deployment, want); serr != nil {
		return errors.Join(err, serr)
	}
	fmt.Fprintf(s.log, "%d replicas instead of %d: %s\n", want, have, load)
	return err
}

// need is how many replicas a load needs.
func (s *Scaler) need(l load) int {
	s.mu.Lock()
	held := s.held
	recent := time.Since(s.asked) < s.Period+s.Settle // it may be on its way to a pod that has not said so yet
	s.mu.Unlock()
	n := replicas.Need(l.inFlight+float64(held), float64(s.InFlight))
	if recent {
		n = max(n, 1)
	}
	if s.MilliCPU > 0 {
		cpu := replicas.Need(1000*l.cores, float64(s.MilliCPU)*float64(s.CPU)/100)
		if l.inFlight == 0 && cpu <= 1 {
			cpu = 0 // what a program does that nobody asks
		}
		n = max(n, cpu)
	}
	return n
}

// publish says which pods answer.
func (s *Scaler) publish(ready []string) { s.set(func() { s.ready = ready }) }

// set changes what others wait for.
func (s *Scaler) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// takeOver reports whether requests come here, so that the last pods may end. Until then, it
// makes that so.
func (s *Scaler) takeOver(ctx context.Context) (bool, error) {
	s.set(func() { s.taking = true })
	own, err := s.cluster.pods(ctx, s.Own)
	if err != nil {
		return false, err
	}
	name, err := os.Hostname()
	if err != nil {
		return false, err
	}
	for _, p := range own {
		if p.Name == name && p.answers() && time.Since(p.Since) >= s.Settle {
			return true, nil
		}
	}
	return false, nil
}
