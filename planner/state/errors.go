package state

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/mattn/go-sqlite3"
)

// ErrFenced is returned by every write of a lease that another process took
// over. Nothing was written.
var ErrFenced = errors.New("the lock on the state was taken over by another process")

// ErrNotFound is returned where something was asked for by name and is not
// there.
var ErrNotFound = errors.New("not in the state")

// A NewerError means that a newer Tenon wrote the state.
type NewerError struct {
	Path    string
	Version int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("%s: state was written by a newer tenon (layout %d, this one knows %d): upgrade tenon", e.Path, e.Version, Version)
}

// A DamagedError means that the database cannot be read.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s is damaged: %v; %s", e.Path, e.Err, begunAnew)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// begunAnew is the way out where the record is lost: what it told of does not end
// with it.
const begunAnew = "restore it from a backup, with its -wal if it has one; without one, end what still runs and move the folder away to begin anew"

// A LostError means that the database is gone, but not what it told of.
type LostError struct {
	Path string
	Gone string // the file that is gone, of those that make up the database
	Used bool   // it was, while it was written to
}

func (e *LostError) Error() string {
	if e.Used {
		return fmt.Sprintf("%s was removed or replaced while it was in use: what was done since is recorded nowhere; %s", e.Gone, begunAnew)
	}
	return fmt.Sprintf("%s is gone, and what it told of is still there: %s", e.Gone, begunAnew)
}

// An AccessError means that the folder or the database cannot be opened or
// written by this user.
type AccessError struct {
	Path string
	Err  error
}

func (e *AccessError) Error() string {
	return fmt.Sprintf("cannot open the state %s: %v; the folder and its files must be writable by the user who runs tenon", e.Path, e.Err)
}

func (e *AccessError) Unwrap() error { return e.Err }

// A HeldError means that another process holds the lock.
type HeldError struct {
	Holder  Holder
	Since   time.Time
	Expires time.Time // unless it is renewed
}

func (e *HeldError) Error() string {
	who := fmt.Sprintf("process %d on %s", e.Holder.PID, e.Holder.Host)
	if e.Holder.User != "" {
		who = e.Holder.User + ", " + who
	}
	if e.Holder.Command != "" {
		who += fmt.Sprintf(" (%s)", e.Holder.Command)
	}
	return fmt.Sprintf("the state is locked by %s since %s; the lock clears itself at %s unless it is renewed",
		who, e.Since.UTC().Format(time.RFC3339), e.Expires.UTC().Format(time.RFC3339))
}

// explain turns an error of the database into one that says what to do.
func explain(path, doing string, err error) error {
	if err == nil {
		return nil
	}
	var se sqlite3.Error
	if errors.As(err, &se) {
		if se.Code == sqlite3.ErrFull || se.SystemErrno == syscall.ENOSPC {
			return fmt.Errorf("%s: no space left on the disk of %s: free some and do it again: %w", doing, path, err)
		}
		switch se.Code {
		case sqlite3.ErrCorrupt, sqlite3.ErrNotADB:
			return &DamagedError{Path: path, Err: err}
		case sqlite3.ErrReadonly, sqlite3.ErrCantOpen, sqlite3.ErrPerm:
			return &AccessError{Path: path, Err: err}
		case sqlite3.ErrBusy, sqlite3.ErrLocked:
			return fmt.Errorf("%s: %s is busy: another process has been writing for longer than %s: %w", doing, path, busyTimeout, err)
		}
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return &AccessError{Path: path, Err: err}
	}
	return fmt.Errorf("%s: %w", doing, err)
}
