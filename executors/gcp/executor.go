package gcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Options configure the executor.
type Options struct {
	Settings
	cloud.Options
	// LogPause is how long to wait between two calls of Cloud Logging, which allows 60 in a minute for a
	// project. Zero is 3 s.
	LogPause time.Duration
	// Grace is how long a program may take to end after SIGTERM. Zero is 5 s: Cloud Run kills the
	// container after 10 s.
	Grace time.Duration
	// Drain is how long a revision that gets no more requests stays, until those that it has are answered.
	// Zero is 10 s.
	Drain time.Duration
}

// Executor runs jobs and services on Cloud Run. The assertions below list what it implements besides
// [executors.Executor].
type Executor struct {
	opts   Options
	images inside.Images
	sender inside.Sender
	stores cloud.Stores
	client *client
	cloud.Versions

	mu     sync.Mutex
	logged time.Time // when Cloud Logging was called last
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
	_ executors.HourPricer     = (*Executor)(nil)
	_ executors.DeployedPricer = (*Executor)(nil)
	_ executors.Placer         = (*Executor)(nil)
)

// New returns an executor. It connects on first use.
func New(o Options) *Executor {
	for _, d := range []struct {
		to    *time.Duration
		usual time.Duration
	}{{&o.Pause, 500 * time.Millisecond}, {&o.Longest, 10 * time.Second}, {&o.LogPause, 3 * time.Second}, {&o.Grace, 5 * time.Second}, {&o.Drain, 10 * time.Second}} {
		if *d.to == 0 {
			*d.to = d.usual
		}
	}
	e := &Executor{
		opts: o, images: inside.Images{Programs: o.Programs, Pod: o.Pod, Bare: true, Build: o.Build, Publish: o.Publish}, client: newClient(),
	}
	e.Service = e.versioned
	return e
}

// Close closes the connections. Jobs continue.
func (e *Executor) Close() error {
	e.client.plain.CloseIdleConnections()
	return e.stores.Close()
}

// OwnPorts returns true: nothing on Google Cloud listens on an address of this machine.
func (e *Executor) OwnPorts() bool { return true }

// Remote returns true: jobs run on other machines.
func (e *Executor) Remote() bool { return true }

// ReadyWithin returns how long a service may take to become ready: as long as Cloud Run waits for its
// program, or Vertex AI for its container, and some time to prepare it.
func (e *Executor) ReadyWithin(u *ir.Unit) time.Duration {
	if e.opts.place(u) == onHosted {
		return deployTime(u) + machineTime
	}
	return cmp.Or(u.Timeout, startTime+4*time.Minute)
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
	return st.Region + " of " + st.Project, e.opts.Region + " of " + e.opts.Project
}

// Missing returns nil: which layers are missing is known only when the image is made.
func (e *Executor) Missing(ir.Unit, string, []byte) *planner.Preparation { return nil }

// Prepare makes the image of the task's unit and pushes it to the repository.
func (e *Executor) Prepare(ctx context.Context, t executors.Task, report func(step.Progress)) error {
	_, err := e.images.Of(image.WithProgress(ctx, func(text string) { report(step.Progress{Message: text}) }), t, e.names().registry())
	return err
}

// Check returns one fault for each field that keeps a unit from running on Google Cloud.
func (e *Executor) Check(u ir.Unit) []ir.Fault {
	c := e.opts.Settings.check(u)
	const another = "choose a target with the executor process, containerd or kubernetes"
	if e.opts.place(&u) == onVertex && !open(&u) {
		c.Fault("network", "write network: true, or "+another, "a custom job of Vertex AI reaches the Internet")
	}
	for _, in := range u.Inputs {
		if in.Kind == ir.EndpointOf && u.Kind != ir.Record {
			c.Fault("in."+in.Port, another, "it calls the service %s, which only answers callers that Google knows", strings.Replace(in.Unit, "/", ".", 1))
		}
	}
	return c.Faults
}

// Apply creates the job or the revision of a task, or finds what was created for it before. It first pushes
// the image and uploads the inputs.
func (e *Executor) Apply(ctx context.Context, t executors.Task, _ *state.Handle) (state.Handle, error) {
	st, err := e.apply(ctx, t)
	if err != nil {
		return state.Handle{}, fmt.Errorf("start %s: %w", t.Unit.ID, err)
	}
	return st.handle()
}

func (e *Executor) apply(ctx context.Context, t executors.Task) (taskState, error) {
	st := e.taskState(t)
	for _, f := range e.Check(t.Unit) {
		if !f.Note {
			return st, fmt.Errorf("%s: %s", f.Field, f.Message)
		}
	}
	if t.Image == "" {
		return st, errors.New("the plan has no image for it: plan again")
	}
	if err := errors.Join(ctx.Err(), local.Present(t), local.Apart(t, false)); err != nil {
		return st, err
	}
	locked, err := local.Lock(ctx, t.Dir)
	if err != nil {
		return st, err
	}
	defer locked.Close()
	switch e.opts.place(&t.Unit) {
	case onService:
		return st, e.deploy(ctx, &st, t)
	case onHosted:
		return st, e.host(ctx, &st, t)
	case onVertex:
		return st, e.startCustom(ctx, &st, t)
	case onJob, onTenon, onCluster:
	}
	there, err := e.find(ctx, &st)
	if err == nil && !there {
		err = e.start(ctx, &st, t)
	}
	return st, err
}

// find completes the state of a task with that of its job, and reports whether there is one.
func (e *Executor) find(ctx context.Context, st *taskState) (bool, error) {
	var job runJob
	there, err := e.client.get(ctx, st.job(), &job)
	if err != nil || !there {
		return false, err
	}
	return true, st.take(job)
}

// Find returns the handle of a task in the region of the target, or nil. Without a target there
// is no region to search.
func (e *Executor) Find(ctx context.Context, name, dir string) (*state.Handle, error) {
	if e.opts.Region == "" {
		return nil, nil
	}
	st := taskState{Project: e.opts.Project, Region: e.opts.Region, Name: name, Run: e.runName(name), Dir: dir}
	there, err := e.find(ctx, &st)
	if err == nil && !there {
		if there, err = e.searchService(ctx, &st); there && st.URL == "" && err == nil {
			err = e.located(ctx, &st) // it was made a moment ago
		}
	}
	if err == nil && !there {
		st.Root = e.root()
		there, err = allowed(e.searchHosted(ctx, &st))
	}
	if err == nil && !there {
		there, err = allowed(func() (bool, error) {
			there, _, err := e.findCustom(ctx, &st)
			return there, err
		}())
	}
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	if !there {
		return nil, nil
	}
	h, err := st.handle()
	return &h, err
}

// allowed returns that nothing was found on Vertex AI by who may not search there: each start searches too, so that who may not has
// started nothing.
func allowed(there bool, err error) (bool, error) {
	if isStatus(err, http.StatusForbidden) {
		return false, nil
	}
	return there, err
}

// Inspect returns the status of the task.
func (e *Executor) Inspect(ctx context.Context, h state.Handle) (state.Status, error) {
	st, err := e.fromHandle(h)
	if err != nil {
		return state.Status{}, err
	}
	if was, ok := e.run(st).Ended(); ok {
		return was, nil
	}
	now, _, err := (&followed{e: e, st: st}).Look(ctx)
	if err != nil {
		return state.Status{}, fmt.Errorf("look at %s: %w", st.Unit, err)
	}
	return now, nil
}

// Wait returns once the job has ended, after it has fetched its log, its metrics and, if the job
// succeeded, its outputs. Meanwhile it copies the log and the progress. When ctx is done, it
// leaves the job running.
func (e *Executor) Wait(ctx context.Context, h state.Handle) (now state.Status, err error) {
	err = e.follow(ctx, h, "wait for ", func(r cloud.Run, j cloud.Job) (err error) {
		if was, ok := r.Ended(); ok {
			now = was
			return nil
		}
		now, err = r.Wait(ctx, j)
		if st := j.(*followed).st; err == nil && r.Serves && now.Phase == state.Ready { //nolint:forcetypeassert // of follow
			now.Message, err = "", e.takeOver(ctx, st)
		}
		return err
	})
	return now, err
}

// Logs copies the output of a job: from this machine once that is complete here, and otherwise
// from Cloud Logging. With follow it continues until the job has ended.
func (e *Executor) Logs(ctx context.Context, h state.Handle, w io.Writer, follow bool) error {
	return e.follow(ctx, h, "log of ", func(r cloud.Run, j cloud.Job) error { return r.Logs(ctx, j, w, follow) })
}

func (e *Executor) follow(ctx context.Context, h state.Handle, what string, do func(cloud.Run, cloud.Job) error) error {
	st, err := e.fromHandle(h)
	if err != nil {
		return err
	}
	err = do(e.run(st), &followed{e: e, st: st})
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s%s: %w", what, st.Unit, err)
	}
	return nil
}

// Destroy ends the task, and removes what Cloud Run has of it, and its notes in the bucket.
// Artifacts stay there.
func (e *Executor) Destroy(ctx context.Context, h state.Handle) error {
	st, err := e.fromHandle(h)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err := cloud.Locked(ctx, st.Dir, func() error { return e.destroy(ctx, st) }); err != nil { // no other tenon may be about to create it
		return fmt.Errorf("destroy %s: %w", st.Unit, err)
	}
	return nil
}

func (e *Executor) destroy(ctx context.Context, st taskState) error {
	run := e.run(st)
	if st.Service != "" || st.Custom != "" || st.Endpoint != "" {
		if _, ended := run.Ended(); !ended {
			run.SaveLog(ctx, &followed{e: e, st: st, soon: true})
		}
		end := e.withdraw
		switch {
		case st.Custom != "":
			end = e.destroyCustom
		case st.Endpoint != "":
			end = e.unhost
		}
		if err := end(ctx, st); err != nil {
			return err
		}
		return run.Forget(ctx)
	}
	now := st
	there, err := e.find(ctx, &now)
	if err == nil && there && now.Token == st.Token { // and not that of a later start
		err = e.end(ctx, st)
	}
	if err != nil {
		return err
	}
	return run.Forget(ctx)
}

// endPatience is how long a job may take to end that was asked to: Cloud Run kills its program after
// 10 s, and takes some time to notice.
const endPatience = 5 * time.Minute

// end ends the execution of a task, and returns once its job is removed.
func (e *Executor) end(ctx context.Context, st taskState) error {
	run := e.run(st)
	if _, ended := run.Ended(); !ended {
		run.SaveLog(ctx, &followed{e: e, st: st, soon: true})
	}
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	asked, removed := false, false
	for pause := e.opts.Pause; ; pause = min(2*pause, e.opts.Longest) {
		var job runJob
		var x runExecution
		there, err := e.client.get(ctx, st.job(), &job)
		if err != nil || !there {
			return err
		}
		runs, err := e.client.get(ctx, st.execution(), &x)
		if err != nil {
			return err
		}
		_, over := x.completed()
		switch {
		case runs && !over && !asked:
			asked, err = true, e.client.cancel(ctx, st.execution())
		case !removed && (runs && over || !runs && !job.Reconciling):
			removed, err = true, e.client.remove(ctx, st.job())
		}
		if err != nil {
			return err
		}
		if err := cloud.Sleep(ctx, pause); err != nil {
			return fmt.Errorf("the job %s was asked to end %s ago and is still there: see it in the console of Cloud Run", st.Run, endPatience)
		}
	}
}
