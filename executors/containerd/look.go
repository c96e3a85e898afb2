package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/executors/local/disk"
	"github.com/tenon-ml/tenon/planner/state"
)

// look returns the status of the task according to containerd. It cannot tell whether a
// service is ready.
func (e *Executor) look(ctx context.Context, c *client.Client, ts taskState) (state.Status, error) {
	st := state.Status{Phase: state.Running, Started: ts.Began}
	switch now, err := taskStates.Read(ts.Dir); {
	case errors.Is(err, os.ErrNotExist), err == nil && now.ID != ts.ID:
		return state.Status{Phase: state.Absent}, nil
	case err != nil:
		return st, err
	}
	now, err := e.task(ctx, c, ts.ID)
	if err != nil {
		return st, err
	}
	if now == nil {
		return e.lookBehind(ctx, c, ts, st)
	}
	switch now.Status {
	case task.Status_STOPPED:
		e.ended(ts, &st, now.ExitStatus, now.ExitedAt.AsTime())
	case task.Status_PAUSED:
		st.Message = "it is paused: resume it with ctr tasks resume"
		fallthrough
	default:
		st.Usage, _ = e.usage(ts.ID)
	}
	return st, nil
}

// lookBehind returns the status of a task that containerd no longer knows.
func (e *Executor) lookBehind(ctx context.Context, c *client.Client, ts taskState, st state.Status) (state.Status, error) {
	_, err := c.ContainerService().Get(ctx, ts.ID)
	switch {
	case errdefs.IsNotFound(err):
		st.Phase = state.Absent
		return st, nil
	case err != nil:
		return st, err
	case len(e.processes(ts.ID)) > 0:
		st.Message = "its shim was killed; containerd will stop it"
		return st, nil
	}
	// A containerd that restarts keeps neither a task that had ended nor one that had
	// not started.
	if !begun(ts.Dir) {
		st.Phase = state.Absent
		return st, nil
	}
	if code, at := exitStatus(ts.Dir); code >= 0 {
		e.ended(ts, &st, uint32(code), at)
		return st, nil
	}
	st.Phase, st.Message = state.Failed, local.ShimKilled
	return st, nil
}

// task returns the task of a container, or nil if there is none.
func (e *Executor) task(ctx context.Context, c *client.Client, id string) (*task.Process, error) {
	got, err := c.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return got.Process, nil
}

// ended sets in st how a task ended and what it used.
func (e *Executor) ended(ts taskState, st *state.Status, code uint32, at time.Time) {
	st.Finished = at.UTC()
	var outOfMemory bool
	st.Usage, outOfMemory = e.usage(ts.ID)
	ts.explainEnd(st, int(code), outOfMemory)
	if verdict := readVerdict(ts.Dir); verdict != "" {
		st.Phase, st.Message = state.Failed, verdict
	}
}

// readVerdict reads why tenon ended a task, or returns "".
func readVerdict(dir string) string {
	b, err := os.ReadFile(verdictPath(dir))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// explainEnd sets in st an exit status and its explanation. outOfMemory says that the
// kernel killed a process of the container because it ran out of memory.
func (ts taskState) explainEnd(st *state.Status, code int, outOfMemory bool) {
	st.ExitCode = code
	if code > 128 {
		st.Signal = unix.SignalName(unix.Signal(code - 128))
	}
	st.Phase = state.Failed
	fault := readFault(ts.Dir)
	switch {
	case code == 0 && ts.Kind == ir.Service:
		st.Message = "exit 0, but a service must keep running"
	case code == 0:
		if wrote := disk.Written(ts.Dir); ts.Disk > 0 && wrote > ts.Disk {
			st.Message = disk.OverQuota(wrote, ts.Disk)
			return
		}
		st.Phase = state.Succeeded
		return
	case (code == 126 || code == 127) && fault != "":
		st.Message = fault
	case st.Signal == "SIGKILL" && ts.Disk > 0 && disk.Written(ts.Dir) > ts.Disk: // there may have been no space for a verdict
		st.Message = disk.OverQuota(disk.Written(ts.Dir), ts.Disk)
	case st.Signal == "SIGKILL":
		st.Message = "killed by SIGKILL" + cmp.Or(ts.explainMemory(outOfMemory), " (not because of memory)")
	default:
		st.Message = fmt.Sprintf("exit %d", code)
		if st.Signal != "" {
			st.Message = "killed by " + st.Signal
		}
		if why := ts.explainMemory(outOfMemory); why != "" {
			st.Message += "; the kernel killed a child of it" + why
		}
	}
	st.Message += ts.Lives()
}

func (ts taskState) explainMemory(outOfMemory bool) string {
	switch {
	case !outOfMemory:
		return ""
	case ts.Memory > 0:
		return ": it used more than needs.memory " + disk.Size(ts.Memory)
	}
	return ": the machine ran out of memory while it ran"
}

func faultPath(dir string) string { return filepath.Join(dir, "notes", "fault") }
func exitPath(dir string) string  { return filepath.Join(dir, "notes", "exit") }

// readFault reads why the program could not be started.
func readFault(dir string) string {
	line, _ := readNote(faultPath(dir))
	return line
}

// exitStatus reads how and when the program ended, as written by the first process. The
// status is -1 if there is none.
func exitStatus(dir string) (code int, at time.Time) {
	line, at := readNote(exitPath(dir))
	code, err := strconv.Atoi(line)
	if err != nil || code < 0 || code > 255 {
		return -1, at
	}
	return code, at
}

// begun reports whether the first process ever ran.
func begun(dir string) bool {
	_, err := os.Lstat(exitPath(dir))
	return err == nil
}

// readNote reads a file of the first process, and when it was written. The program
// could have written it too, so it counts as one line of text and no more.
func readNote(path string) (line string, at time.Time) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", at
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return "", at
	}
	b, err := io.ReadAll(io.LimitReader(f, 1000))
	if err != nil {
		return "", at
	}
	line, _, _ = strings.Cut(strings.ToValidUTF8(string(b), "?"), "\n")
	return strings.TrimSpace(line), fi.ModTime()
}
