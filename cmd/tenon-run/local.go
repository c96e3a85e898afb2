package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/local/pid1"
	"github.com/tenon-ml/tenon/internal/logfile"
	"github.com/tenon-ml/tenon/internal/sharedport"
)

// Descriptors that a leader inherits.
const (
	goAhead = 3 // a pipe; a line is the go-ahead, its end without one is that tenon died
	locked  = 4 // the run folder, whose lock it holds until it has the go-ahead
)

// lead runs a program as the leader of a session, and writes how it ended to a file.
//
// The program handles signals to the process group. The exit file is one short write that
// ends in a full stop, which is as atomic as a rename. After SIGKILL it also contains the
// kernel's count of OOM kills.
//
// It is written once nothing of the unit is left: the leader inherits every process whose
// parent has ended, also one that has left the session, asks it to end, and kills it after
// the grace. So nothing writes to an output while it is verified.
//
// One is started for every unit, so it starts nothing else that takes time, and waits for
// everything in one place.
//
// With a file for lives, the program is that of a service, and is started again when it ends.
func lead(logFile, exitFile, livesFile string, socket *held, grace time.Duration, argv []string) {
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE, unix.SIGALRM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGXFSZ)
	asked := make(chan os.Signal, 1) // all processes have been asked to end
	signal.Notify(asked, unix.SIGTERM)
	if !mayBegin() {
		writeExit(exitFile, "never .\n")
		return
	}
	code := pid1.ExitFault
	if l, err := newLeader(logFile); err == nil { // otherwise there is nowhere to say why
		l.socket = socket
		code = runAgain(livesFile, l.log, asked, func() (int, error) { return l.runAwake(argv, grace, asked, livesFile) })
	}
	writeExit(exitFile, fmt.Sprintf("%d %s .\n", code, oomKills(code)))
}

// mayBegin waits for the go-ahead.
func mayBegin() bool {
	var line [8]byte
	n, err := unix.Read(goAhead, line[:])
	for err == unix.EINTR {
		n, err = unix.Read(goAhead, line[:])
	}
	_ = errors.Join(unix.Close(goAhead), unix.Close(locked)) // they were only read
	return err == nil && n > 0
}

// A leader waits for a program and for what it prints.
type leader struct {
	log     *logfile.Writer
	output  int // what the program prints; -1 once nobody can print any more
	program int
	pidfd   int // of the program, -1 if the kernel has none
	socket  *held
	last    bool // the program is only to answer what waits in the socket
	woken   bool // a connection has started it, when those who ask the service to end may have listed its processes
	code    int  // how the program ended
	ended   bool
	buf     []byte
}

func newLeader(logFile string) (*leader, error) {
	log, err := logfile.Append(logFile)
	if err != nil {
		return nil, err
	}
	return &leader{log: log, output: -1, pidfd: -1, buf: make([]byte, 64<<10)}, nil
}

// run runs the program once and returns its status. The error has been reported; it says that
// the program cannot be started.
func (l *leader) run(argv []string, grace time.Duration, asked <-chan os.Signal) (int, error) {
	if err := l.start(argv); err != nil {
		fmt.Fprintf(l.log, "tenon: start %q: %v\n", argv[0], err)
		if err == unix.ENOENT {
			return pid1.ExitNotFound, err
		}
		return pid1.ExitFault, err
	}
	for began := time.Now(); !l.ended; l.reap() {
		if l.woken = l.woken && time.Since(began) < wakes; !l.woken {
			l.wait(reapEvery)
			continue
		}
		l.wait(askedEvery)
		if len(asked) > 0 && time.Since(began) > wakes/2 { // by now, it knows what to do then
			l.woken = false
			_ = unix.Kill(l.program, unix.SIGTERM) // it may have ended
		}
	}
	l.endRest(grace, len(asked) > 0)
	for until := time.Now().Add(lastWords); l.output >= 0 && time.Now().Before(until); {
		l.wait(lastWords)
	}
	for _, fd := range []int{l.output, l.pidfd} {
		if fd >= 0 {
			_ = unix.Close(fd) // it was only read
		}
	}
	return l.code, nil
}

func (l *leader) start(argv []string) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	printing := os.NewFile(uintptr(pipe[1]), "output")
	env, files := l.socket.give(os.Environ(), os.Stdin, printing, printing)
	if l.last {
		env = append(env, sharedport.Last+"=1")
	}
	var inherited []uintptr
	for _, f := range files {
		inherited = append(inherited, f.Fd())
	}
	// os.StartProcess would first start another process to see what the kernel can do.
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Env: env, Files: inherited, Sys: &syscall.SysProcAttr{PidFD: &l.pidfd},
	})
	_ = printing.Close()
	l.program, l.output, l.ended = pid, pipe[0], false
	return err
}

// How often to reap processes that the program left behind, and to look for the end of the
// program if the kernel does not report it.
const (
	reapEvery = 10 * time.Second
	lookEvery = 10 * time.Millisecond
)

// wait waits until the program has printed or ended, and passes on what it printed.
func (l *leader) wait(most time.Duration) {
	if l.pidfd < 0 {
		most = min(most, lookEvery)
	}
	fds := []unix.PollFd{{Fd: int32(l.output), Events: unix.POLLIN}, {Fd: int32(l.pidfd), Events: unix.POLLIN}}
	if l.ended {
		fds = fds[:1]
	}
	if n, err := unix.Poll(fds, int(most.Milliseconds())); n <= 0 || err != nil || fds[0].Revents == 0 {
		return
	}
	switch n, err := unix.Read(l.output, l.buf); {
	case err == unix.EINTR:
	case n > 0:
		_, _ = l.log.Write(l.buf[:n]) // it reports its own errors
	default:
		_ = unix.Close(l.output)
		l.output = -1
	}
}

// reap reaps what has ended, and reports whether any child is left.
func (l *leader) reap() bool {
	for {
		var st unix.WaitStatus
		pid, err := unix.Wait4(-1, &st, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			l.ended = true
			return false
		case pid == 0:
			return true
		case pid == l.program:
			l.code, l.ended = pid1.Status(st), true
		}
	}
}

// killPatience is how long a process may take to vanish after SIGKILL.
const killPatience = 10 * time.Second

// endRest ends what the program left behind. Nobody is asked twice to end, because some
// programs take that as an order to give up what they have begun.
func (l *leader) endRest(grace time.Duration, all bool) {
	asked := map[int]bool{}
	began := time.Now()
	for l.reap() {
		waited := time.Since(began)
		if waited > grace+killPatience {
			return // it hangs in the kernel
		}
		for _, pid := range descendants() {
			switch {
			case waited >= grace:
				_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
			case !all && !asked[pid]:
				asked[pid] = true
				_ = unix.Kill(pid, unix.SIGTERM)
			}
		}
		l.wait(min(time.Millisecond+waited/4, 50*time.Millisecond))
	}
}

// descendants lists the children of this process, their children, and so on.
func descendants() (pids []int) {
	parents := map[int]int{}
	entries, _ := os.ReadDir("/proc") // reap reports whether there is anybody to look for
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// The name is in parentheses and may contain any byte.
		f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		if len(f) > 1 {
			parents[pid], _ = strconv.Atoi(string(f[1]))
		}
	}
	self := os.Getpid()
	for pid := range parents {
		at := parents[pid]
		for range parents { // numbers are reused, so the list may contain a circle
			if at <= 1 || at == self {
				break
			}
			at = parents[at]
		}
		if at == self {
			pids = append(pids, pid)
		}
	}
	return pids
}

// oomKills returns how many processes the kernel has killed because memory ran out, since the
// boot, if that may explain an end.
func oomKills(code int) string {
	if code != 128+int(unix.SIGKILL) {
		return ""
	}
	b, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), "\noom_kill ")
	count, _, _ := strings.Cut(rest, "\n")
	return count
}

// writeExit writes the exit file. If it cannot, the caller learns that there is none.
func writeExit(name, text string) {
	_ = os.WriteFile(name, []byte(text), 0o644)
}
