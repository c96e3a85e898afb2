package process

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

// An ident identifies one process for good: a pid alone is reused.
type ident struct {
	Pid   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"` // in clock ticks after the boot
	Boot  string `json:"boot,omitempty"`
}

var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
})

// identify returns the identity of the process that has the pid now.
func identify(pid int) (ident, error) {
	p, err := readStat(pid)
	if err != nil {
		return ident{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	return ident{Pid: pid, Start: p.start, Boot: bootID()}, nil
}

// alive reports whether that very process exists and is not a zombie.
func (i ident) alive() bool {
	if i.Pid <= 1 || i.Boot != bootID() {
		return false
	}
	p, err := readStat(i.Pid)
	if err != nil {
		// Other errors, such as too many open files, do not mean that it is gone.
		return !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ESRCH)
	}
	return p.start == i.Start && !p.dead
}

// A proc is what /proc/PID/stat says.
type proc struct {
	pid, session int
	start        uint64
	dead         bool // a zombie, or about to be one
}

func readStat(pid int) (proc, error) {
	// Use plain system calls, because listing all processes makes many of them.
	path := "/proc/" + strconv.Itoa(pid) + "/stat"
	fd, err := again(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return proc{}, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 1024)
	n, err := again(func() (int, error) { return unix.Read(fd, buf) })
	if err != nil {
		return proc{}, err
	}
	b := buf[:n]
	// The name is in parentheses and may contain any byte.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return proc{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	session, err1 := strconv.Atoi(f[3])
	start, err2 := strconv.ParseUint(f[19], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return proc{}, err
	}
	return proc{pid: pid, session: session, start: start, dead: f[0] == "Z" || f[0] == "X"}, nil
}

// again repeats a system call that a signal interrupted.
func again(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}

// over reports that no process is left in the task's session. It does not list processes:
// the kernel knows a number as long as a process, a group or a session has it, and
// F_SETOWN fails for an unknown number. Success proves nothing: the leader may not be
// reaped yet, or the number may have been reused.
func (r record) over() bool {
	if r.Pid <= 1 || r.Boot != bootID() || asker() == nil {
		return false
	}
	_, err := unix.FcntlInt(asker().Fd(), unix.F_SETOWN, r.Pid)
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

// members lists the living processes of the task's session.
func (r record) members() ([]proc, error) {
	if r.Pid <= 1 || r.Boot != bootID() || r.over() {
		return nil, nil
	}
	leads := r.alive()
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var ps []proc
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		p, err := readStat(pid)
		if err != nil || p.session != r.Pid || p.dead || p.start < r.Start {
			continue
		}
		ps = append(ps, p)
	}
	if leads || r.anyIsOurs(ps) {
		return ps, nil
	}
	return nil, nil
}

// anyIsOurs distinguishes our session, whose leader has ended, from a later one of the
// same number. The kernel reuses the number only when no process is left in the session,
// so one process of ours proves that the session is ours. A process is ours if its
// environment names our document or its output goes to our log.
func (r record) anyIsOurs(ps []proc) bool {
	mark := []byte(step.Env + "=" + filepath.Join(r.Dir, "step.json") + "\x00")
	log, logErr := os.Stat(filepath.Join(r.Dir, "log"))
	for _, p := range ps {
		dir := "/proc/" + strconv.Itoa(p.pid)
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

// signal sends a signal to that very process, if it is still there.
func (p proc) signal(sig unix.Signal) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		if now, err2 := readStat(p.pid); errors.Is(err, unix.ENOSYS) && err2 == nil && now.start == p.start {
			_ = unix.Kill(p.pid, sig)
		}
		return
	}
	defer unix.Close(fd)
	if now, err := readStat(p.pid); err == nil && now.start == p.start {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
}
