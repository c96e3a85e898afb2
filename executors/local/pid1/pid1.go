// Package pid1 does for a program what the first process of a container must do: it
// forwards signals to all processes, reaps orphans, and defines exit statuses.
//
// Programs that link it run in any image, without cgo, so it imports little.
package pid1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exit statuses of failures before the program runs, as in a shell.
const (
	ExitFault    = 126
	ExitNotFound = 127
)

// Check returns an error unless this is the first process.
func Check() error {
	if os.Getpid() != 1 {
		return errors.New("it must be the first process of a container")
	}
	return nil
}

// Signals returns the signals that [Follow] forwards. Call it early, so that none is
// lost: a signal that arrives early ends the program as soon as it runs.
func Signals() <-chan os.Signal {
	signals := make(chan os.Signal, 32)
	signal.Notify(signals, unix.SIGCHLD, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	return signals
}

// Start starts a program in a folder, which also becomes the working folder of this
// process; "" is the current one. files are its standard input, output and error. If it
// fails, it returns an error of one line for users and the status to exit with.
func Start(dir string, argv, env []string, files ...*os.File) (pid, status int, err error) {
	if dir != "" {
		if err := os.Chdir(dir); err != nil {
			return 0, ExitFault, err
		}
	}
	if err := limitFiles(); err != nil {
		return 0, ExitFault, fmt.Errorf("limit the number of open files: %w", err)
	}
	path, err := find(argv[0])
	if err != nil {
		return 0, ExitNotFound, err
	}
	child, err := os.StartProcess(path, argv, &os.ProcAttr{Env: env, Files: files})
	if err != nil {
		return 0, ExitFault, fmt.Errorf("start %q: %w", argv[0], err)
	}
	return child.Pid, 0, nil
}

// openFiles is how many files a program may have open unless it asks for more. The
// inherited limit may be too low for programs that read data in parallel, or so high (a
// billion) that programs which close all files before they start another take very
// long.
const openFiles = 65536

// limitFiles sets that limit, as far as the container may.
func limitFiles() error {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return err
	}
	r.Cur = min(r.Max, openFiles)
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r)
}

// find resolves the program as a shell would. Its error says in one line why it cannot.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil || errors.Is(err, exec.ErrDot):
		return path, nil
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("program %q cannot be executed", name)
	case strings.Contains(name, "/"):
		return "", fmt.Errorf("program %q not found in the image", name)
	}
	return "", fmt.Errorf("program %q not found in the PATH of the image (%s)", name, os.Getenv("PATH"))
}

// Follow forwards signals and reaps processes until the program has ended. It returns
// the program's status, or 128 plus the signal that killed it. It reaps after every
// signal, because a SIGCHLD may be lost when many signals arrive at once.
func Follow(program int, signals <-chan os.Signal) int {
	for s := range signals {
		if s != unix.SIGCHLD {
			_ = unix.Kill(-1, s.(unix.Signal)) // no process may be left
		}
		for {
			var st unix.WaitStatus
			pid, err := unix.Wait4(-1, &st, unix.WNOHANG, nil)
			if err == unix.EINTR {
				continue
			}
			if err != nil || pid <= 0 {
				break
			}
			if pid != program {
				continue
			}
			return Status(st)
		}
	}
	return ExitFault
}

// Status returns the status of a program that has ended, or 128 plus the signal that
// killed it.
func Status(st unix.WaitStatus) int {
	if st.Signaled() {
		return 128 + int(st.Signal())
	}
	return st.ExitStatus()
}

// EndRest kills what a program has left behind, and returns when it is gone. The kernel
// does the same when the first process ends.
func EndRest() {
	for {
		_ = unix.Kill(-1, unix.SIGKILL) // no process may be left
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && err != unix.EINTR {
			return
		}
	}
}
