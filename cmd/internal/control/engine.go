package control

import (
	"context"
	"time"

	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// An Engine does for a controller what needs the state and the executors. A method that acts takes
// the lock of the state without waiting for it, and returns a [state.HeldError] if somebody else has
// it. All of them may be called again after an error.
type Engine interface {
	// Look says what there is to do. It changes nothing.
	Look(ctx context.Context) (*Sight, error)
	// Continue continues an apply that was killed.
	Continue(ctx context.Context) (Acted, error)
	// Mend makes units again that do not run, or were lost, as they were applied.
	Mend(ctx context.Context, units []string, reason string) (Acted, error)
	// Step takes the step of the release of a service that is due.
	Step(ctx context.Context, unit string) ([]Acted, error)
	// Measure measures a monitor, records that, and returns the verdict with its reason. It needs no
	// lock: it reads labels again only if it gets that.
	Measure(ctx context.Context, monitor string, now time.Time) (verdict string, err error)
	// Read makes a table again if its data has changed, for a loop that waits for its rows. Nothing else that
	// reads from it runs.
	Read(ctx context.Context, loop, unit string) (Acted, error)
	// Decide decides what a loop does now, and records nothing.
	Decide(ctx context.Context, loop string, now time.Time) (planner.LoopDecision, error)
	// Record records a decision in the record of a loop, and returns the number of the act. It returns
	// [state.ErrOvertaken] if something else has happened since the decision.
	Record(ctx context.Context, loop string, d planner.LoopDecision, now time.Time) (int64, error)
	// CarryOut does what was recorded under a number, a training or a rollback, or continues it.
	// If it began a revision, that has ended when CarryOut returns without an error. It returns
	// [state.ErrOvertaken], and does nothing, if the loop decides otherwise once it has the lock.
	CarryOut(ctx context.Context, loop string, number int64, d planner.LoopDecision) (Acted, error)

	// Controller, SetController and EndController are those of [state.Store].
	Controller(ctx context.Context) (*state.Controller, error)
	SetController(ctx context.Context, c, over *state.Controller) error
	EndController(ctx context.Context, id string) error
	Close() error
}

// A Sight is what an engine sees.
type Sight struct {
	System   string
	Revision int // the last one
	// Held is who holds the lock of the state, or nil. What is deployed was not looked at then.
	Held *state.HeldError
	// Rests says why nothing is mended, or is "".
	Rests string
	// Killed says what was killed and can be continued, or is "".
	Killed   string
	Faults   []planner.Fault // without For
	Mended   []planner.Mended
	Unknown  []string  // what could not be inspected, and why
	Releases []Release // in progress
	Monitors []Monitor
	Loops    []Loop
}

// A Monitor is a deployed monitor.
type Monitor struct {
	Unit  string
	Every time.Duration
	Last  time.Time // when it was measured, zero if it never was
}

// A Loop is a deployed loop, the services whose releases it judges, and the tables whose rows it waits for.
type Loop struct {
	Unit   string
	Judges []string
	Tables []Table
}

// A Table is a unit with a table that is read again.
type Table struct {
	Unit  string
	Every time.Duration
}

// A Release is a release in progress.
type Release struct {
	Unit  string
	Due   bool   // something has to be done now
	Next  bool   // and it is the next step, which loops may hold back
	Waits string // for what, otherwise
	Until time.Time
}

// Acted is what an engine did.
type Acted struct {
	Units    []string
	Revision int // 0 if no revision began
	Message  string
	Refused  bool // it cannot be done, for the reason in Message; a later attempt would not help
}
