package process

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
)

// Destroy terminates every process of the task, kills those that remain after
// the grace, and returns once none is left. Then it removes scratch and what the executor
// keeps; outputs, metrics and log stay. If ctx is done it does not wait for the grace.
func (e *Executor) Destroy(ctx context.Context, h state.Handle) error {
	given, err := taskStates.Of(h)
	if err != nil {
		return err
	}
	ts, err := taskStates.Current(h)
	if err != nil {
		return err
	}
	if err := ts.kill(ctx, e.opts.Grace); err != nil {
		return fmt.Errorf("destroy %s: %w", ts.Unit, err)
	}
	if given.Ident != ts.Ident {
		if err := given.kill(ctx, 0); err != nil {
			return fmt.Errorf("destroy %s: %w", ts.Unit, err)
		}
	}
	local.Release(ts.Endpoint)
	same := func(now taskState) bool { return now.Ident == ts.Ident }
	if err := taskStates.Clear(context.WithoutCancel(ctx), ts.Dir, same, func() error { e.disclaim(ts); return nil }); err != nil {
		return fmt.Errorf("destroy %s: %w", ts.Unit, err)
	}
	return nil
}

// kill ends all processes: SIGTERM, the grace, SIGKILL. Without grace, it sends SIGKILL at
// once.
func (ts taskState) kill(ctx context.Context, grace time.Duration) error {
	ps, err := ts.members()
	if err != nil || len(ps) == 0 {
		return err
	}
	if grace > 0 {
		ts.signal(unix.SIGTERM, ps)
		ctx, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		if ps, err = ts.drain(ctx, 0); err != nil || len(ps) == 0 {
			return err
		}
	}
	hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), local.KillPatience)
	defer cancel()
	if ps, err = ts.drain(hard, unix.SIGKILL); err == nil && len(ps) > 0 {
		err = fmt.Errorf("process %d does not end after SIGKILL", ps[0].PID)
	}
	return err
}

// leaderPatience is how long tenon-run may take to write the rest of the log once all others
// are killed.
const leaderPatience = time.Second

// drain waits until no process is left or ctx is done, and returns the remaining
// processes. It sends sig, if any, repeatedly, because a process may fork in the
// meantime.
func (ts taskState) drain(ctx context.Context, sig unix.Signal) ([]local.Process, error) {
	began := time.Now()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		ps, err := ts.members()
		if err != nil || len(ps) == 0 {
			return nil, err
		}
		switch {
		case sig == 0:
		case sig == unix.SIGKILL && time.Since(began) < leaderPatience:
			ts.signalOthers(sig, ps)
		default:
			ts.signal(sig, ps)
		}
		select {
		case <-ctx.Done():
			return ps, nil
		case <-time.After(wait):
		}
	}
}

// signal signals the process group as a whole, so that no fork escapes, and then the
// others one by one.
func (ts taskState) signal(sig unix.Signal, ps []local.Process) {
	alive := ts.Alive()
	if alive {
		_ = unix.Kill(-ts.Pid, sig)
	}
	for _, p := range ps {
		if pgid, err := unix.Getpgid(p.PID); err == nil && (pgid != ts.Pid || !alive) {
			p.Signal(sig)
		}
	}
}

// signalOthers signals all processes but tenon-run.
func (ts taskState) signalOthers(sig unix.Signal, ps []local.Process) {
	for _, p := range ps {
		if p.PID != ts.Pid {
			p.Signal(sig)
		}
	}
}
