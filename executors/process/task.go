package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/executors/local/disk"
	"github.com/tenon-ml/tenon/executors/local/lives"
	"github.com/tenon-ml/tenon/planner/state"
)

// A task state is what process.json and a handle store about a started task.
type taskState struct {
	local.TaskState
	local.Ident        // of tenon-run, which leads the session and its process group
	OOMKills    int64  `json:"oom_kills,omitempty"` // OOM kills of this kernel before the start
	Fault       string `json:"fault,omitempty"`     // why nothing could be started
}

var taskStates = local.TaskStates[taskState, *taskState]{Executor: Name, File: "process.json", Beside: []string{"exit", "verdict", lives.File, lives.Replicas, lives.Count, lives.Asleep}}

// session returns the session of the task.
func (ts taskState) session() local.Session { return local.Session{Ident: ts.Ident, Dir: ts.Dir} }

// members lists the processes of the task.
func (ts taskState) members() ([]local.Process, error) {
	s := ts.session()
	if !ts.Alive() {
		_, err := readEnding(ts.Dir)
		s.Lost = errors.Is(err, os.ErrNotExist)
	}
	return s.Members()
}

func taskStatePath(dir string) string { return filepath.Join(dir, "process.json") }
func (ts taskState) logPath() string  { return filepath.Join(ts.Dir, "log") }

func exitPath(dir string) string    { return filepath.Join(dir, "exit") }
func verdictPath(dir string) string { return filepath.Join(dir, "verdict") }

// DirOf returns the folder of the run that a handle of this executor names.
func DirOf(h state.Handle) (string, error) {
	ts, err := taskStates.Of(h)
	return ts.Dir, err
}

// Running returns the tasks that run and whose folders are in dir.
func (e *Executor) Running(dir string) []executors.Running {
	var running []executors.Running
	entries, _ := os.ReadDir(dir) // without the folder, no task is known
	for _, entry := range entries {
		ts, err := taskStates.Read(filepath.Join(dir, entry.Name()))
		if err != nil || !ts.Alive() {
			continue
		}
		if h, err := taskStates.Handle(ts); err == nil {
			running = append(running, executors.Running{Unit: ts.Unit, PID: ts.Pid, Handle: h})
		}
	}
	return running
}

// forgotten reports whether Destroy has removed the task state.
func (ts taskState) forgotten() bool {
	_, err := os.Stat(taskStatePath(ts.Dir))
	return errors.Is(err, os.ErrNotExist)
}

// ending is the content of the exit file.
type ending struct {
	code  int
	oom   int64 // kills of this kernel at the end, or -1
	never bool  // tenon died before it gave the go-ahead
	at    time.Time
}

// readEnding reads the exit file. The file is complete once it ends in a full stop; until
// then the error is os.ErrNotExist.
func readEnding(dir string) (ending, error) {
	b, err := os.ReadFile(exitPath(dir))
	if err != nil {
		return ending{}, err
	}
	f := strings.Fields(string(b))
	if len(f) < 2 || f[len(f)-1] != "." {
		return ending{}, os.ErrNotExist
	}
	e := ending{oom: -1, never: f[0] == "never"}
	if fi, err := os.Stat(exitPath(dir)); err == nil {
		e.at = fi.ModTime().UTC()
	}
	if _, err := fmt.Sscan(f[0], &e.code); err != nil && !e.never {
		return ending{}, os.ErrNotExist
	}
	if len(f) > 2 {
		if _, err := fmt.Sscan(f[1], &e.oom); err != nil {
			e.oom = -1
		}
	}
	return e, nil
}

// running reports whether tenon-run exists and has not recorded an end.
func (ts taskState) running() bool { return ts.look().Phase == state.Running }

// look derives the status of the task from the folder and /proc. It cannot tell whether a
// service is ready.
func (ts taskState) look() state.Status {
	st := state.Status{Phase: state.Running, Started: ts.Began}
	if ts.Fault != "" {
		st.Phase, st.ExitCode, st.Message, st.Finished = state.Failed, 127, ts.Fault, ts.Began
		if ts.forgotten() {
			return state.Status{Phase: state.Absent}
		}
		return st
	}
	end, err := readEnding(ts.Dir)
	if err != nil && !ts.Alive() {
		// It may have ended between the two checks.
		end, err = readEnding(ts.Dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			st.Message = fmt.Sprintf("cannot determine its status: %v", err)
			return st
		}
	} else if err != nil {
		return st
	}
	if ts.forgotten() || end.never {
		return state.Status{Phase: state.Absent}
	}
	st.Finished, st.Over = end.at, ts.session().Over()
	switch {
	case err == nil:
		ts.explain(&st, end)
	case ts.Boot != local.BootID():
		st.Phase, st.Message = state.Failed, local.Restarted
	case diskFull(ts.Dir):
		st.Phase, st.Message = state.Failed, "ended without an exit status: no space left on the disk of "+ts.Dir
	default:
		st.Phase, st.Message = state.Failed, local.RunnerKilled
	}
	if b, err := os.ReadFile(verdictPath(ts.Dir)); err == nil {
		st.Phase, st.Message = state.Failed, strings.TrimSpace(string(b))
		if st.Signal == "" {
			st.Signal, st.ExitCode = "SIGKILL", 128+int(unix.SIGKILL)
		}
	}
	return st
}

// diskFull reports whether there is not even room for an exit status.
func diskFull(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && fs.Bavail == 0
}

// explain describes an exit status in words.
func (ts taskState) explain(st *state.Status, end ending) {
	st.ExitCode = end.code
	if end.code > 128 {
		st.Signal = unix.SignalName(unix.Signal(end.code - 128))
	}
	st.Phase = state.Failed
	switch {
	case end.code == 0 && ts.Kind == ir.Service:
		st.Message = "exit 0, but a service must keep running"
	case end.code == 0:
		if wrote := ts.written(); ts.Disk > 0 && wrote > ts.Disk {
			st.Message = disk.OverQuota(wrote, ts.Disk)
			return
		}
		st.Phase = state.Succeeded
		return
	case st.Signal == "SIGKILL" && end.oom > ts.OOMKills && ts.OOMKills >= 0:
		st.Message = "killed by SIGKILL: the kernel ran out of memory while it ran"
	case st.Signal == "SIGKILL" && end.oom >= 0:
		st.Message = "killed by SIGKILL (not because of memory: the kernel killed nothing in the meantime)"
	case st.Signal != "":
		st.Message = "killed by " + st.Signal
	default:
		st.Message = fmt.Sprintf("exit %d", end.code)
	}
	st.Message += ts.Lives()
}
