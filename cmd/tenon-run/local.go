package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/local/pid1"
)

// Descriptors that a leader inherits.
const (
	goAhead = 3 // a pipe; its first line is the go-ahead, its end without one is that tenon died
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
func lead(logFile, exitFile string, grace time.Duration, argv []string) {
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE, unix.SIGALRM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGXFSZ)
	asked := make(chan os.Signal, 1) // all processes have been asked to end
	signal.Notify(asked, unix.SIGTERM)
	if !mayBegin() {
		writeExit(exitFile, "never .\n")
		return
	}
	code := runSession(logFile, grace, argv, asked)
	writeExit(exitFile, fmt.Sprintf("%d %s .\n", code, oomKills(code)))
}

// mayBegin waits for the go-ahead.
func mayBegin() bool {
	gate := os.NewFile(goAhead, "gate")
	_, err := bufio.NewReader(gate).ReadString('\n')
	_ = errors.Join(gate.Close(), unix.Close(locked)) // they were only read
	return err == nil
}

func runSession(logFile string, grace time.Duration, argv []string, asked <-chan os.Signal) (code int) {
	out := &output{}
	if err := out.capture(logFile); err != nil {
		return pid1.ExitFault // there is nowhere to say why
	}
	defer out.finish()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintf(out.log, "tenon: end what the program leaves behind: %v\n", err)
		return pid1.ExitFault
	}
	program, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{os.Stdin, out.program, out.program}})
	if err != nil {
		fmt.Fprintf(out.log, "tenon: start %q: %v\n", argv[0], err)
		if errors.Is(err, fs.ErrNotExist) {
			return pid1.ExitNotFound
		}
		return pid1.ExitFault
	}
	code = await(program.Pid)
	endRest(grace, len(asked) > 0)
	return code
}

// await reaps processes until the program has ended, and returns its status.
func await(program int) int {
	for {
		var st unix.WaitStatus
		pid, err := unix.Wait4(-1, &st, 0, nil)
		if err != nil && err != unix.EINTR {
			return pid1.ExitFault
		}
		if pid == program {
			return pid1.Status(st)
		}
	}
}

// killPatience is how long a process may take to vanish after SIGKILL.
const killPatience = 10 * time.Second

// endRest ends what the program left behind. Nobody is asked twice to end, because some
// programs take that as an order to give up what they have begun.
func endRest(grace time.Duration, all bool) {
	asked := map[int]bool{}
	began := time.Now()
	for pause := time.Millisecond; reap(); pause = min(2*pause, 50*time.Millisecond) {
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
		time.Sleep(pause)
	}
}

// reap reaps what has ended, and reports whether any child is left.
func reap() bool {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR || pid > 0:
		case err != nil:
			return false
		default:
			return true
		}
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

// oomKills returns how many processes the kernel has killed for want of memory since the
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
