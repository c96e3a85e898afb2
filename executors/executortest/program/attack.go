package program

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// prevented is the text of the error that stopped an attempt, "" if nothing did.
//
// Each is a name and its arguments, and harmless where it succeeds: tests run
// them outside of a container as well, to see that they would.
func prevented(name string, args ...string) string {
	err := attack(name, args)
	if err == nil {
		return ""
	}
	var no syscall.Errno
	if errors.As(err, &no) {
		return no.Error()
	}
	return err.Error()
}

func attack(name string, args []string) error {
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	number := func(i int) int {
		n, err := strconv.Atoi(arg(i))
		if err != nil {
			return -1
		}
		return n
	}
	switch name {
	case "tcp": // ADDRESS
		return call("tcp", arg(0))
	case "unix": // NAME; one that begins with @ is in no file system
		return call("unix", arg(0))
	case "socket": // of a kind that sees all packets
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		return joinClose(err, fdCloser(fd))
	case "loopback": // a program may talk to itself
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		return call("tcp", l.Addr().String())
	case "resolve": // NAME
		_, err := net.LookupHost(arg(0))
		return err
	case "read": // FILE
		_, err := os.ReadFile(arg(0))
		return err
	case "write": // FILE
		f, err := os.OpenFile(arg(0), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		_, err = f.WriteString("x")
		return joinClose(err, f)
	case "open": // FILE, to write
		f, err := os.OpenFile(arg(0), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return f.Close()
	case "chmod": // FILE
		return os.Chmod(arg(0), 0o777)
	case "replace": // FILE, by another one
		other := filepath.Join(os.TempDir(), "other")
		return errors.Join(os.WriteFile(other, nil, 0o644), os.Rename(other, arg(0)))
	case "link": // FILE NAME
		return os.Link(arg(0), arg(1))
	case "symlink": // TARGET NAME
		return os.Symlink(arg(0), arg(1))
	case "device": // NAME: a disk of the machine would be read through it
		return unix.Mknod(arg(0), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0)))
	case "kill": // PID
		return unix.Kill(number(0), unix.SIGTERM)
	case "mount": // FOLDER
		return unix.Mount("none", arg(0), "tmpfs", 0, "")
	case "remount": // FOLDER
		return unix.Mount("none", arg(0), "", unix.MS_REMOUNT|unix.MS_BIND, "")
	case "namespace":
		return separately(unix.CLONE_NEWUSER | unix.CLONE_NEWNS)
	case "keys":
		_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true)
		return err
	case "bpf": // asks for nothing, which a kernel that listens calls invalid
		if _, _, no := unix.Syscall(unix.SYS_BPF, 0, 0, 0); no != unix.EINVAL {
			return no
		}
		return nil
	case "core": // what it has in memory, on a disk
		return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20})
	case "own": // FILE, which runs with the rights of its owner
		return errors.Join(os.WriteFile(arg(0), nil, 0o755), os.Chmod(arg(0), 0o755|os.ModeSetuid|os.ModeSetgid))
	case "root":
		return unix.Setuid(0)
	case "setuid": // PROGRAM, which belongs to root and says so
		b, err := exec.Command(arg(0), "whoami").Output()
		if err == nil && string(b) != "0" {
			err = fmt.Errorf("it runs as user %s", b)
		}
		return err
	case "others": // processes that are not its own
		return others()
	case "rights":
		return rights()
	case "fork": // COUNT
		return fork(number(0))
	case "memory": // FILE BYTES, in a file system in memory
		return fill(arg(0), number(1))
	}
	return fmt.Errorf("no attack %q", name)
}

type fdCloser int

func (fd fdCloser) Close() error {
	if fd < 0 {
		return nil
	}
	return unix.Close(int(fd))
}

func call(network, address string) error {
	c, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

// separately asks for namespaces in a process that ends at once.
func separately(flags uintptr) error {
	cmd := exec.Command("/proc/self/exe", "whoami")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	return cmd.Run()
}

// others looks for a process that does not descend from the first one it sees,
// which outside of a container are many.
func others() error {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	if n := len(names); n <= 2 {
		return fmt.Errorf("it sees %d processes", n)
	}
	return nil
}

// rights are capabilities, or the way to get some.
func rights() error {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	var none []string
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		v = strings.TrimSpace(v)
		switch {
		case strings.HasPrefix(k, "Cap") && strings.Trim(v, "0") == "",
			k == "NoNewPrivs" && v == "1", k == "Seccomp" && v == "2":
			none = append(none, k)
		}
	}
	if s := strings.Join(none, " "); strings.HasPrefix(s, "CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp") {
		return errors.New("it has no rights")
	}
	return nil
}

// fork makes processes that do nothing, by hand: the runtime needs threads of its
// own, and gives up where it gets none.
func fork(count int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var children []int
	var failed error
	for range count {
		pid, no := clone()
		if no != 0 {
			failed = no
			break
		}
		children = append(children, int(pid))
	}
	for _, pid := range children {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	for _, pid := range children {
		_, _ = unix.Wait4(pid, nil, 0, nil)
	}
	return failed
}

//go:nosplit
//go:norace
func clone() (uintptr, syscall.Errno) {
	pid, _, no := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if no == 0 && pid == 0 {
		for {
			syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
		}
	}
	return pid, no
}

// fill writes as much as it is asked to, and removes it.
func fill(path string, n int) error {
	defer os.Remove(path) //nolint:errcheck // it may not be there
	return keep(path, n)
}

// keep writes as much as it is asked to.
func keep(path string, n int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, zeros{}, int64(n))
	return joinClose(err, f)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// attacks runs one after the other, and reports all of them.
func attacks(list string, dir string) error {
	var todo [][]string
	if err := json.Unmarshal([]byte(list), &todo); err != nil {
		return err
	}
	result := make([]string, len(todo))
	for i, a := range todo {
		result[i] = prevented(a[0], a[1:]...)
	}
	b, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "attacks.json"), b, 0o644)
}

// eat takes so much memory, and touches it.
func eat(n int) error {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += os.Getpagesize() {
		b[i] = 1
	}
	runtime.KeepAlive(unsafe.Pointer(&b[0]))
	return unix.Munmap(b)
}

// Burned is how long "burn" computed.
type Burned struct {
	CPU, Wall time.Duration
}

// burn computes in so many threads for so long.
func burn(threads int, long time.Duration, dir string) error {
	runtime.GOMAXPROCS(threads)
	began := time.Now()
	done := make(chan struct{})
	for range threads {
		go func() {
			for time.Since(began) < long { //nolint:revive // it is the work
			}
			done <- struct{}{}
		}()
	}
	for range threads {
		<-done
	}
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		return err
	}
	b, err := json.Marshal(Burned{CPU: time.Duration(ru.Utime.Nano() + ru.Stime.Nano()), Wall: time.Since(began)})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "burned.json"), b, 0o644)
}
