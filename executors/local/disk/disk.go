// Package disk measures what programs write, and says when it is too much. It is
// apart from package local, so that the first process of a container stays small.
package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Written is how many bytes of disk the task whose folder is dir takes up, in
// all that its program can write to.
func Written(dir string) (n int64) {
	for _, sub := range []string{"out", "scratch", "notes"} {
		// What vanishes while we look is not there.
		_ = filepath.WalkDir(filepath.Join(dir, sub), func(_ string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil
			}
			if fi, err := d.Info(); err == nil {
				if st, ok := fi.Sys().(*syscall.Stat_t); ok {
					n += st.Blocks * 512
				}
			}
			return nil
		})
	}
	return n
}

// block is what files take up multiples of, on most disks.
const block = 4096

// Taken is how many bytes of disk a copy of a file or folder takes up.
func Taken(path string) (n int64) {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to
	}
	// Whoever copies it says what cannot be read.
	_ = filepath.WalkDir(path, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		n += block
		if fi, err := d.Info(); err == nil && fi.Mode().IsRegular() {
			n += fi.Size() / block * block
		}
		return nil
	})
	return n
}

// OverQuota says that a task wrote more than it may.
func OverQuota(wrote, limit int64) string {
	return fmt.Sprintf("wrote %s, more than needs.disk %s", Size(wrote), Size(limit))
}

// Size prints bytes as people do: "1.2 GiB", "1 GiB", "300 B".
func Size(n int64) string {
	f, unit := float64(n), "B"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, u
	}
	s := fmt.Sprintf("%.1f", f)
	if s[len(s)-2:] == ".0" {
		s = s[:len(s)-2]
	}
	return s + " " + unit
}
