package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/executors/local/disk"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
)

// How often is looked: at a service that is not ready yet, and at the disk.
const (
	probeFirst = 2 * time.Millisecond
	probeLast  = 100 * time.Millisecond
	diskEvery  = 200 * time.Millisecond
)

// Wait returns once a job has ended or a service is ready or has died. While it
// waits it ends a job that writes more than it may. When ctx is done it returns
// the status so far and leaves the task running. A containerd that is started
// again meanwhile is waited for.
func (e *Executor) Wait(ctx context.Context, h state.Handle) (state.Status, error) {
	r, err := current(h)
	if err != nil {
		return state.Status{}, err
	}
	e = e.at(r.Place)
	// Containerd is told of no deadline: it would answer that it is late, in words
	// of its own, before it is so here.
	calls, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	whole := e.in(calls)
	st := state.Status{Phase: state.Running, Started: r.Began}
	err = e.patiently(whole, func(c *client.Client) (err error) {
		st, err = e.await(whole, c, r)
		return err
	})
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err == nil && st.Phase != state.Running && st.Phase != state.Ready {
		err = reclaim(r.Dir)
	}
	if err != nil {
		return st, fmt.Errorf("wait for %s: %w", r.Unit, err)
	}
	return st, nil
}

func (e *Executor) await(ctx context.Context, c *client.Client, r record) (state.Status, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := e.look(ctx, c, r)
	if err != nil || st.Phase != state.Running {
		return st, err
	}
	exited := exit(ctx, c, r.ID) // nil: what containerd knows of no more is looked at again and again
	timer := time.NewTimer(0)
	defer timer.Stop()
	for next := probeFirst; ; {
		pause := time.Hour
		switch {
		case r.Kind == ir.Service:
			if st = r.Probe(ctx, st); st.Phase != state.Running {
				return st, nil
			}
			pause, next = next, min(2*next, probeLast)
		case r.Disk > 0:
			began := time.Now()
			if wrote := disk.Written(r.Dir); wrote > r.Disk {
				if err := e.condemn(ctx, c, r, disk.OverQuota(wrote, r.Disk)); err != nil {
					return st, err
				}
				break
			}
			// A large tree is measured less often, so that measuring stays cheap.
			pause = max(diskEvery, 20*time.Since(began))
		case exited == nil:
			pause = probeLast
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return st, ctx.Err()
		case end := <-exited:
			exited = nil
			if r.Kind == ir.Job && end.err == nil {
				e.ended(r, &st, end.code, end.at)
				return st, nil
			}
			if end.err != nil && away(end.err) {
				return st, end.err
			}
		case <-timer.C:
			if r.Kind == ir.Job && exited != nil {
				continue // whether containerd is there is watched, see [Executor.watch]
			}
		}
		if st, err = e.look(ctx, c, r); err != nil || st.Phase != state.Running {
			return st, err
		}
	}
}

// An ending is how a task ended.
type ending struct {
	code uint32
	at   time.Time
	err  error
}

// exit tells of the end of a container's task.
func exit(ctx context.Context, c *client.Client, id string) <-chan ending {
	exited := make(chan ending, 1)
	go func() {
		got, err := c.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: id})
		exited <- ending{got.GetExitStatus(), got.GetExitedAt().AsTime(), errgrpc.ToNative(err)}
	}()
	return exited
}

// condemn ends a task for a reason that outlives us, if there is room to write it.
func (e *Executor) condemn(ctx context.Context, c *client.Client, r record, reason string) error {
	err := files.Write(verdictPath(r.Dir), []byte(reason+"\n"), 0o644)
	if errors.Is(err, unix.ENOSPC) {
		err = nil // it may be the task that has left no room
	}
	return errors.Join(err, e.stop(ctx, c, r.ID, 0))
}

// Logs copies to w what the task has printed. With follow it goes on until the
// task has ended, and gives all of it; if ctx is done first, that is the error.
func (e *Executor) Logs(ctx context.Context, h state.Handle, w io.Writer, follow bool) error {
	r, err := current(h)
	if err != nil {
		return err
	}
	e = e.at(r.Place)
	running := func() bool { return false }
	whole := e.in(ctx)
	if follow {
		c, err := e.connect(whole)
		if err != nil {
			return fmt.Errorf("log of %s: %w", r.Unit, err)
		}
		running = func() bool {
			st, err := e.look(whole, c, r)
			return err != nil || st.Phase == state.Running
		}
	}
	if err := local.Follow(ctx, r.logPath(), w, running, nil); err != nil {
		return fmt.Errorf("log of %s: %w", r.Unit, err)
	}
	return nil
}
