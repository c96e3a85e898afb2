package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local/disk"
	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Environments makes and finds Python environments; [pyenv.Env] implements it.
type Environments interface {
	Ensure(ctx context.Context, lock []byte, report func(pyenv.Progress)) (python string, err error)
	Missing(lock []byte) *pyenv.Missing
	Version(ctx context.Context, install bool) (string, error)
}

// Python implements [executors.Interpreter]. There is one interpreter, whose version is
// that of all locks.
func (e *Executor) Python(ctx context.Context, _ string, install bool) (string, error) {
	if e.opts.Python == nil {
		return "", nil
	}
	return e.opts.Python.Version(ctx, install)
}

// Prepares names the Python environment of a unit, or returns "" if it has none.
func (e *Executor) Prepares(u ir.Unit, _ string) string {
	if u.Code.Lock == "" || u.Code.Runtime == ir.Builtin || e.opts.Python == nil {
		return ""
	}
	digest := strings.TrimPrefix(u.Code.Lock, "sha256:")
	return "Python environment " + digest[:min(8, len(digest))]
}

// Missing lists the packages of a unit's environment, or returns nil if it is installed.
func (e *Executor) Missing(u ir.Unit, image string, lock []byte) *planner.Preparation {
	m := e.opts.Python.Missing(lock)
	if m == nil {
		return nil
	}
	p := &planner.Preparation{What: e.Prepares(u, image)}
	if m.Problem != nil {
		p.Problem = m.Problem.Error()
	}
	for _, pkg := range m.Packages {
		p.Packages = append(p.Packages, planner.Package{Name: pkg.Name, Bytes: pkg.Bytes})
	}
	return p
}

// Prepare makes the environment of the task's unit.
func (e *Executor) Prepare(ctx context.Context, t executors.Task, report func(step.Progress)) error {
	var last pyenv.Progress
	_, err := e.python(ctx, t.Lock, func(p pyenv.Progress) { last = p; report(progress(p)) })
	if err == nil && last.Packages > 0 {
		text := count(last.Packages, "package")
		if last.Bytes > 0 {
			text += fmt.Sprintf(", %s downloaded", disk.Size(last.Bytes))
		}
		report(step.Progress{Done: 1, Total: 1, Message: text})
	}
	return err
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// interpreters returns those of the further environments of a task, by the digests of their
// locks.
func (e *Executor) interpreters(ctx context.Context, t executors.Task) (map[string]string, error) {
	if len(t.Environments) == 0 {
		return nil, nil
	}
	if e.opts.Python == nil {
		return nil, errors.New("this executor has no Python environments, but the unit has a lock")
	}
	all := map[string]string{}
	for digest, lock := range t.Environments {
		python, err := e.python(ctx, lock, nil)
		if err != nil {
			return nil, err
		}
		all[digest] = python
	}
	return all, nil
}

// python returns the interpreter of the environment that a file locks.
func (e *Executor) python(ctx context.Context, lockPath string, report func(pyenv.Progress)) (string, error) {
	lock, err := os.ReadFile(lockPath)
	if err != nil {
		return "", fmt.Errorf("read the lock of the Python environment: %w", err)
	}
	return e.opts.Python.Ensure(ctx, lock, report)
}

// progress converts the progress of an environment: in bytes during the download, then in
// modules.
func progress(p pyenv.Progress) step.Progress {
	packages := "packages"
	if p.Packages > 0 {
		packages = count(p.Packages, "package")
	}
	switch p.Stage {
	case pyenv.Waiting:
		return step.Progress{}
	case pyenv.Compiling:
		return step.Progress{Done: float64(p.Files), Total: float64(p.AllFiles), Message: fmt.Sprintf("compiling %s: %d of %d modules", packages, p.Files, p.AllFiles)}
	}
	text := "installing " + packages
	if p.Total > 0 {
		text += fmt.Sprintf(": %s of %s downloaded", disk.Size(p.Bytes), disk.Size(p.Total))
	}
	return step.Progress{Done: float64(p.Bytes), Total: float64(p.Total), Message: text}
}
