package project

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/planner/state"
)

// A snapshot is what was deployed after a revision, or is deployed now.
type snapshot struct {
	revision *state.Revision // nil if it is what is deployed
	system   string
	units    map[string]*ir.Unit
	runs     map[string]state.Run // behind them, unless they were removed
	entities []ir.Entity
	of       string // what it is instead, for people
}

// String names it for people.
func (s *snapshot) String() string {
	if s.of != "" {
		return s.of
	}
	if s.revision == nil {
		return "what is deployed"
	}
	return fmt.Sprintf("revision @%d", s.revision.Number)
}

// deployed returns what is deployed.
func (w *Workspace) deployed(ctx context.Context) (*snapshot, error) {
	s := &snapshot{units: map[string]*ir.Unit{}}
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	if s.runs, err = w.currentRuns(ctx); err != nil {
		return nil, err
	}
	var units []ir.Unit
	for id := range current {
		u, err := w.store.Unit(ctx, id)
		if errors.Is(err, state.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s.units[id] = u
		units = append(units, *u)
	}
	last, err := w.store.Revisions(ctx, 1)
	if err != nil || len(last) == 0 {
		return s, err
	}
	s.system = last[0].System
	if sys, err := w.system(ctx, &last[0]); err == nil { // otherwise entities are unknown
		s.entities, err = w.entities(ctx, units, sys)
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// deployedAt returns what was deployed after a revision, which must have completed.
func (w *Workspace) deployedAt(ctx context.Context, r *state.Revision) (*snapshot, error) {
	s := &snapshot{revision: r, system: r.System, units: map[string]*ir.Unit{}, runs: map[string]state.Run{}}
	if r.Deployed == "" {
		return nil, fmt.Errorf("revision @%d did not complete, so it has no results of its own", r.Number)
	}
	var deployed state.Deployed
	if err := w.recorded(ctx, r, "list of what was deployed", r.Deployed, &deployed); err != nil {
		return nil, err
	}
	sys, err := w.system(ctx, r)
	if err != nil {
		return nil, err
	}
	s.entities = sys.Entities
	for id, was := range deployed {
		if u := sys.Unit(id); u != nil {
			s.units[id] = u
		}
		run, err := w.store.RunFor(ctx, id, was.Key)
		if was.Run > 0 {
			run, err = w.store.Run(ctx, was.Run)
		}
		if errors.Is(err, state.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s.runs[id] = *run
	}
	return s, nil
}

// named returns the unit with a name, or the units of the entity with that name, in the
// order for people. A dot may replace a slash, as in the language.
func (s *snapshot) named(name string) (string, []string, error) {
	var all []ir.Unit
	candidates := map[string]bool{}
	for id, u := range s.units {
		all = append(all, *u)
		candidates[id], candidates[u.Entity] = true, true
	}
	for _, n := range []string{name, unitName(name)} {
		if s.units[n] != nil {
			return n, []string{n}, nil
		}
		var units []string
		for id, u := range s.units {
			if u.Entity == n {
				units = append(units, id)
			}
		}
		if len(units) > 0 {
			slices.SortFunc(units, Order(all))
			return n, units, nil
		}
	}
	var names []string
	for n := range candidates {
		names = append(names, n)
	}
	slices.Sort(names)
	hint := diag.DidYouMean(name, names)
	if hint != "" {
		hint = ": " + hint
	}
	return "", nil, fmt.Errorf("there is no unit %s in %s%s", name, s, hint)
}

// entity returns the entity with an id as declared, or nil.
func (s *snapshot) entity(id string) *ir.Entity {
	for i := range s.entities {
		if s.entities[i].ID == id {
			return &s.entities[i]
		}
	}
	return nil
}

// models returns the entities that train a model, sorted.
func (s *snapshot) models() []string {
	var found []string
	for _, u := range s.units {
		if strings.HasPrefix(u.Entity, "models/") && !slices.Contains(found, u.Entity) {
			found = append(found, u.Entity)
		}
	}
	slices.Sort(found)
	return found
}
