package control

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

const (
	// beatEvery is how often a controller shows that it lives.
	beatEvery = 10 * time.Second
	// BeatsLast is how long a controller that shows nothing counts as alive.
	BeatsLast = 30 * time.Second
	// pause is how long something that failed waits for the next attempt. It doubles with each
	// further failure up to pauseLimit.
	pause      = time.Second
	pauseLimit = 5 * time.Minute
	// leaving is how long the last note may take.
	leaving = 2 * time.Second
)

// Options configure [Run].
type Options struct {
	Every   time.Duration // between two looks
	Once    bool          // look once, do what is due, and end
	Command string        // how others name it
	Clock   Clock
	Events  func(Event)     // one at a time
	Looked  func(time.Time) // called after each look at the system, if it is not nil
}

// Run watches a system until ctx ends. Nothing else ends it: what fails is tried again. With Once, it
// returns what failed. open opens the engine; it is called again when the state cannot be read.
func Run(ctx context.Context, open func(context.Context) (Engine, error), o Options) error {
	c := &controller{o: o, open: open, self: state.Controller{ID: rand.Text(), Since: o.Clock.Now()}, fails: map[string]*failure{}, said: map[string]string{}, faults: map[string]fault{}, holds: map[string]string{}, read: map[[2]string]time.Duration{}}
	defer c.leave(context.WithoutCancel(ctx))
	for ctx.Err() == nil {
		c.lookAtClock()
		wait := c.round(ctx)
		if o.Once && ctx.Err() == nil {
			return errors.Join(c.failed...)
		}
		c.sleep(ctx, wait)
	}
	c.say(Event{Type: Stopped, Message: context.Cause(ctx).Error()})
	return nil
}

type controller struct {
	o      Options
	open   func(context.Context) (Engine, error)
	engine Engine // nil while it is not open

	mu   sync.Mutex // guards self and lost
	self state.Controller
	lost bool // another controller has taken over
	duty bool // this controller is the one that acts
	beat time.Duration
	// What a standby has seen of the other controller.
	other     state.Controller
	otherSeen time.Duration

	fails  map[string]*failure
	failed []error           // with Once
	said   map[string]string // the last message of a kind
	faults map[string]fault
	holds  map[string]string           // why loops hold back the next step of a release, by service
	read   map[[2]string]time.Duration // when tables that loops wait for were read, by loop and unit
	// By what the two clocks are compared.
	wall    time.Time
	elapsed time.Duration
}

// A failure is what failed, until it succeeds.
type failure struct {
	tries int
	until time.Duration // on the monotonic clock
	last  error
}

// next counts a failure, and returns how long to wait for the next attempt.
func (f *failure) next(c Clock) time.Duration {
	wait := min(pause<<min(f.tries, 16), pauseLimit)
	f.tries++
	f.until = c.Elapsed() + wait
	return wait
}

// A fault is one that was seen before.
type fault struct {
	since time.Duration
	why   string
}

// A task is something that is due now, or later.
type task struct {
	key  string        // what fails together
	what string        // "repair deployments/api"
	wait time.Duration // until it is due
	free bool          // it needs no lock
	// do does it, and returns when it is due again, if that is known.
	do func(context.Context) (time.Duration, error)
}

// round does what is due, and returns how long to sleep.
func (c *controller) round(ctx context.Context) time.Duration {
	if wait, ok := c.ready(ctx, "state"); !ok {
		return wait
	}
	if c.engine == nil {
		var err error
		if c.engine, err = c.open(ctx); err != nil {
			c.engine = nil
			return c.fail(ctx, "state", err)
		}
	}
	if on, err := c.onDuty(ctx); err != nil {
		return c.reopen(ctx, err)
	} else if !on {
		return c.o.Every
	}
	sight, err := c.engine.Look(ctx)
	if err != nil {
		return c.reopen(ctx, err)
	}
	c.succeed("state")
	if c.o.Looked != nil {
		c.o.Looked(c.o.Clock.Now())
	}
	tasks := c.tasks(sight)
	wait, next := c.o.Every, task{}
	for _, t := range tasks {
		if later, ok := c.ready(ctx, t.key); !ok {
			t.wait = max(t.wait, later)
		}
		if t.wait == 0 {
			if sight.Held != nil && !t.free {
				continue // it is looked at again when the lock is free
			}
			t.wait = c.run(ctx, t)
		}
		if t.wait > 0 && (next.what == "" || t.wait < next.wait) {
			next = t
		}
		if ctx.Err() != nil {
			return 0
		}
	}
	if next.what != "" {
		wait = min(wait, max(next.wait, time.Millisecond))
	}
	c.note(ctx, next)
	return wait
}

// run does a task, and returns how long it waits for another attempt, or 0.
func (c *controller) run(ctx context.Context, t task) time.Duration {
	stop := c.beatMeanwhile(ctx)
	wait, err := t.do(ctx)
	stop()
	if held := (*state.HeldError)(nil); errors.As(err, &held) {
		c.once("lock", Event{Type: Waits, Message: "for the lock: " + held.Error()})
		return 0
	}
	if err != nil {
		return c.fail(ctx, t.key, fmt.Errorf("%s: %w", t.what, err))
	}
	delete(c.said, "lock")
	c.succeed(t.key)
	return wait
}

// tasks says what there is to do, the most urgent first.
func (c *controller) tasks(s *Sight) (all []task) {
	if s.Held == nil {
		delete(c.said, "held")
	} else {
		c.once("held", Event{Type: Waits, Message: fmt.Sprintf("%s holds the lock", cmp.Or(s.Held.Holder.Command, "another process"))})
	}
	c.once("rests", Event{Type: Waits, Message: s.Rests})
	for _, u := range s.Unknown {
		c.once("unknown "+u, Event{Type: Failed, Error: u})
	}
	for said := range c.said {
		if u, ok := strings.CutPrefix(said, "unknown "); ok && !slices.Contains(s.Unknown, u) {
			delete(c.said, said)
		}
	}
	if s.Killed != "" {
		all = append(all, task{key: "continue", what: "continue " + s.Killed, do: func(ctx context.Context) (time.Duration, error) { return 0, c.resume(ctx) }})
	}
	all = append(all, c.mends(s)...)
	all = append(all, c.measurements(s)...)
	all = append(all, c.reads(s)...)
	all = append(all, c.loops(s)...)
	for _, r := range s.Releases {
		if _, faulty := c.faults[r.Unit]; faulty {
			continue // it is started again first
		}
		t := task{key: "release " + r.Unit, what: "a step of the release of " + r.Unit, do: func(ctx context.Context) (time.Duration, error) { return 0, c.step(ctx, r) }}
		if !r.Due {
			c.once("waits "+r.Unit, Event{Type: Waits, Unit: r.Unit, Message: r.Waits})
			if r.Until.IsZero() {
				continue
			}
			t.wait = max(r.Until.Sub(c.o.Clock.Now()), time.Millisecond)
		}
		all = append(all, t)
	}
	return all
}

// mends decides which faults are mended, in one task.
func (c *controller) mends(s *Sight) (all []task) {
	if s.Held != nil || s.Rests != "" {
		return nil
	}
	now := c.o.Clock.Elapsed()
	seen := map[string]bool{}
	var units, reasons []string
	for _, f := range s.Faults {
		seen[f.Unit] = true
		was, ok := c.faults[f.Unit]
		if !ok {
			was.since = now
		}
		f.For = now - was.since
		d := planner.DecideMend(f, s.Mended)
		if f.Why != was.why && !d.Mend {
			c.say(Event{Type: Fault, Unit: f.Unit, Message: d.Reason})
		}
		was.why = f.Why
		c.faults[f.Unit] = was
		if d.Mend {
			units, reasons = append(units, f.Unit), append(reasons, f.Unit+": "+d.Reason)
			continue
		}
		all = append(all, task{key: "repair", what: "repair " + f.Unit, wait: d.Wait})
	}
	for unit, was := range c.faults {
		if !seen[unit] {
			delete(c.faults, unit)
			c.say(Event{Type: Healthy, Unit: unit, Message: "no longer: " + was.why})
		}
	}
	if len(units) > 0 {
		reason := strings.Join(reasons, "; ")
		all = append([]task{{key: "repair", what: "repair " + strings.Join(units, ", "), do: func(ctx context.Context) (time.Duration, error) { return 0, c.mend(ctx, units, reason) }}}, all...)
	}
	return all
}

func (c *controller) mend(ctx context.Context, units []string, reason string) error {
	done, err := c.engine.Mend(ctx, units, reason)
	if err != nil {
		return err
	}
	for _, u := range done.Units {
		delete(c.faults, u)
	}
	if done.Revision > 0 {
		c.say(Event{Type: Repaired, Unit: strings.Join(done.Units, ", "), Revision: done.Revision, Message: reason})
	}
	return nil
}

func (c *controller) resume(ctx context.Context) error {
	done, err := c.engine.Continue(ctx)
	if err == nil && done.Revision > 0 {
		c.say(Event{Type: Continued, Revision: done.Revision, Message: done.Message})
	}
	return err
}

func (c *controller) step(ctx context.Context, r Release) error {
	if why := c.holds[r.Unit]; why != "" && r.Next {
		c.once("waits "+r.Unit, Event{Type: Waits, Unit: r.Unit, Message: why})
		return nil
	}
	done, err := c.engine.Step(ctx, r.Unit)
	for _, d := range done {
		c.say(Event{Type: Released, Unit: r.Unit, Revision: d.Revision, Message: d.Message})
	}
	return err
}

// ready reports whether something that failed may be tried again, or how long it waits.
func (c *controller) ready(ctx context.Context, key string) (time.Duration, bool) {
	f := c.fails[key]
	if f == nil || ctx.Err() != nil {
		return 0, true
	}
	wait := f.until - c.o.Clock.Elapsed()
	return wait, wait <= 0
}

// fail reports an error, and returns how long to wait for the next attempt.
func (c *controller) fail(ctx context.Context, key string, err error) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	if c.o.Once {
		c.failed = append(c.failed, err)
	}
	f := c.fails[key]
	if f == nil {
		f = &failure{}
		c.fails[key] = f
	}
	wait := f.next(c.o.Clock)
	c.say(Event{Type: Failed, Error: err.Error(), Retry: wait})
	return wait
}

func (c *controller) succeed(key string) {
	if c.fails[key] != nil {
		delete(c.fails, key)
		c.say(Event{Type: Recovered, Message: key})
	}
}

// reopen reports that the state cannot be used, and opens it again next time: it may have been
// replaced.
func (c *controller) reopen(ctx context.Context, err error) time.Duration {
	wait := c.fail(ctx, "state", errors.Join(err, c.engine.Close()))
	c.engine = nil
	return wait
}

// say sends an event.
func (c *controller) say(e Event) {
	e.Time = c.o.Clock.Now()
	c.o.Events(e)
}

// once sends an event unless it was the last of its kind. One without a message is forgotten.
func (c *controller) once(kind string, e Event) {
	text := e.Message + e.Error
	if c.said[kind] == text {
		return
	}
	if c.said[kind] = text; text != "" {
		c.say(e)
	}
}
