package state

import (
	"errors"
	"fmt"
	"time"
)

// ErrFenced is returned by every write of a lease that another process took over. Nothing
// is written after that.
var ErrFenced = errors.New("the lock on the state was taken over by another process")

// ErrNotFound means that the requested name is not in the state.
var ErrNotFound = errors.New("not in the state")

// errReplaced means that the state is no longer the one on which the lease was taken.
var errReplaced = errors.New("the database was replaced")

// An ElsewhereRunError means that another environment makes the same result now.
type ElsewhereRunError struct{ Env string }

func (e *ElsewhereRunError) Error() string {
	return fmt.Sprintf("the apply of %s runs it now", EnvironmentNamed(e.Env))
}

// A tornError means that reading failed after some rows were read.
type tornError struct{ error }

func (e *tornError) Unwrap() error { return e.error }

// A newerError means that a newer Tenon wrote the state.
type newerError struct {
	Path    string
	Version int
}

func (e *newerError) Error() string {
	return fmt.Sprintf("%s: state was written by a newer tenon (layout %d, this one supports %d): upgrade tenon", e.Path, e.Version, layoutVersion)
}

// An olderError means that an older Tenon wrote the state, which is not migrated.
type olderError struct {
	Path    string
	Version int
}

func (e *olderError) Error() string {
	return fmt.Sprintf("%s: state was written by an older tenon (layout %d, this one has %d), and is only read here: run tenon status of this version there, which migrates it, "+
		"if the older version is no longer used there", e.Path, e.Version, layoutVersion)
}

// A DamagedError means that the database cannot be read.
type DamagedError struct {
	Path   string
	Err    error
	Remedy string // remedy
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s is damaged: %v; %s", e.Path, e.Err, e.Remedy)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// A LostError means that the database is gone, but not the things that it recorded.
type LostError struct {
	Path   string
	Gone   string // the part of the database that is gone
	Used   bool   // it disappeared while it was written to
	Remedy string // remedy: what the database recorded may still run
}

func (e *LostError) Error() string {
	if e.Used {
		return fmt.Sprintf("%s was removed or replaced while it was in use: later changes were not recorded; %s", e.Gone, e.Remedy)
	}
	return fmt.Sprintf("%s is missing, but what it recorded still exists: %s", e.Gone, e.Remedy)
}

// An AccessError means that the folder or the database cannot be opened or
// written by this user.
type AccessError struct {
	Path   string
	Err    error
	Remedy string // remedy
}

func (e *AccessError) Error() string {
	return fmt.Sprintf("cannot open the state %s: %v; %s", e.Path, e.Err, e.Remedy)
}

func (e *AccessError) Unwrap() error { return e.Err }

// An UnreachableError means that the server of the database does not answer.
type UnreachableError struct {
	Path  string
	Doing string
	Err   error
	After time.Duration // how long it was retried; 0 for one attempt
}

func (e *UnreachableError) Error() string {
	after := ""
	if e.After > 0 {
		after = fmt.Sprintf(" for %s", e.After)
	}
	return fmt.Sprintf("%s: cannot reach the state %s%s: %v; try again when the server answers: what was recorded is not lost", e.Doing, e.Path, after, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

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
