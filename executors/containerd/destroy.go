package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
)

// Destroy asks the container's processes to end and kills those that exceed the grace
// period. It removes the container with its root file system, then scratch and the
// executor's own files; outputs, metrics and log stay. If ctx is done, the grace period
// ends at once.
func (e *Executor) Destroy(ctx context.Context, h state.Handle) error {
	ts, err := current(h)
	if err != nil {
		return err
	}
	e = e.at(ts.Place)
	// Finish what has begun, rather than leave a half-removed container.
	base := e.in(context.WithoutCancel(ctx))
	err = e.patiently(base, func(c *client.Client) error { return e.destroy(ctx, base, c, ts) })
	if err != nil {
		return fmt.Errorf("destroy %s: %w", ts.Unit, err)
	}
	return nil
}

func (e *Executor) destroy(ctx, base context.Context, c *client.Client, ts taskState) error {
	// A done ctx ends the grace period.
	soft, cancel := context.WithTimeout(base, e.opts.Grace)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	if err := e.end(soft, base, c, ts.ID); err != nil {
		return err
	}
	// Meanwhile the folder may belong to another task or another start.
	same := func(now taskState) bool { return now.ID == ts.ID && now.Began.Equal(ts.Began) }
	return taskStates.Clear(base, ts.Dir, same, func() error {
		if err := e.remove(base, c, ts.ID, 0); err != nil {
			return err
		}
		local.Release(ts.Endpoint)
		return reclaim(ts.Dir)
	})
}

// stop ends the task of a container: SIGTERM, the grace period, SIGKILL.
func (e *Executor) stop(ctx context.Context, c *client.Client, id string, grace time.Duration) error {
	soft, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	return e.end(soft, context.WithoutCancel(ctx), c, id)
}

// end gives the task until the end of soft to exit by itself. When the first process of
// a container ends, the kernel kills the others.
func (e *Executor) end(soft, base context.Context, c *client.Client, id string) error {
	now, err := e.task(base, c, id)
	if err != nil || now == nil || now.Status == task.Status_STOPPED {
		return err
	}
	hard, cancel := context.WithCancel(base)
	defer cancel()
	exited := exit(hard, c, id)
	if now.Status == task.Status_PAUSED { // a paused process gets no signals
		_, err := c.TaskService().Resume(base, &tasks.ResumeTaskRequest{ContainerID: id})
		if err = errgrpc.ToNative(err); err != nil && !over(err) {
			return err
		}
	}
	if soft.Err() == nil && now.Status != task.Status_CREATED { // a program that never ran does not listen
		if err := signal(base, c, id, unix.SIGTERM, false); err != nil {
			return err
		}
		select {
		case <-exited:
			return nil
		case <-soft.Done():
		}
	}
	if err := signal(base, c, id, unix.SIGKILL, true); err != nil {
		return err
	}
	select {
	case end := <-exited:
		if away(end.err) {
			return end.err
		}
		return nil
	case <-time.After(local.KillPatience):
		return fmt.Errorf("process %d does not end after SIGKILL", now.Pid)
	}
}

// signal sends a signal to a task. It is no error if the task has ended.
func signal(ctx context.Context, c *client.Client, id string, s unix.Signal, all bool) error {
	_, err := c.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(s), All: all})
	if err = errgrpc.ToNative(err); over(err) {
		return nil
	}
	return err
}

// over reports whether an error means that the task has ended.
func over(err error) bool { return errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err) }

// remove removes a container and everything that belongs to it, as far as it exists.
func (e *Executor) remove(ctx context.Context, c *client.Client, id string, grace time.Duration) error {
	if err := e.stop(ctx, c, id, grace); err != nil {
		return err
	}
	_, err := c.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
	if err := ignoreMissing(errgrpc.ToNative(err)); err != nil {
		return err
	}
	if err := e.killRest(id); err != nil {
		return err
	}
	if err := ignoreMissing(c.ContainerService().Delete(ctx, id)); err != nil {
		return err
	}
	// The snapshot is created before its container.
	if err := ignoreMissing(c.SnapshotService(e.opts.Snapshotter).Remove(ctx, id)); err != nil {
		return err
	}
	return os.RemoveAll(e.secretsDir(id))
}

// killRest kills the processes that containerd no longer knows of, see
// [Executor.processes].
func (e *Executor) killRest(id string) error {
	for until := time.Now().Add(local.KillPatience); ; time.Sleep(10 * time.Millisecond) {
		rest := e.processes(id)
		if len(rest) == 0 {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("processes %v do not end after SIGKILL", rest)
		}
		for _, pid := range rest {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("end process %d: %w", pid, err)
			}
		}
	}
}

// killShim kills the shims of a container in which nothing has run. containerd then
// forgets its task. The shims are those whose arguments name the container, because
// containerd does not report a shim that it has abandoned.
func (e *Executor) killShim(id string) error {
	cmdlines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, path := range cmdlines {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(b), "\x00")
		if !strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") ||
			!hasFlag(args, "-namespace", e.opts.Namespace) || !hasFlag(args, "-id", id) || !hasFlag(args, "-address", e.opts.Address) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return err
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end the shim, process %d: %w", pid, err)
		}
	}
	return nil
}

func hasFlag(args []string, name, value string) bool {
	i := slices.Index(args, name)
	return i >= 0 && i+1 < len(args) && args[i+1] == value
}

func ignoreMissing(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
