package planner

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/planner/state"
)

// A NoticeType says what a [Notice] is about.
type NoticeType string

const (
	MonitorAlert     NoticeType = "monitor.alert"     // the verdict of a monitor is alert
	MonitorResolved  NoticeType = "monitor.resolved"  // it is ok or warn again
	TrainingBegun    NoticeType = "training.begun"    //
	TrainingEnded    NoticeType = "training.ended"    // the model was trained, or there was nothing to train
	TrainingFailed   NoticeType = "training.failed"   //
	TrainingGated    NoticeType = "training.gated"    // the model did not pass its gates
	TrainingGivenUp  NoticeType = "training.given_up" // because of what a person did
	RollbackEnded    NoticeType = "rollback.ended"    // a version was taken back
	RollbackFailed   NoticeType = "rollback.failed"   //
	RollbackGivenUp  NoticeType = "rollback.given_up" //
	ReleaseRejected  NoticeType = "release.rejected"  // a step of a release was rejected
	LoopHeld         NoticeType = "loop.held"         // a decision of a person keeps the loop from acting
	LoopBacksOff     NoticeType = "loop.back_off"     // it waits because it failed
	LoopNeedsSomeone NoticeType = "loop.alert"        // somebody has to look
)

// A Notice is something that receivers of a loop or a monitor get. It has figures and names, and no text
// that a program printed, which might have values of rows.
type Notice struct {
	// ID is the same whenever the notice is made again from the same record.
	ID       string     `json:"id"`
	Type     NoticeType `json:"type"`
	At       time.Time  `json:"at"`
	Unit     string     `json:"unit"`             // that it is about: "monitors/inputs", "deployments/api"
	Number   int64      `json:"number,omitempty"` // of the measurement, or of the act in the record of the loop
	Text     string     `json:"text"`
	Cause    string     `json:"cause,omitempty"` // what called for the act
	Revision int        `json:"revision,omitempty"`
}

// A NoticeMark is how far notices were made from a record.
type NoticeMark struct {
	Acts     int64                   `json:"acts,omitempty"` // the number of the last act
	Measured map[string]MeasuredMark `json:"measured,omitempty"`
	Rejected map[string]int          `json:"rejected,omitempty"` // the last revision that rejected a version, by service
}

// A MeasuredMark is the last measurement of a monitor that was looked at.
type MeasuredMark struct {
	At       time.Time `json:"at"`
	Alerting bool      `json:"alerting,omitempty"` // an alert was noticed, and not its end
}

// A NoticeRecord is what notices are made from.
type NoticeRecord struct {
	System, Env string
	Loop        string          // unit, or "" if there are notices of a monitor only
	Acts        []state.LoopAct // of the loop, newest first
	// Measurements are those of monitors, newest first, at least from the mark on.
	Measurements map[string][]state.Measurement
	Rejected     map[string]RejectedVersion // by service
	// Failed says what failed in a revision, if that is known.
	Failed map[int]FailedUnit
}

// A RejectedVersion is a version of a service that a release rejected, and when.
type RejectedVersion struct {
	state.Rejected
	At time.Time
}

// A FailedUnit is what failed in a revision.
type FailedUnit struct {
	Unit string
	// Verdict is that of gates, with figures, if the model did not pass them.
	Verdict string
}

// A MarkedNotice is a notice with the mark after it.
type MarkedNotice struct {
	Notice
	Mark NoticeMark
}

// Notices makes the notices of what is in a record after a mark, the oldest first, and returns the mark
// after all that it looked at. It is pure: the same record gives the same notices.
func Notices(r NoticeRecord, mark NoticeMark) (all []MarkedNotice, after NoticeMark) {
	type change struct {
		at     time.Time
		notice *Notice // nil if nobody needs to know
		mark   func(m *NoticeMark)
	}
	var changes []change
	begun := map[int64]state.LoopAct{}
	for _, a := range slices.Backward(r.Acts) {
		begun[a.Number] = a
		if a.Number > mark.Acts {
			changes = append(changes, change{a.At, r.actNotice(a, begun[a.Of]), func(m *NoticeMark) { m.Acts = max(m.Acts, a.Number) }})
		}
	}
	for _, monitor := range slices.Sorted(maps.Keys(r.Measurements)) {
		was := mark.Measured[monitor]
		for _, m := range slices.Backward(r.Measurements[monitor]) {
			if !m.At.After(was.At) {
				continue
			}
			n := r.measuredNotice(m, was.Alerting)
			was.At, was.Alerting = m.At, was.Alerting != (n != nil)
			now := was
			changes = append(changes, change{m.At, n, func(mark *NoticeMark) { mark.Measured[monitor] = now }})
		}
	}
	for _, unit := range slices.Sorted(maps.Keys(r.Rejected)) {
		x := r.Rejected[unit]
		if x.Revision <= mark.Rejected[unit] {
			continue
		}
		n := r.notice(ReleaseRejected, unit, int64(x.Revision), x.At, fmt.Sprintf("%s was rejected: %s", x.Name, WithoutFault(x.Reason)))
		n.Revision = x.Revision
		changes = append(changes, change{x.At, n, func(m *NoticeMark) { m.Rejected[unit] = x.Revision }})
	}
	slices.SortStableFunc(changes, func(a, b change) int { return a.at.Compare(b.at) })
	after = mark.clone()
	for _, c := range changes {
		c.mark(&after)
		if c.notice != nil {
			all = append(all, MarkedNotice{*c.notice, after.clone()})
		}
	}
	return all, after
}

// FirstMark is the mark of a receiver that was declared at a time: what was before is not news.
func FirstMark(r NoticeRecord, declared time.Time) NoticeMark {
	m := NoticeMark{}.clone()
	for _, a := range r.Acts {
		if a.At.Before(declared) {
			m.Acts = a.Number
			break
		}
	}
	for monitor := range r.Measurements {
		m.Measured[monitor] = MeasuredMark{At: declared.Add(-1)}
	}
	for unit, x := range r.Rejected {
		if x.At.Before(declared) {
			m.Rejected[unit] = x.Revision
		}
	}
	return m
}

func (m NoticeMark) clone() NoticeMark {
	c := NoticeMark{m.Acts, map[string]MeasuredMark{}, map[string]int{}}
	maps.Copy(c.Measured, m.Measured)
	maps.Copy(c.Rejected, m.Rejected)
	return c
}

func (r *NoticeRecord) notice(t NoticeType, unit string, number int64, at time.Time, text string) *Notice {
	n := &Notice{Type: t, At: at, Unit: unit, Number: number, Text: text}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %d %d", r.System, r.Env, unit, t, number, at.UnixNano()))
	n.ID = hex.EncodeToString(sum[:16])
	return n
}

// measuredNotice returns the notice of a measurement: it begins or ends an alert. One without a verdict does
// neither.
func (r *NoticeRecord) measuredNotice(m state.Measurement, alerting bool) *Notice {
	switch {
	case m.Verdict == alertVerdict && !alerting:
		return r.notice(MonitorAlert, m.Monitor, m.Number, m.At, m.Reason)
	case alerting && (m.Verdict == okVerdict || m.Verdict == warnVerdict):
		return r.notice(MonitorResolved, m.Monitor, m.Number, m.At, "the verdict is "+m.Verdict+" again")
	}
	return nil
}

// actNotice returns the notice of an act, which may end another one, or nil.
func (r *NoticeRecord) actNotice(a, of state.LoopAct) *Notice {
	back := of.Act == state.LoopRollback
	var t NoticeType
	text := a.Reason
	switch a.Act {
	case state.LoopRetrain:
		t = TrainingBegun
	case state.LoopRetrained:
		t = TrainingEnded
	case state.LoopRolledBack:
		if detailOf(of).Abort == "" { // otherwise the release says that it was rejected
			t, text = RollbackEnded, of.Reason
		}
	case state.LoopFailed:
		t, text = r.failedText(a)
		if back {
			t = RollbackFailed
		}
	case state.LoopGivenUp:
		if t = TrainingGivenUp; back {
			t = RollbackGivenUp
		}
	case state.LoopHold, state.LoopAlert:
		switch why := detailOf(a).Why; {
		case why == heldByPin || why == heldByHuman:
			t = LoopHeld
		case strings.HasPrefix(why, backOffWhy):
			t = LoopBacksOff
		case why == "failures":
			t, text = LoopNeedsSomeone, fmt.Sprintf("a %s failed several times in a row", failing(state.LoopActKind(a.Cause)))
		case a.Act == state.LoopAlert:
			t = LoopNeedsSomeone
		}
	}
	if t == "" {
		return nil
	}
	n := r.notice(t, r.Loop, a.Number, a.At, text)
	n.Cause, n.Revision = a.Cause, a.Revision
	return n
}

// failedText says what failed, without what it printed.
func (r *NoticeRecord) failedText(a state.LoopAct) (NoticeType, string) {
	f := r.Failed[a.Revision]
	switch {
	case f.Verdict != "":
		return TrainingGated, "the model did not pass its gates: " + f.Verdict
	case f.Unit != "":
		return TrainingFailed, fmt.Sprintf("%s failed in revision %d", f.Unit, a.Revision)
	case a.Revision > 0:
		return TrainingFailed, fmt.Sprintf("revision %d failed", a.Revision)
	}
	return TrainingFailed, "it was refused before it began"
}

// WithoutFault returns why a version was rejected, without what it printed.
func WithoutFault(reason string) string {
	if strings.HasPrefix(reason, faultReason) {
		return strings.TrimSuffix(faultReason, ": ")
	}
	return reason
}
