package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Options configure the executor.
type Options struct {
	Settings
	cloud.Options
	// LogPause is how long to wait between two queries of Log Analytics for a job. Zero is 10 s: lines arrive there after
	// minutes.
	LogPause time.Duration
	// Grace is how long a program may take to end after SIGTERM. Zero is 20 s: Container Apps kill the container after
	// 30 s.
	Grace time.Duration
	// Settle is how long Container Apps may take to list an execution that was started. Zero is 20 s.
	Settle time.Duration
	// Stuck is how long a job of Azure Machine Learning may wait for a cluster that cannot get a node. Zero is 2 min.
	Stuck time.Duration
	// Drain is how long a revision that gets no more requests stays, until those that it has are answered. Zero is 10 s.
	Drain time.Duration
}

// Executor runs jobs and services on Container Apps, and those that need more on Azure Machine Learning. The assertions below list what it implements besides
// [executors.Executor].
type Executor struct {
	opts     Options
	images   inside.Images // of Container Apps and jobs
	entering inside.Images // of endpoints of Azure Machine Learning, which start tenon-pod by themselves
	sender   inside.Sender
	stores   cloud.Stores
	client   *client
	cloud.Versions

	mu         sync.Mutex
	registered bool                 // the registry exists
	workspaces map[string]string    // customer ids of those with logs, by resource id
	begun      map[string]time.Time // when this process started something, by name of the start
}

var (
	_ executors.Executor       = (*Executor)(nil)
	_ executors.Waiter         = (*Executor)(nil)
	_ executors.Preparer       = (*Executor)(nil)
	_ executors.Checker        = (*Executor)(nil)
	_ executors.Logger         = (*Executor)(nil)
	_ executors.PortIsolation  = (*Executor)(nil)
	_ executors.Scheduler      = (*Executor)(nil)
	_ executors.Remote         = (*Executor)(nil)
	_ executors.ImageRunner    = (*Executor)(nil)
	_ executors.VersionRunner  = (*Executor)(nil)
	_ executors.RequestPricer  = (*Executor)(nil)
	_ executors.Rooted         = (*Executor)(nil)
	_ executors.Placer         = (*Executor)(nil)
	_ executors.HourPricer     = (*Executor)(nil)
	_ executors.DeployedPricer = (*Executor)(nil)
)

// New returns an executor. It connects on first use.
func New(o Options) *Executor {
	o.Pause, o.Longest = cmp.Or(o.Pause, time.Second), cmp.Or(o.Longest, 10*time.Second)
	o.LogPause, o.Grace, o.Settle = cmp.Or(o.LogPause, 10*time.Second), cmp.Or(o.Grace, 20*time.Second), cmp.Or(o.Settle, 20*time.Second)
	o.Drain, o.Stuck = cmp.Or(o.Drain, 10*time.Second), cmp.Or(o.Stuck, 2*time.Minute)
	e := &Executor{
		opts: o, client: newClient(), begun: map[string]time.Time{}, workspaces: map[string]string{},
		images:   inside.Images{Programs: o.Programs, Pod: o.Pod, Bare: true, Build: o.Build, Publish: o.Publish},
		entering: inside.Images{Programs: o.Programs, Pod: o.Pod, Bare: true, Entry: []string{pod.Program, pod.HostedCommand}, Build: o.Build, Publish: o.Publish},
	}
	e.Service = e.versioned
	return e
}

// Close closes the connections. Jobs continue.
func (e *Executor) Close() error {
	e.client.plain.CloseIdleConnections()
	return e.stores.Close()
}

// OwnPorts returns true: nothing on Azure listens on an address of this machine.
func (e *Executor) OwnPorts() bool { return true }

// Remote returns true: jobs run on other machines.
func (e *Executor) Remote() bool { return true }

// ReadyWithin returns how long a service may take to become ready: as long as Container Apps wait for its program, and
// some time to prepare it.
func (e *Executor) ReadyWithin(u *ir.Unit) time.Duration {
	if e.opts.place(u) == onEndpoint {
		return deployTime(u) + machineTime
	}
	return cmp.Or(u.Timeout, startTime*time.Second+6*time.Minute)
}

// RegistryHosts returns the folder with the configuration of registries.
func (e *Executor) RegistryHosts() string { return e.opts.Hosts }

// Prepares returns the name of the image that a unit needs.
func (e *Executor) Prepares(u ir.Unit, on string) string { return image.Name(u, on, false) }

// Root implements [executors.Rooted].
func (e *Executor) Root(h state.Handle) (there, here string) {
	st, err := e.fromHandle(h)
	if err != nil {
		return "", ""
	}
	of := func(group, subscription string) string { return "the resource group " + group + " of " + subscription }
	return of(st.Group, st.Subscription), of(e.opts.Group, e.opts.Subscription)
}

// Missing returns nil: which layers are missing is known only when the image is made.
func (e *Executor) Missing(ir.Unit, string, []byte) *planner.Preparation { return nil }

// Prepare makes the image of the task's unit and pushes it to the registry.
func (e *Executor) Prepare(ctx context.Context, t executors.Task, report func(step.Progress)) error {
	_, err := e.image(image.WithProgress(ctx, func(text string) { report(step.Progress{Message: text}) }), t)
	return err
}

// image returns the name of the image of a task in the registry, and makes and pushes it if it is missing.
func (e *Executor) image(ctx context.Context, t executors.Task) (string, error) {
	w := e.names()
	e.mu.Lock()
	known := e.registered
	e.mu.Unlock()
	if !known {
		if _, err := e.client.property(ctx, w.id("Microsoft.ContainerRegistry/registries", w.registry()), registryVersion); err != nil {
			return "", err
		}
		e.mu.Lock()
		e.registered = true
		e.mu.Unlock()
	}
	if e.opts.place(&t.Unit) == onEndpoint {
		return e.entering.Of(ctx, t, w.repository())
	}
	return e.images.Of(ctx, t, w.repository())
}

// another is what to do about a unit that does not run on Azure.
const another = "choose a target with the executor process, containerd or kubernetes"

// Check returns one fault for each field that keeps a unit from running on Azure.
func (e *Executor) Check(u ir.Unit) []ir.Fault {
	c := e.opts.Settings.check(u)
	for _, in := range u.Inputs {
		if in.Kind == ir.EndpointOf && u.Kind != ir.Record {
			c.Fault("in."+in.Port, another, "it calls the service %s, and units on Azure do not call services", strings.Replace(in.Unit, "/", ".", 1))
		}
	}
	return c.Faults
}

// Apply starts the job of a task or makes its revision, or finds what was started for it before. It first pushes
// the image and uploads the inputs.
func (e *Executor) Apply(ctx context.Context, t executors.Task, _ *state.Handle) (state.Handle, error) {
	st := e.taskState(t)
	if err := e.apply(ctx, &st, t); err != nil {
		return state.Handle{}, fmt.Errorf("start %s: %w", t.Unit.ID, err)
	}
	return st.handle()
}

func (e *Executor) apply(ctx context.Context, st *taskState, t executors.Task) error {
	for _, f := range e.Check(t.Unit) {
		if !f.Note {
			return fmt.Errorf("%s: %s", f.Field, f.Message)
		}
	}
	if t.Image == "" {
		return errors.New("the plan has no image for it: plan again")
	}
	if err := errors.Join(ctx.Err(), local.Present(t), local.Apart(t, false)); err != nil {
		return err
	}
	return cloud.Locked(ctx, t.Dir, func() error {
		switch e.opts.place(&t.Unit) {
		case onService:
			return e.deploy(ctx, st, t)
		case onML:
			return e.startML(ctx, st, t)
		case onEndpoint:
			return e.host(ctx, st, t)
		case onTenon, onJob:
		}
		there, err := e.find(ctx, st)
		if err == nil && !there {
			err = e.create(ctx, st, t)
		}
		if err == nil {
			err = e.begin(ctx, st, there)
		}
		return err
	})
}

// find completes the state of a task with that of its job, and reports whether there is one.
func (e *Executor) find(ctx context.Context, st *taskState) (bool, error) {
	var job appJob
	there, err := e.client.job(ctx, *st, &job)
	if err == nil && there {
		err = st.take(job)
	}
	return there, err
}

// Find returns the handle of a task in the resource group of the target, or nil. Without a target there
// is none to search.
func (e *Executor) Find(ctx context.Context, name, dir string) (*state.Handle, error) {
	if e.opts.Group == "" {
		return nil, nil
	}
	st := e.named(name)
	st.Dir = dir
	there, err := e.find(ctx, &st)
	if err == nil && !there {
		there, err = e.searchService(ctx, &st)
	}
	if err == nil && !there {
		there, err = e.searchML(ctx, &st)
	}
	if err == nil && !there {
		there, err = e.searchHosted(ctx, &st)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("find %s: %w", name, err)
	case !there:
		return nil, nil
	}
	h, err := st.handle()
	return &h, err
}

// Inspect returns the status of the task.
func (e *Executor) Inspect(ctx context.Context, h state.Handle) (now state.Status, err error) {
	err = e.follow(ctx, h, "look at", func(_ cloud.Run, j *followed) (err error) {
		now, _, err = j.Look(ctx)
		return err
	}, &now)
	return now, err
}

// Wait returns once a service is ready and gets all requests, or once a job has ended, after it has fetched its log, its metrics and, if the job
// succeeded, its outputs. Meanwhile it copies the log and the progress. When ctx is done, it
// leaves the job running.
func (e *Executor) Wait(ctx context.Context, h state.Handle) (now state.Status, err error) {
	err = e.follow(ctx, h, "wait for", func(r cloud.Run, j *followed) (err error) {
		now, err = r.Wait(ctx, j)
		if err == nil && r.Serves && now.Phase == state.Ready {
			now.Message, err = "", e.takeOver(ctx, j.st)
		}
		return err
	}, &now)
	return now, err
}

// Logs copies the output of a job: from this machine once that is complete here, and otherwise
// from Log Analytics. With follow it continues until the job has ended.
func (e *Executor) Logs(ctx context.Context, h state.Handle, w io.Writer, follow bool) error {
	return e.follow(ctx, h, "log of", func(r cloud.Run, j *followed) error { return r.Logs(ctx, j, w, follow) }, nil)
}

// follow does something with a task, unless its end is known and wanted only.
func (e *Executor) follow(ctx context.Context, h state.Handle, what string, do func(cloud.Run, *followed) error, end *state.Status) error {
	st, err := e.fromHandle(h)
	if err != nil {
		return err
	}
	run := e.run(st)
	if was, ok := run.Ended(); ok && end != nil {
		*end = was
		return nil
	}
	if err = do(run, &followed{e: e, st: st}); err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("%s %s: %w", what, st.Unit, err)
}

// Destroy ends the task, and removes what Container Apps have of it, and its notes in the container of blobs.
// Artifacts stay there.
func (e *Executor) Destroy(ctx context.Context, h state.Handle) error {
	st, err := e.fromHandle(h)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	err = cloud.Locked(ctx, st.Dir, func() error {
		if run := e.run(st); run.Serves {
			run.SaveLog(ctx, &followed{e: e, st: st, soon: true})
			end := e.withdraw
			if st.Endpoint != "" {
				end = e.unhost
			}
			return errors.Join(end(ctx, st), run.Forget(ctx))
		}
		if err := e.endTask(ctx, st); err != nil {
			return err
		}
		return e.run(st).Forget(ctx)
	})
	if err != nil {
		return fmt.Errorf("destroy %s: %w", st.Unit, err)
	}
	return nil
}

// endTask ends a job, unless it is that of a later start of its task.
func (e *Executor) endTask(ctx context.Context, st taskState) error {
	if st.Workspace != "" {
		return e.destroyML(ctx, st)
	}
	now := st
	there, err := e.find(ctx, &now)
	if err == nil && there && now.Token == st.Token {
		err = e.end(ctx, st)
	}
	return err
}
