package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

const (
	// PartSize is how long a part may be.
	PartSize = 16 << 20
	// moreParts is how many parts are kept besides the first one.
	moreParts = 3
	// Most is how long a log may be on disk.
	Most = (1 + moreParts) * PartSize
)

// Folder returns the folder of the later parts of a log.
func Folder(path string) string { return path + ".more" }

// A part is a file of a log.
type part struct {
	path   string
	offset int64 // in the whole log
}

const digits = 16 // in the name of a part, so that names sort like offsets

func partAt(path string, offset int64) part {
	if offset == 0 {
		return part{path, 0}
	}
	return part{filepath.Join(Folder(path), fmt.Sprintf("%0*d", digits, offset)), offset}
}

// laterParts lists the parts of a log after the first one, in order.
func laterParts(path string) ([]part, error) {
	entries, err := os.ReadDir(Folder(path)) // sorted by name
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ps []part
	for _, e := range entries {
		offset, err := strconv.ParseInt(e.Name(), 10, 64)
		if err != nil || offset <= 0 {
			continue
		}
		if p := partAt(path, offset); filepath.Base(p.path) == e.Name() {
			ps = append(ps, p)
		}
	}
	slices.SortFunc(ps, func(a, b part) int { return int(min(1, max(-1, a.offset-b.offset))) })
	return ps, nil
}

// open opens a part to read it. A program in a container owns its log and may have put
// anything there, so open follows no link and waits for no pipe.
func (p part) open() (*os.File, error) {
	f, err := os.OpenFile(p.path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", p.path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
