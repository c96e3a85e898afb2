package project

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/planner/state"
)

// A Workspace is an open state with its artifacts. Close it.
type Workspace struct {
	*Project
	dir       string // of the state
	store     *state.Store
	artifacts *artifact.Store
	shared    *shared        // or nil
	known     *planner.Known // of the state, read ahead, or nil
	lastSeen  *lastSeen
	measurer  *measurer // of a controller, or nil
	choosing  *choosing // of the last plan for a choice of targets, or nil
	// causes has what was read of documents that never change: a *planner.Cause by the digest of
	// the plan, and a key by its [listedUnit].
	causes *sync.Map
	acts   *actCounter
}

// Open opens the state, and creates it if it does not exist.
func (p *Project) Open(ctx context.Context) (*Workspace, error) {
	dir, err := p.stateDir()
	if err != nil {
		return nil, err
	}
	return p.open(ctx, dir, true)
}

// CompileAndOpen compiles the system for a plan, and opens the state. A state in a folder is
// opened, and read for the plan, while the system is compiled.
func (p *Project) CompileAndOpen(ctx context.Context) (*compiler.Result, *Workspace, error) {
	ahead := false
	if !p.Shared() {
		ahead, _ = p.hasState(ctx) // Open reports the error
	}
	if !ahead { // a faulty system makes no state
		r, err := p.Compile(ctx)
		if err != nil {
			return nil, nil, err
		}
		w, err := p.Open(ctx)
		return r, w, err
	}
	var w *Workspace
	var openErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		if w, openErr = p.Open(ctx); openErr == nil {
			w.known, openErr = planner.Know(ctx, w.store)
		}
	})
	r, err := p.Compile(ctx)
	wg.Wait()
	if err == nil {
		err = openErr
	}
	if err == nil {
		return r, w, nil
	}
	if w != nil {
		if closeErr := w.Close(); closeErr != nil {
			err = errors.Join(err, closeErr)
		}
	}
	return nil, nil, err
}

// open opens the state whose folder is dir. With bound unset, the folder may belong
// somewhere else.
func (p *Project) open(ctx context.Context, dir string, bound bool) (*Workspace, error) {
	store, err := p.openState(ctx, dir, bound)
	if err != nil {
		return nil, err
	}
	w := &Workspace{Project: p, dir: dir, store: store, causes: new(sync.Map), acts: new(actCounter), lastSeen: new(lastSeen)}
	folder := filepath.Join(dir, "artifacts")
	if url := p.set.Artifacts; url == "" {
		w.artifacts, err = artifact.Open(folder)
	} else if err = remote.Check(url); err == nil {
		w.shared = &shared{url: url}
		w.artifacts, err = artifact.OpenShared(folder, w.shared)
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	store.OnWrite = p.set.Faults.OnWrite
	return w, nil
}

// OpenApplied opens an existing environment of an existing state.
func (p *Project) OpenApplied(ctx context.Context) (*Workspace, error) {
	dir, err := p.stateDir()
	if err != nil {
		return nil, err
	}
	where := p.location(dir)
	if there, err := state.Exists(ctx, where); err != nil {
		return nil, err
	} else if !there {
		return nil, fmt.Errorf("nothing has been applied yet: no state in %s; run tenon apply", state.Shown(where))
	}
	w, err := p.Open(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.checkExists(ctx); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// WithApplied calls f with an existing state, and closes it.
func (p *Project) WithApplied(ctx context.Context, f func(w *Workspace) error) error {
	w, err := p.OpenApplied(ctx)
	if err != nil {
		return err
	}
	return errors.Join(f(w), w.Close())
}

// hasState reports whether there is a state to open.
func (p *Project) hasState(ctx context.Context) (bool, error) {
	dir, err := p.stateDir()
	if err != nil {
		return false, err
	}
	return state.Exists(ctx, p.location(dir))
}

// Close closes the state and the artifact store.
func (w *Workspace) Close() error {
	return errors.Join(w.measurer.close(), w.store.Close(), w.shared.close())
}

// openState opens the state whose folder is dir.
func (p *Project) openState(ctx context.Context, dir string, bound bool) (*state.Store, error) {
	store, err := state.OpenIn(ctx, p.location(dir), p.set.Env)
	if err == nil && bound {
		if err = store.Bind(ctx, dir); err != nil {
			err = errors.Join(err, store.Close())
		}
	}
	lost, damaged := (*state.LostError)(nil), (*state.DamagedError)(nil)
	if errors.As(err, &lost) || errors.As(err, &damaged) {
		return nil, fmt.Errorf("%w%s", err, stillRunning(dir))
	}
	return store, err
}

// stillRunning describes what runs although no state records it.
func stillRunning(stateDir string) string {
	l, ok := all.Find[executors.Lister]()
	if !ok {
		return ""
	}
	running := l.Running(filepath.Join(stateDir, "runs"))
	if len(running) == 0 {
		return ""
	}
	slices.SortFunc(running, func(a, b executors.Running) int { return a.PID - b.PID })
	var units, groups []string
	for _, r := range running {
		units = append(units, r.Unit)
		groups = append(groups, fmt.Sprint(-r.PID))
	}
	return fmt.Sprintf("\n  still running: %s; stop them with kill -- %s", strings.Join(units, ", "), strings.Join(groups, " "))
}

// shared is an artifact store that is opened on first use: many calls only read the
// state.
type shared struct {
	url  string
	mu   sync.Mutex
	open *remote.Store
}

func (s *shared) store(ctx context.Context) (*remote.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != nil {
		return s.open, nil
	}
	var err error
	s.open, err = remote.Open(ctx, s.url)
	return s.open, err
}

func (s *shared) Put(ctx context.Context, path string) (artifact.Ref, error) {
	r, err := s.store(ctx)
	if err != nil {
		return artifact.Ref{}, err
	}
	return r.Put(ctx, path)
}

func (s *shared) Fetch(ctx context.Context, digest, to string) error {
	r, err := s.store(ctx)
	if err != nil {
		return err
	}
	return r.Fetch(ctx, digest, to)
}

func (s *shared) All(ctx context.Context) ([]string, error) {
	r, err := s.store(ctx)
	if err != nil {
		return nil, err
	}
	return r.All(ctx)
}

func (s *shared) PutNote(ctx context.Context, name string, b []byte) error {
	r, err := s.store(ctx)
	if err != nil {
		return err
	}
	return r.PutNote(ctx, name, b)
}

func (s *shared) Note(ctx context.Context, name string) ([]byte, error) {
	r, err := s.store(ctx)
	if err != nil {
		return nil, err
	}
	return r.Note(ctx, name)
}

func (s *shared) close() error {
	if s == nil || s.open == nil {
		return nil
	}
	return s.open.Close()
}
