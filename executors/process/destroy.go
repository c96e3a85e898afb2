package process

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
)

// Destroy asks every process of the task's session to end, kills after the
// grace what has not, and returns once none is left. Then it removes scratch and
// what the executor keeps; outputs, metrics and log stay. If ctx is done the
// grace is over at once.
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
	if given.ident != r.ident {
		if err := given.kill(ctx, 0); err != nil {
			return fmt.Errorf("destroy %s: %w", r.Unit, err)
		}
	}
	same := func(now record) bool { return now.ident == r.ident }
	if err := records.Clear(context.WithoutCancel(ctx), r.Dir, same, func() error { e.disclaim(r); return nil }); err != nil {
		return fmt.Errorf("destroy %s: %w", r.Unit, err)
	}
	return nil
}

// kill ends the session: SIGTERM, the grace, SIGKILL. Without grace, SIGKILL
// comes at once.
func (r record) kill(ctx context.Context, grace time.Duration) error {
	ps, err := r.members()
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
		err = fmt.Errorf("process %d does not end after SIGKILL", ps[0].pid)
	}
	return err
}

// drain waits until the session is empty or ctx is done, and returns who is
// left. With a signal, it sends it again and again: a process may fork meanwhile.
func (r record) drain(ctx context.Context, sig unix.Signal) ([]proc, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		ps, err := r.members()
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

// signal reaches the process group as one, so that no fork escapes, and the
// other members of the session one by one.
func (r record) signal(sig unix.Signal, ps []proc) {
	if r.alive() {
		_ = unix.Kill(-r.Pid, sig)
	}
	for _, p := range ps {
		if pgid, err := unix.Getpgid(p.pid); err == nil && (pgid != r.Pid || !r.alive()) {
			p.signal(sig)
		}
	}
}
