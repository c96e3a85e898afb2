package executors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// The following capabilities, and [Collector], exist only in some executors. Each is a
// separate interface. Code that needs one checks for the interface and never for an
// executor by name.

// A Waiter can wait more efficiently than by polling Inspect. Wait returns once the phase
// is no longer [state.Running]: ready or failed for a service, succeeded or failed for a
// job; absent if it is gone. When ctx is done it returns ctx's error and leaves the task
// running.
type Waiter interface {
	Wait(ctx context.Context, h state.Handle) (state.Status, error)
}

// A Checker reports at compile time what the executor cannot honour.
type Checker interface {
	// Check returns one fault for each field of the unit that it cannot honour.
	Check(u ir.Unit) []ir.Fault
}

// An Admitter knows what its platform would refuse because of limits of the account.
type Admitter interface {
	// Admit returns a [LackingError] that names what is too small for one of the units, and another error if
	// it cannot ask. It reports whether a limit concerns one of the units. A plan and an apply call it with
	// the units that are going to run, before any starts.
	Admit(ctx context.Context, units []ir.Unit) (asked bool, err error)
}

// A PortIsolation gives each service its own ports, so that it never conflicts with
// another listener on the same port.
type PortIsolation interface {
	OwnPorts() bool
}

// A Host runs services that listen on addresses of this machine, which others want too.
type Host interface {
	// Taken names who has the address of a task, or returns "" if the task could have it
	// now. It reads Unit, Name, Dir, Leaving and State of the task, and starts nothing. prior is
	// the deployed service that the task would take over from, or nil.
	Taken(ctx context.Context, t Task, prior *state.Handle) (by string, err error)
}

// A RequestPricer knows what services cost that are paid for by requests.
type RequestPricer interface {
	// PerRequest returns what a service costs, or false if it costs what its pool says.
	PerRequest(u ir.Unit) (planner.PerRequest, bool)
}

// An HourPricer knows what services cost that run on machines of their own.
type HourPricer interface {
	// PerHour returns what a service costs, if that is known, or false if it costs what its pool says.
	PerHour(u *ir.Unit) (planner.PerHour, bool)
}

// A DeployedPricer is an [HourPricer] that can tell from a handle on which machines a service runs.
type DeployedPricer interface {
	// PerHourOf returns what a deployed service costs where it is, or false if it costs what its pool says. If u is nil, it is
	// what one of its machines costs.
	PerHourOf(u *ir.Unit, h state.Handle) (planner.PerHour, bool)
}

// A Rooted executor cannot move services to another region or account.
type Rooted interface {
	// Root says where a deployed service is, and where the target is, such as a region; equal texts if that is the same.
	Root(h state.Handle) (there, here string)
}

// A Placer runs services in several ways within a target.
type Placer interface {
	// Placed says how a deployed service runs, and how the unit would run now; equal texts if it may stay.
	Placed(u *ir.Unit, h state.Handle) (before, after string)
}

// A SharedReplicas executor runs all replicas of a service on one machine, where they share what the service asks for,
// although it is a [Scheduler].
type SharedReplicas interface {
	ReplicasShare()
}

// A Billed executor runs units in a cloud, which charges for what is stored there and what leaves it.
type Billed interface {
	// BilledIn returns the region whose rates count.
	BilledIn() (region string)
}

// A Logger returns the output of a unit. With follow, it continues until the task ends or
// ctx is done.
type Logger interface {
	Logs(ctx context.Context, h state.Handle, w io.Writer, follow bool) error
}

// A Keeper stores what services keep, because there is no folder that outlives them where they
// run. It refuses a unit that keeps something else than [ir.Unit.Ships] says.
type Keeper interface {
	// BringKept copies the files of a deployed service in from.Folder, of all its versions and
	// replicas, to a folder of this machine: those that were complete at since or later, and
	// that are not there yet. It removes copies of files that no longer exist. A [PartialError]
	// says that a place where versions may have been does not answer: its files are missing.
	BringKept(ctx context.Context, h state.Handle, from ir.Shipment, since time.Time, to string) error
}

// A Locator knows the address of a service only once that is ready, so that no caller reaches it before.
type Locator interface {
	// Located returns the handle of a service that is ready, with its address.
	Located(ctx context.Context, h state.Handle) (state.Handle, error)
}

// A PartialError says that something was done, but without what does not answer now.
type PartialError struct {
	Lacks []string // what does not answer: "host 10.0.0.2"
	Errs  []error  // why, for each
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("without what is on %s: %v", strings.Join(e.Lacks, ", "), errors.Join(e.Errs...))
}

func (e *PartialError) Unwrap() []error { return e.Errs }

// A VersionRunner runs several versions of a service in one task, see [step.Step.Beside].
type VersionRunner interface {
	// SetRoute makes the route of a service effective, within 1 s on this machine and 5 s
	// elsewhere. It is idempotent. The service keeps the route when its program is started
	// again.
	SetRoute(ctx context.Context, h state.Handle, r step.Route) error
	// Observe returns what the service counted since its route is in effect, or nil if it has
	// not reported anything yet.
	Observe(ctx context.Context, h state.Handle) (*step.Observed, error)
}

// A Scheduler has its own resources and queues tasks until these are free. The engine
// then neither limits units without a pool nor lends them devices.
type Scheduler interface {
	// ReadyWithin returns how long a service may take to become ready, including the time in
	// the queue and that of its machine. 0 is what it is on this machine.
	ReadyWithin(u *ir.Unit) time.Duration
}

// A Remote executor runs tasks on other machines. Any machine can inspect and end them.
// Their logs come from [Logger] and not from the folder of the run.
type Remote interface {
	Remote() bool
}

// A Lister finds what still runs from the folders of runs alone, in case the state is
// lost.
type Lister interface {
	// Running returns the tasks that run and whose folders are in dir.
	Running(dir string) []Running
}

// Running is a task that runs on this machine.
type Running struct {
	Unit string
	PID  int // leader of its process group
	// Handle is that of the task in the folder where it was found.
	Handle state.Handle
}

// An Interpreter runs Python units with an interpreter that it finds on the machine.
type Interpreter interface {
	// Python returns the exact version, such as "3.11.7", of the interpreter for units
	// that name a version. With install it may install one; without, and if there is none,
	// it returns "".
	Python(ctx context.Context, version string, install bool) (string, error)
}

// An ImageRunner runs units in images.
type ImageRunner interface {
	// RegistryHosts is the folder that configures how to reach registries, in the format
	// of containerd's hosts.toml; "" is the default.
	RegistryHosts() string
}

// A Renderer returns the objects that a platform would get for units, as far as they are
// known without a plan. It does not contact the platform.
type Renderer interface {
	Manifests(units []ir.Unit) ([]Manifest, error)
}

// A Granter knows the rights that tenon needs on a platform.
type Granter interface {
	// Rights returns the objects that grant the account of that name exactly the rights
	// that tenon needs in a namespace. A name that the platform refuses gives an
	// [ArgumentError].
	Rights(namespace, name string) ([]Manifest, error)
}

// A Manifest is an object of a platform, as a document that can be applied there.
type Manifest struct {
	JSON json.RawMessage
	YAML []byte
}

// An ArgumentError says that an argument is invalid.
type ArgumentError struct {
	Argument string // "namespace"
	Wants    string // "the name of a namespace"
	Got      string
}

func (e *ArgumentError) Error() string {
	return fmt.Sprintf("%s must be %s, not %q", e.Argument, e.Wants, e.Got)
}

// A Detacher runs tenon on its platform, independently of the machine that started it.
type Detacher interface {
	// DetachedStore returns the URL of the artifact store that a detached apply uses, or
	// an error that says what the target lacks for detached applies.
	DetachedStore(context.Context) (string, error)
	// KeepsSecrets reports whether the platform has the values of secrets that are those of the machine which applies.
	KeepsSecrets() bool
	// Pack prepares what only this machine can provide for a plan.
	Pack(ctx context.Context, p *planner.Plan) (Packed, error)
	// Detached returns the detached apply of a revision of the state with that lineage,
	// whether it exists or not, or nil if the target allows none.
	Detached(lineage string, revision int) DetachedProgram
	// Controller returns the controller of the state with that lineage, in the environment of
	// the executor, whether it exists or not, or nil if the target allows none.
	Controller(lineage string) DetachedProgram
}

// Packed is what a [Detacher] needs when it runs on its platform.
type Packed struct {
	// Home is this machine's name for the platform. Handles contain it, so that each side
	// finds what the other one started.
	Home   string            `json:"home"`
	Images map[string]string `json:"images"` // published, by unit
}

// A Launch says how a [DetachedProgram] starts.
type Launch struct {
	Base    string   // reference of the image below its own
	Args    []string // of tenon
	Metrics int      // port at which a controller answers Prometheus, or 0
	// State is the URL of the state, and Secrets are the variables of secrets of units, for a platform that gives them to a controller.
	State   string
	Secrets []string
}

// A DetachedProgram is a tenon that runs on a platform: an apply, or a controller.
type DetachedProgram interface {
	Job() Job
	// Start starts tenon. It is idempotent. The platform restarts an apply unless it exits
	// with 0, [ExitFailed] or [ExitUsage], and a controller always. A controller that runs with
	// other arguments, or in another image, is replaced.
	Start(ctx context.Context, l Launch) error
	// Status returns its status. Absence is a status. An apply that was killed and is being
	// restarted is running.
	Status(ctx context.Context) (state.Status, error)
	// Log copies its output. With follow, it continues until the program has ended.
	Log(ctx context.Context, to io.Writer, follow bool) error
	// End removes it, and returns once it has ended everything that it runs. It is idempotent.
	End(ctx context.Context) error
	// Ending reports whether a user is ending it, as opposed to only its process being
	// stopped.
	Ending(ctx context.Context) (bool, error)
}

// A ScheduledProgram is a controller that its platform starts again and again, each time for one pass. Start runs the first pass.
type ScheduledProgram interface {
	DetachedProgram
	// Schedule returns the name of the schedule, and how often it starts a pass: "15m".
	Schedule() (name, every string)
}

// A Job names a detached program on its platform.
type Job struct {
	Name      string
	Namespace string
}

// Exit codes of a detached apply that end it permanently.
const (
	ExitFailed = 1  // it finished, and something failed
	ExitUsage  = 64 // it was given unknown arguments
)

// A Preparer makes what units need before they can start and may share, such as a Python
// environment or an image. The engine calls it before a unit takes resources, and does
// not count its time towards the run.
type Preparer interface {
	planner.Preparer
	// Prepare makes what the task needs, or finds it. The task has only the fields that
	// define what is needed: Unit, Code, Lock, Environments and Image. report is called with the
	// progress, and not at all if nothing is missing. Prepare is idempotent: a call that
	// was killed does not affect the next one.
	Prepare(ctx context.Context, t Task, report func(step.Progress)) error
}
