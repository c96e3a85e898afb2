package planner

import (
	"errors"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// onlyUnits are the units that a plan is about, or nil for all.
type onlyUnits map[string]bool

// read returns the system with the data files of the units that the plan is about: no others are read.
func (w onlyUnits) read(sys *ir.System) *ir.System {
	if w == nil {
		return sys
	}
	some := *sys
	some.Units, some.Moved = slices.Clone(sys.Units), nil
	for i := range some.Units {
		if !w[some.Units[i].ID] {
			some.Units[i].Files = nil
		}
	}
	return &some
}

// scope returns the units of entities, of what they read from and, unless only upstream counts, of what reads
// from the entities. Without entities it is nil. Units that only read from the same sources are not among them.
func scope(sys *ir.System, entities []string, upstream bool) onlyUnits {
	if entities == nil {
		return nil
	}
	in := onlyUnits{}
	readers := map[string][]string{}
	for i := range sys.Units {
		for _, from := range sys.Units[i].Inputs {
			readers[from.Unit] = append(readers[from.Unit], sys.Units[i].ID)
		}
	}
	var later func(id string)
	later = func(id string) {
		if !in[id] {
			in[id] = true
			if upstream {
				return
			}
			for _, r := range readers[id] {
				later(r)
			}
		}
	}
	for i := range sys.Units {
		if slices.Contains(entities, sys.Units[i].Entity) {
			later(sys.Units[i].ID)
		}
	}
	seen := map[string]bool{}
	var earlier func(id string)
	earlier = func(id string) {
		u := sys.Unit(id)
		if u == nil || seen[id] {
			return
		}
		seen[id] = true
		for _, from := range u.Inputs {
			in[from.Unit] = true
			earlier(from.Unit)
		}
	}
	for i := range sys.Units {
		if slices.Contains(entities, sys.Units[i].Entity) {
			earlier(sys.Units[i].ID)
		}
	}
	return in
}

// keep plans a unit outside of the scope: it stays as it is deployed.
func (m *maker) keep(u *ir.Unit) (Item, error) {
	c, ok := m.current[u.ID]
	if !ok {
		return Item{}, errors.New("it was never applied: run tenon apply first")
	}
	key := ServingKey(c)
	item := Item{Unit: u.ID, Kind: u.Kind, Action: None, Key: key}
	run, isKnown := m.currentRuns[u.ID]
	if u.Kind == ir.Job {
		item.Action, item.Run = Reuse, c.Run
	}
	if u.Kind == ir.Service && c.Definition != u.Digest && !c.Route.Ending() {
		applied, err := m.applied(u.ID)
		if err != nil {
			return Item{}, err
		}
		if applied != nil {
			item.Pinned = &state.Pinned{Unit: *applied, Run: c.Run}
		}
	}
	l := look{u: u, key: key}
	if isKnown {
		l.run = &run
	}
	m.settle(item, &l)
	return item, nil
}
