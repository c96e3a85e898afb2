package project

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Env returns the environment, "" for the one without a name.
func (p *Project) Env() string { return p.set.Env }

// inEnv returns the project with another environment.
func (p *Project) inEnv(env string) *Project {
	s := p.set
	s.Env = env
	return &Project{s}
}

// in returns the workspace as another environment sees it. It needs no Close of its own.
func (w *Workspace) in(env string) *Workspace {
	other := *w
	other.Project, other.store, other.known, other.lastSeen = w.inEnv(env), w.store.In(env), nil, new(lastSeen)
	return &other
}

// WithAll is [Project.WithApplied] for a command that works on all environments, whichever one is
// chosen.
func (p *Project) WithAll(ctx context.Context, f func(w *Workspace) error) error {
	return p.inEnv("").WithApplied(ctx, f)
}

// checkExists returns an error unless something was applied in the environment.
func (w *Workspace) checkExists(ctx context.Context) error {
	if w.set.Env == "" {
		return nil
	}
	envs, err := w.store.Environments(ctx)
	if err != nil || slices.Contains(envs, w.set.Env) {
		return err
	}
	hint := ""
	if envs = envs[1:]; len(envs) > 0 {
		hint = ", only in " + strings.Join(envs, ", ")
	}
	return fmt.Errorf("nothing has been applied yet in the environment %s%s; run tenon apply -e %[1]s", w.set.Env, hint)
}

// deployedAnywhere reports whether anything is deployed in any environment.
func (w *Workspace) deployedAnywhere(ctx context.Context) (bool, error) {
	envs, err := w.store.Environments(ctx)
	if err != nil {
		return false, err
	}
	for _, env := range envs {
		if current, err := w.store.In(env).Current(ctx); err != nil || len(current) > 0 {
			return true, err
		}
	}
	return false, nil
}
