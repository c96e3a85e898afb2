package project

import (
	"context"
	"sync"
	"time"
)

// A virtualClock runs as fast as what is simulated. It implements [control.Clock].
type virtualClock struct {
	mu              sync.Mutex
	began, now, end time.Time
	over            func() // is called at the end
}

// Now implements [control.Clock].
func (c *virtualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Elapsed implements [control.Clock].
func (c *virtualClock) Elapsed() time.Duration { return c.Now().Sub(c.began) }

// Sleep implements [control.Clock].
func (c *virtualClock) Sleep(_ context.Context, d time.Duration) { c.advance(d) }

func (c *virtualClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now = c.now.Add(d); !c.now.Before(c.end) {
		c.now = c.end
		c.over()
	}
}
