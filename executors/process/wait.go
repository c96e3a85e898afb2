package process

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local/disk"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
)

// How often to check a service that is not ready yet, the disk, and a process whose end
// the kernel does not report.
const (
	probeFirst = 2 * time.Millisecond
	probeLast  = 100 * time.Millisecond
	diskEvery  = 200 * time.Millisecond
	pollEvery  = time.Millisecond
)

// Wait returns once a job has ended or a service is ready or has died. Meanwhile it ends
// a job that exceeds its disk limit. When ctx is done it returns the current status and
// leaves the task running.
func (e *Executor) Wait(ctx context.Context, h state.Handle) (state.Status, error) {
	ts, err := taskStates.Current(h)
	if err != nil {
		return state.Status{}, err
	}
	gone, stop := e.gone(ts)
	defer stop()
	pause := pollEvery
	timer := time.NewTimer(0)
	defer timer.Stop()
	for next := probeFirst; ; {
		st := e.look(ts)
		switch {
		case st.Phase != state.Running:
			return e.settled(ts, st), nil
		case ts.Kind == ir.Service:
			if st = ts.Probe(ctx, st, ts.Ident, false); st.Phase != state.Running {
				return st, nil
			}
			pause = next
			next = min(2*next, probeLast)
		case ts.Disk > 0:
			began := time.Now()
			if wrote := ts.written(); wrote > ts.Disk {
				if err := ts.condemn(ctx, disk.OverQuota(wrote, ts.Disk)); err != nil {
					return st, err
				}
				continue
			}
			// Measure a large tree less often, so that measuring stays cheap.
			pause = max(diskEvery, 20*time.Since(began))
		case gone != nil:
			pause = time.Hour
		default:
			pause = pollEvery
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return st, fmt.Errorf("wait for %s: %w", ts.Unit, ctx.Err())
		case <-gone:
			gone = nil
		case <-timer.C:
		}
	}
}

// settled completes the status of a task that has ended. Between the exit status and the end
// of tenon-run it is not known yet what the task used, nor that nothing of it is left.
func (e *Executor) settled(ts taskState, st state.Status) state.Status {
	c := e.child(ts)
	if c == nil || st.Over {
		return st
	}
	select {
	case <-c.gone:
		return e.look(ts)
	case <-time.After(leaderPatience):
		return st
	}
}

// gone returns a channel that is closed when the process has ended, and a function that
// stops the watch. Without support from the kernel the channel is nil, or closed too
// early: it is only a hint to check.
func (e *Executor) gone(ts taskState) (<-chan struct{}, func()) {
	if c := e.child(ts); c != nil {
		return c.gone, func() {}
	}
	ch := make(chan struct{})
	fd, err := unix.PidfdOpen(ts.Pid, unix.PIDFD_NONBLOCK)
	if err != nil || !ts.Alive() {
		if err == nil {
			unix.Close(fd)
		}
		return nil, func() {}
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	conn, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, func() {}
	}
	go func() {
		defer close(ch)
		// The runtime's poller waits; a pidfd becomes readable when the process ends.
		_ = conn.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || (err != nil && err != unix.EINTR)
		})
	}()
	return ch, func() { f.Close() }
}

// condemn ends a task and stores the reason, which outlives this process.
func (ts taskState) condemn(ctx context.Context, reason string) error {
	if err := files.Write(verdictPath(ts.Dir), []byte(reason+"\n"), 0o644); err != nil {
		return fmt.Errorf("stop %s, which %s: %w", ts.Unit, reason, err)
	}
	return ts.kill(ctx, 0)
}

// written returns how much disk the task uses, if that is limited.
func (ts taskState) written() int64 {
	if ts.Disk == 0 {
		return 0
	}
	return disk.Written(ts.Dir)
}
