package executors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// cleanupTime limits how long ending one thing may take after a cancel.
const cleanupTime = time.Minute

// Attempt 0 in the journal is the end of a service: it is entered before another service
// replaces it in the state, so that the old one is found again whatever happens in
// between.
const ending = 0

// Unfinished reports whether an apply was killed and none has finished since, or whether
// one left something in the journal: then the next apply has something to end even if its
// plan has nothing to do.
func Unfinished(ctx context.Context, s *state.Store) (bool, error) {
	pending, err := s.Pending(ctx)
	if err != nil {
		return false, err
	}
	last, err := s.Revisions(ctx, 1)
	if err != nil {
		return false, err
	}
	return len(pending) > 0 || len(last) > 0 && last[0].Outcome == state.Started, nil
}

// openJournal examines what a killed apply left. What may still be wanted waits until its
// unit is examined; the rest is destroyed.
func (w *walk) openJournal(ctx context.Context) {
	entries, err := w.o.Store.Pending(ctx)
	if err != nil {
		w.stop(err)
		return
	}
	wanted := map[string]*work{}
	for _, n := range w.works {
		if n.item.Action.Changes() && n.unit.Kind != ir.Record {
			wanted[n.unit.ID] = n
		}
	}
	for _, p := range entries {
		if w.partial() && w.byID[p.Run.Unit] == nil {
			continue // the next apply adopts or ends it
		}
		if record := w.byID[p.Run.Unit]; record != nil && record.unit.Kind == ir.Record {
			// Until the unit is recorded, only this entry shows what was written for it.
			w.pending[p.Run.Unit] = append(w.pending[p.Run.Unit], p)
			continue
		}
		n := wanted[p.Run.Unit]
		if n != nil && p.Run.Attempt != ending && (n.item.Key == "" || n.item.Key == p.Run.Key) {
			w.pending[p.Run.Unit] = append(w.pending[p.Run.Unit], p)
			continue
		}
		w.discard(ctx, p, "no longer wanted")
	}
	w.reserve(ctx)
}

// reserve keeps the GPUs of what still exists: of what may be adopted until its unit is
// examined, and of what could not be ended until the walk ends. A task whose devices
// differ from what its unit now requests is not adopted.
func (w *walk) reserve(ctx context.Context) {
	if !w.lends {
		return
	}
	for _, unit := range sortedKeys(w.pending) {
		n := w.byID[unit]
		c := w.sched.nodes[n.node].claim
		entries := w.pending[unit]
		last := entries[len(entries)-1]
		t := w.sched.pools.leased(c, last.Run.Devices)
		switch started := w.sched.nodes[n.node]; {
		case n.unit.Kind == ir.Record:
		case started.held && slices.Equal(namesOf(w.sched.pools.devices(started.lease)), last.Run.Devices):
		case !started.held && len(entries) == 1 && w.sched.pools.satisfies(t, c):
			w.sched.reserve(n.node, t)
		default:
			w.dropPending(ctx, unit)
		}
	}
	left, err := w.o.Store.Pending(ctx)
	if err != nil {
		w.stop(err)
		return
	}
	for _, p := range left {
		if w.pending[p.Run.Unit] == nil {
			w.sched.pools.takeParts(w.sched.pools.leased(claim{pool: MachinePool}, p.Run.Devices))
		}
	}
}

// dropPending ends what a killed apply left of a unit. It returns false if some of it
// could not be ended.
func (w *walk) dropPending(ctx context.Context, unit string) bool {
	w.mu.Lock()
	entries := w.pending[unit]
	delete(w.pending, unit)
	w.mu.Unlock()
	ok := true
	for _, p := range entries {
		ok = w.discard(ctx, p, "no longer wanted") && ok
	}
	return ok
}

// closeJournal discards what nobody adopted: no job runs after an apply. It keeps entries
// of records that are not recorded yet.
func (w *walk) closeJournal(ctx context.Context) {
	for _, unit := range sortedKeys(w.pending) {
		if n := w.byID[unit]; n != nil && n.unit.Kind == ir.Record && (!n.ended || n.failed) {
			continue
		}
		for _, p := range w.pending[unit] {
			w.discard(ctx, p, "no longer wanted")
		}
	}
}

// claimPending takes the entry for a run of the unit out of the journal, if there is one,
// and discards entries for other runs of it.
func (w *walk) claimPending(ctx context.Context, unit, key string) *state.Pending {
	w.mu.Lock()
	entries := w.pending[unit]
	delete(w.pending, unit)
	w.mu.Unlock()
	var found *state.Pending
	for i := len(entries) - 1; i >= 0; i-- {
		if found == nil && entries[i].Run.Key == key {
			found = &entries[i]
			continue
		}
		w.discard(ctx, entries[i], "no longer wanted")
	}
	return found
}

// discard ends what an entry refers to and clears it. If that fails, it returns false,
// and the entry stays in the journal for the next apply.
func (w *walk) discard(ctx context.Context, p state.Pending, why string) bool {
	if w.broken() != nil || w.fenced() {
		return false
	}
	ctx, cancel := cleanup(ctx)
	defer cancel()
	if err := w.dismiss(ctx, p); err != nil {
		if w.broken() == nil {
			w.leave(&UnitError{Unit: p.Run.Unit, Err: fmt.Errorf("stop what an earlier apply left: %w", err)})
		}
		return false
	}
	p.Run.Outcome, p.Run.Error = state.Canceled, why
	if err := w.o.Lease.Clear(ctx, p); err != nil {
		w.stop(err)
		return false
	}
	return true
}

// dismiss ends whatever the executor has for the entry.
func (w *walk) dismiss(ctx context.Context, p state.Pending) error {
	if p.Run.Attempt == ending {
		c := w.current[w.renamed(p.Run.Unit)]
		if p.Handle == nil || c.Handle != nil && sameJSON(c.Handle, p.Handle) {
			return nil // killed before the other one took over: it is current
		}
		return w.quit(ctx, *p.Handle)
	}
	name := taskOf(p.Run)
	h := p.Handle
	if h == nil {
		if p.Run.Log == "" {
			return w.unwrite(ctx, p.Run) // a record
		}
		var err error
		if h, err = w.find(ctx, p.Run); err != nil || h == nil && !exists(w.layout.run(name)) {
			return err // killed before the executor was called
		}
	}
	if h != nil {
		if err := w.quit(ctx, *h); err != nil {
			return err
		}
	}
	w.events.send(Event{Unit: p.Run.Unit, Type: EventDestroyed, Message: "left by an earlier apply"})
	return w.layout.sweepRun(name)
}

// move renames units as the plan says. The names of tasks are derived from those of
// units, so nothing may be left in the journal.
func (w *walk) move(ctx context.Context) {
	if len(w.plan.Moves) == 0 || ctx.Err() != nil {
		return
	}
	left, err := w.o.Store.Pending(ctx)
	if err != nil {
		w.stop(err)
		return
	}
	for _, p := range left {
		if w.renamed(p.Run.Unit) != p.Run.Unit {
			err := errors.New("it cannot be renamed while a process of an earlier apply runs: stop that process and run tenon apply again")
			w.leave(&UnitError{Unit: p.Run.Unit, Err: err})
			w.cancel(err)
			return
		}
	}
	if err := w.o.Lease.Move(context.WithoutCancel(ctx), w.plan.Moves); err != nil {
		w.stop(err)
		return
	}
	for _, m := range w.plan.Moves {
		w.events.send(Event{Unit: m.To, Type: EventMoved, Message: "from " + m.From})
	}
}

// renamed returns the name that the plan gives to a unit.
func (w *walk) renamed(unit string) string {
	for _, m := range w.plan.Moves {
		if m.From == unit {
			return m.To
		}
	}
	return unit
}

// find asks the executor for what it has under the name of a run; nil means nothing.
func (w *walk) find(ctx context.Context, r state.Run) (*state.Handle, error) {
	if err := w.hold(ctx); err != nil {
		return nil, err
	}
	name := taskOf(r)
	return w.o.Executor.Find(ctx, name, w.layout.run(name))
}

// leave notes a failure that stops no unit: something that could not be removed.
func (w *walk) leave(e *UnitError) {
	w.events.send(Event{Unit: e.Unit, Type: EventFailed, Error: e.Err.Error()})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.result.Failed = append(w.result.Failed, e)
}

// cleanup returns a context for work that has to be done even after a cancel.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
}
