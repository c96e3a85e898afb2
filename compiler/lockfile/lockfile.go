// Package lockfile manages tenon.lock, the file beside a system that pins what the system
// depends on besides its own files: the locks of its Python environments beyond the
// standard library's, with what is known of the classes in their packages, and the digests
// of the CUE modules that it imports. The file is
// meant to be committed: with it, a system compiles to the same bytes on every machine.
package lockfile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/internal/files"
)

// Name is the name of the file.
const Name = "tenon.lock"

// Version 2 added modules, which a reader of version 1 would neither check nor keep.
const version = 2

type document struct {
	Version int               `json:"version"`
	Modules map[string]string `json:"modules,omitempty"` // digests by "acme.example/lake@v0.1.0"
	Python  []entry           `json:"python"`
}

type entry struct {
	Requirements []string `json:"requirements"`
	Lock         []string `json:"lock"` // lines
	Index        *index   `json:"index,omitempty"`
}

func (e *entry) text() []byte { return []byte(strings.Join(e.Lock, "\n") + "\n") }

// A Resolver turns requirements into a lock with digests.
type Resolver func(ctx context.Context, requirements []string) ([]byte, error)

// A File returns locks from the lock file in a folder and resolves missing ones. It also
// keeps the locks that were not requested: another environment of the system may need
// them.
type File struct {
	// Path of the file, and its content when it was opened, or nil if it did not exist.
	Path    string
	Content []byte

	resolve Resolver

	mu      sync.Mutex
	entries map[string]entry
	modules map[string]string
	used    map[string]bool // modules
	changed bool

	locks   map[string]string   // keys of entries by their locks, for those that were requested
	missing map[string][]string // modules without an index, by lock
	indexed bool                // indexes changed
}

// Open reads the lock file in dir. A missing file counts as empty.
func Open(dir string, resolve Resolver) (*File, error) {
	f := &File{Path: filepath.Join(dir, Name), resolve: resolve, entries: map[string]entry{}, modules: map[string]string{}, used: map[string]bool{}, locks: map[string]string{}, missing: map[string][]string{}}
	b, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", Name, err)
	}
	f.Content = b
	var d document
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w: restore it, or delete it to lock again", f.Path, err)
	}
	if d.Version < 1 || d.Version > version {
		return nil, fmt.Errorf("%s has version %d, but this tenon supports versions 1 to %d: upgrade tenon", f.Path, d.Version, version)
	}
	maps.Copy(f.modules, d.Modules)
	for _, e := range d.Python {
		f.entries[key(e.Requirements)] = e
	}
	return f, nil
}

func key(requirements []string) string { return strings.Join(requirements, "\n") }

// Lock returns the lock for the requirements, from the file if it has one.
func (f *File) Lock(ctx context.Context, requirements []string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	requirements = slices.Sorted(slices.Values(requirements))
	k := key(requirements)
	e, ok := f.entries[k]
	if !ok {
		b, err := f.resolve(ctx, requirements)
		if err != nil {
			return nil, err
		}
		e = entry{Requirements: requirements, Lock: strings.Split(strings.TrimRight(string(b), "\n"), "\n")}
		f.entries[k] = e
		f.changed = true
	}
	lock := e.text()
	f.locks[string(lock)] = k
	return lock, nil
}

// Pin returns the digest that a module must have. A module without a pin is pinned to the
// digest that was found.
func (f *File) Pin(module, found string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used[module] = true
	if f.modules[module] == "" {
		f.modules[module] = found
		f.changed = true
	}
	return f.modules[module]
}

// Prune removes the pins of modules that were neither requested nor are required by the
// system, because it uses another version or no longer needs them.
func (f *File) Prune(required func(module string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for m := range f.modules {
		if !f.used[m] && !required(m) {
			delete(f.modules, m)
			f.changed = true
		}
	}
}

// Write writes the file if it changed, and reports whether it did. Indexes alone are no
// reason to fail: they are made again.
func (f *File) Write() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.changed && !f.indexed {
		return false, nil
	}
	d := document{Version: version, Modules: f.modules, Python: []entry{}}
	for _, e := range f.entries {
		d.Python = append(d.Python, e)
	}
	slices.SortFunc(d.Python, func(a, b entry) int { return strings.Compare(key(a.Requirements), key(b.Requirements)) })
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return false, fmt.Errorf("write %s: %w", Name, err)
	}
	if err := files.Write(f.Path, append(b, '\n'), 0o644); err != nil {
		if !f.changed {
			return false, nil
		}
		return false, fmt.Errorf("write %s: %w", Name, err)
	}
	f.changed, f.indexed = false, false
	return true, nil
}
