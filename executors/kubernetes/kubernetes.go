package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/planner/state"
)

// Name is the executor's name in handles and targets.
const Name = "kubernetes"

// Options configure an executor: where the cluster is and what units run with.
type Options struct {
	Settings          // an empty context or namespace comes from the kubeconfig
	Kubeconfig string // path of a kubeconfig, or "" for the ones that kubectl finds
	// Home is the context of the cluster that tenon itself runs in, or "". It needs no
	// kubeconfig.
	Home string
	// Runs is the folder that holds the folders of all runs, named after their tasks.
	// If it is empty, the folder of a run is the one that the handle names.
	Runs string
	// Build makes or finds the image of a recipe. Publish pushes an image to a
	// repository and returns its name there, by digest.
	Build   func(context.Context, image.Recipe) (v1.Image, error)
	Publish func(ctx context.Context, img v1.Image, repository string) (string, error)
	// Images are the images already published, by [inside.Key]. If there are any, no others are
	// made.
	Images map[string]string
	// Programs are those of Tenon that units run.
	Programs executors.Programs
	// Tenon is the path of the tenon binary, and Pod that of tenon-pod. All three
	// programs must be able to run on the nodes.
	Tenon, Pod string
	// Reach says how a cluster that Tenon has made in a cloud is reached, by its name.
	Reach func(context.Context, string) (cloud.ClusterAccess, error)
	// Patience is how long to wait for a cluster that does not answer. Zero means 1
	// min.
	Patience time.Duration
}

// Executor runs units in a cluster. The assertions below list what it implements
// besides [executors.Executor].
type Executor struct {
	opts Options

	mu     sync.Mutex
	links  map[Place]*link
	stores map[string]*remote.Store
	silent time.Time // when the cluster stopped answering

	furnishing sync.Mutex
	furnished  bool // see [Executor.furnish]

	sender inside.Sender
	images inside.Images
}

// A link is a connection to a namespace, with its watches.
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
	_ executors.Keeper        = (*Executor)(nil)
	_ executors.VersionRunner = (*Executor)(nil)
	_ executors.Placer        = (*Executor)(nil)
)

// New returns an executor. It connects on first use.
func New(o Options) *Executor {
	if o.Patience == 0 {
		o.Patience = time.Minute
	}
	return &Executor{opts: o, links: map[Place]*link{}, stores: map[string]*remote.Store{}, images: inside.Images{Programs: o.Programs, Pod: o.Pod, Build: o.Build, Publish: o.Publish}}
}

// Close closes the connections. Running tasks continue.
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

// at returns the connection to a place. A deployed task may be in another place than
// the target now names.
func (e *Executor) at(ctx context.Context, p Place) (*link, error) {
	p.Store = ""
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.links[p]; l != nil {
		return l, nil
	}
	c, err := e.opts.dial(ctx, p)
	if err != nil {
		return nil, err
	}
	l := &link{c, newWatcher(c)}
	e.links[p] = l
	return l, nil
}

// place returns the place of the target.
func (e *Executor) place() (Place, error) {
	p := Place{Context: cmp.Or(e.opts.Context, e.opts.Home), Namespace: e.opts.Namespace, Store: e.opts.Store}
	if e.opts.Cluster != nil {
		p.Context, p.Cluster = "", e.opts.Cluster.Name
	}
	return settle(e.opts.Kubeconfig, p)
}

// store returns the store at a URL.
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

// patiently repeats do while the cluster does not answer, until it has been silent for
// the patience of the executor across all callers. A call that worked for longer than
// that before it failed gets the full patience again.
func (e *Executor) patiently(ctx context.Context, do func() error) error {
	for pause := againFirst; ; pause = min(2*pause, againLast) {
		began := time.Now()
		err := do()
		fails := err != nil && passing(err)
		e.mu.Lock()
		switch {
		case !fails:
			e.silent = time.Time{}
		case e.silent.IsZero() || time.Since(began) > e.opts.Patience+time.Minute: // the client retries for a while by itself
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

// Apply creates the ConfigMap and the other objects of the task, or finds the ones created
// earlier under its name: a job that runs or has ended, or a deployed service. It first
// uploads the task's inputs to the store. The prior service keeps running, and its
// Service keeps selecting it until the new version is ready, see [Executor.Wait].
func (e *Executor) Apply(ctx context.Context, t executors.Task, _ *state.Handle) (h state.Handle, err error) {
	faults := slices.DeleteFunc(e.Check(t.Unit), func(f ir.Fault) bool { return f.Note })
	if len(faults) > 0 {
		err = fmt.Errorf("%s: %s", faults[0].Field, faults[0].Message)
	} else if err = local.Apart(t, false); err == nil {
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
	l, err := e.at(ctx, p)
	if err != nil {
		return state.Handle{}, err
	}
	if err := e.furnish(ctx, l); err != nil {
		return state.Handle{}, err
	}
	ts, err := e.taskState(t, p)
	if err != nil {
		return state.Handle{}, err
	}
	ts, there, err := e.enter(ctx, l, ts, t)
	if err != nil {
		return state.Handle{}, err
	}
	if there {
		made, err := ts.made(ctx, l)
		if err != nil {
			return state.Handle{}, err
		}
		if made {
			return ts.handle()
		}
	}
	if err := e.start(ctx, l, ts, t); err != nil {
		if !there {
			err = errors.Join(err, ts.withdraw(context.WithoutCancel(ctx), l))
		}
		return state.Handle{}, err
	}
	return ts.handle()
}

// withdraw deletes the ConfigMap of a task that could not be started, unless its workload
// was created anyway.
func (ts taskState) withdraw(ctx context.Context, l *link) error {
	if made, err := ts.made(ctx, l); err != nil || made {
		return err
	}
	return l.delete(ctx, ts.owner(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &ts.UID}})
}

// enter creates the ConfigMap of a task, or finds it. If the ConfigMap is being deleted,
// enter waits until it is gone.
func (e *Executor) enter(ctx context.Context, l *link, ts taskState, t executors.Task) (_ taskState, there bool, err error) {
	for {
		m := e.settings(ts).configMap(t)
		if m.Data, err = ts.data(); err != nil {
			return ts, false, err
		}
		err := l.create(ctx, m)
		if err == nil {
			ts.UID = m.UID
			return ts, false, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return ts, false, err
		}
		now, err := e.read(ctx, l, ts.Name, ts.Dir, ts.Place)
		if err != nil || now == nil {
			if err != nil {
				return ts, false, err
			}
			if err := l.gone(ctx, m); err != nil { // it is being deleted
				return ts, false, err
			}
			continue
		}
		if now.Unit != ts.Unit || now.Kind != ts.Kind {
			return ts, false, fmt.Errorf("namespace %s already contains %s of %s: remove it, or choose another namespace", ts.Namespace, ts.Name, now.Unit)
		}
		if now.State != ts.State {
			return ts, false, fmt.Errorf("namespace %s already contains %s of another state: choose another namespace; if that state is lost, remove it with `kubectl -n %[1]s delete configmap %[2]s`", ts.Namespace, ts.Name)
		}
		return *now, true, nil
	}
}

// read returns the task state with a name. It returns nil if there is none or if it is
// being deleted.
func (e *Executor) read(ctx context.Context, l *link, name, dir string, p Place) (*taskState, error) {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
	err := l.get(ctx, m)
	if apierrors.IsNotFound(err) || err == nil && m.DeletionTimestamp != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ts, err := fromConfigMap(m, p, dir)
	return &ts, err
}

// made reports whether the workload of the task exists.
func (ts taskState) made(ctx context.Context, l *link) (bool, error) {
	err := l.get(ctx, ts.workload())
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// Find returns the handle of a task in the namespace of the target, or nil. Without a
// target there is no namespace to search.
func (e *Executor) Find(ctx context.Context, name, dir string) (*state.Handle, error) {
	if e.opts.Store == "" {
		return nil, nil
	}
	var found *taskState
	err := e.patiently(ctx, func() error {
		p, err := e.place()
		if err != nil {
			return err
		}
		l, err := e.at(ctx, p)
		if err != nil {
			return err
		}
		found, err = e.read(ctx, l, name, dir, p)
		return err
	})
	if err != nil && !unmade(err) {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	if found == nil {
		return nil, nil
	}
	h, err := found.handle()
	return &h, err
}

// unmade reports whether an error says that a cluster that Tenon makes does not exist, and so no task in it.
func unmade(err error) bool {
	var none *cloud.NoClusterError
	return errors.As(err, &none)
}

// visit calls do with the connection to the place of a task and with its current task state
// in the cluster, which is nil if there is none. It repeats the call while the cluster
// does not answer.
func (e *Executor) visit(ctx context.Context, ts taskState, do func(l *link, now *taskState) error) error {
	return e.patiently(ctx, func() error {
		l, err := e.at(ctx, ts.Place)
		if err != nil {
			return err
		}
		now, err := e.read(ctx, l, ts.Name, ts.Dir, ts.Place)
		if err != nil {
			return err
		}
		return do(l, now)
	})
}

// Inspect returns the status of the task. A service is ready when all the pods that it
// wants are ready and its Service selects them. Without an endpoint, it is ready when its
// program has run for [executors.Settle].
func (e *Executor) Inspect(ctx context.Context, h state.Handle) (st state.Status, err error) {
	ts, err := e.fromHandle(h)
	if err != nil {
		return st, err
	}
	err = e.visit(ctx, ts, func(l *link, now *taskState) (err error) {
		if now == nil {
			st = state.Status{Phase: state.Absent}
			return nil
		}
		st, err = e.ask(ctx, l, *now)
		return err
	})
	switch {
	case unmade(err):
		return state.Status{Phase: state.Absent}, nil
	case err != nil:
		return st, fmt.Errorf("look at %s: %w", ts.Unit, err)
	}
	return st, nil
}

// ask reads the status of a task from the cluster itself, not from the watches.
func (e *Executor) ask(ctx context.Context, l *link, ts taskState) (state.Status, error) {
	w := ts.workload()
	err := l.get(ctx, w)
	if apierrors.IsNotFound(err) || err == nil && w.GetDeletionTimestamp() != nil {
		return state.Status{Phase: state.Absent}, nil
	}
	if err != nil {
		return state.Status{}, err
	}
	pods, err := l.podsOf(ctx, ts.Name)
	if err != nil {
		return state.Status{}, err
	}
	if job, ok := w.(*batchv1.Job); ok {
		st, _, err := e.lookAtJob(ctx, l, ts, job, pods)
		return st, err
	}
	st, _, err := e.lookAtService(ctx, l, ts, w.(*appsv1.Deployment), pods, nil)
	return st, err
}

// OwnPorts returns true: each pod has its own ports.
func (e *Executor) OwnPorts() bool { return true }

// Remote returns true: pods run on other machines.
func (e *Executor) Remote() bool { return true }

// RegistryHosts returns the folder with the configuration of registries.
func (e *Executor) RegistryHosts() string { return e.opts.Hosts }

// check returns one fault per field that the cluster cannot honour.
func (e *Executor) Check(u ir.Unit) []ir.Fault { return check(e.opts.Settings, u) }
