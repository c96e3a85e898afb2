package ssh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/executors/ssh/host"
)

// A line is the way to one host: the link to it, if there is one.
type line struct {
	e    *Executor
	host Host

	mu        sync.Mutex
	link      *link
	attempt   *attempt  // to connect, if one is in progress
	abandoned int       // counts the tasks that were abandoned, see [line.abandon]
	silent    time.Time // since when the host does not answer
	starting  *hostStart
}

// An attempt to connect is shared by all callers that wait for it: otherwise, each of them would
// wait in turn for a host that does not answer.
type attempt struct {
	done     chan struct{} // closed at its end
	link     *link
	err      error
	installs atomic.Bool // tenon-host is being copied
	canceled bool        // by the caller that made it, which says nothing about the host
}

// line returns the line to a host, which may be one that the target no longer names. One
// that it names is reached as it says now.
func (e *Executor) line(h Host) *line {
	if i := slices.IndexFunc(e.opts.Hosts, h.same); i >= 0 {
		h = e.opts.Hosts[i]
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.lines[h.reached()]
	if l == nil {
		l = &line{e: e, host: h}
		e.lines[h.reached()] = l
	}
	return l
}

// A lostError says that a host does not answer.
type lostError struct {
	host Host
	err  error
	idle bool // it may have stopped itself
}

func (e *lostError) Error() string {
	if e.idle {
		return fmt.Sprintf("host %s is stopped or lost: %v", e.host, e.err)
	}
	return fmt.Sprintf("host %s is lost: %v", e.host, e.err)
}

// lost returns the error of a host that does not answer.
func (n *line) lost(err error) *lostError { return &lostError{n.host, err, n.e.opts.Autostop != nil} }

func (e *lostError) Unwrap() error { return e.err }

// connected returns the link, and makes one if there is none.
func (n *line) connected(ctx context.Context) (*link, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n.mu.Lock()
		l, a := n.link, n.attempt
		if l == nil && a == nil {
			own := &attempt{done: make(chan struct{})}
			n.attempt = own
			abandoned := n.abandoned
			n.mu.Unlock()
			n.connect(ctx, own, abandoned)
			return own.link, own.err
		}
		n.mu.Unlock()
		if l != nil {
			return l, nil
		}
		select {
		case <-a.done:
			if !a.canceled {
				return a.link, a.err
			}
		case <-ctx.Done():
		}
	}
}

// connect makes an attempt, which began when some tasks were abandoned.
func (n *line) connect(ctx context.Context, a *attempt, abandoned int) {
	a.link, a.err = n.e.open(ctx, n.host, &a.installs)
	if a.err == nil {
		a.err = n.e.endAbandoned(ctx, a.link)
	}
	if a.err == nil {
		a.err = n.e.lookAtAutostop(ctx, a.link)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if a.err == nil && n.abandoned != abandoned {
		a.err = fmt.Errorf("host %s: another task was abandoned while the connection was made", n.host)
	}
	if a.err != nil && a.link != nil {
		a.err = errors.Join(a.err, a.link.close())
		a.link = nil
	}
	a.canceled = a.err != nil && ctx.Err() != nil
	n.link, n.attempt = a.link, nil
	if l := a.link; l != nil {
		breakers.answers(n.host)
		go func() {
			<-l.conn.Done()
			_ = l.close() // whoever uses it next connects again
		}()
	}
	close(a.done)
}

// abandon leaves it to the next connection to end a task. A connection that was made in the
// meantime, or is being made, may have missed the task, so it is closed.
func (n *line) abandon(st taskState) error {
	if err := st.abandon(); err != nil {
		return err
	}
	n.mu.Lock()
	n.abandoned++
	n.mu.Unlock()
	_ = n.drop(nil) // whoever uses it connects again
	return nil
}

// drop closes a link that has failed, or any link if it is nil.
func (n *line) drop(failed *link) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.link == nil || failed != nil && n.link != failed {
		return nil
	}
	l := n.link
	n.link = nil
	return l.close()
}

// reach makes sure that there is a connection. It tries once.
func (n *line) reach(ctx context.Context) error {
	_, err := n.connected(ctx)
	if err == nil || !passing(err) || ctx.Err() != nil {
		return err
	}
	return n.lost(err)
}

// patiently repeats do while the host does not answer, until it has been silent for the
// patience across all callers. Then it is lost, until it answers.
func (n *line) patiently(ctx context.Context, patience time.Duration, do func(*link) error) error {
	const first, last = 50 * time.Millisecond, 2 * time.Second
	for pause := first; ; pause = min(2*pause, last) {
		began := time.Now()
		l, err := n.connected(ctx)
		if err == nil {
			if err = do(l); passing(err) && ctx.Err() == nil {
				_ = n.drop(l) // it has failed
			}
		}
		if ctx.Err() != nil && err != nil {
			return ctx.Err()
		}
		n.mu.Lock()
		switch {
		case !passing(err):
			n.silent = time.Time{}
		case n.silent.IsZero() || l != nil && time.Since(began) > patience:
			n.silent, pause = time.Now(), first
		}
		silent := n.silent
		n.mu.Unlock()
		if !passing(err) {
			return err
		}
		if time.Since(silent) > patience {
			return breakers.lost(n.lost(err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// passing reports whether an error may pass: neither side has refused anything.
func passing(err error) bool {
	var refused *refusedError
	var said *saidError
	var full *fullError
	var small *smallError
	var own *ownError
	return err != nil && !errors.As(err, &refused) && !errors.As(err, &said) && !errors.As(err, &full) && !errors.As(err, &small) && !errors.As(err, &own)
}

// An ownError is an error of this machine, such as a full disk.
type ownError struct{ error }

func (e *ownError) Unwrap() error { return e.error }

// own marks an error of this machine, if there is one.
func own(err error) error {
	if err == nil {
		return nil
	}
	return &ownError{err}
}

// endAbandoned ends on a host what was destroyed while it did not answer.
func (e *Executor) endAbandoned(ctx context.Context, l *link) error {
	for _, st := range e.abandoned(l.host) {
		if _, err := ask[struct{}](ctx, l, host.DestroyPath, st.named()); err != nil {
			return err
		}
		if err := st.settled(); err != nil {
			return own(err)
		}
	}
	return nil
}
