package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// rules writes files of Prometheus rules into a folder, and keeps each as an artifact.
type rules struct {
	dir       string
	artifacts *artifact.Store
}

// ruleFile is the parameters of a unit.
type ruleFile struct {
	File    string `json:"file"`
	Content string `json:"content"`
}

func ruleFileOf(u *ir.Unit) (ruleFile, error) {
	var f ruleFile
	if err := json.Unmarshal(u.Params, &f); err != nil {
		return f, fmt.Errorf("parameters of %s: %w", u.ID, err)
	}
	if !filepath.IsLocal(filepath.FromSlash(f.File)) {
		return f, fmt.Errorf("%q is not a file name of rules", f.File)
	}
	return f, nil
}

func (r rules) path(f ruleFile) string { return filepath.Join(r.dir, f.File) }

func (r rules) Write(ctx context.Context, rec executors.Record) (map[string]artifact.Artifact, map[string]float64, error) {
	f, err := ruleFileOf(rec.Unit)
	if err != nil {
		return nil, nil, err
	}
	digest, err := r.artifacts.PutBytes(ctx, []byte(f.Content))
	if err != nil {
		return nil, nil, err
	}
	if err := r.write(f); err != nil {
		return nil, nil, err
	}
	return map[string]artifact.Artifact{rec.Unit.Outputs[0].Port: {Digest: digest, Kind: string(ir.File), Size: int64(len(f.Content))}}, nil, nil
}

// write replaces a file as a whole. Prometheus, which usually runs as another user, can
// read it, whatever the umask is.
func (r rules) write(f ruleFile) error {
	err := os.MkdirAll(filepath.Dir(r.path(f)), 0o755)
	for dir := filepath.Dir(r.path(f)); err == nil && len(dir) >= len(r.dir); dir = filepath.Dir(dir) {
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		err = files.WriteSynced(r.path(f), []byte(f.Content), 0o644)
	}
	if err == nil {
		err = r.admit()
	}
	if err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	return nil
}

// admit lets others enter the state folder, where only its owner could, but not list it,
// and keeps them out of everything in it except for the rules. A folder with other rights
// was set up by the user and stays as it is.
func (r rules) admit() error {
	state := filepath.Dir(r.dir)
	info, err := os.Stat(state)
	if err != nil {
		return err
	}
	if perm := info.Mode().Perm(); perm != 0o700 && perm != 0o711 {
		return nil
	}
	entries, err := os.ReadDir(state)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || e.Name() == filepath.Base(r.dir) || info.Mode()&fs.ModeSymlink != 0 || info.Mode().Perm()&0o077 == 0 {
			continue // or it is already gone
		}
		if err := os.Chmod(filepath.Join(state, e.Name()), info.Mode().Perm()&^0o077); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Chmod(state, 0o711)
}

// RulesPath returns where the rules of a unit are, below the state folder dir, or "" if it
// has none.
func RulesPath(dir string, u *ir.Unit) string {
	if u.Kind != ir.Record || len(u.Outputs) != 1 || u.Outputs[0].Kind != ir.File {
		return ""
	}
	f, err := ruleFileOf(u)
	if err != nil {
		return ""
	}
	return rules{dir: filepath.Join(dir, "rules")}.path(f)
}

func (r rules) Lost(u *ir.Unit) string {
	f, err := ruleFileOf(u)
	if err != nil {
		return err.Error()
	}
	b, err := os.ReadFile(r.path(f))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("rules/%s is gone", f.File)
	case err != nil:
		return fmt.Sprintf("rules/%s cannot be read: %v", f.File, err)
	case string(b) != f.Content:
		return fmt.Sprintf("rules/%s was modified by hand", f.File)
	}
	return ""
}

func (r rules) Remove(u *ir.Unit, keep []ir.Unit) error {
	f, err := ruleFileOf(u)
	if err != nil {
		return nil // it was never written
	}
	for _, other := range keep {
		if kept, err := ruleFileOf(&other); err == nil && filepath.Clean(kept.File) == filepath.Clean(f.File) {
			return nil
		}
	}
	if err := os.Remove(r.path(f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove rules: %w", err)
	}
	return nil
}

// Sync makes the files of the folder those of the units.
func (r rules) Sync(units []ir.Unit) error {
	declared := map[string]bool{}
	for i := range units {
		f, err := ruleFileOf(&units[i])
		if err != nil {
			return err
		}
		declared[filepath.Clean(f.File)] = true
		if r.Lost(&units[i]) == "" {
			continue
		}
		if err := r.write(f); err != nil {
			return err
		}
	}
	return filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.IsDir() {
			return nil
		}
		if rel, relErr := filepath.Rel(r.dir, path); err == nil && relErr == nil && !declared[rel] {
			err = os.Remove(path)
		}
		return err
	})
}

// Sweep removes files that were half written.
func (r rules) Sweep() error { return files.Sweep(r.dir) }
