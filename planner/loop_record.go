package planner

import (
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner/state"
)

// These functions read the record of a loop, newest first.

// OpenAct returns the training or rollback that has begun and not ended, or nil.
func OpenAct(acts []state.LoopAct) *state.LoopAct {
	for i, a := range acts {
		if a.Act != state.LoopRetrain && a.Act != state.LoopRollback {
			continue
		}
		if slices.ContainsFunc(acts[:i], func(end state.LoopAct) bool { return end.Of == a.Number }) {
			return nil // one begins after the other has ended
		}
		return &acts[i]
	}
	return nil
}

// PausedBy returns the act by which a person paused a loop, or nil.
func PausedBy(acts []state.LoopAct) *state.LoopAct {
	a := lastAct(acts, state.LoopPause, state.LoopResume)
	if a != nil && a.Act == state.LoopPause {
		return a
	}
	return nil
}

// lastAct returns the last act of some kinds, or nil.
func lastAct(acts []state.LoopAct, kinds ...state.LoopActKind) *state.LoopAct {
	for i, a := range acts {
		if slices.Contains(kinds, a.Act) {
			return &acts[i]
		}
	}
	return nil
}

// recentTrainings is how many trainings say what the next one is expected to cost.
const recentTrainings = 3

// LoopCost returns what the next training is expected to cost: what the most expensive of the last
// ones did, and 0 before the first.
func LoopCost(acts []state.LoopAct) (most money.Amount) {
	n := 0
	for _, a := range acts {
		if a.Act != state.LoopRetrained {
			continue
		}
		most = max(most, detailOf(a).Cost)
		if n++; n == recentTrainings {
			break
		}
	}
	return most
}

// PinOf returns a pin of what a loop changes, or of one of its units, or nil.
func PinOf(l ir.Loop, pins map[string]state.Pin) *state.Pin {
	var found *state.Pin
	for name, p := range pins {
		entity, _ := ir.SplitID(name)
		if slices.Contains(l.Changes(), entity) && (found == nil || name < found.Unit) {
			found = &p
		}
	}
	return found
}

// ActCost returns what the jobs of an act cost that has ended, and what those of one that begins are
// expected to cost.
func ActCost(a state.LoopAct) money.Amount { return detailOf(a).Cost }
