// Package pod is what passes between tenon and the program of its pods, which is
// cmd/tenon-pod.
package pod

import (
	"encoding/json"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Where things are in a pod.
const (
	Program = "/tenon/bin/tenon-pod" // in the image
	Work    = "/tenon/work"          // a volume of the pod's own
	Secrets = "/tenon/secrets"       // files, one for each secret that a step finds as a file
)

// Mark begins a line of a pod's log that is not the program's, but a
// [step.Progress] in JSON.
const Mark = "\x1etenon:progress "

// A Task is what a pod is to do. It lies in the store, under its digest.
type Task struct {
	Name string  `json:"name"` // of the task, see executors.TaskName
	Kind ir.Kind `json:"kind"`
	// Step is the document that the program finds. Paths are those within the pod.
	Step step.Step `json:"step"`
	// Command is the program and its arguments. It is run in Step.Code.
	Command []string `json:"command"`
	// Fetch is what is laid out before: code, inputs and data files.
	Fetch []Fetch `json:"fetch"`
	// Outputs are the ports to store, whether or not they have been written.
	Outputs []string `json:"outputs,omitempty"`
	// Disk is how many bytes the program may write below Work, 0 for any number.
	Disk int64 `json:"disk,omitempty"`
}

// A Fetch is an artifact and where it has to be.
type Fetch struct {
	Ref  artifact.Ref `json:"ref"`
	Path string       `json:"path"` // below Work
	// Name is what users call it: "input flights". Errors have it.
	Name string `json:"name"`
}

// A Result is how a task ended. It is a note in the store, see [ResultNote].
type Result struct {
	ExitCode int    `json:"exit_code"`        // 128 and the signal's number for a signal
	Signal   string `json:"signal,omitempty"` // "SIGKILL"
	// Fault says in one line why the program could not be started, or why it was
	// ended, or why its outputs could not be stored.
	Fault    string                  `json:"fault,omitempty"`
	Started  time.Time               `json:"started"`
	Finished time.Time               `json:"finished"`
	Outputs  map[string]artifact.Ref `json:"outputs,omitempty"` // by port, of those that were written
	Metrics  json.RawMessage         `json:"metrics,omitempty"` // as the step wrote them
	Usage    state.Usage             `json:"usage,omitzero"`
}

// ResultNote is the name of the note that holds the [Result] of a task.
func ResultNote(task string) string { return "runs/" + task + "/result.json" }
