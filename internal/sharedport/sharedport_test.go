package sharedport

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func bindFree(t *testing.T, host string) (int, netip.AddrPort) {
	t.Helper()
	free, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skip("no such address here: ", err)
	}
	at := free.Addr().(*net.TCPAddr).AddrPort()
	free.Close()
	fd, err := Bind(at)
	if err != nil {
		t.Fatal(err)
	}
	return fd, at
}

func TestASocketIsTakenOnce(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1", "0.0.0.0"} {
		fd, at := bindFree(t, host)
		t.Setenv(Variable, Value(fd, "a name"))
		if got, name, ok := Given(at); !ok || got != fd || name != "a name" {
			t.Errorf("%s: got %d, %q, %v", at, got, name, ok)
		}
		if _, _, ok := Given(at); ok {
			t.Errorf("%s: it is given twice", at)
		}
		unix.Close(fd)
	}
}

// A program that was given the socket of another address uses one of its own.
func TestASocketOfAnotherAddress(t *testing.T) {
	fd, at := bindFree(t, "127.0.0.1")
	defer unix.Close(fd)
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, value := range []string{"", "x", "0", "2", "99999", strconv.Itoa(int(file.Fd()))} {
		t.Setenv(Variable, value)
		if _, _, ok := Given(at); ok {
			t.Errorf("%q is a socket", value)
		}
	}
	t.Setenv(Variable, strconv.Itoa(fd))
	if _, _, ok := Given(netip.AddrPortFrom(at.Addr(), at.Port()^1)); ok {
		t.Error("it is given for another port")
	}
}

func TestTwoProcessesShareAPort(t *testing.T) {
	a, at := bindFree(t, "127.0.0.1")
	defer unix.Close(a)
	b, err := Bind(at)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(b)
	if Listens(a) {
		t.Error("it listens before it was told to")
	}
	if err := unix.Listen(a, 1); err != nil || !Listens(a) || Listens(b) {
		t.Errorf("%v, %v, %v", err, Listens(a), Listens(b))
	}
}

func TestAPortOfAProgramThatSharesNone(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := Bind(other.Addr().(*net.TCPAddr).AddrPort()); err != unix.EADDRINUSE {
		t.Errorf("got %v", err)
	}
}

// The next version gets the very socket, and the version before knows it until that one ends.
func TestASocketIsHandedToTheNextVersion(t *testing.T) {
	a, at := bindFree(t, "127.0.0.1")
	defer unix.Close(a)
	name := t.Name() + at.String()
	if _, _, ok := Take(name, at); ok || Taken(name) {
		t.Fatal("nobody hands it out")
	}
	h, err := Hand(name)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Shutdown(h.listener, unix.SHUT_RDWR)
	if _, _, ok := Take(name, at); ok || Taken(name) {
		t.Error("there is none yet")
	}
	h.Set(a)
	if _, _, ok := Take(name, netip.AddrPortFrom(at.Addr(), at.Port()^1)); ok {
		t.Error("it is taken for another port")
	}
	until(t, "a socket that was not wanted counts as taken", func() bool { return !Taken(name) })
	c, ok := ask(name, askSocket)
	if !ok {
		t.Fatal("it is not handed out")
	}
	until(t, "it is not taken", func() bool { return Taken(name) })
	unix.Close(c) // as at the end of the process
	until(t, "it is taken by a process that has ended", func() bool { return !Taken(name) })
	b, giver, ok := Take(name, at)
	if !ok || !Taken(name) {
		t.Fatal("it is not taken")
	}
	defer unix.Close(b)
	if err := unix.Listen(b, 1); err != nil || !Listens(a) || !Same(a, b) || Same(a, h.listener) {
		t.Errorf("%v; they are two sockets", err)
	}
	h2, err := Hand(name + " next")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Shutdown(h2.listener, unix.SHUT_RDWR)
	if h2.Set(b, giver); !Taken(name + " next") {
		t.Error("the next version does not know that the version before has the socket")
	}
	if h2.Set(b); Taken(name + " next") {
		t.Error("it goes on knowing that of another socket")
	}
	until(t, "the version before does not know that its socket was replaced", func() bool { return !Taken(name) })
}

// A program does not stop listening at a socket that the next version may have.
func TestWhoeverHandsASocketOutIsSlow(t *testing.T) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	name := t.Name() + strconv.Itoa(os.Getpid())
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: abstract(name)}); err != nil {
		t.Fatal(err)
	}
	if Taken(name) {
		t.Error("nobody hands it out")
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	if !Taken(name) {
		t.Error("a socket of which nothing is known counts as free")
	}
}

func until(t *testing.T, not string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(not)
		}
	}
}
