package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/traces"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A loader loads the versions of a service. Those with the same model, or the same processes in
// Python, share them.
type loader struct {
	step   *step.Step
	python []string
	atOnce int // requests that are computed at the same time, at most
	first  int // processes of Python, or requests, to begin with
	*process
	follow *following // nil for a fixed number of replicas
	models map[string]*model.Model
	pools  map[string]*sharedWorkers
}

type sharedWorkers struct {
	*workers
	users atomic.Int64
}

func newLoader(s *step.Step, python []string) *loader {
	l := &loader{step: s, python: python, process: new(process), models: map[string]*model.Model{}, pools: map[string]*sharedWorkers{}}
	if s.Endpoint != nil {
		l.first = max(s.Endpoint.Replicas, 1)
		l.atOnce = l.first
		if s.Endpoint.Scale != nil {
			l.atOnce = s.Endpoint.Scale.Max
			l.follow = newFollowing(s, l.process)
		}
	}
	return l
}

// bind binds the ports, opens the edge, which has to be closed, and limits the process to its
// processors.
func (l *loader) bind(ctx context.Context, given params) (*socket, error) {
	s := l.step
	if s.Endpoint == nil || s.Endpoint.Port == 0 {
		return nil, fmt.Errorf("the step has no endpoint: serve.http is a service")
	}
	sock, err := bind(s.Endpoint.Host, s.Endpoint.Port)
	if err != nil {
		return nil, err
	}
	if err := l.openEdge(ctx, s, given); err != nil {
		l.edge.Close()
		return nil, err
	}
	if s.Lives != "" {
		// Restarts of workers of a service that had this name are none of this one.
		_ = os.Remove(s.Lives)
	}
	// One processor more than requests are computed at once, so that health checks are answered
	// and bodies read meanwhile. More would only take turns with other units.
	runtime.GOMAXPROCS(min(runtime.GOMAXPROCS(0), l.atOnce+1))
	return sock, nil
}

// A loaded is a version that can answer.
type loaded struct {
	*Plane
	ends []func()
}

// stop frees what it has.
func (x *loaded) stop() {
	for _, end := range slices.Backward(x.ends) {
		end()
	}
}

// pythonOf is the interpreter and the script of workers of a step.
func (l *loader) pythonOf(s *step.Step) []string {
	if len(s.Args) > 0 {
		return s.Args
	}
	return l.python
}

// model returns the model of a step, nil if Go cannot evaluate it.
func (l *loader) model(s *step.Step) (*model.Model, error) {
	digest := s.Inputs["model"].Digest
	if m, ok := l.models[digest]; ok && digest != "" {
		return m, nil
	}
	m, err := readModel(s, l.pythonOf(s)...)
	if err != nil {
		return nil, fmt.Errorf("read the exported model: %w", err)
	}
	l.models[digest] = m
	return m, nil
}

// workers returns processes for the model of a step, which versions share.
func (l *loader) workers(s *step.Step, given params, restarts *starts) (*sharedWorkers, error) {
	python := l.pythonOf(s)
	how, err := json.Marshal(given.Python)
	if err != nil {
		return nil, err
	}
	key := strings.Join(append([]string{s.Inputs["model"].Digest, s.Code, string(how)}, python...), "\x00")
	if w := l.pools[key]; w != nil && w.Alive() {
		w.users.Add(1)
		return w, nil
	}
	pool, err := startWorkers(s, given.Python, python, l.first, restarts)
	if err != nil {
		return nil, err
	}
	l.follow.add(pool.Pool)
	w := &sharedWorkers{workers: pool}
	w.users.Add(1)
	l.pools[key] = w
	return w, nil
}

// load loads a version, whose model Go can evaluate if it is not nil.
func (l *loader) load(ctx context.Context, s *step.Step, given params, m *model.Model) (_ *loaded, err error) {
	x := new(loaded)
	defer func() {
		if err != nil {
			x.stop()
		}
	}()
	c, err := config(s, given)
	if err != nil {
		return nil, err
	}
	c.Model, c.AtOnce, c.Version, c.process = m, l.atOnce, s.Name, l.process
	restarts := newStarts(s.Lives)
	if m == nil {
		w, err := l.workers(s, given, restarts)
		if err != nil {
			return nil, err
		}
		x.ends = append(x.ends, func() {
			if w.users.Add(-1) == 0 {
				w.Close()
			}
		})
		c.Model, c.workers, c.AtOnce = w.workers, w.workers, given.Python.atOnce(l.atOnce)
		var unwatch context.CancelFunc
		ctx, unwatch = w.watch(ctx)
		x.ends = append(x.ends, unwatch)
	}
	if given.Request != nil {
		if c.functions, err = startFunctions(s, given.Request.Calls, given.Python, l.pythonOf(s), l.first, restarts); err != nil {
			return nil, err
		}
		for _, f := range c.functions.all {
			l.follow.add(f.Pool)
		}
		x.ends = append(x.ends, c.functions.Close)
		within, cancel := c.functions.watch(ctx) // that the tables are in use ends with it, too
		x.ends = append(x.ends, cancel)
		stop, err := c.compute(within, s, given)
		if err != nil {
			return nil, err
		}
		x.ends = append(x.ends, stop)
	}
	if given.Explain {
		if err := c.explain(s); err != nil {
			return nil, err
		}
	}
	if given.Log != nil {
		if err := c.keepRequests(s, given); err != nil {
			return nil, err
		}
		x.ends = append(x.ends, func() { c.Requests.Close(finishes) })
	}
	if given.Parity > 0 {
		if err := c.checkRequests(s, given, l.pythonOf(s)); err != nil {
			return nil, err
		}
		x.ends = append(x.ends, c.Checks.Close)
	}
	if given.Traces != nil {
		if c.Tracer, err = traces.New(*given.Traces, logLine, c.described(given)...); err != nil {
			return nil, err
		}
		x.ends = append(x.ends, c.Tracer.Close)
	}
	if x.Plane, err = New(c); err != nil {
		return nil, err
	}
	x.warmUp(ctx)
	return x, nil
}

// beside returns the step of a version by its name, with what the versions of a process have in common.
func (l *loader) beside(name string) (*step.Step, error) {
	if name == l.step.Name {
		return l.step, nil
	}
	s := l.step.Beside[name]
	if s == nil {
		return nil, fmt.Errorf("the step says nothing about %s", name)
	}
	own := *s
	own.Name, own.Instance, own.Endpoint, own.Lives, own.Kept = name, l.step.Instance, l.step.Endpoint, "", l.step.Kept
	var err error
	own.Scratch, err = os.MkdirTemp(l.step.Scratch, "version-")
	return &own, err
}

// version loads one of the versions.
func (l *loader) version(ctx context.Context, name string) *version {
	v := &version{name: name, stop: func() {}}
	x, given, err := l.versioned(ctx, name)
	if err != nil {
		says := err.Error()
		v.fault.Store(&says)
		logLine(fmt.Sprintf("error: %s cannot answer: %s", name, says))
		return v
	}
	v.plane, v.stop = x.Plane, x.stop
	v.shadows = newShadows(v, given.Private, logLine)
	return v
}

func (l *loader) versioned(ctx context.Context, name string) (x *loaded, given params, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("a fault of this program: %v", fault)
		}
	}()
	s, err := l.beside(name)
	if err != nil {
		return nil, given, err
	}
	if len(s.Params) > 0 {
		if err := json.Unmarshal(s.Params, &given); err != nil {
			return nil, given, fmt.Errorf("read the parameters: %w", err)
		}
	}
	m, err := l.model(s)
	if err != nil {
		return nil, given, err
	}
	x, err = l.load(ctx, s, given, m)
	return x, given, err
}

// known lists the versions that the step has.
func (l *loader) known() []string {
	return append(slices.Sorted(maps.Keys(l.step.Beside)), l.step.Name)
}
