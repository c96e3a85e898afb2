package executors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// A recordKind is how the engine writes one kind of record. Each function may
// be called again after a kill, and then changes nothing more.
type recordKind struct {
	// write makes the record so, and returns its outputs and what it is judged by.
	write func(ctx context.Context, w *walk, n *work) (map[string]artifact.Artifact, map[string]float64, error)
	// lost tells why what was written is not there as it was, or "". Nil is never.
	lost func(l layout, u *ir.Unit) string
	// remove takes away what was written for the unit, as far as it is not that
	// of a unit of the plan, or of kept. Nil leaves it as history.
	remove func(w *walk, u *ir.Unit, kept ...ir.Unit) error
}

const rulesComponent = "slo.rules"

// records lists the components of records.
var records = map[string]recordKind{
	rulesComponent:   {write: writeRules, lost: rulesLost, remove: removeRules},
	"registry.model": {write: registerModel},
}

// Written returns a function that tells why what was written for a record, below
// the state folder dir, is not there any more as it was; "" if it is.
func Written(dir string) func(u *ir.Unit) string {
	return func(u *ir.Unit) string {
		if kind := records[u.Component]; u.Kind == ir.Record && kind.lost != nil {
			return kind.lost(layout{dir}, u)
		}
		return ""
	}
}

// written reports whether what was written for a record is still there.
func (w *walk) written(u *ir.Unit) bool { return Written(w.o.Dir)(u) == "" }

// record writes a record: journal, write, record.
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
	w.tell.tell(Event{Unit: u.ID, Type: EventStarted, Attempt: n.tries})
	kind, known := records[u.Component]
	if !known {
		err = fmt.Errorf("there is no record %q", u.Component)
	} else if err = w.hold(ctx); err == nil {
		c.run.Outputs, c.run.Metrics, err = kind.write(ctx, w, n)
	}
	for _, out := range u.Outputs {
		if _, ok := c.run.Outputs[out.Port]; err == nil && !ok {
			err = fmt.Errorf("the record %s has no output %s", u.Component, out.Port)
		}
	}
	if err == nil {
		err = c.finish(ctx, nil)
	}
	if err == nil && before != nil && kind.remove != nil && before.Component == u.Component {
		if err = w.hold(ctx); err == nil {
			err = kind.remove(w, before) // of its former self, what is not its own any more
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
	w.tell.tell(Event{Unit: u.ID, Type: EventFailed, Attempt: n.tries, Error: err.Error()})
	return report{work: n, verdict: failed, err: &UnitError{Unit: u.ID, Attempt: n.tries, Err: err}}
}

// Bring makes the rules below the state folder dir those that stand, where another
// machine has applied them. It is for a state that machines share; nobody on this one
// may be applying.
func Bring(ctx context.Context, s *state.Store, dir string) error {
	current, err := s.Current(ctx)
	if err != nil {
		return err
	}
	l, stand := layout{dir}, map[string]bool{}
	for unit, c := range current {
		if c.Kind != ir.Record {
			continue
		}
		u, err := s.Unit(ctx, unit)
		if err != nil {
			return err
		}
		if u.Component != rulesComponent {
			continue
		}
		r, err := rulesOf(u)
		if err != nil {
			return err
		}
		stand[filepath.Clean(r.File)] = true
		if rulesLost(l, u) == "" {
			continue
		}
		if err := r.write(l); err != nil {
			return err
		}
	}
	return filepath.WalkDir(l.rules(""), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.IsDir() {
			return nil
		}
		if rel, relErr := filepath.Rel(l.rules(""), path); err == nil && relErr == nil && !stand[rel] {
			err = os.Remove(path)
		}
		return err
	})
}

// unwrite takes away what was written for a record that was killed before it was
// recorded, as far as it is neither declared now nor recorded before. What that
// was, the revision tells.
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
		return nil // lost with all else that tells of it
	}
	var sys ir.System
	if err := json.Unmarshal(b, &sys); err != nil {
		return fmt.Errorf("system of revision %d: %w", r.Revision, err)
	}
	u := sys.Unit(r.Unit)
	if u == nil || u.Kind != ir.Record || records[u.Component].remove == nil {
		return nil
	}
	before, err := w.o.Store.Unit(ctx, r.Unit)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	var kept []ir.Unit
	if before != nil {
		kept = append(kept, *before)
	}
	return records[u.Component].remove(w, u, kept...)
}

// A rulesFile is the parameters of "slo.rules".
type rulesFile struct {
	File    string `json:"file"`
	Content string `json:"content"`
}

func rulesOf(u *ir.Unit) (rulesFile, error) {
	var r rulesFile
	if err := json.Unmarshal(u.Params, &r); err != nil {
		return r, fmt.Errorf("parameters of %s: %w", u.ID, err)
	}
	if !filepath.IsLocal(filepath.FromSlash(r.File)) {
		return r, fmt.Errorf("%q is no name of a file of rules", r.File)
	}
	return r, nil
}

// writeRules writes a file of Prometheus rules below rules/ of the state folder,
// and keeps it as an artifact.
func writeRules(ctx context.Context, w *walk, n *work) (map[string]artifact.Artifact, map[string]float64, error) {
	r, err := rulesOf(n.unit)
	if err != nil {
		return nil, nil, err
	}
	digest, err := w.o.Artifacts.PutBytes(ctx, []byte(r.Content))
	if err != nil {
		return nil, nil, err
	}
	if err := r.write(w.layout); err != nil {
		return nil, nil, err
	}
	return map[string]artifact.Artifact{"rules": {Digest: digest, Kind: string(ir.File), Size: int64(len(r.Content))}}, nil, nil
}

func (r rulesFile) write(l layout) error {
	path := l.rules(r.File)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = files.WriteSynced(path, []byte(r.Content), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	return nil
}

func rulesLost(l layout, u *ir.Unit) string {
	r, err := rulesOf(u)
	if err != nil {
		return err.Error()
	}
	b, err := os.ReadFile(l.rules(r.File))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("rules/%s is gone", r.File)
	case err != nil:
		return fmt.Sprintf("rules/%s cannot be read: %v", r.File, err)
	case string(b) != r.Content:
		return fmt.Sprintf("rules/%s was changed by hand", r.File)
	}
	return ""
}

func removeRules(w *walk, u *ir.Unit, kept ...ir.Unit) error {
	r, err := rulesOf(u)
	if err != nil {
		return nil // it was never written
	}
	for _, other := range slices.Concat(w.plan.System.Units, kept) {
		if other.Component != u.Component {
			continue
		}
		if o, err := rulesOf(&other); err == nil && filepath.Clean(o.File) == filepath.Clean(r.File) {
			return nil
		}
	}
	if err := os.Remove(w.layout.rules(r.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove rules: %w", err)
	}
	return nil
}

// registerModel adds the model on port "model" to the registry, with the metrics
// of the report on port "report" if there is one, and passes the model on. A
// verdict on port "verdict" is only waited for.
func registerModel(ctx context.Context, w *walk, n *work) (map[string]artifact.Artifact, map[string]float64, error) {
	model, run := w.input(n.unit, "model")
	if run == nil {
		return nil, nil, errors.New("it has no input model")
	}
	var metrics map[string]float64
	if report, from := w.input(n.unit, "report"); from != nil {
		err := w.check(ctx, report.Digest)
		if err == nil {
			metrics, err = readReport(w.o.Artifacts.Path(report.Digest))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("input report: %w", err)
		}
	}
	if _, err := w.o.Lease.Register(ctx, state.ModelVersion{
		Model: n.unit.Entity, Digest: model.Digest, Key: run.Key, Metrics: metrics, Created: w.o.Now(),
	}); err != nil {
		return nil, nil, &stateError{err}
	}
	return map[string]artifact.Artifact{"model": model}, metrics, nil
}
