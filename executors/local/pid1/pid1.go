// Package pid1 is what the first process of a container does for its program,
// because nobody else in a container does: it hands signals on to all processes,
// reaps orphans, and has its statuses.
//
// It is built into programs that run in any image, without cgo, so it imports
// little.
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

// Statuses of what goes wrong before the program runs, as a shell has them.
const (
	ExitFault    = 126
	ExitNotFound = 127
)

// Check refuses to run as any other process than the first.
func Check() error {
	if os.Getpid() != 1 {
		return errors.New("it is the first process of a container, or it would signal all of the machine")
	}
	return nil
}

// Signals are those that [Follow] hands on. It is called early, so that none is
// lost: one that came before ends the program as soon as it runs.
func Signals() <-chan os.Signal {
	signals := make(chan os.Signal, 32)
	signal.Notify(signals, unix.SIGCHLD, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	return signals
}

// Start starts a program in a folder, "" being the current one, which is that of
// this process from then on. Files are its standard input, output and error. An
// error is one line for people, with the status to exit with.
func Start(dir string, argv, env []string, files ...*os.File) (pid, status int, err error) {
	if dir != "" {
		if err := os.Chdir(dir); err != nil {
			return 0, ExitFault, err
		}
	}
	if err := limitFiles(); err != nil {
		return 0, ExitFault, fmt.Errorf("bound the number of open files: %w", err)
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

// openFiles is how many files a program may have open that does not ask for more.
// What is inherited may be too few for who reads data side by side, or a thousand
// million, which some programs close one by one before they start another.
const openFiles = 65536

// limitFiles bounds them, within what the container may.
func limitFiles() error {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return err
	}
	r.Cur = min(r.Max, openFiles)
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r)
}

// find resolves the program as a shell would, and says in one line why it cannot.
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

// Follow hands signals on and reaps until the program has ended. It returns its
// status, or 128 and the signal that killed it. It reaps whatever the signal was:
// where many come at once, that of an end may be lost.
func Follow(program int, signals <-chan os.Signal) int {
	for s := range signals {
		if s != unix.SIGCHLD {
			_ = unix.Kill(-1, s.(unix.Signal)) // nobody may be left to tell
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
			if st.Signaled() {
				return 128 + int(st.Signal())
			}
			return st.ExitStatus()
		}
	}
	return ExitFault
}

// EndRest kills what a program has left behind, and returns once it is gone. The
// kernel does the same when the first process ends.
func EndRest() {
	for {
		_ = unix.Kill(-1, unix.SIGKILL) // nobody may be left to kill
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && err != unix.EINTR {
			return
		}
	}
}
