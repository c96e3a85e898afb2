package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/lang/files"
	"github.com/tenon-ml/tenon/planner/state"
)

// killPatience is how long processes may take to vanish after SIGKILL. Longer
// takes one that hangs in the kernel, on a dead network disk for instance.
const killPatience = 10 * time.Second

// Destroy asks the container's processes to end, kills after the grace what has
// not, and removes the container with its root file system. Then it removes
// scratch and what the executor keeps; outputs, metrics and log stay. If ctx is
// done the grace is over at once.
func (e *Executor) Destroy(ctx context.Context, h state.Handle) error {
	r, err := current(h)
	if err != nil {
		return err
	}
	e = e.at(r.Place)
	grace := e.opts.Grace
	if ctx.Err() != nil {
		grace = 0
	}
	// What is begun is finished: a container that is half removed helps nobody.
	whole := e.in(context.WithoutCancel(ctx))
	err = e.patiently(whole, func() error {
		c, err := e.connect(whole)
		if err != nil {
			return err
		}
		return e.destroy(ctx, whole, c, r, grace)
	})
	if err != nil {
		return fmt.Errorf("destroy %s: %w", r.Unit, err)
	}
	return nil
}

func (e *Executor) destroy(ctx, whole context.Context, c *client.Client, r record, grace time.Duration) error {
	if err := e.end(ctx, whole, c, r, grace); err != nil {
		return err
	}
	locked, err := local.Lock(whole, r.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return e.remove(whole, c, r, 0)
	}
	if err != nil {
		return err
	}
	defer locked.Close()
	// The folder may have gone to another task, or to another start, meanwhile.
	if now, err := readRecord(r.Dir); err == nil && (now.ID != r.ID || !now.Began.Equal(r.Began)) {
		return nil
	}
	if err := e.remove(whole, c, r, 0); err != nil {
		return err
	}
	if err := files.RemoveAll(filepath.Join(r.Dir, "scratch")); err != nil {
		return err
	}
	return errors.Join(reclaim(r.Dir), forget(r.Dir))
}

// end ends what runs in the container; nothing may run there.
func (e *Executor) end(ctx, whole context.Context, c *client.Client, r record, grace time.Duration) error {
	task, err := e.task(whole, c, r.ID)
	if err != nil || task == nil {
		return err
	}
	wait, cancel := context.WithTimeout(whole, grace)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)() // if ctx is done the grace is over
	return e.stop(wait, whole, task)
}

// kill ends the task: SIGTERM, the grace, SIGKILL.
func (e *Executor) kill(ctx context.Context, task client.Task, grace time.Duration) error {
	wait, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	return e.stop(wait, context.WithoutCancel(ctx), task)
}

// stop gives the task until the end of soft to end by itself. The kernel ends all
// processes of the container with the first one.
func (e *Executor) stop(soft, whole context.Context, task client.Task) error {
	st, err := task.Status(whole)
	if errdefs.IsNotFound(err) || err == nil && st.Status == client.Stopped {
		return nil
	}
	if err != nil {
		return err
	}
	hard, cancel := context.WithCancel(whole)
	defer cancel()
	exited, err := task.Wait(hard)
	if err != nil {
		return ignoreMissing(err)
	}
	if soft.Err() == nil && st.Status != client.Created { // what never ran does not listen
		if err := task.Kill(whole, unix.SIGTERM); err != nil {
			return ignoreMissing(err)
		}
		select {
		case <-exited:
			return nil
		case <-soft.Done():
		}
	}
	if err := task.Kill(whole, unix.SIGKILL, client.WithKillAll); err != nil {
		return ignoreMissing(err)
	}
	select {
	case <-exited:
		return nil
	case <-time.After(killPatience):
		return fmt.Errorf("process %d does not end after SIGKILL", task.Pid())
	}
}

func ignoreMissing(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// remove takes away the container of a record with all that is its own, whatever
// of it is there.
func (e *Executor) remove(ctx context.Context, c *client.Client, r record, grace time.Duration) error {
	container, err := c.LoadContainer(ctx, r.ID)
	if err == nil {
		err = e.removeContainer(ctx, container, grace)
	}
	if err := ignoreMissing(err); err != nil {
		return err
	}
	// A snapshot is made before its container.
	if err := ignoreMissing(c.SnapshotService(e.opts.Snapshotter).Remove(ctx, r.ID)); err != nil {
		return err
	}
	return os.RemoveAll(e.secretsDir(r.ID))
}

func (e *Executor) removeContainer(ctx context.Context, container client.Container, grace time.Duration) error {
	task, err := container.Task(ctx, nil)
	switch {
	case errdefs.IsNotFound(err):
	case err != nil:
		return err
	default:
		if err := e.kill(ctx, task, grace); err != nil {
			return err
		}
		if _, err := task.Delete(ctx, client.WithProcessKill); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return container.Delete(ctx, client.WithSnapshotCleanup)
}
