// Package containerdtest runs a containerd for tests, apart from any other one of
// the machine: its own root, state and socket. It needs root, containerd, its
// shim and runc.
package containerdtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"golang.org/x/sys/unix"
)

// A Daemon is a containerd.
type Daemon struct {
	Dir     string // of its root, state, configuration and log
	Address string
	// Namespace is one for tests, of no other daemon: control groups are named after
	// it, and all daemons of a machine share those.
	Namespace string
	// Path is its $PATH from the next Run on, "" the usual one.
	Path   string
	cmd    *exec.Cmd
	exited chan struct{}
}

// Start starts one in a folder of its own, for which the caller names a parent
// whose path is short: a socket's path is at most 107 bytes long. The daemon's
// program is "containerd", or what $CONTAINERD names; its shim is then taken from the
// same folder. What prepares the daemon's folder is called before it is started.
func Start(parent string, prepare ...func(dir string) error) (*Daemon, error) {
	dir, err := os.MkdirTemp(parent, "ctd")
	if err != nil {
		return nil, err
	}
	d := &Daemon{Dir: dir, Address: filepath.Join(dir, "c.sock"), Namespace: filepath.Base(dir)}
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n[debug]\nlevel = \"warn\"\n",
		d.root(), d.state(), d.Address)
	if err := os.WriteFile(d.config(), []byte(config), 0o600); err != nil {
		return nil, err
	}
	for _, p := range prepare {
		if err := p(dir); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	if err := d.Run(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return d, nil
}

// root is where it keeps images, snapshots and what it knows.
func (d *Daemon) root() string   { return filepath.Join(d.Dir, "root") }
func (d *Daemon) state() string  { return filepath.Join(d.Dir, "state") }
func (d *Daemon) config() string { return filepath.Join(d.Dir, "config.toml") }

// Run starts it, or starts it again after [Daemon.Kill].
func (d *Daemon) Run() error {
	name := os.Getenv("CONTAINERD")
	if name == "" {
		name = "containerd"
	}
	log, err := os.OpenFile(filepath.Join(d.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	d.cmd = exec.Command(name, "-c", d.config())
	d.cmd.Env = append(os.Environ(), "PATH="+d.SearchPath())
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := d.cmd.Start(); err != nil {
		return fmt.Errorf("these tests need containerd and runc: %w", err)
	}
	d.exited = make(chan struct{})
	go func() { _ = d.cmd.Wait(); close(d.exited) }()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("unix", d.Address); err == nil {
			return conn.Close()
		}
		select {
		case <-d.exited:
			return fmt.Errorf("containerd ended: %s", d.Log())
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("containerd does not answer: %s", d.Log())
		}
	}
}

// SearchPath is where it looks for its shim, and that for runc.
func (d *Daemon) SearchPath() string {
	if d.Path != "" {
		return d.Path
	}
	if name := os.Getenv("CONTAINERD"); name != "" {
		return filepath.Dir(name) + ":" + os.Getenv("PATH")
	}
	return os.Getenv("PATH")
}

// Log is the end of what it has said.
func (d *Daemon) Log() string {
	b, err := os.ReadFile(filepath.Join(d.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}

// Kill kills it. Its containers go on.
func (d *Daemon) Kill() {
	_ = d.cmd.Process.Kill()
	<-d.exited
}

// Signal sends it a signal.
func (d *Daemon) Signal(s syscall.Signal) error { return d.cmd.Process.Signal(s) }

// Restart does what a restart of the machine does to it: all that runs is killed,
// and what it keeps outside its root is gone.
func (d *Daemon) Restart() error {
	d.Kill()
	for pid := range d.Shims() {
		if err := errors.Join(killBelow(pid), unix.Kill(pid, unix.SIGKILL)); err != nil {
			return err
		}
	}
	var err error
	for _, m := range d.mounts() {
		if strings.HasPrefix(m, d.state()+"/") {
			err = errors.Join(err, unix.Unmount(m, unix.MNT_DETACH))
		}
	}
	for _, dir := range d.outside() {
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			rerr := removeEmpty(dir)
			if rerr == nil {
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("what was killed does not end: %w", rerr)
			}
		}
	}
	return errors.Join(err, os.RemoveAll(d.state()), os.RemoveAll(d.Address), d.Run())
}

// runcRoot is where runc notes what runs, apart from containerd's state.
const runcRoot = "/run/containerd/runc"

// outside are the folders that its containers have outside its own.
func (d *Daemon) outside() (out []string) {
	for _, parent := range []string{"/sys/fs/cgroup/*", "/sys/fs/cgroup", "/run/tenon-*", "/dev/shm/tenon-*", runcRoot} {
		found, err := filepath.Glob(filepath.Join(parent, d.Namespace))
		if err != nil {
			panic(err) // the pattern is sound
		}
		out = append(out, found...)
	}
	return out
}

// removeEmpty removes a folder and those in it, as far as there are no files:
// those of control groups are none.
func removeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, removeEmpty(filepath.Join(dir, e.Name())))
		}
	}
	if strings.HasPrefix(dir, runcRoot) {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return errors.Join(err, unix.Rmdir(dir))
}

// killBelow kills the children of a process. Those of a container go with its first.
func killBelow(pid int) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return err
	}
	for _, t := range threads {
		b, err := os.ReadFile(t)
		if err != nil {
			continue // a thread that has ended
		}
		for _, f := range strings.Fields(string(b)) {
			child, err := strconv.Atoi(f)
			if err != nil {
				return err
			}
			if err := unix.Kill(child, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return nil
}

// Client connects to it.
func (d *Daemon) Client() (*client.Client, error) { return client.New(d.Address) }

// Foreign is the namespace of another user of the daemon.
const Foreign = "foreign"

// clear removes all containers of a namespace.
func (d *Daemon) clear(namespace string) error {
	c, err := d.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), namespace), time.Minute)
	defer cancel()
	containers, err := c.Containers(ctx)
	if err != nil {
		return err
	}
	for _, container := range containers {
		if task, terr := container.Task(ctx, nil); terr == nil {
			_, terr = task.Delete(ctx, client.WithProcessKill)
			err = errors.Join(err, terr)
		}
		err = errors.Join(err, container.Delete(ctx, client.WithSnapshotCleanup))
	}
	return err
}

// Stop ends it with all that runs in it, and removes its folder. What the tests
// have left of their containers is an error.
func (d *Daemon) Stop() error {
	left, err := d.leftovers()
	for end := time.Now().Add(5 * time.Second); len(left) > 0 && err == nil && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		left, err = d.leftovers() // a shim ends a little after its task is removed
	}
	if len(left) > 0 {
		err = fmt.Errorf("left behind by tests:\n%s\ncontainerd says:\n%s", strings.Join(left, "\n"), d.Log())
	}
	for _, ns := range []string{d.Namespace, Foreign} {
		err = errors.Join(err, d.clear(ns))
	}
	d.End()
	for _, m := range d.mounts() {
		err = errors.Join(err, unix.Unmount(m, unix.MNT_DETACH))
	}
	for _, dir := range d.outside() {
		err = errors.Join(err, removeEmpty(dir))
	}
	return errors.Join(err, os.RemoveAll(d.Dir))
}

// End ends it and lets its containers go on.
func (d *Daemon) End() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.exited:
	case <-time.After(10 * time.Second):
		d.Kill()
	}
}

// mounts are those below its folder, the last made first.
func (d *Daemon) mounts() (out []string) {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) > 1 && bytes.HasPrefix(f[1], []byte(d.Dir+"/")) {
			out = append([]string{string(f[1])}, out...)
		}
	}
	return out
}
