// Package files writes files that are complete or absent, and removes trees
// that are read-only. It knows nothing of what is in them.
package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// HalfWritten begins the names of files and folders that are not whole yet.
// What bears it once its writer is dead is garbage, see [Sweep].
const HalfWritten = ".new-"

// Write puts a file in its place as a whole: whoever reads it finds what was there
// before, or all of b. It does not wait for the disk: after a power failure
// the file may be empty.
func Write(path string, b []byte, mode fs.FileMode) error { return write(path, b, mode, false) }

// WriteSynced is [Write] for what has to outlive a power failure.
func WriteSynced(path string, b []byte, mode fs.FileMode) error { return write(path, b, mode, true) }

func write(path string, b []byte, mode fs.FileMode, synced bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), HalfWritten)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(mode.Perm())
	}
	if err == nil && synced {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Sweep removes from a folder what writers that were killed left. Nobody may be
// writing there. A folder that does not exist is swept.
func Sweep(dir string) error { return SweepOlder(dir, 0) }

// SweepOlder is [Sweep] for a folder where others may be writing: it leaves what is newer than an age.
func SweepOlder(dir string, age time.Duration) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), HalfWritten) {
			continue
		}
		if info, infoErr := e.Info(); age == 0 || infoErr == nil && time.Since(info.ModTime()) > age {
			err = errors.Join(err, RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// RemoveAll removes a tree even where folders are read-only.
func RemoveAll(path string) error {
	if err := os.RemoveAll(path); err == nil {
		return nil
	}
	_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(p, 0o700)
		}
		return nil
	})
	return os.RemoveAll(path)
}
