package executors

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// preparers is how many preparations run at once.
const preparers = 4

// A preparation is something that units need before they can start. It takes no resources
// from the pools. A goroutine makes it; only the loop touches the fields, except where
// stated.
type preparation struct {
	name  string
	unit  *ir.Unit // one of those that need it
	image string   // that they run in, by digest
	units []string // all that the plan runs and that need it
	ahead bool     // one of them certainly runs

	// Guarded by the walk's mutex:
	waiting []*work // could start but for this
	missing bool    // does not exist, as far as known

	running bool
	cancel  context.CancelFunc
	began   time.Time
	ready   bool
	err     error         // why it could not be made
	took    time.Duration // 0 if nothing was missing
}

// findPreparations finds what the units that the plan runs need.
func (w *walk) findPreparations(ctx context.Context) {
	x, ok := w.o.Executor.(Preparer)
	if !ok {
		return
	}
	found := map[string]*preparation{}
	for _, n := range w.works {
		if n.unit.Kind == ir.Record || !n.changes() {
			continue
		}
		on := w.image(ctx, n)
		name := x.Prepares(*n.unit, on)
		if name == "" {
			continue
		}
		p := found[name]
		if p == nil {
			p = &preparation{name: name, unit: n.unit, image: on}
			found[name] = p
			w.preparations = append(w.preparations, p)
		}
		p.units = append(p.units, n.unit.ID)
		p.ahead = p.ahead || !n.item.Unless
		n.needs = p
	}
}

// prepareAhead starts what is certainly needed, while earlier units run.
func (w *walk) prepareAhead(ctx context.Context) {
	for _, p := range w.preparations {
		if p.ahead && ctx.Err() == nil {
			w.prepare(ctx, p)
		}
	}
}

// prepare starts a preparation.
func (w *walk) prepare(ctx context.Context, p *preparation) {
	p.running, p.err, p.began = true, nil, w.o.Now()
	ctx, p.cancel = context.WithCancel(ctx)
	w.flying++
	w.making++
	w.setMissing(p, false)
	go func() {
		r := report{made: p}
		r.cause = w.make(ctx, p, func(at step.Progress) {
			r.said = at.Message
			w.events.send(Event{Type: EventPreparing, What: p.name, Units: p.units, Done: at.Done, Total: at.Total, Message: at.Message})
			for _, n := range w.setMissing(p, true) {
				w.reportWaits(n, p)
			}
		})
		if w.isMissing(p) {
			r.wait = w.o.Now().Sub(p.began)
		}
		w.reports <- r
	}()
}

// setMissing records whether a preparation is missing. It returns the waiting units for
// which no event was sent.
func (w *walk) setMissing(p *preparation, missing bool) []*work {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.missing == missing {
		return nil
	}
	p.missing = missing
	return slices.Clone(p.waiting)
}

func (w *walk) isMissing(p *preparation) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return p.missing
}

// awaits makes a unit wait for a preparation.
func (w *walk) awaits(n *work, p *preparation) {
	w.mu.Lock()
	p.waiting = append(p.waiting, n)
	missing := p.missing
	w.mu.Unlock()
	if missing {
		w.reportWaits(n, p)
	}
}

// released removes and returns the units that wait for a preparation.
func (w *walk) released(p *preparation) []*work {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := p.waiting
	p.waiting = nil
	return waiting
}

func (w *walk) reportWaits(n *work, p *preparation) {
	w.events.send(Event{Unit: n.unit.ID, Type: EventProgress, Waits: p.name + " is being prepared"})
}

func (w *walk) make(ctx context.Context, p *preparation, report func(step.Progress)) error {
	select {
	case w.preparers <- struct{}{}:
		defer func() { <-w.preparers }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	t := Task{Unit: *p.unit, Image: p.image}
	if err := w.layCode(ctx, p.unit, &t); err != nil {
		return err
	}
	return w.o.Executor.(Preparer).Prepare(ctx, t, report) //nolint:forcetypeassert // otherwise there are no preparations
}

// made handles the end of a preparation.
func (w *walk) made(ctx context.Context, r report) {
	p := r.made
	dropped := p.cancel == nil
	if !dropped {
		p.cancel()
	}
	w.making--
	p.running, p.ready, p.err = false, r.cause == nil, r.cause
	p.took = r.wait
	if ctx.Err() != nil {
		return // nothing starts any more
	}
	if dropped {
		p.err = nil
		return
	}
	if p.took > 0 || p.err != nil {
		e := Event{Type: EventPrepared, What: p.name, Units: p.units, Duration: w.o.Now().Sub(p.began)}
		if p.err != nil {
			e.Error = p.err.Error()
		} else {
			e.Message = r.said
		}
		w.events.send(e)
	}
	for _, n := range w.released(p) {
		w.queue(ctx, n)
	}
}

// queue queues a unit that has to run, once what it needs is prepared.
func (w *walk) queue(ctx context.Context, n *work) {
	p := n.needs
	switch {
	case p == nil || p.ready || ctx.Err() != nil || w.mayRun(n.unit.ID), p.err != nil && n.audit: // such a unit fails on its own
		w.sched.queue(n.node)
	case p.err != nil:
		w.unprepared(ctx, n, *p)
	default:
		if !p.running {
			w.prepare(ctx, p)
		}
		w.awaits(n, p)
	}
}

// mayRun reports whether a killed apply started a task of the unit that may be adopted.
// Such a task needs no preparation.
func (w *walk) mayRun(unit string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.pending[unit], func(p state.Pending) bool { return p.Handle != nil })
}

// unprepared fails an attempt of a unit whose preparation failed.
func (w *walk) unprepared(ctx context.Context, n *work, p preparation) {
	w.fly(n, func(n *work) report {
		if ctx.Err() != nil {
			return report{work: n, verdict: canceled}
		}
		n.tries++
		c, err := w.open(ctx, n)
		if err != nil {
			w.stop(err)
			return report{work: n, verdict: canceled}
		}
		c.began = p.began
		r := c.fail(ctx, fmt.Errorf("prepare: %w", p.err))
		r.idle = true
		return r
	})
}

// dropPreparations cancels preparations that no unit needs any more: no unit runs, and none
// waits for one.
func (w *walk) dropPreparations() {
	if w.making == 0 || w.flying > w.making {
		return
	}
	for _, p := range w.preparations {
		if len(p.waiting) > 0 {
			return
		}
	}
	for _, p := range w.preparations {
		if p.running && p.cancel != nil {
			p.cancel()
			p.cancel = nil
		}
	}
}
