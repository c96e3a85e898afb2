package executors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// examine decides whether a unit has to run, once all its producers are done. The plan
// decides: it skips units with Reuse and None. It does what the plan says even if a run
// of the same key is recorded, because the user requested it, or because the recorded run
// is too old or its artifacts are lost. Only "unless its inputs turn out unchanged" is
// decided here, by the run key. What another unit made under the same key in this apply
// is never made twice.
func (w *walk) examine(ctx context.Context, n *work) report {
	var current bool
	var err error
	if n.item.Action == planner.Release && w.o.act != state.Release {
		current, err = true, w.policy(ctx, n)
	} else if n.item.Action.Changes() {
		current, err = w.unchanged(ctx, n)
	} else {
		current, err = w.asPlanned(ctx, n)
	}
	var broken *stateError
	switch {
	case errors.As(err, &broken):
		w.stop(broken)
		return report{work: n, verdict: canceled}
	case err != nil && ctx.Err() != nil:
		return report{work: n, verdict: canceled}
	case err != nil:
		w.events.send(Event{Unit: n.unit.ID, Type: EventFailed, Error: err.Error()})
		return report{work: n, verdict: unfit, err: &UnitError{Unit: n.unit.ID, Err: err}}
	case current && w.audits(ctx, n):
		return report{work: n, verdict: due}
	case current:
		w.events.send(Event{Unit: n.unit.ID, Type: EventReused})
		return report{work: n, verdict: upToDate}
	}
	return report{work: n, verdict: due}
}

// asPlanned keeps what the plan says is current. It returns false if what was written for
// a record no longer exists.
func (w *walk) asPlanned(ctx context.Context, n *work) (bool, error) {
	if w.o.Records.Lost(n.unit) != "" {
		return false, w.resolve(ctx, n)
	}
	n.key = n.item.Key
	r, err := w.recorded(ctx, n)
	if err != nil {
		return false, err
	}
	if r == nil && n.unit.Kind == ir.Job {
		return false, errors.New("the plan reuses a run that is not recorded: plan again")
	}
	return true, w.makeCurrent(ctx, n, r)
}

// unchanged computes the run key and reports whether the recorded result stays current.
func (w *walk) unchanged(ctx context.Context, n *work) (bool, error) {
	resolve := w.resolve
	if n.item.Pinned != nil {
		resolve = w.pinned
	}
	if err := resolve(ctx, n); err != nil {
		return false, err
	}
	if rejected, err := w.rejected(ctx, n); rejected || err != nil {
		return rejected, err
	}
	if w.plan.BackTo > 0 && n.key != n.item.Key {
		return false, fmt.Errorf("its data has changed since revision %d", w.plan.BackTo)
	}
	if n.unit.Kind != ir.Job {
		c, ok := w.current[n.unit.ID]
		made := ok && c.Revision == w.result.Revision // before this apply was killed
		if !n.item.Unless && !made || !ok || c.Key != n.key || w.o.Records.Lost(n.unit) != "" {
			return false, nil
		}
	}
	r, err := w.recorded(ctx, n)
	if err == nil && r == nil && n.item.Unless {
		r, err = w.shared(ctx, n)
	}
	if err != nil {
		return false, err
	}
	if n.unit.Kind == ir.Job {
		twin := r != nil && (r.Revision == w.result.Revision && r.Env == w.environment() || w.madeSince(r))
		old := r != nil && n.unit.MaxAge > 0 && w.o.Now().Sub(r.Finished) > n.unit.MaxAge
		if r == nil || !twin && (!n.item.Unless || old) {
			return false, nil
		}
	}
	if r == nil && n.unit.HasArtifacts() || !w.intact(n.unit, r) {
		return false, nil
	}
	return true, w.makeCurrent(ctx, n, r)
}

// resolve finds the inputs of the unit and computes its key, as the planner does.
func (w *walk) resolve(ctx context.Context, n *work) error {
	data, err := w.data(ctx, n.unit)
	if err != nil {
		return err
	}
	src := planner.Sources{
		Output: w.output,
		Incumbent: func(model, candidate string) (string, error) {
			v, err := w.o.Store.Incumbent(ctx, model, candidate)
			if err != nil {
				return "", &stateError{err}
			}
			n.incumbent = v
			return planner.IncumbentDigest(v, w.o.Artifacts.Has), nil
		},
		Files: data, Images: w.plan.Images, Base: w.plan.System.Target.Base(), Python: w.python,
	}
	inputs, unknown, err := src.Inputs(n.unit, sortedKeys(data))
	if err != nil {
		return err
	}
	if len(unknown) > 0 {
		if _, ok := planner.Interpreter(unknown[0]); ok {
			return cmp.Or(w.noPython, errors.New("the version of Python is not known"))
		}
		return fmt.Errorf("input %s is missing, although its producer has finished", unknown[0])
	}
	n.inputs, n.key = inputs, planner.RunKey(n.unit, inputs)
	return nil
}

// data returns the digests of the unit's data files, as they are now.
func (w *walk) data(ctx context.Context, u *ir.Unit) (map[string]string, error) {
	if len(u.Files) == 0 {
		return nil, nil
	}
	patterns, err := planner.Files(w.o.Sources, u.Files)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, found := range patterns {
		files = append(files, found...)
	}
	slices.Sort(files)
	return w.o.Digests.Digest(ctx, w.o.Sources, slices.Compact(files))
}

// unread returns an error if a data file no longer matches the digest in the run key.
func (w *walk) unread(ctx context.Context, n *work) error {
	data, err := w.data(ctx, n.unit)
	if err != nil {
		return err
	}
	for _, f := range sortedKeys(data) {
		if n.inputs["file:"+f] != data[f] {
			return fmt.Errorf("%s changed while the step may have been reading it", f)
		}
	}
	return nil
}

// output returns the digest that a finished unit has on a port.
func (w *walk) output(unit, port string) string {
	n := w.byID[unit]
	if n == nil {
		return ""
	}
	if out := outputOf(n.unit, port); out != nil && out.Kind == ir.EndpointOf {
		return planner.EndpointDigest(n.key)
	}
	if r := w.resultOf(unit); r != nil {
		return r.Outputs[port].Digest
	}
	return ""
}

func outputOf(u *ir.Unit, port string) *ir.Output {
	for i := range u.Outputs {
		if u.Outputs[i].Port == port {
			return &u.Outputs[i]
		}
	}
	return nil
}

// resultOf returns the run whose result is current for the unit, or nil.
func (w *walk) resultOf(unit string) *state.Run {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.results[unit]
}

// setResult records the current run of a unit.
func (w *walk) setResult(unit string, r *state.Run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.results[unit] = r
}

// recorded returns the run of the unit's key that the plan names, or else the current
// one, or else the last one that is done; or nil.
func (w *walk) recorded(ctx context.Context, n *work) (*state.Run, error) {
	current := w.resultOf(n.unit.ID)
	var r *state.Run
	var err error
	switch {
	case n.item.Run > 0 && (current == nil || current.ID != n.item.Run):
		r, err = w.o.Store.Run(ctx, n.item.Run)
	case current != nil && current.Key == n.key && (!n.item.Action.Changes() || n.item.Unless):
		return current, nil
	default:
		r, err = w.o.Store.RunFor(ctx, n.unit.ID, n.key)
	}
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	if err != nil && ctx.Err() == nil {
		return nil, &stateError{err}
	}
	return r, err
}

// shared returns the run on another kind of target that gives the same bytes, or nil. The
// unit then has the key of that run.
func (w *walk) shared(ctx context.Context, n *work) (*state.Run, error) {
	key, err := w.sharedKey(ctx, n)
	if err != nil || key == "" {
		return nil, err
	}
	r, err := w.o.Store.RunFor(ctx, n.unit.ID, key)
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, w.unreadable(ctx, err)
	}
	n.key = key
	return r, nil
}

// sharedKey returns the key of such a run, see [planner.SharedKey].
func (w *walk) sharedKey(ctx context.Context, n *work) (string, error) {
	current := w.resultOf(n.unit.ID)
	if current == nil {
		return planner.SharedKey(n.unit, n.inputs, nil), nil
	}
	run, err := w.o.Store.Run(ctx, current.ID) // with its inputs
	if err != nil {
		return "", w.unreadable(ctx, err)
	}
	return planner.SharedKey(n.unit, n.inputs, run.Inputs), nil
}

// unreadable says that the state could not be read, unless the apply ends.
func (w *walk) unreadable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return &stateError{err}
}

// intact reports whether the artifacts of a recorded run exist.
func (w *walk) intact(u *ir.Unit, r *state.Run) bool {
	for _, out := range u.Outputs {
		if out.Kind == ir.EndpointOf {
			continue
		}
		a, ok := r.Outputs[out.Port]
		if !ok || !w.o.Artifacts.Has(a.Digest) {
			return false
		}
	}
	return true
}

// makeCurrent records that an earlier run is current for the unit, unless it is already.
func (w *walk) makeCurrent(ctx context.Context, n *work, r *state.Run) error {
	if r != nil {
		w.setResult(n.unit.ID, r)
	}
	if r != nil {
		for _, port := range sortedKeys(r.Outputs) {
			if err := w.o.Artifacts.Share(ctx, r.Outputs[port].Digest); err != nil {
				return fmt.Errorf("output %s: %w", port, err)
			}
		}
	}
	c, ok := w.current[n.unit.ID]
	if n.unit.Kind != ir.Job || ok && c.Key == n.key && c.Run == r.ID && c.Kind == n.unit.Kind {
		return nil
	}
	err := w.o.Lease.MakeCurrent(context.WithoutCancel(ctx), n.unit, state.Current{
		Unit: n.unit.ID, Kind: n.unit.Kind, Definition: n.unit.Digest, Key: n.key, Run: r.ID,
		Revision: w.result.Revision, Since: w.o.Now(),
	})
	if err != nil {
		return &stateError{err}
	}
	return nil
}

// input returns what is on an input port, and the run that made it; nil if the unit has
// no such port.
func (w *walk) input(u *ir.Unit, port string) (artifact.Artifact, *state.Run) {
	for _, in := range u.Inputs {
		if in.Port == port {
			if r := w.resultOf(in.Unit); r != nil {
				return r.Outputs[in.From], r
			}
		}
	}
	return artifact.Artifact{}, nil
}

// ports returns the inputs of a task.
func (w *walk) ports(ctx context.Context, n *work) (map[string]step.Port, error) {
	ports := make(map[string]step.Port, len(n.unit.Inputs))
	n.traits = make(map[string]artifact.Traits, len(n.unit.Inputs))
	for _, in := range n.unit.Inputs {
		digest := n.inputs[in.Port]
		if digest == "" {
			continue // there is no incumbent
		}
		if v := n.incumbent; in.Incumbent && v != nil && digest != v.Digest {
			ports[in.Port] = step.Port{Kind: in.Kind, Digest: v.Digest, Version: v.Version, Lost: true}
			continue
		}
		p := step.Port{Kind: in.Kind, Schema: in.Schema.Bare(), Keys: in.Keys, Timestamp: in.Timestamp, Digest: digest}
		if from := w.byID[in.Unit]; from != nil {
			if in.Kind == ir.EndpointOf {
				p.Path = address(cmp.Or(from.stays, from.unit).Endpoint)
				ports[in.Port] = p
				continue
			}
			if out := outputOf(from.unit, in.From); out != nil {
				p.Signature = out.Signature.Bare()
			}
		}
		if !w.o.Artifacts.Has(digest) {
			return nil, fmt.Errorf("input %s: %w: %s of %s: plan again to make it again", in.Port, artifact.ErrMissing, in.From, in.Unit)
		}
		var err error
		if n.traits[in.Port], err = w.check(ctx, digest); err != nil {
			return nil, fmt.Errorf("input %s: %s of %s: %w", in.Port, in.From, in.Unit, err)
		}
		if in.Checked {
			continue
		}
		p.Path = w.o.Artifacts.Path(digest)
		if in.Kind == ir.Table {
			p.Format = "parquet"
		}
		if p.Created, err = w.created(ctx, digest); err != nil {
			return nil, err
		}
		if in.Kind == ir.Model {
			if p.Version, err = w.version(ctx, in.Unit, digest); err != nil {
				return nil, err
			}
		}
		ports[in.Port] = p
	}
	return ports, nil
}

// check verifies an artifact before a unit reads it, unless it has not changed since it
// was stored or verified. A damaged artifact must not pass for the content of its digest
// in everything that is made from it.
func (w *walk) check(ctx context.Context, digest string) (artifact.Traits, error) {
	if err := w.o.Artifacts.Fetch(ctx, digest); err != nil {
		return artifact.Traits{}, err
	}
	now, err := w.o.Artifacts.Traits(digest)
	if err != nil {
		return now, err
	}
	w.mu.Lock()
	was, known := w.sound[digest]
	w.mu.Unlock()
	if !known || !was.Same(now) {
		if err := w.o.Artifacts.Check(ctx, digest); err != nil {
			return now, err
		}
	}
	w.vouch(digest, now)
	return now, nil
}

// vouch notes that the artifact, as it is, matches its digest.
func (w *walk) vouch(digest string, t artifact.Traits) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sound[digest] = t
}

// untouched returns an error if an input was written to since the unit was started. The
// unit may have read what was written, and so may others: each of them fails. What does
// not match its digest is removed, so that the next apply makes it again.
func (w *walk) untouched(ctx context.Context, n *work) error {
	var errs []error
	for _, port := range sortedKeys(n.traits) {
		digest := n.inputs[port]
		now, err := w.o.Artifacts.Traits(digest)
		if err == nil && n.traits[port].Same(now) {
			continue
		}
		err = w.o.Artifacts.Check(ctx, digest)
		var damaged *artifact.DamagedError
		switch {
		case errors.As(err, &damaged), err == nil && n.traits[port].Written(now):
			errs = append(errs, fmt.Errorf("input %s was modified while the step ran, by this step or by another one that reads it: inputs are read-only; copy what the step must change", port),
				w.o.Artifacts.Heal(ctx, digest))
		case err != nil:
			errs = append(errs, fmt.Errorf("input %s: %w", port, err))
		}
	}
	return errors.Join(errs...)
}

// address returns where a service listens, as a URL.
func address(e *ir.Endpoint) string {
	if e == nil {
		return ""
	}
	return e.URL()
}

// version returns the registered version of a model, or 0.
func (w *walk) version(ctx context.Context, unit, digest string) (int, error) {
	model, _ := ir.SplitID(unit)
	versions, err := w.o.Store.ModelVersions(ctx, model)
	if err != nil {
		return 0, err
	}
	for _, v := range versions {
		if v.Digest == digest {
			return v.Version, nil
		}
	}
	return 0, nil
}

// files returns the data files of a task, by pattern, with absolute paths.
func (w *walk) files(u *ir.Unit) (map[string][]string, error) {
	if len(u.Files) == 0 {
		return nil, nil
	}
	found, err := planner.Files(w.o.Sources, u.Files)
	if err != nil {
		return nil, err
	}
	abs := maps.Clone(found)
	for pattern, paths := range found {
		abs[pattern] = make([]string, len(paths))
		for i, p := range paths {
			if abs[pattern][i] = filepath.FromSlash(p); !filepath.IsAbs(abs[pattern][i]) {
				abs[pattern][i] = filepath.Join(w.o.Sources, abs[pattern][i])
			}
		}
	}
	return abs, nil
}
