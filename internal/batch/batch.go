// Package batch lets callers that come at the same time share what one of them would
// have to wait for alone: a commit, or the disk.
package batch

import "sync"

// A Batcher runs calls in groups. Those that come while a group runs make up the next
// one, so a group is as large as there is need for it, and a call that comes alone is
// not held up.
type Batcher[T any] struct {
	// Run does a group. It is called for one group at a time.
	Run func(group []T)

	mu   sync.Mutex
	busy bool
	next []*call[T]
}

type call[T any] struct {
	v    T
	lead chan bool // false once it is done, true if it is to run the next group
}

// Do returns once Run has returned for a group with v.
func (b *Batcher[T]) Do(v T) {
	c := &call[T]{v: v, lead: make(chan bool, 1)}
	b.mu.Lock()
	b.next = append(b.next, c)
	if b.busy {
		b.mu.Unlock()
		if !<-c.lead {
			return
		}
		b.mu.Lock()
	}
	b.busy = true
	group := b.next
	b.next = nil
	b.mu.Unlock()

	values := make([]T, len(group))
	for i, g := range group {
		values[i] = g.v
	}
	b.Run(values)

	b.mu.Lock()
	if len(b.next) > 0 {
		b.next[0].lead <- true
	} else {
		b.busy = false
	}
	b.mu.Unlock()
	for _, g := range group {
		if g != c {
			g.lead <- false
		}
	}
}
