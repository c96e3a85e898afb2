package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	session, err1 := strconv.Atoi(f[3])
	start, err2 := strconv.ParseUint(f[19], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return Process{}, err
	}
	return Process{PID: pid, session: session, start: start, dead: f[0] == "Z" || f[0] == "X"}, nil
}

// again repeats a system call that a signal interrupted.
func again(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}

// A Session is the session of a task that runs as a local process, in its run folder.
type Session struct {
	Ident // of its leader
	Dir   string
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
	if s.Pid <= 1 || s.Boot != BootID() || s.Over() {
		return nil, nil
	}
	leads := s.Alive()
	all, err := processes()
	if err != nil {
		return nil, err
	}
	var ps []Process
	for _, pid := range all {
		p, err := readStat(pid)
		if err != nil || p.session != s.Pid || p.dead || p.start < s.Start {
			continue
		}
		ps = append(ps, p)
	}
	if leads || s.anyIsOurs(ps) {
		return ps, nil
	}
	return nil, nil
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

// anyIsOurs distinguishes our session, whose leader has ended, from a later one of the
// same number. The kernel reuses the number only when no process is left in the session,
// so one process of ours proves that the session is ours. A process is ours if its
// environment names our document or its output goes to our log.
func (s Session) anyIsOurs(ps []Process) bool {
	mark := []byte(step.Env + "=" + filepath.Join(s.Dir, "step.json") + "\x00")
	log, logErr := os.Stat(filepath.Join(s.Dir, "log"))
	for _, p := range ps {
		dir := "/proc/" + strconv.Itoa(p.PID)
		if b, err := os.ReadFile(dir + "/environ"); err == nil && bytes.Contains(b, mark) {
			return true
		}
		for _, fd := range []string{"/fd/1", "/fd/2"} {
			if fi, err := os.Stat(dir + fd); err == nil && logErr == nil && os.SameFile(fi, log) {
				return true
			}
		}
	}
	return false
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
