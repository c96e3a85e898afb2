package project

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib"
)

// A Project is a system in a folder. It holds nothing open.
type Project struct{ set Settings }

// New returns the project for the settings. It does not access anything yet.
func New(s Settings) *Project {
	if s.Dir == "" {
		s.Dir = "."
	}
	s.Programs.Duck = s.SQL.Program
	return &Project{s}
}

// in returns the project in another folder with the same settings.
func (p *Project) in(dir string) *Project {
	s := p.set
	s.Dir = dir
	return &Project{s}
}

// stateDir returns the folder of the state, absolute. If the state is in a database, the
// folder holds everything else: artifacts, runs, caches.
func (p *Project) stateDir() (string, error) {
	dir := p.set.State
	switch {
	case dir == "" || state.IsURL(dir):
		dir = filepath.Join(p.set.Dir, ".tenon")
	case strings.Contains(dir, "://"):
		scheme, _, _ := strings.Cut(dir, "://")
		return "", &RequestError{fmt.Errorf("a state is a folder or a postgres:// URL: %s:// is not supported", scheme)}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the state: %w", err)
	}
	return abs, nil
}

// location returns the location of the state itself, for [state.Open].
func (p *Project) location(stateDir string) string {
	if p.Shared() {
		return p.set.State
	}
	return stateDir
}

// Shared reports whether the state is in a database, where other machines can reach it.
func (p *Project) Shared() bool { return state.IsURL(p.set.State) }

// environments returns the Python environments that all systems of a user share.
func (p *Project) environments() *pyenv.Env {
	return pyenv.New(pyenv.Options{
		Dir: filepath.Join(p.set.Cache, "python"), UV: p.set.uv(), Sizes: func() map[string]int64 { return stdlib.WheelSizes(runtime.GOARCH) },
	})
}

// images returns the image store that all systems of a user share. The folder hosts
// configures how it reaches registries.
func (p *Project) images(hosts string) *image.Store {
	return image.New(image.Options{Dir: filepath.Join(p.set.Cache, "images"), Hosts: hosts, Credentials: all.Credentials, UV: p.set.uv(), Log: notices{&p.set}})
}

// imagesOf returns the image store with a target's configuration of registries.
func (p *Project) imagesOf(t ir.Target) *image.Store {
	x, err := all.New(t, all.Setup{})
	if r, ok := x.(executors.ImageRunner); err == nil && ok {
		return p.images(r.RegistryHosts())
	}
	return p.images("")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
