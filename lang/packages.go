package lang

import (
	"io/fs"
	"os"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/build"

	"github.com/tenon-ml/tenon/stdlib"
)

// A Package is a CUE package that the system imports, directly or not, or the
// system's own.
type Package struct {
	Path  string // "tenon.dev/source"
	Value cue.Value
	// Files is the folder of the package, with all that is beside its CUE. The
	// library's is as in its repository, one folder for each component.
	Files fs.FS
	// Dir is that folder on disk, "" for the embedded library.
	Dir string
}

// Package returns the package with an import path, without its version.
func (s *System) Package(path string) (Package, bool) {
	inst := s.packages()[path]
	if inst == nil {
		return Package{}, false
	}
	p := Package{Path: path, Value: s.cue.BuildInstance(inst), Dir: inst.Dir}
	if rest, ok := strings.CutPrefix(path, libraryName+"/"); ok {
		sub, err := fs.Sub(stdlib.Files(), rest)
		if err != nil {
			return Package{}, false
		}
		p.Files, p.Dir = sub, ""
		return p, true
	}
	p.Files = os.DirFS(inst.Dir)
	return p, true
}

// packages are the instances behind the system by their import paths.
func (s *System) packages() map[string]*build.Instance {
	s.packagesOnce.Do(func() {
		s.byPath = map[string]*build.Instance{}
		var add func(inst *build.Instance)
		add = func(inst *build.Instance) {
			path := barePath(inst.ImportPath)
			if s.byPath[path] != nil {
				return
			}
			s.byPath[path] = inst
			for _, i := range inst.Imports {
				add(i)
			}
		}
		add(s.instance)
	})
	return s.byPath
}

// barePath is an import path without its version and package name:
// "tenon.dev/source@v0:source" is "tenon.dev/source".
func barePath(p string) string {
	p, _, _ = strings.Cut(p, ":")
	module, rest, versioned := strings.Cut(p, "@")
	if !versioned {
		return p
	}
	if _, sub, ok := strings.Cut(rest, "/"); ok {
		return module + "/" + sub
	}
	return module
}
