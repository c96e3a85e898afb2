package state

import (
	"encoding/json"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// Version is the version of the layout of the database. A newer one is refused.
const Version = 4

// Meta identifies a state. Serial grows with every change, so that a saved plan
// can tell whether the state moved.
type Meta struct {
	Lineage string `json:"lineage"` // random, made once
	Serial  int64  `json:"serial"`
	System  string `json:"system"`
}

// A Handle is how an executor finds again what it started. Only the executor
// reads Data.
type Handle struct {
	Executor string          `json:"executor"`
	ID       string          `json:"id"` // deterministic: unit and run key
	Data     json.RawMessage `json:"data,omitempty"`
	Endpoint string          `json:"endpoint,omitempty"` // URL of a service, where it is not what the unit says
}

// Phase is where something an executor started stands.
type Phase string

const (
	Absent    Phase = "absent"    // not there, or no longer
	Running   Phase = "running"   // a job at work; a service not yet ready
	Ready     Phase = "ready"     // a service that answers
	Succeeded Phase = "succeeded" // a job that exited with 0
	Failed    Phase = "failed"    // a job that did not; a service that died
)

// A Status is what an executor sees.
type Status struct {
	Phase    Phase     `json:"phase"`
	ExitCode int       `json:"exit_code,omitempty"`
	Signal   string    `json:"signal,omitempty"`
	Message  string    `json:"message,omitempty"` // why, in one line
	Queued   bool      `json:"queued,omitempty"`  // it is running only in name: it waits to be let in, and its time has not begun
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	Usage    Usage     `json:"usage,omitzero"`
	// Over is that it has ended, and all that it started with it. Not every executor
	// can tell; without it, something may run until it is destroyed.
	Over bool `json:"-"`
}

// Usage is what a run took.
type Usage struct {
	CPU        time.Duration `json:"cpu_ns,omitempty"`
	PeakMem    int64         `json:"peak_mem,omitempty"`    // bytes: of the largest process, or of all that ran in a container
	ReadBytes  int64         `json:"read_bytes,omitempty"`  // from disks
	WriteBytes int64         `json:"write_bytes,omitempty"` // to disks
}

// Used is the most that the last runs of a unit took.
type Used struct {
	Runs     int   // whose memory is known
	Memory   int64 // bytes
	Long     int   // runs that took long enough to tell what they used of cores
	MilliCPU int64 // thousandths of a core, on average over such a run
}

// Outcome of a run.
type Outcome string

const (
	Started  Outcome = "started" // intended, and not yet known to have ended
	Done     Outcome = "done"
	Failure  Outcome = "failed"
	Canceled Outcome = "canceled"
	// Killed is a revision whose apply ended without a word. The next one notes it.
	Killed Outcome = "killed"
	// Audited is a run that was made only to compare it with an earlier one.
	Audited Outcome = "audited"
	// Pruned is a run that was done or audited, of which only what it took is left.
	Pruned Outcome = "pruned"
)

// A Run is one execution of a unit. Key is the run key, see [ir.RunKey].
type Run struct {
	ID         int64                        `json:"id"`
	Key        string                       `json:"key"`
	Unit       string                       `json:"unit"`
	Definition string                       `json:"definition"` // digest
	Revision   int                          `json:"revision"`
	Outcome    Outcome                      `json:"outcome"`
	Attempt    int                          `json:"attempt"`
	Started    time.Time                    `json:"started"`
	Finished   time.Time                    `json:"finished,omitzero"`
	Inputs     map[string]string            `json:"inputs,omitempty"`  // port or "file:"+path -> digest
	Outputs    map[string]artifact.Artifact `json:"outputs,omitempty"` // by port
	Metrics    map[string]float64           `json:"metrics,omitempty"`
	Usage      Usage                        `json:"usage,omitzero"`
	// Prepared is how long it took to prepare what the run needed, such as a Python
	// environment, before it began. It is 0 if all was there.
	Prepared time.Duration `json:"prepared_ns,omitempty"`
	Devices  []string      `json:"devices,omitempty"` // that it has to itself while it runs or stands
	Error    string        `json:"error,omitempty"`
	Log      string        `json:"log,omitempty"` // path below the state folder
}

// Took is how long the run lasted.
func (r Run) Took() time.Duration { return r.Finished.Sub(r.Started) }

// Current is what stands applied for one unit.
type Current struct {
	Unit       string    `json:"unit"`
	Kind       ir.Kind   `json:"kind"`
	Definition string    `json:"definition"`
	Key        string    `json:"key"`              // of the run that made it
	Run        int64     `json:"run"`              // that run
	Revision   int       `json:"revision"`         // that put it there
	Handle     *Handle   `json:"handle,omitempty"` // services
	Since      time.Time `json:"since"`
}

// A Pending is a call to an executor whose end is not recorded: the journal.
// An apply that was killed leaves them; the next one adopts or clears them.
type Pending struct {
	Run    Run     `json:"run"`
	Handle *Handle `json:"handle,omitempty"` // nil: killed before the executor answered
}

// A ModelVersion is an entry of the registry: one for each model that was ever
// registered. The one registered last is in service, be it new or brought back.
type ModelVersion struct {
	Model   string             `json:"model"` // "models/late"
	Version int                `json:"version"`
	Digest  string             `json:"digest"` // of the model artifact
	Key     string             `json:"key"`    // of the training run
	Metrics map[string]float64 `json:"metrics,omitempty"`
	Created time.Time          `json:"created"`
}

// An Act is what a revision came from.
type Act string

const (
	Apply    Act = "apply"
	Rollback Act = "rollback"
	Destroy  Act = "destroy"
)

// A Revision is one apply.
type Revision struct {
	Number   int       `json:"revision"`
	Act      Act       `json:"act"`
	BackTo   int       `json:"back_to,omitempty"` // of a rollback: the revision it brought back
	System   string    `json:"system"`
	Target   string    `json:"target"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
	Outcome  Outcome   `json:"outcome"`
	IR       string    `json:"ir"`   // digest of the IR, a blob
	Plan     string    `json:"plan"` // digest of the plan, a blob
	Tags     []string  `json:"tags,omitempty"`
	Commit   string    `json:"commit,omitempty"`
	Moves    []ir.Move `json:"moves,omitempty"`
	// Standing is the digest of a [Standing], a blob: what stood at the end. It
	// is empty unless all of the plan was applied.
	Standing string `json:"standing,omitempty"`
}

// A Standing is what stood at the end of a revision, by unit.
type Standing map[string]Stood

// Stood is what stood of one unit. The run tells apart two results of one key;
// what is not a job is made again from what it reads, and has none.
type Stood struct {
	Key string `json:"key"`
	Run int64  `json:"run,omitempty"`
}

// StandingOf is what stands, as a revision records it.
func StandingOf(current map[string]Current) Standing {
	s := make(Standing, len(current))
	for unit, c := range current {
		stood := Stood{Key: c.Key}
		if c.Kind == ir.Job {
			stood.Run = c.Run
		}
		s[unit] = stood
	}
	return s
}

// Bytes is how it is stored: the same bytes for the same content.
func (s Standing) Bytes() []byte {
	b, _ := json.Marshal(s) // it always encodes
	return b
}

// Digest is that of its bytes.
func (s Standing) Digest() string { return ir.Sum(s.Bytes()) }

// An Unstable unit came out otherwise when an audit ran it again.
type Unstable struct {
	Unit       string   `json:"unit"`
	Definition string   `json:"definition"` // digest; another one is not known to be unstable
	Revision   int      `json:"revision"`   // whose audit found it
	Ports      []string `json:"ports"`      // that differed
}
