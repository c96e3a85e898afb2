package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/containerd"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/process"
	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/executors/ssh/host"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// Name is the executor's name in handles and targets.
const Name = "ssh"

// Options configure the executor.
type Options struct {
	Settings
	// Programs are those of Tenon that units run.
	Programs executors.Programs
	// Python makes Python environments here, which are sent to hosts. Without it no unit may need
	// one.
	Python Environments
	// Build makes or finds the image of a recipe. Without it no unit may have an image.
	Build func(context.Context, image.Recipe) (v1.Image, error)
	// Runner is the path of tenon-run, and Host that of tenon-host. Both run on hosts.
	Runner, Host string
	// Runs is the folder that holds the folders of all runs, named after their tasks. If it is
	// empty, the folder of a run is the one that the handle names.
	Runs string
	// Shared says that other machines use the same state, and may have started tasks of it.
	Shared bool
	// Env is tenon's environment, for $HOME and $SSH_AUTH_SOCK. Nil means os.Environ.
	Env []string
	// Grace is how long a program may take to end after SIGTERM. Zero is 10 s.
	Grace time.Duration
	// Patience is how long to wait for a host that does not answer before it is lost. Zero is
	// 1 min.
	Patience time.Duration
	// Quick is how long a caller waits for a host that can do without its answer. Zero is 5 s.
	Quick time.Duration
	// Warn reports an error despite which the executor continues. Nil reports none.
	Warn func(error)
	// Idle is after how long a connection that nobody uses is closed. Zero is 1 min.
	Idle time.Duration
}

// Executor runs jobs and services on hosts. The assertions below list what it implements besides
// [executors.Executor].
type Executor struct {
	opts     Options
	local    *process.Executor    // knows what processes cannot do, on any machine
	boxes    *containerd.Executor // and this one what containers cannot do; it connects to nothing
	programs programs

	portables struct {
		sync.Mutex
		made map[string]*pyenv.Portable // by the digests of their locks
	}

	life context.Context // until it is closed
	end  func()

	mu    sync.Mutex
	lines map[string]*line // by [Host.reached]
}

var (
	_ executors.Executor      = (*Executor)(nil)
	_ executors.Waiter        = (*Executor)(nil)
	_ executors.Logger        = (*Executor)(nil)
	_ executors.PortIsolation = (*Executor)(nil)
	_ executors.Scheduler     = (*Executor)(nil)

	_ executors.SharedReplicas = (*Executor)(nil)
	_ executors.Remote         = (*Executor)(nil)
	_ executors.Preparer       = (*Executor)(nil)
	_ executors.Interpreter    = (*Executor)(nil)
	_ executors.VersionRunner  = (*Executor)(nil)
	_ executors.Keeper         = (*Executor)(nil)
	_ executors.Collector      = (*Executor)(nil)
)

// New returns an executor. It connects on first use.
func New(o Options) *Executor {
	if o.Env == nil {
		o.Env = os.Environ()
	}
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	if o.Patience == 0 {
		o.Patience = time.Minute
	}
	if o.Quick == 0 {
		o.Quick = 5 * time.Second
	}
	if o.Idle == 0 {
		o.Idle = time.Minute
	}
	o.Hosts = slices.Clone(o.Hosts)
	for i := range o.Hosts {
		o.Hosts[i].KnownHosts = o.KnownHosts
	}
	life, end := context.WithCancel(context.Background())
	return &Executor{opts: o, life: life, end: end, local: process.New(process.Options{Env: o.Env, Python: o.Python}), boxes: containerd.New(containerd.Options{Env: o.Env}), lines: map[string]*line{}}
}

// Close closes the connections. Jobs and services continue.
func (e *Executor) Close() error {
	e.end()
	e.mu.Lock()
	defer e.mu.Unlock()
	var err error
	for h, l := range e.lines {
		err = errors.Join(err, l.drop(nil))
		delete(e.lines, h)
	}
	return err
}

// OwnPorts returns true: nothing on a host listens on an address of this machine.
func (e *Executor) OwnPorts() bool { return true }

// Remote returns true: tasks run on other machines.
func (e *Executor) Remote() bool { return true }

// ReadyWithin returns 0: a service may take as long as on this machine, once a host has room.
func (e *Executor) ReadyWithin(*ir.Unit) time.Duration { return 0 }

// Apply starts the task on the cheapest host with enough free cores and memory, or finds what was
// started under its name before. It waits while no host has enough. A service takes over from its
// former version on the same host, if that has room.
func (e *Executor) Apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	h, err := e.apply(ctx, t, prior)
	if err != nil {
		return state.Handle{}, fmt.Errorf("start %s: %w", t.Unit.ID, err)
	}
	return h, nil
}

func (e *Executor) apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	if faults := slices.DeleteFunc(e.Check(t.Unit), func(f ir.Fault) bool { return f.Note }); len(faults) > 0 {
		return state.Handle{}, fmt.Errorf("%s: %s", faults[0].Field, faults[0].Message)
	}
	if err := ctx.Err(); err != nil {
		return state.Handle{}, err
	}
	noted, err := e.noted(t.Dir)
	if err != nil {
		return state.Handle{}, err
	}
	st := e.newTaskState(t)
	had := noted != nil && noted.Name == t.Name && noted.asked()
	if had {
		st = *noted
	} else if err := st.note(); err != nil {
		return state.Handle{}, err
	}
	p, err := e.prepare(ctx, t, st.Run)
	if err != nil {
		return state.Handle{}, err
	}
	former := e.formerOf(prior)
	if had {
		var handle state.Handle
		err := e.line(st.Host).awake(ctx)
		if err == nil {
			handle, err = e.startOn(ctx, st, p, former, e.opts.Patience)
		}
		var gone *lostError
		var full *fullError
		switch {
		case errors.As(err, &full): // it was not started there
		case t.Unit.Kind != ir.Service || !errors.As(err, &gone):
			return handle, err
		default:
			if err := e.leave(st); err != nil { // somebody waits for its answers
				return state.Handle{}, err
			}
		}
	}
	return e.place(ctx, st, p, former)
}

// place looks for a host with room until there is one. While no host that runs has room, it starts one.
func (e *Executor) place(ctx context.Context, st taskState, p *prepared, former *taskState) (state.Handle, error) {
	const first, last = 50 * time.Millisecond, 2 * time.Second
	began := time.Now()
	hosts := resumable(e.candidates(p.start.Task.Unit, former), p.start.Task)
	tired := map[string]error{} // why a host could not be started
	for pause := first; ; pause = min(2*pause, last) {
		var lost, never []error
		var asleep []*lostError // those that can be started
		for _, h := range hosts {
			st.Host = h
			st.Host.Start = nil // it is that of the target
			handle, err := e.tryOn(ctx, st, p, former)
			var full *fullError
			var small *smallError
			var gone *lostError
			switch {
			case err == nil:
				return handle, nil
			case errors.As(err, &full):
			case errors.As(err, &small):
				never = append(never, err)
			case errors.As(err, &gone):
				if len(h.Start) > 0 {
					asleep = append(asleep, gone)
				} else {
					lost = append(lost, err)
				}
			default:
				return state.Handle{}, err
			}
		}
		if e.wakeOne(ctx, asleep, p.start.Claim, p.start.Task.Unit.Needs, tired) {
			pause = first
			continue
		}
		for _, gone := range asleep {
			lost = append(lost, cmp.Or[error](tired[gone.host.id()], gone))
		}
		switch {
		case len(never) == len(hosts):
			return state.Handle{}, fmt.Errorf("no host can run it: %w", errors.Join(never...))
		case len(lost)+len(never) == len(hosts) && time.Since(began) > e.opts.Patience:
			return state.Handle{}, errors.Join(append(lost, never...)...)
		}
		select {
		case <-ctx.Done():
			return state.Handle{}, errors.Join(append([]error{ctx.Err()}, lost...)...)
		case <-time.After(pause):
		}
	}
}

// leave abandons a task on the host that is noted for it, and notes that no host has it.
func (e *Executor) leave(st taskState) error {
	if err := e.line(st.Host).abandon(st); err != nil {
		return err
	}
	st.Host = Host{}
	return st.note()
}

// tryOn starts a task on a host, if that can be reached now and has room. The folder of the run
// says so before the host is asked, and no longer once it is certain that nothing was started. A
// host that is lost after it was asked may have started the task, which is abandoned there.
func (e *Executor) tryOn(ctx context.Context, st taskState, p *prepared, former *taskState) (state.Handle, error) {
	n, patience := e.line(st.Host), e.opts.Patience
	reach := n.reach
	if len(n.host.Start) > 0 { // it may be stopped, or about to be, and does not come back by itself
		patience = e.opts.Quick
		reach = func(ctx context.Context) error { return n.quickly(ctx, func(*link) error { return nil }) }
	}
	if err := reach(ctx); err != nil {
		return state.Handle{}, err
	}
	if err := st.note(); err != nil {
		return state.Handle{}, err
	}
	handle, err := e.startOn(ctx, st, p, former, patience)
	var full *fullError
	var small *smallError
	var gone *lostError
	switch {
	case errors.As(err, &gone):
		if failed := e.leave(st); failed != nil {
			return handle, failed
		}
	case errors.As(err, &full), errors.As(err, &small):
		st.Host = Host{}
		if failed := st.note(); failed != nil {
			return handle, failed
		}
	}
	return handle, err
}

// A fullError says that a host has no room now, and a smallError that it never has.
type (
	fullError  struct{ error }
	smallError struct{ error }
)

// startOn starts a task on a host, to which what it reads is sent first. The host is lost if it does not
// answer for that long.
func (e *Executor) startOn(ctx context.Context, st taskState, p *prepared, former *taskState, patience time.Duration) (state.Handle, error) {
	start := p.start
	start.Capacity = st.Host.capacity()
	if former != nil && former.Host.same(st.Host) {
		start.Former = former.Run
	}
	err := e.line(st.Host).patiently(ctx, patience, func(l *link) error {
		if err := e.setAutostop(ctx, l); err != nil {
			return err
		}
		for {
			got, err := ask[host.Started](ctx, l, host.StartPath, start)
			switch {
			case err != nil:
				return err
			case got.Full != "" || got.Stopping != "":
				return &fullError{fmt.Errorf("host %s: %s", st.Host, got.Full+got.Stopping)}
			case got.Taken != "":
				return &smallError{fmt.Errorf("host %s: %s: stop it, or choose another port", st.Host, got.Taken)}
			case got.Never != "":
				return &smallError{fmt.Errorf("host %s: %s", st.Host, got.Never)}
			case got.UID != "":
				st.UID = got.UID
				return nil
			}
			if err := e.send(ctx, l, p, got.Missing); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return state.Handle{}, err
	}
	e.checkpointsOn(st.Host, start.Task)
	return st.handle()
}

// Find returns the handle of a task, on the host that its folder names or on any host.
func (e *Executor) Find(ctx context.Context, name, dir string) (*state.Handle, error) {
	st, err := e.find(ctx, name, dir)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	if st == nil {
		return nil, nil
	}
	h, err := st.handle()
	return &h, err
}

func (e *Executor) find(ctx context.Context, name, dir string) (*taskState, error) {
	noted, err := e.noted(dir)
	if err != nil {
		return nil, err
	}
	if noted != nil && noted.Name == name {
		if !noted.asked() {
			return nil, nil
		}
		found, err := e.findAwake(ctx, *noted)
		var gone *lostError
		if errors.As(err, &gone) {
			return noted, nil // it may be there: only once it is destroyed may it be elsewhere
		}
		return found, err
	}
	// This machine notes a host before it asks it. So only others can have started it where no note is.
	var asleep []taskState
	for _, h := range e.opts.Hosts {
		starts := len(h.Start) > 0
		h.Start = nil // it is that of the target
		st := taskState{Host: h, Name: name, Run: e.runName(name), Dir: dir}
		if starts {
			err = e.line(h).quickly(ctx, func(*link) error { return nil })
			if errors.As(err, new(*lostError)) {
				asleep = append(asleep, st)
				continue
			}
		}
		found, err := e.findOn(ctx, st)
		if err != nil || found != nil {
			return found, err
		}
	}
	if !e.opts.Shared {
		return nil, nil
	}
	for _, st := range asleep {
		found, err := e.findAwake(ctx, st)
		if err != nil || found != nil {
			return found, err
		}
	}
	return nil, nil
}

// findAwake looks for a task on a host, which is started if it does not answer: it may have the outputs
// of a job that ended before it was stopped.
func (e *Executor) findAwake(ctx context.Context, st taskState) (*taskState, error) {
	if err := e.line(st.Host).awake(ctx); err != nil {
		return nil, err
	}
	return e.findOn(ctx, st)
}

func (e *Executor) findOn(ctx context.Context, st taskState) (*taskState, error) {
	got, err := asked[host.Started](ctx, e, st.Host, host.FindPath, host.Named{Run: st.Run})
	if err != nil || got.UID == "" {
		return nil, err
	}
	st.UID, st.Unit = got.UID, got.Unit
	return &st, nil
}

// Inspect returns the status of the task.
func (e *Executor) Inspect(ctx context.Context, h state.Handle) (state.Status, error) {
	st, err := e.fromHandle(h)
	if err != nil {
		return state.Status{}, err
	}
	if was, ok := st.ended(); ok {
		return was, nil
	}
	if st.isAbandoned() {
		return state.Status{Phase: state.Absent}, nil
	}
	got, err := asked[host.Status](ctx, e, st.Host, host.InspectPath, st.named())
	var gone *lostError
	if st.Kind == ir.Service && errors.As(err, &gone) {
		return lost(gone), nil
	}
	if err != nil {
		return state.Status{}, fmt.Errorf("look at %s: %w", st.Service.Unit, err)
	}
	return here(got), nil
}

// lost is the status of a task whose host is lost. It is not called stopped: a host does not stop itself
// while a task runs, though it may after a job that ended while there was no connection.
func lost(gone *lostError) state.Status {
	return state.Status{Phase: state.Failed, Message: oneLine((&lostError{host: gone.host, err: gone.err}).Error()), Interrupted: true}
}

// here gives a status the times of this machine, if its clock differs from that of the host.
func here(s host.Status) state.Status {
	ahead := time.Since(s.Now)
	if ahead.Abs() < 2*time.Second { // that is how long an answer may take
		return s.Status
	}
	for _, at := range []*time.Time{&s.Started, &s.Finished} {
		if !at.IsZero() {
			*at = at.Add(ahead)
		}
	}
	return s.Status
}

// Destroy ends the task, and removes what the host has of it. If the host is lost, that is done
// once it answers again.
func (e *Executor) Destroy(ctx context.Context, h state.Handle) error {
	st, err := e.fromHandle(h)
	if err != nil {
		return err
	}
	if err := e.destroy(ctx, st); err != nil {
		return fmt.Errorf("destroy %s: %w", st.Service.Unit, err)
	}
	return nil
}

func (e *Executor) destroy(ctx context.Context, st taskState) error {
	named := st.named()
	named.Now = ctx.Err() != nil
	ctx = context.WithoutCancel(ctx)
	if _, ended := st.ended(); !ended {
		_ = e.bringLog(ctx, st) // what it has printed so far, if it can be had
	}
	patience := e.opts.Patience
	if named.Now {
		patience = min(patience, dialPatience) // somebody waits for this to end
	}
	err := e.line(st.Host).patiently(ctx, patience, func(l *link) error {
		_, err := ask[struct{}](ctx, l, host.DestroyPath, named)
		return err
	})
	var gone *lostError
	if errors.As(err, &gone) {
		err = e.line(st.Host).abandon(st)
	}
	if err != nil {
		return err
	}
	return st.forget(ctx)
}

// programs remembers the digests of programs of this machine.
type programs struct {
	mu      sync.Mutex
	digests map[string]string
}

// digest returns the digest of the program at a path.
func (p *programs) digest(path string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := p.digests[path]; d != "" {
		return d, nil
	}
	d, err := artifact.File(context.Background(), path)
	if err != nil {
		return "", err
	}
	if p.digests == nil {
		p.digests = map[string]string{}
	}
	p.digests[path] = d
	return d, nil
}
