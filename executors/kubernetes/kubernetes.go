package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/planner/state"
)

// Name is the executor's name in handles and targets.
const Name = "kubernetes"

// Options say where the cluster is and what it runs units with.
type Options struct {
	Settings          // a context or namespace that is empty is as the kubeconfig has it
	Kubeconfig string // path of one, or "" for those that kubectl finds
	// Home is the context of the cluster that tenon itself runs in, of which it needs no
	// kubeconfig, or "".
	Home string
	// Runs is the folder with the folders of all runs, by the names of their tasks. If
	// it is empty, a run's folder is where the tenon had it that started it.
	Runs string
	// Build makes the image of a recipe, or finds it, and Publish puts it into a
	// repository and returns its name there, by digest.
	Build   func(context.Context, image.Recipe) (v1.Image, error)
	Publish func(ctx context.Context, img v1.Image, repository string) (string, error)
	// Images are those that were published before, by unit. No others are made for them.
	Images map[string]string
	// Duck returns the path of tenon-duck, which runs builtins as "tenon-duck step".
	Duck func(ctx context.Context) (program string, err error)
	// Tenon is the path of the tenon binary, and Pod that of tenon-pod. All of them have
	// to run on the nodes.
	Tenon, Pod string
	// Patience is how long to wait for a cluster that does not answer. Zero is 1 min.
	Patience time.Duration
}

// Executor runs units in a cluster. The list below says what it implements besides
// [executors.Executor].
type Executor struct {
	opts Options

	mu     sync.Mutex
	links  map[Place]*link
	stores map[string]*remote.Store
	sent   map[string]artifact.Ref // by store, and path or digest: what was seen to be there
	silent time.Time               // since when the cluster does not answer

	publishing sync.Mutex
	published  map[string]string // by recipe: images that were seen to be in the registry
}

// A link is a connection to a namespace, with what is watched there.
type link struct {
	*cluster
	*watcher
}

var (
	_ executors.Executor      = (*Executor)(nil)
	_ executors.Waiter        = (*Executor)(nil)
	_ executors.Preparer      = (*Executor)(nil)
	_ executors.Checker       = (*Executor)(nil)
	_ executors.Logger        = (*Executor)(nil)
	_ executors.Collector     = (*Executor)(nil)
	_ executors.PortIsolation = (*Executor)(nil)
	_ executors.Scheduler     = (*Executor)(nil)
	_ executors.Remote        = (*Executor)(nil)
	_ executors.ImageRunner   = (*Executor)(nil)
	_ executors.Renderer      = (*Executor)(nil)
	_ executors.Granter       = (*Executor)(nil)
	_ executors.Detacher      = (*Executor)(nil)
)

// New returns an executor. It connects when it is first asked for something.
func New(o Options) *Executor {
	if o.Patience == 0 {
		o.Patience = time.Minute
	}
	return &Executor{opts: o, links: map[Place]*link{}, stores: map[string]*remote.Store{}, sent: map[string]artifact.Ref{}, published: map[string]string{}}
}

// Close ends the connections. What runs goes on.
func (e *Executor) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var err error
	for p, l := range e.links {
		l.close()
		l.http.CloseIdleConnections()
		delete(e.links, p)
	}
	for url, s := range e.stores {
		err = errors.Join(err, s.Close())
		delete(e.stores, url)
	}
	return err
}

// at is the connection to a place: what stands may be elsewhere than the target is
// now.
func (e *Executor) at(p Place) (*link, error) {
	p.Store = ""
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.links[p]; l != nil {
		return l, nil
	}
	c, err := e.opts.dial(p)
	if err != nil {
		return nil, err
	}
	l := &link{c, newWatcher(c)}
	e.links[p] = l
	return l, nil
}

// place is that of the target.
func (e *Executor) place() (Place, error) {
	return settle(e.opts.Kubeconfig, Place{cmp.Or(e.opts.Context, e.opts.Home), e.opts.Namespace, e.opts.Store})
}

// store is the store of a URL.
func (e *Executor) store(ctx context.Context, url string) (*remote.Store, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.stores[url]; s != nil {
		return s, nil
	}
	s, err := remote.Open(context.WithoutCancel(ctx), url)
	if err != nil {
		return nil, err
	}
	e.stores[url] = s
	return s, nil
}

// patiently does something again while the cluster does not answer, for so long since it
// last did, whoever asked. What went well for longer than that has all of it before it.
func (e *Executor) patiently(ctx context.Context, do func() error) error {
	for pause := againFirst; ; pause = min(2*pause, againLast) {
		began := time.Now()
		err := do()
		fails := err != nil && passing(err)
		e.mu.Lock()
		switch {
		case !fails:
			e.silent = time.Time{}
		case e.silent.IsZero() || time.Since(began) > e.opts.Patience+time.Minute: // the client itself tries for a while
			e.silent, pause = time.Now(), againFirst
		}
		silent := e.silent
		e.mu.Unlock()
		if !fails || time.Since(silent) > e.opts.Patience {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

// Apply makes the task's record and its objects, or finds what was made under its
// name before: a job that runs or has ended, a service that stands. What it reads is
// put into the store first. The prior service keeps standing, and its Service goes
// on to lead to it until the new one is ready, see [Executor.Wait].
func (e *Executor) Apply(ctx context.Context, t executors.Task, _ *state.Handle) (h state.Handle, err error) {
	if faults := e.Check(t.Unit); len(faults) > 0 {
		err = fmt.Errorf("%s: %s", faults[0].Field, faults[0].Message)
	} else {
		err = e.patiently(ctx, func() (err error) {
			h, err = e.apply(ctx, t)
			return err
		})
	}
	if err != nil {
		return state.Handle{}, fmt.Errorf("start %s: %w", t.Unit.ID, err)
	}
	return h, nil
}

func (e *Executor) apply(ctx context.Context, t executors.Task) (state.Handle, error) {
	if err := ctx.Err(); err != nil {
		return state.Handle{}, err
	}
	p, err := e.place()
	if err != nil {
		return state.Handle{}, err
	}
	l, err := e.at(p)
	if err != nil {
		return state.Handle{}, err
	}
	r, err := e.record(t, p)
	if err != nil {
		return state.Handle{}, err
	}
	r, there, err := e.enter(ctx, l, r, t)
	if err != nil {
		return state.Handle{}, err
	}
	if there {
		made, err := r.made(ctx, l)
		if err != nil {
			return state.Handle{}, err
		}
		if made {
			return r.handle()
		}
	}
	if err := e.start(ctx, l, r, t); err != nil {
		if !there {
			err = errors.Join(err, r.withdraw(context.WithoutCancel(ctx), l))
		}
		return state.Handle{}, err
	}
	return r.handle()
}

// withdraw removes the record of what could not be started, unless its workload was
// made all the same.
func (r record) withdraw(ctx context.Context, l *link) error {
	if made, err := r.made(ctx, l); err != nil || made {
		return err
	}
	return l.delete(ctx, r.owner(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &r.UID}})
}

// enter makes the record of a task, or finds it. One that is being removed is waited
// for.
func (e *Executor) enter(ctx context.Context, l *link, r record, t executors.Task) (_ record, there bool, err error) {
	for {
		m := e.settings(r).record(t)
		if m.Data, err = r.data(); err != nil {
			return r, false, err
		}
		err := l.create(ctx, m)
		if err == nil {
			r.UID = m.UID
			return r, false, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return r, false, err
		}
		now, err := e.read(ctx, l, r.Name, r.Dir, r.Place)
		if err != nil || now == nil {
			if err != nil {
				return r, false, err
			}
			if err := l.gone(ctx, m); err != nil { // it is on its way out
				return r, false, err
			}
			continue
		}
		if now.Unit != r.Unit || now.Kind != r.Kind {
			return r, false, fmt.Errorf("namespace %s holds %s already, of %s: remove it, or choose another namespace", r.Namespace, r.Name, now.Unit)
		}
		if now.State != r.State {
			return r, false, fmt.Errorf("namespace %s holds %s already, of another state: choose another namespace; if that state is lost, `kubectl -n %[1]s delete configmap %[2]s` removes it", r.Namespace, r.Name)
		}
		return *now, true, nil
	}
}

// read reads the record of a name. Nil is that there is none, or none that stays.
func (e *Executor) read(ctx context.Context, l *link, name, dir string, p Place) (*record, error) {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
	err := l.get(ctx, m)
	if apierrors.IsNotFound(err) || err == nil && m.DeletionTimestamp != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := fromConfigMap(m, p, dir)
	return &r, err
}

// made reports whether what the record is of was made.
func (r record) made(ctx context.Context, l *link) (bool, error) {
	err := l.get(ctx, r.workload())
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// Find returns the handle of what there is of a task in the namespace of the target.
// Without a target there is no namespace to look in.
func (e *Executor) Find(ctx context.Context, name, dir string) (*state.Handle, error) {
	if e.opts.Store == "" {
		return nil, nil
	}
	var found *record
	err := e.patiently(ctx, func() error {
		p, err := e.place()
		if err != nil {
			return err
		}
		l, err := e.at(p)
		if err != nil {
			return err
		}
		found, err = e.read(ctx, l, name, dir, p)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	if found == nil {
		return nil, nil
	}
	h, err := found.handle()
	return &h, err
}

// visit calls do with the connection to where a task is, and with its record as the
// cluster has it; nil is that there is none. While the cluster does not answer, it is
// called again.
func (e *Executor) visit(ctx context.Context, r record, do func(l *link, now *record) error) error {
	return e.patiently(ctx, func() error {
		l, err := e.at(r.Place)
		if err != nil {
			return err
		}
		now, err := e.read(ctx, l, r.Name, r.Dir, r.Place)
		if err != nil {
			return err
		}
		return do(l, now)
	})
}

// Inspect tells how the task stands. A service is ready when as many pods as it
// wants are, and its Service leads to them.
func (e *Executor) Inspect(ctx context.Context, h state.Handle) (st state.Status, err error) {
	r, err := e.fromHandle(h)
	if err != nil {
		return st, err
	}
	err = e.visit(ctx, r, func(l *link, now *record) (err error) {
		if now == nil {
			st = state.Status{Phase: state.Absent}
			return nil
		}
		st, err = e.ask(ctx, l, *now)
		return err
	})
	if err != nil {
		return st, fmt.Errorf("look at %s: %w", r.Unit, err)
	}
	return st, nil
}

// ask asks the cluster itself how a task stands, not what is watched.
func (e *Executor) ask(ctx context.Context, l *link, r record) (state.Status, error) {
	w := r.workload()
	err := l.get(ctx, w)
	if apierrors.IsNotFound(err) || err == nil && w.GetDeletionTimestamp() != nil {
		return state.Status{Phase: state.Absent}, nil
	}
	if err != nil {
		return state.Status{}, err
	}
	pods, err := l.podsOf(ctx, r.Name)
	if err != nil {
		return state.Status{}, err
	}
	if job, ok := w.(*batchv1.Job); ok {
		st, _, err := e.lookAtJob(ctx, l, r, job, pods)
		return st, err
	}
	st, _, err := e.lookAtService(ctx, l, r, w.(*appsv1.Deployment), pods, nil)
	return st, err
}

// OwnPorts says that a pod has ports of its own.
func (e *Executor) OwnPorts() bool { return true }

// Remote says that pods run on other machines.
func (e *Executor) Remote() bool { return true }

// RegistryHosts is the folder that says how registries are reached.
func (e *Executor) RegistryHosts() string { return e.opts.Hosts }

// Check returns one fault per field that the cluster cannot honour.
func (e *Executor) Check(u ir.Unit) []ir.Fault { return Check(e.opts.Settings, u) }
