package project

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// knownRows is the source of a training: the rows of its table that were known.
const knownRows = "sources/known"

// train trains the model on the rows that were known at a time, in a state of its own. That is kept, by a
// key of everything that the training depends on, so another simulation trains nothing again.
func (s *simulation) train(ctx context.Context, now time.Time) (v *version, done training, err error) {
	from, err := s.trainsOn()
	if err != nil {
		return nil, done, err
	}
	run, ok := s.deployed.runs[from.Unit]
	if !ok {
		return nil, done, s.refused("%s trains on %s, which was never made: run tenon apply first", s.loop.Loop.Model, from.Unit)
	}
	table, err := s.table(ctx, *from, run.Outputs[from.From].Digest)
	if err != nil {
		return nil, done, err
	}
	cutoff := now.Add(-s.delay)
	sys := &ir.System{Version: ir.Version, Name: "simulation", Target: ir.Target{Name: "simulation", Executor: all.Default}}
	for _, u := range s.system.Units {
		if u.Entity == s.loop.Loop.Model {
			sys.Units = append(sys.Units, alone(u))
		}
	}
	incumbent := ""
	if s.served > 0 {
		incumbent = s.inService().digest
	}
	b, err := json.Marshal([]any{sys.Units, run.Outputs[from.From].Digest, cutoff.UnixMicro(), incumbent})
	if err != nil {
		return nil, done, err
	}
	key := sha256.Sum256(b)
	dir := filepath.Join(s.Workspace.dir, "simulations", hex.EncodeToString(key[:16]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, done, err
	}
	known := filepath.Join(dir, "known.parquet")
	if !exists(known) {
		rows, err := s.duck.prepare(window.Preparation{Cut: &window.Cut{Table: table, Time: from.Timestamp, Before: cutoff, To: known + ".new"}})
		if err == nil && rows.Rows == 0 {
			return nil, training{failed: fmt.Sprintf("no rows of %s were known at %s", from.Unit, date(cutoff))}, nil
		}
		if err == nil {
			err = os.Rename(known+".new", known)
		}
		if err != nil {
			return nil, done, fmt.Errorf("cut %s at %s: %w", from.Unit, date(cutoff), err)
		}
	}
	if err := readKnown(sys, *from, known); err != nil {
		return nil, done, err
	}
	s.set.notify(Notice{Text: fmt.Sprintf("training %s on the rows before %s", s.loop.Loop.Model, date(cutoff))})
	return s.trained(ctx, dir, sys, cutoff)
}

// alone is a unit that runs on this machine, without its pool.
func alone(u ir.Unit) ir.Unit {
	u.Needs, u.Pool, u.Team, u.Kubernetes, u.Retries, u.MaxAge = ir.Resources{MilliCPU: u.Needs.MilliCPU}, "", "", nil, 0, 0
	u.Inputs = slices.Clone(u.Inputs)
	return u
}

// trainsOn returns the input by which the model reads its table.
func (s *simulation) trainsOn() (*ir.Input, error) {
	if s.system.Target.Executor != all.Default {
		return nil, s.refused("%s is trained on the target %s, and --train trains with processes of this machine", s.loop.Loop.Model, s.system.Target.Name)
	}
	var found *ir.Input
	for _, u := range s.system.Units {
		if u.Entity != s.loop.Loop.Model {
			continue
		}
		for _, in := range u.Inputs {
			switch entity, _ := ir.SplitID(in.Unit); {
			case entity == s.loop.Loop.Model:
			case in.Kind != ir.Table, found != nil && (found.Unit != in.Unit || found.From != in.From):
				return nil, s.refused("%s reads %s beside its table: --train cuts one table off at the moment of a training", s.loop.Loop.Model, in.Unit)
			case in.Timestamp == "":
				return nil, s.refused("the rows of %s have no times, so nobody knows which were known at a moment: declare its timestamp, or leave out --train", in.Unit)
			default:
				found = &in
			}
		}
	}
	if found == nil {
		return nil, s.refused("%s reads no table", s.loop.Loop.Model)
	}
	return found, nil
}

// readKnown makes the units of a system read a file instead of their table.
func readKnown(sys *ir.System, from ir.Input, path string) error {
	source := ir.Unit{
		ID: knownRows, Entity: knownRows, Kind: ir.Job, Component: "source.parquet", Code: ir.Code{Runtime: ir.Builtin}, Files: []string{filepath.ToSlash(path)},
		Outputs: []ir.Output{{Port: "out", Kind: ir.Table, Schema: from.Schema, Keys: from.Keys, Timestamp: from.Timestamp}},
	}
	if err := source.Define(); err != nil {
		return err
	}
	for i := range sys.Units {
		u := &sys.Units[i]
		for j := range u.Inputs {
			if in := &u.Inputs[j]; in.Unit == from.Unit && in.From == from.From {
				in.Unit, in.From = source.ID, "out"
			}
		}
		if err := u.Define(); err != nil {
			return err
		}
	}
	sys.Units = append(sys.Units, source)
	slices.SortFunc(sys.Units, func(a, b ir.Unit) int { return strings.Compare(a.ID, b.ID) })
	return nil
}

// trained applies the system of a training, and returns the version that it gives.
func (s *simulation) trained(ctx context.Context, dir string, sys *ir.System, cutoff time.Time) (v *version, done training, err error) {
	set := s.set
	set.Dir, set.State, set.Artifacts, set.Env, set.Notify, set.Tags, set.Faults = dir, filepath.Join(dir, "state"), "", "", nil, nil, Faults{}
	// Folders of code are read-only.
	defer func() { err = errors.Join(err, files.RemoveAll(filepath.Join(dir, "state", "code"))) }()
	ws, err := New(set).Open(ctx)
	if err != nil {
		return nil, done, err
	}
	s.states = append(s.states, ws)
	session, err := ws.Lock(ctx, "tenon simulate", time.Minute)
	if err != nil {
		return nil, done, err
	}
	defer func() { err = errors.Join(err, session.Release(ctx)) }()
	if err := s.compareWith(ctx, session); err != nil {
		return nil, done, err
	}
	plan, err := ws.Plan(ctx, &compiler.Result{System: sys, Blobs: s.blobs}, PlanOptions{})
	if err != nil {
		return nil, done, err
	}
	if plan.Changes() {
		result, err := session.Apply(ctx, plan, ApplyOptions{})
		if err != nil {
			if ctx.Err() != nil || result == nil || len(result.Failed) == 0 {
				return nil, done, err
			}
			done, err = s.jobs(ctx, ws, result.Revision)
			done.failed = fmt.Sprintf("%s: %v", result.Failed[0].Unit, said(result.Failed[0]))
			return nil, done, err
		}
	}
	trainer, out := s.trainer()
	runs, err := ws.store.Runs(ctx, trainer.ID, 1)
	if err != nil || len(runs) == 0 {
		return nil, done, errors.Join(errors.New("the training is not recorded"), err)
	}
	v = &version{of: "trained on rows before " + date(cutoff), digest: runs[0].Outputs[out.Port].Digest, in: ws, inputs: map[string]string{}, until: cutoff}
	for _, in := range trainer.Inputs {
		v.inputs[in.Unit+" "+in.From] = runs[0].Inputs[in.Port]
	}
	v.training, err = s.jobs(ctx, ws, runs[0].Revision)
	return v, v.training, err
}

// compareWith makes the version in service the one that gates compare with.
func (s *simulation) compareWith(ctx context.Context, to *Session) error {
	if s.served == 0 {
		return nil
	}
	v := s.inService()
	if !to.artifacts.Has(v.digest) {
		if err := v.in.check(ctx, &Exported{Digest: v.digest}); err != nil {
			return err
		}
		if _, err := to.artifacts.Add(ctx, v.in.artifacts.Path(v.digest), string(ir.Model)); err != nil {
			return err
		}
	}
	there, err := to.store.ModelVersions(ctx, s.loop.Loop.Model)
	if err != nil || len(there) > 0 {
		return err
	}
	_, err = to.lease.Register(ctx, state.ModelVersion{Model: s.loop.Loop.Model, Digest: v.digest, Key: "simulated", Created: s.o.From})
	return err
}

// jobs returns how long the jobs of the model ran in a revision, and what they cost at the prices of the system.
func (s *simulation) jobs(ctx context.Context, w *Workspace, revision int) (all training, err error) {
	runs, err := w.store.RunsOf(ctx, revision)
	for _, run := range runs {
		u := s.system.Unit(run.Unit)
		if u == nil || u.Entity != s.loop.Loop.Model || u.Kind != ir.Job || run.Attempt == 0 || run.Finished.IsZero() {
			continue
		}
		all.took += run.Took()
		all.cost = all.cost.Plus(s.system.Rate(u).During(run.Took()))
	}
	return all, err
}
