package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// An Ident identifies one process for good: a pid alone is reused.
type Ident struct {
	Pid   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"` // in clock ticks after the boot
	Boot  string `json:"boot,omitempty"`
}

// BootID returns the identity of this boot of the machine.
var BootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
})

// Identify returns the identity of the process that has the pid now.
func Identify(pid int) (Ident, error) {
	p, err := readStat(pid)
	if err != nil {
		return Ident{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	return Ident{Pid: pid, Start: p.start, Boot: BootID()}, nil
}

// Alive reports whether that very process exists and is not a zombie.
func (i Ident) Alive() bool {
	if i.Pid <= 1 || i.Boot != BootID() {
		return false
	}
	p, err := readStat(i.Pid)
	if err != nil {
		// Other errors, such as too many open files, do not mean that it is gone.
		return !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ESRCH)
	}
	return p.start == i.Start && !p.dead
}

// A Process is what /proc/PID/stat says.
type Process struct {
	PID     int
	parent  int
	session int
	start   uint64
	dead    bool // a zombie, or about to be one
}

func readStat(pid int) (Process, error) {
	// Use plain system calls, because listing all processes makes many of them.
	path := "/proc/" + strconv.Itoa(pid) + "/stat"
	fd, err := again(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return Process{}, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 1024)
	n, err := again(func() (int, error) { return unix.Read(fd, buf) })
	if err != nil {
		return Process{}, err
	}
	b := buf[:n]
	// The name is in parentheses and may contain any byte.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return Process{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	parent, err1 := strconv.Atoi(f[1])
	session, err2 := strconv.Atoi(f[3])
	start, err3 := strconv.ParseUint(f[19], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Process{}, err
	}
	return Process{PID: pid, parent: parent, session: session, start: start, dead: f[0] == "Z" || f[0] == "X"}, nil
}

// again repeats a system call that a signal interrupted.
func again(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}

// A Session is the session of a task that runs as a local process, in its run folder. As
// long as its leader lives, it also has the processes that have left it: the leader inherits
// them when their parents end.
type Session struct {
	Ident // of its leader
	Dir   string
	// Lost says that the leader was killed, so that processes that have left the session
	// can only be recognized by their environment.
	Lost bool
}

// Over reports that no process is left in the session. It does not list processes:
// the kernel knows a number as long as a process, a group or a session has it, and
// F_SETOWN fails for an unknown number. Success proves nothing: the leader may not be
// reaped yet, or the number may have been reused.
func (s Session) Over() bool {
	if s.Pid <= 1 || s.Boot != BootID() || asker() == nil {
		return false
	}
	_, err := unix.FcntlInt(asker().Fd(), unix.F_SETOWN, s.Pid)
	return err == unix.ESRCH
}

// asker returns the file for calls of F_SETOWN, which change nothing about it. It is nil
// where the result may be wrong: before Linux 4.15, and in gVisor, which considers
// processes only.
var asker = sync.OnceValue(func() *os.File {
	var u unix.Utsname
	var major, minor int
	if err := unix.Uname(&u); err != nil {
		return nil
	}
	release := unix.ByteSliceToString(u.Release[:])
	n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor)
	if n < 2 || major < 4 || major == 4 && minor < 15 || strings.Contains(release, "gvisor") {
		return nil
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		return nil
	}
	return f
})

// Members lists the living processes of the session.
func (s Session) Members() ([]Process, error) {
	if s.Pid <= 1 || s.Boot != BootID() || !s.Lost && s.Over() {
		return nil, nil
	}
	leads := s.Alive()
	all, err := processes()
	if err != nil {
		return nil, err
	}
	known := make(map[int]Process, len(all))
	for _, pid := range all {
		if p, err := readStat(pid); err == nil {
			known[pid] = p
		}
	}
	var ps, strays []Process
	for _, p := range known {
		switch {
		case p.dead || p.start < s.Start:
		case p.session == s.Pid, leads && descends(known, p, s.Pid):
			ps = append(ps, p)
		case s.Lost && s.marked(p):
			strays = append(strays, p)
		}
	}
	if leads || slices.ContainsFunc(ps, s.marked) {
		return append(ps, strays...), nil
	}
	return strays, nil
}

// descends reports whether a process is a child of another one, or a child of such a
// process, and so on.
func descends(known map[int]Process, p Process, from int) bool {
	for range known { // numbers are reused, so the list may contain a circle
		if p.parent == from {
			return true
		}
		next, ok := known[p.parent]
		if !ok {
			return false
		}
		p = next
	}
	return false
}

// processes lists the processes of the machine.
func processes() ([]int, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// marked reports whether a process is of the task, because its environment names the
// document. If the leader has ended, this distinguishes the session from a later one of the same
// number. The kernel reuses the number only when no process is left in the session, so one
// process that is marked proves that the session is ours.
func (s Session) marked(p Process) bool {
	mark := []byte(step.Env + "=" + filepath.Join(s.Dir, "step.json") + "\x00")
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/environ")
	return err == nil && bytes.Contains(b, mark)
}

// Signal sends a signal to that very process, if it is still there.
func (p Process) Signal(sig unix.Signal) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		if now, err2 := readStat(p.PID); errors.Is(err, unix.ENOSYS) && err2 == nil && now.start == p.start {
			_ = unix.Kill(p.PID, sig)
		}
		return
	}
	defer unix.Close(fd)
	if now, err := readStat(p.PID); err == nil && now.start == p.start {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
}
