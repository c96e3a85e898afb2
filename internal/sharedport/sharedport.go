// Package sharedport makes sockets for ports that several processes have at the same time, as a
// service and the next version of it do (SO_REUSEPORT). It also passes such a socket to a program,
// so that whoever started the program has the socket as well: connections then wait in it while the
// program is started again. It links no package net, so that small programs can use it.
package sharedport

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Variable has the descriptor of a socket that a program was given, and the name at which whoever
// gave it hands it out, if there is one. The socket is bound. It listens only if a program that had
// it before has listened on it.
const Variable = "TENON_SOCKET"

// Last is set for a program that is started only to answer the connections that wait in the socket
// of [Variable]: somebody has asked it to end.
const Last = "TENON_SOCKET_LAST"

// Value is the value of the variable. name may be empty.
func Value(fd int, name string) string {
	return strings.TrimSuffix(strconv.Itoa(fd)+" "+name, " ")
}

// Bind returns a socket that is bound and does not listen: the kernel gives it no connections. It
// fails if a program that does not share the port has it.
func Bind(at netip.AddrPort) (fd int, err error) {
	ip := at.Addr().Unmap()
	var to unix.Sockaddr = &unix.SockaddrInet6{Port: int(at.Port()), Addr: ip.As16()}
	family := unix.AF_INET6
	if ip.Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: ip.As4()}
	}
	if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, err
	}
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			break
		}
	}
	if err == nil {
		err = unix.Bind(fd, to)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Listens reports whether a socket listens.
func Listens(fd int) bool {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && n == 1
}

// Await waits until a connection is in a socket that listens, and reports whether one is.
func Await(fd int, most time.Duration) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(most.Milliseconds()))
	return n > 0 && err == nil
}

// Waiting reports whether connections may wait in the socket that this program was given.
func Waiting() bool {
	fd, _ := given(os.Getenv(Variable))
	return fd > 2 && Listens(fd)
}

// given reads the value of the variable. The descriptor is at most 2 if it is none.
func given(value string) (fd int, name string) {
	text, name, _ := strings.Cut(value, " ")
	fd, _ = strconv.Atoi(text) // 0 if it is no number
	return fd, name
}

// Given returns the socket that this program was given, if it is bound to an address, and the name at
// which it is handed out. Programs that this one starts are not given it.
func Given(at netip.AddrPort) (fd int, name string, ok bool) {
	text, ok := os.LookupEnv(Variable)
	if !ok {
		return -1, "", false
	}
	_ = os.Unsetenv(Variable)
	if fd, name = given(text); fd <= 2 {
		return -1, "", false
	}
	unix.CloseOnExec(fd)
	return fd, name, isAt(fd, at)
}

// isAt reports whether a descriptor is a socket that is bound to an address.
func isAt(fd int, at netip.AddrPort) bool {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	var is netip.AddrPort
	switch x := name.(type) {
	case *unix.SockaddrInet4:
		is = netip.AddrPortFrom(netip.AddrFrom4(x.Addr), uint16(x.Port))
	case *unix.SockaddrInet6:
		is = netip.AddrPortFrom(netip.AddrFrom16(x.Addr).Unmap(), uint16(x.Port))
	}
	return is == netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}
