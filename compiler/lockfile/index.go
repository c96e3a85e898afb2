package lockfile

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

// An index is what is known of the packages of a lock, and is true for that lock only.
type index struct {
	Lock    string              `json:"lock"`    // its digest
	Modules []string            `json:"modules"` // "imbalanced-learn==0.14.2 imblearn"
	Classes map[string][]string `json:"classes"` // lines by module, as package classes reads them
}

func digest(lock []byte) string {
	sum := sha256.Sum256(lock)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// indexOf returns the index of a lock that was requested, or nil, and the key of its entry.
// One of another lock, such as after a merge of two files, does not count.
func (f *File) indexOf(lock []byte) (*index, string) {
	k, ok := f.locks[string(lock)]
	if !ok {
		return nil, ""
	}
	if x := f.entries[k].Index; x != nil && x.Lock == digest(lock) {
		return x, k
	}
	return nil, k
}

// Classes returns the index of a module in the environment of a lock: empty if there is no
// such module, and nil if there is no index. It notes that the index is missing.
func (f *File) Classes(lock []byte, module string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	x, k := f.indexOf(lock)
	if k == "" {
		return nil
	}
	if x != nil {
		if lines, ok := x.Classes[module]; ok {
			return []byte(strings.Join(lines, "\n"))
		}
	}
	if !slices.Contains(f.missing[string(lock)], module) {
		f.missing[string(lock)] = append(f.missing[string(lock)], module)
	}
	return nil
}

// Modules returns the pins of an environment's packages, each with the modules that it has,
// or nil if they are not known.
func (f *File) Modules(lock []byte) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x, _ := f.indexOf(lock); x != nil {
		return x.Modules
	}
	return nil
}

// Missing returns the modules whose index was missing, by the lock of their environment.
func (f *File) Missing() map[string][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.missing)
}

// Add adds the index of a module to that of a lock.
func (f *File) Add(lock []byte, module string, modules, classes []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	x, k := f.indexOf(lock)
	if k == "" {
		return
	}
	if x == nil {
		x = &index{Lock: digest(lock), Classes: map[string][]string{}}
		e := f.entries[k]
		e.Index = x
		f.entries[k] = e
	}
	x.Modules, x.Classes[module] = modules, classes
	delete(f.missing, string(lock))
	f.indexed = true
}
