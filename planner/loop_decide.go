package planner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/cron"
	"github.com/tenon-ml/tenon/planner/state"
)

type loopDecider struct {
	l    ir.Loop
	s    LoopState
	now  time.Time
	ends map[int64]*state.LoopAct // by the number of the act that they end
}

func newLoopDecider(l ir.Loop, s LoopState, now time.Time) *loopDecider {
	d := &loopDecider{l: l, s: s, now: now, ends: map[int64]*state.LoopAct{}}
	for i, a := range s.Acts {
		if a.Of > 0 {
			d.ends[a.Of] = &s.Acts[i]
		}
	}
	return d
}

func wait(format string, args ...any) LoopDecision {
	return LoopDecision{Reason: fmt.Sprintf(format, args...)}
}

func (d *loopDecider) decide() LoopDecision {
	if len(d.s.Acts) > 0 && d.s.Acts[0].At.After(d.now.Add(clockError)) {
		return wait("the clock shows %s, but the last act of the record is of %s: set the clock, or wait until then", stamp(d.now), stamp(d.s.Acts[0].At))
	}
	if open := OpenAct(d.s.Acts); open != nil {
		return d.finish(*open)
	}
	if p := PausedBy(d.s.Acts); p != nil {
		return wait("paused by %s since %s%s", p.By, stamp(p.At), because(p.Reason))
	}
	if d.s.Busy != "" {
		return wait("%s", d.s.Busy)
	}
	if r := d.rollback(); r != nil {
		return *r
	}
	if d.s.Releasing != nil {
		return d.judge(*d.s.Releasing)
	}
	return d.train()
}

// end returns the act that ends another one, or nil.
func (d *loopDecider) end(of state.LoopAct) *state.LoopAct { return d.ends[of.Number] }

// finish ends or continues what a controller has begun.
func (d *loopDecider) finish(open state.LoopAct) LoopDecision {
	out := LoopDecision{Of: open.Number, Cause: open.Cause, Detail: detailOf(open)}
	if r := d.s.Ended; r != nil {
		out.Revision, out.Detail = r.Number, LoopDetail{Cost: r.Cost}
		out.Act, out.Reason = state.LoopFailed, cmp.Or(r.Reason, fmt.Sprintf("revision %d: %s", r.Number, r.Outcome))
		if r.Outcome == state.Done {
			out.Act, out.Reason = state.LoopRetrained, open.Reason
			if open.Act == state.LoopRollback {
				out.Act = state.LoopRolledBack
			}
		}
		return out
	}
	if d.s.Busy != "" {
		return wait("%s", d.s.Busy)
	}
	if p := PinOf(d.l, d.s.Pins); p != nil {
		out.Act, out.Reason, out.Detail = state.LoopGivenUp, pinnedBy(*p), LoopDetail{}
		return out
	}
	if p := PausedBy(d.s.Acts); p != nil {
		out.Act, out.Reason, out.Detail = state.LoopGivenUp, fmt.Sprintf("paused by %s since %s", p.By, stamp(p.At)), LoopDetail{}
		return out
	}
	if d.humanStands() {
		out.Act, out.Reason, out.Detail = state.LoopGivenUp, d.rolledBackBy(), LoopDetail{}
		return out
	}
	out.Act, out.Reason, out.Units = open.Act, open.Reason, d.l.Changes()
	return out
}

// last returns the last act of some kinds, or nil.
func (d *loopDecider) last(kinds ...state.LoopActKind) *state.LoopAct {
	return lastAct(d.s.Acts, kinds...)
}

func pinnedBy(p state.Pin) string {
	return fmt.Sprintf("%s is pinned by %s since %s%s; tenon pin --remove %s lifts that", p.Unit, p.By, stamp(p.At), because(p.Reason), strings.ReplaceAll(p.Unit, "/", "."))
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// stamp formats a time for a reason.
func stamp(t time.Time) string {
	if t.Second() != 0 {
		return t.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// alert returns the newest measurement of a monitor if it is an alert about what has answered
// since a time.
func (d *loopDecider) alert(monitor string, since time.Time) *state.Measurement {
	all := d.s.Measurements[monitor]
	if len(all) == 0 || all[0].Verdict != alertVerdict || all[0].Begin.Before(since) || d.future(all[0]) {
		return nil
	}
	return &all[0]
}

// future reports whether a measurement was made before the clock was set back: it is older than what its time says.
func (d *loopDecider) future(m state.Measurement) bool { return m.At.After(d.now.Add(clockError)) }

// The verdicts of a measurement, see package measure.
const (
	okVerdict    = "ok"
	warnVerdict  = "warn"
	alertVerdict = "alert"
)

// rollback decides whether the version in service, or the challenger of a release, is taken back.
// It returns nil if no monitor calls for it.
func (d *loopDecider) rollback() *LoopDecision {
	var found *state.Measurement
	out := LoopDecision{Act: state.LoopRollback, Units: d.l.Changes()}
	switch r, v := d.s.Releasing, d.s.Serving; {
	case r != nil:
		for _, m := range slices.Concat(d.l.Judge, d.l.Rollback) {
			if found = d.alert(m, r.Since); found != nil {
				break
			}
		}
		out.Detail.Abort = r.Unit
		if found != nil {
			out.Reason = fmt.Sprintf("the release of %s ends at %d %%: %s", r.Unit, r.Weight, found.Reason)
		}
	case v != nil:
		for _, m := range d.l.Rollback {
			if found = d.alert(m, v.Since); found != nil {
				break
			}
		}
		out.Detail.Back = v.Before
		if found != nil {
			out.Reason = fmt.Sprintf("back from revision %d to %d: %s", v.Revision, v.Before, found.Reason)
		}
	}
	if found == nil {
		return nil
	}
	out.Cause = found.Monitor
	if why, text := d.mayRollBack(); why != "" {
		// The training that an alert may call for as well is held back by the same.
		out = LoopDecision{Act: state.LoopAlert, Cause: found.Monitor, Detail: LoopDetail{Why: why}, Reason: fmt.Sprintf("%s, but it is not rolled back: %s", found.Reason, text)}
		if d.recorded(out) {
			return nil
		}
		return &out
	}
	if held := d.backedOff(state.LoopRollback); held != nil {
		held.Cause, held.Reason = cmp.Or(held.Cause, found.Monitor), out.Reason+", but "+held.Reason
		return held
	}
	return &out
}

// mayRollBack says what keeps a loop from rolling back, or returns "".
func (d *loopDecider) mayRollBack() (why, text string) {
	if p := PinOf(d.l, d.s.Pins); p != nil {
		return heldByPin, pinnedBy(*p)
	}
	revision := 0
	if d.s.Releasing != nil {
		revision = d.s.Releasing.Revision
	} else {
		if d.s.Serving.Human != nil {
			return heldByHuman, d.rolledBackBy()
		}
		if revision = d.s.Serving.Revision; d.s.Serving.Before == 0 {
			return "none", "there is no revision to go back to"
		}
	}
	if !d.released(revision) {
		return "other", fmt.Sprintf("revision %d is not a training of this loop; tenon rollback goes back", revision)
	}
	return "", ""
}

func (d *loopDecider) rolledBackBy() string {
	h := d.s.Serving.Human
	return fmt.Sprintf("%s rolled back to what is in service at %s; tenon loops resume or trigger lifts that", h.By, stamp(h.At))
}

// released reports whether a revision is one of a training of this loop.
func (d *loopDecider) released(revision int) bool {
	return slices.ContainsFunc(d.s.Acts, func(a state.LoopAct) bool { return a.Act == state.LoopRetrained && a.Revision == revision })
}

// judge says whether a release in progress goes on. What speaks against it is a rollback.
func (d *loopDecider) judge(r LoopRelease) LoopDecision {
	if p := PinOf(d.l, d.s.Pins); p != nil {
		return LoopDecision{Act: state.LoopHold, Reason: pinnedBy(*p), Detail: LoopDetail{Why: heldByPin}}
	}
	if !d.released(r.Revision) {
		out := wait("a release of %s that is not of this loop is at %d %%", r.Unit, r.Weight)
		out.Step = true
		return out
	}
	for _, m := range d.l.Judge {
		if r.Weight == 0 && d.l.OfAnswers(m) {
			continue // a shadow answers nobody
		}
		all := d.s.Measurements[m]
		rows, counted := r.Rows[m]
		switch {
		case len(all) == 0 || all[0].Begin.Before(r.Since) || d.future(all[0]):
		case r.Weight == 0 && counted: // what it measured, others have answered
			continue
		case all[0].Verdict != okVerdict && all[0].Verdict != warnVerdict:
		case counted && rows == 0:
			return wait("the release of %s is at %d %%: no row that %s measured last was answered by the new version", r.Unit, r.Weight, m)
		default:
			continue
		}
		return wait("the release of %s is at %d %%: %s has no verdict yet on what was answered since %s", r.Unit, r.Weight, m, stamp(r.Since))
	}
	out := wait("the release of %s is at %d %%", r.Unit, r.Weight)
	out.Step = true
	return out
}

// A call is what calls for a training.
type call struct {
	cause, reason string
	manual        bool
	due           time.Time // when the schedule fired, if it is one
}

// train decides whether a training begins.
func (d *loopDecider) train() LoopDecision {
	calls, missed := d.calls()
	if missed != nil {
		return *missed
	}
	if len(calls) == 0 {
		out := wait("nothing calls for a training")
		if out.Until = d.nextSchedule(); !out.Until.IsZero() {
			out.Reason += "; the schedule does at " + stamp(out.Until)
		}
		return out
	}
	reasons := make([]string, len(calls))
	for i, c := range calls {
		reasons[i] = c.reason
	}
	out := LoopDecision{Act: state.LoopRetrain, Cause: calls[0].cause, Reason: strings.Join(reasons, "; "), Units: d.l.Changes(), Detail: LoopDetail{Cost: d.s.Cost, Rows: d.s.Total}}
	if held := d.held(slices.ContainsFunc(calls, func(c call) bool { return c.manual })); held != nil {
		held.Cause = cmp.Or(held.Cause, out.Cause) // an alert has its own, by which it is found again
		held.Reason = out.Reason + ", but " + held.Reason
		for _, c := range calls {
			// With catch_up none, each time that is held back is recorded: otherwise it would count as missed.
			if held.Act == state.LoopHold && d.l.CatchUp == ir.CatchUpNone && c.due.After(held.Detail.Through) {
				held.Detail.Through = c.due
			}
		}
		return *held
	}
	return out
}

// training returns the last training that began and did not end in one of some ways, or nil.
func (d *loopDecider) training(without ...state.LoopActKind) *state.LoopAct {
	for i, a := range d.s.Acts {
		if a.Act != state.LoopRetrain {
			continue
		}
		if end := d.end(a); end == nil || !slices.Contains(without, end.Act) {
			return &d.s.Acts[i]
		}
	}
	return nil
}

// calls lists what calls for a training: people first. It returns instead what is recorded if
// times of a schedule are passed over. A training that failed or was given up has not answered what
// called for it.
func (d *loopDecider) calls() (all []call, passed *LoopDecision) {
	answered, begun := d.training(state.LoopGivenUp, state.LoopFailed), d.training(state.LoopGivenUp)
	after := func(t *state.LoopAct, than *state.LoopAct) bool { return than == nil || t.Number > than.Number }
	if t := d.last(state.LoopTrigger); t != nil && after(t, answered) {
		all = append(all, call{"trigger", "triggered by " + t.By + because(t.Reason), after(t, begun), time.Time{}})
	}
	for _, w := range d.l.When {
		switch {
		case w.Schedule != "":
			c, passed := d.scheduled(w, answered)
			if passed != nil {
				return nil, passed
			}
			if c != nil {
				all = append(all, *c)
			}
		case w.Monitor != "":
			m, back := d.alert(w.Monitor, time.Time{}), d.last(state.LoopRollback)
			// What a rollback was about is not about what is in service now.
			if m != nil && (answered == nil || m.At.After(answered.At)) && (back == nil || m.At.After(back.At)) {
				all = append(all, call{w.Monitor, cmp.Or(m.Reason, w.Monitor+" alerts"), false, time.Time{}})
			}
		case w.Data != "":
			if n := d.newRows(w.Data); n >= w.Rows {
				all = append(all, call{w.Data, fmt.Sprintf("%s has %d new rows >= %d", w.Data, n, w.Rows), false, time.Time{}})
			}
		}
	}
	return all, nil
}

// newRows returns how many rows a table has beyond those of the last training. One whose version was taken back
// has read them as well: another on the same rows would give the same version.
func (d *loopDecider) newRows(data string) int64 {
	n := d.s.Rows[data]
	if t := d.training(state.LoopGivenUp, state.LoopFailed); t != nil {
		if read, ok := detailOf(*t).Rows[data]; ok {
			n = min(n, d.s.Total[data]-read)
		}
	}
	return n
}

// scheduled returns the call of a schedule, if it has fired since a training.
func (d *loopDecider) scheduled(w ir.LoopTrigger, last *state.LoopAct) (*call, *LoopDecision) {
	c, err := cron.Parse(w.Schedule, w.Zone)
	if err != nil {
		return nil, nil // the compiler refuses it
	}
	base := d.s.Since
	if last != nil && last.At.After(base) {
		base = last.At
	}
	if a := d.last(state.LoopSkipped); a != nil {
		if through := detailOf(*a).Through; through.After(base) {
			base = through
		}
	}
	due := c.Prev(d.now)
	if due.IsZero() || !due.After(base) {
		return nil, nil
	}
	// A time that the record knows was seen when it fired, and only held back.
	seen := slices.ContainsFunc(d.s.Acts, func(a state.LoopAct) bool {
		return (a.Act == state.LoopHold || a.Act == state.LoopRetrain) && !a.At.Before(due)
	})
	if d.l.CatchUp == ir.CatchUpNone && d.now.Sub(due) > promptly && !seen {
		return nil, &LoopDecision{
			Act: state.LoopSkipped, Cause: "schedule", Detail: LoopDetail{Through: due},
			Reason: fmt.Sprintf("the schedule %q fired %s, last at %s, which is more than %s ago, and catch_up is none", w.Schedule, times(c, base, due), stamp(due), length(promptly)),
		}
	}
	return &call{cause: "schedule", due: due, reason: fmt.Sprintf("the schedule %q fired %s, last at %s", w.Schedule, times(c, base, due), stamp(due))}, nil
}

// times counts how often a schedule fired, up to the last time of it.
func times(c *cron.Schedule, after, due time.Time) string {
	const most = 100
	for n := 1; n <= most; n++ {
		if after = c.Next(after); !after.Before(due) {
			if n == 1 {
				return "once"
			}
			return fmt.Sprintf("%d times", n)
		}
	}
	return fmt.Sprintf("more than %d times", most)
}

func (d *loopDecider) nextSchedule() (next time.Time) {
	for _, w := range d.l.When {
		if c, err := cron.Parse(w.Schedule, w.Zone); err == nil {
			if t := c.Next(d.now); next.IsZero() || !t.IsZero() && t.Before(next) {
				next = t
			}
		}
	}
	return next
}

// recorded reports whether the record says already what a hold or an alert would: the same was the
// last that it said of the kind, about the same cause, and no training has begun since.
func (d *loopDecider) recorded(n LoopDecision) bool {
	for _, a := range d.s.Acts {
		switch {
		case a.Act == state.LoopRetrain || a.Act == state.LoopRollback || a.Act == state.LoopResume:
			return false
		case a.Act == n.Act && a.Cause == n.Cause:
			was := detailOf(a)
			return was.Why == n.Detail.Why && was.Through.Equal(n.Detail.Through)
		}
	}
	return false
}
