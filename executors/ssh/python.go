package ssh

import (
	"context"
	"errors"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/process"
	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Environments makes Python environments that can be sent to hosts; [pyenv.Env] implements it.
type Environments interface {
	process.Environments
	Portable(ctx context.Context, lock []byte, report func(pyenv.Progress)) (*pyenv.Portable, error)
}

// Python implements [executors.Interpreter]: hosts get the interpreter of this machine, or have to
// have the same version.
func (e *Executor) Python(ctx context.Context, version string, install bool) (string, error) {
	return e.local.Python(ctx, version, install)
}

// Prepares names the Python environment of a unit, or its image, or returns "" if it has none.
func (e *Executor) Prepares(u ir.Unit, image string) string { return e.runner(u).Prepares(u, image) }

// Missing lists the packages of a unit's environment, or returns nil if it is installed here.
func (e *Executor) Missing(u ir.Unit, image string, lock []byte) *planner.Preparation {
	return e.runner(u).Missing(u, image, lock)
}

// Prepare makes the environments of the task's unit here, and lists their files, or makes its image.
// They are sent to a host once there is one with room.
func (e *Executor) Prepare(ctx context.Context, t executors.Task, report func(step.Progress)) error {
	if contained(t.Unit) {
		return e.prepareImage(ctx, t, report)
	}
	if err := e.local.Prepare(ctx, t, report); err != nil {
		return err
	}
	return e.environments(ctx, t, newPrepared(t, ""))
}

// portable returns an environment as hosts get it. One that was made is remembered, because its
// listing is long.
func (e *Executor) portable(ctx context.Context, digest string, lock []byte) (*pyenv.Portable, error) {
	if e.opts.Python == nil {
		return nil, errors.New("this executor has no Python environments, but the unit has a lock")
	}
	e.portables.Lock()
	defer e.portables.Unlock()
	if p := e.portables.made[digest]; p != nil {
		return p, nil
	}
	p, err := e.opts.Python.Portable(ctx, lock, nil)
	if err != nil {
		return nil, err
	}
	if e.portables.made == nil {
		e.portables.made = map[string]*pyenv.Portable{}
	}
	e.portables.made[digest] = p
	return p, nil
}
