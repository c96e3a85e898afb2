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
	cmd     *exec.Cmd
	exited  chan struct{}
}

// Start starts one in a folder of its own, for which the caller names a parent
// whose path is short: a socket's path is at most 107 bytes long. The daemon's
// program is "containerd", or what $CONTAINERD names.
func Start(parent string) (*Daemon, error) {
	dir, err := os.MkdirTemp(parent, "ctd")
	if err != nil {
		return nil, err
	}
	d := &Daemon{Dir: dir, Address: filepath.Join(dir, "c.sock")}
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		d.Root(), filepath.Join(dir, "state"), d.Address)
	if err := os.WriteFile(d.config(), []byte(config), 0o600); err != nil {
		return nil, err
	}
	if err := d.Run(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return d, nil
}

// Root is where it keeps images, snapshots and what it knows.
func (d *Daemon) Root() string   { return filepath.Join(d.Dir, "root") }
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

// Client connects to it.
func (d *Daemon) Client() (*client.Client, error) { return client.New(d.Address) }

// Clear removes all containers of a namespace and says which there were.
func (d *Daemon) Clear(namespace string) (left []string, err error) {
	c, err := d.Client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), namespace), time.Minute)
	defer cancel()
	containers, err := c.Containers(ctx)
	if err != nil {
		return nil, err
	}
	for _, container := range containers {
		left = append(left, container.ID())
		if task, terr := container.Task(ctx, nil); terr == nil {
			_, terr = task.Delete(ctx, client.WithProcessKill)
			err = errors.Join(err, terr)
		}
		err = errors.Join(err, container.Delete(ctx, client.WithSnapshotCleanup))
	}
	return left, err
}

// Stop ends it with all that runs in it, and removes its folder.
func (d *Daemon) Stop() error {
	_, err := d.Clear("tenon")
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.exited:
	case <-time.After(10 * time.Second):
		d.Kill()
	}
	for _, m := range d.mounts() {
		err = errors.Join(err, unix.Unmount(m, unix.MNT_DETACH))
	}
	return errors.Join(err, os.RemoveAll(d.Dir))
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
