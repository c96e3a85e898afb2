package pyenv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/internal/files"
)

// Collect returns the size, by name, of the environments that were not requested since
// then and that no process of this machine uses. Unless dry, it removes them, and what an
// earlier call left half removed. They are made again when needed.
func (e *Env) Collect(since time.Time, dry bool) (map[string]int64, error) {
	entries, err := os.ReadDir(e.opts.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for python environments: %w", err)
	}
	found := map[string]int64{}
	var left error
	for _, d := range entries {
		if !d.IsDir() {
			continue
		}
		dir := filepath.Join(e.opts.Dir, d.Name())
		half := strings.HasPrefix(d.Name(), files.HalfWritten)
		if !half && (usedSince(dir, since) || running(dir)) {
			continue
		}
		size := sizeOf(dir)
		if !dry {
			if err := e.remove(dir, half, since); err != nil {
				left = errors.Join(left, fmt.Errorf("remove the python environment %s: %w", d.Name(), err))
				continue
			}
		}
		found[d.Name()] = size
	}
	return found, left
}

// remove moves an environment out of its place before it removes it, so that an
// environment in its place is always complete.
func (e *Env) remove(dir string, half bool, since time.Time) error {
	if half {
		return files.RemoveAll(dir)
	}
	held, err := os.OpenFile(dir+".lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer held.Close()
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil // another process is making it
	}
	if usedSince(dir, since) {
		return nil
	}
	gone := filepath.Join(filepath.Dir(dir), files.HalfWritten+filepath.Base(dir))
	if err := os.Rename(dir, gone); err != nil {
		return err
	}
	return files.RemoveAll(gone)
}

// usedSince reports whether the environment was requested since then. An incomplete one
// was last used when a build worked on it.
func usedSince(dir string, since time.Time) bool {
	info, err := os.Stat(filepath.Join(dir, marker))
	if err != nil {
		info, err = os.Stat(dir)
	}
	return err == nil && !info.ModTime().Before(since)
}

// running reports whether a running process was started with a file of the folder: a
// service may run for longer than the age limit.
func running(dir string) bool {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(dir+string(filepath.Separator))) {
			return true
		}
	}
	return false
}

// sizeOf returns what removing the folder frees: files that another environment or uv's
// cache shares do not count.
func sizeOf(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Sys().(*syscall.Stat_t).Nlink == 1 {
			n += info.Size()
		}
		return nil
	})
	return n
}
