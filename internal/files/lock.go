package files

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Lock waits until no other process holds the lock, and creates the file if
// necessary. The lock belongs to the open file and ends with the last process that has it
// open.
func Lock(ctx context.Context, path string) (*os.File, error) {
	f, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	for {
		if got, err := tryLock(f); err != nil {
			f.Close()
			return nil, err
		} else if got {
			return f, nil
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for %s, which another process is building: %w", strings.TrimSuffix(path, ".lock"), context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TryLock is Lock without waiting: it returns nil if another process holds the lock.
func TryLock(path string) (*os.File, error) {
	f, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	got, err := tryLock(f)
	if !got {
		f.Close()
		f = nil
	}
	return f, err
}

func lockFile(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
}

// tryLock reports whether it has got the lock of an open file.
func tryLock(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return true, nil
}

// Share locks a file together with others, and creates it if necessary. If nobody else has it,
// it first calls alone, during which nobody else gets it. The lock ends when the file is closed.
func Share(path string, alone func()) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		alone()
	}
	// To change the lock is to release it first. Whoever gets it in between is done before.
	for {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_SH); {
		case err == nil:
			return f, nil
		case !errors.Is(err, unix.EINTR):
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}
