package lang

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/build"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/stdlib"
)

// A Package is the system's own CUE package, or one that it imports, directly or not.
type Package struct {
	Path  string // "tenon.dev/source"
	Value cue.Value
	// Files is the folder of the package, with everything beside its CUE. For the library
	// it has the structure of the repository, one folder for each component.
	Files fs.FS
	// Dir is that folder on disk, "" for the embedded library.
	Dir string

	sys   *System
	files []*ast.File
}

// Library reports whether the package is part of the embedded library.
func (p Package) Library() bool { return p.Dir == "" }

// Label returns the place of a field's name, by the field's path from the root of the
// package. If the field is not written, it returns the place of the nearest parent that
// is.
func (p Package) Label(label string, path ...string) diag.Span {
	ix := indexFiles(p.files)
	for n := len(path); n > 0; n-- {
		if ds := ix[strings.Join(path[:n], ".")]; len(ds) > 0 {
			return diag.Span{Pos: p.sys.Pos(ds[len(ds)-1].place().Pos()), Label: label}
		}
	}
	return diag.Span{Pos: diag.Pos{File: p.sys.display(p.Dir)}, Label: label}
}

// Package returns the package with an import path, given without its version. It returns
// an error if the system does not import it, or imports several such packages.
func (s *System) Package(path string) (Package, error) {
	insts := s.packages()[path]
	if len(insts) == 0 {
		return Package{}, fmt.Errorf("the package %s is not imported", path)
	}
	if s.cue == nil {
		return Package{}, fmt.Errorf("the package %s is requested after the values were released", path)
	}
	inst := insts[0]
	for _, other := range insts[1:] {
		if other.Dir != inst.Dir {
			return Package{}, fmt.Errorf("the package %s is imported in two versions, %s and %s", path, inst.ModuleVersion.Version(), other.ModuleVersion.Version())
		}
		if other.PkgName != inst.PkgName {
			return Package{}, fmt.Errorf("the folder of %s has two packages that are imported, %s and %s", path, inst.PkgName, other.PkgName)
		}
	}
	p := Package{Path: path, Value: s.cue.BuildInstance(inst), Dir: inst.Dir, sys: s, files: inst.Files}
	if rest, ok := libraryPath(inst.Dir); ok {
		sub, err := fs.Sub(stdlib.Files(), rest)
		if err != nil {
			return Package{}, fmt.Errorf("open the package %s: %w", path, err)
		}
		p.Files, p.Dir = sub, ""
		return p, nil
	}
	p.Files = os.DirFS(inst.Dir)
	return p, nil
}

// libraryPath returns the path within the embedded library of a file or folder.
func libraryPath(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, libraryRoot+string(filepath.Separator))
	return filepath.ToSlash(rest), ok
}

// packages returns the instances behind the system by their import paths. A package that
// is imported in several versions, or by several paths, has several.
func (s *System) packages() map[string][]*build.Instance {
	s.packagesOnce.Do(func() {
		s.byPath = map[string][]*build.Instance{}
		seen := map[*build.Instance]bool{}
		var add func(inst *build.Instance)
		add = func(inst *build.Instance) {
			if seen[inst] {
				return
			}
			seen[inst] = true
			path := barePath(inst.ImportPath)
			s.byPath[path] = append(s.byPath[path], inst)
			for _, i := range inst.Imports {
				add(i)
			}
		}
		add(s.instance)
	})
	return s.byPath
}

// barePath returns an import path without its version and package name:
// "tenon.dev/source@v0:source" becomes "tenon.dev/source".
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
