package ssh

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// quickAgain is after how long [line.quickly] tries a host again that did not answer.
const quickAgain = 30 * time.Second

// A breaker remembers which hosts did not answer, for all executors of this process: a controller
// makes one for each look at a log. Only [line.quickly] asks it.
type breaker struct {
	mu   sync.Mutex
	open map[string]*lostError // by [Host.id]
	at   map[string]time.Time  // when it was opened
}

var breakers = breaker{open: map[string]*lostError{}, at: map[string]time.Time{}}

// lost notes that a host did not answer.
func (b *breaker) lost(gone *lostError) *lostError {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[gone.host.id()], b.at[gone.host.id()] = gone, time.Now()
	return gone
}

// answers notes that a host answers.
func (b *breaker) answers(h Host) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, h.id())
	delete(b.at, h.id())
}

// is returns the error of a host that did not answer a short time ago, or nil.
func (b *breaker) is(h Host) *lostError {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.at[h.id()]) > quickAgain {
		return nil
	}
	return b.open[h.id()]
}

// installPatience is how long it may take to copy tenon-host for a caller that is in a hurry.
const installPatience = time.Minute

// installs reports whether tenon-host is being copied to the host.
func (n *line) installs() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attempt != nil && n.attempt.installs.Load()
}

// quickly calls do once, if the host can be reached within [Options].Quick. Otherwise the host is lost to this caller,
// which has to do without it. The time that it takes to copy tenon-host to it does not count: such a host answers.
func (n *line) quickly(ctx context.Context, do func(*link) error) error {
	if gone := breakers.is(n.host); gone != nil {
		return gone
	}
	within, cancel := context.WithTimeout(ctx, n.e.opts.Quick+installPatience)
	defer cancel()
	var quick *time.Timer
	ready := make(chan struct{})
	quick = time.AfterFunc(n.e.opts.Quick, func() {
		<-ready
		if n.installs() {
			quick.Reset(n.e.opts.Quick)
			return
		}
		cancel()
	})
	close(ready)
	defer quick.Stop()
	l, err := n.connected(within)
	if err == nil {
		if err = do(l); passing(err) && ctx.Err() == nil {
			_ = n.drop(l) // it has failed
		}
	}
	switch {
	case ctx.Err() != nil && err != nil:
		return ctx.Err()
	case within.Err() != nil && err != nil && l == nil:
		return breakers.lost(n.lost(fmt.Errorf("it did not answer within %s", n.e.opts.Quick)))
	case passing(err):
		return breakers.lost(n.lost(err))
	}
	return err
}
