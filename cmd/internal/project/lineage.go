package project

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/lineage"
	"github.com/tenon-ml/tenon/planner"
)

// lineageVersion is the version of the JSON document.
const lineageVersion = 1

// A Trace is where a column comes from, or what depends on it.
type Trace struct {
	Version int `json:"lineage"`
	*lineage.Trace
}

// Lineage compiles the system and returns the lineage of all of its columns.
func (p *Project) Lineage(ctx context.Context) (*lineage.Lineage, error) {
	r, err := p.Compile(ctx)
	if err != nil {
		return nil, err
	}
	return p.LineageOf(ctx, r.System)
}

// LineageOf returns the lineage of a compiled or recorded system.
func (p *Project) LineageOf(ctx context.Context, sys *ir.System) (*lineage.Lineage, error) {
	return lineage.Of(ctx, sys, lineage.Options{Describe: p.set.SQL.Describe, Source: func(file string) []byte {
		b, _ := os.ReadFile(filepath.Join(p.set.Dir, filepath.FromSlash(file)))
		return b
	}})
}

// Trace follows a column such as "features.orders.share", or all columns of a unit, to what
// they come from; if down is set, to what depends on them.
func (p *Project) Trace(ctx context.Context, name string, down bool) (*Trace, error) {
	l, err := p.Lineage(ctx)
	if err != nil {
		return nil, err
	}
	t, err := l.Trace(name, down)
	if unknown := (*lineage.UnknownError)(nil); errors.As(err, &unknown) {
		return nil, &RequestError{err}
	}
	return &Trace{lineageVersion, t}, err
}

// columnChanges returns which columns each change of a query affects, by entity.
func (p *Project) columnChanges(ctx context.Context, before, after *ir.System, c *planner.Comparison) (map[string]*lineage.Change, error) {
	var from, to *lineage.Lineage
	all := map[string]*lineage.Change{}
	for _, e := range c.Entities {
		was := e.Entity
		if e.Was != "" {
			was = e.Was
		}
		old, now := before.Entity(was), after.Entity(e.Entity)
		if old == nil || now == nil || old.Query == "" || now.Query == "" || len(e.Fields) == 0 {
			continue
		}
		if from == nil {
			var err error
			if from, err = p.LineageOf(ctx, before); err != nil {
				return nil, err
			}
			if to, err = p.LineageOf(ctx, after); err != nil {
				return nil, err
			}
		}
		if change := lineage.Changed(from, to, was, e.Entity); change != nil {
			all[e.Entity] = change
		}
	}
	return all, nil
}
