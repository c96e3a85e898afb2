// Package lockfile keeps the locks of the Python environments that a system
// asks for besides the standard library's, in the file tenon.lock beside it.
// The file is to be committed: with it, a system compiles to the same bytes on
// every machine, without a network.
package lockfile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/internal/files"
)

// Name of the file.
const Name = "tenon.lock"

const version = 1

type document struct {
	Version int     `json:"version"`
	Python  []entry `json:"python"`
}

type entry struct {
	Requirements []string `json:"requirements"`
	Lock         []string `json:"lock"` // lines
}

// A Resolver turns requirements into a lock with digests.
type Resolver func(ctx context.Context, requirements []string) ([]byte, error)

// A File answers from the lock file in a folder and resolves what is not in it.
// It keeps what nobody asked for: another environment of the system may.
type File struct {
	// Path of the file, and its content when it was opened; nil if it was not there.
	Path    string
	Content []byte

	resolve Resolver

	mu      sync.Mutex
	entries map[string]entry
	changed bool
}

// Open reads the lock file in dir. A missing one is empty.
func Open(dir string, resolve Resolver) (*File, error) {
	f := &File{Path: filepath.Join(dir, Name), resolve: resolve, entries: map[string]entry{}}
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
		return nil, fmt.Errorf("%s is damaged: %w: restore it, or remove it to lock anew", f.Path, err)
	}
	if d.Version != version {
		return nil, fmt.Errorf("%s has version %d, and this tenon knows version %d: upgrade tenon", f.Path, d.Version, version)
	}
	for _, e := range d.Python {
		f.entries[key(e.Requirements)] = e
	}
	return f, nil
}

func key(requirements []string) string { return strings.Join(requirements, "\n") }

// Lock returns the lock for the requirements, from the file where it has one.
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
		e = entry{requirements, strings.Split(strings.TrimRight(string(b), "\n"), "\n")}
		f.entries[k] = e
		f.changed = true
	}
	return []byte(strings.Join(e.Lock, "\n") + "\n"), nil
}

// Write writes the file if it changed, and reports whether it did.
func (f *File) Write() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.changed {
		return false, nil
	}
	d := document{Version: version, Python: []entry{}}
	for _, e := range f.entries {
		d.Python = append(d.Python, e)
	}
	slices.SortFunc(d.Python, func(a, b entry) int { return strings.Compare(key(a.Requirements), key(b.Requirements)) })
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return false, fmt.Errorf("write %s: %w", Name, err)
	}
	if err := files.Write(f.Path, append(b, '\n'), 0o644); err != nil {
		return false, fmt.Errorf("write %s: %w", Name, err)
	}
	f.changed = false
	return true, nil
}
