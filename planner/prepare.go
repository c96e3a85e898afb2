package planner

import (
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A Preparation is something to make before units can start, once for all of them, such
// as a Python environment. It is informational: an apply checks again.
type Preparation struct {
	What     string    `json:"what"` // "Python environment"
	Units    []string  `json:"units"`
	Packages []Package `json:"packages,omitempty"`
	Problem  string    `json:"problem,omitempty"`  // why it cannot be made here, and what to do
	Optional bool      `json:"optional,omitempty"` // perhaps none of the units has to run
	// Estimate is how long it took last time, if that is known from one of the units.
	Estimate Estimate `json:"estimate,omitzero"`
}

// A Package is part of a preparation. Preparations share packages of the same name.
type Package struct {
	Name  string `json:"name"`            // with the version: "numpy==2.4.6"
	Bytes int64  `json:"bytes,omitempty"` // to download, unless cached; 0 if unknown
}

// A Preparer knows what has to be prepared before units can start.
type Preparer interface {
	// Prepares names what a unit that runs in the image needs prepared, or returns "" if
	// it needs nothing. Preparations with the same name are made once.
	Prepares(u ir.Unit, image string) string
	// Missing returns what has to be prepared, or nil if it exists or is unknown. lock is
	// the text of the unit's lock. Units and Estimate are left empty.
	Missing(u ir.Unit, image string, lock []byte) *Preparation
}

// Missing lists what has to be prepared for a plan, in the order of its units.
func Missing(p *Plan, x Preparer) []Preparation {
	var all []*Preparation
	made := map[string]*Preparation{}
	units := make(map[string]*ir.Unit, len(p.System.Units))
	for i := range p.System.Units {
		units[p.System.Units[i].ID] = &p.System.Units[i]
	}
	for _, it := range p.Items {
		u := units[it.Unit]
		if u == nil || u.Kind == ir.Record || !it.Action.Changes() && !it.Audit {
			continue
		}
		name := x.Prepares(*u, p.Image(u))
		lock, there := p.Blobs[u.Code.Lock]
		if name == "" || u.Code.Lock != "" && !there {
			continue
		}
		missing, seen := made[name]
		if !seen {
			if missing = x.Missing(*u, p.Image(u), lock); missing != nil {
				missing.Optional = true
				all = append(all, missing)
			}
			made[name] = missing
		}
		if missing != nil {
			missing.Units = append(missing.Units, u.ID)
			missing.Optional = missing.Optional && it.Unless
		}
	}
	out := make([]Preparation, len(all))
	for i, m := range all {
		out[i] = *m
	}
	return out
}

// prepare lists what the plan has to prepare, with estimates from earlier applies.
func (m *maker) prepare(p *Plan) error {
	if m.in.Preparer == nil {
		return nil
	}
	if p.Prepare = Missing(p, m.in.Preparer); len(p.Prepare) == 0 {
		return nil
	}
	times, err := m.in.State.PrepareTimes(m.ctx)
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	for i := range p.Prepare {
		e := &p.Prepare[i].Estimate
		for _, unit := range p.Prepare[i].Units {
			if t := times[m.former(unit)]; t > 0 {
				e.Runs, e.Time = e.Runs+1, max(e.Time, t)
			}
		}
	}
	return nil
}

// A PrepareSummary summarizes what a plan has to prepare.
type PrepareSummary struct {
	Count    int           `json:"count"`
	Packages int           `json:"packages"` // each counted once
	Bytes    int64         `json:"bytes"`    // to download at most, over packages of known size
	Unsized  int           `json:"unsized"`  // packages of unknown size
	Time     time.Duration `json:"time_ns"`  // of the longest, if known for all
}

// Preparing summarizes what the plan has to prepare.
func (p *Plan) Preparing() PrepareSummary {
	s := PrepareSummary{Count: len(p.Prepare)}
	seen := map[Package]bool{}
	for _, prep := range p.Prepare {
		for _, pkg := range prep.Packages {
			if seen[pkg] {
				continue
			}
			seen[pkg] = true
			s.Packages++
			if s.Bytes += pkg.Bytes; pkg.Bytes == 0 {
				s.Unsized++
			}
		}
		s.Time = max(s.Time, prep.Estimate.Time)
	}
	if slices.ContainsFunc(p.Prepare, func(p Preparation) bool { return p.Estimate.Runs == 0 }) {
		s.Time = 0
	}
	return s
}
