package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/planner/state"
)

// ErrAgain means that a detached apply has not finished: its Job restarts it.
var ErrAgain = errors.New("the detached apply has not finished")

// A DetachedRun is a detached apply as it runs inside the cluster, where [Session.Detach]
// started it. Close it.
type DetachedRun struct {
	Plan *planner.Plan

	w       *Workspace
	sent    detachedApply
	job     executors.DetachedProgram // or nil
	setup   all.Setup
	lease   *state.Lease
	release func() error
	sources string
}

// OpenDetached fetches the input of the apply, opens its state, and waits for its lock,
// as [Workspace.Lock] does for a command. The request is the digest of the blob in the
// artifact store. Dir of the settings is a folder for this run alone.
func OpenDetached(ctx context.Context, s Settings, request, command string) (_ *DetachedRun, err error) {
	var sent detachedApply
	if err := readDetached(ctx, s.Artifacts, request, &sent); err != nil {
		return nil, errors.Join(err, ErrAgain)
	}
	s.Env = sent.Plan.State.Env
	p := New(s)
	if err := p.reaches(ctx, sent.Plan.State.Lineage); err != nil {
		return nil, err
	}
	w, err := p.Open(ctx)
	if err != nil {
		return nil, errors.Join(err, ErrAgain)
	}
	r := &DetachedRun{Plan: sent.Plan, w: w, sent: sent}
	if err := r.open(ctx, command); err != nil {
		return nil, errors.Join(err, ErrAgain, w.Close())
	}
	return r, nil
}

func (r *DetachedRun) open(ctx context.Context, command string) (err error) {
	below := r.w.dir + "-sources"
	r.sources = filepath.Join(below, r.Plan.Dir)
	if err := r.w.fetchFiles(ctx, r.sent.Files, below, r.sources); err != nil {
		return err
	}
	if r.setup, err = r.w.setup(ctx, r.Plan.System.Name); err != nil {
		return err
	}
	r.setup.Packed = r.sent.Packed
	if x, err := detacher(r.Plan.System.Target, r.setup); err == nil {
		r.job = x.Detached(r.Plan.State.Lineage, r.sent.Revision)
	}
	h := state.Holder{Command: fmt.Sprintf("%s, revision %d", command, r.sent.Revision)}
	if r.lease, err = r.w.store.Lock(ctx, h, state.LockOptions{Wait: -1}); err != nil {
		return err
	}
	r.release = sync.OnceValue(func() error { return r.lease.Release(context.WithoutCancel(ctx)) })
	return nil
}

// Close releases the lock and closes the state.
func (r *DetachedRun) Close() error { return errors.Join(r.release(), r.w.Close()) }

// Leave is for a process that is asked to end. If a user ends the apply, it reports
// false: what runs must be ended in an orderly way. Otherwise only this process is
// stopped; Leave releases the lock, so that the next process continues what runs, and
// reports true. If the cluster cannot be asked, Leave assumes that no user ends the
// apply.
func (r *DetachedRun) Leave(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if r.job != nil {
		if ending, err := r.job.Ending(ctx); err == nil && ending {
			return false
		}
	}
	_ = r.release()
	return true
}

// Apply applies the plan. [ErrAgain] means that it has to be run again.
func (r *DetachedRun) Apply(ctx context.Context, events func(executors.Event)) (*executors.Result, error) {
	s := &Session{r.w, r.lease}
	o, err := s.options(r.Plan.System.Target, r.setup, ApplyOptions{Parallel: r.sent.Parallel, Events: events})
	if err != nil {
		return nil, err
	}
	o.Sources = r.sources
	if err := errors.Join(r.w.artifacts.Look(ctx), r.w.bring(ctx)); err != nil {
		return nil, errors.Join(err, ErrAgain)
	}
	tracker, err := r.w.track(ctx, r.Plan.System, "")
	if err != nil {
		return nil, errors.Join(err, ErrAgain)
	}
	defer tracker.close(ctx)
	if tracker != nil {
		o.Tracker = tracker
	}
	result, err := executors.Apply(ctx, r.Plan, o)
	switch {
	case errors.Is(err, executors.ErrMoved):
		return nil, fmt.Errorf("revision %d is no longer the newest or has finished: %w", r.sent.Revision, err)
	case result == nil || result.Fault != "":
		return nil, errors.Join(err, ErrAgain)
	}
	return result, err
}

// reaches returns an error unless the settings lead to the state of the plan. It does not
// change any other database.
func (p *Project) reaches(ctx context.Context, lineage string) error {
	where := p.set.State
	if !state.IsURL(where) {
		return errors.New("the target's state_secret has no TENON_STATE=postgres://...: add it, and apply again")
	}
	there, err := state.Exists(ctx, where)
	if err != nil {
		return errors.Join(err, ErrAgain)
	}
	found := "no state"
	if there {
		s, err := state.Open(ctx, where)
		if err != nil {
			return errors.Join(err, ErrAgain)
		}
		meta, err := s.Meta(ctx)
		if err := errors.Join(err, s.Close()); err != nil {
			return errors.Join(err, ErrAgain)
		}
		if meta.Lineage == lineage {
			return nil
		}
		found = "another state"
	}
	return fmt.Errorf("TENON_STATE in the target's state_secret is %s, which has %s: it must be the database that the plan was made with, as pods reach it", state.Shown(where), found)
}

// readDetached reads what a detached program was sent.
func readDetached(ctx context.Context, url, digest string, sent any) error {
	store, err := remote.Open(ctx, url)
	if err != nil {
		return err
	}
	text, err := store.Bytes(ctx, artifact.Ref{Digest: digest})
	if err == nil {
		err = json.Unmarshal(text, sent)
	}
	if err = errors.Join(err, store.Close()); err != nil {
		return fmt.Errorf("read what this program was sent: %w", err)
	}
	return nil
}

// fetchFiles fetches data files that were sent into a folder. It is in dir and as deep there as the
// original one, so that relative paths may point outside of it.
func (w *Workspace) fetchFiles(ctx context.Context, files map[string]artifact.Ref, dir, sources string) error {
	if err := os.MkdirAll(sources, 0o755); err != nil {
		return err
	}
	store, err := w.shared.store(ctx)
	if err != nil {
		return err
	}
	for _, f := range slices.Sorted(maps.Keys(files)) {
		to := filepath.Join(sources, filepath.FromSlash(f))
		if rel, err := filepath.Rel(dir, to); err != nil || !filepath.IsLocal(rel) {
			return fmt.Errorf("what was sent is damaged: %q is outside its folder", f)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := store.Get(ctx, files[f], to); err != nil {
			return fmt.Errorf("fetch %s: %w", f, err)
		}
	}
	return nil
}
