package componenttest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/internal/files"
)

// Labs are folders in [os.TempDir] with this prefix. Whoever uses one holds its lock; the
// kernel releases that of a process that was killed.
const labPrefix = "tenon-component-"

// stateFolder is the folder of the state in a lab.
const stateFolder = "state"

// newFolder makes a folder for a lab and locks it.
func newFolder() (dir string, lock *os.File, err error) {
	for {
		if dir, err = os.MkdirTemp("", labPrefix); err != nil {
			return "", nil, err
		}
		lock, err = tryLock(dir)
		if lock == nil && (err == nil || errors.Is(err, fs.ErrNotExist)) {
			continue // another runner took it for a folder that was left
		}
		return dir, lock, err
	}
}

// tryLock locks a folder. It returns nil if somebody else holds the lock, or if the
// folder was replaced.
func tryLock(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		var held, there fs.FileInfo
		if held, err = f.Stat(); err == nil {
			there, err = os.Lstat(dir)
		}
		if err == nil && os.SameFile(held, there) {
			return f, nil
		}
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, err
}

// clearLeft destroys what runs of this user left behind that were killed: their services,
// and their folders.
func clearLeft(ctx context.Context, s project.Settings) error {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), labPrefix+"*"))
	if err != nil {
		return err
	}
	var faults []error
	for _, dir := range left {
		// A state says what to end and to remove: trust only one of this user.
		var st unix.Stat_t
		if unix.Lstat(dir, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != uint32(os.Geteuid()) || st.Mode&0o077 != 0 {
			continue
		}
		lock, err := tryLock(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && lock == nil {
			continue
		}
		if err == nil {
			err = errors.Join(destroyLeft(ctx, s, dir), lock.Close())
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("a killed component test left %s: %w", dir, err))
		}
	}
	return errors.Join(faults...)
}

// destroyLeft destroys what is recorded in the state of a lab, and removes the lab.
func destroyLeft(ctx context.Context, s project.Settings, dir string) error {
	s.Dir, s.State = dir, filepath.Join(dir, stateFolder)
	w, err := project.New(s).Open(ctx)
	if err != nil {
		return err
	}
	session, err := w.Lock(ctx, "component test", 0)
	if err == nil {
		err = errors.Join(destroy(ctx, session), session.Release(ctx))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	return files.RemoveAll(dir)
}

// destroy ends everything that a lab has started, even if its run was canceled.
func destroy(ctx context.Context, s *project.Session) error {
	r, err := s.Destroy(context.WithoutCancel(ctx), project.ApplyOptions{})
	if err == nil && len(r.Failed) > 0 {
		err = r.Failed[0]
	}
	return err
}
