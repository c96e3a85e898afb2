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

// A record is what process.json and a handle store about a started task.
type record struct {
	local.Record
	local.Ident        // of tenon-run, which leads the session and its process group
	OOMKills    int64  `json:"oom_kills,omitempty"` // OOM kills of this kernel before the start
	Fault       string `json:"fault,omitempty"`     // why nothing could be started
}

var records = local.Records[record, *record]{Executor: Name, File: "process.json", Beside: []string{"exit", "verdict", lives.File, lives.Replicas}}

// session returns the session of the task.
func (r record) session() local.Session { return local.Session{Ident: r.Ident, Dir: r.Dir} }

// members lists the processes of the task.
func (r record) members() ([]local.Process, error) {
	s := r.session()
	if !r.Alive() {
		_, err := readEnding(r.Dir)
		s.Lost = errors.Is(err, os.ErrNotExist)
	}
	return s.Members()
}

func recordPath(dir string) string { return filepath.Join(dir, "process.json") }
func (r record) logPath() string   { return filepath.Join(r.Dir, "log") }

func exitPath(dir string) string    { return filepath.Join(dir, "exit") }
func verdictPath(dir string) string { return filepath.Join(dir, "verdict") }

// Running returns the tasks that run and whose folders are in dir.
func (e *Executor) Running(dir string) []executors.Running {
	var running []executors.Running
	entries, _ := os.ReadDir(dir) // without the folder, no task is known
	for _, entry := range entries {
		r, err := records.Read(filepath.Join(dir, entry.Name()))
		if err != nil || !r.Alive() {
			continue
		}
		if h, err := records.Handle(r); err == nil {
			running = append(running, executors.Running{Unit: r.Unit, PID: r.Pid, Handle: h})
		}
	}
	return running
}

// forgotten reports whether Destroy has removed the record.
func (r record) forgotten() bool {
	_, err := os.Stat(recordPath(r.Dir))
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
func (r record) running() bool { return r.look().Phase == state.Running }

// look derives the status of the task from the folder and /proc. It cannot tell whether a
// service is ready.
func (r record) look() state.Status {
	st := state.Status{Phase: state.Running, Started: r.Began}
	if r.Fault != "" {
		st.Phase, st.ExitCode, st.Message, st.Finished = state.Failed, 127, r.Fault, r.Began
		if r.forgotten() {
			return state.Status{Phase: state.Absent}
		}
		return st
	}
	end, err := readEnding(r.Dir)
	if err != nil && !r.Alive() {
		// It may have ended between the two checks.
		end, err = readEnding(r.Dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			st.Message = fmt.Sprintf("cannot determine its status: %v", err)
			return st
		}
	} else if err != nil {
		return st
	}
	if r.forgotten() || end.never {
		return state.Status{Phase: state.Absent}
	}
	st.Finished, st.Over = end.at, r.session().Over()
	switch {
	case err == nil:
		r.explain(&st, end)
	case r.Boot != local.BootID():
		st.Phase, st.Message = state.Failed, "ended without an exit status: the machine was restarted"
	case diskFull(r.Dir):
		st.Phase, st.Message = state.Failed, "ended without an exit status: no space left on the disk of "+r.Dir
	default:
		st.Phase, st.Message = state.Failed, "ended without an exit status: tenon-run, which started it, was killed"
	}
	if b, err := os.ReadFile(verdictPath(r.Dir)); err == nil {
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
func (r record) explain(st *state.Status, end ending) {
	st.ExitCode = end.code
	if end.code > 128 {
		st.Signal = unix.SignalName(unix.Signal(end.code - 128))
	}
	st.Phase = state.Failed
	switch {
	case end.code == 0 && r.Kind == ir.Service:
		st.Message = "exit 0, but a service must keep running"
	case end.code == 0:
		if wrote := r.written(); r.Disk > 0 && wrote > r.Disk {
			st.Message = disk.OverQuota(wrote, r.Disk)
			return
		}
		st.Phase = state.Succeeded
		return
	case st.Signal == "SIGKILL" && end.oom > r.OOMKills && r.OOMKills >= 0:
		st.Message = "killed by SIGKILL: the kernel ran out of memory while it ran"
	case st.Signal == "SIGKILL" && end.oom >= 0:
		st.Message = "killed by SIGKILL (not because of memory: the kernel killed nothing meanwhile)"
	case st.Signal != "":
		st.Message = "killed by " + st.Signal
	default:
		st.Message = fmt.Sprintf("exit %d", end.code)
	}
	st.Message += r.Lives()
}
