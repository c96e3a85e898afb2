package worker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/local/lives"
)

// A process is a worker that was started.
type process struct {
	net.Conn               // to the process
	pid      int           // also of its group
	gone     chan struct{} // closed once it has ended
	status   int           // valid after gone: a status above 128 stands for a signal
	retired  bool          // there are to be fewer processes
	said     *words
	encoder  *encoder
	buffer   []byte // for answers
}

// start starts a process. argv is the interpreter, the script and its arguments.
func start(argv []string, dir string, ended func()) (*process, error) {
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	_ = ours.Close() // conn has a copy
	if err != nil {
		return nil, err
	}
	said, stderr, err := hear(os.Stderr)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	defer stderr.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles, cmd.SysProcAttr = dir, Environ(), os.Stdout, stderr, []*os.File{theirs}, attributes()
	if err := onStarter(cmd.Start); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	w := &process{Conn: conn, pid: cmd.Process.Pid, gone: make(chan struct{}), said: said}
	go func() {
		var exit *exec.ExitError
		if err := cmd.Wait(); errors.As(err, &exit) {
			w.status = exit.ExitCode()
			if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
				w.status = 128 + int(s.Signal())
			}
		}
		_ = unix.Kill(-w.pid, unix.SIGKILL) // what it has started has its end of the socket
		_ = conn.Close()
		said.wait()
		close(w.gone)
		ended()
	}()
	return w, nil
}

// StartChild starts a command in a group of its own. The kernel kills it when this program ends.
func StartChild(cmd *exec.Cmd) error {
	cmd.SysProcAttr = attributes()
	return onStarter(cmd.Start)
}

// pair returns the two ends of a socket that other programs do not inherit.
func pair() (ours, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "plane"), nil
}

func (w *process) kill() { _ = unix.Kill(-w.pid, unix.SIGKILL) }

// how says how it has ended, and what it said last.
func (w *process) how() string {
	how := lives.How(w.status)
	// A process that is stopped or killed did not print why.
	if w.status == 0 || w.status == 128+int(unix.SIGKILL) || w.status == 128+int(unix.SIGTERM) {
		return how
	}
	if says := w.said.last(); says != "" {
		how += ": " + says
	}
	return how
}

// lastWords is how long a worker may take to end after its socket was closed.
const lastWords = 5 * time.Second

// end ends it and waits.
func (w *process) end() {
	_ = w.Close()
	select {
	case <-w.gone:
	case <-time.After(lastWords):
		w.kill()
		<-w.gone
	}
}
