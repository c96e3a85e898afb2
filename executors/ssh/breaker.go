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
func (b *breaker) lost(h Host, err error) *lostError {
	b.mu.Lock()
	defer b.mu.Unlock()
	gone := &lostError{h, err}
	b.open[h.id()], b.at[h.id()] = gone, time.Now()
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

// quickly calls do once, if the host can be reached within [Options].Quick. Otherwise the host is lost to this caller,
// which has to do without it.
func (n *line) quickly(ctx context.Context, do func(*link) error) error {
	if gone := breakers.is(n.host); gone != nil {
		return gone
	}
	within, cancel := context.WithTimeout(ctx, n.e.opts.Quick)
	defer cancel()
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
		return breakers.lost(n.host, fmt.Errorf("it did not answer within %s", n.e.opts.Quick))
	case passing(err):
		return breakers.lost(n.host, err)
	}
	return err
}
