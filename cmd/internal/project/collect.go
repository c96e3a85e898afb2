package project

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
)

// CollectOptions configure the retention of a collection.
type CollectOptions struct {
	executors.Retention
	// Cache also collects what all systems of a user share. There, what was not used for
	// 30 days is garbage.
	Cache bool
}

// sharedAge is how long something in a cache must be unused to be garbage.
const sharedAge = 30 * 24 * time.Hour

// Garbage is what is neither deployed nor needed for a rollback.
type Garbage struct {
	Oldest    int   `json:"oldest"` // the oldest revision to keep
	Revisions []int `json:"revisions"`
	// Environments are those with a name, of which it keeps and removes revisions too.
	Environments map[string]*OldRevisions `json:"environments,omitempty"`

	Runs   int                  `json:"runs"`
	Models []state.ModelVersion `json:"models"`
	// Measurements and Acts are how many measurements of monitors and acts of loops are garbage.
	Measurements int                 `json:"measurements"`
	Acts         int                 `json:"acts"`
	Garbage      []executors.Garbage `json:"garbage"`
	Size         int64               `json:"size"` // bytes
	Removed      bool                `json:"removed"`

	session *Session
	found   *executors.Collection
	pages   map[string][]executors.Garbage // by environment
	cache   time.Time                      // cutoff for unused parts of the cache; zero keeps the cache
}

// OldRevisions are the revisions of an environment that are garbage.
type OldRevisions struct {
	Oldest    int   `json:"oldest"` // to keep
	Revisions []int `json:"revisions"`
}

// Collect finds garbage of all environments, for a session of [Workspace.LockAll]. It does
// not remove anything yet.
func (s *Session) Collect(ctx context.Context, o CollectOptions) (*Garbage, error) {
	target, err := s.lastTarget(ctx)
	if err != nil {
		return nil, err
	}
	opts, err := s.options(target, s.setupApart(), ApplyOptions{})
	if err != nil {
		return nil, err
	}
	if o.Cache {
		o.Since = time.Now().Add(-sharedAge)
	}
	found, err := executors.Collect(ctx, opts, o.Retention)
	if err != nil {
		return nil, err
	}
	g := &Garbage{
		Oldest: found.Oldest[""], Revisions: []int{}, Runs: found.Runs, Models: append([]state.ModelVersion{}, found.Models...),
		Garbage: append([]executors.Garbage{}, found.Garbage...), session: s, found: found, cache: o.Since,
		Measurements: found.Measurements, Acts: found.Acts,
	}
	if found.Unseen != nil {
		s.set.warn(fmt.Errorf("garbage is left there until tenon gc runs again: %w", found.Unseen))
	}
	g.pages = map[string][]executors.Garbage{}
	for _, env := range slices.Sorted(maps.Keys(found.Oldest)) {
		if env != "" {
			if g.Environments == nil {
				g.Environments = map[string]*OldRevisions{}
			}
			g.Environments[env] = &OldRevisions{Oldest: found.Oldest[env], Revisions: []int{}}
		}
		if g.pages[env], err = s.inEnv(env).oldPages(found.Oldest[env]); err != nil {
			return nil, err
		}
		g.Garbage = append(g.Garbage, g.pages[env]...)
	}
	for _, r := range found.Revisions {
		if e := g.Environments[r.Env]; e != nil {
			e.Revisions = append(e.Revisions, r.Number)
		} else {
			g.Revisions = append(g.Revisions, r.Number)
		}
	}
	if o.Cache {
		unused, err := s.environments().Collect(o.Since, true)
		if err != nil {
			return nil, err
		}
		for _, name := range slices.Sorted(maps.Keys(unused)) {
			g.Garbage = append(g.Garbage, executors.Garbage{Kind: "python environment", Name: name, Size: unused[name]})
		}
	}
	for _, x := range g.Garbage {
		g.Size += x.Size
	}
	return g, nil
}

// Empty reports whether there is nothing to remove.
func (g *Garbage) Empty() bool { return g.found.Empty() && len(g.Garbage) == 0 }

// Remove removes the garbage. The session must still hold the lock.
func (g *Garbage) Remove(ctx context.Context) error {
	if err := g.found.Remove(ctx); err != nil {
		return err
	}
	for env, pages := range g.pages {
		if err := g.session.inEnv(env).removePages(pages); err != nil {
			return err
		}
	}
	if !g.cache.IsZero() {
		if _, err := g.session.environments().Collect(g.cache, false); err != nil {
			return err
		}
	}
	g.Removed = true
	return nil
}

// lastTarget returns the target of the last revision, of any environment.
func (w *Workspace) lastTarget(ctx context.Context) (ir.Target, error) {
	envs, err := w.store.Environments(ctx)
	if err != nil {
		return ir.Target{}, err
	}
	var last []state.Revision
	for _, env := range envs {
		r, err := w.store.In(env).Revisions(ctx, 1)
		if err != nil {
			return ir.Target{}, err
		}
		if len(last) == 0 || len(r) > 0 && r[0].Started.After(last[0].Started) {
			last = r
		}
	}
	if len(last) > 0 {
		if sys, err := w.system(ctx, &last[0]); err == nil && sys.Target.Executor != "" {
			return sys.Target, nil
		}
	}
	return anyTarget, nil
}
