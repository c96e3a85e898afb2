package project

import (
	"context"
	"errors"
	"os/user"
	"time"

	"github.com/tenon-ml/tenon/planner/state"
)

// A Session is a workspace whose lock is held: no other process changes its
// environment.
// Release it.
type Session struct {
	*Workspace
	lease *state.Lease
}

// RunCommand is the command of a controller, as holders of the lock name it.
const RunCommand = "tenon run"

// runPatience is how long a command waits for a controller, whose acts nobody expects, also without
// --lock-timeout.
const runPatience = time.Minute

// Lock takes the lock of the environment for a command, whose name is shown to others that have
// to wait. It waits up to wait for another holder to release it.
func (w *Workspace) Lock(ctx context.Context, command string, wait time.Duration) (*Session, error) {
	return w.lock(ctx, w.store, command, wait)
}

// LockAll is Lock for a command that changes what all environments share: it excludes the
// holders of all their locks.
func (w *Workspace) LockAll(ctx context.Context, command string, wait time.Duration) (*Session, error) {
	return w.lock(ctx, w.store.In(state.All), command, wait)
}

func (w *Workspace) lock(ctx context.Context, s *state.Store, command string, wait time.Duration) (*Session, error) {
	h := state.Holder{Command: command}
	if u, err := user.Current(); err == nil {
		h.User = u.Username
	}
	o := state.LockOptions{Wait: wait, TTL: w.set.Faults.Lease}
	lease, err := s.Lock(ctx, h, o)
	if held := (*state.HeldError)(nil); errors.As(err, &held) && held.Holder.Command == RunCommand && command != RunCommand && wait >= 0 && wait < runPatience {
		w.set.notify(Notice{Text: "tenon run is at work: waiting for it to finish"})
		o.Wait = runPatience - wait
		lease, err = s.Lock(ctx, h, o)
	}
	if err != nil {
		return nil, err
	}
	return &Session{w, lease}, nil
}

// Release releases the lock.
func (s *Session) Release(ctx context.Context) error {
	return s.lease.Release(context.WithoutCancel(ctx))
}
