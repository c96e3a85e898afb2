package state

import (
	"encoding/json"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/protect"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// layoutVersion is the version of the layout of the database. A newer one is refused.
const layoutVersion = 6

// Meta identifies an environment of a state. Serial grows with every change of it, so that a
// saved plan can tell whether the environment has changed.
type Meta struct {
	Lineage string `json:"lineage"` // of the state: random, created once
	Serial  int64  `json:"serial"`
	System  string `json:"system"`
	Env     string `json:"env,omitempty"`
}

// A Handle lets an executor find again what it started. Only the executor reads Data.
type Handle struct {
	Executor string          `json:"executor"`
	ID       string          `json:"id"` // deterministic: unit and run key
	Data     json.RawMessage `json:"data,omitempty"`
	Endpoint string          `json:"endpoint,omitempty"` // URL of a service, if it differs from what the unit says
}

// Phase is the phase of something that an executor started.
type Phase string

const (
	Absent    Phase = "absent"    // does not exist, or no longer
	Running   Phase = "running"   // a job that has not ended; a service that is not ready yet
	Ready     Phase = "ready"     // a service that answers
	Succeeded Phase = "succeeded" // a job that exited with 0
	Failed    Phase = "failed"    // a job that exited with another status; a service that died
)

// A Status is what an executor sees.
type Status struct {
	Phase    Phase     `json:"phase"`
	ExitCode int       `json:"exit_code,omitempty"`
	Signal   string    `json:"signal,omitempty"`
	Message  string    `json:"message,omitempty"` // why, in one line
	Queued   bool      `json:"queued,omitempty"`  // waits for admission; its time limit has not begun
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	Usage    Usage     `json:"usage,omitzero"`
	// Lacking means that it failed, or does not start, because the platform lacks capacity, or because a quota is
	// too small: elsewhere it may work.
	Lacking bool `json:"lacking,omitempty"`
	// Interrupted means that it failed because the platform lost or took back what it ran on.
	Interrupted bool `json:"interrupted,omitempty"`
	// Over means that it has ended together with everything that it started. Not every
	// executor can tell; without Over, something may run until it is destroyed.
	Over bool `json:"-"`
}

// Usage is what a run used.
type Usage struct {
	CPU        time.Duration `json:"cpu_ns,omitempty"`
	PeakMem    int64         `json:"peak_mem,omitempty"`    // bytes: of the largest process, or of the whole container
	ReadBytes  int64         `json:"read_bytes,omitempty"`  // from disks
	WriteBytes int64         `json:"write_bytes,omitempty"` // to disks
}

// Used is the maximum that the last runs of a unit used.
type Used struct {
	Runs     int   // runs whose memory usage is known
	Memory   int64 // bytes
	Long     int   // runs long enough to measure their CPU usage
	MilliCPU int64 // thousandths of a core, on average over such a run
}

// Outcome of a run.
type Outcome string

const (
	Started  Outcome = "started" // begun, and not yet known to have ended
	Done     Outcome = "done"
	Failure  Outcome = "failed"
	Canceled Outcome = "canceled"
	// Killed is a revision whose apply ended without recording it. The next apply records
	// it.
	Killed Outcome = "killed"
	// Audited is a run that was made only to compare it with an earlier one.
	Audited Outcome = "audited"
	// Pruned is a done or audited run of which only the usage is kept.
	Pruned Outcome = "pruned"
)

// A Run is one execution of a unit. Key is the run key, see [ir.RunKey].
type Run struct {
	ID         int64                        `json:"id"`
	Key        string                       `json:"key"`
	Unit       string                       `json:"unit"`
	Definition string                       `json:"definition"` // digest of the definition
	Env        string                       `json:"env,omitempty"`
	Revision   int                          `json:"revision"` // of the environment
	Outcome    Outcome                      `json:"outcome"`
	Attempt    int                          `json:"attempt"`
	Started    time.Time                    `json:"started"`
	Finished   time.Time                    `json:"finished,omitzero"`
	Inputs     map[string]string            `json:"inputs,omitempty"`  // port or "file:"+path -> digest
	Outputs    map[string]artifact.Artifact `json:"outputs,omitempty"` // by port
	Metrics    map[string]float64           `json:"metrics,omitempty"`
	Usage      Usage                        `json:"usage,omitzero"`
	// Prepared is how long it took to prepare what the run needed, such as a Python
	// environment, before it started. It is 0 if everything existed.
	Prepared time.Duration `json:"prepared_ns,omitempty"`
	Devices  []string      `json:"devices,omitempty"` // reserved while it runs
	Error    string        `json:"error,omitempty"`
	Log      string        `json:"log,omitempty"` // path below the state folder
}

// Took returns how long the run lasted.
func (r Run) Took() time.Duration { return r.Finished.Sub(r.Started) }

// Current is what is deployed for one unit.
type Current struct {
	Unit       string    `json:"unit"`
	Kind       ir.Kind   `json:"kind"`
	Definition string    `json:"definition"`
	Key        string    `json:"key"`              // of the run that made it
	Run        int64     `json:"run"`              // that run
	Revision   int       `json:"revision"`         // that made it current
	Handle     *Handle   `json:"handle,omitempty"` // services
	Since      time.Time `json:"since"`
	// Route is set while several versions of a service answer, and after a version was rejected.
	Route *Route `json:"route,omitempty"`
}

// A Pending is a journal entry: a call to an executor whose end is not recorded. A killed
// apply leaves them behind; the next one adopts or clears them.
type Pending struct {
	Run    Run     `json:"run"`
	Handle *Handle `json:"handle,omitempty"` // nil: killed before the executor answered
}

// A ModelVersion is an entry of the registry: one for each model that was ever
// registered. In each environment, the one registered there last is in service, whether new
// or restored.
type ModelVersion struct {
	Model   string             `json:"model"` // "models/late"
	Version int                `json:"version"`
	Digest  string             `json:"digest"` // of the model artifact
	Key     string             `json:"key"`    // of the training run
	Metrics map[string]float64 `json:"metrics,omitempty"`
	Created time.Time          `json:"created"`
}

// An Act is the command behind a revision.
type Act string

const (
	Apply    Act = "apply"
	Rollback Act = "rollback"
	Destroy  Act = "destroy"
	Release  Act = "release" // changes the weights of the versions of a service, or aborts a release
	Repair   Act = "repair"  // makes again what is deployed and had died; it deploys nothing else
	Refresh  Act = "refresh" // reads labels of a monitor again; it deploys nothing
)

// A Revision is one apply.
type Revision struct {
	Env      string    `json:"env,omitempty"`
	Number   int       `json:"revision"` // within the environment
	Act      Act       `json:"act"`
	BackTo   int       `json:"back_to,omitempty"` // of a rollback: the revision that it restored; of an abort: that of the champion
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
	// Deployed is the digest of a [Deployed], a blob: what was current at the end. It is
	// empty unless the plan was applied completely.
	Deployed string `json:"standing,omitempty"`
	// Protection says who changed an environment that is protected, or nil.
	Protection *protect.Record `json:"protection,omitempty"`
}

// Deployed is what was current at the end of a revision, by unit.
type Deployed map[string]DeployedUnit

// A DeployedUnit is what was current for one unit. The run distinguishes results with the same
// key. Services and records are made again from their inputs and have no run.
type DeployedUnit struct {
	Key string `json:"key"`
	Run int64  `json:"run,omitempty"`
	// Pinned is set for a service that is not what the revision declares: the champion of a
	// release that rejected the declared version.
	Pinned *Pinned `json:"pinned,omitempty"`
}

// A Pinned unit is deployed as it was applied, from what its run read.
type Pinned struct {
	Unit ir.Unit `json:"unit"`
	Run  int64   `json:"run"`
}

// Bytes returns the encoding: the same bytes for the same content.
func (d Deployed) Bytes() []byte {
	b, _ := json.Marshal(d) // this cannot fail
	return b
}

// Digest returns the digest of the encoding.
func (d Deployed) Digest() string { return ir.Sum(d.Bytes()) }

// An Unstable unit gave another result when an audit ran it again.
type Unstable struct {
	Unit       string   `json:"unit"`
	Definition string   `json:"definition"` // digest of the definition that is unstable
	Revision   int      `json:"revision"`   // whose audit found it
	Env        string   `json:"env,omitempty"`
	Ports      []string `json:"ports"` // that differed
}
