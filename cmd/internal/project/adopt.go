package project

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/planner/state"
)

// An Adoption is what [Project.Adopt] did.
type Adoption struct {
	Dir    string   `json:"dir"`            // of the state
	From   string   `json:"from,omitempty"` // where the folder was, or what it is a copy of
	Copied bool     `json:"copied"`
	Ended  []string `json:"ended"` // units that ran, sorted
}

// Adopt makes a state folder that was copied, moved or restored from a backup usable where
// it is. It ends what the folder started, except for a copy, whose original continues. It
// returns nil if there is nothing to adopt.
func (p *Project) Adopt(ctx context.Context, command string, wait time.Duration) (_ *Adoption, err error) {
	dir, err := p.stateDir()
	if err != nil {
		return nil, err
	}
	w, err := p.open(ctx, dir, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	var stray *state.StrayError
	switch err := w.store.Bind(ctx, dir); {
	case err == nil:
		return nil, nil
	case !errors.As(err, &stray):
		return nil, err
	}
	s, err := w.LockAll(ctx, command, wait)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Release(ctx)) }()
	done := &Adoption{Dir: dir, From: stray.Copied + stray.Moved, Copied: stray.Copied != "", Ended: []string{}}
	if !done.Copied {
		if done.Ended, err = s.endAll(ctx); err != nil {
			return nil, err
		}
	}
	return done, s.lease.Adopt(ctx, done.Copied)
}

// endAll ends what the state records, and what runs from its folder without being
// recorded. It returns the units.
func (s *Session) endAll(ctx context.Context) ([]string, error) {
	x, err := route(anyTarget, s.setupApart(), s.set.Faults.Executor)
	if err != nil {
		return nil, err
	}
	ended := map[string]bool{}
	end := func(unit string, h state.Handle) error {
		st, err := x.Inspect(ctx, h)
		if err != nil {
			return fmt.Errorf("end %s: %w", unit, err)
		}
		if st.Phase == state.Running || st.Phase == state.Ready {
			ended[unit] = true
		}
		return x.Destroy(ctx, h)
	}
	if l, ok := all.Find[executors.Lister](); ok {
		for _, r := range l.Running(filepath.Join(s.dir, "runs")) {
			if err := end(r.Unit, r.Handle); err != nil {
				return nil, err
			}
		}
	}
	envs, err := s.store.Environments(ctx)
	if err != nil {
		return nil, err
	}
	for _, env := range envs {
		if err := recorded(ctx, s.store.In(env), end); err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(ended)), nil
}

// recorded calls end for what an environment records as deployed or being started.
func recorded(ctx context.Context, s *state.Store, end func(unit string, h state.Handle) error) error {
	current, err := s.Current(ctx)
	if err != nil {
		return err
	}
	for unit, c := range current {
		if c.Handle != nil {
			if err := end(unit, *c.Handle); err != nil {
				return err
			}
		}
	}
	pending, err := s.Pending(ctx)
	if err != nil {
		return err
	}
	for _, p := range pending {
		if p.Handle != nil {
			if err := end(p.Run.Unit, *p.Handle); err != nil {
				return err
			}
		}
	}
	return nil
}
