package control

import "time"

// An EventType says what an [Event] is about.
type EventType string

const (
	Started   EventType = "started"   // the controller watches
	Standby   EventType = "standby"   // another one does
	Fault     EventType = "fault"     // a unit does not run, or was lost
	Repaired  EventType = "repaired"  // it is as it was applied again
	Healthy   EventType = "healthy"   // it is, and the controller did nothing
	Continued EventType = "continued" // an apply that was killed
	Released  EventType = "released"  // a step of a release was taken
	Measured  EventType = "measured"  // a monitor
	Read      EventType = "read"      // a table that a loop waits for, because its data has changed
	Decided   EventType = "decided"   // a loop
	Waits     EventType = "waits"     // what is due next
	Failed    EventType = "failed"    // something failed and is tried again
	Recovered EventType = "recovered" // it did not fail again
	ClockSet  EventType = "clock"     // the clock was set, or the machine slept
	Stopped   EventType = "stopped"   // the controller ends
)

// EventTypes are all types of events.
var EventTypes = []EventType{Started, Standby, Fault, Repaired, Healthy, Continued, Released, Measured, Read, Decided, Waits, Failed, Recovered, ClockSet, Stopped}

// An Event is something that a controller saw or did.
type Event struct {
	Time     time.Time     `json:"time"`
	Type     EventType     `json:"type"`
	Unit     string        `json:"unit,omitempty"`
	Revision int           `json:"revision,omitempty"`
	Message  string        `json:"message,omitempty"`
	Error    string        `json:"error,omitempty"`
	Retry    time.Duration `json:"retry_ns,omitempty"` // failed: how long until the next attempt
}
