package containerd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/executors/local/lives"
	"github.com/tenon-ml/tenon/planner/state"
)

// A Place is where containers are.
type Place struct {
	Address     string `json:"address"` // of containerd's socket
	Namespace   string `json:"namespace"`
	Snapshotter string `json:"snapshotter"`
}

// A task state is what container.json and a handle store about a task.
type taskState struct {
	local.TaskState
	Place
	ID     string `json:"id"`               // of the container
	Image  string `json:"image,omitempty"`  // digest
	Memory int64  `json:"memory,omitempty"` // limit, in bytes
}

var taskStates = local.TaskStates[taskState, *taskState]{
	Executor: Name, File: "container.json", Beside: []string{"hosts", "verdict", "notes/fault", "notes/exit", lives.File, lives.Replicas, lives.Count, lives.Asleep},
}

func (e *Executor) taskState(t executors.Task) taskState {
	ts := taskState{
		TaskState: local.TaskState{Name: t.Name, Unit: t.Unit.ID, Kind: t.Unit.Kind, Dir: t.Dir, Disk: t.Unit.Needs.Disk},
		Place:     e.opts.Place, ID: containerID(t), Memory: t.Unit.Needs.Memory,
	}
	if t.Unit.Kind == ir.Service {
		ts.Instance, ts.Endpoint = t.Name, t.Unit.Endpoint
	}
	return ts
}

// containerID returns the id of a task's container. It depends on the state folder,
// because all systems of a machine share one namespace.
func containerID(t executors.Task) string {
	sum := sha256.Sum256([]byte(t.Dir))
	return t.Name + "-" + hex.EncodeToString(sum[:])[:8]
}

func hostsPath(dir string) string   { return filepath.Join(dir, "hosts") }
func verdictPath(dir string) string { return filepath.Join(dir, "verdict") }

// at returns the executor for a place. A deployed task may be in another place than the
// target now names.
func (e *Executor) at(p Place) *Executor {
	if p == e.opts.Place || p == (Place{}) {
		return e
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.others[p] == nil {
		o := e.opts
		o.Place = p
		e.others[p] = New(o)
	}
	return e.others[p]
}

// current returns the task state of a handle.
func current(h state.Handle) (taskState, error) {
	ts, err := taskStates.Current(h)
	if err == nil && ts.ID == "" {
		err = fmt.Errorf("handle %s names no container", h.ID)
	}
	return ts, err
}
