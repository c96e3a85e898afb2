package executors

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// An Executor starts what units need and finds it again. It keeps no state between calls:
// everything it has to know is in the task or in the handle.
//
// All methods are safe for concurrent use.
type Executor interface {
	// Apply makes the task exist and returns once it does, without waiting for its end.
	// It is idempotent: for a task that was started before under the same name, by this
	// process or by one that was killed, it returns the handle of the existing one, even
	// of a job that has ended. Only a service that died is started again. A program that
	// cannot be found is a failure of the unit, which Inspect reports, and not an error
	// of Apply. prior is the handle of the unit's deployed service from an earlier
	// revision, or nil; the new service takes over from it and the engine destroys it
	// afterwards.
	Apply(ctx context.Context, t Task, prior *state.Handle) (state.Handle, error)
	// Find returns the handle of an existing task by its name and its folder, or nil. A
	// killed apply may have requested the task without receiving an answer. A task that
	// was prepared but not started counts.
	Find(ctx context.Context, name, dir string) (*state.Handle, error)
	// Inspect returns the status. Absence is a status, not an error.
	Inspect(ctx context.Context, h state.Handle) (state.Status, error)
	// Destroy ends the task and removes scratch and what the executor keeps for it;
	// outputs, metrics and log stay. It is idempotent, and returns once everything is
	// gone. If ctx is done it does not wait for a clean end.
	Destroy(ctx context.Context, h state.Handle) error
}

// DecodeSettings reads the settings of a target into an executor's own type.
func DecodeSettings(t ir.Target, into any) error {
	b, err := json.Marshal(t.Settings)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		return fmt.Errorf("read the settings of target %s: %w", t.Name, err)
	}
	return nil
}

// A Task is one unit that is ready to run.
type Task struct {
	Unit ir.Unit
	Key  string // run key
	// Name is deterministic, so that a task of a killed apply is found again: it consists
	// of environment, unit, key and attempt.
	Name string
	// Dir is the run's own folder, which the engine created. Outputs are written to
	// Dir/out/<port>; the log is Dir/log; metrics and progress are below Dir/notes, see
	// [MetricsFile].
	Dir string
	// Kept is a folder that later versions of the unit get too, or "". The engine created it.
	Kept string
	// Checkpoints is where a job keeps checkpoints, or nil. The engine created its folder on this machine, which all
	// attempts with this key have.
	Checkpoints *step.Checkpoints
	// Version is the name of this version of a service that is released. Beside are the tasks
	// of the other versions, by name, for which the same program answers as Route says. They
	// have the folder of this task. Only a [VersionRunner] gets them.
	Version string
	Beside  map[string]Task
	Route   *step.Route
	// Code is the folder with the unit's files, read-only.
	Code string
	// Lock is the path of the file that locks the Python environment, or "".
	Lock string
	// Environments are such files of further environments, by the digests of the locks.
	Environments map[string]string

	Inputs map[string]step.Port // resolved, with absolute paths
	Files  map[string][]string
	// Env holds the resolved secrets, by variable name. It is never stored.
	Env map[string]string
	// Image is the reference of the image to run in, by digest; "" if the executor runs
	// no images.
	Image string
	// Leaving are the units that the plan removes. A service may take over from them.
	Leaving []string
	// State is the lineage of the state. A service takes over from none of another state.
	State string
	// Environment is the one of the apply, "" for the one without a name. Its services share
	// nothing with those of another.
	Environment string
	// Devices are the GPUs, or parts of them, reserved for the task. They are nil only
	// where no pool lends any.
	Devices []Device
}

// Where a program leaves its metrics and its progress, below Task.Dir.
const (
	MetricsFile  = "notes/metrics.json"
	ProgressFile = "notes/progress.jsonl"
)

// Settle is how long the program of a service without an endpoint has to run before it is
// ready: nothing else can be asked of it.
const Settle = time.Second

// A Device is a GPU, or a part of one, that is lent to a task.
type Device struct {
	Name string // in the Container Device Interface: "nvidia.com/gpu=0"
	ID   string // as CUDA_VISIBLE_DEVICES takes it: an index or a UUID
	Part string // the name of a slice, or a number of shares, "2/4"; "" for the whole device
}
