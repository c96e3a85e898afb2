package executors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/protect"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// Options are the inputs of an apply. Store, Lease, Artifacts, Executor and Dir are
// required.
type Options struct {
	Store     *state.Store
	Lease     *state.Lease
	Artifacts *artifact.Store
	Executor  Executor
	Dir       string // the state folder, absolute
	// Sources is the folder with the system's data files, absolute. If it is empty, it is
	// the folder in which the plan was made.
	Sources string

	// Records writes records, by component.
	Records Records
	// Verify compares a table with its schema. Without it every table is rejected.
	Verify VerifyFunc
	// Digests digests data files; nil uses the planner's cache below Dir.
	Digests planner.Digests
	// Secrets resolves a reference. Without it no unit may have secrets.
	Secrets func(ir.Secret) (string, error)
	// Events receives the events, one at a time. It must not block.
	Events func(Event)

	// Tracker follows the attempts of jobs. It may be nil.
	Tracker Tracker

	// Parallel limits how many units run at once; 0 means that only the pools limit them.
	Parallel int
	// Machine is what units without a pool share. If it is zero, the machine has as many
	// cores as Go sees and no other limit.
	Machine ir.Resources
	// Unbounded means that nothing limits units without a pool: the platform, such as a
	// cluster, queues them until there is room.
	Unbounded bool
	// Devices finds the GPUs that the pools lend, by pool; those of [MachinePool] are for
	// units without a pool. It is called if a unit that is going to run needs some. If it
	// is nil, GPUs are counted and have no names.
	Devices func(ctx context.Context, pools []ir.Pool) (map[string][]GPU, error)
	// Backoff is the pause before the first retry, 1 s if it is 0. It doubles with each
	// further retry up to a minute; the actual pause is random, between half of that and
	// all of it.
	Backoff time.Duration
	// Ready returns how long a service may take to become ready. If it is nil or returns 0, that is
	// the timeout of the service, or 60 s without one.
	Ready func(u *ir.Unit) time.Duration

	// Settling is the least time that the verification of outputs may take, 1 min if it
	// is 0. It may take as long as the timeout of the unit.
	Settling time.Duration

	// Provision changes the infrastructure of the target after the revision has begun and before any
	// unit runs. Units whose resources it removes are removed before it. If it fails, no unit
	// runs. Any of the three may be nil.
	Provision ProvisionFunc
	// Retire removes the resources of the target that are no longer needed, after all units were applied and removed.
	// If something failed, it is not called: what it would remove may still be in use.
	Retire ProvisionFunc
	// Deprovision removes the infrastructure after all units were removed. It is not called if that failed.
	Deprovision ProvisionFunc

	// Tags and Commit are recorded with the revision.
	Tags   []string
	Commit string
	// Protection is recorded with the revision of a protected environment.
	Protection *protect.Record

	// Now is the clock, time.Now if nil.
	Now func() time.Time

	act  state.Act
	back int // the revision of the champion that a release goes back to
}

// A ProvisionFunc changes the infrastructure of a target for a revision, and sends what happens.
type ProvisionFunc func(ctx context.Context, revision int, send func(Event)) error

func (o Options) withDefaults() Options {
	if o.Backoff <= 0 {
		o.Backoff = time.Second
	}
	if o.Settling <= 0 {
		o.Settling = time.Minute
	}
	if o.Digests == nil {
		o.Digests = planner.NewFileDigests(o.Dir)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// unmoved returns [ErrMoved] if the state has changed since the plan was made.
func unmoved(ctx context.Context, s *state.Store, p *planner.Plan) error {
	m, err := s.Meta(ctx)
	if err != nil {
		return err
	}
	switch {
	case m.Env != p.State.Env:
		return fmt.Errorf("%w: it was made for %s, not for %s", ErrMoved, state.EnvironmentNamed(p.State.Env), state.EnvironmentNamed(m.Env))
	case m.Lineage != p.State.Lineage:
		return fmt.Errorf("%w: the plan belongs to another state (%s instead of %s)", ErrMoved, p.State.Lineage, m.Lineage)
	case m.Serial != p.State.Serial:
		return fmt.Errorf("%w: the serial was %d and is now %d: plan again", ErrMoved, p.State.Serial, m.Serial)
	}
	return nil
}

// Apply executes the plan, and returns once everything has ended. It returns an error
// unless the whole plan was applied: all [UnitError] values, or the cause if ctx was
// canceled, or why the state could not be written. There is a result as soon as a
// revision has begun.
//
// Apply begins a new revision, unless the last one was begun for this very plan and did
// not finish: an apply was killed, or [Begin] was called. It then continues that
// revision, and does not repeat what is done.
//
// When ctx is canceled, Apply starts nothing more and ends what runs in an orderly way.
// An apply that was fenced leaves what runs to its successor.
func Apply(ctx context.Context, p *planner.Plan, o Options) (*Result, error) {
	w, err := begin(ctx, p, o)
	if err != nil {
		return nil, err
	}
	defer w.leaveFolder()
	wctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.cancel = cancel

	w.sweep(wctx)
	w.openJournal(wctx)
	w.move(wctx)
	w.endRoutes(wctx)
	if o.Provision != nil {
		w.removeBeforeResources(wctx)
		w.provision(wctx, o.Provision)
	}
	w.loop(wctx)
	w.removeUnwanted(wctx)
	w.closeJournal(wctx)
	for _, f := range []ProvisionFunc{o.Retire, o.Deprovision} {
		switch {
		case f == nil:
		case len(w.result.Failed)+len(w.result.Blocked) == 0:
			w.provision(wctx, f)
		default:
			w.events.send(Event{Type: EventResource, What: "infrastructure", Message: "nothing is removed until all units are done: correct what failed, and repeat the command"})
		}
	}
	return w.end(wctx)
}

// Begin begins the revision of a plan without executing anything. An [Apply] of the plan,
// perhaps on another machine, continues it.
func Begin(ctx context.Context, p *planner.Plan, o Options) (revision int, err error) {
	w, err := begin(ctx, p, o)
	if err != nil {
		return 0, err
	}
	defer w.leaveFolder()
	return w.result.Revision, nil
}

func begin(ctx context.Context, p *planner.Plan, o Options) (*walk, error) {
	o = o.withDefaults()
	if !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("the state folder %q is not absolute", o.Dir)
	}
	if o.Sources == "" {
		o.Sources = p.Dir
	}
	if err := p.CheckBudget(); err != nil {
		return nil, err
	}
	if _, err := Admit(ctx, p, o.Executor); err != nil {
		return nil, err
	}
	w, err := newWalk(ctx, p, o)
	if err != nil {
		return nil, err
	}
	// Before anything is written, which the apply of another environment might sweep.
	if w.o.Lease.Check(ctx) == nil {
		w.sweepPartial()
	}
	if err := w.beginRevision(ctx); err != nil {
		w.leaveFolder()
		return nil, err
	}
	return w, nil
}

// beginRevision records a new revision, or finds the unfinished one of the plan.
func (w *walk) beginRevision(ctx context.Context) error {
	r := state.Revision{
		Act: w.o.act, BackTo: w.plan.BackTo, System: w.plan.System.Name, Target: w.plan.System.Target.Name, Started: w.o.Now(),
		Tags: w.o.Tags, Commit: w.o.Commit, Moves: w.plan.Moves, Protection: w.o.Protection,
	}
	if r.BackTo > 0 {
		r.Act = state.Rollback
	} else {
		r.BackTo = w.o.back
	}
	plan := *w.plan
	plan.Blobs = nil // they are stored separately, and the units name them by digest
	if w.plan.Infrastructure != nil {
		infrastructure := *w.plan.Infrastructure
		infrastructure.Sealed = nil // it is of use only now
		plan.Infrastructure = &infrastructure
	}
	text, err := encode(plan)
	if err != nil {
		return err
	}
	last, err := w.o.Store.Revisions(ctx, 1)
	if err != nil {
		return err
	}
	if len(last) > 0 && last[0].Outcome == state.Started && last[0].Plan == ir.Sum(text) {
		w.result.Revision, w.began, w.resumed = last[0].Number, last[0].Started, true
		return nil
	}
	if err := unmoved(ctx, w.o.Store, w.plan); err != nil {
		return err
	}
	// They let a rollback restore the revision when the sources are gone.
	for _, digest := range sortedKeys(w.plan.Blobs) {
		if _, err := w.o.Artifacts.PutBytes(ctx, w.plan.Blobs[digest]); err != nil {
			return fmt.Errorf("begin revision: %w", err)
		}
	}
	system, err := encode(w.plan.System)
	if err != nil {
		return err
	}
	if r.IR, err = w.store(ctx, system); err != nil {
		return err
	}
	if r.Plan, err = w.store(ctx, text); err != nil {
		return err
	}
	if w.result.Revision, err = w.o.Lease.BeginRevision(ctx, r); err != nil {
		return err
	}
	w.began = r.Started
	return nil
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("begin revision: %w", err)
	}
	return b, nil
}

// store writes a part of the revision as a blob.
func (w *walk) store(ctx context.Context, b []byte) (string, error) {
	digest, err := w.o.Artifacts.PutBytes(ctx, b)
	if err != nil {
		return "", fmt.Errorf("begin revision: %w", err)
	}
	return digest, nil
}

// end records how the revision ended and reports it.
func (w *walk) end(ctx context.Context) (*Result, error) {
	res := &w.result
	res.Took = w.o.Now().Sub(w.began)
	var err error
	for _, f := range res.Failed {
		err = errors.Join(err, f)
	}
	broken := w.broken()
	switch {
	case broken != nil:
		res.Fault = broken.Error()
		res.Outcome, err = state.Failure, errors.Join(broken, err)
	case w.unprovisioned != nil && errors.Is(context.Cause(ctx), w.unprovisioned):
		res.Fault = w.unprovisioned.Error()
		res.Outcome, err = state.Failure, errors.Join(w.unprovisioned, err)
	case len(res.Canceled) > 0 || w.unprovisioned != nil:
		res.Outcome, err = state.Canceled, errors.Join(fmt.Errorf("canceled: %w", context.Cause(ctx)), err)
	case err != nil:
		res.Outcome = state.Failure
	default:
		res.Outcome = state.Done
	}
	ctx = context.WithoutCancel(ctx)
	deployed := ""
	if res.Outcome == state.Done && w.o.back == 0 && w.o.act != state.Repair {
		var storeErr error
		if deployed, storeErr = w.storeDeployed(ctx); storeErr != nil {
			res.Outcome, res.Fault, err = state.Failure, storeErr.Error(), storeErr
		}
	}
	if endErr := w.o.Lease.EndRevision(ctx, res.Revision, res.Outcome, deployed); endErr != nil && broken == nil {
		endErr = &stateError{endErr}
		res.Outcome, res.Fault, err = state.Failure, endErr.Error(), errors.Join(err, endErr)
	}
	return res, err
}

// storeDeployed stores what is deployed, so that a rollback can restore the revision.
func (w *walk) storeDeployed(ctx context.Context) (string, error) {
	deployed, err := w.o.Store.Deployed(ctx, w.plan.System)
	if err != nil {
		return "", err
	}
	digest, err := w.o.Artifacts.PutBytes(ctx, deployed.Bytes())
	if err != nil {
		return "", fmt.Errorf("end revision: %w", err)
	}
	return digest, nil
}

// provision changes the infrastructure. If that fails, nothing else is done. It is interrupted if the lock is
// lost, because its successor may change the same resources.
func (w *walk) provision(ctx context.Context, f ProvisionFunc) {
	if ctx.Err() != nil {
		return
	}
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-w.o.Lease.Lost():
			w.stop(state.ErrFenced)
		case <-ended:
		}
	})
	err := f(ctx, w.result.Revision, w.events.send)
	close(ended)
	watch.Wait()
	if err == nil {
		return
	}
	w.unprovisioned = fmt.Errorf("the infrastructure was not completed: %w", err)
	if ctx.Err() == nil { // otherwise somebody stopped it
		w.cancel(w.unprovisioned)
	}
}

// A stateError is a failed read or write of the state. The apply must stop after it,
// because it can no longer record anything.
type stateError struct{ err error }

func (e *stateError) Error() string {
	return fmt.Sprintf("apply stopped, because the state failed: %v", e.err)
}

func (e *stateError) Unwrap() error { return e.err }

// StateFailed marks an error of the state that a [Recorder] returns: the apply stops,
// because it can no longer record anything.
func StateFailed(err error) error { return &stateError{err} }

// stop ends the walk because the state could not be read or written. It keeps the first
// such error, also after a cancel.
func (w *walk) stop(err error) {
	var e *stateError
	if !errors.As(err, &e) {
		e = &stateError{err}
	}
	w.fault.CompareAndSwap(nil, e)
	w.cancel(e)
}

// broken returns why the state could not be written, or nil.
func (w *walk) broken() error {
	if e := w.fault.Load(); e != nil {
		return e
	}
	return nil
}

// fenced reports whether another process took the lock over. What runs now belongs to
// that process.
func (w *walk) fenced() bool {
	select {
	case <-w.o.Lease.Lost():
		return true
	default:
		return errors.Is(w.broken(), state.ErrFenced)
	}
}

// hold returns an error if another process took the lock over. The lock does not guard
// executors and files, so callers check it before they touch these: a process that was
// paused must not interfere with its successor.
func (w *walk) hold(ctx context.Context) error {
	if err := w.o.Lease.Check(context.WithoutCancel(ctx)); errors.Is(err, state.ErrFenced) {
		w.stop(err)
		return &stateError{err}
	}
	return nil // the next write reports any other problem with the state
}

// ask starts a task with the executor, and quit ends one.
func (w *walk) ask(ctx context.Context, t Task, prior *state.Handle) (state.Handle, error) {
	if err := w.hold(ctx); err != nil {
		return state.Handle{}, err
	}
	return w.o.Executor.Apply(ctx, t, prior)
}

func (w *walk) quit(ctx context.Context, h state.Handle) error {
	if err := w.hold(ctx); err != nil {
		return err
	}
	return w.o.Executor.Destroy(ctx, h)
}
