package executors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// Garbage is something that is no longer needed.
type Garbage struct {
	Kind string `json:"kind"` // "artifact", "run", "checkpoints", "code", or a kind of the [Collector]
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
}

// A Collector keeps more for units than Destroy removes, such as images.
type Collector interface {
	// Collect returns what it keeps and nobody needs, and removes it unless dry. It may
	// be called again after a kill. A [PartialError] says where it could not look.
	Collect(ctx context.Context, n Needed, dry bool) ([]Garbage, error)
}

// Needed is what a [Collector] must keep.
type Needed struct {
	Tasks map[string]bool // by name: those that are deployed, in the journal, or kept with their logs
	Units []ir.Unit       // that are deployed, or that a kept revision can restore
	// Checkpoints are the keys of runs that may yet resume from checkpoints.
	Checkpoints map[string]bool
	// Digests are those of the artifacts that are kept.
	Digests map[string]bool
	Since   time.Time // see [Retention]
}

// A Collection is what can be removed.
type Collection struct {
	Oldest    map[string]int       // by environment: number of the oldest revision to keep
	Revisions []state.Revision     // to remove
	Runs      int                  // to remove
	Models    []state.ModelVersion // to remove
	Garbage   []Garbage            // files, and what an executor keeps
	// Measurements and Acts are how many measurements of monitors and acts of loops to remove.
	Measurements, Acts int
	// Unseen says where the executor keeps something and could not look, or is nil.
	Unseen *PartialError

	o       Options
	pruning state.Pruning
	needed  Needed
	// removing is called before each removal. An error stops it.
	removing func(g Garbage) error
}

// Collect finds what is neither deployed in an environment, nor kept by k, nor needed by what is
// in the journal. It does not change anything yet. The lease of o guards both Collect and
// [Collection.Remove]: it is that of [state.All], because what nothing refers to yet may belong
// to an apply of another environment.
func Collect(ctx context.Context, o Options, k Retention) (*Collection, error) {
	c, err := collect(ctx, o.withDefaults(), k)
	if err != nil {
		return nil, fmt.Errorf("find garbage: %w", err)
	}
	return c, nil
}

func collect(ctx context.Context, o Options, k Retention) (*Collection, error) {
	envs, err := o.Store.Environments(ctx)
	if err != nil {
		return nil, err
	}
	l := roots{units: map[string]bool{}, oldest: map[string]int{}}
	if l.runs, err = o.Store.Ledger(ctx); err != nil {
		return nil, err
	}
	c := &Collection{o: o, Oldest: l.oldest}
	blobs := map[string]bool{} // of which the revisions consist
	for _, env := range envs {
		if err := c.environment(ctx, o.Store.In(env), k, &l, blobs); err != nil {
			return nil, err
		}
	}
	var digests map[string]bool
	c.pruning, digests = k.prune(l)
	if err := c.records(ctx, envs, k); err != nil {
		return nil, err
	}
	c.Runs, c.Models = len(c.pruning.Runs)+len(c.pruning.Strip), c.pruning.Models
	for _, u := range c.needed.Units {
		blobs[u.Code.Lock] = true
		for _, lock := range u.Code.Environments {
			blobs[lock] = true
		}
		for _, f := range u.Code.Files {
			blobs[f.Digest] = true
		}
	}
	c.needed.Since, c.needed.Tasks, c.needed.Checkpoints = k.Since, tasks(l, c.pruning), resumable(l)
	maps.Copy(digests, blobs)
	c.needed.Digests = digests
	return c, c.look(ctx)
}

// environment adds what an environment needs.
func (c *Collection) environment(ctx context.Context, s *state.Store, k Retention, l *roots, blobs map[string]bool) error {
	all, err := s.Revisions(ctx, 0)
	if err != nil {
		return err
	}
	pending, err := s.Pending(ctx)
	if err != nil {
		return err
	}
	current, err := s.Current(ctx)
	if err != nil {
		return err
	}
	models, err := s.Registry(ctx)
	if err != nil {
		return err
	}
	l.models = append(l.models, models)
	oldest := k.oldest(all, pending, c.o.Now())
	l.oldest[s.Env()] = oldest
	for _, r := range all {
		if r.Number < oldest {
			c.Revisions = append(c.Revisions, r)
			continue
		}
		if err := c.revision(ctx, r, l, blobs); err != nil {
			return err
		}
	}
	return c.inUse(ctx, s, pending, current, l)
}

// revision adds what a kept revision needs. If parts of it were removed by hand, it
// cannot be restored and needs nothing.
func (c *Collection) revision(ctx context.Context, r state.Revision, l *roots, blobs map[string]bool) error {
	for _, digest := range []string{r.IR, r.Plan, r.Deployed} {
		blobs[digest] = true
	}
	var sys ir.System
	var deployed state.Deployed
	var plan struct { // of [planner.Plan]
		Items []state.DeployedUnit // what is planned for each unit, where known
	}
	for digest, v := range map[string]any{r.IR: &sys, r.Plan: &plan, r.Deployed: &deployed} {
		if digest == "" {
			continue
		}
		b, err := c.o.Artifacts.Bytes(ctx, digest)
		if errors.Is(err, artifact.ErrMissing) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(b, v)
		}
		if err != nil {
			return fmt.Errorf("cannot determine what revision %d needs: %w", r.Number, err)
		}
	}
	for _, s := range slices.AppendSeq(plan.Items, maps.Values(deployed)) {
		l.deployed = append(l.deployed, s)
		if s.Pinned == nil {
			continue
		}
		if err := c.pinned(ctx, s.Key, *s.Pinned, l); err != nil {
			return err
		}
	}
	c.needed.Units = append(c.needed.Units, sys.Units...)
	for _, u := range sys.Units {
		l.units[u.ID] = true
	}
	return nil
}

// inUse adds what is deployed in an environment, and what its journal may continue.
func (c *Collection) inUse(ctx context.Context, s *state.Store, pending []state.Pending, current map[string]state.Current, l *roots) error {
	l.pending = append(l.pending, pending...)
	for id, current := range current {
		l.current = append(l.current, current)
		l.units[id] = true
		u, err := s.Unit(ctx, id)
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return err
		}
		if u != nil {
			c.needed.Units = append(c.needed.Units, *u)
		}
		r, err := s.Run(ctx, current.Run)
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return err
		}
		if r != nil {
			l.inputs = appendInputs(l.inputs, r.Inputs)
		}
		if err := c.champion(ctx, current.Route, l); err != nil {
			return err
		}
	}
	for _, p := range pending {
		l.inputs = appendInputs(l.inputs, p.Run.Inputs)
		// Its outputs may be in the store already, but not recorded yet.
		for _, a := range receiptIn(layout{c.o.Dir}.run(taskOf(p.Run))) {
			l.inputs = append(l.inputs, a.Digest)
		}
	}
	return nil
}

// champion adds what the champion of a release reads, which an abort starts again.
func (c *Collection) champion(ctx context.Context, r *state.Route, l *roots) error {
	if r == nil || len(r.Versions) < 2 || r.Champion().Unit == nil {
		return nil
	}
	v := r.Champion()
	return c.pinned(ctx, v.Key, state.Pinned{Unit: *v.Unit, Run: v.Run}, l)
}

// pinned adds what a service needs that is started again from what its run read.
func (c *Collection) pinned(ctx context.Context, key string, p state.Pinned, l *roots) error {
	c.needed.Units = append(c.needed.Units, p.Unit)
	run, err := c.o.Store.Run(ctx, p.Run)
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	l.deployed = append(l.deployed, state.DeployedUnit{Key: key, Run: p.Run})
	l.inputs = appendInputs(l.inputs, run.Inputs)
	return nil
}

func appendInputs(digests []string, inputs map[string]string) []string {
	for name, digest := range inputs {
		if !strings.HasPrefix(name, "file:") {
			digests = append(digests, digest)
		}
	}
	return digests
}

// tasks returns the names of the tasks whose folders are kept.
func tasks(l roots, p state.Pruning) map[string]bool {
	gone := map[int64]bool{}
	for _, ids := range [][]int64{p.Runs, p.Strip} {
		for _, id := range ids {
			gone[id] = true
		}
	}
	out := map[string]bool{}
	for _, r := range l.runs {
		if !gone[r.ID] && r.Outcome != state.Pruned {
			out[taskOf(r)] = true
			if r.Log != "" { // the unit may have been renamed since
				out[filepath.Base(filepath.Dir(filepath.FromSlash(r.Log)))] = true
			}
		}
	}
	for _, c := range l.current {
		if c.Handle != nil {
			out[c.Handle.ID] = true
		}
	}
	for _, e := range l.pending {
		if e.Handle != nil {
			out[e.Handle.ID] = true
		}
	}
	return out
}

// look finds unused files, and asks the executor.
func (c *Collection) look(ctx context.Context) error {
	digests, err := c.o.Artifacts.All()
	if err != nil {
		return err
	}
	for _, digest := range digests {
		if !c.needed.Digests[digest] {
			c.add("artifact", digest, c.o.Artifacts.Path(digest))
		}
	}
	l := layout{c.o.Dir}
	err = below(filepath.Join(c.o.Dir, "runs"), func(name, path string) {
		if !c.needed.Tasks[name] {
			c.add("run", name, path)
		}
	})
	if err != nil {
		return err
	}
	err = below(filepath.Join(c.o.Dir, checkpointsFolder), func(key, path string) {
		if !c.needed.Checkpoints[key] {
			c.add("checkpoints", key, path)
		}
	})
	if err != nil {
		return err
	}
	code := map[string]bool{}
	for _, u := range c.needed.Units {
		code[l.code(u.Code.Files)], code[l.lock(u.Code.Lock)] = true, true
		for _, lock := range u.Code.Environments {
			code[l.lock(lock)] = true
		}
	}
	err = below(filepath.Join(c.o.Dir, "code"), func(name, path string) {
		if !code[path] {
			c.add("code", name, path)
		}
	})
	if err != nil {
		return err
	}
	if x, ok := c.o.Executor.(Collector); ok {
		found, err := x.Collect(ctx, c.needed, true)
		if err != nil && !errors.As(err, &c.Unseen) {
			return err
		}
		c.Garbage = append(c.Garbage, found...)
	}
	return nil
}

func (c *Collection) add(kind, name, path string) {
	bytes, _ := size(path) // as far as it is readable
	c.Garbage = append(c.Garbage, Garbage{Kind: kind, Name: name, Size: bytes})
}

// below calls f for each entry of a folder, if the folder exists.
func below(dir string, f func(name, path string)) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		f(e.Name(), filepath.Join(dir, e.Name()))
	}
	return err
}

// Empty reports whether there is nothing to remove.
func (c *Collection) Empty() bool {
	return len(c.Revisions)+c.Runs+len(c.Models)+len(c.Garbage)+c.Measurements+c.Acts == 0
}

// Remove removes what was found: first from the state, in one transaction, and then the
// files that are no longer referenced. If it is killed, the next collection finishes the
// work. What cannot be removed stays, and is reported in the error.
func (c *Collection) Remove(ctx context.Context) error {
	if err := c.o.Lease.Prune(ctx, c.pruning); err != nil {
		return err
	}
	remove := map[string]func(name string) error{
		"artifact":    c.o.Artifacts.Remove,
		"run":         func(name string) error { return files.RemoveAll(filepath.Join(c.o.Dir, "runs", name)) },
		"checkpoints": func(key string) error { return files.RemoveAll(layout{c.o.Dir}.checkpoints(key)) },
		"code":        func(name string) error { return files.RemoveAll(filepath.Join(c.o.Dir, "code", name)) },
	}
	var left error
	for _, g := range c.Garbage {
		if remove[g.Kind] == nil {
			continue // the executor's own
		}
		// No lock guards files: a successor may now use what was unused before.
		err := c.o.Lease.Check(ctx)
		if err == nil && c.removing != nil {
			err = c.removing(g)
		}
		if err != nil {
			return fmt.Errorf("remove garbage: %w", err)
		}
		if err := remove[g.Kind](g.Name); err != nil {
			left = errors.Join(left, fmt.Errorf("remove %s %s: %w", g.Kind, g.Name, err))
		}
	}
	left = errors.Join(left, c.o.Artifacts.Sweep(), layout{c.o.Dir}.sweep())
	if x, ok := c.o.Executor.(Collector); ok {
		if err := c.o.Lease.Check(ctx); err != nil {
			return errors.Join(left, fmt.Errorf("remove garbage: %w", err))
		}
		_, err := x.Collect(ctx, c.needed, false)
		if !errors.As(err, new(*PartialError)) { // what is there was not listed
			left = errors.Join(left, err)
		}
	}
	return left
}
