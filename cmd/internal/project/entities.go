package project

import (
	"context"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// entities returns the entities of deployed units, as declared by the newest revision
// that has these units; last is the newest revision of all. It omits entities that no
// revision has in this form: a failed apply may have left units of two revisions.
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
	if len(missing) > 0 && len(last.Entities) > 0 { // otherwise no older revision has any
		revisions, err := w.store.Revisions(ctx, 0)
		if err != nil {
			return nil, err
		}
		for i := 1; i < len(revisions) && len(missing) > 0; i++ {
			if sys, err := w.system(ctx, &revisions[i]); err == nil { // otherwise it was removed, or is of another version
				take(sys)
			}
		}
	}
	slices.SortFunc(found, func(a, b ir.Entity) int { return strings.Compare(a.ID, b.ID) })
	return found, nil
}

// hasAll reports whether all these units have these definitions.
func hasAll(definitions map[string]string, units []ir.Unit) bool {
	return !slices.ContainsFunc(units, func(u ir.Unit) bool { return definitions[u.ID] != u.Digest })
}

// declare finds the entity of each unit, if it is recorded.
func (w *Workspace) declare(ctx context.Context, all []*Unit) error {
	revisions, err := w.store.Revisions(ctx, 1)
	if err != nil || len(revisions) == 0 {
		return err
	}
	last, err := w.system(ctx, &revisions[0])
	if err != nil {
		return nil // entities are optional information
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
