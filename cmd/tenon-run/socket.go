package main

import (
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/internal/sharedport"
)

// A held is the socket of a service, which this process has as well as the program. It stays while
// the program is started again, so that connections wait in it meanwhile.
type held struct {
	at     netip.AddrPort // invalid if the socket of the program is its own
	name   string         // at which the next version gets it; "" if at none
	former []string       // names at which the versions before hand theirs out
	hander *sharedport.Hander
	file   *os.File // nil if there is none
}

// give returns the variables and the files of a program, with the socket after the files that it
// inherits anyway. If the address cannot be had, the program tries as well, and says why.
func (h *held) give(env []string, files ...*os.File) ([]string, []*os.File) {
	if h.open(); h.file == nil {
		return env, files
	}
	name := h.name
	if h.hander == nil {
		name = "" // somebody else has it
	}
	return append(env, sharedport.Variable+"="+sharedport.Value(len(files), name)), append(files, h.file)
}

// listens reports whether there is a socket that listens.
func (h *held) listens() bool { return h.file != nil && sharedport.Listens(int(h.file.Fd())) }

// await waits until a connection is in the socket, and reports whether one is.
func (h *held) await(most time.Duration) bool { return sharedport.Await(int(h.file.Fd()), most) }

// taken reports whether the next version, or the one before, has the socket too.
func (h *held) taken() bool { return h.hander != nil && h.hander.Taken() }

// open makes the socket, unless there is one that listens: if the program was about to end by itself,
// and nobody else has the socket, it has stopped listening. Then one that does not listen yet replaces
// it.
func (h *held) open() {
	if !h.at.IsValid() || h.listens() {
		return
	}
	fd, givers := h.take()
	if h.former = nil; fd < 0 {
		var err error
		if fd, err = sharedport.Bind(h.at); err != nil {
			fd = -1
		}
	}
	if h.hander == nil && h.name != "" {
		h.hander, _ = sharedport.Hand(h.name) // without it, the next version has a socket of its own
	}
	if h.hander != nil {
		h.hander.Set(fd, givers...)
	}
	if h.file != nil {
		_ = h.file.Close()
		h.file = nil
	}
	if fd >= 0 {
		h.file = os.NewFile(uintptr(fd), "socket")
	}
}

// take takes the socket of a version before, and lets all that have this very socket know: any of
// them may be the last but this one.
func (h *held) take() (fd int, givers []int) {
	fd = -1
	for _, name := range h.former {
		next, giver, ok := sharedport.Take(name, h.at)
		switch {
		case !ok:
			continue
		case fd < 0:
			fd = next
		case sharedport.Same(fd, next):
			_ = unix.Close(next)
		default:
			_, _ = unix.Close(next), unix.Close(giver)
			continue
		}
		givers = append(givers, giver)
	}
	return fd, givers
}
