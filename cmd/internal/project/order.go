package project

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/planner/state"
)

// Order returns a comparison of unit names in their natural order: sources first, services
// last, the units of an entity in the order in which they run. That is known of the given
// units; any others of an entity come first, by name.
func Order(units []ir.Unit) func(a, b string) int {
	positions := positionsOf(units)
	section := func(entity string) int {
		name, _, _ := strings.Cut(entity, "/")
		return slices.Index(lang.Sections, name)
	}
	return func(a, b string) int {
		entityA, _ := ir.SplitID(a)
		entityB, _ := ir.SplitID(b)
		return cmp.Or(
			cmp.Compare(section(entityA), section(entityB)),
			cmp.Compare(entityA, entityB),
			cmp.Compare(positions[a], positions[b]),
			cmp.Compare(a, b),
		)
	}
}

// positionsOf returns the position of each unit within its entity, from 1: one more than
// that of the last unit of the entity that it reads from.
func positionsOf(units []ir.Unit) map[string]int {
	byID := make(map[string]*ir.Unit, len(units))
	for i := range units {
		byID[units[i].ID] = &units[i]
	}
	positions := make(map[string]int, len(units))
	var position func(u *ir.Unit) int
	position = func(u *ir.Unit) int {
		if n := positions[u.ID]; n > 0 {
			return n
		}
		positions[u.ID] = 1 // ends a cycle, which only a damaged state can have
		n := 1
		for _, in := range u.Inputs {
			if from := byID[in.Unit]; from != nil && from.Entity == u.Entity && !in.Incumbent {
				n = max(n, position(from)+1)
			}
		}
		positions[u.ID] = n
		return n
	}
	for i := range units {
		position(&units[i])
	}
	return positions
}

// order returns the [Order] of the units that are deployed.
func (w *Workspace) order(ctx context.Context) (func(a, b string) int, error) {
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	var units []ir.Unit
	for id := range current {
		if _, stage := ir.SplitID(id); stage == "" {
			continue // it is the only unit of its entity
		}
		u, err := w.store.Unit(ctx, id)
		if errors.Is(err, state.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		units = append(units, *u)
	}
	return Order(units), nil
}
