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

// The polling intervals: of a service that is not ready yet, and of the disk usage.
const (
	probeFirst = 2 * time.Millisecond
	probeLast  = 100 * time.Millisecond
	diskEvery  = 200 * time.Millisecond
)

// Wait returns when a job has ended, or when a service is ready or has died. Meanwhile
// it ends a job that exceeds its disk limit. When ctx is done, it returns the current
// status and leaves the task running. It waits for a containerd that restarts.
func (e *Executor) Wait(ctx context.Context, h state.Handle) (state.Status, error) {
	ts, err := current(h)
	if err != nil {
		return state.Status{}, err
	}
	e = e.at(ts.Place)
	// Do not pass the deadline to containerd: it would report that it is exceeded, in
	// its own words, before it is exceeded here.
	calls, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	whole := e.in(calls)
	st := state.Status{Phase: state.Running, Started: ts.Began}
	err = e.patiently(whole, func(c *client.Client) (err error) {
		st, err = e.await(whole, c, ts)
		return err
	})
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err == nil && st.Phase != state.Running && st.Phase != state.Ready {
		err = reclaim(ts.Dir)
	}
	if err != nil {
		return st, fmt.Errorf("wait for %s: %w", ts.Unit, err)
	}
	return st, nil
}

func (e *Executor) await(ctx context.Context, c *client.Client, ts taskState) (state.Status, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := e.look(ctx, c, ts)
	if err != nil || st.Phase != state.Running {
		return st, err
	}
	var id local.Ident
	if ts.Endpoint != nil {
		if id, err = e.first(ctx, c, ts); err != nil {
			return st, err
		}
	}
	exited := exit(ctx, c, ts.ID) // nil if containerd has forgotten the task, which is then polled
	timer := time.NewTimer(0)
	defer timer.Stop()
	for next := probeFirst; ; {
		pause := time.Hour
		switch {
		case ts.Kind == ir.Service:
			if st = ts.Probe(ctx, st, id, true); st.Phase != state.Running {
				return st, nil
			}
			pause, next = next, min(2*next, probeLast)
		case ts.Disk > 0:
			began := time.Now()
			if wrote := disk.Written(ts.Dir); wrote > ts.Disk {
				if err := e.condemn(ctx, c, ts, disk.OverQuota(wrote, ts.Disk)); err != nil {
					return st, err
				}
				break
			}
			// Measure a large tree less often, so that measuring stays cheap.
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
			if ts.Kind == ir.Job && end.err == nil {
				e.ended(ts, &st, end.code, end.at)
				return st, nil
			}
			if end.err != nil && away(end.err) {
				return st, end.err
			}
		case <-timer.C:
			if ts.Kind == ir.Job && exited != nil {
				continue // [Executor.watch] detects a containerd that is gone
			}
		}
		if st, err = e.look(ctx, c, ts); err != nil || st.Phase != state.Running {
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

// exit returns a channel that receives the end of a container's task.
func exit(ctx context.Context, c *client.Client, id string) <-chan ending {
	exited := make(chan ending, 1)
	go func() {
		got, err := c.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: id})
		exited <- ending{got.GetExitStatus(), got.GetExitedAt().AsTime(), errgrpc.ToNative(err)}
	}()
	return exited
}

// condemn ends a task. It first writes the reason to a file, if there is space for it,
// so that a later tenon can read it.
func (e *Executor) condemn(ctx context.Context, c *client.Client, ts taskState, reason string) error {
	err := files.Write(verdictPath(ts.Dir), []byte(reason+"\n"), 0o644)
	if errors.Is(err, unix.ENOSPC) {
		err = nil // the task itself may have used up the space
	}
	return errors.Join(err, e.stop(ctx, c, ts.ID, 0))
}

// Logs copies the output of the task to w. With follow it continues until the task has
// ended, and copies all of it. If ctx is done first, it returns its error.
func (e *Executor) Logs(ctx context.Context, h state.Handle, w io.Writer, follow bool) error {
	ts, err := current(h)
	if err != nil {
		return err
	}
	e = e.at(ts.Place)
	running := func() bool { return false }
	whole := e.in(ctx)
	if follow {
		c, err := e.connect(whole)
		if err != nil {
			return fmt.Errorf("log of %s: %w", ts.Unit, err)
		}
		running = func() bool {
			st, err := e.look(whole, c, ts)
			return err != nil || st.Phase == state.Running
		}
	}
	if err := local.Follow(ctx, ts.logPath(), w, running, nil); err != nil {
		return fmt.Errorf("log of %s: %w", ts.Unit, err)
	}
	return nil
}
