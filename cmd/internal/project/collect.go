package project

import (
	"context"
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
	Oldest    int                  `json:"oldest"` // the oldest revision to keep
	Revisions []int                `json:"revisions"`
	Runs      int                  `json:"runs"`
	Models    []state.ModelVersion `json:"models"`
	Garbage   []executors.Garbage  `json:"garbage"`
	Size      int64                `json:"size"` // bytes
	Removed   bool                 `json:"removed"`

	session *Session
	found   *executors.Collection
	pages   []executors.Garbage
	cache   time.Time // cutoff for unused parts of the cache; zero keeps the cache
}

// Collect finds garbage. It does not remove anything yet.
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
		Oldest: found.Oldest, Revisions: []int{}, Runs: found.Runs, Models: append([]state.ModelVersion{}, found.Models...),
		Garbage: append([]executors.Garbage{}, found.Garbage...), session: s, found: found, cache: o.Since,
	}
	for _, r := range found.Revisions {
		g.Revisions = append(g.Revisions, r.Number)
	}
	if g.pages, err = s.oldPages(found.Oldest); err != nil {
		return nil, err
	}
	g.Garbage = append(g.Garbage, g.pages...)
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
	if err := g.session.removePages(g.pages); err != nil {
		return err
	}
	if !g.cache.IsZero() {
		if _, err := g.session.environments().Collect(g.cache, false); err != nil {
			return err
		}
	}
	g.Removed = true
	return nil
}

// lastTarget returns the target of the last revision.
func (w *Workspace) lastTarget(ctx context.Context) (ir.Target, error) {
	last, err := w.store.Revisions(ctx, 1)
	if err != nil {
		return ir.Target{}, err
	}
	if len(last) > 0 {
		if sys, err := w.system(ctx, &last[0]); err == nil && sys.Target.Executor != "" {
			return sys.Target, nil
		}
	}
	return anyTarget, nil
}
