// Package disk measures what programs write and reports when it is too much. It is
// separate from package local to keep the first process of a container small.
package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tenon-ml/tenon/internal/logfile"
)

// Written returns how many bytes of disk a task uses in the folders of its run folder
// dir that its program can write to. Its log does not count as long as it is within its
// bound: tenon writes it, but a program in a container can write there too.
func Written(dir string) (n int64) {
	for _, sub := range []string{"out", "scratch", "notes"} {
		n += used(filepath.Join(dir, sub))
	}
	log := filepath.Join(dir, "log")
	return n + max(0, used(log)+used(logfile.Folder(log))-logfile.Most)
}

// used returns how many bytes of disk a file or the files of a folder take. Files that
// vanish meanwhile do not count.
func used(path string) (n int64) {
	_ = filepath.WalkDir(path, func(_ string, d os.DirEntry, err error) error {
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
	return n
}

// block is the allocation unit of files on most disks.
const block = 4096

// Taken returns how many bytes of disk a copy of a file or folder needs.
func Taken(path string) (n int64) {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to
	}
	// The copy itself will report what cannot be read.
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

// OverQuota returns the message for a task that wrote more than it may.
func OverQuota(wrote, limit int64) string {
	return fmt.Sprintf("wrote %s, more than needs.disk %s", Size(wrote), Size(limit))
}

// Size formats bytes for people: "1.2 GiB", "1 GiB", "300 B".
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
