package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Name is the executor's name in handles and targets.
const Name = "process"

// Options configure the executor.
type Options struct {
	// Programs are those of Tenon that units run.
	Programs executors.Programs
	// Runner is the path of tenon-run.
	Runner string
	// Python makes Python environments. Without it no unit may need one.
	Python Environments
	// Env is tenon's environment, from which a few variables are passed on. Nil means
	// os.Environ.
	Env []string
	// Grace is how long a program may take to end after SIGTERM. Zero is 10 s.
	Grace time.Duration
}

// Executor runs units as local processes. The list below shows what it implements besides
// [executors.Executor].
type Executor struct {
	opts Options

	mu       sync.Mutex
	children map[string]*child // by run folder: started by this process
}

var (
	_ executors.Executor = (*Executor)(nil)
	_ executors.Waiter   = (*Executor)(nil)
	_ executors.Preparer = (*Executor)(nil)
	_ executors.Checker  = (*Executor)(nil)
	_ executors.Logger   = (*Executor)(nil)
	_ executors.Lister   = (*Executor)(nil)
	_ executors.Host     = (*Executor)(nil)

	_ executors.VersionRunner = (*Executor)(nil)
)

// New returns an executor.
func New(o Options) *Executor {
	if o.Env == nil {
		o.Env = os.Environ()
	}
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	return &Executor{opts: o, children: map[string]*child{}}
}

// Apply starts the task, or finds what was started under its name before: a job that runs
// or has ended, or a service that runs. A service that died is started again. The prior
// service keeps running; both listen on the same port until it is destroyed. Apply
// refuses a port on which any other program answers.
func (e *Executor) Apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	h, err := e.apply(ctx, t, prior)
	if err != nil {
		return state.Handle{}, fmt.Errorf("start %s: %w", t.Unit.ID, err)
	}
	return h, nil
}

func (e *Executor) apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	if faults := e.Check(t.Unit); len(faults) > 0 {
		return state.Handle{}, fmt.Errorf("%s: %s", faults[0].Field, faults[0].Message)
	}
	locked, err := local.Lock(ctx, t.Dir)
	if err != nil {
		return state.Handle{}, err
	}
	defer locked.Close()

	switch ts, err := taskStates.Read(t.Dir); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return state.Handle{}, err
	case ts.Name == t.Name && ts.resumable():
		return taskStates.Handle(ts)
	case ts.running():
		return state.Handle{}, fmt.Errorf("%s is in use by %s, which still runs", t.Dir, ts.Name)
	default:
		// Children of an ended process may still hold its files or its port.
		if err := ts.kill(ctx, e.opts.Grace); err != nil {
			return state.Handle{}, err
		}
	}
	if err := local.Present(t); err != nil {
		return state.Handle{}, err
	}
	address, err := local.Reserve(ctx, t, former(prior))
	if err != nil {
		return state.Handle{}, err
	}
	defer address.Close()
	if err := taskStates.Forget(t.Dir); err != nil {
		return state.Handle{}, err
	}
	return e.start(ctx, t, locked, address)
}

// former returns the claim of the service that a new one takes over from, or nil.
func former(prior *state.Handle) *local.Claim {
	if prior == nil {
		return nil
	}
	ts, err := taskStates.Current(*prior)
	if err != nil {
		return nil // it is not of this executor
	}
	c := local.NewClaim(ts.TaskState, ts.Ident, false)
	return &c
}

// Taken names who has the address of a service, see [executors.Host].
func (e *Executor) Taken(ctx context.Context, t executors.Task, prior *state.Handle) (string, error) {
	return local.Taken(ctx, t, former(prior))
}

// resumable reports whether there is something to return to: a job, even one that has ended,
// or a service that runs.
func (ts taskState) resumable() bool {
	switch ts.look().Phase {
	case state.Running:
		return true
	case state.Absent:
		return false
	}
	return ts.Kind != ir.Service
}

// Find returns the handle of what was started in the folder under that name and not
// destroyed. A process that was not recorded never started its program.
func (e *Executor) Find(_ context.Context, name, dir string) (*state.Handle, error) {
	ts, err := taskStates.Read(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && ts.Name != name {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	h, err := taskStates.Handle(ts)
	return &h, err
}

// Inspect returns the status of the task. A service is ready when its readiness path
// answers 200 with its own instance.
func (e *Executor) Inspect(ctx context.Context, h state.Handle) (state.Status, error) {
	ts, err := taskStates.Current(h)
	if err != nil {
		return state.Status{}, err
	}
	return ts.Probe(ctx, e.look(ts), ts.Ident, false), nil
}

// SetRoute replaces the file that the service reads.
func (e *Executor) SetRoute(_ context.Context, h state.Handle, r step.Route) error {
	ts, err := taskStates.Current(h)
	if err != nil {
		return err
	}
	return local.WriteRoute(ts.Dir, r)
}

// Observe reads the file that the service writes.
func (e *Executor) Observe(_ context.Context, h state.Handle) (*step.Observed, error) {
	ts, err := taskStates.Current(h)
	if err != nil {
		return nil, err
	}
	return local.ReadObserved(ts.Dir)
}

// look is taskState.look plus what only the parent of a process knows.
func (e *Executor) look(ts taskState) state.Status {
	st := ts.look()
	if c := e.child(ts); c != nil && st.Phase != state.Running {
		select {
		case <-c.gone:
			st.Usage = c.usage
		default:
		}
	}
	return st
}

// disclaim forgets what this executor knows about a process.
func (e *Executor) disclaim(ts taskState) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.children, ts.Dir)
}

// child returns what this executor knows about a process it started itself.
func (e *Executor) child(ts taskState) *child {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.children[ts.Dir]; c != nil && c.id == ts.Ident {
		return c
	}
	return nil
}
