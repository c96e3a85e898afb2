package planner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// A Recorded is what is recorded of another system, whose jobs those of this one may resemble.
type Recorded struct {
	Of    string // where it is recorded, in the user's words
	Units []*ir.Unit
	Times map[string][]time.Duration // by unit, of its last runs, as [state.Store.Estimates] returns them
	Rows  map[string]int64           // by unit, of the tables that its current run read; 0 is unknown
}

// Remember reads the record of another system from some environments of its state. A unit that several of them have
// is that of the first.
func Remember(ctx context.Context, of string, envs []State) (*Recorded, error) {
	p := &Recorded{Of: of, Rows: map[string]int64{}}
	found := map[string]bool{}
	for _, s := range envs {
		var err error
		if p.Times, err = s.Estimates(ctx); err != nil { // the same in each
			return nil, err
		}
		runs, err := s.CurrentRuns(ctx)
		if err != nil {
			return nil, err
		}
		for id := range p.Times {
			if found[id] {
				continue
			}
			u, err := s.Unit(ctx, id)
			if errors.Is(err, state.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			found[id] = true
			p.Units = append(p.Units, u)
			if run, ok := runs[id]; ok {
				if p.Rows[id], err = rowsRead(ctx, s, run.ID); err != nil {
					return nil, err
				}
			}
		}
	}
	return p, nil
}

// manyAlike is how many similar units are compared by their rows.
const manyAlike = 20

// An alike is a unit with recorded runs that is of the same component and stage as a new one.
type alike struct {
	of    string // the other system that it is of; "" is this one
	unit  string
	times []time.Duration
	rows  int64 // of the tables that its current run read; 0 is unknown
}

// resemble estimates jobs that never ran from the most similar ones that did: of the same component
// and stage, with the same command and files, since a program of the user's may do anything, and with
// the nearest number of rows to read, by which the time is scaled. Where the rows of one of them are
// unknown, the time is not scaled. Other systems count where this one has nothing similar.
func (m *maker) resemble(p *Plan, times map[string][]time.Duration) error {
	units := p.units()
	type kind struct{ component, section, stage, code string }
	kindOf := func(u *ir.Unit) kind {
		entity, stage := ir.SplitID(cmp.Or(u.Parent, u.ID)) // the children of an expansion are alike
		section, _, _ := strings.Cut(entity, "/")
		return kind{u.Component, section, stage, fmt.Sprintf("%q %q", u.Code.Command, u.Code.Files)}
	}
	var known, theirs map[kind][]alike
	for i := range p.Items {
		it := &p.Items[i]
		u := units[it.Unit]
		if u == nil || u.Kind != ir.Job || it.Action != Run || it.Estimate.Runs > 0 {
			continue
		}
		if known == nil { // most plans do not need it
			known, theirs = map[kind][]alike{}, map[kind][]alike{}
			for _, o := range m.in.Others {
				for _, u := range o.Units {
					if ts := o.Times[u.ID]; u.Kind == ir.Job && len(ts) > 0 {
						theirs[kindOf(u)] = append(theirs[kindOf(u)], alike{of: o.Of, unit: u.ID, times: ts, rows: o.Rows[u.ID]})
					}
				}
			}
			for j := range p.System.Units {
				o := &p.System.Units[j]
				if ts := times[m.former(o.ID)]; o.Kind == ir.Job && len(ts) > 0 {
					known[kindOf(o)] = append(known[kindOf(o)], alike{unit: o.ID, times: ts})
				}
			}
		}
		others := known[kindOf(u)]
		if len(others) == 0 {
			others = theirs[kindOf(u)]
		}
		if err := m.estimateLike(it, m.rowsOf(u), others); err != nil {
			return fmt.Errorf("plan: %w", err)
		}
	}
	return nil
}

// estimateLike estimates a job that reads a number of rows from the most similar of some others.
func (m *maker) estimateLike(it *Item, rows int64, others []alike) error {
	if len(others) == 0 {
		return nil
	}
	// Those with many runs come first, then by name, so that the choice is always the same.
	slices.SortFunc(others, func(a, b alike) int {
		return cmp.Or(cmp.Compare(len(b.times), len(a.times)), cmp.Compare(a.unit, b.unit), cmp.Compare(a.of, b.of))
	})
	best := &others[0]
	if rows > 0 {
		for i := range others[:min(len(others), manyAlike)] {
			o := &others[i]
			if o.rows == 0 && o.of == "" {
				var err error
				if o.rows, err = m.rowsRead(o.unit); err != nil {
					return err
				}
			}
			if o.rows > 0 && (best.rows == 0 || ratio(o.rows, rows).Cmp(ratio(best.rows, rows)) < 0) {
				best = o
			}
		}
	}
	it.Estimate = Estimate{Runs: len(best.times), Time: median(best.times), From: best.unit, Of: best.of}
	if rows > 0 && best.rows > 0 {
		it.Estimate.Rows, it.Estimate.FromRows = rows, best.rows
		it.Estimate.Time = scaled(it.Estimate.Time, rows, best.rows)
	}
	return nil
}

// ratio returns how many times one of two positive numbers is the other, at least 1.
func ratio(a, b int64) *big.Rat { return big.NewRat(max(a, b), min(a, b)) }

// scaled returns t times n/d, at most [mostEstimate].
func scaled(t time.Duration, n, d int64) time.Duration {
	r := new(big.Int).Mul(big.NewInt(int64(t)), big.NewInt(n))
	if r.Div(r, big.NewInt(d)); !r.IsInt64() || r.Int64() > int64(mostEstimate) {
		return mostEstimate
	}
	return time.Duration(r.Int64())
}

// mostEstimate is the highest estimate, so that sums of them cannot overflow.
const mostEstimate = 365 * 24 * time.Hour

// rowsOf returns the number of rows that a unit will read, or 0 if that is not known yet.
func (m *maker) rowsOf(u *ir.Unit) (rows int64) {
	for _, in := range u.Inputs {
		if in.Incumbent || in.Kind != ir.Table {
			continue
		}
		a, ok := m.outputs[in.Unit][in.From]
		if !ok || a.Digest == "" || a.Rows == 0 {
			return 0
		}
		rows += a.Rows
	}
	return rows
}

// rowsRead returns the number of rows that the current run of a unit read, or 0 if that is unknown.
func (m *maker) rowsRead(unit string) (int64, error) {
	c, ok := m.currentRuns[unit]
	if !ok {
		return 0, nil
	}
	return rowsRead(m.ctx, m.in.State, c.ID)
}

// rowsRead returns the number of rows that a run read, or 0 if that is unknown.
func rowsRead(ctx context.Context, s State, id int64) (rows int64, err error) {
	run, err := s.Run(ctx, id)
	if errors.Is(err, state.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, digest := range run.Inputs {
		a, err := s.Artifact(ctx, digest)
		if errors.Is(err, state.ErrNotFound) {
			continue // a data file, or an image
		}
		if err != nil {
			return 0, err
		}
		if a.Kind == string(ir.Table) {
			rows += a.Rows
		}
	}
	return rows, nil
}
