package containerd

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
)

// look asks containerd how the task stands. Of a service it cannot tell whether
// it is ready.
func (e *Executor) look(ctx context.Context, c *client.Client, r record) (state.Status, error) {
	st := state.Status{Phase: state.Running, Started: r.Began}
	if now, err := readRecord(r.Dir); err != nil || now.ID != r.ID {
		return state.Status{Phase: state.Absent}, nil
	}
	container, err := c.LoadContainer(ctx, r.ID)
	if errdefs.IsNotFound(err) {
		return state.Status{Phase: state.Absent}, nil
	}
	if err != nil {
		return st, err
	}
	task, err := container.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		st.Phase, st.Message = state.Failed, "ended without an exit status: its shim was killed, or the machine was restarted"
		return st, nil
	}
	if err != nil {
		return st, err
	}
	now, err := task.Status(ctx)
	if errdefs.IsNotFound(err) {
		return e.look(ctx, c, r) // it went between the two questions
	}
	if err != nil {
		return st, err
	}
	st.Usage = e.usage(r)
	if now.Status != client.Stopped {
		return st, nil
	}
	st.Finished = now.ExitTime.UTC()
	e.explainEnd(r, &st, int(now.ExitStatus))
	if b, err := os.ReadFile(verdictPath(r.Dir)); err == nil {
		st.Phase, st.Message = state.Failed, strings.TrimSpace(string(b))
	}
	return st, nil
}

// explainEnd puts an exit status into words.
func (e *Executor) explainEnd(r record, st *state.Status, code int) {
	st.ExitCode = code
	if code > 128 {
		st.Signal = unix.SignalName(unix.Signal(code - 128))
	}
	st.Phase = state.Failed
	fault := readFault(r.Dir)
	switch {
	case code == 0 && r.Kind == ir.Service:
		st.Message = "exit 0, but a service has to stay up"
	case code == 0:
		if wrote := local.Written(r.Dir); r.Disk > 0 && wrote > r.Disk {
			st.Message = local.OverQuota(wrote, r.Disk)
			return
		}
		st.Phase = state.Succeeded
	case (code == 126 || code == 127) && fault != "":
		st.Message = fault
	case st.Signal == "SIGKILL" && e.outOfMemory(r) && r.Memory > 0:
		st.Message = fmt.Sprintf("killed by SIGKILL: it used more than needs.memory %s", local.Size(r.Memory))
	case st.Signal == "SIGKILL" && e.outOfMemory(r):
		st.Message = "killed by SIGKILL: the machine ran out of memory while it ran"
	case st.Signal == "SIGKILL":
		st.Message = "killed by SIGKILL (not for want of memory)"
	case st.Signal != "":
		st.Message = "killed by " + st.Signal
	default:
		st.Message = fmt.Sprintf("exit %d", code)
	}
}

func faultPath(dir string) string { return filepath.Join(dir, "notes", "fault") }

// readFault reads why the program could not be started. The program could have
// written that file as well, so it is taken for one line of text and no more.
func readFault(dir string) string {
	fd, err := unix.Open(faultPath(dir), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	f := os.NewFile(uintptr(fd), "fault")
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return ""
	}
	b, err := io.ReadAll(io.LimitReader(f, 1000))
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.ToValidUTF8(string(b), "?"), "\n")
	return strings.TrimSpace(line)
}
