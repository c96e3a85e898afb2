package compiler

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/lang/diag"
	"github.com/tenon-ml/tenon/stdlib"
)

// libraryFolder is where the library's own files lie in a unit's code folder,
// apart from the user's.
const libraryFolder = "_tenon"

// python is the code of a component written in Python: its own files, the
// user's, and a locked environment.
func (c *compilation) python(e *entity, component, environment string) ir.Code {
	impl, ok := stdlib.Python(component)
	if !ok {
		c.internal(fmt.Errorf("there is no component %q", component))
		return ir.Code{}
	}
	if impl.Environment != stdlib.ModelEnvironment {
		environment = impl.Environment
	}
	code := ir.Code{Runtime: ir.Python, Python: stdlib.PythonVersion, Command: []string{libraryFolder + "/" + impl.Main}}
	for _, name := range append([]string{impl.Main}, impl.Files...) {
		b, err := stdlib.PythonFile(name)
		if err != nil {
			c.internal(fmt.Errorf("component %s: %w", component, err))
			continue
		}
		code.Files = append(code.Files, ir.CodeFile{Path: libraryFolder + "/" + name, Digest: c.blob(b)})
	}
	code.Lock = c.lock(e, environment)
	return code
}

// environmentOf is the environment that a trainer's model lives in.
func environmentOf(trainer string) string {
	impl, _ := stdlib.Python(trainer)
	return impl.Environment
}

// lock returns the digest of an environment's lock: the library's, or one made
// for it together with the packages that the entity asks for.
func (c *compilation) lock(e *entity, environment string) string {
	base, err := stdlib.Lock(environment)
	if err != nil {
		c.internal(fmt.Errorf("the environment %q: %w", environment, err))
		return ""
	}
	packages := e.strings("packages")
	if len(packages) == 0 {
		return c.blob(base)
	}
	if c.options.Lock == nil {
		c.internal(errors.New("no way to lock Python packages"))
		return ""
	}
	slices.Sort(packages)
	lock, err := c.options.Lock(c.ctx, append(stdlib.Pins(base), packages...))
	if err != nil {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the packages of %s cannot be locked: %v", e, err),
			Spans:   []diag.Span{c.sys.At("", e.path("packages")...)},
		})
		return ""
	}
	return c.blob(lock)
}

// userFiles adds the files that an entity names beside itself: its script and
// whatever it lists under files.
func (c *compilation) userFiles(e *entity, code *ir.Code) {
	if script := e.string("script"); script != "" {
		c.userFile(e, code, script, "script")
	}
	for _, f := range e.strings("files") {
		c.userFile(e, code, f, "files")
	}
	slices.SortFunc(code.Files, func(a, b ir.CodeFile) int { return strings.Compare(a.Path, b.Path) })
	code.Files = slices.CompactFunc(code.Files, func(a, b ir.CodeFile) bool { return a.Path == b.Path })
}

func (c *compilation) userFile(e *entity, code *ir.Code, name, field string) {
	clean := path.Clean(filepath.ToSlash(name))
	refuse := func(message, hint string) {
		c.fail(e, diag.Diagnostic{Message: message, Spans: []diag.Span{c.sys.At("", e.path(field)...)}, Hint: hint})
	}
	if !filepath.IsLocal(name) || strings.HasPrefix(clean+"/", libraryFolder+"/") {
		refuse(fmt.Sprintf("%s names %q, which is not a path below the system's folder", e, name), "move it beside the system")
		return
	}
	full := filepath.Join(c.sys.Dir, filepath.FromSlash(clean))
	if real, err := filepath.EvalSymlinks(full); err == nil {
		c.options.Record.Link(full, real)
		if !c.within(real) {
			refuse(fmt.Sprintf("%s names %q, a link to %s outside the system's folder", e, name, real), "copy the file into the folder")
			return
		}
	}
	info, err := os.Stat(full)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		refuse(fmt.Sprintf("%s names a file %q that is not there", e, name), diag.DidYouMean(name, filesBeside(full)))
		return
	case err != nil:
		refuse(fmt.Sprintf("%s names a file %q that cannot be read: %v", e, name, err), "")
		return
	case info.IsDir():
		c.userFolder(e, code, clean, full, field)
		return
	}
	b, err := os.ReadFile(full)
	if err != nil {
		refuse(fmt.Sprintf("%s names a file %q that cannot be read: %v", e, name, err), "")
		return
	}
	c.options.Record.File(full, b)
	code.Files = append(code.Files, ir.CodeFile{Path: clean, Digest: c.blob(b)})
}

// within reports whether a path without links lies in the system's folder.
func (c *compilation) within(path string) bool {
	dir, err := filepath.EvalSymlinks(c.sys.Dir)
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

func (c *compilation) userFolder(e *entity, code *ir.Code, name, full, field string) {
	entries, err := os.ReadDir(full)
	if err != nil {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s names a folder %q that cannot be read: %v", e, name, err),
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
	c.options.Record.Names(full, names)
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

func (c *compilation) internal(err error) {
	if c.err == nil {
		c.err = fmt.Errorf("compile: %w", err)
	}
}

// params marshals what a component is given.
func params(o object) json.RawMessage { return o.json() }
