package planner

import (
	"fmt"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner/state"
)

// held says what keeps a training from beginning, or returns nil. What a person has triggered does
// not wait for the cool-down and the back-off.
func (d *loopDecider) held(manual bool) *LoopDecision {
	if p := PinOf(d.l, d.s.Pins); p != nil {
		return hold(heldByPin, time.Time{}, "%s", pinnedBy(*p))
	}
	if d.humanStands() {
		return hold(heldByHuman, time.Time{}, "%s", d.rolledBackBy())
	}
	if !manual {
		if held := d.backedOff(state.LoopRetrain); held != nil {
			return held
		}
		if a := d.cooling(); a != nil {
			until := a.At.Add(d.l.CoolDown)
			return hold("cool_down", until, "cool_down lasts until %s", stamp(until))
		}
	}
	return d.limited()
}

func hold(why string, until time.Time, format string, args ...any) *LoopDecision {
	return &LoopDecision{Act: state.LoopHold, Until: until, Detail: LoopDetail{Why: why}, Reason: fmt.Sprintf(format, args...)}
}

// backedOff says how long a training or a rollback waits because the last ones failed, or returns
// nil. After many failures it first raises an alert.
func (d *loopDecider) backedOff(kind state.LoopActKind) *LoopDecision {
	n, last := d.failures(kind)
	if n == 0 {
		return nil
	}
	if n >= manyFailures && !d.alertedOf(kind) {
		return &LoopDecision{Act: state.LoopAlert, Cause: string(kind), Detail: LoopDetail{Why: "failures"},
			Reason: fmt.Sprintf("a %s failed %d times in a row, the last time with: %s", failing(kind), n, last.Reason)}
	}
	if until := last.At.Add(backOff(n)); until.After(d.now) {
		return hold(fmt.Sprintf(backOffWhy+" %d", n), until, "it failed %s: the next attempt begins at %s", timesIn(n), stamp(until))
	}
	return nil
}

// failing names what failed.
func failing(kind state.LoopActKind) string {
	if kind == state.LoopRetrain {
		return "training"
	}
	return string(kind)
}

func timesIn(n int) string {
	if n == 1 {
		return "the last time"
	}
	return fmt.Sprintf("%d times in a row", n)
}

// backOff returns how long a loop waits after a number of failures in a row.
func backOff(failures int) time.Duration {
	wait := firstBackOff
	for range failures - 1 {
		if wait *= 2; wait >= longestBackOff {
			return longestBackOff
		}
	}
	return wait
}

// failures returns how many of the last acts of a kind failed, and the end of the last of them. A
// person who resumes the loop ends the count.
func (d *loopDecider) failures(kind state.LoopActKind) (n int, last *state.LoopAct) {
	for _, a := range d.s.Acts {
		if a.Act == state.LoopResume {
			break
		}
		if a.Act != kind {
			continue
		}
		switch end := d.end(a); {
		case end == nil || end.Act == state.LoopGivenUp:
		case end.Act == state.LoopFailed:
			if n++; last == nil {
				last = end
			}
		default:
			return n, last
		}
	}
	return n, last
}

// alertedOf reports whether there was an alert about the failures of a kind that are the last ones
// of it.
func (d *loopDecider) alertedOf(kind state.LoopActKind) bool {
	for _, a := range d.s.Acts {
		switch {
		case a.Act == state.LoopAlert && a.Cause == string(kind):
			return true
		case a.Act == state.LoopResume:
			return false
		case a.Act == kind:
			if end := d.end(a); end != nil && (end.Act == state.LoopRetrained || end.Act == state.LoopRolledBack) {
				return false
			}
		}
	}
	return false
}

// humanStands reports whether a person has rolled back, and has not resumed or triggered the loop
// since.
func (d *loopDecider) humanStands() bool {
	v := d.s.Serving
	if v == nil || v.Human == nil {
		return false
	}
	a := d.last(state.LoopResume, state.LoopTrigger)
	return a == nil || !a.At.After(v.Human.At)
}

// cooling returns the training or rollback after which the loop still cools down, or nil. One that
// failed or was given up does not count.
func (d *loopDecider) cooling() *state.LoopAct {
	for i, a := range d.s.Acts {
		if (a.Act == state.LoopRetrain || a.Act == state.LoopRollback) && d.counts(a) {
			if a.At.Add(d.l.CoolDown).After(d.now) {
				return &d.s.Acts[i]
			}
			return nil
		}
	}
	return nil
}

// counts reports whether what has begun did not fail and was not given up.
func (d *loopDecider) counts(a state.LoopAct) bool {
	end := d.end(a)
	return end == nil || end.Act == state.LoopRetrained || end.Act == state.LoopRolledBack
}

// limited says which limit a training would exceed, or returns nil. A training that failed is not
// one of the runs, because the back-off bounds those, but it has cost what it cost.
func (d *loopDecider) limited() *LoopDecision {
	m := d.l.AtMost
	if m == nil {
		return nil
	}
	runs, spent := d.used(*m)
	if m.Runs > 0 && runs.n >= m.Runs {
		until := runs.oldest.Add(m.Per)
		return hold("runs", until, "there were %d trainings in %s, at most %d may be: the next one begins at %s", runs.n, length(m.Per), m.Runs, stamp(until))
	}
	if m.Cost == nil || spent.all.Plus(d.s.Cost) <= *m.Cost {
		return nil
	}
	var until time.Time
	left := spent.all
	for i := len(spent.each) - 1; i >= 0 && left.Plus(d.s.Cost) > *m.Cost; i-- {
		left -= spent.each[i].cost
		until = spent.each[i].at.Add(m.Per)
	}
	if left.Plus(d.s.Cost) > *m.Cost {
		return &LoopDecision{Act: state.LoopAlert, Cause: "cost", Detail: LoopDetail{Why: "cost"},
			Reason: fmt.Sprintf("a training costs about %s, more than at_most: cost: %s", d.s.Cost.Format(m.Currency), m.Cost.Format(m.Currency))}
	}
	return hold("cost", until, "trainings cost %s in %s and the next one about %s, at most %s may be spent: it begins at %s",
		spent.all.Format(m.Currency), length(m.Per), d.s.Cost.Format(m.Currency), m.Cost.Format(m.Currency), stamp(until))
}

// runsUsed are the trainings of a period that count.
type runsUsed struct {
	n      int
	oldest time.Time // of the last ones, as many as there may be
}

// spentUsed is what trainings of a period cost.
type spentUsed struct {
	all  money.Amount
	each []struct { // newest first
		at   time.Time
		cost money.Amount
	}
}

// used returns what the trainings of the period up to now have used of a limit.
func (d *loopDecider) used(m ir.LoopLimit) (runs runsUsed, spent spentUsed) {
	for _, a := range d.s.Acts {
		if a.Act != state.LoopRetrain || !a.At.Add(m.Per).After(d.now) {
			continue
		}
		end := d.end(a)
		idle := end != nil && end.Act == state.LoopRetrained && end.Revision == 0 // there was nothing to train
		if d.counts(a) && !idle {
			if runs.n++; runs.n <= m.Runs {
				runs.oldest = a.At
			}
		}
		cost := detailOf(a).Cost // expected, until it has ended
		if end != nil {
			cost = detailOf(*end).Cost
		}
		spent.all = spent.all.Plus(cost)
		spent.each = append(spent.each, struct {
			at   time.Time
			cost money.Amount
		}{a.At, cost})
	}
	return runs, spent
}
