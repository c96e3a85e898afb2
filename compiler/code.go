package compiler

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/stdlib"
)

// libraryFolder holds the library's own files in a unit's code folder, apart from the
// user's.
const libraryFolder = "_tenon"

// code returns what a stage runs: the files of its component, and for Python a locked
// environment.
func (c *lowerer) code(e *entity, s *stage, w work) ir.Code {
	code := ir.Code{Runtime: ir.Runtime(w.run.Runtime)}
	if s.Kind == string(ir.Record) {
		code.Runtime = ir.Builtin
		return code
	}
	sources, err := c.sources(w.of, w.run.Runtime)
	if err != nil {
		c.componentFault(e, err)
		return code
	}
	if code.Runtime == ir.Builtin {
		code.Source = sources.digest()
		return code
	}
	if code.Runtime == ir.Plane {
		code.Source = sources.digest()
		if w.run.Request && e.contract != nil && e.contract.needsDuckDB() || c.loadsNative(e, s, w) {
			duck, err := c.duckDB()
			if err != nil {
				c.internal(err)
			}
			code.Runtime, code.Source = ir.PlaneDuckDB, ir.Sum([]byte(code.Source+" "+duck))
		}
		if c.replays(e, w) {
			code.DuckDB = w.run.Queries
		}
		if code.DuckDB != "" && code.Runtime == ir.Plane {
			duck, err := c.duckDB()
			if err != nil {
				c.internal(err)
			}
			code.Source = ir.Sum([]byte(code.Source + " " + duck))
		}
	}
	code.Files = slices.Clone(c.listed(sources))
	if code.Runtime == ir.Command {
		code.Image, code.Command = stringOf(w.fields.at(w.run.Image)), stringsOf(w.fields.at(w.run.Command))
		if len(stringsOf(e.fields.at(w.run.Packages))) > 0 {
			code.Lock, code.Python = c.lock(e, s, w), stdlib.PythonVersion
		}
		return code
	}
	code.Python = stdlib.PythonVersion
	code.Command = []string{libraryFolder + "/" + w.run.Main}
	code.Lock = c.lock(e, s, w)
	return code
}

// listed returns the files of a component, whose content becomes blobs.
func (c *lowerer) listed(sources *codeOf) []ir.CodeFile {
	if sources.listed == nil {
		for _, name := range sources.names() {
			if path.Ext(name) == ".go" {
				continue // it is part of a program
			}
			sources.listed = append(sources.listed, ir.CodeFile{Path: libraryFolder + "/" + name, Digest: c.blob(sources.files[name])})
		}
	}
	return sources.listed
}

func stringsOf(v any) []string {
	l, _ := v.([]any)
	var out []string
	for _, x := range l {
		out = append(out, stringOf(x))
	}
	return out
}

// lock returns the digest of the lock of a stage: the component's, or a new one that also
// covers the packages that the entity requests.
func (c *lowerer) lock(e *entity, s *stage, w work) string {
	owner, base, packages, err := c.environment(e, s, w)
	if err != nil {
		c.componentFault(e, err)
		return ""
	}
	asked := stringsOf(owner.fields.at(packages))
	if packages == "" || len(asked) == 0 {
		return c.blob(base)
	}
	if c.options.Lock == nil {
		c.internal(errors.New("this build cannot lock Python packages"))
		return ""
	}
	if !c.checkPackages(owner, packages, asked, base) {
		return ""
	}
	slices.Sort(asked)
	lock, err := c.options.Lock(c.ctx, append(stdlib.Pins(base), asked...))
	if err != nil {
		c.fail(owner, diag.Diagnostic{
			Message: fmt.Sprintf("cannot lock the packages of %s: %v", owner, err),
			Spans:   []diag.Span{c.sys.At("", owner.path(strings.Split(packages, ".")...)...)},
		})
		return ""
	}
	return c.blob(lock)
}

// environment returns the lock of a stage, the entity whose packages are added to it, and
// the field that lists them.
func (c *lowerer) environment(e *entity, s *stage, w work) (owner *entity, lock []byte, packages string, err error) {
	env := w.run.Environment
	if s.Environment != (environment{}) {
		env = s.Environment
	}
	packages = cmp.Or(s.Packages, w.run.Packages)
	switch {
	case env.Shared != "":
		lock, err = sharedLock(w.of, env.Shared)
		return e, lock, packages, err
	case env.Stage != "":
		return c.environmentOf(e, env.Stage)
	case env.Model != "":
		in := e.input(env.Model)
		if in == nil {
			return e, nil, "", &componentError{of: w.of, message: fmt.Sprintf("uses the environment of the model on the input %q, which does not exist", env.Model)}
		}
		trainer := in.out.entity
		if st := makes(in); st != nil {
			return c.environmentOf(trainer, st.name)
		}
		return e, nil, "", &componentError{of: trainer.component, message: "has no stage that produces its model"}
	}
	sources, err := c.sources(w.of, w.run.Runtime)
	if err == nil && sources.lock == nil {
		err = &componentError{
			of: w.of, message: fmt.Sprintf("has no requirements.lock in its folder %q", w.of.folder),
			hint: `lock its requirements.in, or use a shared environment of the library: environment: shared: "step"`,
		}
	}
	if err != nil {
		return e, nil, "", err
	}
	return e, sources.lock, packages, nil
}

// makes returns the stage that makes the model on an input, or nil.
func makes(in *port) *stage {
	for i := range in.out.entity.component.stages {
		st := &in.out.entity.component.stages[i]
		if slices.ContainsFunc(st.outputs, func(o stageOutput) bool { return o.Out == in.port }) {
			return st
		}
	}
	return nil
}

// loadsNative reports whether a stage uses a model that only a program with C libraries loads.
func (c *lowerer) loadsNative(e *entity, s *stage, w work) bool {
	env := w.run.Environment
	if s.Environment != (environment{}) {
		env = s.Environment
	}
	if env.Model == "" {
		return false
	}
	in := e.input(env.Model)
	if in == nil {
		return false
	}
	st := makes(in)
	return st != nil && st.Loaded.Native
}

// environmentOf returns the environment in which others load what a stage makes.
func (c *lowerer) environmentOf(e *entity, name string) (*entity, []byte, string, error) {
	s := e.component.stage(name)
	if s == nil {
		return e, nil, "", &componentError{of: e.component, message: fmt.Sprintf("has no stage %q", name)}
	}
	w, err := c.work(e, s)
	if err != nil {
		return e, nil, "", err
	}
	if shared := s.Loaded.Shared; shared != "" {
		lock, err := sharedLock(w.of, shared)
		return e, lock, "", err
	}
	return c.environment(e, s, w)
}

// sharedLock returns the lock of an environment of the library.
func sharedLock(of *component, name string) ([]byte, error) {
	lock, err := fs.ReadFile(stdlib.Files(), "lib/"+name+"/requirements.lock")
	if err != nil {
		err = &componentError{of: of, message: fmt.Sprintf("uses the shared environment %q, which the library does not have", name)}
	}
	return lock, err
}

// userFiles adds the files that a field of an entity names.
func (c *lowerer) userFiles(e *entity, code *ir.Code, field string) {
	v := e.fields.at(field)
	if script := stringOf(v); script != "" {
		c.userFile(e, code, script, field)
	}
	for _, f := range stringsOf(v) {
		c.userFile(e, code, f, field)
	}
}

func sortCode(code *ir.Code) {
	slices.SortFunc(code.Files, func(a, b ir.CodeFile) int { return strings.Compare(a.Path, b.Path) })
	code.Files = slices.CompactFunc(code.Files, func(a, b ir.CodeFile) bool { return a.Path == b.Path })
}

func (c *lowerer) userFile(e *entity, code *ir.Code, name, field string) {
	clean := path.Clean(filepath.ToSlash(name))
	refuse := func(message, hint string) {
		c.fail(e, diag.Diagnostic{Message: message, Spans: []diag.Span{c.sys.At("", e.path(field)...)}, Hint: hint})
	}
	if !filepath.IsLocal(name) || strings.HasPrefix(clean+"/", libraryFolder+"/") {
		refuse(fmt.Sprintf("%s refers to %q, which is not a path inside the system's folder", e, name), "move it into that folder")
		return
	}
	full := filepath.Join(c.sys.Dir, filepath.FromSlash(clean))
	if real, err := filepath.EvalSymlinks(full); err == nil {
		c.options.Tracker.Link(full, real)
		if !c.within(real) {
			refuse(fmt.Sprintf("%s refers to %q, a link to %s outside the system's folder", e, name, real), "copy the file into the folder")
			return
		}
	}
	info, err := os.Stat(full)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		refuse(fmt.Sprintf("%s refers to a file %q that does not exist", e, name), diag.DidYouMean(name, filesBeside(full)))
		return
	case err != nil:
		refuse(fmt.Sprintf("%s refers to a file %q that cannot be read: %v", e, name, err), "")
		return
	case info.IsDir():
		c.userFolder(e, code, clean, full, field)
		return
	}
	b, err := os.ReadFile(full)
	if err != nil {
		refuse(fmt.Sprintf("%s refers to a file %q that cannot be read: %v", e, name, err), "")
		return
	}
	c.options.Tracker.File(full, b)
	code.Files = append(code.Files, ir.CodeFile{Path: clean, Digest: c.blob(b)})
}

// within reports whether a path without links is in the system's folder.
func (c *program) within(path string) bool {
	dir, err := filepath.EvalSymlinks(c.sys.Dir)
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

func (c *lowerer) userFolder(e *entity, code *ir.Code, name, full, field string) {
	entries, err := os.ReadDir(full)
	if err != nil {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s refers to a folder %q that cannot be read: %v", e, name, err),
			Spans:   []diag.Span{c.sys.At("", e.path(field)...)},
		})
		return
	}
	var names []string
	for _, f := range entries {
		if fingerprint.Counts(f.Name()) {
			names = append(names, f.Name())
			c.userFile(e, code, path.Join(name, f.Name()), field)
		}
	}
	c.options.Tracker.Names(full, names)
}

// beside reports whether a file of the system's folder exists.
func (c *lowerer) beside(file string) bool {
	full := filepath.Join(c.sys.Dir, filepath.FromSlash(file))
	info, err := os.Stat(full)
	if err != nil {
		c.options.Tracker.Absent(full)
	}
	return err == nil && info.Mode().IsRegular()
}

func filesBeside(full string) []string {
	entries, err := os.ReadDir(filepath.Dir(full))
	if err != nil {
		return nil
	}
	var names []string
	for _, f := range entries {
		if !f.IsDir() {
			names = append(names, f.Name())
		}
	}
	return names
}

func (c *program) internal(err error) {
	if c.err == nil {
		c.err = fmt.Errorf("compile: %w", err)
	}
}
