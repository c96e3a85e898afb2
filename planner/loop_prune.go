package planner

import (
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// PruneLoop returns the numbers of the acts in the record of a loop, newest first, that are older than
// age and on which no later decision depends: [DecideLoop] decides the same without them. An age that
// is shorter than the period of the loop's limits counts as that. deployed reports whether a revision
// deployed what is deployed now.
func PruneLoop(l ir.Loop, acts []state.LoopAct, now time.Time, age time.Duration, deployed func(revision int) bool) (gone []int64) {
	if l.AtMost != nil {
		age = max(age, l.AtMost.Per)
	}
	p := loopPruner{d: newLoopDecider(l, LoopState{Acts: acts}, now), need: map[int64]bool{}}
	for i, a := range acts {
		if i == 0 || !a.At.Before(now.Add(-age)) || a.Act == state.LoopRetrained && deployed(a.Revision) {
			p.keep(&acts[i])
		}
	}
	p.keep(p.d.training(), p.d.training(state.LoopGivenUp), p.d.training(state.LoopGivenUp, state.LoopFailed))
	for _, kind := range []state.LoopActKind{state.LoopRollback, state.LoopRolledBack, state.LoopSkipped, state.LoopPause, state.LoopResume, state.LoopTrigger} {
		p.keep(p.d.last(kind))
	}
	p.costs()
	p.noted()
	p.inRow(state.LoopRetrain)
	p.inRow(state.LoopRollback)
	for _, a := range acts {
		if !p.need[a.Number] {
			gone = append(gone, a.Number)
		}
	}
	return gone
}

// A loopPruner collects the acts that decisions need.
type loopPruner struct {
	d    *loopDecider
	need map[int64]bool
}

// keep keeps acts, the beginnings that they end, and their ends.
func (p *loopPruner) keep(acts ...*state.LoopAct) {
	for _, a := range acts {
		if a == nil {
			continue
		}
		p.need[a.Number] = true
		if a.Of > 0 {
			p.need[a.Of] = true
		}
		if end := p.d.end(*a); end != nil {
			p.need[end.Number] = true
		}
	}
}

// costs keeps the trainings that say what the next one costs, see [LoopCost], and the one after which
// the loop cools down.
func (p *loopPruner) costs() {
	n, cooled := 0, false
	for i, a := range p.d.s.Acts {
		begins := a.Act == state.LoopRetrain || a.Act == state.LoopRollback
		switch {
		case a.Act == state.LoopRetrained && n < recentTrainings:
			n++
			p.keep(&p.d.s.Acts[i])
		case begins && !cooled && p.d.counts(a):
			cooled = true
			p.keep(&p.d.s.Acts[i])
		}
	}
}

// noted keeps the last hold and the last alert about each cause, so that none is recorded again, and the
// act with the latest time that shows that a schedule was seen when it fired.
func (p *loopPruner) noted() {
	type note struct {
		act   state.LoopActKind
		cause string
	}
	seen := map[note]bool{}
	var latest *state.LoopAct
	for i, a := range p.d.s.Acts {
		if n := (note{a.Act, a.Cause}); (a.Act == state.LoopHold || a.Act == state.LoopAlert) && !seen[n] {
			seen[n] = true
			p.keep(&p.d.s.Acts[i])
		}
		if (a.Act == state.LoopHold || a.Act == state.LoopRetrain) && (latest == nil || a.At.After(latest.At)) {
			latest = &p.d.s.Acts[i]
		}
	}
	p.keep(latest)
}

// inRow keeps the acts of a kind that failed one after the other, up to the present.
func (p *loopPruner) inRow(kind state.LoopActKind) {
	n, _ := p.d.failures(kind)
	for i, a := range p.d.s.Acts {
		if n == 0 {
			return
		}
		if end := p.d.end(a); a.Act == kind && end != nil && end.Act == state.LoopFailed {
			n--
			p.keep(&p.d.s.Acts[i])
		}
	}
}
