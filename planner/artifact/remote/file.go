package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// A folder keeps each blob as a file. The key is its path.
type folder string

func openFile(_ context.Context, _ *Store, u *url.URL) (bucket, error) {
	dir := filepath.FromSlash(u.Path)
	if err := makeFolder(dir); err != nil {
		return nil, fileError(err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fileError(err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", dir)
	}
	return folder(dir), nil
}

func fileError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absent(err)
	case errors.Is(err, fs.ErrPermission):
		return &refusal{err.Error(), err}
	}
	return err
}

func (dir folder) path(key string) string {
	return filepath.Join(string(dir), filepath.FromSlash(key))
}

func (dir folder) size(_ context.Context, key string) (int64, error) {
	info, err := os.Stat(dir.path(key))
	if err != nil {
		return 0, fileError(err)
	}
	if !info.Mode().IsRegular() {
		return 0, absent(fmt.Errorf("%s is not a file", dir.path(key)))
	}
	return info.Size(), nil
}

func (dir folder) read(ctx context.Context, key string, offset int64) (io.ReadCloser, int64, error) {
	size, err := dir.size(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(dir.path(key))
	if err != nil {
		return nil, 0, fileError(err)
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

func (dir folder) write(ctx context.Context, key string, r io.Reader, _ int64) error {
	to := dir.path(key)
	parent := filepath.Dir(to)
	if err := makeFolder(parent); err != nil {
		return fileError(err)
	}
	tmp := to + "." + rand.Text() + ".tmp"
	if err := writeSynced(ctx, tmp, r); err != nil {
		return fileError(err)
	}
	if err := os.Rename(tmp, to); err != nil {
		return errors.Join(fileError(err), os.Remove(tmp))
	}
	// Sync the name of the file, and that of its folder, which may be new.
	return errors.Join(syncPath(parent), syncPath(filepath.Dir(parent)))
}

// writeSynced writes a file completely or not at all. In a shared folder the file is
// shared, too.
func writeSynced(ctx context.Context, name string, r io.Reader) (err error) {
	mode, err := shared(filepath.Dir(name))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(name))
		}
	}()
	if mode != 0 {
		if err := f.Chmod(mode.Perm() & 0o666); err != nil {
			return err
		}
	}
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.Sync()
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (dir folder) remove(_ context.Context, key string) error {
	if err := os.Remove(dir.path(key)); !errors.Is(err, fs.ErrNotExist) {
		return fileError(err)
	}
	return nil
}

func (dir folder) list(ctx context.Context, prefix string, _ int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		root := dir.path(path.Dir(prefix + "x")) // the deepest folder that contains all keys
		err := filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) { // removed in the meantime, or never created
				return nil
			}
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			rel, err := filepath.Rel(string(dir), at)
			if err != nil || d.IsDir() {
				return err
			}
			if key := filepath.ToSlash(rel); strings.HasPrefix(key, prefix) && !yield(key, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield("", fileError(err))
		}
	}
}

// makeFolder creates a folder and its missing parents. A new folder gets the permissions
// of a shared parent, whatever the umask: otherwise other users could not enter it. In a
// folder that is not shared, the umask decides.
func makeFolder(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeFolder(parent); err != nil {
		return err
	}
	mode, err := shared(parent)
	if err != nil {
		return err
	}
	if mode == 0 {
		if err := os.Mkdir(dir, 0o777); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	}
	// The folder becomes visible only once it has its permissions.
	tmp, err := os.MkdirTemp(parent, "*.tmp")
	if err != nil {
		return err
	}
	if err = os.Chmod(tmp, mode); err == nil {
		err = os.Rename(tmp, dir)
	}
	if err == nil {
		return nil
	}
	err = errors.Join(err, os.Remove(tmp))
	if _, there := os.Stat(dir); there == nil { // another process was faster
		return nil
	}
	return err
}

// shared returns the mode that new entries of a folder inherit. It is 0 if they inherit
// none: only the owner may write to the folder, or, as in /tmp, everybody may write but
// only change their own files.
func shared(dir string) (fs.FileMode, error) {
	info, err := os.Stat(dir)
	if err != nil || info.Mode()&0o022 == 0 || info.Mode()&fs.ModeSticky != 0 {
		return 0, err
	}
	return info.Mode() & (fs.ModePerm | fs.ModeSetgid), nil
}
