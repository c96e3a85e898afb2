package requestlog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/internal/files"
)

const extension = ".parquet"

// mostFiles is how many files a folder has at most: a service with few requests writes small
// ones.
const mostFiles = 10_000

// Files are the paths of the complete files in a folder, the oldest first.
func Files(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), extension) && !strings.HasPrefix(e.Name(), files.HalfWritten) && e.Type().IsRegular() {
			all = append(all, filepath.Join(dir, e.Name()))
		}
	}
	return all, err
}

// bound deletes the oldest files until the rest have at most a size, and returns how many it
// deleted and the size of the rest. It calls before for each file that it is about to delete.
func bound(dir string, most int64, before func(path string)) (deleted int, size int64, err error) {
	all, err := Files(dir)
	if err != nil {
		return 0, 0, err
	}
	for i, path := range slices.Backward(all) {
		info, err := os.Stat(path)
		if err != nil {
			continue // another version has deleted it
		}
		if size+info.Size() <= most && len(all)-i <= mostFiles {
			size += info.Size()
			continue
		}
		for _, old := range all[:i+1] {
			before(old)
			if os.Remove(old) == nil {
				deleted++
			}
		}
		break
	}
	return deleted, size, nil
}

// Sweep removes files of Parquet that a killed process was writing.
func Sweep(dir string) {
	half, _ := filepath.Glob(filepath.Join(dir, files.HalfWritten+"*"+extension))
	for _, path := range half {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.Remove(path)
		}
		_ = f.Close()
	}
}
