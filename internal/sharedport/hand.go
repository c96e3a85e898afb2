package sharedport

import (
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A version of a service that takes over gets the very socket of the version before: with a socket
// of its own, the connections that the kernel gave to the former one just before that stops
// listening would be reset. Whoever has the socket listens at a name among the abstract Unix
// sockets, which belong to the network and so are the same in and outside of containers.
//
// A request is one byte, and so is the answer, with the socket if it was asked for. The process
// that took a socket keeps the connection, which shows that it is alive.
const (
	askSocket = 's'
	askTaken  = 't'
	no, yes   = '0', '1'
)

// patience is how long either side waits for the other, in seconds.
const patience = 2

// A Hander gives a socket to processes of the same user.
type Hander struct {
	listener int

	mu     sync.Mutex
	socket int
	givers []int // connections to those who had the socket before this process
	takers []int
}

// Hand gives sockets to those who ask at a name, until this process ends. Until [Hander.Set] is
// called there is none.
func Hand(name string) (*Hander, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: abstract(name)})
	if err == nil {
		err = unix.Listen(fd, 16)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	h := &Hander{listener: fd, socket: -1}
	go h.serve()
	return h, nil
}

func abstract(name string) string { return "@tenon-socket/" + name }

// Set replaces the socket. givers are the connections that [Take] has returned with it.
func (h *Hander) Set(fd int, givers ...int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.givers {
		_ = unix.Close(c)
	}
	h.socket, h.givers = fd, givers
}

// Taken reports whether another process that has the socket is still there: one that has taken it
// here, or one that had it before.
func (h *Hander) Taken() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.taken()
}

func (h *Hander) serve() {
	for {
		c, _, err := unix.Accept4(h.listener, unix.SOCK_CLOEXEC)
		switch err {
		case nil:
		case unix.EBADF, unix.EINVAL:
			return
		default:
			time.Sleep(10 * time.Millisecond) // such as too many open files
			continue
		}
		if !h.answer(c) {
			_ = unix.Close(c)
		}
	}
}

// answer reports whether the connection is that of a process which has the socket now.
func (h *Hander) answer(c int) (took bool) {
	var asked [1]byte
	if !sameUser(c) || !wait(c) {
		return false
	}
	if n, err := read(c, asked[:]); n != 1 || err != nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case asked[0] == askTaken:
		answer := byte(no)
		if h.taken() {
			answer = yes
		}
		_ = unix.Sendmsg(c, []byte{answer}, nil, nil, unix.MSG_NOSIGNAL) // nobody waits for it then
	case asked[0] == askSocket && h.socket >= 0:
		if err := unix.Sendmsg(c, []byte{yes}, unix.UnixRights(h.socket), nil, unix.MSG_NOSIGNAL); err == nil {
			h.takers = append(h.takers, c)
			return true
		}
	}
	return false
}

// taken is [Hander.Taken] for whoever has the lock.
func (h *Hander) taken() bool {
	h.takers, h.givers = present(h.takers), present(h.givers)
	return len(h.takers)+len(h.givers) > 0
}

// present returns those of some connections whose other side is still there, and closes the others.
func present(all []int) (there []int) {
	for _, c := range all {
		var b [1]byte
		if n, _, err := unix.Recvfrom(c, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT); n == 0 && err == nil {
			_ = unix.Close(c)
			continue
		}
		there = append(there, c)
	}
	return there
}

// Take returns the socket that a process hands out at a name, if it is bound to an address, and the
// connection to that process. While the connection is open, each knows whether the other is there.
func Take(name string, at netip.AddrPort) (fd, giver int, ok bool) {
	c, ok := ask(name, askSocket)
	if !ok {
		return -1, -1, false
	}
	answer, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, n2, _, _, err := unix.Recvmsg(c, answer, rights, unix.MSG_CMSG_CLOEXEC)
	for err == unix.EINTR {
		n, n2, _, _, err = unix.Recvmsg(c, answer, rights, unix.MSG_CMSG_CLOEXEC)
	}
	fd = -1
	if err == nil && n == 1 && answer[0] == yes {
		fd = received(rights[:n2])
	}
	if fd >= 0 && isAt(fd, at) {
		return fd, c, true
	}
	if fd >= 0 {
		_ = unix.Close(fd)
	}
	_ = unix.Close(c)
	return -1, -1, false
}

// Same reports whether two descriptors are those of one socket.
func Same(a, b int) bool {
	x, err := unix.GetsockoptUint64(a, unix.SOL_SOCKET, unix.SO_COOKIE)
	y, err2 := unix.GetsockoptUint64(b, unix.SOL_SOCKET, unix.SO_COOKIE)
	return err == nil && err2 == nil && x == y
}

func received(rights []byte) int {
	all, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(all) != 1 {
		return -1
	}
	fds, err := unix.ParseUnixRights(&all[0])
	if err != nil || len(fds) != 1 {
		return -1
	}
	return fds[0]
}

// Taken reports whether another process has the socket that is handed out at a name, so that this
// socket has to go on listening when the program that was given it stops. So it has if that cannot
// be found out in time: then a few connections may wait in vain, and otherwise nobody could connect.
func Taken(name string) bool {
	c, ok := ask(name, askTaken)
	if !ok {
		return false
	}
	defer unix.Close(c)
	var answer [1]byte
	n, err := read(c, answer[:])
	return err == unix.EAGAIN || err == nil && n == 1 && answer[0] == yes
}

// ask returns a connection on which something was asked.
func ask(name string, what byte) (c int, ok bool) {
	c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, false
	}
	err = unix.Connect(c, &unix.SockaddrUnix{Name: abstract(name)})
	if err == nil && sameUser(c) && wait(c) {
		if err = unix.Sendmsg(c, []byte{what}, nil, nil, unix.MSG_NOSIGNAL); err == nil {
			return c, true
		}
	}
	_ = unix.Close(c)
	return -1, false
}

// sameUser reports whether the other side of a connection belongs to the user of this process.
func sameUser(c int) bool {
	peer, err := unix.GetsockoptUcred(c, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err == nil && int(peer.Uid) == os.Geteuid()
}

// wait bounds how long a connection is waited for.
func wait(c int) bool {
	return unix.SetsockoptTimeval(c, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: patience}) == nil
}

// read reads from a connection. Signals, of which there may be some just then, interrupt such a call.
func read(c int, b []byte) (n int, err error) {
	for {
		if n, err = unix.Read(c, b); err != unix.EINTR {
			return n, err
		}
	}
}
