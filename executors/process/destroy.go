package process

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
)

// Destroy terminates every process of the task's session, kills those that remain after
// the grace, and returns once none is left. Then it removes scratch and what the executor
// keeps; outputs, metrics and log stay. If ctx is done it does not wait for the grace.
func (e *Executor) Destroy(ctx context.Context, h state.Handle) error {
	given, err := records.Of(h)
	if err != nil {
		return err
	}
	r, err := records.Current(h)
	if err != nil {
		return err
	}
	if err := r.kill(ctx, e.opts.Grace); err != nil {
		return fmt.Errorf("destroy %s: %w", r.Unit, err)
	}
	if given.Ident != r.Ident {
		if err := given.kill(ctx, 0); err != nil {
			return fmt.Errorf("destroy %s: %w", r.Unit, err)
		}
	}
	local.Release(r.Endpoint)
	same := func(now record) bool { return now.Ident == r.Ident }
	if err := records.Clear(context.WithoutCancel(ctx), r.Dir, same, func() error { e.disclaim(r); return nil }); err != nil {
		return fmt.Errorf("destroy %s: %w", r.Unit, err)
	}
	return nil
}

// kill ends the session: SIGTERM, the grace, SIGKILL. Without grace, it sends SIGKILL at
// once.
func (r record) kill(ctx context.Context, grace time.Duration) error {
	ps, err := r.session().Members()
	if err != nil || len(ps) == 0 {
		return err
	}
	if grace > 0 {
		r.signal(unix.SIGTERM, ps)
		ctx, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		if ps, err = r.drain(ctx, 0); err != nil || len(ps) == 0 {
			return err
		}
	}
	hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), local.KillPatience)
	defer cancel()
	if ps, err = r.drain(hard, unix.SIGKILL); err == nil && len(ps) > 0 {
		err = fmt.Errorf("process %d does not end after SIGKILL", ps[0].PID)
	}
	return err
}

// drain waits until the session is empty or ctx is done, and returns the remaining
// processes. It sends sig, if any, repeatedly, because a process may fork in the
// meantime.
func (r record) drain(ctx context.Context, sig unix.Signal) ([]local.Process, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		ps, err := r.session().Members()
		if err != nil || len(ps) == 0 {
			return nil, err
		}
		if sig != 0 {
			r.signal(sig, ps)
		}
		select {
		case <-ctx.Done():
			return ps, nil
		case <-time.After(wait):
		}
	}
}

// signal signals the process group as a whole, so that no fork escapes, and then the
// other members of the session one by one.
func (r record) signal(sig unix.Signal, ps []local.Process) {
	if r.Alive() {
		_ = unix.Kill(-r.Pid, sig)
	}
	for _, p := range ps {
		if pgid, err := unix.Getpgid(p.PID); err == nil && (pgid != r.Pid || !r.Alive()) {
			p.Signal(sig)
		}
	}
}
