package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// connect returns the connection to containerd, which mends itself when containerd
// is started again.
func (e *Executor) connect(ctx context.Context) (*client.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client != nil {
		return e.client, nil
	}
	// The client would only say that it waited in vain.
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", e.opts.Address)
	if err != nil {
		return nil, e.explain(err)
	}
	_ = conn.Close()
	c, err := client.New(e.opts.Address, client.WithDefaultNamespace(e.opts.Namespace))
	if err != nil {
		return nil, e.explain(err)
	}
	e.client = c
	return c, nil
}

// An Unreachable error says that containerd does not answer.
type unreachable struct {
	address, why string
	err          error
}

func (u *unreachable) Error() string { return fmt.Sprintf("containerd at %s %s", u.address, u.why) }
func (u *unreachable) Unwrap() error { return u.err }

// explain says of an error of containerd what to do about it.
func (e *Executor) explain(err error) error {
	known := (*unreachable)(nil)
	switch {
	case err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "connect: permission denied"):
		return &unreachable{e.opts.Address, "may not be used by this user: run tenon as root, or give the user the right to the socket", err}
	case errors.Is(err, fs.ErrNotExist) && isDial(err):
		return &unreachable{e.opts.Address, "is not there: install and start containerd, or set address in the target", err}
	case errors.Is(err, unix.ECONNREFUSED):
		return &unreachable{e.opts.Address, "has ended: start it, and apply again; what runs in it is found again", err}
	case away(err):
		return &unreachable{e.opts.Address, "does not answer: start it, and apply again; what runs in it is found again", err}
	case strings.Contains(err.Error(), unix.ENOSPC.Error()):
		return fmt.Errorf("no space is left where containerd keeps images and containers: make room, for instance with `tenon gc`, and apply again: %w", err)
	}
	return err
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// away reports whether an error says that containerd is not there now.
func away(err error) bool {
	return errdefs.IsUnavailable(err) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) && isDial(err)
}

// patiently does what is idempotent again while containerd is away, as long as it
// is likely to come back.
func (e *Executor) patiently(ctx context.Context, do func() error) error {
	until := time.Now().Add(e.opts.Patience)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := do()
		if err == nil || !away(err) || time.Now().After(until) {
			return e.explain(err)
		}
		select {
		case <-ctx.Done():
			return errors.Join(e.explain(err), ctx.Err())
		case <-time.After(pause):
		}
	}
}

// task returns the task of a container, nil if there is none.
func (e *Executor) task(ctx context.Context, c *client.Client, id string) (client.Task, error) {
	container, err := c.LoadContainer(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	task, err := container.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	return task, err
}
