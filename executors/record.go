package executors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// A Recorder writes the records with an output of one kind. All methods may be called again after a
// kill, and then change nothing more.
type Recorder interface {
	// Write makes the record that the unit defines, and returns its outputs and the
	// metrics of its run. If the state fails, it returns the error of [StateFailed].
	Write(ctx context.Context, r Record) (map[string]artifact.Artifact, map[string]float64, error)
	// Lost says why what was written is missing or changed, or returns "".
	Lost(u *ir.Unit) string
	// Remove removes what was written for the unit, unless a unit of keep, a record of the
	// same kind, needs it as well.
	Remove(u *ir.Unit, keep []ir.Unit) error
}

// A Filer is a [Recorder] whose records are files of this machine.
type Filer interface {
	// Sync makes the files match the units, and removes all others.
	Sync(units []ir.Unit) error
	// Sweep removes partial files of a killed apply.
	Sweep() error
}

// A Record is a record unit, with its inputs.
type Record struct {
	Unit    *ir.Unit
	Inputs  map[string]RecordInput // by port
	Metrics map[string]float64     // of the report that it reads, or nil
	Now     time.Time
}

// A RecordInput is what a record reads.
type RecordInput struct {
	artifact.Artifact
	Key string // of the run that made it
}

// Records holds the recorders, by the kind of the one output that a record has.
type Records map[ir.PortKind]Recorder

// of returns the recorder of a unit, or nil if the unit is no record.
func (r Records) of(u *ir.Unit) Recorder {
	if u.Kind != ir.Record || len(u.Outputs) != 1 {
		return nil
	}
	return r[u.Outputs[0].Kind]
}

// Lost says why what was written for a record is missing or changed, or returns "".
func (r Records) Lost(u *ir.Unit) string {
	if x := r.of(u); x != nil {
		return x.Lost(u)
	}
	return ""
}

// Sync updates the files of records on this machine after another machine applied them.
// It is for a shared state; no apply may run on this machine. The files of all environments
// are in the same folders.
func (r Records) Sync(ctx context.Context, s *state.Store) error {
	envs, err := s.Environments(ctx)
	if err != nil {
		return err
	}
	units := map[Recorder][]ir.Unit{}
	for _, env := range envs {
		if err := r.applied(ctx, s.In(env), units); err != nil {
			return err
		}
	}
	for _, kind := range sortedKeys(r) {
		if f, ok := r[kind].(Filer); ok {
			if err := f.Sync(units[r[kind]]); err != nil {
				return err
			}
		}
	}
	return nil
}

// applied adds the applied records of an environment.
func (r Records) applied(ctx context.Context, s *state.Store, units map[Recorder][]ir.Unit) error {
	current, err := s.Current(ctx)
	if err != nil {
		return err
	}
	for unit, c := range current {
		if c.Kind != ir.Record {
			continue
		}
		u, err := s.Unit(ctx, unit)
		if err != nil {
			return err
		}
		if x := r.of(u); x != nil {
			units[x] = append(units[x], *u)
		}
	}
	return nil
}

// sweep removes partial files.
func (r Records) sweep() {
	for _, x := range r {
		if f, ok := x.(Filer); ok {
			_ = f.Sweep()
		}
	}
}

// remove removes what was written for a unit, unless one of keep needs it as well.
func (r Records) remove(u *ir.Unit, keep []ir.Unit) error {
	x := r.of(u)
	if x == nil {
		return nil
	}
	return x.Remove(u, slices.DeleteFunc(slices.Clone(keep), func(k ir.Unit) bool { return r.of(&k) != x }))
}

// record writes a record: it enters it in the journal, writes it and records the result.
func (w *walk) record(ctx context.Context, n *work) report {
	u := n.unit
	before, err := w.o.Store.Unit(ctx, u.ID)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		w.stop(err)
		return report{work: n, verdict: canceled}
	}
	ctx = context.WithoutCancel(ctx) // it takes no time
	c := w.call(n, state.Run{
		Key: n.key, Unit: u.ID, Definition: u.Digest, Revision: w.result.Revision,
		Outcome: state.Started, Attempt: 1, Started: w.o.Now(), Inputs: n.inputs,
	})
	if c.run.ID, err = w.o.Lease.Begin(ctx, c.run); err != nil {
		w.stop(err)
		return report{work: n, verdict: canceled}
	}
	w.events.send(Event{Unit: u.ID, Type: EventStarted, Attempt: n.tries})
	if x := w.o.Records.of(u); x == nil {
		err = fmt.Errorf("no writer for the record %s: it needs one output, a model or a file", u.Component)
	} else if err = w.hold(ctx); err == nil {
		c.run.Outputs, c.run.Metrics, err = w.write(ctx, u, x)
	}
	for _, out := range u.Outputs {
		if _, ok := c.run.Outputs[out.Port]; err == nil && !ok {
			err = fmt.Errorf("the record %s has no output %s", u.Component, out.Port)
		}
	}
	if err == nil {
		err = c.finish(ctx, nil)
	}
	if err == nil && before != nil {
		if err = w.hold(ctx); err == nil {
			err = w.o.Records.remove(before, w.plan.System.Units) // unless the unit itself still needs it
		}
	}
	var broken *stateError
	switch {
	case err == nil:
		return report{work: n, verdict: done}
	case errors.As(err, &broken):
		w.stop(broken)
		return report{work: n, verdict: canceled}
	case c.recorded:
		w.leave(&UnitError{Unit: u.ID, Err: err})
		return report{work: n, verdict: done}
	}
	c.run.Error, c.run.Outputs = err.Error(), nil
	if err := c.close(ctx, state.Failure, nil); err != nil {
		w.stop(err)
	}
	w.events.send(Event{Unit: u.ID, Type: EventFailed, Attempt: n.tries, Error: err.Error()})
	return report{work: n, verdict: failed, err: &UnitError{Unit: u.ID, Attempt: n.tries, Err: err}}
}

// write collects the inputs of the record and writes it.
func (w *walk) write(ctx context.Context, u *ir.Unit, x Recorder) (map[string]artifact.Artifact, map[string]float64, error) {
	r, err := w.read(ctx, u)
	if err != nil {
		return nil, nil, err
	}
	return x.Write(ctx, r)
}

// unwrite removes what was written for a record whose apply was killed before it was
// recorded, unless it is declared now or was recorded before. The revision shows what was
// written.
func (w *walk) unwrite(ctx context.Context, r state.Run) error {
	rev, err := w.o.Store.Revision(ctx, r.Revision)
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	b, err := w.o.Artifacts.Bytes(ctx, rev.IR)
	if err != nil {
		return nil // lost together with all other information on it
	}
	var sys ir.System
	if err := json.Unmarshal(b, &sys); err != nil {
		return fmt.Errorf("system of revision %d: %w", r.Revision, err)
	}
	u := sys.Unit(r.Unit)
	if u == nil || u.Kind != ir.Record {
		return nil
	}
	before, err := w.o.Store.Unit(ctx, r.Unit)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	keep := slices.Clone(w.plan.System.Units)
	if before != nil {
		keep = append(keep, *before)
	}
	return w.o.Records.remove(u, keep)
}

// read collects the inputs of a record.
func (w *walk) read(ctx context.Context, u *ir.Unit) (Record, error) {
	r := Record{Unit: u, Inputs: map[string]RecordInput{}, Now: w.o.Now()}
	for _, in := range u.Inputs {
		a, run := w.input(u, in.Port)
		if run == nil {
			continue
		}
		r.Inputs[in.Port] = RecordInput{a, run.Key}
		if a.Kind != string(ir.Report) {
			continue
		}
		_, err := w.check(ctx, a.Digest)
		if err == nil {
			r.Metrics, err = readReport(w.o.Artifacts.Path(a.Digest))
		}
		if err != nil {
			return r, fmt.Errorf("input %s: %w", in.Port, err)
		}
	}
	return r, nil
}
