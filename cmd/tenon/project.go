package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/stdlib/duck/worker"
)

// project returns the engine for the system in dir, with the settings from the command
// line and the environment.
func (a *app) project(dir string) (*project.Project, error) {
	s, err := a.settings(dir)
	if err != nil {
		return nil, err
	}
	return project.New(s), nil
}

func (a *app) settings(dir string) (project.Settings, error) {
	self, err := os.Executable()
	if err != nil {
		return project.Settings{}, fmt.Errorf("find the tenon binary: %w", err)
	}
	env, err := a.environment()
	if err != nil {
		return project.Settings{}, err
	}
	beside := func(name string) string { return filepath.Join(filepath.Dir(self), name) }
	return project.Settings{
		SQL: a.duck, Dir: dir, State: a.stateAt(), Artifacts: cmp.Or(a.store, os.Getenv("TENON_ARTIFACTS")), Tags: a.tags, Env: env,
		Cache: cacheDir(), UV: uvs(beside("../.tools/bin/uv")),
		Config: all.Config{
			Tenon: self, Environ: os.Environ(),
			Programs:          executors.Programs{Serve: executors.ServeAt(cmp.Or(os.Getenv("TENON_SERVE"), beside("tenon-serve")))},
			Runner:            cmp.Or(os.Getenv("TENON_RUN"), beside("tenon-run")),
			Pod:               cmp.Or(os.Getenv("TENON_POD"), beside("tenon-pod")),
			Host:              cmp.Or(os.Getenv("TENON_HOST_PROGRAM"), beside("tenon-host")),
			ContainerdAddress: os.Getenv("CONTAINERD_ADDRESS"), ContainerdNamespace: os.Getenv("CONTAINERD_NAMESPACE"),
			CDI: filepath.SplitList(os.Getenv("TENON_CDI")), // replaces the usual folders
		},
		Notify: a.notify, Faults: injected,
	}, nil
}

// newDuck returns a client of tenon-duck.
func newDuck() *worker.Client {
	program := os.Getenv("TENON_DUCK")
	if self, err := os.Executable(); program == "" && err == nil {
		program = filepath.Join(filepath.Dir(self), worker.Name)
	}
	return worker.New(program)
}

// uvs returns $TENON_UV, or the uv in the path and the one that make installed beside the
// binary.
func uvs(installed string) []string {
	if uv := os.Getenv("TENON_UV"); uv != "" {
		return []string{uv}
	}
	return []string{"uv", installed}
}

// cacheDir is the folder for what all systems of a user share and can be made again.
func cacheDir() string {
	if dir := os.Getenv("TENON_CACHE"); dir != "" {
		return dir
	}
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	return filepath.Join(base, "tenon")
}

// notify prints a notice of the engine.
func (a *app) notify(n project.Notice) {
	if n.Warning {
		n.Text = "tenon: " + n.Text
	}
	fmt.Fprintln(a.stderr, n.Text)
}

// compile compiles the system in dir.
func (a *app) compile(ctx context.Context, dir string) (*compiler.Result, error) {
	p, err := a.project(dir)
	if err != nil {
		return nil, err
	}
	return p.Compile(ctx)
}

// withApplied calls f with the state of the system in dir, which must exist.
func (a *app) withApplied(ctx context.Context, dir string, f func(w *project.Workspace) error) error {
	p, err := a.project(dir)
	if err != nil {
		return err
	}
	return p.WithApplied(ctx, f)
}
