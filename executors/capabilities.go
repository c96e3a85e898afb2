package executors

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// What follows are capabilities that only some executors have, with [Collector]. Each is an
// interface of its own; code that needs one asks for the interface and never for an executor
// by name.

// A Waiter can wait better than by calling Inspect again and again. Wait
// returns once the phase is no longer [state.Running]: ready or failed for a
// service, succeeded or failed for a job; absent if it is gone. When ctx is done
// it returns ctx's error and leaves the task alone.
type Waiter interface {
	Wait(ctx context.Context, h state.Handle) (state.Status, error)
}

// A Checker refuses at compile time what the executor cannot honour.
type Checker interface {
	// Check returns one fault per field of the unit it cannot honour.
	Check(u ir.Unit) []ir.Fault
}

// A PortIsolation gives each service ports of its own, so that none is in the way of what
// listens elsewhere on the same port.
type PortIsolation interface {
	OwnPorts() bool
}

// A Logger gives a unit's output. With follow, it goes on until the task ends
// or ctx is done.
type Logger interface {
	Logs(ctx context.Context, h state.Handle, w io.Writer, follow bool) error
}

// A Scheduler has resources of its own and queues tasks until what they need is free. The
// engine then neither bounds what units without a pool take nor lends them devices.
type Scheduler interface {
	// ReadyWithin is how long a service without a timeout may take to become ready,
	// with the time in the queue.
	ReadyWithin() time.Duration
}

// A Remote executor runs tasks on other machines. They can be inspected and ended from any
// machine, and their logs come from [Logger] and not from the folder of the run.
type Remote interface {
	Remote() bool
}

// A Lister finds what still runs from the folders of runs alone, for the case that the
// state is lost.
type Lister interface {
	// Running returns the tasks that run and whose folders are in dir.
	Running(dir string) []Running
}

// Running is a task that runs on this machine.
type Running struct {
	Unit string
	PID  int // leader of its process group
}

// An ImageRunner runs units in images.
type ImageRunner interface {
	// RegistryHosts is the folder that says how registries are reached, in the format
	// of containerd's hosts.toml; "" is the default.
	RegistryHosts() string
}

// A Renderer shows the objects that a platform would get for units, as far as they are
// known without a plan. It asks the platform nothing.
type Renderer interface {
	Manifests(units []ir.Unit) ([]Manifest, error)
}

// A Granter knows the rights that tenon needs on a platform.
type Granter interface {
	// Rights are the objects that let an account of that name do what tenon does in a namespace,
	// and no more. A name that the platform refuses gives an [ArgumentError].
	Rights(namespace, name string) ([]Manifest, error)
}

// A Manifest is an object of a platform, as a document that can be applied there.
type Manifest struct {
	JSON json.RawMessage
	YAML []byte
}

// An ArgumentError says that a value cannot be taken.
type ArgumentError struct {
	Argument string // "namespace"
	Wants    string // "the name of a namespace"
	Got      string
}

func (e *ArgumentError) Error() string {
	return fmt.Sprintf("%s takes %s, not %q", e.Argument, e.Wants, e.Got)
}

// A Detacher applies plans on its platform, without the machine that made them.
type Detacher interface {
	// DetachedStore is the URL of the store of artifacts that a detached apply uses. An
	// error says what the target lacks for detached applies.
	DetachedStore() (string, error)
	// Pack makes ready what only this machine can provide for a plan.
	Pack(ctx context.Context, p *planner.Plan) (Packed, error)
	// Detached is the detached apply of a revision of the state with that lineage,
	// whether it exists or not. It is nil if the target allows none.
	Detached(lineage string, revision int) DetachedApply
}

// Packed is what a [Detacher] needs again when it runs on its platform.
type Packed struct {
	// Home is what this machine calls the platform. Handles name it, so that both sides
	// find what the other one started.
	Home   string            `json:"home"`
	Images map[string]string `json:"images"` // published, by unit
}

// A DetachedApply is an apply that runs on a platform.
type DetachedApply interface {
	Job() Job
	// Start starts tenon with args in an image on base. It is idempotent. The platform
	// starts tenon again unless it exits with 0, [ExitFailed] or [ExitUsage].
	Start(ctx context.Context, base string, args []string) error
	// Status is that of the apply. Absence is a status. One that was killed and is
	// started again is running.
	Status(ctx context.Context) (state.Status, error)
	// Log copies what it has printed. With follow, it goes on until the apply has ended.
	Log(ctx context.Context, to io.Writer, follow bool) error
	// End removes it, and returns once it has ended what it runs. It is idempotent.
	End(ctx context.Context) error
	// Ending reports whether somebody ends it, and not only the process that runs it.
	Ending(ctx context.Context) (bool, error)
}

// A Job names a detached apply on its platform.
type Job struct {
	Name      string
	Namespace string
}

// Exit codes of a detached apply that end it for good.
const (
	ExitFailed = 1  // it came to its end, and something failed
	ExitUsage  = 64 // it does not know its arguments
)

// A Preparer makes what units need before they can start, and what several of them may
// share, such as a Python environment or an image. The engine asks for it before a unit takes
// resources and apart from the time of its runs.
type Preparer interface {
	planner.Preparer
	// Prepare makes what the task needs, or finds it. Of the task, only what the unit
	// is made of is set: Unit, Code, Lock and Image. report is called with the progress,
	// and not at all if nothing is missing. It is idempotent: a call that was killed
	// does not affect the next one.
	Prepare(ctx context.Context, t Task, report func(step.Progress)) error
}
