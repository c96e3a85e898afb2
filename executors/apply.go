package executors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// Options are what an apply works with. Store, Lease, Artifacts, Executor and
// Dir are required.
type Options struct {
	Store     *state.Store
	Lease     *state.Lease
	Artifacts *artifact.Store
	Executor  Executor
	Dir       string // the state folder, absolute
	// Sources is the folder of the system, absolute, where data files are. If it is
	// empty, it is the one in which the plan was made.
	Sources string

	// Records writes records, by component.
	Records Records
	// Verify compares a table with its schema. Without it no table is accepted.
	Verify VerifyFunc
	// Digests digests data files; nil keeps the planner's cache below Dir.
	Digests planner.Digests
	// Secrets resolves a reference. Without it no unit may have secrets.
	Secrets func(ir.Secret) (string, error)
	// Events is told what happens, one event at a time. It must not block.
	Events func(Event)

	// Parallel is how many units may run at once; 0 leaves it to the pools.
	Parallel int
	// Machine is what units without a pool share. If it is zero, the machine
	// has as many cores as Go sees and no other bound.
	Machine ir.Resources
	// Unbounded is that units without a pool share nothing: who runs them lets them
	// wait for what is not free, as a cluster does.
	Unbounded bool
	// Devices finds the GPUs that the pools lend, by pool; those of [MachinePool] are
	// for units without one. It is asked when a unit that is to run wants some. If
	// it is nil, GPUs are counted and have no names.
	Devices func(ctx context.Context, pools []ir.Pool) (map[string][]GPU, error)
	// Backoff is the pause before the first retry, 1 s if it is 0. It doubles
	// with every further one up to a minute; the actual pause is drawn between
	// half of that and all of it.
	Backoff time.Duration
	// Ready is how long a service without a timeout may take to become ready,
	// 60 s if it is 0.
	Ready time.Duration

	// Tags and Commit are recorded with the revision.
	Tags   []string
	Commit string

	// Now is the clock, time.Now if nil.
	Now func() time.Time

	act state.Act
}

func (o Options) withDefaults() Options {
	if o.Backoff <= 0 {
		o.Backoff = time.Second
	}
	if o.Ready <= 0 {
		o.Ready = time.Minute
	}
	if o.Digests == nil {
		o.Digests = planner.NewFileDigests(o.Dir)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// unmoved returns [ErrMoved] if the state is not the one the plan was made
// against.
func unmoved(ctx context.Context, s *state.Store, p *planner.Plan) error {
	m, err := s.Meta(ctx)
	if err != nil {
		return err
	}
	switch {
	case m.Lineage != p.State.Lineage:
		return fmt.Errorf("%w: the plan belongs to another state (%s, this one is %s)", ErrMoved, p.State.Lineage, m.Lineage)
	case m.Serial != p.State.Serial:
		return fmt.Errorf("%w: it was at serial %d and is at %d now: plan again", ErrMoved, p.State.Serial, m.Serial)
	}
	return nil
}

// Apply does what the plan says, and returns once all of it has ended. It
// returns an error unless all of the plan was applied: every [UnitError], or
// the cause if ctx was canceled, or why the state could not be written. The
// result is there from the moment that a revision has begun.
//
// The revision is a new one, unless one of this very plan was begun last and did not
// come to its end: an apply was killed, or [Begin] was called. Then that one goes on,
// and what was done in it is not done again.
//
// When ctx is canceled nothing more is started, and what runs is ended in
// order. An apply that was fenced leaves what runs to its successor.
func Apply(ctx context.Context, p *planner.Plan, o Options) (*Result, error) {
	w, err := begin(ctx, p, o)
	if err != nil {
		return nil, err
	}
	wctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.cancel = cancel

	w.sweep(wctx)
	w.openJournal(wctx)
	w.move(wctx)
	w.loop(wctx)
	w.removeUnwanted(wctx)
	w.closeJournal(wctx)
	return w.end(wctx)
}

// Begin begins the revision of a plan and does nothing of it. An [Apply] of the plan,
// perhaps on another machine, goes on with it.
func Begin(ctx context.Context, p *planner.Plan, o Options) (revision int, err error) {
	w, err := begin(ctx, p, o)
	if err != nil {
		return 0, err
	}
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
	w, err := newWalk(ctx, p, o)
	if err != nil {
		return nil, err
	}
	return w, w.beginRevision(ctx)
}

// beginRevision records a new revision, or finds the one of the plan that was begun.
func (w *walk) beginRevision(ctx context.Context) error {
	r := state.Revision{
		Act: w.o.act, BackTo: w.plan.BackTo, System: w.plan.System.Name, Target: w.plan.System.Target.Name, Started: w.o.Now(),
		Tags: w.o.Tags, Commit: w.o.Commit, Moves: w.plan.Moves,
	}
	if r.BackTo > 0 {
		r.Act = state.Rollback
	}
	plan := *w.plan
	plan.Blobs = nil // they are kept by themselves, and the units name them by digest
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
	// With them the revision can be brought back when the sources are gone.
	for _, digest := range sortedKeys(w.plan.Blobs) {
		if _, err := w.o.Artifacts.PutBytes(ctx, w.plan.Blobs[digest]); err != nil {
			return fmt.Errorf("begin revision: %w", err)
		}
	}
	system, err := encode(w.plan.System)
	if err != nil {
		return err
	}
	if r.IR, err = w.keep(ctx, system); err != nil {
		return err
	}
	if r.Plan, err = w.keep(ctx, text); err != nil {
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

// keep stores what the revision is made of as a blob.
func (w *walk) keep(ctx context.Context, b []byte) (string, error) {
	digest, err := w.o.Artifacts.PutBytes(ctx, b)
	if err != nil {
		return "", fmt.Errorf("begin revision: %w", err)
	}
	return digest, nil
}

// end records how the revision ended and says so.
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
	case len(res.Canceled) > 0:
		res.Outcome, err = state.Canceled, errors.Join(fmt.Errorf("canceled: %w", context.Cause(ctx)), err)
	case err != nil:
		res.Outcome = state.Failure
	default:
		res.Outcome = state.Done
	}
	ctx = context.WithoutCancel(ctx)
	standing := ""
	if res.Outcome == state.Done {
		var keepErr error
		if standing, keepErr = w.keepStanding(ctx); keepErr != nil {
			res.Outcome, res.Fault, err = state.Failure, keepErr.Error(), keepErr
		}
	}
	if endErr := w.o.Lease.EndRevision(ctx, res.Revision, res.Outcome, standing); endErr != nil && broken == nil {
		endErr = &stateError{endErr}
		res.Outcome, res.Fault, err = state.Failure, endErr.Error(), errors.Join(err, endErr)
	}
	return res, err
}

// keepStanding stores what stands, so that the revision can be brought back.
func (w *walk) keepStanding(ctx context.Context) (string, error) {
	current, err := w.o.Store.Current(ctx)
	if err != nil {
		return "", err
	}
	digest, err := w.o.Artifacts.PutBytes(ctx, state.StandingOf(current).Bytes())
	if err != nil {
		return "", fmt.Errorf("end revision: %w", err)
	}
	return digest, nil
}

// A stateError is a failed read of the state or write to it. Nothing may go on after it,
// because nothing could be recorded.
type stateError struct{ err error }

func (e *stateError) Error() string {
	return fmt.Sprintf("apply stopped, because the state failed: %v", e.err)
}

func (e *stateError) Unwrap() error { return e.err }

// StateFailed marks an error of the state that a [Recorder] returns: the apply stops, because
// nothing could be recorded any more.
func StateFailed(err error) error { return &stateError{err} }

// stop ends the walk because the state could not be read or written. The first
// such error counts, also after a cancel.
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

// fenced reports whether another process took over. What runs is its own now.
func (w *walk) fenced() bool {
	select {
	case <-w.o.Lease.Lost():
		return true
	default:
		return errors.Is(w.broken(), state.ErrFenced)
	}
}

// hold returns an error if another process took the lock over. No lock guards what
// an executor and files do, so it is asked for before: one that was paused
// meanwhile must not meddle with what its successor goes on with.
func (w *walk) hold(ctx context.Context) error {
	if err := w.o.Lease.Check(context.WithoutCancel(ctx)); errors.Is(err, state.ErrFenced) {
		w.stop(err)
		return &stateError{err}
	}
	return nil // what else is wrong with the state, the next write says
}

// ask asks the executor for a task, and quit for its end.
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
