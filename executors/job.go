package executors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/outputs"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// task prepares the unit to run: its folder, its code, its inputs.
func (c *call) task(ctx context.Context) (Task, error) {
	u := c.n.unit
	t := Task{Unit: *u, Key: c.n.key, Name: c.name, Image: c.image(ctx, c.n), Inputs: map[string]step.Port{}, Leaving: Leaving(c.plan), State: c.plan.State.Lineage, Environment: c.environment(), Devices: c.n.devices}
	var err error
	if t.Dir, err = c.layout.makeRun(c.name); err != nil {
		return t, err
	}
	if u.Keeps != "" {
		if t.Kept, err = c.layout.makeKept(c.environment(), u.ID); err != nil {
			return t, err
		}
	}
	if u.Checkpoints > 0 && !c.n.audit { // an audit compares a whole run
		if t.Checkpoints, err = c.makeCheckpoints(u.Checkpoints); err != nil {
			return t, err
		}
	}
	if err = c.layCode(ctx, u, &t); err != nil {
		return t, err
	}
	if c.n.item.Pinned != nil {
		t.Inputs, err = c.recordedPorts(ctx, u, c.n.inputs)
	} else {
		t.Inputs, err = c.ports(ctx, c.n)
	}
	if err != nil {
		return t, err
	}
	if t.Files, err = c.files(u); err != nil {
		return t, err
	}
	if t.Env, err = c.env(u); err != nil {
		return t, err
	}
	if u.Kind == ir.Service {
		err = c.released(ctx, &t)
	}
	c.secrets = t.Env
	return t, err
}

// layCode writes the folder with the code of a task's unit and the files that lock its
// environments, if it has some.
func (w *walk) layCode(ctx context.Context, u *ir.Unit, t *Task) (err error) {
	w.laying.Lock()
	defer w.laying.Unlock()
	blobs := w.codeBlobs(ctx, u)
	if t.Code, err = w.layout.makeCode(u.Code.Files, blobs); err != nil {
		return err
	}
	if t.Lock, err = w.layout.makeLock(u.Code.Lock, blobs); err != nil {
		return err
	}
	for _, digest := range u.Code.Environments {
		if t.Environments == nil {
			t.Environments = map[string]string{}
		}
		if t.Environments[digest], err = w.layout.makeLock(digest, blobs); err != nil {
			return err
		}
	}
	return nil
}

// env resolves the unit's secrets.
func (w *walk) env(u *ir.Unit) (map[string]string, error) {
	if len(u.Secrets) == 0 {
		return nil, nil
	}
	if w.o.Secrets == nil {
		return nil, fmt.Errorf("secret %s: this apply does not resolve secrets", u.Secrets[0].Name)
	}
	env := make(map[string]string, len(u.Secrets))
	for _, s := range u.Secrets {
		if s.Kubernetes != nil {
			continue // the cluster provides it
		}
		v, err := w.o.Secrets(s)
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", s.Name, err)
		}
		env[s.Name] = v
	}
	return env, nil
}

// commit stores the outputs of a job that has succeeded and records the run. A cancel
// does not stop it, because the work is done.
func (c *call) commit(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	outputs, err := c.outputs(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(c.unread(ctx, c.n), c.untouched(ctx, c.n)); err != nil {
		return err
	}
	if c.run.Metrics, err = readMetrics(filepath.Join(c.dir, MetricsFile)); err != nil {
		return err
	}
	c.vacate()
	put := c.o.Artifacts.Put
	if c.mayStay(outputs) {
		put = c.o.Artifacts.Add
	} else if err := c.list(outputs); err != nil {
		return err
	}
	for _, port := range sortedKeys(outputs) {
		a := outputs[port]
		path := c.out(port)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && c.o.Artifacts.Has(a.Digest) {
			// The apply that moved it was killed then.
			if err := c.o.Artifacts.Share(ctx, a.Digest); err != nil {
				return fmt.Errorf("output %s: %w", port, err)
			}
			continue
		}
		stored, err := put(ctx, path, a.Kind)
		if err != nil {
			return fmt.Errorf("output %s: %w", port, err)
		}
		if stored.Digest != a.Digest {
			return fmt.Errorf("output %s changed after the step had ended: a process that it started is still writing", port)
		}
		if t, err := c.o.Artifacts.Traits(a.Digest); err == nil {
			c.vouch(a.Digest, t)
		}
	}
	c.run.Outputs = outputs
	return c.finish(ctx, nil)
}

// finish records the run, and makes it current for the unit.
func (c *call) finish(ctx context.Context, h *state.Handle) error {
	n, now := c.n, c.o.Now()
	if r := n.route; r != nil && len(r.Versions) > 1 && r.Since.IsZero() {
		r.Since = now
	}
	current := state.Current{
		Unit: n.unit.ID, Kind: n.unit.Kind, Definition: n.unit.Digest, Key: n.key,
		Revision: c.result.Revision, Handle: h, Since: now, Route: n.route,
	}
	if was, ok := c.walk.current[n.unit.ID]; ok && c.o.act == state.Repair {
		current.Revision = was.Revision // which deployed it
	}
	if err := c.close(ctx, state.Done, &current); err != nil {
		return &stateError{err}
	}
	c.recorded = true
	c.forgetCheckpoints()
	c.setResult(n.unit.ID, &c.run)
	e := Event{Unit: n.unit.ID, Type: EventFinished, Attempt: n.tries, Adopted: c.adopted, Duration: c.took(), Metrics: c.run.Metrics, Log: c.log()}
	if n.unit.Kind == ir.Service {
		e.Type, e.Endpoint = EventReady, h.Endpoint
	}
	c.events.send(e)
	switch {
	case c.vacated:
		c.sweeps.Go(func() {
			defer func() { <-c.outgoing }()
			c.destroy(ctx)
		})
	case n.unit.Kind == ir.Job:
		c.destroy(ctx)
	}
	return nil
}

// vacate frees the resources of the job for other units, if its executor knows that
// nothing of it runs any more. The remaining work mostly waits for the disk, which many
// jobs can do at once. The job keeps its GPUs as long as it is in the journal, and its
// place if the user limits how many units run at a time.
func (c *call) vacate() {
	if !c.status.Over || len(c.run.Devices) > 0 || c.o.Parallel > 0 {
		return
	}
	c.outgoing <- struct{}{}
	c.vacated = true
	c.reports <- report{work: c.n, verdict: vacated}
}

// outputs returns the verified outputs of a run, by port.
func (c *call) outputs(ctx context.Context) (_ map[string]artifact.Artifact, err error) {
	if c.adopted {
		if outputs := c.listed(); outputs != nil {
			return outputs, nil
		}
	}
	if limit := c.verifiesWithin(); limit > 0 {
		late := fmt.Errorf("its outputs were not verified within %s: they are too large for its timeout", limit)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, late)
		defer cancel()
		defer func() {
			if err != nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
		}()
	}
	outputs := map[string]artifact.Artifact{}
	var faults []error
	for _, out := range c.n.unit.Outputs {
		// Digest first: a later change is noticed when the output is moved, so that what
		// is recorded is what was verified.
		a := artifact.Artifact{Kind: string(out.Kind)}
		var unread error
		a.Digest, unread = artifact.Digest(ctx, c.out(out.Port))
		refs, err := c.referred(ctx, out)
		if err != nil {
			return nil, err
		}
		rows, err := verifyOutput(ctx, out, c.out(out.Port), refs, c.o.Verify)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if err = unread; err == nil {
			a.Rows = rows
			a.Size, err = size(c.out(out.Port))
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("output %s: %w", out.Port, err))
		}
		outputs[out.Port] = a
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return outputs, nil
}

// referred returns the foreign keys of an output, with the tables that they refer to.
func (c *call) referred(ctx context.Context, out ir.Output) ([]Referred, error) {
	refs := make([]Referred, len(out.References))
	for i, r := range out.References {
		refs[i] = Referred{Reference: r, Path: c.out(r.Output), Table: tableName(c.n.unit.ID)}
		if r.Input == "" {
			continue
		}
		digest := c.n.inputs[r.Input]
		if _, err := c.check(ctx, digest); err != nil {
			return nil, fmt.Errorf("input %s: %w", r.Input, err)
		}
		refs[i].Path = c.o.Artifacts.Path(digest)
		for _, in := range c.n.unit.Inputs {
			if in.Port == r.Input {
				refs[i].Table = tableName(in.Unit)
			}
		}
	}
	return refs, nil
}

// tableName returns the name of the entity behind a unit as users write it.
func tableName(unit string) string {
	entity, _ := ir.SplitID(unit)
	return strings.Replace(entity, "/", ".", 1)
}

// verifiesWithin returns how long the verification of the outputs may take: as long as
// the unit itself, or longer if that is short. 0 means no limit.
func (c *call) verifiesWithin() time.Duration {
	if t := c.n.unit.Timeout; t > 0 {
		return max(t, c.o.Settling)
	}
	return 0
}

// mayStay reports whether the outputs can stay in the run's folder until the run is
// recorded, as hard links of the artifacts: they are files, and nothing runs that could
// write to them. Folders cannot be hard linked.
func (c *call) mayStay(outputs map[string]artifact.Artifact) bool {
	if !c.status.Over {
		return false
	}
	for port := range outputs {
		if info, err := os.Lstat(c.out(port)); err != nil || !info.Mode().IsRegular() {
			return false
		}
	}
	return true
}

// list writes down the outputs before the first of them is moved into the store, so that
// an apply that is killed in between loses none and runs nothing twice.
func (c *call) list(outputs map[string]artifact.Artifact) error {
	b, err := json.Marshal(outputs)
	if err == nil {
		err = files.WriteSynced(filepath.Join(c.dir, receiptName), b, 0o644)
	}
	if err != nil {
		return fmt.Errorf("list the outputs: %w", err)
	}
	return nil
}

const receiptName = "outputs.json"

// receiptIn returns the receipt in the folder of a run, or nil.
func receiptIn(dir string) map[string]artifact.Artifact {
	b, err := outputs.Read(filepath.Join(dir, receiptName))
	if err != nil {
		return nil
	}
	outputs := map[string]artifact.Artifact{}
	if json.Unmarshal(b, &outputs) != nil {
		return nil
	}
	return outputs
}

// listed returns the receipt of an earlier apply. It returns nil if there is none for the
// outputs of the unit, or if an output that it lists no longer exists.
func (c *call) listed() map[string]artifact.Artifact {
	outputs := receiptIn(c.dir)
	if outputs == nil || len(outputs) != len(c.n.unit.Outputs) {
		return nil
	}
	for _, out := range c.n.unit.Outputs {
		a, ok := outputs[out.Port]
		if _, err := os.Lstat(c.out(out.Port)); !ok || err != nil && !c.o.Artifacts.Has(a.Digest) {
			return nil
		}
	}
	return outputs
}

func (c *call) out(port string) string { return filepath.Join(c.dir, "out", port) }

// size returns the total size of all files at path, in bytes.
func size(path string) (total int64, err error) {
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// created returns when an artifact was first made, in the format of the step contract.
func (w *walk) created(ctx context.Context, digest string) (string, error) {
	at, err := w.o.Store.ArtifactCreated(ctx, digest)
	if errors.Is(err, state.ErrNotFound) {
		return "", nil
	}
	return at.Format(time.RFC3339), err
}
