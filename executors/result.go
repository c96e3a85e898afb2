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

// ErrMoved is returned when the state changed since the plan was made.
var ErrMoved = errors.New("the state has moved since the plan was made")

// A Result tells how an apply ended.
type Result struct {
	Revision int           `json:"revision"`
	Outcome  state.Outcome `json:"outcome"`
	Counts   Counts        `json:"counts"`
	Failed   []*UnitError  `json:"failed,omitempty"`
	Blocked  []Blocked     `json:"blocked,omitempty"`
	Canceled []string      `json:"canceled,omitempty"` // ended or not started because the apply was
	Audits   []Audit       `json:"audits,omitempty"`
	Fault    string        `json:"fault,omitempty"` // why nothing could go on: the state could not be read or written
	Took     time.Duration `json:"took_ns"`
}

// Counts counts units by what became of them.
type Counts struct {
	Ran       int `json:"ran"`       // jobs
	Reused    int `json:"reused"`    // jobs whose recorded result stands
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

// An Audit is what came of running a unit again that would have been reused.
type Audit struct {
	Unit string `json:"unit"`
	// Differs lists the output ports whose bytes were not those recorded.
	Differs []string `json:"differs,omitempty"`
	Error   string   `json:"error,omitempty"` // why it could not be compared
}

// A UnitError tells why a unit failed for good.
type UnitError struct {
	Unit    string
	Attempt int
	Err     error
	LogTail []string // the last lines of its log
	LogPath string   // absolute; "" if it never started
	Stands  bool     // a service: the one before it goes on answering
}

func (e *UnitError) Error() string { return fmt.Sprintf("%s: %v", e.Unit, e.Err) }

func (e *UnitError) Unwrap() error { return e.Err }

// MarshalJSON writes the error as text.
func (e *UnitError) MarshalJSON() ([]byte, error) {
	return []byte(compact(struct {
		Unit    string   `json:"unit"`
		Attempt int      `json:"attempt,omitempty"`
		Error   string   `json:"error"`
		LogTail []string `json:"log_tail,omitempty"`
		LogPath string   `json:"log,omitempty"`
		Stands  bool     `json:"stands,omitempty"`
	}{e.Unit, e.Attempt, e.Err.Error(), e.LogTail, e.LogPath, e.Stands})), nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
