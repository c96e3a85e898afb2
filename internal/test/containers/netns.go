package containers

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// within calls do on a thread that is in the network namespace of a process. Sockets that it opens stay there. The
// thread comes back: processes that it has started would end with it.
func within(pid int, do func() error) error {
	open := func(path string) (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) }
	runtime.LockOSThread()
	own, err := open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() { _ = unix.Close(own) }()
	other, err := open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() { _ = unix.Close(other) }()
	if err = unix.Setns(other, unix.CLONE_NEWNET); err == nil {
		err = do()
		if back := unix.Setns(own, unix.CLONE_NEWNET); back != nil {
			return back // the thread stays locked, so that nothing else runs there
		}
	}
	runtime.UnlockOSThread()
	return err
}

// connect makes the loopback of a process's network namespace work, and leads one address there to that of this
// machine: the storage, which listens on the loopback too. It returns what stops that.
func connect(pid int, address string) (stop func(), err error) {
	var l net.Listener
	err = within(pid, func() (err error) {
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("set up the loopback: %w", err)
		}
		l, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				to, err := net.Dial("tcp", address)
				if err != nil {
					return
				}
				defer to.Close()
				go func() {
					_, _ = io.Copy(to, from)           // the other side sees the end
					_ = to.(*net.TCPConn).CloseWrite() //nolint:forcetypeassert // of tcp
				}()
				_, _ = io.Copy(from, to)
			}()
		}
	}()
	return func() { _ = l.Close() }, nil
}

// dialIn connects to a port of a process's network namespace.
func dialIn(ctx context.Context, pid, port int) (c net.Conn, err error) {
	err = within(pid, func() (err error) {
		var d net.Dialer
		c, err = d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		return err
	})
	return c, err
}

// loopbackUp does what ip link set lo up does, in the namespace of the calling thread.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(r)))
	if errno != 0 {
		return errno
	}
	return nil
}
