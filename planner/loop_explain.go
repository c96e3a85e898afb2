package planner

import (
	"fmt"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/cron"
	"github.com/tenon-ml/tenon/planner/state"
)

// A LoopFact is something that the decision of a loop follows from.
type LoopFact struct {
	Of   string `json:"of"`   // "schedule 0 3 * * *", "at_most"
	Text string `json:"text"` // with figures
}

// ExplainLoop lists what the decision of a loop follows from: what calls for a training, what
// limits it, and what is in service.
func ExplainLoop(l ir.Loop, s LoopState, now time.Time) (all []LoopFact) {
	d := newLoopDecider(l, s, now)
	add := func(of, format string, args ...any) {
		all = append(all, LoopFact{of, fmt.Sprintf(format, args...)})
	}
	for _, w := range l.When {
		switch c, err := cron.Parse(w.Schedule, w.Zone); {
		case w.Monitor != "":
			add("monitor "+w.Monitor, "%s", d.verdict(w.Monitor))
		case w.Data != "":
			if total, ok := s.Total[w.Data]; ok {
				add("data "+w.Data, "%d of %d new rows, %d in all, read again every %s", d.newRows(w.Data), w.Rows, total, length(w.Every))
			} else {
				add("data "+w.Data, "how many rows it has is not known yet")
			}
		case err == nil:
			add("schedule "+w.Schedule, "fires at %s, in %s", stamp(c.Next(now)), w.Zone)
		}
	}
	if a := d.training(state.LoopGivenUp); a != nil {
		add("last training", "%s: %s", stamp(a.At), d.outcome(*a))
	}
	if l.CoolDown > 0 {
		if a := d.cooling(); a != nil {
			add("cool_down", "until %s", stamp(a.At.Add(l.CoolDown)))
		} else {
			add("cool_down", "over")
		}
	}
	if m := l.AtMost; m != nil {
		runs, spent := d.used(*m)
		if m.Runs > 0 {
			add("at_most", "%d of %d trainings in %s", runs.n, m.Runs, length(m.Per))
		}
		if m.Cost != nil {
			add("at_most", "%s of %s in %s; the next training costs about %s", spent.all.Format(m.Currency), m.Cost.Format(m.Currency), length(m.Per), s.Cost.Format(m.Currency))
		}
	}
	for _, kind := range []state.LoopActKind{state.LoopRetrain, state.LoopRollback} {
		if n, last := d.failures(kind); n > 0 {
			add("failures", "%s: %d in a row, the last one at %s: %s", failing(kind), n, stamp(last.At), last.Reason)
		}
	}
	if v := s.Serving; v != nil {
		of := "another"
		if d.released(v.Revision) {
			of = "a training of this loop"
		}
		if v.Human != nil {
			of = "a rollback by " + v.Human.By
		}
		add("in service", "revision %d since %s, %s", v.Revision, stamp(v.Since), of)
	}
	if r := s.Releasing; r != nil {
		add("release", "%s at %d %% since %s", r.Unit, r.Weight, stamp(r.Since))
	}
	for _, m := range l.Judge {
		add("judge "+m, "%s", d.verdict(m))
	}
	for _, m := range l.Rollback {
		add("rollback on "+m, "%s", d.verdict(m))
	}
	if p := PinOf(l, s.Pins); p != nil {
		add("pin", "%s", pinnedBy(*p))
	}
	return all
}

// verdict describes the newest measurement of a monitor.
func (d *loopDecider) verdict(monitor string) string {
	all := d.s.Measurements[monitor]
	if len(all) == 0 {
		return "not measured yet"
	}
	return fmt.Sprintf("%s at %s, of %s to %s%s", all[0].Verdict, stamp(all[0].At), stamp(all[0].Begin), stamp(all[0].End), because(all[0].Reason))
}

// outcome describes how a training ended.
func (d *loopDecider) outcome(a state.LoopAct) string {
	end := d.end(a)
	if end == nil {
		return "has not ended: " + a.Reason
	}
	return fmt.Sprintf("%s%s", end.Act, because(end.Reason))
}
