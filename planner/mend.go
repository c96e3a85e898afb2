package planner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

const (
	// mendPause is how long a unit that died again, after it was mended, waits for the next
	// attempt. It doubles with each further one, up to mendLimit.
	mendPause = 10 * time.Second
	mendLimit = 10 * time.Minute
	// steady is how long a unit has to run before it counts as mended: an older attempt does not delay the next one.
	steady = 2 * mendLimit
	// silentFor is how long a service that runs may not answer before it counts as dead: it may only be
	// busy, and replacing it costs more than waiting.
	silentFor = 30 * time.Second
)

// A Fault is a deployed unit that is not as it was applied.
type Fault struct {
	Unit   string        `json:"unit"`
	Why    string        `json:"why"`    // "it failed: exit 1"
	Silent bool          `json:"silent"` // it runs, and does not answer
	For    time.Duration `json:"for_ns"` // how long it has been seen so
}

// A Mended is an attempt to mend a unit.
type Mended struct {
	Unit string
	Ago  time.Duration // since it began; never negative
}

// A MendDecision says whether a unit is mended now.
type MendDecision struct {
	Mend   bool
	Wait   time.Duration // otherwise: how long to wait at most before the next look
	Reason string
}

// DecideMend decides whether to mend a unit now, given the earlier attempts, newest first. The first attempt
// is made at once. A unit that dies again and again waits 10 s, 20 s, and so on up to 10 min. It is
// pure and knows no clock, only how long ago things happened, so that a clock that is set does not
// matter.
func DecideMend(f Fault, past []Mended) MendDecision {
	if f.Silent && f.For < silentFor {
		return MendDecision{Wait: silentFor - f.For, Reason: "it may be busy: " + f.Why}
	}
	tries, before := 0, time.Duration(0)
	var last time.Duration
	for _, m := range past {
		if m.Unit != f.Unit {
			continue
		}
		if m.Ago-before > steady {
			break
		}
		if tries == 0 {
			last = m.Ago
		}
		tries, before = tries+1, m.Ago
	}
	if tries == 0 {
		return MendDecision{Mend: true, Reason: f.Why}
	}
	pause := min(mendPause<<min(tries-1, 10), mendLimit)
	if last < pause {
		return MendDecision{Wait: pause - last, Reason: fmt.Sprintf("%s; %s, the next one is %s after the last", f.Why, attempts(tries), length(pause))}
	}
	return MendDecision{Mend: true, Reason: fmt.Sprintf("%s, after %s", f.Why, attempts(tries))}
}

func attempts(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return fmt.Sprintf("%d attempts", n)
}

// PlanMend returns the plan that makes units again as they were applied, from what they read then:
// services that do not run and records that were lost. sys is what was applied last. The plan has no
// other units; it runs no job and reads no source. A unit that is as it was applied is not in the
// plan, and neither is one that is no longer declared, or whose release is about to end, because the
// end starts it again.
func PlanMend(ctx context.Context, sys *ir.System, units []string, in Inputs) (*Plan, error) {
	m := newMaker(ctx, in)
	p, err := m.mend(sys, units)
	if err != nil {
		return nil, fmt.Errorf("plan a repair: %w", err)
	}
	return p, nil
}

func (m *maker) mend(sys *ir.System, units []string) (*Plan, error) {
	meta, err := m.in.State.Meta(m.ctx)
	if err != nil {
		return nil, err
	}
	some := *sys
	some.Units, some.Moved = nil, nil
	for _, id := range units {
		if sys.Unit(id) == nil {
			continue
		}
		u, err := m.in.State.Unit(m.ctx, id)
		if errors.Is(err, state.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		some.Units = append(some.Units, *u)
	}
	if err := m.load(withoutFiles(&some)); err != nil {
		return nil, err
	}
	p := m.plan(sys, meta)
	for i := range some.Units {
		u := &some.Units[i]
		c, ok := m.current[u.ID]
		if !ok || c.Route.Ending() || c.Route.Finishing() {
			continue
		}
		l := look{u: u, current: &c, key: c.Key}
		dead := m.dead(&l)
		if dead == nil {
			continue
		}
		if u.Kind == ir.Record {
			if err := m.readsAsThen(u, c); err != nil {
				return nil, err
			}
		}
		p.Items = append(p.Items, Item{
			Unit: u.ID, Kind: u.Kind, Action: m.again(&l), Key: c.Key, Reasons: dead, Pinned: &state.Pinned{Unit: *u, Run: c.Run},
		})
	}
	return p, errors.Join(m.estimate(p), m.price(p))
}

// readsAsThen returns an error unless what a record reads is what it read when it was written: it is written
// from what is current.
func (m *maker) readsAsThen(u *ir.Unit, c state.Current) error {
	run, err := m.in.State.Run(m.ctx, c.Run)
	if err != nil {
		return fmt.Errorf("%s: %w", u.ID, err)
	}
	for _, in := range u.Inputs {
		if now := m.currentRuns[in.Unit].Outputs[in.From].Digest; in.Kind != ir.EndpointOf && run.Inputs[in.Port] != now {
			return fmt.Errorf("%s was lost, and %s, from which it is written, has changed since: tenon apply writes it again", u.ID, in.Unit)
		}
	}
	return nil
}
