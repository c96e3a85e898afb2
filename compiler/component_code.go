package compiler

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/stdlib"
)

// A codeOf is the code of a component: its own files and the library files that they
// import, directly or not. It excludes tests, examples and documentation.
type codeOf struct {
	files map[string][]byte // by path in the unit's library folder
	lock  []byte            // of its own environment, or nil
	err   error

	sum    string        // see digest
	listed []ir.CodeFile // see lowerer.listed
}

// sharedPrefix begins the name of every Python module of the library.
const sharedPrefix = "tenon_"

// planePackage is the package of the library that planes run.
const planePackage = "serve/plane"

// enginePackage is the package of the library that runs DuckDB, and onnxPackage the one that runs
// ONNX Runtime.
const (
	enginePackage = "duck/engine"
	onnxPackage   = "serve/plane/onnx"
)

// sources returns the code of the component: Go files if Tenon itself runs it, and all
// other files otherwise. A plane is both: the library's Go files, and its own other ones.
// Faults of the code are returned as a [componentError].
func (c *program) sources(k *component, runtime string) (*codeOf, error) {
	if k.code == nil {
		k.code = &codeOf{files: map[string][]byte{}}
		k.code.err = c.collect(k, runtime)
	}
	return k.code, k.code.err
}

func (c *program) collect(k *component, runtime string) error {
	code := k.code
	if err := c.addFolder(k); err != nil {
		return err
	}
	code.lock = code.files["requirements.lock"]
	maps.DeleteFunc(code.files, func(name string, _ []byte) bool {
		return name == "requirements.lock" || runtime == string(ir.Builtin) != (path.Ext(name) == ".go")
	})
	if len(code.files) == 0 && runtime != string(ir.Command) {
		return &componentError{of: k, message: fmt.Sprintf("has no code in its folder %q", k.folder), hint: "put its main.py there"}
	}
	if runtime == string(ir.Plane) {
		if err := code.addPackage(planePackage); err != nil {
			return err
		}
	}
	if err := code.addImports(k); err != nil {
		return err
	}
	for i := range k.stages {
		if s := &k.stages[i]; (s.Runtime == string(ir.Python) || s.Runtime == string(ir.Plane)) && code.files[s.Main] == nil {
			return &componentError{of: k, message: fmt.Sprintf("has no %s in its folder %q", s.Main, k.folder), hint: diag.DidYouMean(s.Main, code.names())}
		}
	}
	return nil
}

// addFolder adds the files of the component's folder by their relative paths.
func (c *program) addFolder(k *component) error {
	fsys, dir := k.pkg.Files, k.pkg.Dir
	fault := func(format string, args ...any) error {
		return &componentError{of: k, message: fmt.Sprintf(format, args...), hint: "the code of a component is in the folder of its name, next to the CUE files of the package"}
	}
	switch info, err := fs.Lstat(fsys, k.folder); {
	case errors.Is(err, fs.ErrNotExist):
		if dir != "" {
			c.options.Tracker.Absent(filepath.Join(dir, k.folder))
		}
		return nil
	case err != nil:
		return fault("cannot be read: %v", err)
	case !info.IsDir():
		return fault("has a link or a file %q where the folder with its code should be", k.folder)
	}
	return fs.WalkDir(fsys, k.folder, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return fault("cannot be read: %v", err)
		}
		if d.IsDir() {
			if p != k.folder && !isCodeFolder(d.Name()) {
				return fs.SkipDir
			}
			c.trackNames(fsys, dir, p)
			return nil
		}
		if !isCode(d.Name()) {
			return nil
		}
		if d.Type()&fs.ModeSymlink != 0 {
			to, _ := fs.ReadLink(fsys, p)
			return &componentError{of: k, message: fmt.Sprintf("has a link in its code, from %s to %s", p, to), hint: "copy the file: a module cannot contain links"}
		}
		if !d.Type().IsRegular() {
			return fault("has a file %s that is not a regular file", p)
		}
		b, err := fs.ReadFile(fsys, p)
		if err != nil {
			return fault("cannot be read: %v", err)
		}
		c.trackFile(dir, p, b)
		k.code.files[strings.TrimPrefix(p, k.folder+"/")] = b
		return nil
	})
}

func isCodeFolder(name string) bool {
	return name != "testdata" && name != "tests" && name != "example" && name != "__pycache__" && name[0] != '.'
}

// isCode reports whether a file of a component's folder is part of its code.
func isCode(name string) bool {
	switch ext := path.Ext(name); {
	case strings.HasPrefix(name, "."), strings.HasPrefix(name, "test_"), strings.HasSuffix(name, "_test.go"), name == "conftest.py":
		return false
	case ext == ".cue", ext == ".md", ext == ".in", ext == ".pyc":
		return false
	}
	return true
}

// addImports adds files of the library until all imports are resolved.
func (code *codeOf) addImports(k *component) error {
	library := stdlib.Files()
	if !k.pkg.Library() {
		for _, name := range code.names() {
			if found, _ := fs.Glob(library, "lib/*/"+name); len(found) > 0 {
				return &componentError{of: k, message: fmt.Sprintf("has a file %s, which is also the name of a file of the library", name), hint: "rename it: both are copied into the same folder"}
			}
		}
	}
	for todo := code.names(); len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		var patterns []string
		switch path.Ext(name) {
		case ".py":
			for _, module := range pythonImports(string(code.files[name])) {
				if file := module + ".py"; strings.HasPrefix(module, sharedPrefix) && code.files[file] == nil {
					patterns = append(patterns, "lib/*/"+file)
				}
			}
		case ".go":
			for _, p := range goImports(code.files[name]) {
				patterns = append(patterns, p+"/*.go")
			}
		}
		for _, pattern := range patterns {
			found, err := fs.Glob(library, pattern)
			if err != nil {
				return err
			}
			if len(found) == 0 {
				missing := strings.TrimSuffix(strings.TrimPrefix(pattern, "lib/*/"), ".py")
				return &componentError{
					of: k, message: fmt.Sprintf("imports %s in %s, which is neither in its folder nor in the library", missing, name),
					hint: diag.DidYouMean(missing, sharedModules()),
				}
			}
			for _, f := range found {
				key := f
				if path.Ext(f) == ".py" {
					key = path.Base(f)
				}
				if !isCode(path.Base(f)) || code.files[key] != nil {
					continue
				}
				if code.files[key], err = fs.ReadFile(library, f); err != nil {
					return err
				}
				todo = append(todo, key)
			}
		}
	}
	return nil
}

// goImports returns the packages of the library that Go code imports, by their paths in it.
func goImports(src []byte) []string {
	prefix := []byte(`"github.com/tenon-ml/tenon/stdlib/`)
	var found []string
	for {
		at := bytes.Index(src, prefix)
		if at < 0 {
			return found
		}
		line := src[bytes.LastIndexByte(src[:at], '\n')+1 : at]
		src = src[at+len(prefix):]
		// Only a keyword and a name may precede an import on its line: other texts are strings.
		if end := bytes.IndexByte(src, '"'); end > 0 && !bytes.ContainsAny(line, "\"`(,=/") {
			found = append(found, string(src[:end]))
		}
	}
}

// sharedModules returns the names of the library's shared Python modules.
func sharedModules() []string {
	found, _ := fs.Glob(stdlib.Files(), "lib/*/"+sharedPrefix+"*.py")
	for i, f := range found {
		found[i] = strings.TrimSuffix(path.Base(f), ".py")
	}
	return found
}

// addPackage adds the files of a Go package of the library.
func (code *codeOf) addPackage(name string) error {
	found, err := fs.Glob(stdlib.Files(), name+"/*.go")
	for _, f := range found {
		if err == nil && isCode(path.Base(f)) {
			code.files[f], err = fs.ReadFile(stdlib.Files(), f)
		}
	}
	return err
}

// duckDB returns a digest of what tenon-duck adds to a plane.
func (c *program) duckDB() (string, error) {
	code := &codeOf{files: map[string][]byte{}}
	for _, name := range []string{enginePackage, onnxPackage} {
		if err := code.addPackage(name); err != nil {
			return "", err
		}
	}
	if err := code.addImports(&component{}); err != nil {
		return "", err
	}
	return code.digest(), nil
}

// librarySources returns a shared program of the library with what it imports.
func librarySources(program string) (*codeOf, error) {
	library := stdlib.Files()
	found, err := fs.Glob(library, "lib/*/"+program)
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("the library has no program %s", program)
	}
	b, err := fs.ReadFile(library, found[0])
	if err != nil {
		return nil, err
	}
	code := &codeOf{files: map[string][]byte{program: b}}
	return code, code.addImports(&component{})
}

func (code *codeOf) names() []string {
	names := make([]string, 0, len(code.files))
	for n := range code.files {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// digest returns a digest of what Tenon itself runs of the code.
func (code *codeOf) digest() string {
	if code.sum == "" {
		h := sha256.New()
		for _, n := range code.names() {
			if path.Ext(n) != ".go" {
				continue
			}
			sum := sha256.Sum256(code.files[n])
			fmt.Fprintf(h, "%q %x\n", n, sum)
		}
		code.sum = "sha256:" + hex.EncodeToString(h.Sum(nil))
	}
	return code.sum
}

// trackFile and trackNames record what was read of a component that is not embedded.
func (c *program) trackFile(dir, name string, b []byte) {
	if dir == "" {
		return
	}
	full := filepath.Join(dir, filepath.FromSlash(name))
	if real, err := filepath.EvalSymlinks(full); err == nil {
		c.options.Tracker.Link(full, real)
	}
	c.options.Tracker.File(full, b)
}

func (c *program) trackNames(fsys fs.FS, dir, folder string) {
	if dir == "" {
		return
	}
	entries, err := fs.ReadDir(fsys, folder)
	if err != nil {
		return // reported when the folder is read
	}
	var names []string
	for _, e := range entries {
		if fingerprint.Counts(e.Name()) {
			names = append(names, e.Name())
		}
	}
	c.options.Tracker.Names(filepath.Join(dir, filepath.FromSlash(folder)), names)
}
