// Package pod is what passes between tenon and the program of its pods, which is
// cmd/tenon-pod.
package pod

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Where things are in a pod.
const (
	Program = "/tenon/bin/tenon-pod" // in the image
	Work    = "/tenon/work"          // a volume of the pod's own
	Secrets = "/tenon/secrets"       // files, one for each secret that a step finds as a file
)

// MessagePath is where a pod leaves its [End], which is its termination message.
const MessagePath = "/dev/termination-log"

// A container's variables are its program's, but for those that begin with
// StoreEnv: they are the runner's alone, without that beginning, and are the
// credentials of the store. Those that begin with SecretEnv are the program's
// alone, and win over all others but [step.Env]: secrets, and the paths of those
// that are files. So the store and a program may use one service as two users.
const (
	StoreEnv  = "TENON_STORE_"
	SecretEnv = "TENON_SECRET_"
)

// MaxLog is how many bytes of what a program prints are kept in the store, the last
// ones. For that much, twice the room is needed below Work.
const MaxLog = 64 << 20

// Mark begins a line of a pod's log that is not the program's, but a
// [step.Progress] in JSON, see [LogReader].
const Mark = "\x1etenon:progress "

// LastMark is the last line of the log of a job whose [Result] is in the store. It is
// there before the cluster knows that the job has ended.
const LastMark = "\x1etenon:end\n"

// A Task is what a pod is to do. It lies in the store, under its digest.
type Task struct {
	Name string  `json:"name"` // under which its result is kept
	Kind ir.Kind `json:"kind"`
	// Step is the document that the program finds. Paths are those within the pod.
	Step step.Step `json:"step"`
	// Command is the program and its arguments. It is run in Step.Code.
	Command []string `json:"command"`
	// Env are variables of the program that are no secrets. They win over those of
	// the image.
	Env map[string]string `json:"env,omitempty"`
	// Fetch is what is laid out before: code, inputs and data files.
	Fetch []Fetch `json:"fetch"`
	// Disk is how many bytes the program may write below Work, 0 for any number.
	Disk int64 `json:"disk,omitempty"`
	// Grace is how long the program has to end after SIGTERM, before it is killed. It
	// has to be shorter than the pod's, so that there is time to say how it ended.
	// With 0 it has as long as the pod.
	Grace time.Duration `json:"grace_ns,omitempty"`
	// Drain is how long a service goes on after it was asked to end, before its program
	// hears of it: until nobody sends it requests any more. Where there is no need for
	// that, there is an [IdleNote].
	Drain time.Duration `json:"drain_ns,omitempty"`
}

// A Fetch is an artifact and where it has to be.
type Fetch struct {
	Ref  artifact.Ref `json:"ref"`
	Path string       `json:"path"` // relative to Work
	// Name is what users call it: "input flights". Errors have it.
	Name string `json:"name"`
}

// A Result is how a job ended. It is a note in the store, see [ResultNote]. A pod
// that was asked to end before its program had succeeded leaves none, nor does a
// service.
type Result struct {
	End
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// Outputs are those of a program that succeeded, by port. One that was not
	// written is not there.
	Outputs map[string]artifact.Ref `json:"outputs,omitempty"`
	Metrics []byte                  `json:"metrics,omitempty"` // as the step wrote them, which need not be JSON
	// Log is all that the program printed, or, if LogCut is not 0, all but that many
	// bytes at the beginning. It is nil if there was no room for it.
	Log    *artifact.Ref `json:"log,omitempty"`
	LogCut int64         `json:"log_cut,omitempty"`
	Usage  Usage         `json:"usage,omitzero"`
}

// Usage is what the program took. It is the Usage of package state, which would
// bring databases into every pod.
type Usage struct {
	CPU        time.Duration `json:"cpu_ns,omitempty"`
	PeakMem    int64         `json:"peak_mem,omitempty"`    // bytes that all processes had at once, as often as was looked, or the largest one
	ReadBytes  int64         `json:"read_bytes,omitempty"`  // from disks
	WriteBytes int64         `json:"write_bytes,omitempty"` // to disks
}

// NodeEnv is the variable in which Kubernetes tells a pod which one of a task with
// several it is.
const NodeEnv = "JOB_COMPLETION_INDEX"

// ResultNote is the name of the note that holds the [Result] of a task. If it has
// several pods, it is that of pod 0, which is the one that has the outputs.
func ResultNote(task string) string { return "runs/" + task + "/result.json" }

// NodeNote is the name of the note of one pod of a task, given what [NodeEnv] says,
// which is nothing for an only one.
func NodeNote(task, node string) string {
	if node == "" || node == "0" {
		return ResultNote(task)
	}
	return ResultNote(task + "/nodes/" + node)
}

// IdleNote is the name of the empty note which says that the pods of a service need not
// go on once they are asked to end. It is there before that.
func IdleNote(task string) string { return "runs/" + task + "/idle" }

// An End is the end of a pod in a few words: its termination message, which is
// there also if the store cannot be reached.
type End struct {
	ExitCode int    `json:"exit_code"`        // of the program; 128 and the signal's number for a signal
	Signal   string `json:"signal,omitempty"` // "SIGKILL"
	// Fault says in one line why the program could not be started, or why it was
	// ended, or why its outputs could not be stored.
	Fault string `json:"fault,omitempty"`
	// OutOfMemory is that the kernel killed in the container for want of memory.
	OutOfMemory bool `json:"out_of_memory,omitempty"`
	// Asked is that the pod was asked to end before its program had succeeded. By whom
	// and why, only the cluster knows.
	Asked bool `json:"asked,omitempty"`
	// Stored is that the store has the [Result].
	Stored bool `json:"stored,omitempty"`
}

// Status is what a pod exits with: with 0 only if all is well.
func (e End) Status() int {
	if e.ExitCode == 0 && e.Fault != "" {
		return exitFault
	}
	return e.ExitCode
}

const exitFault = 126 // as a shell has it

// maxMessage is how many bytes of a termination message Kubernetes keeps.
const maxMessage = 4096

// Message is the end in JSON, as a pod leaves it. A fault that is too long for it
// is cut off.
func (e End) Message() []byte {
	for {
		b, err := json.Marshal(e)
		if err == nil && len(b) <= maxMessage {
			return b
		}
		e.Fault = strings.ToValidUTF8(e.Fault[:len(e.Fault)*3/4], "")
	}
}

// ReadMessage reads a termination message. One of a pod whose container could not
// be started, or was killed as a whole, is none.
func ReadMessage(message string) (e End, ok bool) {
	err := json.Unmarshal([]byte(message), &e)
	return e, err == nil && strings.HasPrefix(message, "{")
}
