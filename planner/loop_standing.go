package planner

import (
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// A LoopStanding is how a loop is at a time, for metrics and alerts.
type LoopStanding struct {
	// Doing is what it does: "retrain", "rollback", "hold", "paused" or "waits".
	Doing string
	// Failed is how many trainings and how many rollbacks failed in a row, and FailedAt when the last of them
	// did.
	Failed   map[state.LoopActKind]int
	FailedAt time.Time
	// Held says whose decision keeps it from acting, or is "". HeldAt is since when, as far as the record says.
	Held   string
	HeldAt time.Time
	// Trained is when the last training began that did not fail, or zero.
	Trained time.Time
}

// What a loop does, besides the kinds of acts.
const (
	LoopWaits  = "waits"
	LoopPaused = "paused"
)

// LoopDoings are all values of [LoopStanding.Doing].
var LoopDoings = []string{string(state.LoopRetrain), string(state.LoopRollback), string(state.LoopHold), LoopPaused, LoopWaits}

// StandingOf returns how a loop is at a time.
func StandingOf(l ir.Loop, s LoopState, now time.Time) LoopStanding {
	d := newLoopDecider(l, s, now)
	out := LoopStanding{Doing: LoopWaits, Failed: map[state.LoopActKind]int{}}
	for _, kind := range []state.LoopActKind{state.LoopRetrain, state.LoopRollback} {
		n, last := d.failures(kind)
		out.Failed[kind] = n
		if last != nil {
			out.FailedAt = later(out.FailedAt, last.At)
		}
	}
	if a := d.training(state.LoopGivenUp, state.LoopFailed); a != nil {
		out.Trained = a.At
	}
	decision := d.decide()
	switch open := OpenAct(s.Acts); {
	case open != nil:
		out.Doing = string(open.Act)
	case PausedBy(s.Acts) != nil:
		out.Doing = LoopPaused
	case decision.Act == state.LoopRetrain || decision.Act == state.LoopRollback || decision.Act == state.LoopHold:
		out.Doing = string(decision.Act)
	}
	if why := decision.Detail.Why; why == heldByPin || why == heldByHuman {
		out.Held, out.HeldAt = decision.Reason, now
		for _, a := range s.Acts { // newest first
			if (a.Act != state.LoopHold && a.Act != state.LoopAlert) || detailOf(a).Why != why {
				break
			}
			out.HeldAt = a.At
		}
	}
	return out
}
