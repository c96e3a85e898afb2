package componenttest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/mod/modfile"

	"github.com/tenon-ml/tenon/stdlib"
)

// A Component is what the suite tests.
type Component struct {
	Name   string `json:"name"`   // "source.csv"
	Folder string `json:"folder"` // of its code and its example

	module  string // folder of its module
	library bool   // part of the library, which is embedded in this program
}

// errNone means that a folder contains no component.
var errNone = errors.New("there is no component in it")

// Find returns the components in folders and below them, sorted by name. A component is a
// folder whose name a CUE file in it or beside it states under `components`.
func Find(folders ...string) ([]Component, error) {
	byName := map[string]Component{}
	for _, root := range folders {
		found := 0
		err := filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			if dir != root && skipped(d.Name()) {
				return fs.SkipDir
			}
			c, ok, err := component(dir)
			if err == nil && ok {
				byName[c.Name] = c
				found++
			}
			return err
		})
		if err == nil && found == 0 {
			err = errNone
		}
		if err != nil {
			return nil, fmt.Errorf("look for components in %s: %w", root, err)
		}
	}
	var all []Component
	for _, c := range byName {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Component) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// skipped reports whether a folder never holds components.
func skipped(name string) bool {
	return name[0] == '.' || name == "cue.mod" || name == "testdata" || name == "example" || name == "__pycache__"
}

// component returns the component in the folder dir, if there is one.
func component(dir string) (c Component, ok bool, err error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return c, false, err
	}
	name, pkg := filepath.Base(abs), filepath.Dir(abs)
	for _, in := range []string{abs, pkg} {
		files, err := filepath.Glob(filepath.Join(in, "*.cue"))
		if err != nil {
			return c, false, err
		}
		for _, file := range files {
			if ok, err = states(file, name); err != nil {
				return c, false, err
			}
			if ok {
				return named(dir, name, pkg)
			}
		}
	}
	return c, false, nil
}

// states reports whether a CUE file says `components: NAME:`.
func states(file, name string) (bool, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	if !bytes.Contains(b, []byte("components")) {
		return false, nil
	}
	f, err := parser.ParseFile(file, b)
	if err != nil {
		return false, err
	}
	components := fieldOf(f.Decls, "components")
	return components != nil && fieldOf(components.Elts, name) != nil, nil
}

// fieldOf returns the struct of a field among declarations, or nil.
func fieldOf(decls []ast.Decl, name string) *ast.StructLit {
	for _, d := range decls {
		f, ok := d.(*ast.Field)
		if !ok {
			continue
		}
		if label, _, err := ast.LabelName(f.Label); err != nil || label != name {
			continue
		}
		if s, ok := f.Value.(*ast.StructLit); ok {
			return s
		}
		return &ast.StructLit{}
	}
	return nil
}

// named finds the module of a component, which determines its full name.
func named(dir, name, pkg string) (Component, bool, error) {
	c := Component{Folder: filepath.Clean(dir)}
	for c.module = pkg; ; c.module = filepath.Dir(c.module) {
		file := filepath.Join(c.module, "cue.mod", "module.cue")
		b, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) && c.module != filepath.Dir(c.module) {
			continue
		}
		if err != nil {
			return c, false, fmt.Errorf("find the module of %s: %w", dir, err)
		}
		m, err := modfile.ParseNonStrict(b, file)
		if err != nil {
			return c, false, err
		}
		rel, err := filepath.Rel(c.module, pkg)
		if err != nil {
			return c, false, err
		}
		own, _, _ := strings.Cut(m.Module, "@")
		c.Name = path.Join(own, filepath.ToSlash(rel)) + "." + name
		if m.Module == stdlib.Module {
			c.library, c.Name = true, filepath.ToSlash(rel)+"."+name
		}
		return c, true, nil
	}
}

// embedded returns an error if the folder of a library component differs from what this
// program embeds: the suite would test other code than the folder's.
func (c *Component) embedded() error {
	if !c.library {
		return nil
	}
	abs, err := filepath.Abs(c.Folder)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(c.module, abs)
	if err != nil {
		return err
	}
	for _, dir := range []fs.FS{os.DirFS(c.module), stdlib.Files()} {
		err := fs.WalkDir(dir, filepath.ToSlash(rel), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				if d != nil && d.IsDir() && (d.Name() == "example" || d.Name() == "__pycache__") {
					return fs.SkipDir
				}
				return err
			}
			here, err1 := os.ReadFile(filepath.Join(c.module, filepath.FromSlash(p)))
			held, err2 := fs.ReadFile(stdlib.Files(), p)
			if err1 != nil || err2 != nil || !bytes.Equal(here, held) {
				return fmt.Errorf("%s is not as this program holds it: build tenon again", p)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
