package control

import (
	"context"
	"time"
)

// A Clock is what a controller knows of time.
type Clock interface {
	// Now is the time of the calendar. It may jump in both directions.
	Now() time.Time
	// Elapsed is how long the clock runs. It never goes back, and may stand still while the machine
	// sleeps.
	Elapsed() time.Duration
	// Sleep returns after a while, or when ctx ends.
	Sleep(ctx context.Context, d time.Duration)
}

// SystemClock returns the clock of the machine.
func SystemClock() Clock { return systemClock{time.Now()} }

type systemClock struct{ began time.Time }

// Now is without the monotonic reading: differences of such times follow the calendar.
func (systemClock) Now() time.Time           { return time.Now().Round(0) }
func (c systemClock) Elapsed() time.Duration { return time.Since(c.began) }

func (systemClock) Sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// jump is by how much the two clocks may differ after a while before that is reported.
const jump = 5 * time.Second

// lookAtClock reports if the clock was set, or the machine slept, since the last call.
func (c *controller) lookAtClock() {
	now, elapsed := c.o.Clock.Now(), c.o.Clock.Elapsed()
	if !c.wall.IsZero() {
		switch by := now.Sub(c.wall) - (elapsed - c.elapsed); {
		case by > jump:
			c.say(Event{Type: ClockSet, Message: "the machine slept, or its clock was set forward, by " + by.Round(time.Second).String()})
		case by < -jump:
			c.say(Event{Type: ClockSet, Message: "the clock was set back by " + (-by).Round(time.Second).String()})
		}
	}
	c.wall, c.elapsed = now, elapsed
}
