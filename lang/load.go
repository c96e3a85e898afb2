package lang

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/inject/embed"
	"cuelang.org/go/cue/load"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/internal/protect"
	"github.com/tenon-ml/tenon/stdlib"
)

// Options of a load.
type Options struct {
	// Tags are CUE tags, "env=prod" or "prod", as with `cue -t`. The value of a tag such
	// as env=prod also selects files with @if(prod).
	Tags []string
	// Environment is the one that is unified with the system, "" for none.
	Environment string
	// Env is the environment for CUE's module system, in the format of os.Environ.
	Env []string
	// Tracker, if set, collects what is read.
	Tracker *fingerprint.Tracker
	// Divide takes the system into its [Parts].
	Divide bool
	// Before are the parts of an earlier load with the same options. Entities that cannot
	// have changed since are not evaluated, see [System.Reused].
	Before *Parts
}

// A System is the evaluated CUE of one system. Its value may contain errors;
// [System.Faults] finds them, entity by entity.
type System struct {
	Dir   string // absolute
	Value cue.Value
	// Files holds the user's files that were read, by the name used in positions.
	Files map[string][]byte
	// Environment is the one that was chosen, and Environments are the declared ones, sorted.
	Environment  string
	Environments []string
	// Protect are the rules for those who change the chosen environment, or nil.
	Protect *protect.Rules

	tags         []string
	environments environments
	cue          *cue.Context
	syntax       []*ast.File
	imports      []*build.Instance
	instance     *build.Instance
	indexOnce    sync.Once
	madeIndex    madeIndex
	madeOnce     sync.Once
	packagesOnce sync.Once
	byPath       map[string][]*build.Instance
	root         string // of the module
	registry     *registry
	index        index
	validOnce    sync.Once
	valid        bool
	// unused holds the faults of unused imports, see setUnusedAside.
	unused []fault
	parts  *Parts          // or nil
	reused map[string]bool // entities that have no value, by "section/name"
	// Entities of a valid system by section, see list.
	entities map[string]map[string]cue.Value
	names    map[string][]string
}

// Load reads and evaluates the CUE package in dir. The error is a [diag.List] if the user
// has to fix it.
func Load(dir string, o Options) (*System, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", dir, err)
	}
	root, err := checkFolder(dir, abs)
	if err != nil {
		return nil, err
	}
	trackModule(o.Tracker, abs, root)
	s := &System{Dir: abs, Environment: o.Environment, Files: map[string][]byte{}, tags: o.Tags, root: root, registry: newRegistry(o.Env)}
	s.environments = environments{chosen: o.Environment, names: map[string]token.Pos{}, decls: map[*ast.File][]ast.Decl{}, rules: map[string]*protect.Rules{}}
	var mu sync.Mutex // the loader parses files in parallel
	cfg := &load.Config{
		Dir:      abs,
		Tags:     withFileTags(abs, o.Tags),
		TagVars:  load.DefaultTagVars(),
		Env:      o.Env,
		Registry: s.registry,
		Overlay:  libraryOverlay(),
		ParseFile: func(name string, src any, cfg parser.Config) (*ast.File, error) {
			b, err := readSource(name, src)
			if err != nil {
				return nil, err
			}
			if !strings.HasPrefix(name, libraryRoot) {
				trackSource(o.Tracker, name, b)
				mu.Lock()
				s.Files[s.display(name)] = b
				mu.Unlock()
			}
			f, err := parser.ParseFile(name, b, cfg)
			if err == nil && !strings.HasPrefix(name, libraryRoot) && declares(abs, name) {
				err = s.environments.take(f)
			}
			return f, err
		},
	}
	insts := load.Instances([]string{"."}, cfg)
	inst := insts[0]
	if inst.Err != nil {
		return nil, s.loadFaults(inst)
	}
	s.instance, s.syntax, s.imports = inst, inst.Files, inst.Imports
	if err := s.checkEnvironments(); err != nil {
		return nil, err
	}
	s.trackFolders(o.Tracker)
	trackModule(o.Tracker, abs, root) // again, because the loader has read it in between
	s.cue = cuecontext.New(cuecontext.WithInjection(embed.New()))
	s.setUnusedAside()
	if o.Divide {
		s.parts = s.divide()
		s.reused = s.parts.reusable(o.Before)
	}
	restore := s.withhold(s.reused)
	s.Value = s.cue.BuildInstance(inst)
	restore()
	return s, nil
}

// Release lets go of all values of a valid system. Everything about its text stays, as do
// the names of its entities.
func (s *System) Release() {
	for _, section := range Sections {
		clear(s.entities[section])
	}
	s.Value, s.cue = cue.Value{}, nil
}

// Parts returns the parts of the system, or nil if it cannot be taken into parts.
func (s *System) Parts() *Parts { return s.parts }

// Reused reports whether an entity is known from an earlier load and was not evaluated.
// Everything about its text is there, but it has no value.
func (s *System) Reused(section, name string) bool { return s.reused[section+"/"+name] }

// Reuses reports whether any entity was not evaluated. A fault of such a system may be
// the consequence: load it without Before.
func (s *System) Reuses() bool { return len(s.reused) > 0 }

// setUnusedAside keeps unused imports from failing the evaluation, if nothing else is
// wrong with the names in the files: they may be the consequence of another fault, which
// Faults then finds.
func (s *System) setUnusedAside() {
	faults := s.takeApart(s.instance.ResolutionErr)
	if !slices.ContainsFunc(faults, func(f fault) bool { return !strings.HasPrefix(f.format, unused) }) {
		s.unused, s.instance.ResolutionErr = faults, nil
	}
}

// withFileTags lets `-t env=prod` select files as well: if a file in the folder has
// @if(prod), the value also counts as a boolean tag.
func withFileTags(dir string, tags []string) []string {
	out := slices.Clone(tags)
	for _, t := range tags {
		_, value, ok := strings.Cut(t, "=")
		if !ok || slices.Contains(out, value) {
			continue
		}
		if chosen, err := regexp.Compile(`(?m)^@if\(.*\b` + regexp.QuoteMeta(value) + `\b.*\)`); err == nil && anyFile(dir, chosen) {
			out = append(out, value)
		}
	}
	return out
}

func anyFile(dir string, holds *regexp.Regexp) bool {
	files, _ := filepath.Glob(filepath.Join(dir, "*.cue"))
	return slices.ContainsFunc(files, func(f string) bool {
		b, err := os.ReadFile(f)
		return err == nil && holds.Match(b)
	})
}

// checkFolder returns the folder of the module. It reports faults that the loader would
// report in its own words.
func checkFolder(shown, abs string) (root string, err error) {
	fail := func(message, hint string) (string, error) {
		return "", diag.List{{Message: message, Hint: hint}}
	}
	here, init := shown, "`tenon init "+shown+"`"
	if shown == "." {
		here, init = "this folder", "`tenon init`"
	}
	info, err := os.Stat(abs)
	switch {
	case os.IsNotExist(err):
		return fail(fmt.Sprintf("no such folder: %s", shown), "use the folder with the system's .cue files")
	case err != nil:
		return fail(fmt.Sprintf("cannot read the folder %s: %v", shown, err), "")
	case !info.IsDir():
		return fail(fmt.Sprintf("%s is not a folder", shown), "use the folder with the system's .cue files")
	}
	entries, err := os.ReadDir(abs)
	if err != nil {
		return fail(fmt.Sprintf("cannot read the folder %s: %v", shown, err), "")
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return filepath.Ext(e.Name()) == ".cue" && !e.IsDir() }) {
		return fail(fmt.Sprintf("no .cue file in %s", here), init+" makes a small system that runs")
	}
	if root = moduleAbove(abs); root == "" {
		return fail(fmt.Sprintf("%s is not in a CUE module: no cue.mod/module.cue in it or its parents", here),
			init+" makes it one")
	}
	return root, nil
}

// moduleAbove returns the folder of the module that contains a folder, or "".
func moduleAbove(dir string) string {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "cue.mod", "module.cue")); err == nil {
			return d
		}
		if d == filepath.Dir(d) {
			return ""
		}
	}
}

func readSource(name string, src any) ([]byte, error) {
	switch src := src.(type) {
	case nil:
		return os.ReadFile(name)
	case []byte:
		return src, nil
	case string:
		return []byte(src), nil
	case *bytes.Buffer:
		return src.Bytes(), nil
	}
	return nil, fmt.Errorf("read %s: a source of type %T", name, src)
}

// display returns the name of a file as used in positions: relative to the system's
// folder, or below the library's module path.
func (s *System) display(file string) string {
	if rest, ok := strings.CutPrefix(file, libraryRoot); ok {
		return libraryName + filepath.ToSlash(rest)
	}
	if rel, err := filepath.Rel(s.Dir, file); err == nil && !strings.HasPrefix(rel, ".."+string(filepath.Separator)+"..") {
		return filepath.ToSlash(rel)
	}
	return file
}

const libraryName = "tenon.dev"

func isLibrary(file string) bool { return strings.HasPrefix(file, libraryName+"/") }

// Pos converts a position of CUE.
func (s *System) Pos(p token.Pos) diag.Pos {
	if !p.IsValid() {
		return diag.Pos{}
	}
	at := p.Position()
	return diag.Pos{File: s.display(at.Filename), Line: at.Line, Col: at.Column}
}

// Source returns the content of a file by its name in positions.
func (s *System) Source(file string) []byte {
	if b, ok := s.Files[file]; ok {
		return b
	}
	if isLibrary(file) {
		b, _ := fs.ReadFile(stdlib.CUE(), strings.TrimPrefix(file, libraryName+"/"))
		return b
	}
	return nil
}

func (s *System) loadFaults(inst *build.Instance) error {
	return s.translate(inst.Err, "").Sort()
}
