package project

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/lineage"
	"github.com/tenon-ml/tenon/planner"
)

// diffVersion is the version of the JSON document.
const diffVersion = 1

// A Diff is how two versions of a system differ.
type Diff struct {
	Version int     `json:"diff"`
	Before  Version `json:"before"`
	After   Version `json:"after"`
	*planner.Comparison
	// Columns says which columns the change of a query affects, by entity.
	Columns map[string]*lineage.Change `json:"columns,omitempty"`
}

// A Version is one side of a diff.
type Version struct {
	Kind   string `json:"kind"` // "applied", "git", "folder" or "environment"
	Name   string `json:"name"` // as the user gave it
	Commit string `json:"commit,omitempty"`
	System string `json:"system"`
	side   planner.Side
}

// Diff compares two versions. Each is an applied revision ("@3"), a folder or a git
// revision; an empty before means what is deployed, an empty after the system's folder.
func (p *Project) Diff(ctx context.Context, before, after string) (*Diff, error) {
	d := &Diff{Version: diffVersion}
	var err error
	if before != "" {
		d.Before, err = p.version(ctx, before)
	} else {
		d.Before, err = p.deployedVersion(ctx)
	}
	if err != nil {
		return nil, err
	}
	if after == "" {
		after = p.set.Dir
	}
	if d.After, err = p.version(ctx, after); err != nil {
		return nil, err
	}
	times, err := p.times(ctx)
	if err != nil {
		return nil, err
	}
	if d.Comparison, err = planner.Compare(ctx, d.Before.side, d.After.side, times); err != nil {
		return nil, err
	}
	d.Columns, err = p.columnChanges(ctx, d.Before.side.System, d.After.side.System, d.Comparison)
	return d, err
}

// IsFolder reports whether the name of a version is that of a folder.
func IsFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// version resolves a name to a version, and compiles or reads it.
func (p *Project) version(ctx context.Context, name string) (Version, error) {
	if n, ok := revisionNumber(name); ok {
		return p.appliedVersion(ctx, n)
	}
	if IsFolder(name) {
		r, err := p.in(name).Compile(ctx)
		if err != nil {
			return Version{}, err
		}
		return Version{Kind: "folder", Name: name, System: r.System.Name, side: planner.Side{System: r.System, Blobs: r.Blobs}}, nil
	}
	return p.gitVersion(ctx, name)
}

// appliedVersion reads the system of an applied revision, with its code.
func (p *Project) appliedVersion(ctx context.Context, number int) (v Version, err error) {
	err = p.WithApplied(ctx, func(w *Workspace) error {
		r, err := w.revision(ctx, number)
		if err != nil {
			return err
		}
		sys, err := w.system(ctx, r)
		if err != nil {
			return err
		}
		v = Version{Kind: "applied", Name: fmt.Sprintf("@%d", number), Commit: r.Commit, System: sys.Name, side: planner.Side{System: sys, Blobs: w.code(ctx, sys.Units)}}
		return nil
	})
	return v, err
}

// deployedVersion returns what is deployed, unit by unit: the last apply may have failed
// halfway. Its target and pools are those of the last revision.
func (p *Project) deployedVersion(ctx context.Context) (v Version, err error) {
	w, err := p.OpenApplied(ctx)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	return w.deployedIn(ctx)
}

func (w *Workspace) deployedIn(ctx context.Context) (v Version, err error) {
	current, err := w.store.Current(ctx)
	if err != nil {
		return v, err
	}
	sys := &ir.System{Version: ir.Version}
	for id := range current {
		u, err := w.store.Unit(ctx, id)
		if err != nil {
			return v, err
		}
		sys.Units = append(sys.Units, *u)
	}
	slices.SortFunc(sys.Units, func(a, b ir.Unit) int { return strings.Compare(a.ID, b.ID) })
	last, err := w.store.Revisions(ctx, 1)
	if err != nil {
		return v, err
	}
	if len(last) > 0 && len(sys.Units) > 0 {
		r, err := w.system(ctx, &last[0])
		if err != nil {
			return v, err
		}
		sys.Name, sys.Target, sys.Pools = r.Name, r.Target, r.Pools
		if sys.Entities, err = w.entities(ctx, sys.Units, r); err != nil {
			return v, err
		}
	}
	return Version{Kind: "applied", Name: "applied", System: sys.Name, side: planner.Side{System: sys, Blobs: w.code(ctx, sys.Units)}}, nil
}

// times returns how long units took before, if anything was applied.
func (p *Project) times(ctx context.Context) (times map[string][]time.Duration, err error) {
	if there, err := p.hasState(ctx); err != nil || !there {
		return nil, err
	}
	w, err := p.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	return w.store.Estimates(ctx)
}
