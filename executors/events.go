package executors

import (
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/internal/logfile"
)

// EventType says what happened to a unit.
type EventType string

const (
	EventStarted   EventType = "started"   // an attempt begins
	EventProgress  EventType = "progress"  // a step reports its progress, or its executor why it waits
	EventReady     EventType = "ready"     // a service answers
	EventFinished  EventType = "finished"  // done and recorded
	EventReused    EventType = "reused"    // the recorded result stays current
	EventRetried   EventType = "retried"   // an attempt failed; the next one follows after Duration
	EventFailed    EventType = "failed"    // the last attempt failed
	EventBlocked   EventType = "blocked"   // it depends on the failed unit By
	EventCanceled  EventType = "canceled"  // ended because the apply was canceled
	EventPreempted EventType = "preempted" // ended because By is owed its GPUs; it runs again later
	EventDestroyed EventType = "destroyed" // removed
	EventMoved     EventType = "moved"     // continues under this name
	EventAudited   EventType = "audited"   // run again only to compare; Error says what differed
	EventReleased  EventType = "released"  // the weights of its versions changed, as Message says
	EventResource  EventType = "resource"  // the resource What of the infrastructure changes or has changed, as Message says
	EventPreparing EventType = "preparing" // What is being made, which Units need to start
	EventPrepared  EventType = "prepared"  // made, or failed: Error says why
)

// An Event is one event of an apply.
type Event struct {
	Time     time.Time          `json:"time"`
	Unit     string             `json:"unit"` // "" if it concerns several
	Type     EventType          `json:"type"`
	Attempt  int                `json:"attempt,omitempty"`
	Adopted  bool               `json:"adopted,omitempty"` // started: by an apply that was killed
	Done     float64            `json:"done,omitempty"`
	Total    float64            `json:"total,omitempty"`
	Message  string             `json:"message,omitempty"`
	Waits    string             `json:"waits,omitempty"` // progress: why the task does not run
	Duration time.Duration      `json:"duration_ns,omitempty"`
	Metrics  map[string]float64 `json:"metrics,omitempty"`
	By       string             `json:"by,omitempty"`
	Endpoint string             `json:"endpoint,omitempty"` // ready: URL, if it differs from what the unit says
	Error    string             `json:"error,omitempty"`
	Log      string             `json:"log,omitempty"`     // absolute path
	Devices  []string           `json:"devices,omitempty"` // started: its GPUs
	What     string             `json:"what,omitempty"`    // preparing, prepared, resource
	Units    []string           `json:"units,omitempty"`   // preparing, prepared
}

// An eventSink passes on events one at a time, so that a view needs no lock.
type eventSink struct {
	mu  sync.Mutex
	to  func(Event)
	now func() time.Time
}

func (t *eventSink) send(e Event) {
	if t.to == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e.Time = t.now()
	t.to(e)
}

// logTail returns the last lines of a log, with the values of secrets redacted.
func logTail(path string, secrets map[string]string) []string {
	const lines, window = 20, 32 << 10
	b, cut, err := logfile.Tail(path, window)
	if err != nil {
		return nil
	}
	text := strings.TrimRight(strings.ToValidUTF8(string(b), "�"), "\r\n")
	if text == "" {
		return nil
	}
	for _, v := range secrets {
		if len(v) >= 4 { // shorter ones would redact half the log
			text = strings.ReplaceAll(text, v, "***")
		}
	}
	all := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	if cut && len(all) > 1 {
		all = all[1:]
	}
	return all[max(0, len(all)-lines):]
}
