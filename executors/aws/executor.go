package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
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
	clouds.Options
	// Tenon is the path of tenon, which runs in passes of a controller, and Images are the images already published, by
	// [inside.Key]: if there are any, no others are made.
	Tenon  string
	Images map[string]string
	// Grace is how long a program may take to end after SIGTERM. Zero is 25 s: AWS kills the
	// container after 30 s.
	Grace time.Duration
	// Settle is how long AWS Batch may take to list a job that was submitted. Zero is 5 s.
	Settle time.Duration
}

// Executor runs tasks in AWS, each on the [backend] of its place. The assertions below list what it implements besides
// [executors.Executor].
type Executor struct {
	opts   Options
	images inside.Images // of jobs
	hosted inside.Images // of endpoints, which start tenon-pod by themselves
	sender inside.Sender
	stores clouds.Stores

	mu     sync.Mutex
	clouds map[string]*cloud // by region
	config func(*aws.Config) // by tests; nil changes nothing

	observing sync.Mutex
	tallies   map[string]*tally // by record
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
	_ executors.RequestPricer  = (*Executor)(nil)
	_ executors.Admitter       = (*Executor)(nil)
	_ executors.Locator        = (*Executor)(nil)
	_ executors.Placer         = (*Executor)(nil)
	_ executors.HourPricer     = (*Executor)(nil)
	_ executors.DeployedPricer = (*Executor)(nil)
	_ executors.Rooted         = (*Executor)(nil)
)

// New returns an executor. It connects on first use.
func New(o Options) *Executor {
	if o.Pause == 0 {
		o.Pause = 500 * time.Millisecond
	}
	if o.Longest == 0 {
		o.Longest = 10 * time.Second
	}
	if o.Grace == 0 {
		o.Grace = 25 * time.Second
	}
	if o.Settle == 0 {
		o.Settle = 5 * time.Second
	}
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	return &Executor{
		opts: o, images: inside.Images{Programs: o.Programs, Pod: o.Pod, Bare: true, Build: o.Build, Publish: o.Publish},
		hosted: inside.Images{Programs: o.Programs, Pod: o.Pod, Entry: []string{pod.Program}, Build: o.Build, Publish: o.Publish},
		clouds: map[string]*cloud{}, tallies: map[string]*tally{},
	}
}

// Close closes the connections. Jobs continue.
func (e *Executor) Close() error {
	return e.stores.Close()
}

// OwnPorts returns true: nothing in AWS listens on an address of this machine.
func (e *Executor) OwnPorts() bool { return true }

// Remote returns true: jobs run on other machines.
func (e *Executor) Remote() bool { return true }

// ReadyWithin returns how long a service may take to become ready. AWS prepares the instances of an endpoint before
// their containers start, which is not a part of its timeout.
func (e *Executor) ReadyWithin(u *ir.Unit) time.Duration {
	switch e.opts.place(u) {
	case onSageMaker:
		return instanceTime + startup(u)
	case onFargate:
		return fargateTime + startup(u)
	}
	return cmp.Or(u.Timeout, functionTime)
}

const (
	instanceTime = 20 * time.Minute // of the instances of an endpoint
	functionTime = 5 * time.Minute  // of a function without a timeout
)

// RegistryHosts returns the folder with the configuration of registries.
func (e *Executor) RegistryHosts() string { return e.opts.Hosts }

// Prepares returns the name of the image that a unit needs, or "": a function has an archive.
func (e *Executor) Prepares(u ir.Unit, on string) string {
	if e.opts.place(&u) == onLambda || e.opts.Images[inside.Key(u, on)] != "" {
		return ""
	}
	return image.Name(u, on, false)
}

// image returns the name of the image of a task in the repository, and makes and pushes it if it is missing.
func (e *Executor) image(ctx context.Context, c *cloud, t executors.Task) (string, error) {
	if name, err := inside.Sent(e.opts.Images, t); err != nil || name != "" {
		return name, err
	}
	return e.imagesOf(e.opts.place(&t.Unit)).Of(ctx, t, e.repository(c))
}

// imagesOf returns what makes the images of a place.
func (e *Executor) imagesOf(p place) *inside.Images {
	if p == onSageMaker {
		return &e.hosted
	}
	return &e.images
}

// Root implements [executors.Rooted].
func (e *Executor) Root(h state.Handle) (there, here string) {
	st, err := e.fromHandle(h)
	if err != nil {
		return "", ""
	}
	return st.Region, e.opts.Region
}

// Placed implements [executors.Placer]. A handle that cannot be read, or does not say what its instances are,
// changes nothing.
func (e *Executor) Placed(u *ir.Unit, h state.Handle) (before, after string) {
	st, err := e.fromHandle(h)
	to := e.opts.place(u)
	if err != nil || !to.serves() || !st.Place.serves() {
		return "", ""
	}
	name := func(p place, instance, host, network string, secure bool) string {
		switch p {
		case onSageMaker:
			return "SageMaker, " + instance
		case onFargate:
			if secure {
				host += " over HTTPS"
			}
			if host = cmp.Or(host, "without a host"); network != "" {
				host += ", in " + network
			}
			return "AWS Fargate, " + host
		}
		return "AWS Lambda"
	}
	if st.Place == to && to != onFargate && st.Instance == "" {
		return "", ""
	}
	at := e.opts.endpoint(u)
	return name(st.Place, st.Instance, st.Host, st.Network, strings.HasPrefix(st.URL, "https:")), name(to, at.Instance, at.Host, e.opts.networkOf(u), e.opts.Balancer.secure())
}

// Missing returns nil: which layers are missing is known only when the image is made.
func (e *Executor) Missing(ir.Unit, string, []byte) *planner.Preparation { return nil }

// Prepare makes the image of the task's unit and pushes it to the repository.
func (e *Executor) Prepare(ctx context.Context, t executors.Task, report func(step.Progress)) error {
	c, err := e.cloud(ctx, e.opts.Region)
	if err != nil {
		return err
	}
	_, err = e.image(image.WithProgress(ctx, func(text string) { report(step.Progress{Message: text}) }), c, t)
	return err
}

// Apply starts a task, or finds what was started for it before. It first pushes the image and
// uploads the inputs.
func (e *Executor) Apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	h, err := e.apply(ctx, t, prior)
	if err != nil {
		return state.Handle{}, fmt.Errorf("start %s: %w", t.Unit.ID, err)
	}
	return h, nil
}

func (e *Executor) apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	for _, f := range e.Check(t.Unit) {
		if !f.Note {
			return state.Handle{}, fmt.Errorf("%s: %s", f.Field, f.Message)
		}
	}
	if t.Image == "" && e.opts.place(&t.Unit) != onLambda {
		return state.Handle{}, errors.New("the plan has no image for it: plan again")
	}
	if err := errors.Join(ctx.Err(), local.Present(t)); err != nil {
		return state.Handle{}, err
	}
	c, err := e.cloud(ctx, e.opts.Region)
	if err != nil {
		return state.Handle{}, err
	}
	locked, err := local.Lock(ctx, t.Dir)
	if err != nil {
		return state.Handle{}, err
	}
	defer locked.Close()
	var before *taskState
	if prior != nil {
		was, err := e.fromHandle(*prior)
		if err != nil {
			return state.Handle{}, err
		}
		before = &was
	}
	st := e.taskState(c, t)
	if err := e.backend(st.Place).apply(ctx, c, &st, t, before); err != nil {
		return state.Handle{}, err
	}
	return st.handle()
}

// Find returns the handle of a task in the region of the target, or nil. Without a target there
// is no region to search.
func (e *Executor) Find(ctx context.Context, name, dir string) (*state.Handle, error) {
	if e.opts.Region == "" {
		return nil, nil
	}
	c, err := e.cloud(ctx, e.opts.Region)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	for _, p := range backends {
		st := taskState{Region: c.region, Account: c.account, Place: p, Name: name, Dir: dir}
		there, err := e.backend(p).find(ctx, c, &st)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", name, err)
		}
		if there {
			h, err := st.handle()
			return &h, err
		}
	}
	return nil, nil
}

// Located returns the handle of a service that is ready, with its URL.
func (e *Executor) Located(ctx context.Context, h state.Handle) (state.Handle, error) {
	st, c, err := e.open(ctx, h)
	if err != nil || st.Place != onLambda {
		return h, err
	}
	if err := (functions{e}).address(ctx, c, &st); err != nil {
		return h, fmt.Errorf("%s: %w", st.Unit, err)
	}
	return st.handle()
}

// Inspect returns the status of the task.
func (e *Executor) Inspect(ctx context.Context, h state.Handle) (state.Status, error) {
	st, c, err := e.open(ctx, h)
	if err != nil {
		return state.Status{}, err
	}
	if was, ok := e.run(c, st).Ended(); ok {
		return was, nil
	}
	now, _, err := e.backend(st.Place).look(ctx, c, &st)
	if err != nil {
		return state.Status{}, fmt.Errorf("look at %s: %w", st.Unit, err)
	}
	return now, nil
}

// open decodes a handle and connects to its region.
func (e *Executor) open(ctx context.Context, h state.Handle) (taskState, *cloud, error) {
	st, err := e.fromHandle(h)
	if err != nil {
		return st, nil, err
	}
	c, err := e.cloud(ctx, st.Region)
	if err == nil && c.account != st.Account {
		err = fmt.Errorf("it is in the account %s, and the credentials are of %s: choose a profile of that account with AWS_PROFILE", st.Account, c.account)
	}
	if err != nil {
		return st, nil, fmt.Errorf("%s: %w", st.Unit, err)
	}
	return st, c, nil
}

// Destroy ends the task, and removes what records it in AWS, and its notes in the bucket.
// Artifacts stay there.
func (e *Executor) Destroy(ctx context.Context, h state.Handle) error {
	st, c, err := e.open(ctx, h)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err := clouds.Locked(ctx, st.Dir, func() error { return e.destroy(ctx, c, st) }); err != nil { // no other tenon may be about to submit it
		return fmt.Errorf("destroy %s: %w", st.Unit, err)
	}
	return nil
}

func (e *Executor) destroy(ctx context.Context, c *cloud, st taskState) error {
	b, run := e.backend(st.Place), e.run(c, st)
	if _, ended := run.Ended(); !ended {
		run.SaveLog(ctx, &followed{e: e, c: c, st: st})
		if err := b.end(ctx, c, &st); err != nil {
			return err
		}
	}
	if err := b.forget(ctx, c, st); err != nil {
		return err
	}
	return run.Forget(ctx)
}

// endPatience is how long a job may take to end that was asked to: AWS kills its program after
// 30 s, and takes some time to notice.
const endPatience = 5 * time.Minute
