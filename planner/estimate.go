package planner

import (
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// guess is the assumed duration of a unit when nothing at all is known. It only serves to
// rank chains by length.
const guess = time.Second

// estimate sets the estimates of the items that change, and of what has to be prepared
// for them.
func (m *maker) estimate(p *Plan) error {
	if !slices.ContainsFunc(p.Items, func(i Item) bool { return i.Action.Changes() && i.Action != Delete }) {
		return nil
	}
	times, err := m.in.State.Estimates(m.ctx)
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	for i := range p.Items {
		it := &p.Items[i]
		ts := times[m.former(it.Unit)]
		if len(ts) == 0 {
			ts = times[it.Unit] // the names in an assumed state are the current ones
		}
		if it.Action.Changes() && it.Action != Delete && len(ts) > 0 {
			it.Estimate = Estimate{Runs: len(ts), Time: median(ts)}
		}
	}
	if m.in.Similar {
		if err := m.resemble(p, times); err != nil {
			return err
		}
	}
	return m.prepare(p)
}

func median(ts []time.Duration) time.Duration {
	ts = slices.Sorted(slices.Values(ts))
	if n := len(ts); n%2 == 0 {
		return ts[n/2-1]/2 + ts[n/2]/2
	}
	return ts[len(ts)/2]
}

// Priorities returns, for every unit of the plan that is not deleted, the length of the
// longest chain of work that starts with it. A walk that takes the largest first follows
// the critical path. A unit that was never run counts with the median of the plan.
func Priorities(p *Plan) map[string]time.Duration {
	var known []time.Duration
	for _, it := range p.Items {
		if it.Estimate.Runs > 0 {
			known = append(known, it.Estimate.Time)
		}
	}
	usual := guess
	if len(known) > 0 {
		usual = median(known)
	}
	out := map[string]time.Duration{}
	for id, c := range chains(p, func(*ir.Unit) time.Duration { return usual }) {
		out[id] = c.time
	}
	return out
}

// A chain is the longest chain that starts with a unit.
type chain struct {
	time time.Duration
	runs int // on which its time is based
}

func chains(p *Plan, unknown func(*ir.Unit) time.Duration) map[string]chain {
	units := make(map[string]*ir.Unit, len(p.Items))
	for i := range p.System.Units {
		units[p.System.Units[i].ID] = &p.System.Units[i]
	}
	out := make(map[string]chain, len(p.Items))
	// Go backwards, so that everything that reads from a unit comes before it. Until a
	// unit is reached, out holds the longest chain behind it.
	for _, it := range slices.Backward(p.Items) {
		u := units[it.Unit]
		if it.Action == Delete || u == nil {
			continue
		}
		c := out[it.Unit]
		if it.Action.Changes() {
			if it.Estimate.Runs > 0 {
				c.time += it.Estimate.Time
			} else {
				c.time += unknown(u)
			}
			c.runs += it.Estimate.Runs
		}
		out[it.Unit] = c
		for _, in := range u.Inputs {
			if !in.Incumbent && (c.time > out[in.Unit].time || c.time == out[in.Unit].time && c.runs > out[in.Unit].runs) {
				out[in.Unit] = c
			}
		}
	}
	return out
}

// busiest returns how long the GPU work takes if no GPU is ever idle: the longest over
// all pools and kinds of slices.
func (p *Plan) busiest() Estimate {
	units := p.units()
	pools := make(map[string]*ir.Pool, len(p.System.Pools))
	for i := range p.System.Pools {
		pools[p.System.Pools[i].Name] = &p.System.Pools[i]
	}
	var most Estimate
	work := map[[2]string]Estimate{}
	for _, it := range p.Items {
		u := units[it.Unit]
		if u == nil || u.Kind != ir.Job || !it.Action.Changes() || pools[u.Pool] == nil {
			continue
		}
		pool := pools[u.Pool]
		parts, has := pool.Parts(u.Draws())
		if has != "" || parts.Count == 0 {
			continue
		}
		of := [2]string{u.Pool, parts.Slice}
		e := work[of]
		e.Time += it.Estimate.Time / time.Duration(pool.PerDevice(parts.Slice)*pool.GPU) * time.Duration(parts.Total())
		e.Runs += it.Estimate.Runs
		if work[of] = e; e.Time > most.Time {
			most = e
		}
	}
	return most
}

// Summary counts what the plan does. Time is the longest chain of work as far as it is
// known, or the work of the GPUs if that is longer, assuming that all inputs change. Its
// Runs is the number of earlier runs behind the estimate.
func (p *Plan) Summary() Summary {
	var s Summary
	for _, it := range p.Items {
		switch it.Action {
		case Run:
			s.Run++
			if it.Unless {
				s.Unless++
			}
		case Reuse:
			s.Reuse++
		case Create:
			s.Create++
		case Update:
			s.Update++
		case Release:
			s.Release++
		case Replace:
			s.Replace++
		case Delete:
			s.Delete++
		case None:
			s.None++
		}
	}
	if !p.Changes() {
		return s
	}
	for _, c := range chains(p, func(*ir.Unit) time.Duration { return 0 }) {
		if c.time > s.Time.Time || c.time == s.Time.Time && c.runs > s.Time.Runs {
			s.Time = Estimate{Runs: c.runs, Time: c.time}
		}
	}
	if e := p.busiest(); e.Time > s.Time.Time {
		s.Time = e
	}
	for _, it := range p.Items {
		if it.Estimate.From != "" {
			s.Similar++
		}
	}
	s.Limit = p.limit()
	return s
}

// limit returns [Summary.Limit].
func (p *Plan) limit() (longest time.Duration) {
	units, unknown := p.units(), false
	for _, it := range p.Items {
		u := units[it.Unit]
		if u == nil || u.Kind != ir.Job || it.Action != Run || it.Estimate.Runs > 0 {
			continue
		}
		if unknown = true; u.Timeout == 0 {
			return 0
		}
	}
	if !unknown {
		return 0
	}
	for _, c := range chains(p, mostTime) {
		longest = max(longest, c.time)
	}
	return longest
}

// mostTime returns how long a job may take with its retries; 0 if it has no timeout, or is no job.
func mostTime(u *ir.Unit) time.Duration {
	if u.Kind != ir.Job {
		return 0
	}
	return scaled(u.Timeout, int64(u.Retries)+1, 1)
}
