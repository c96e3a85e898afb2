package project

import (
	"testing"

	"github.com/tenon-ml/tenon/planner/state"
)

// What tenon gc removes from the record of a loop stays counted, and nothing is counted twice.
func TestCountsOfActsDoNotFall(t *testing.T) {
	act := func(number int64, kind state.LoopActKind) state.LoopAct {
		return state.LoopAct{Number: number, Act: kind}
	}
	var c actCounter
	c.count("loops/late", []state.LoopAct{act(2, state.LoopRetrained), act(1, state.LoopRetrain)})
	got := c.count("loops/late", []state.LoopAct{act(4, state.LoopRetrained), act(3, state.LoopRetrain), act(2, state.LoopRetrained)})
	if got[state.LoopRetrain] != 2 || got[state.LoopRetrained] != 2 {
		t.Errorf("counted %v, want 2 of each", got)
	}
	if got := c.count("loops/other", []state.LoopAct{act(1, state.LoopHold)}); len(got) != 1 || got[state.LoopHold] != 1 {
		t.Errorf("of another loop %v", got)
	}
}
