package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib"
)

// indexTime is how long it may take to find out what one module has, without the time to
// make its environment.
const indexTime = 3 * time.Minute

// indexClasses finds out which classes the user's packages have, for the modules that a
// compilation asked about, and reports whether it found anything. What cannot be found out
// stays unchecked: that is no fault of the system.
func (p *Project) indexClasses(ctx context.Context, c *compilation) (found bool) {
	missing := c.locks.Missing()
	for _, lock := range slices.Sorted(maps.Keys(missing)) {
		names := strings.Join(missing[lock], ", ")
		python, err := p.environments().Ensure(ctx, []byte(lock), p.told("preparing a Python environment, to check the classes of "+names+" ..."))
		if err != nil {
			if ctx.Err() == nil {
				p.set.warn(fmt.Errorf("the classes of %s are not checked: %w", names, err))
			}
			continue
		}
		p.set.notify(Notice{Text: fmt.Sprintf("reading the classes of %s ...", names)})
		for _, module := range missing[lock] {
			x, err := p.readClasses(ctx, python, module)
			if ctx.Err() != nil {
				return found
			}
			if err != nil {
				p.set.warn(fmt.Errorf("the classes of %s are not checked: %w", module, err))
				x = &moduleIndex{Classes: []string{"", module + ".* ?"}} // so that it is not read each time
			}
			c.locks.Add([]byte(lock), module, x.Modules, x.Classes)
			found = true
		}
	}
	return found
}

// told returns a report of progress that prints a text once packages are fetched.
func (p *Project) told(text string) func(pyenv.Progress) {
	told := false
	return func(at pyenv.Progress) {
		if at.Stage == pyenv.Fetching && !told {
			told = true
			p.set.notify(Notice{Text: text})
		}
	}
}

// A moduleIndex is what stdlib/lib/packages/locked.py writes.
type moduleIndex struct {
	Modules []string `json:"modules"`
	Classes []string `json:"classes"`
}

// readClasses runs the program that looks at a module, in a folder and a process of its own.
func (p *Project) readClasses(ctx context.Context, python, module string) (x *moduleIndex, err error) {
	dir, err := os.MkdirTemp("", "tenon-classes-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, files.RemoveAll(dir)) }()
	code, work, out := filepath.Join(dir, "code"), filepath.Join(dir, "work"), filepath.Join(dir, "index.json")
	if err := errors.Join(os.Mkdir(code, 0o755), os.Mkdir(work, 0o755)); err != nil {
		return nil, err
	}
	for _, name := range []string{"locked.py", "describe.py"} {
		b, err := fs.ReadFile(stdlib.Files(), "lib/packages/"+name)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(code, name), b, 0o644); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, indexTime)
	defer cancel()
	command := []string{python, "-E", "-s", "-B", filepath.Join(code, "locked.py"), out, module}
	said, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer said.Close()
	err = runApart(ctx, command, work, p.set.Environ, said)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("to read them takes longer than %s", indexTime)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, lastLine(said))
	}
	b, err := os.ReadFile(out)
	if err == nil {
		err = json.Unmarshal(b, &x)
	}
	return x, err
}

// runApart runs a program that imports packages which nobody has started yet: without
// secrets, in a folder of its own, and without a network if the system lets this user do
// that. All that it started ends with it.
func runApart(ctx context.Context, command []string, dir string, environ []string, log *os.File) error {
	env := local.Inherited(environ)
	maps.Copy(env, map[string]string{
		"HOME": dir, "TMPDIR": dir, "XDG_CACHE_HOME": dir, "LC_ALL": "C.UTF-8", "MPLBACKEND": "Agg",
		"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0",
	})
	run := func(attr *syscall.SysProcAttr) (started bool, err error) {
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = dir, attr, log, log
		for k, v := range env {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		attr.Setpgid = true
		end := func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
		cmd.Cancel = end
		if err := cmd.Start(); err != nil {
			return false, err
		}
		err = cmd.Wait()
		_ = end()
		return true, err
	}
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
	}
	started, err := run(attr)
	if !started && ctx.Err() == nil { // no namespaces here
		_, err = run(&syscall.SysProcAttr{})
	}
	return err
}

// lastLine returns the last line of a log.
func lastLine(log *os.File) string {
	b := make([]byte, 2000)
	end, _ := log.Seek(0, io.SeekEnd)
	n, _ := log.ReadAt(b, max(0, end-int64(len(b))))
	lines := strings.Split(strings.TrimSpace(string(b[:n])), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
