package project

import (
	"context"
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
	lease, err := s.Lock(ctx, h, state.LockOptions{Wait: wait, TTL: w.set.Faults.Lease})
	if err != nil {
		return nil, err
	}
	return &Session{w, lease}, nil
}

// Release releases the lock.
func (s *Session) Release(ctx context.Context) error {
	return s.lease.Release(context.WithoutCancel(ctx))
}
