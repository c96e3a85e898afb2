package project

import (
	"context"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// entities are the entities behind deployed units, as the newest revision declared
// them that has these units; last is the newest of all. Those that no revision has
// this way are left out: an apply that failed may have left units of two revisions.
func (w *Workspace) entities(ctx context.Context, units []ir.Unit, last *ir.System) ([]ir.Entity, error) {
	missing := map[string][]ir.Unit{}
	for _, u := range units {
		missing[u.Entity] = append(missing[u.Entity], u)
	}
	var found []ir.Entity
	for _, e := range last.Entities {
		if section, _, _ := strings.Cut(e.ID, "/"); section == "resources" {
			found = append(found, e)
		}
	}
	take := func(sys *ir.System) {
		definitions := make(map[string]string, len(sys.Units))
		for _, u := range sys.Units {
			definitions[u.ID] = u.Digest
		}
		for _, e := range sys.Entities {
			if deployed, ok := missing[e.ID]; ok && hasAll(definitions, deployed) {
				found = append(found, e)
				delete(missing, e.ID)
			}
		}
	}
	take(last)
	if len(missing) > 0 && len(last.Entities) > 0 { // else no older one has any
		revisions, err := w.store.Revisions(ctx, 0)
		if err != nil {
			return nil, err
		}
		for i := 1; i < len(revisions) && len(missing) > 0; i++ {
			if sys, err := w.system(ctx, &revisions[i]); err == nil { // otherwise it is not kept, or of another version
				take(sys)
			}
		}
	}
	slices.SortFunc(found, func(a, b ir.Entity) int { return strings.Compare(a.ID, b.ID) })
	return found, nil
}

// hasAll reports whether there are these units with these definitions.
func hasAll(definitions map[string]string, units []ir.Unit) bool {
	return !slices.ContainsFunc(units, func(u ir.Unit) bool { return definitions[u.ID] != u.Digest })
}

// declare finds the entity of each unit, as far as it is recorded.
func (w *Workspace) declare(ctx context.Context, all []*Unit) error {
	revisions, err := w.store.Revisions(ctx, 1)
	if err != nil || len(revisions) == 0 {
		return err
	}
	last, err := w.system(ctx, &revisions[0])
	if err != nil {
		return nil // what a unit is does not depend on it
	}
	units := make([]ir.Unit, len(all))
	for i, u := range all {
		units[i] = *u.Unit
	}
	entities, err := w.entities(ctx, units, last)
	if err != nil {
		return err
	}
	for _, u := range all {
		if i := slices.IndexFunc(entities, func(e ir.Entity) bool { return e.ID == u.Unit.Entity }); i >= 0 {
			u.Entity = &entities[i]
		}
	}
	return nil
}
