package project

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/control"
	"github.com/tenon-ml/tenon/executors"
)

// A ControllerRun is a controller as it runs inside the cluster, where
// [Workspace.DetachController] started it.
type ControllerRun struct {
	Every   time.Duration // between two looks
	Metrics string        // the address at which it answers Prometheus, or ""
	Once    bool          // look once, do what is due, and end

	p        *Project
	parallel int
	program  executors.DetachedProgram // or nil
	engine   atomic.Pointer[controlled]
}

// OpenController fetches what the controller was sent, and checks that it reaches the state. The
// request is the digest of the blob in the artifact store. Dir of the settings is a folder for this
// run alone.
func OpenController(ctx context.Context, s Settings, request string) (*ControllerRun, error) {
	var sent sentController
	if err := readDetached(ctx, s.Artifacts, request, &sent); err != nil {
		return nil, errors.Join(err, ErrAgain)
	}
	below := filepath.Join(s.Dir, "sources")
	s.Dir = filepath.Join(below, sent.Dir)
	s.Env, s.By, s.Packed = sent.Env, sent.By, sent.Packed
	r := &ControllerRun{Every: sent.Every, Once: sent.Once, p: New(s), parallel: sent.Parallel}
	if sent.Metrics != 0 {
		r.Metrics = fmt.Sprintf("0.0.0.0:%d", sent.Metrics) // all addresses of the pod
	}
	if err := r.p.reaches(ctx, sent.Lineage); err != nil {
		return nil, err
	}
	err := r.p.WithApplied(ctx, func(w *Workspace) (err error) {
		if r.program, err = w.controllerThere(ctx); err != nil {
			return err
		}
		return w.fetchFiles(ctx, sent.Files, below, s.Dir)
	})
	if err != nil {
		return nil, errors.Join(err, ErrAgain)
	}
	return r, nil
}

// Project returns what the controller watches.
func (r *ControllerRun) Project() *Project { return r.p }

// Open opens the engine of the controller.
func (r *ControllerRun) Open(ctx context.Context) (control.Engine, error) {
	w, err := r.p.OpenApplied(ctx)
	if err != nil {
		return nil, err
	}
	e := w.controlled(ApplyOptions{Parallel: r.parallel})
	r.engine.Store(e)
	return e, nil
}

// Leave is for a process that is asked to end. If a user ends the controller, or it does nothing, it
// reports false: it ends in an orderly way. Otherwise only its pod is stopped: Leave releases the lock,
// so that the next one continues what runs, and reports true. If the cluster cannot be asked, Leave
// assumes that no user ends it.
func (r *ControllerRun) Leave(ctx context.Context) bool {
	e := r.engine.Load()
	if e == nil || r.program == nil {
		return false
	}
	s := e.session.Load()
	if s == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if ending, err := r.program.Ending(ctx); err == nil && ending {
		return false
	}
	_ = s.Release(ctx)
	return true
}
