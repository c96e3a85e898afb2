package planner

import (
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// move carries what is deployed under an old name over to the new one, in the inputs of
// this plan. A move that was made before, or whose new name is taken, does nothing.
func (m *maker) move(sys *ir.System) {
	m.was = map[string]string{}
	if len(sys.Moved) == 0 {
		return
	}
	declared := map[string]bool{}
	for _, u := range sys.Units {
		declared[u.Entity] = true
	}
	current, runs := maps.Clone(m.current), maps.Clone(m.currentRuns)
	for _, mv := range sys.Moved {
		if declared[mv.From] || isCurrent(current, mv.To) {
			continue
		}
		for _, from := range slices.Sorted(maps.Keys(current)) {
			entity, _ := ir.SplitID(from)
			if entity != mv.From {
				continue
			}
			to := mv.To + strings.TrimPrefix(from, mv.From)
			m.moved(from, to)
			m.was[mv.To] = m.former(mv.From)
			c := current[from]
			c.Unit = to
			current[to] = c
			delete(current, from)
			if r, ok := runs[from]; ok {
				runs[to] = r
				delete(runs, from)
			}
		}
	}
	m.current, m.currentRuns = current, runs
}

// moved notes a move. If the unit was just moved, the two moves become one.
func (m *maker) moved(from, to string) {
	m.was[to] = m.former(from)
	for i := range m.moves {
		if m.moves[i].To == from {
			m.moves[i].To = to
			return
		}
	}
	m.moves = append(m.moves, ir.Move{From: from, To: to})
}

// isCurrent reports whether an entity has deployed units.
func isCurrent(current map[string]state.Current, entity string) bool {
	for id := range current {
		if of, _ := ir.SplitID(id); of == entity {
			return true
		}
	}
	return false
}

// latter returns the name in this plan of a unit of the state.
func (m *maker) latter(id string) string {
	for _, mv := range m.moves {
		if mv.From == id {
			return mv.To
		}
	}
	return id
}

// former returns the name in the state of a unit or an entity.
func (m *maker) former(id string) string {
	if was, ok := m.was[id]; ok {
		return was
	}
	return id
}
