package executors

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// An Executor starts what units need and finds it again. It keeps nothing
// between calls: all it has to know is in the task or in the handle.
//
// All methods are safe for concurrent use.
type Executor interface {
	// Apply makes the task exist and returns once it does, without waiting for
	// its end. It is idempotent: for a task that was started before under the
	// same name, by this process or by one that was killed, it returns the
	// handle of what is there, a job that has ended included. Only a service
	// that died is started again. A program that cannot be found is a failure
	// of the unit, which Inspect tells, and not an error. prior is the handle
	// of what stands for the same unit of an earlier revision, or nil; a service
	// takes over from it and the engine destroys it afterwards.
	Apply(ctx context.Context, t Task, prior *state.Handle) (state.Handle, error)
	// Find returns the handle of what there is of a task by its name and its
	// folder, or nil: an apply that was killed may have asked for it and never
	// have got an answer. What was only made ready to start counts.
	Find(ctx context.Context, name, dir string) (*state.Handle, error)
	// Inspect tells how it stands. Absence is a status, not an error.
	Inspect(ctx context.Context, h state.Handle) (state.Status, error)
	// Destroy ends it and removes what the executor keeps for it and scratch;
	// outputs, metrics and log stay. It is idempotent, and returns once
	// everything is gone. If ctx is done it does not wait for a clean end.
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

// A Task is one unit made ready to run.
type Task struct {
	Unit ir.Unit
	Key  string // run key
	// Name is deterministic, so that a task that was started by an apply that
	// was killed is found again: made of unit, key and attempt.
	Name string
	// Dir is the run's own folder, which the engine made. Outputs are written
	// to Dir/out/<port>; the log is Dir/log; metrics and progress are below
	// Dir/notes, see [MetricsFile].
	Dir string
	// Code is the folder with the unit's files, read-only.
	Code string
	// Lock is the path of the file that locks the Python environment, or "".
	Lock   string
	Inputs map[string]step.Port // resolved, with absolute paths
	Files  map[string][]string
	// Env holds what secrets resolved to, by variable name. It is never stored.
	Env map[string]string
	// Image is the reference of the image to run in, by digest; "" where the
	// executor runs no images.
	Image string
	// Devices are the GPUs, or parts of them, that the task has to itself. They are
	// nil where no pool lends any, and else not.
	Devices []Device
}

// Where a program leaves its metrics and its progress, below Task.Dir.
const (
	MetricsFile  = "notes/metrics.json"
	ProgressFile = "notes/progress.jsonl"
)

// A Device is a GPU, or a part of one, that is lent to a task.
type Device struct {
	Name string // of the Container Device Interface: "nvidia.com/gpu=0"
	ID   string // as CUDA_VISIBLE_DEVICES takes it: an index or a UUID
	Part string // the name of a slice, or so many shares of it, "2/4"; "" if it is the whole device
}
