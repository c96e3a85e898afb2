package planner

import (
	"encoding/json"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner/state"
)

// A LoopState is what is known of a loop when it decides.
type LoopState struct {
	// Acts is the record of the loop, newest first. It reaches back to the first act that is not
	// older than the longest period of the loop, and to its last training.
	Acts []state.LoopAct
	// Since is when the loop was deployed. Schedules begin then.
	Since time.Time
	// Measurements are those of the monitors of the loop, newest first; the newest suffices.
	Measurements map[string][]state.Measurement
	Pins         map[string]state.Pin // by unit or entity
	// Ended is the revision of an act that has begun and not ended, if that revision has. The
	// controller that began it died before it recorded this.
	Ended *LoopRevision
	// Busy says what has to end first, such as an apply that is running, or "".
	Busy string
	// Serving is the version of the model that is in service, or nil if there is none.
	Serving *LoopVersion
	// Releasing is the release of a deployment of the model that is in progress, or nil.
	Releasing *LoopRelease
	// Rows are the rows of each table that the loop waits for beyond those that the model in service
	// was trained on, as far as known, by unit. Total are all of its rows.
	Rows, Total map[string]int64
	// Cost is what the next training is expected to cost, from what the last ones did.
	Cost money.Amount
}

// A LoopRevision is how the revision of an act ended.
type LoopRevision struct {
	Number  int
	Outcome state.Outcome
	Reason  string       // why it failed
	Cost    money.Amount // of what ran
}

// A LoopVersion is a version of the model in service.
type LoopVersion struct {
	Revision int       // that deployed it
	Since    time.Time // when it began to answer everything
	// Human is set if a person rolled back to it.
	Human *LoopPerson
	// Before is the revision to go back to, or 0 if there is none.
	Before int
}

// A LoopPerson is who decided something, and when.
type LoopPerson struct {
	By string
	At time.Time
}

// A LoopRelease is a release in progress.
type LoopRelease struct {
	Unit     string    // the deployment
	Revision int       // that began it
	Weight   int       // of the challenger, percent
	Since    time.Time // of this step
	// Rows are how many rows the challenger has answered of those that the newest measurement of a judge is about. A
	// judge that does not tell versions apart in a log has none here.
	Rows map[string]int64
}

// A LoopDecision is what a loop does now. Act is empty if it waits, and otherwise the act that is
// recorded: a training or a rollback before it is done.
type LoopDecision struct {
	Act    state.LoopActKind `json:"act,omitempty"`
	Of     int64             `json:"of,omitempty"` // the act that it ends or, of a training or a rollback, that was begun before and is continued
	Reason string            `json:"reason"`       // with figures
	Cause  string            `json:"cause,omitempty"`
	Until  time.Time         `json:"until,omitzero"` // when to decide again at the latest, if that is known
	// Revision is that of an act that has ended.
	Revision int        `json:"revision,omitempty"`
	Detail   LoopDetail `json:"detail,omitzero"`
	// Seen is the number of the last act that the decision knows of.
	Seen int64 `json:"seen"`
	// Units must not be pinned when the act is recorded.
	Units []string `json:"units,omitempty"`
	// Step reports whether the judges let the release in progress go on.
	Step bool `json:"step,omitempty"`
}

// A LoopDetail is what the record of an act has besides its reason.
type LoopDetail struct {
	Cost money.Amount `json:"cost,omitempty"` // in billionths of the currency
	// Why is what holds the loop back, or what an alert is about.
	Why string `json:"why,omitempty"`
	// Back is the revision that a rollback restores, and Abort the deployment whose release it
	// ends instead.
	Back  int    `json:"back,omitempty"`
	Abort string `json:"abort,omitempty"`
	// Through is the time up to which schedules have been passed over or, with catch_up none, held back.
	Through time.Time `json:"through,omitzero"`
	// Rows are those of the tables that the loop waits for, when a training begins.
	Rows map[string]int64 `json:"rows,omitempty"`
}

// detailOf returns the detail of an act. One that cannot be read counts as none.
func detailOf(a state.LoopAct) (d LoopDetail) {
	if len(a.Detail) > 0 {
		_ = json.Unmarshal(a.Detail, &d)
	}
	return d
}

// Entry returns what is recorded of a decision, for a loop and a time.
func (d LoopDecision) Entry(loop string, now time.Time) state.LoopAct {
	a := state.LoopAct{Loop: loop, At: now, Act: d.Act, Of: d.Of, Reason: d.Reason, Cause: d.Cause, Revision: d.Revision}
	if d.Act == state.LoopRetrain || d.Act == state.LoopRollback {
		a.Of = 0
	}
	if detail, _ := json.Marshal(d.Detail); string(detail) != "{}" { // this cannot fail
		a.Detail = detail
	}
	return a
}

const (
	// firstBackOff is how long a loop waits after a training has failed. It doubles with each
	// further failure, up to longestBackOff.
	firstBackOff   = 15 * time.Minute
	longestBackOff = 24 * time.Hour
	// manyFailures is after how many failures in a row a loop raises an alert.
	manyFailures = 3
	// promptly is how late a controller may notice that a schedule fires. What is older was missed.
	promptly = 10 * time.Minute
	// backOffWhy is with what the reason of a hold begins that waits after a failure.
	backOffWhy = "back-off"
	// heldByPin and heldByHuman are the reasons of holds and alerts because of what a person decided.
	heldByPin   = "pin"
	heldByHuman = "human"
	// clockError is by how much two clocks may differ.
	clockError = time.Minute
)

// DecideLoop decides what a loop does next. It is pure: the same arguments give the same decision.
//
// A loop finishes what it has begun, rolls back, judges a release, and trains, in this order. It
// never acts on what a person has pinned or rolled back to, and it waits while another one works.
// What calls for a training is never forgotten: it stays until a training has begun, or until the
// record says that it was passed over.
//
// A controller claims a training or a rollback ([state.Store.ClaimLoopAct]), takes the lock of the
// state, and decides again: the decision then is to continue the act, or to give it up because a
// person was faster. What it does is a revision that names the act, so that the controller after one
// that died knows what was done.
func DecideLoop(l ir.Loop, s LoopState, now time.Time) LoopDecision {
	d := newLoopDecider(l, s, now)
	decision := d.decide()
	if len(s.Acts) > 0 {
		decision.Seen = s.Acts[0].Number
	}
	if decision.Act == state.LoopHold || decision.Act == state.LoopAlert {
		if d.recorded(decision) {
			decision.Act = "" // it says again what the record has
		}
	}
	return decision
}
