package lang

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cuelang.org/go/mod/module"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/fingerprint"
)

// A Module is a CUE module from a registry.
type Module struct {
	Name   string // "acme.example/lake@v0.1.0"
	Path   string // "acme.example/lake@v0", as cue.mod/module.cue names it
	Dir    string // where its files are
	Digest string // of all its files
}

// Modules returns the modules from registries that provide packages of the system, by
// name. It omits the embedded library, the system's own module and modules that are
// replaced by a folder. It adds what it reads to the tracker.
func (s *System) Modules(tracker *fingerprint.Tracker) ([]Module, error) {
	found := map[string]module.Version{}
	for _, insts := range s.packages() {
		for _, inst := range insts {
			if dir, v := s.registry.origin(inst.Dir); dir != "" {
				found[dir] = v
			}
		}
	}
	var out []Module
	for dir, v := range found {
		digest, err := moduleDigest(dir, tracker)
		if err != nil {
			return nil, fmt.Errorf("read the module %s: %w", v, err)
		}
		out = append(out, Module{Name: v.String(), Path: v.Path(), Dir: dir, Digest: digest})
	}
	slices.SortFunc(out, func(a, b Module) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Requires reports whether the system's module requires a module, by its name.
func (s *System) Requires(name string) bool {
	return slices.ContainsFunc(s.instance.ModuleFile.DepVersions(), func(v module.Version) bool { return v.String() == name })
}

// ModuleSpan returns where cue.mod/module.cue names a module.
func (s *System) ModuleSpan(path string) diag.Span {
	file := filepath.Join(s.root, "cue.mod", "module.cue")
	b, err := os.ReadFile(file)
	shown := s.display(file)
	if err != nil {
		return diag.Span{Pos: diag.Pos{File: shown}}
	}
	s.Files[shown] = b
	quoted := []byte(fmt.Sprintf("%q", path))
	line := 0
	for text := range bytes.Lines(b) {
		line++
		if i := bytes.Index(text, quoted); i >= 0 {
			return diag.Span{Pos: diag.Pos{File: shown, Line: line, Col: i + 1}, Len: len(quoted)}
		}
	}
	return diag.Span{Pos: diag.Pos{File: shown}}
}

// moduleDigest returns a digest of all files of a module.
func moduleDigest(dir string, tracker *fingerprint.Tracker) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return trackNames(tracker, path)
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is not a regular file", path)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		tracker.File(path, b)
		name := filepath.ToSlash(strings.TrimPrefix(path, dir+string(filepath.Separator)))
		fmt.Fprintf(h, "%q %x\n", name, sha256.Sum256(b))
		return nil
	})
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), err
}
