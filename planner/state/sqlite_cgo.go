//go:build cgo

package state

import (
	"errors"
	"syscall"

	"github.com/mattn/go-sqlite3"
)

// faultOf returns what SQLite says about an error.
func faultOf(err error) sqliteFault {
	var se sqlite3.Error
	if !errors.As(err, &se) {
		return faultOther
	}
	if se.Code == sqlite3.ErrFull || se.SystemErrno == syscall.ENOSPC {
		return faultFull
	}
	switch se.Code {
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB:
		return faultDamaged
	case sqlite3.ErrReadonly, sqlite3.ErrCantOpen, sqlite3.ErrPerm:
		return faultDenied
	case sqlite3.ErrBusy:
		return faultBusy
	case sqlite3.ErrLocked:
		return faultLocked
	}
	return faultOther
}
