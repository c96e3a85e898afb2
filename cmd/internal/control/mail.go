package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

// A Mailer sends notices. What has to be sent is in the state, and so is what was sent. All of its methods
// may be called again after an error.
type Mailer interface {
	// Pending records the notices that are new, and returns all that were not sent, the oldest first.
	Pending(ctx context.Context, now time.Time) ([]Letter, error)
	// Deliver sends a notice to a receiver, once. It may be called for several receivers at a time.
	Deliver(ctx context.Context, l Letter) error
	// Settle records that a notice was delivered or, after an error, that it is given up. It reports whether
	// that is so: otherwise the notice is tried again.
	Settle(ctx context.Context, l Letter, failed error, now time.Time) (bool, error)
	// Alert sends to Alertmanagers the alerts that fire, and those that no longer do.
	Alert(ctx context.Context, now time.Time) error
	Close() error
}

// A Letter is a notice for one receiver.
type Letter struct {
	Log      string // record of notices
	Number   int64  // in that
	To       string // the receiver, without secrets
	Receiver ir.Receiver
	Declared string // the loop or the monitor with the receiver
	System   string
	Env      string
	Notice   planner.Notice
	Recorded time.Time // when it was found
}

const (
	// mailEvery is how often the record is looked at if nothing calls for it before: people can measure and
	// decide as well. It is also how often alerts are repeated.
	mailEvery = time.Minute
	// alertKey is what fails together if an Alertmanager cannot be reached.
	alertKey = "alertmanager"
)

// A Post sends notices beside a controller, whose acts may take hours.
type Post struct {
	open   func(context.Context) (Mailer, error)
	clock  Clock
	events func(Event)
	wake   chan struct{}

	mail  Mailer // nil while it is not open
	fails map[string]*failure
	mu    sync.Mutex
	duty  bool
}

// NewPost returns what sends notices. events has to be safe for concurrent use with those of a controller.
func NewPost(open func(context.Context) (Mailer, error), clock Clock, events func(Event)) *Post {
	return &Post{open: open, clock: clock, events: events, wake: make(chan struct{}, 1), fails: map[string]*failure{}}
}

// Saw tells the post what its controller did. It sends while that one is on duty, and at once when there
// may be something new.
func (p *Post) Saw(e Event) {
	p.mu.Lock()
	switch e.Type {
	case Started:
		p.duty = true
	case Standby, Stopped:
		p.duty = false
	}
	p.mu.Unlock()
	switch e.Type {
	case Started, Measured, Decided, Released, Continued:
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// Run sends notices until ctx ends. What could not be sent is sent by the next controller.
func (p *Post) Run(ctx context.Context) {
	defer p.close()
	wait := mailEvery
	for {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-p.wake:
		case <-t.C:
		}
		t.Stop()
		wait = p.round(ctx)
	}
}

// Once sends what there is to send, each once, and returns what failed.
func (p *Post) Once(ctx context.Context) error {
	defer p.close()
	p.round(ctx)
	var all []error
	for _, f := range p.fails {
		all = append(all, f.last)
	}
	return errors.Join(all...)
}

func (p *Post) close() {
	if p.mail != nil {
		_ = p.mail.Close()
	}
}

// round sends what is due, and returns how long to wait.
func (p *Post) round(ctx context.Context) time.Duration {
	p.mu.Lock()
	duty := p.duty
	p.mu.Unlock()
	if !duty {
		return mailEvery
	}
	if wait := p.waits("state"); wait > 0 {
		return wait
	}
	if err := p.send(ctx); err != nil {
		p.fail(ctx, "state", fmt.Errorf("look for notices: %w", err))
		if p.mail != nil {
			_ = p.mail.Close()
			p.mail = nil
		}
	} else {
		p.succeed("state")
	}
	wait := mailEvery
	for key := range p.fails {
		if w := p.waits(key); w > 0 {
			wait = min(wait, w)
		}
	}
	return wait
}

func (p *Post) send(ctx context.Context) (err error) {
	if p.mail == nil {
		if p.mail, err = p.open(ctx); err != nil {
			p.mail = nil
			return err
		}
	}
	all, err := p.mail.Pending(ctx, p.clock.Now())
	if err != nil {
		return err
	}
	var receivers []string
	of := map[string][]Letter{}
	for _, l := range all {
		key := l.Declared + " to " + l.To
		if of[key] = append(of[key], l); len(of[key]) == 1 {
			receivers = append(receivers, key)
		}
	}
	errs := make([]error, len(receivers)+1)
	var wg sync.WaitGroup
	for i, key := range receivers {
		if p.waits(key) == 0 {
			wg.Go(func() { errs[i] = p.deliver(ctx, key, of[key]) })
		}
	}
	if p.waits(alertKey) == 0 {
		wg.Go(func() {
			if err := p.mail.Alert(ctx, p.clock.Now()); err != nil {
				p.fail(ctx, alertKey, err)
			} else {
				p.succeed(alertKey)
			}
		})
	}
	wg.Wait()
	p.mu.Lock()
	for key := range p.fails {
		if key != "state" && key != alertKey && !slices.Contains(receivers, key) {
			delete(p.fails, key) // the receiver is gone, or nothing is left for it
		}
	}
	p.mu.Unlock()
	return errors.Join(errs...)
}

// deliver sends the notices of a receiver in their order, until one cannot be sent.
func (p *Post) deliver(ctx context.Context, key string, all []Letter) error {
	for _, l := range all {
		failed := p.mail.Deliver(ctx, l)
		if ctx.Err() != nil {
			return nil
		}
		settled, err := p.mail.Settle(ctx, l, failed, p.clock.Now())
		if err != nil {
			return err
		}
		if failed == nil {
			p.succeed(key)
			continue
		}
		failed = fmt.Errorf("notice %s of %s to %s: %w", l.Notice.Type, l.Declared, l.To, failed)
		if settled {
			p.say(Event{Type: Failed, Error: failed.Error() + "; it is not sent again"})
			continue
		}
		p.fail(ctx, key, failed)
		return nil
	}
	return nil
}

// waits returns how long something that failed waits for the next attempt.
func (p *Post) waits(key string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.fails[key]; f != nil {
		return max(f.until-p.clock.Elapsed(), 0)
	}
	return 0
}

func (p *Post) fail(ctx context.Context, key string, err error) {
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	f := p.fails[key]
	if f == nil {
		f = &failure{}
		p.fails[key] = f
	}
	wait := f.next(p.clock)
	if key == alertKey && wait > mailEvery { // other Alertmanagers forget alerts that are not repeated
		wait = mailEvery
		f.until = p.clock.Elapsed() + wait
	}
	f.last = err
	p.mu.Unlock()
	p.say(Event{Type: Failed, Error: err.Error(), Retry: wait})
}

func (p *Post) succeed(key string) {
	p.mu.Lock()
	failed := p.fails[key] != nil
	delete(p.fails, key)
	p.mu.Unlock()
	if failed {
		p.say(Event{Type: Recovered, Message: "notices: " + key})
	}
}

func (p *Post) say(e Event) {
	e.Time = p.clock.Now()
	p.events(e)
}
