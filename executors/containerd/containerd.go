package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Name is the executor's name in handles and targets.
const Name = "containerd"

// Settings are the settings of a target, as defined by tenon.#Containerd.
type Settings struct {
	Place
	Base  string `json:"base"`
	Hosts string `json:"hosts"`
}

// SettingsOf decodes the settings of a target.
func SettingsOf(t ir.Target) (s Settings, err error) { return s, executors.DecodeSettings(t, &s) }

// Defaults of a target's settings.
const (
	defaultAddress     = "/run/containerd/containerd.sock"
	defaultNamespace   = "tenon"
	DefaultSnapshotter = "overlayfs"
)

// Options configure an executor: where containerd is and what units run with.
type Options struct {
	Place // empty fields have their defaults
	// Build makes or finds the image of a recipe.
	Build func(context.Context, image.Recipe) (v1.Image, error)
	// Programs are those of Tenon that units run.
	Programs executors.Programs
	// Runner is the path of tenon-run.
	Runner string
	// Env is tenon's environment, of which a few variables are passed on. Nil means
	// os.Environ.
	Env []string
	// Grace is how long a program may take to end after SIGTERM. Zero means 10 s.
	Grace time.Duration
	// Patience is how long to wait for a containerd that went away. Zero means 1 min.
	Patience time.Duration
	// CDI are the folders with device specifications. Nil means the usual ones.
	CDI []string
	// Hosts is the folder with the configuration of registries.
	Hosts string
}

// Executor runs units in containers. The assertions below list what it implements
// besides [executors.Executor].
type Executor struct {
	opts Options

	mu     sync.Mutex
	client *client.Client

	heard atomic.Int64 // when containerd last answered, in Unix nanoseconds

	loading sync.Mutex
	images  map[string]*loaded // images known to be unpacked, by digest
	others  map[Place]*Executor
}

var (
	_ executors.Executor    = (*Executor)(nil)
	_ executors.Waiter      = (*Executor)(nil)
	_ executors.Preparer    = (*Executor)(nil)
	_ executors.Checker     = (*Executor)(nil)
	_ executors.Logger      = (*Executor)(nil)
	_ executors.Collector   = (*Executor)(nil)
	_ executors.ImageRunner = (*Executor)(nil)
	_ executors.Host        = (*Executor)(nil)

	_ executors.VersionRunner = (*Executor)(nil)
)

// New returns an executor. It connects on first use.
func New(o Options) *Executor {
	if o.Address == "" {
		o.Address = defaultAddress
	}
	if o.Namespace == "" {
		o.Namespace = defaultNamespace
	}
	if o.Snapshotter == "" {
		o.Snapshotter = DefaultSnapshotter
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	if o.Patience == 0 {
		o.Patience = time.Minute
	}
	return &Executor{opts: o, images: map[string]*loaded{}, others: map[Place]*Executor{}}
}

// RegistryHosts returns the folder with the configuration of registries.
func (e *Executor) RegistryHosts() string { return e.opts.Hosts }

// Close closes the connection. Running tasks continue.
func (e *Executor) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var err error
	for _, other := range e.others {
		err = errors.Join(err, other.Close())
	}
	if e.client == nil {
		return err
	}
	c := e.client
	e.client = nil
	return errors.Join(err, c.Close())
}

// in returns ctx with tenon's namespace.
func (e *Executor) in(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, e.opts.Namespace)
}

// Apply starts the task, or finds the one started earlier under its name: a job that
// runs or has ended, or a running service. It restarts a service that died. The prior
// service keeps running; both listen on the same port until the prior one is destroyed.
// An address that anybody else has is an error.
func (e *Executor) Apply(ctx context.Context, t executors.Task, prior *state.Handle) (h state.Handle, err error) {
	err = local.Apart(t, true)
	if faults := e.Check(t.Unit); err == nil && len(faults) > 0 {
		err = fmt.Errorf("%s: %s", faults[0].Field, faults[0].Message)
	}
	if err == nil {
		base := e.in(ctx)
		err = e.patiently(base, func(c *client.Client) (err error) {
			h, err = e.apply(base, c, t, prior)
			return err
		})
	}
	if err != nil {
		return state.Handle{}, fmt.Errorf("start %s: %w", t.Unit.ID, err)
	}
	return h, nil
}

func (e *Executor) apply(ctx context.Context, c *client.Client, t executors.Task, prior *state.Handle) (state.Handle, error) {
	locked, err := local.Lock(ctx, t.Dir)
	if err != nil {
		return state.Handle{}, err
	}
	defer locked.Close()

	ts, err := taskStates.Read(t.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return state.Handle{}, err
	}
	if err == nil { // an earlier start
		resumed, err := e.earlier(ctx, ts, t)
		if err != nil {
			return state.Handle{}, err
		}
		if resumed {
			return taskStates.Handle(ts)
		}
	}
	if err := local.Present(t); err != nil {
		return state.Handle{}, err
	}
	uid, gid := owner()
	if err := local.Readable(t, uid, gid); err != nil {
		return state.Handle{}, err
	}
	former, err := e.former(ctx, t, prior)
	if err != nil {
		return state.Handle{}, err
	}
	address, err := local.Reserve(ctx, t, former)
	if err != nil {
		return state.Handle{}, err
	}
	defer address.Close()
	return e.settle(ctx, func() (state.Handle, error) { return e.start(ctx, c, t, address) })
}

// former returns the claim of the service that a new one takes over from, or nil.
func (e *Executor) former(ctx context.Context, t executors.Task, prior *state.Handle) (*local.Claim, error) {
	if t.Unit.Endpoint == nil || prior == nil || prior.Executor != Name {
		return nil, nil
	}
	ts, err := current(*prior)
	if err != nil {
		return nil, err
	}
	e = e.at(ts.Place)
	ctx = e.in(ctx)
	c, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	id, err := e.first(ctx, c, ts)
	if err != nil {
		return nil, err
	}
	claim := local.NewClaim(ts.TaskState, id, true)
	return &claim, nil
}

// first returns the identity of a container's first process, or none if it has ended.
func (e *Executor) first(ctx context.Context, c *client.Client, ts taskState) (local.Ident, error) {
	now, err := e.task(ctx, c, ts.ID)
	if err != nil || now == nil {
		return local.Ident{}, err
	}
	id, err := local.Identify(int(now.Pid))
	if err != nil {
		return local.Ident{}, nil //nolint:nilerr // it has just ended
	}
	return id, nil
}

// Taken names who has the address of a service, see [executors.Host].
func (e *Executor) Taken(ctx context.Context, t executors.Task, prior *state.Handle) (string, error) {
	former, err := e.former(ctx, t, prior)
	if err != nil {
		return "", err
	}
	return local.Taken(ctx, t, former)
}

// earlier reports whether the task was started before, wherever that was, and can be
// kept. Otherwise it removes what is left of that start. It fails if another task still
// runs in the folder.
func (e *Executor) earlier(ctx context.Context, ts taskState, t executors.Task) (resumed bool, err error) {
	e = e.at(ts.Place)
	ctx = e.in(ctx)
	c, err := e.connect(ctx)
	if err != nil {
		return false, err
	}
	if ts.Name == t.Name {
		if resumed, err = e.resume(ctx, c, ts); err != nil || resumed {
			return resumed, err
		}
	} else if st, err := e.look(ctx, c, ts); err != nil || st.Phase == state.Running {
		return false, errors.Join(fmt.Errorf("%s is in use by %s, which still runs", t.Dir, ts.Name), err)
	}
	return false, e.remove(ctx, c, ts.ID, e.opts.Grace)
}

// resume reports whether an earlier start can be kept. That holds for a job that has
// ended, but not for a service that has. It starts the program of a task that a killed
// apply had only created.
func (e *Executor) resume(ctx context.Context, c *client.Client, ts taskState) (bool, error) {
	now, err := e.task(ctx, c, ts.ID)
	if err != nil {
		return false, err
	}
	if now != nil && now.Status == task.Status_CREATED {
		return true, startProgram(ctx, c, ts.ID)
	}
	st, err := e.look(ctx, c, ts)
	if err != nil {
		return false, err
	}
	switch st.Phase {
	case state.Running:
		return true, nil
	case state.Absent:
		return false, nil
	}
	return ts.Kind != ir.Service, nil
}

// Find returns the handle of a task: from the task state in its folder, or from a container
// that was created but not yet recorded. Otherwise it returns nil.
func (e *Executor) Find(ctx context.Context, name, dir string) (*state.Handle, error) {
	ts, err := taskStates.Read(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err == nil && ts.Name == name {
		h, err := taskStates.Handle(ts)
		return &h, err
	}
	ts = e.taskState(executors.Task{Name: name, Dir: dir})
	ctx = e.in(ctx)
	there := false
	err = e.patiently(ctx, func(c *client.Client) error {
		// The snapshot is created before its container.
		_, err := c.SnapshotService(e.opts.Snapshotter).Stat(ctx, ts.ID)
		if errdefs.IsNotFound(err) {
			_, err = c.ContainerService().Get(ctx, ts.ID)
		}
		there = err == nil
		return ignoreMissing(err)
	})
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	if !there {
		return nil, nil
	}
	h, err := taskStates.Handle(ts)
	return &h, err
}

// Inspect returns the status of the task. A service is ready when it answers its
// readiness path with 200 and its own instance.
func (e *Executor) Inspect(ctx context.Context, h state.Handle) (state.Status, error) {
	ts, err := current(h)
	if err != nil {
		return state.Status{}, err
	}
	e = e.at(ts.Place)
	ctx = e.in(ctx)
	c, err := e.connect(ctx)
	if err != nil {
		return state.Status{}, err
	}
	st, err := e.look(ctx, c, ts)
	var id local.Ident
	if err == nil && ts.Endpoint != nil {
		id, err = e.first(ctx, c, ts)
	}
	if err != nil {
		return state.Status{}, e.explain(err)
	}
	return ts.Probe(ctx, st, id, true), nil
}

// SetRoute replaces the file that the service reads.
func (e *Executor) SetRoute(_ context.Context, h state.Handle, r step.Route) error {
	ts, err := current(h)
	if err != nil {
		return err
	}
	return local.WriteRoute(ts.Dir, r)
}

// Observe reads the file that the service writes.
func (e *Executor) Observe(_ context.Context, h state.Handle) (*step.Observed, error) {
	ts, err := current(h)
	if err != nil {
		return nil, err
	}
	return local.ReadObserved(ts.Dir)
}

// logPath returns the path of the log.
func (ts taskState) logPath() string { return filepath.Join(ts.Dir, "log") }
