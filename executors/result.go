package executors

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/planner/state"
)

// ErrMoved means that the state has changed since the plan was made.
var ErrMoved = errors.New("the state has changed since the plan was made")

// A Result is the outcome of an apply.
type Result struct {
	Env      string        `json:"env,omitempty"`
	Revision int           `json:"revision"`
	Outcome  state.Outcome `json:"outcome"`
	Counts   Counts        `json:"counts"`
	Failed   []*UnitError  `json:"failed,omitempty"`
	Blocked  []Blocked     `json:"blocked,omitempty"`
	Canceled []string      `json:"canceled,omitempty"` // ended or not started because the apply was canceled
	Audits   []Audit       `json:"audits,omitempty"`
	Fault    string        `json:"fault,omitempty"` // why everything stopped: the state could not be read or written
	Took     time.Duration `json:"took_ns"`
}

// Counts counts units by outcome.
type Counts struct {
	Ran       int `json:"ran"`       // jobs
	Reused    int `json:"reused"`    // jobs whose recorded result stays current
	Created   int `json:"created"`   // services and records
	Updated   int `json:"updated"`   // services and records
	Replaced  int `json:"replaced"`  // services
	Unchanged int `json:"unchanged"` // services and records
	Deleted   int `json:"deleted"`
}

// Blocked is a unit that did not run because another one failed.
type Blocked struct {
	Unit string `json:"unit"`
	By   string `json:"by"`
}

// An Audit is the outcome of running a unit again that would have been reused.
type Audit struct {
	Unit string `json:"unit"`
	// Differs lists the output ports whose bytes differ from the recorded ones.
	Differs []string `json:"differs,omitempty"`
	Error   string   `json:"error,omitempty"` // why it could not be compared
}

// A UnitError says why a unit failed permanently.
type UnitError struct {
	Unit             string
	Attempt          int
	Err              error
	LogTail          []string // the last lines of its log
	LogPath          string   // absolute; "" if it never started
	PredecessorReady bool     // a service: its predecessor continues to answer
}

func (e *UnitError) Error() string { return fmt.Sprintf("%s: %v", e.Unit, e.Err) }

func (e *UnitError) Unwrap() error { return e.Err }

// MarshalJSON writes the error as text.
func (e *UnitError) MarshalJSON() ([]byte, error) {
	return []byte(compact(struct {
		Unit             string   `json:"unit"`
		Attempt          int      `json:"attempt,omitempty"`
		Error            string   `json:"error"`
		LogTail          []string `json:"log_tail,omitempty"`
		LogPath          string   `json:"log,omitempty"`
		PredecessorReady bool     `json:"stands,omitempty"`
	}{e.Unit, e.Attempt, e.Err.Error(), e.LogTail, e.LogPath, e.PredecessorReady})), nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
