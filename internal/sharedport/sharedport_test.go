package sharedport

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"

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
		t.Setenv(Variable, strconv.Itoa(fd))
		if got, ok := Given(at); !ok || got != fd {
			t.Errorf("%s: got %d, %v", at, got, ok)
		}
		if _, ok := Given(at); ok {
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
		if _, ok := Given(at); ok {
			t.Errorf("%q is a socket", value)
		}
	}
	t.Setenv(Variable, strconv.Itoa(fd))
	if _, ok := Given(netip.AddrPortFrom(at.Addr(), at.Port()^1)); ok {
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
