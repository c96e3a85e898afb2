package events

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// SmallFiles makes the log go on in another file after some bytes.
func (f *Feed) SmallFiles(bytes int64) { f.log.most = bytes }

// FullDisk makes the disk take no other file of the log, or take them again.
func (f *Feed) FullDisk(full bool) {
	f.log.sync = func(file *os.File) error {
		if full && filepath.Base(file.Name()) != File {
			return syscall.ENOSPC
		}
		return file.Sync()
	}
}

// HalfRotate does what a process does that is killed while it makes the log go on in another file:
// before the last frame of the file so far, or behind it.
func (f *Feed) HalfRotate(sealed bool) error {
	if err := f.log.lock(); err != nil {
		return err
	}
	defer f.log.unlock()
	if err := f.log.keepName(); err != nil || !sealed {
		return err
	}
	b, err := fileHead{Sealed: true}.frame()
	if err == nil {
		_, err = f.log.write(b)
	}
	return err
}

// Untidy writes the frames of a file of Parquet beside it.
func Untidy(path string) error {
	all, err := partsOf(filepath.Dir(path))
	i := slices.IndexFunc(all, func(p part) bool { return p.path == path })
	if err != nil || i < 0 {
		return fmt.Errorf("%s is not part of a log: %w", path, err)
	}
	var b []byte
	_, err = all[i].each(context.Background(), func(columns ir.Schema, row []rowsql.Value) error {
		if b == nil {
			b, err = fileHead{Columns: columns, From: all[i].from}.frame()
		}
		b = appendFrame(b, encodeRow(nil, columns, row), 1)
		return err
	})
	last, failed := fileHead{Sealed: true}.frame()
	return errors.Join(err, failed, os.WriteFile(filepath.Join(filepath.Dir(path), rawName(all[i].from)), append(b, last...), 0o600))
}

// ToParquet makes Parquet of a file of frames.
func ToParquet(ctx context.Context, path string) error {
	all, err := partsOf(filepath.Dir(path))
	i := slices.IndexFunc(all, func(p part) bool { return p.path == path })
	if err != nil || i < 0 {
		return fmt.Errorf("%s is not part of a log: %w", path, err)
	}
	l, err := openLog(filepath.Dir(path), nil, nil)
	if err != nil {
		return err
	}
	defer l.close()
	return l.toParquet(ctx, all[i])
}
