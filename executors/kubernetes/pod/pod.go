// Package pod defines what tenon and the program of its pods, cmd/tenon-pod, exchange.
package pod

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Paths in a pod.
const (
	Program = "/tenon/bin/tenon-pod" // in the image
	Work    = "/tenon/work"          // a volume of the pod
	Kept    = "/tenon/kept"          // a volume for what a service keeps until it is stored
	Secrets = "/tenon/secrets"       // one file for each secret that a step reads from a file
)

// MessagePath is where a pod writes its [End], which is its termination message.
const MessagePath = "/dev/termination-log"

// The variables of a container are passed to its program, except for two kinds. Those
// with the prefix StoreEnv are the credentials of the store: only the runner gets them,
// without the prefix. Those with the prefix SecretEnv are secrets and paths of secret
// files: only the program gets them, without the prefix, and they override everything
// except [step.Env]. The store and a program can therefore use one service as two
// users.
const (
	StoreEnv  = "TENON_STORE_"
	SecretEnv = "TENON_SECRET_"
)

// StartedCommand is the command of the [Program] that succeeds once the program of a
// service without an endpoint has started. Until then it prints NotStarted.
// StartedSocket is the abstract socket on which it asks: it goes with the first process
// of the pod.
const (
	StartedCommand = "started"
	StartedSocket  = "@tenon-started"
	NotStarted     = "its program has not started yet"
)

// ScaleCommand is the command of the [Program] that makes the replicas of a service follow its
// load. Its argument is a scaler.Config in JSON.
const ScaleCommand = "scale"

// HostedCommand is the command of the [Program] that runs a task which the variables HostedStore, a URL, and
// HostedTask, a digest, name. It is for platforms that start an image with a command of their own:
// SageMaker says "serve".
const (
	HostedCommand = "serve"
	HostedStore   = "TENON_TASK_STORE"
	HostedTask    = "TENON_TASK_DIGEST"
)

// MaxLog is how many bytes of a program's output the store keeps: the last ones. It
// needs twice that much space below Work.
const MaxLog = 64 << 20

// Mark starts a line of a pod's log that holds a [step.Progress] in JSON rather than
// output of the program, see [LogReader].
const Mark = "\x1etenon:progress "

// LastMark is the last line of the log of a job whose [Result] is in the store. It
// appears before the cluster knows that the job has ended.
const LastMark = "\x1etenon:end\n"

// A Task is what a pod has to do. The store holds it under its digest.
type Task struct {
	Name string  `json:"name"` // its result is stored under this name
	Kind ir.Kind `json:"kind"`
	// Step is the document for the program, with paths inside the pod.
	Step step.Step `json:"step"`
	// Command is the program and its arguments. It runs in Step.Code.
	Command []string `json:"command"`
	// Env are variables of the program that are not secrets. They override those of the
	// image.
	Env map[string]string `json:"env,omitempty"`
	// Claim names the start that may run, if the platform may start the task more than once.
	Claim *Claim `json:"claim,omitempty"`
	// Fetch is what is downloaded before the program starts: code, inputs and data
	// files.
	Fetch []Fetch `json:"fetch"`
	// Secrets are read by the role of the container, where the platform does not pass them on.
	Secrets []Secret `json:"secrets,omitempty"`
	// Disk is how many bytes the program may write below Work. 0 means no limit.
	Disk int64 `json:"disk,omitempty"`
	// Grace is how long the program may run after SIGTERM before it is killed. It must
	// be shorter than the pod's grace period, which leaves time to report how the
	// program ended. With 0 it equals that of the pod.
	Grace time.Duration `json:"grace_ns,omitempty"`
	// Drain is how long a service keeps running after it was asked to end, before the
	// program gets the signal: until it receives no more requests. An [IdleNote] says
	// that this is not needed.
	Drain time.Duration `json:"drain_ns,omitempty"`
	// Ships are the files of a service that are stored while it runs.
	Ships []Ship `json:"ships,omitempty"`
	// Checkpoints is where the checkpoints of a job are stored, or nil if it keeps none.
	Checkpoints *Checkpoints `json:"checkpoints,omitempty"`
	// Places says where a job stores what it leaves, if not where its task is.
	Places *Places `json:"places,omitempty"`
}

// Places are the stores of a task whose rights are those of its unit: it reads each input where
// the unit that made it stores it, and what a job may write it may not read. The platform starts
// such a job once, so it does not look for a result of its own.
type Places struct {
	Notes   string            `json:"notes"`   // URL of the store for the log, the [Result] and a route
	Outputs map[string]string `json:"outputs"` // URLs by port
}

// A Claim says which start of a task runs its program: that whose name is in the [ClaimNote] when it begins.
type Claim struct {
	Task  string `json:"task"`
	Start string `json:"start"`
}

// ClaimNote returns the name of the note with the start of a task that may run. It is where the task is.
func ClaimNote(task string) string { return "runs/" + task + "/claim" }

// A Secret is a variable of the program, and where its value is in Secrets Manager of AWS.
type Secret struct {
	Name     string `json:"name"` // of the variable
	ARN      string `json:"arn"`
	Endpoint string `json:"endpoint,omitempty"` // of the service, if it is not that of AWS
}

// A Ship is a folder with files that never change once they have names, and where they go.
type Ship struct {
	From   string `json:"from"`   // in the pod
	To     string `json:"to"`     // folder in the store, the same one for all pods of a service
	Most   int64  `json:"most"`   // bytes of all files there; the oldest are removed
	Status string `json:"status"` // file for a [step.Shipped]
}

// A Fetch is an artifact and where to put it.
type Fetch struct {
	Ref  artifact.Ref `json:"ref"`
	Path string       `json:"path"` // relative to Work
	// Name is the name shown to users, also in errors: "input flights".
	Name string `json:"name"`
	// Store is the URL of the store that has it, "" for that of the task.
	Store string `json:"store,omitempty"`
}

// A Result is how a job ended. It is a note in the store, see [ResultNote]. A service
// has no result, and neither has a pod that was asked to end before its program had
// succeeded.
type Result struct {
	End
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// Outputs are the outputs of a program that succeeded, by port. An output that was
	// not written is missing.
	Outputs map[string]artifact.Ref `json:"outputs,omitempty"`
	Metrics []byte                  `json:"metrics,omitempty"` // as the step wrote them, not necessarily JSON
	// Log is the output of the program. If LogCut is not 0, that many bytes at its
	// beginning are missing. Log is nil if there was no space for it.
	Log    *artifact.Ref `json:"log,omitempty"`
	LogCut int64         `json:"log_cut,omitempty"`
	Usage  Usage         `json:"usage,omitzero"`
}

// Usage is what the program used. It repeats the Usage of package state, which would
// link databases into every pod.
type Usage struct {
	CPU        time.Duration `json:"cpu_ns,omitempty"`
	PeakMem    int64         `json:"peak_mem,omitempty"`    // bytes of all processes at the highest sample, or of the largest process
	ReadBytes  int64         `json:"read_bytes,omitempty"`  // from disks
	WriteBytes int64         `json:"write_bytes,omitempty"` // to disks
}

// NodeEnv is the variable in which Kubernetes gives a pod its index within a job of
// several pods.
const NodeEnv = "JOB_COMPLETION_INDEX"

// ResultNote returns the name of the note with the [Result] of a task. For a job of
// several pods it is that of pod 0, whose outputs count.
func ResultNote(task string) string { return "runs/" + task + "/result.json" }

// NodeNote returns the name of the note of one pod of a task. node is the value of
// [NodeEnv], which is empty for a single pod.
func NodeNote(task, node string) string {
	if node == "" || node == "0" {
		return ResultNote(task)
	}
	return ResultNote(task + "/nodes/" + node)
}

// IdleNote returns the name of the empty note which says that the pods of a service
// need not drain when they are asked to end. It is written before that.
func IdleNote(task string) string { return "runs/" + task + "/idle" }

// RouteNote returns the name of the note with the [step.Route] of a service that has several
// versions. It is written before its pods start, and with every change.
func RouteNote(task string) string { return "runs/" + task + "/route.json" }

// UIDEnv is the variable that holds the UID of a pod which has a route. Without it, the pod chooses one,
// and says at its end that it has ended, see [EndedNotes].
const UIDEnv = "TENON_POD_UID"

// ObservedNotes returns with what the names of the notes begin that hold the [step.Observed] of
// each pod of a service, also of pods that are gone. What follows is the UID of the pod.
func ObservedNotes(task string) string { return "runs/" + task + "/observed/" }

// EndedNotes returns with what the names of the empty notes begin that say which instances of a service
// have ended, of those that have chosen their UIDs. What follows is the UID.
func EndedNotes(task string) string { return "runs/" + task + "/ended/" }

// An End summarises the end of a pod. It is the termination message, which is available
// even if the store cannot be reached.
type End struct {
	ExitCode int    `json:"exit_code"`        // of the program; 128 plus the number of the signal that killed it
	Signal   string `json:"signal,omitempty"` // "SIGKILL"
	// Fault says in one line why the program could not start, why it was ended, or why
	// its outputs could not be stored.
	Fault string `json:"fault,omitempty"`
	// OutOfMemory says that the kernel killed a process of the container because it ran
	// out of memory.
	OutOfMemory bool `json:"out_of_memory,omitempty"`
	// Asked says that the pod was asked to end before its program had succeeded. Only
	// the cluster knows who asked and why.
	Asked bool `json:"asked,omitempty"`
	// Stored says that the store has the [Result].
	Stored bool `json:"stored,omitempty"`
}

// Status returns the exit status of the pod. It is 0 only if everything succeeded.
func (e End) Status() int {
	if e.ExitCode == 0 && e.Fault != "" {
		return exitFault
	}
	return e.ExitCode
}

const exitFault = 126 // as in a shell

// maxMessage is how many bytes of a termination message Kubernetes keeps.
const maxMessage = 4096

// Message returns the end in JSON, as the pod writes it. It cuts off a fault that is
// too long.
func (e End) Message() []byte {
	for {
		b, err := json.Marshal(e)
		if err == nil && len(b) <= maxMessage {
			return b
		}
		e.Fault = strings.ToValidUTF8(e.Fault[:len(e.Fault)*3/4], "")
	}
}

// ReadMessage decodes a termination message. ok is false if there is none, for example
// because the container could not start or was killed as a whole.
func ReadMessage(message string) (e End, ok bool) {
	err := json.Unmarshal([]byte(message), &e)
	return e, err == nil && strings.HasPrefix(message, "{")
}
