package project

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// MoveStateOptions configure [Project.MoveState].
type MoveStateOptions struct {
	Command  string // shown to others that have to wait for the lock
	Wait     time.Duration
	Progress func(what string, done, total int64) // or nil
}

// MoveState moves the state from the folder beside the system to a PostgreSQL database, from
// there to another database, or back. The folder remains where this machine keeps runs and
// artifacts, so what runs goes on. It completes a move to the same place that was interrupted.
func (p *Project) MoveState(ctx context.Context, to string, o MoveStateOptions) (_ *state.Moved, err error) {
	dir, err := p.movable(to)
	if err != nil {
		return nil, err
	}
	p = p.inEnv("")
	from := p.location(dir)
	if there, err := state.Exists(ctx, from); err != nil {
		return nil, err
	} else if !there {
		return nil, fmt.Errorf("nothing has been applied yet: no state in %s", state.Shown(from))
	}
	w, err := p.open(ctx, dir, true)
	if moved := (*state.MovedError)(nil); errors.As(err, &moved) {
		return state.FinishMove(ctx, from, to, moved)
	} else if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	s, err := w.LockAll(ctx, o.Command, o.Wait)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Release(ctx)) }()
	if err := s.settled(ctx); err != nil {
		return nil, err
	}
	if !state.IsURL(to) {
		if err := s.allHere(ctx); err != nil {
			return nil, err
		}
	}
	if p.Shared() {
		err = s.endAllDetached(ctx)
	} else {
		err = s.shareAll(ctx, func(done, total int64) { o.tell("artifacts", done, total) })
	}
	if err != nil {
		return nil, err
	}
	return s.lease.MoveTo(ctx, to, func(done, total int64) { o.tell("rows", done, total) })
}

func (o *MoveStateOptions) tell(what string, done, total int64) {
	if o.Progress != nil {
		o.Progress(what, done, total)
	}
}

// movable returns the folder of this machine's runs, or refuses the direction of a move.
func (p *Project) movable(to string) (string, error) {
	dir, err := p.stateDir()
	if err != nil {
		return "", err
	}
	beside, err := filepath.Abs(filepath.Join(p.set.Dir, ".tenon"))
	if err != nil {
		return "", fmt.Errorf("find the state: %w", err)
	}
	if !state.IsURL(to) && strings.Contains(to, "://") {
		scheme, _, _ := strings.Cut(to, "://")
		return "", &RequestError{fmt.Errorf("a state is a folder or a postgres:// URL: %s:// is not supported", scheme)}
	}
	switch {
	case p.Shared() && state.IsURL(to):
		return dir, nil
	case !p.Shared() && !state.IsURL(to):
		return "", &RequestError{fmt.Errorf("a state moves between a folder and a database, and %s is a folder as well: name the database that it is in with --state, or move the folder %s itself", to, dir)}
	}
	folder := dir
	if p.Shared() {
		if folder, err = filepath.Abs(to); err != nil {
			return "", fmt.Errorf("find the state: %w", err)
		}
	}
	if !sameFolder(folder, beside) {
		if p.Shared() {
			return "", &RequestError{fmt.Errorf("the state can only move to %s, where its runs and artifacts are on this machine, not to %s", beside, folder)}
		}
		return "", &RequestError{fmt.Errorf("the runs and artifacts of a state in a database are in %s, but those of this state are in %s: move it there first", beside, folder)}
	}
	return dir, nil
}

func sameFolder(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return a == b
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// settled returns an error if an apply of any environment has not finished: what it began
// would be continued with the former state.
func (s *Session) settled(ctx context.Context) error {
	envs, err := s.store.Environments(ctx)
	if err != nil {
		return err
	}
	for _, env := range envs {
		in := s.store.In(env)
		pending, err := in.Pending(ctx)
		if err != nil {
			return err
		}
		last, err := in.Revisions(ctx, 1)
		if err != nil {
			return err
		}
		if len(pending) == 0 && (len(last) == 0 || last[0].Outcome != state.Started) {
			if err := unreleased(ctx, in); err != nil {
				return err
			}
			continue
		}
		command := "tenon apply"
		if env != "" {
			command += " -e " + env
		}
		what := ""
		if len(pending) > 0 {
			what = fmt.Sprintf(", and left %s", pending[0].Run.Unit)
		}
		return fmt.Errorf("the state cannot move: an apply has not finished%s: run %s first, or wait for it if it is detached", what, command)
	}
	return nil
}

// unreleased returns an error if a release is in progress: who follows it does not hold the
// lock between its steps.
func unreleased(ctx context.Context, s *state.Store) error {
	current, err := s.Current(ctx)
	if err != nil {
		return err
	}
	for unit, c := range current {
		if r := c.Route; r.Ending() || r.Finishing() || r.Releasing() && !r.Paused {
			return fmt.Errorf("the state cannot move: the release of %s is in progress: wait for its end, or run tenon release pause first", unit)
		}
	}
	return nil
}

// endAllDetached removes what is left in a cluster of the last detached applies: they know the
// place that the state leaves, and with the state in a folder, nobody else would.
func (s *Session) endAllDetached(ctx context.Context) error {
	envs, err := s.store.Environments(ctx)
	if err != nil {
		return err
	}
	for _, env := range envs {
		if err := s.in(env).endDetached(ctx); err != nil {
			return err
		}
	}
	return nil
}

// allHere returns an error if this machine is not where the state can be in a folder: its
// local services run here, and results of what is deployed are here or in the shared store.
func (s *Session) allHere(ctx context.Context) error {
	x, err := route(anyTarget, s.setupApart(), s.set.Faults.Executor)
	if err != nil {
		return err
	}
	if err := s.artifacts.Look(ctx); err != nil {
		return err
	}
	envs, err := s.store.Environments(ctx)
	if err != nil {
		return err
	}
	var away []string
	of := map[string]string{} // units by the digests of their results
	for _, env := range envs {
		in := s.store.In(env)
		current, err := in.Current(ctx)
		if err != nil {
			return err
		}
		for unit, c := range current {
			if c.Kind == ir.Service && c.Handle != nil && !s.remote(*c.Handle) {
				st, err := x.Inspect(ctx, *c.Handle)
				if err != nil {
					return fmt.Errorf("look for %s: %w", unit, err)
				}
				if st.Phase != state.Running && st.Phase != state.Ready { // it died, or runs somewhere else
					away = append(away, unit)
				}
			}
			if c.Run == 0 {
				continue
			}
			run, err := in.Run(ctx, c.Run)
			if err != nil {
				return err
			}
			for _, out := range run.Outputs {
				of[out.Digest] = unit
			}
		}
	}
	if len(away) > 0 {
		slices.Sort(away)
		return fmt.Errorf("the state cannot move to this machine: %s does not run here: move the state on the machine where it runs, or run tenon apply here first", away[0])
	}
	digests := slices.Sorted(maps.Keys(of))
	found := s.artifacts.Present(digests)
	for _, d := range digests {
		if !found[d] {
			return fmt.Errorf("the state cannot move to this machine: the result of %s is not here: name a store that has it with --artifacts, move the state on the machine that has it, or run tenon apply here first", of[d])
		}
	}
	return nil
}

// shareAll copies the artifacts of this machine to the shared store, if there is one, so that
// other machines find them.
func (s *Session) shareAll(ctx context.Context, progress func(done, total int64)) error {
	if s.shared == nil {
		return nil
	}
	if err := s.artifacts.Look(ctx); err != nil {
		return err
	}
	digests, err := s.artifacts.All()
	if err != nil {
		return err
	}
	for i, d := range digests {
		if err := s.artifacts.Share(ctx, d); err != nil {
			return err
		}
		progress(int64(i+1), int64(len(digests)))
	}
	return nil
}
