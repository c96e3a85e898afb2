package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenon-ml/tenon/planner/state"
)

// onDuty reports whether this controller is the one that acts. Another one keeps that as long as it
// shows that it lives. What counts is how long this one has seen it silent, so their clocks need not
// agree.
func (c *controller) onDuty(ctx context.Context) (bool, error) {
	now := c.o.Clock.Elapsed()
	c.mu.Lock()
	if c.lost {
		c.duty, c.lost = false, false
	}
	due := !c.duty || now-c.beat >= beatEvery
	c.mu.Unlock()
	if !due {
		return true, nil
	}
	other, err := c.engine.Controller(ctx)
	if err != nil {
		return false, err
	}
	var over *state.Controller
	if other != nil && other.ID != c.self.ID {
		if c.other.ID != other.ID || c.other.Beat != other.Beat {
			c.other, c.otherSeen = *other, now
		}
		if !other.Gone && now-c.otherSeen < BeatsLast {
			c.duty = false
			c.once("standby", Event{Type: Standby, Message: fmt.Sprintf("process %d on %s watches since %s; this one takes over when that ends",
				other.Holder.PID, other.Holder.Host, other.Since.Local().Format(time.DateTime))})
			return false, nil
		}
		over = other
	}
	err = c.show(ctx, over)
	held := (*state.HeldError)(nil)
	switch {
	case errors.Is(err, state.ErrAnotherController):
		c.duty = false
		return false, nil
	case errors.As(err, &held):
		return c.duty, nil // the state is collected or moved
	case err != nil:
		return false, err
	}
	if !c.duty {
		c.duty = true
		delete(c.said, "standby")
		text := "watching"
		if over != nil {
			text = fmt.Sprintf("watching in place of process %d on %s, which no longer does", over.Holder.PID, over.Holder.Host)
		}
		c.say(Event{Type: Started, Message: text})
	}
	return true, nil
}

// show shows that the controller lives.
func (c *controller) show(ctx context.Context, over *state.Controller) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.self.At = c.o.Clock.Now()
	c.self.Holder.Command = c.o.Command
	err := c.engine.SetController(ctx, &c.self, over)
	if err == nil {
		c.beat = c.o.Clock.Elapsed()
	}
	c.lost = c.lost || errors.Is(err, state.ErrAnotherController)
	return err
}

// beatMeanwhile shows that the controller lives until the returned function is called: what it does may
// take hours.
func (c *controller) beatMeanwhile(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(beatEvery)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				_ = c.show(ctx, nil) // the next beat, or the next round, reports what is wrong
			}
		}
	}()
	return func() { cancel(); <-done }
}

// sleep sleeps, and shows meanwhile that the controller lives.
func (c *controller) sleep(ctx context.Context, d time.Duration) {
	for ; c.duty && c.engine != nil && d > beatEvery && ctx.Err() == nil; d -= beatEvery {
		c.o.Clock.Sleep(ctx, beatEvery)
		_ = c.show(ctx, nil) // the next round reports what is wrong
	}
	c.o.Clock.Sleep(ctx, d)
}

// note records what is due next, for tenon status.
func (c *controller) note(ctx context.Context, next task) {
	var at time.Time
	if next.what != "" {
		at = c.o.Clock.Now().Add(next.wait)
	}
	c.mu.Lock()
	same := c.self.Next == next.what && at.Sub(c.self.NextAt).Abs() < 2*time.Second
	c.self.Next, c.self.NextAt = next.what, at
	c.mu.Unlock()
	if !same {
		_ = c.show(ctx, nil) // the next beat shows it
	}
}

// leave lets another controller take over at once.
func (c *controller) leave(ctx context.Context) {
	if c.engine == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaving)
	defer cancel()
	if c.duty {
		_ = c.engine.EndController(ctx, c.self.ID) // others notice by themselves that it is gone
	}
	_ = c.engine.Close()
}
