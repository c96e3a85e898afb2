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

// A Project is a system in a folder. Nothing of it is open.
type Project struct{ set Settings }

// New returns the project that the settings say. It looks at nothing yet.
func New(s Settings) *Project {
	if s.Dir == "" {
		s.Dir = "."
	}
	s.Duck = s.SQL.Program
	return &Project{s}
}

// in is the project of another folder with the same settings.
func (p *Project) in(dir string) *Project {
	s := p.set
	s.Dir = dir
	return &Project{s}
}

// stateDir is the folder of the state, absolute. If the state is in a database, everything
// else is there: artifacts, runs, caches.
func (p *Project) stateDir() (string, error) {
	dir := p.set.State
	switch {
	case dir == "" || state.IsURL(dir):
		dir = filepath.Join(p.set.Dir, ".tenon")
	case strings.Contains(dir, "://"):
		scheme, _, _ := strings.Cut(dir, "://")
		return "", &RequestError{fmt.Errorf("a state is kept in a folder or at postgres://...: %s:// is neither", scheme)}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the state: %w", err)
	}
	return abs, nil
}

// record is where the state itself is, for [state.Open].
func (p *Project) record(stateDir string) string {
	if p.Shared() {
		return p.set.State
	}
	return stateDir
}

// Shared reports whether the state is in a database, where other machines reach it.
func (p *Project) Shared() bool { return state.IsURL(p.set.State) }

// environments are the Python environments that all systems of a user share.
func (p *Project) environments() *pyenv.Env {
	return pyenv.New(pyenv.Options{
		Dir: filepath.Join(p.set.Cache, "python"), UV: p.set.uv(), Sizes: func() map[string]int64 { return stdlib.WheelSizes(runtime.GOARCH) },
	})
}

// images is the store of images that all systems of a user share. It reaches registries as
// the folder hosts says.
func (p *Project) images(hosts string) *image.Store {
	return image.New(image.Options{Dir: filepath.Join(p.set.Cache, "images"), Hosts: hosts, UV: p.set.uv(), Log: notices{&p.set}})
}

// imagesOf is the store of images as a target reaches registries.
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
