package plane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/internal/sharedport"
)

// A socket is bound but does not listen: until it does, the kernel gives it no connections.
// Other processes may bind the same port, so that a new version can start beside this one.
type socket struct {
	file   *os.File
	handed string // name at which it is handed out; "" if at none
	host   string
	port   int
	given  bool          // tenon-run has it as well, and starts this program again when a connection waits in it
	rest   time.Duration // without requests, after which the program leaves it; 0 is never
}

// bind binds a port. It fails if a program that does not share the port has it.
func bind(host string, port int) (*socket, error) {
	if host == "" {
		host = "127.0.0.1"
	}
	where := host + ":" + strconv.Itoa(port)
	addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", where, err)
	}
	at := addr.AddrPort()
	fd, handed, given := sharedport.Given(at)
	if !given {
		handed = ""
		if fd, err = sharedport.Bind(at); err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", where, err)
		}
	}
	return &socket{file: os.NewFile(uintptr(fd), "socket"), handed: handed, host: host, port: port, given: given}, nil
}

// serving returns a context that ends when the service is asked to end. Connections that wait in
// its socket are answered first, also if that happens while the service loads, which would
// otherwise end it at once.
func serving(ctx context.Context) (context.Context, context.CancelFunc) {
	if !sharedport.Waiting() {
		return context.WithCancel(ctx)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	if os.Getenv(sharedport.Last) != "" {
		var end context.CancelFunc
		ctx, end = context.WithCancel(ctx)
		end() // and a signal while it loads does not end it either
	}
	return ctx, stop
}

// backlog is how many connections the kernel completes before they are accepted.
const backlog = 2048

// listen makes the kernel give it connections.
func (s *socket) listen(most int) (*listener, error) {
	if err := unix.Listen(int(s.file.Fd()), backlog); err != nil {
		return nil, fmt.Errorf("cannot listen on %s:%d: %w", s.host, s.port, err)
	}
	l, err := net.FileListener(s.file)
	_ = s.file.Close() // the listener has a copy
	if err != nil {
		return nil, err
	}
	rest := s.rest
	if !s.given {
		rest = 0 // nobody would start it again
	}
	return &listener{TCPListener: l.(*net.TCPListener), handed: s.handed, rest: rest, slots: make(chan struct{}, most), late: make(chan net.Conn), stopped: make(chan struct{}), closed: make(chan struct{})}, nil
}

// A listener accepts a limited number of connections at a time. Others wait in the kernel.
type listener struct {
	*net.TCPListener
	handed  string
	rest    time.Duration // of its socket
	slots   chan struct{}
	late    chan net.Conn // accepted by stop
	stopped chan struct{}
	closed  chan struct{}
	once    sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.stopped:
		return l.acceptLate()
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.AcceptTCP()
	if err != nil {
		<-l.slots
		select {
		case <-l.stopped:
			return l.acceptLate()
		default:
			return nil, err
		}
	}
	return &connection{TCPConn: c, slots: l.slots}, nil
}

func (l *listener) acceptLate() (net.Conn, error) {
	select {
	case c := <-l.late:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}

// stop makes new connections fail or go to the next version. If that has the same socket, it gets
// all that are not accepted yet. Otherwise the kernel would reset those that are complete, so this
// accepts them first. Close has to follow.
func (l *listener) stop() error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	close(l.stopped)
	if l.handed != "" && sharedport.Taken(l.handed) {
		return l.TCPListener.Close()
	}
	var files []int
	err = raw.Control(func(fd uintptr) {
		for {
			c, _, err := unix.Accept(int(fd))
			if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED) {
				continue
			}
			if err != nil {
				break
			}
			unix.CloseOnExec(c)
			files = append(files, c)
		}
		_ = unix.Shutdown(int(fd), unix.SHUT_RD)
	})
	_ = l.TCPListener.Close() // the Accept that waits returns
	for _, fd := range files {
		f := os.NewFile(uintptr(fd), "connection")
		c, err := net.FileConn(f)
		_ = f.Close()
		if err != nil {
			continue
		}
		select {
		case l.late <- c:
		case <-l.closed:
			_ = c.Close()
		}
	}
	return err
}

// leave lets new connections wait until this program is started again. Close has to follow.
func (l *listener) leave() error {
	close(l.stopped)
	return l.TCPListener.Close()
}

// rested returns a channel that is closed once nobody has asked anything for a while. It is nil if
// the service does not rest.
func (c *process) rested(ctx context.Context, after time.Duration) <-chan struct{} {
	if after == 0 {
		return nil
	}
	idle := make(chan struct{})
	go func() {
		tick := time.NewTicker(min(after/4+time.Millisecond, time.Second))
		defer tick.Stop()
		for last, sum := time.Now(), c.load.Seconds(); ; {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				if s := c.load.Seconds(); s != sum || !c.load.Idle() {
					last, sum = now, s
				} else if now.Sub(last) >= after {
					close(idle)
					return
				}
			}
		}
	}()
	return idle
}

// A connection frees its slot when it is closed.
type connection struct {
	*net.TCPConn
	slots chan struct{}
	once  sync.Once
}

func (c *connection) Close() error {
	c.once.Do(func() { <-c.slots })
	return c.TCPConn.Close()
}

func (s *socket) String() string {
	host := s.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(s.port)
}
