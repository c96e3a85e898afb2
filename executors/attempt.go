package executors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/outputs"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A call is one attempt of a job or a service: from the journal, through the executor, to
// the recorded result.
type call struct {
	*walk
	n       *work
	run     state.Run
	name    string
	dir     string
	handle  *state.Handle
	asked   bool // the executor may have started it, even if there is no handle
	adopted bool // started by an apply that was killed
	began   time.Time
	secrets map[string]string
	status  state.Status
	// recorded is set once the result is recorded: from then on it must not be destroyed.
	recorded bool
	// stuck is set if what it left, or what it replaced, could not be ended.
	stuck bool
	// vacated is set once it has given back its resources and counts as outgoing.
	vacated bool
}

// attempt runs a job until it ends, or a service until it is ready.
func (w *walk) attempt(ctx context.Context, n *work) report {
	c, made, err := w.openAlone(ctx, n)
	var lent *state.LentError
	switch {
	case errors.As(err, &lent):
		n.tries--
		return report{work: n, verdict: outrun}
	case err != nil && ctx.Err() != nil:
		return report{work: n, verdict: canceled}
	case err != nil:
		w.stop(err)
		return report{work: n, verdict: canceled}
	case made:
		w.events.send(Event{Unit: n.unit.ID, Type: EventReused, Message: "another environment has just made it"})
		return report{work: n, verdict: done, reused: true}
	}
	w.events.send(Event{Unit: n.unit.ID, Type: EventStarted, Attempt: n.tries, Adopted: c.adopted, Log: c.log(), Devices: c.run.Devices})
	if t := c.track(); t != nil {
		t.Began(n.unit, c.run)
	}
	err = c.perform(ctx)
	if lost := w.hold(ctx); lost != nil {
		err = lost // the successor owns whatever became of it
	}
	if err == nil {
		if n.unit.Kind == ir.Service {
			err = c.takeOver(ctx)
		} else {
			err = c.commit(ctx)
		}
	}
	if c.vacated && !c.recorded {
		<-c.outgoing
	}
	var broken *stateError
	switch {
	case err == nil:
		return report{work: n, verdict: done, stuck: c.stuck}
	case errors.As(err, &broken):
		w.stop(broken)
		return c.abandon(ctx)
	case ctx.Err() != nil:
		return c.abandon(ctx)
	}
	return c.fail(ctx, err)
}

// open takes the run from the journal of a killed apply, or enters a new one.
func (w *walk) open(ctx context.Context, n *work) (*call, error) {
	c, _, err := w.openWith(ctx, n, func(r state.Run) (bool, int64, error) {
		id, err := w.o.Lease.Begin(context.WithoutCancel(ctx), r)
		return false, id, err
	})
	return c, err
}

// openAlone is open, unless another environment makes the same result now: then it waits for
// that, and reports it as made.
func (w *walk) openAlone(ctx context.Context, n *work) (_ *call, made bool, err error) {
	return w.openWith(ctx, n, func(r state.Run) (bool, int64, error) { return w.beginAlone(ctx, n, r) })
}

func (w *walk) openWith(ctx context.Context, n *work, begin func(state.Run) (made bool, id int64, err error)) (_ *call, made bool, err error) {
	if p := w.claimPending(ctx, n.unit.ID, n.key); p != nil {
		c := w.call(n, p.Run)
		c.handle, c.adopted, c.asked = p.Handle, true, true
		c.run.Revision = w.result.Revision
		if !c.lost(ctx) {
			_, err := w.layout.makeRun(c.name) // it may have begun on another machine
			return c, false, err
		}
		w.discard(ctx, *p, "lost when its apply was killed")
	}
	number, err := w.nextAttempt(ctx, n)
	if err != nil {
		return nil, false, err
	}
	c := w.call(n, state.Run{
		Key: n.key, Unit: n.unit.ID, Definition: n.unit.Digest, Revision: w.result.Revision,
		Outcome: state.Started, Attempt: number, Started: w.o.Now(), Inputs: n.inputs,
		Devices: namesOf(n.devices),
	})
	c.run.Log = w.layout.logPath(c.name)
	if n.needs != nil && n.tries <= 1 {
		c.run.Prepared = n.needs.took
	}
	made, c.run.ID, err = begin(c.run)
	return c, made, err
}

func (w *walk) call(n *work, r state.Run) *call {
	r.Env = w.environment()
	name := TaskName(r.Env, n.unit.ID, r.Key, r.Attempt)
	return &call{walk: w, n: n, run: r, name: name, dir: w.layout.run(name), began: w.o.Now()}
}

// nextAttempt numbers attempts across all applies, so that no two of them share a name or
// a folder.
func (w *walk) nextAttempt(ctx context.Context, n *work) (int, error) {
	last, err := w.o.Store.LastAttempt(context.WithoutCancel(ctx), n.unit.ID, n.key)
	if err != nil {
		return 0, err
	}
	number := last + 1
	for exists(w.layout.run(TaskName(w.environment(), n.unit.ID, n.key, number))) {
		number++
	}
	return number, nil
}

// lost reports whether there is nothing left to adopt: the executor knows of nothing, or
// of something that ended without an exit status, as after a restart of the machine. An
// entry without a handle is never lost: applying its task again finds the task, and
// starts it if it was only prepared or does not exist. In the latter case it begins now.
func (c *call) lost(ctx context.Context) bool {
	if c.handle == nil {
		if h, err := c.find(ctx, c.run); err == nil && h == nil {
			c.adopted, c.run.Started = false, c.o.Now()
		}
		return false
	}
	st, err := c.o.Executor.Inspect(ctx, *c.handle)
	if err != nil {
		return false
	}
	c.status = st
	switch st.Phase {
	case state.Absent:
		return c.listed() == nil
	case state.Failed:
		return c.n.unit.Kind == ir.Service || st.ExitCode == 0
	}
	return false
}

// perform starts the task, unless it has run already, and waits for it.
func (c *call) perform(ctx context.Context) error {
	if c.adopted && c.listed() != nil {
		return nil // the job had ended, and its outputs were being stored
	}
	if err := c.start(ctx); err != nil {
		return err
	}
	if err := c.wait(ctx); err != nil {
		return err
	}
	return c.locate(ctx)
}

// locate completes the handle of a service that is ready with its address.
func (c *call) locate(ctx context.Context) error {
	l, ok := c.o.Executor.(Locator)
	if !ok || c.n.unit.Kind != ir.Service {
		return nil
	}
	h, err := l.Located(ctx, *c.handle)
	if err == nil {
		c.handle = &h
	}
	return err
}

// limit returns how much longer the attempt may take, and the error for an attempt that
// takes longer. Time before the start does not count, such as installing an environment
// or waiting in a queue of the cluster. The time that an adopted job has run counts, but
// the limit leaves enough to observe its end.
func (c *call) limit() (time.Duration, error) {
	d := c.allowed()
	if c.n.unit.Kind == ir.Service {
		return d, fmt.Errorf("was not ready within %s", d)
	}
	late := fmt.Errorf("took longer than its timeout %s", d)
	if d > 0 && !c.status.Started.IsZero() {
		d = max(d-c.o.Now().Sub(c.status.Started), time.Second)
	}
	return d, late
}

// allowed returns how long an attempt may take in total; 0 means no limit.
func (c *call) allowed() time.Duration {
	u := c.n.unit
	if u.Kind != ir.Service {
		return u.Timeout
	}
	if c.o.Ready != nil {
		if d := c.o.Ready(u); d > 0 {
			return d
		}
	}
	return cmp.Or(u.Timeout, time.Minute)
}

// timeLeft reports whether an attempt has time left although our clock says that it is
// up: it started after we began to wait, or has not started yet.
func (c *call) timeLeft(since time.Time) bool {
	st := c.status
	return st.Queued || st.Started.After(since) && c.o.Now().Sub(st.Started) < c.allowed()
}

func (c *call) start(ctx context.Context) error {
	if c.n.unit.Kind == ir.Service {
		var err error
		if c.n.route, err = c.route(ctx, c.n); err != nil {
			return err
		}
	}
	if c.handle != nil {
		return nil
	}
	if err := c.hold(ctx); err != nil {
		return err
	}
	t, err := c.task(ctx)
	if err != nil {
		return err
	}
	var prior *state.Handle
	if old, ok := c.current[c.n.unit.ID]; ok && c.n.unit.Kind == ir.Service {
		prior = old.Handle
	}
	c.asked = true
	h, err := c.ask(ctx, t, prior)
	if err != nil {
		return err
	}
	c.handle = &h
	err = c.o.Lease.SetHandle(context.WithoutCancel(ctx), c.run.ID, h)
	if errors.Is(err, state.ErrFenced) {
		c.disown(ctx)
	}
	if err != nil {
		return &stateError{err}
	}
	return nil
}

// disown ends what was started at the moment in which the lock was lost, unless the
// successor knows of it. Otherwise nobody would ever find it.
func (c *call) disown(ctx context.Context) {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	pending, err := c.o.Store.Pending(ctx)
	if err != nil || slices.ContainsFunc(pending, func(p state.Pending) bool { return p.Run.ID == c.run.ID }) {
		return
	}
	current, err := c.o.Store.Current(ctx)
	if h := current[c.n.unit.ID].Handle; err != nil || h != nil && h.ID == c.handle.ID {
		return
	}
	if c.o.Executor.Destroy(ctx, *c.handle) == nil {
		_ = c.layout.sweepRun(c.name)
	}
}

// wait returns nil once the job has succeeded or the service is ready.
func (c *call) wait(ctx context.Context) error {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		outputs.Tail(filepath.Join(c.dir, ProgressFile), stop, func(p step.Progress) {
			if len(p.Values) > 0 {
				if t := c.track(); t != nil {
					t.Logged(c.n.unit, c.run, p)
				}
				return
			}
			c.events.send(Event{Unit: c.n.unit.ID, Type: EventProgress, Attempt: c.n.tries, Done: p.Done, Total: p.Total, Message: p.Message, Waits: p.Waits})
		})
	}()
	err := c.await(ctx)
	close(stop)
	<-stopped
	if err != nil {
		return err
	}
	return ended(c.n.unit.Kind, c.status)
}

// await waits as long as the attempt may take.
func (c *call) await(ctx context.Context) error {
	for {
		since := c.o.Now()
		limit, late := c.limit()
		within, cancel := ctx, func() {}
		if limit > 0 {
			within, cancel = context.WithTimeoutCause(ctx, limit, late)
		}
		var err error
		c.status, err = await(within, c.o.Executor, *c.handle)
		cancel()
		switch {
		case err == nil || context.Cause(within) != late: //nolint:errorlint // compares with this very value
			return err
		case c.timeLeft(since):
		case c.status.Message != "":
			if err = fmt.Errorf("%w: %s", late, c.status.Message); c.status.Lacking {
				return &LackingError{err}
			}
			return err
		default:
			return late
		}
	}
}

// await waits in the executor's own way if it has one, and otherwise polls.
func await(ctx context.Context, e Executor, h state.Handle) (state.Status, error) {
	const often, seldom = 20 * time.Millisecond, time.Second
	waiter, _ := e.(Waiter)
	for pause := often; ; pause = min(2*pause, seldom) {
		var st state.Status
		var err error
		if waiter != nil {
			st, err = waiter.Wait(ctx, h)
		} else {
			st, err = e.Inspect(ctx, h)
		}
		if err != nil || st.Phase != state.Running {
			return st, err
		}
		select {
		case <-ctx.Done():
			return st, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// ended returns what is wrong with the final status of a unit, or nil.
func ended(kind ir.Kind, st state.Status) error {
	switch {
	case st.Phase == state.Ready && kind == ir.Service, st.Phase == state.Succeeded && kind == ir.Job:
		return nil
	case st.Phase == state.Absent:
		return errors.New("disappeared: it was stopped outside tenon")
	case st.Phase == state.Succeeded:
		return errors.New("exited with 0, but a service must keep running")
	case st.Lacking:
		return &LackingError{errors.New(st.Message)}
	case st.Message != "":
		return errors.New(st.Message)
	case st.Signal != "":
		return fmt.Errorf("was killed by %s", st.Signal)
	}
	return fmt.Errorf("exited with %d", st.ExitCode)
}

// fail ends the attempt, records why, and decides whether to retry.
func (c *call) fail(ctx context.Context, why error) report {
	n := c.n
	if c.secrets == nil { // adopted: secrets are only needed to redact them
		c.secrets, _ = c.env(n.unit)
	}
	uerr := &UnitError{Unit: n.unit.ID, Attempt: n.tries, Err: why, LogTail: logTail(c.log(), c.secrets), LogPath: c.log()}
	c.run.Error = why.Error()
	if !c.endAs(ctx, state.Failure) {
		return report{work: n, verdict: canceled, err: uerr}
	}
	e := Event{Unit: n.unit.ID, Type: EventFailed, Attempt: n.tries, Error: why.Error(), Duration: c.took(), Log: c.log()}
	resumes := c.resumes()
	if (resumes || n.tries <= n.unit.Retries) && ctx.Err() == nil && !c.stuck {
		wait := c.backoff(n.tries)
		e.Type, e.Message = EventRetried, fmt.Sprintf("retrying in %s", wait.Round(time.Millisecond))
		if resumes {
			n.interruptions++
			n.tries--
		}
		c.events.send(e)
		return report{work: n, verdict: again, wait: wait}
	}
	c.events.send(e)
	uerr.PredecessorReady = c.predecessorReady(ctx)
	return report{work: n, verdict: failed, err: uerr, stuck: c.stuck}
}

// predecessorReady reports whether the service to be replaced answers.
func (c *call) predecessorReady(ctx context.Context) bool {
	old, ok := c.current[c.n.unit.ID]
	if !ok || old.Handle == nil {
		return false
	}
	ctx, cancel := cleanup(ctx)
	defer cancel()
	st, err := c.o.Executor.Inspect(ctx, *old.Handle)
	return err == nil && st.Phase == state.Ready
}

// abandon ends the attempt because the apply ends. After a fence it leaves the attempt to
// the successor, which finds it in the journal. It does the same if it can no longer
// reach a shared state: there may already be a successor.
func (c *call) abandon(ctx context.Context) report {
	r := report{work: c.n, verdict: canceled}
	if c.fenced() || c.recorded || c.broken() != nil && c.o.Store.Shared() {
		return r
	}
	var p *preemption
	if errors.As(context.Cause(ctx), &p) && c.broken() == nil {
		return c.yield(ctx, p)
	}
	c.run.Error = "canceled"
	c.endAs(ctx, state.Canceled)
	c.events.send(Event{Unit: c.n.unit.ID, Type: EventCanceled, Attempt: c.n.tries, Duration: c.took(), Log: c.log()})
	return r
}

// yield ends the attempt so that another unit gets its GPUs. This does not count as a
// failure.
func (c *call) yield(ctx context.Context, p *preemption) report {
	c.run.Error = p.Error()
	switch {
	case !c.endAs(ctx, state.Canceled):
		return report{work: c.n, verdict: canceled}
	case c.stuck: // already reported
		return report{work: c.n, verdict: failed, stuck: true}
	}
	c.events.send(Event{Unit: c.n.unit.ID, Type: EventPreempted, Attempt: c.n.tries, By: p.by, Message: p.Error(), Duration: c.took(), Log: c.log()})
	c.n.tries--
	return report{work: c.n, verdict: yielded}
}

// endAs destroys what the attempt left and records its end. What could not be destroyed
// stays in the journal, where the next apply finds it. It returns false if the state
// could not be written.
func (c *call) endAs(ctx context.Context, o state.Outcome) bool {
	if c.stuck = !c.destroy(ctx); c.stuck || c.broken() != nil {
		return c.broken() == nil
	}
	if err := c.close(ctx, o, nil); err != nil {
		c.stop(err)
		return false
	}
	return true
}

// close records the end of the attempt.
func (c *call) close(ctx context.Context, o state.Outcome, current *state.Current) error {
	if c.n.unit.Kind == ir.Job {
		_ = c.o.Artifacts.ShareLog(context.WithoutCancel(ctx), c.name, c.log()) // a missing log does not change the result
		c.keepCurves(ctx)
	}
	c.run.Outcome, c.run.Usage = o, c.status.Usage
	c.run.Finished = c.o.Now()
	if c.adopted && !c.status.Finished.IsZero() {
		c.run.Finished = c.status.Finished
	}
	err := c.o.Lease.Finish(context.WithoutCancel(ctx), c.run, c.n.unit, current)
	if err == nil {
		c.tracked()
	}
	return err
}

// destroy removes what the attempt left: what the executor has, and outputs that nobody
// will read. The log stays.
func (c *call) destroy(ctx context.Context) bool {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	var err error
	if c.handle == nil && c.asked { // an error does not prove that it was not started
		c.handle, err = c.find(ctx, c.run)
	}
	if c.handle != nil {
		err = c.quit(ctx, *c.handle)
	}
	if err == nil {
		err = c.layout.sweepRun(c.name)
	}
	if err != nil && c.broken() == nil {
		c.leave(&UnitError{Unit: c.n.unit.ID, Err: fmt.Errorf("remove %s: %w", c.name, err)})
	}
	return err == nil
}

func (c *call) log() string { return filepath.Join(c.dir, "log") }

func (c *call) took() time.Duration { return c.o.Now().Sub(c.began) }
