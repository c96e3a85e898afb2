package containerd_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/containerd"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/internal/test/containerdtest"
	"github.com/tenon-ml/tenon/planner/state"
)

// daemon starts a containerd that a test may disturb. It is an error if the test leaves
// something in it.
func daemon(t *testing.T, prepare ...func(dir string) error) *containerdtest.Daemon {
	t.Helper()
	d, err := containerdtest.Start("/tmp", prepare...)
	ok(t, err)
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func on(d *containerdtest.Daemon) func(*containerd.Options) {
	return func(o *containerd.Options) {
		o.Address, o.Namespace, o.Patience = d.Address, d.Namespace, 20*time.Second
	}
}

func service(t testing.TB) executors.Task {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	ok(t, l.Close())
	task := job(t, "serve")
	task.Unit.Kind, task.Unit.Outputs = ir.Service, nil
	task.Unit.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: port, Ready: "/ready", Replicas: 1}
	return task
}

// wait waits for an end and checks it.
func wait(t *testing.T, e *containerd.Executor, h state.Handle, want state.Phase, message string) state.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), program.Patience)
	defer cancel()
	st, err := e.Wait(ctx, h)
	ok(t, err)
	if st.Phase != want || !strings.Contains(st.Message, message) {
		if r, err := os.ReadFile(filepath.Join(logOf(h), "log")); err == nil {
			t.Logf("its log: %s", r)
		}
		t.Fatalf("got %+v, want %s with %q", st, want, message)
	}
	return st
}

func starts(t *testing.T, task executors.Task) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(task.Dir, "out", "out", "starts"))
	if !errors.Is(err, os.ErrNotExist) {
		ok(t, err)
	}
	return strings.Count(string(b), "\n")
}

func wantStarts(t *testing.T, task executors.Task, want int) {
	t.Helper()
	if got := starts(t, task); got != want {
		t.Errorf("the program was started %d times, want %d", got, want)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("there is no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("the error is %q, want one with %q", err, p)
		}
	}
}

// dial connects to the daemon as a third party that interferes.
func dial(t *testing.T, d *containerdtest.Daemon, namespace string) (*client.Client, context.Context) {
	t.Helper()
	c, err := d.Client()
	ok(t, err)
	t.Cleanup(func() { ok(t, c.Close()) })
	return c, namespaces.WithNamespace(context.Background(), namespace)
}

// only returns the daemon's only container.
func only(t *testing.T, c *client.Client, ctx context.Context) client.Container {
	t.Helper()
	all, err := c.Containers(ctx)
	ok(t, err)
	if len(all) != 1 {
		t.Fatalf("there are %d containers, want 1", len(all))
	}
	return all[0]
}

// shim returns the process of the daemon's only shim.
func shim(t *testing.T, d *containerdtest.Daemon) int {
	t.Helper()
	for pid := range d.Shims() {
		return pid
	}
	t.Fatal("there is no shim")
	return 0
}

func TestContainerdIsKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	d := daemon(t)
	e := newExecutor(t, on(d))
	began := time.Now()
	h := apply(t, e, job(t, "exit", "0"))
	wait(t, e, h, state.Succeeded, "")
	usual := time.Since(began)
	for range 12 {
		task := job(t, "exit", "0", "50ms")
		done := make(chan struct{})
		go func() {
			defer close(done)
			h, err := e.Apply(t.Context(), task, nil)
			if err != nil && strings.Contains(err.Error(), "the next attempt uses another name") {
				// containerd 1.6 may keep the folder of a shim that was killed with it.
				task.Name = strings.TrimSuffix(task.Name, "1") + "2"
				h, err = e.Apply(t.Context(), task, nil)
			}
			if err != nil {
				t.Errorf("apply: %v", err)
				return
			}
			if st, err := e.Wait(t.Context(), h); err != nil || st.Phase != state.Succeeded {
				t.Errorf("wait: %+v, %v", st, err)
			}
			if n := starts(t, task); n != 1 {
				t.Errorf("the program was started %d times, want 1", n)
			}
			if err := e.Destroy(t.Context(), h); err != nil {
				t.Errorf("destroy: %v", err)
			}
		}()
		time.Sleep(rand.N(usual + 100*time.Millisecond))
		d.Kill()
		ok(t, d.Run())
		<-done
	}
}

func TestContainerdIsUnavailableForAWhile(t *testing.T) {
	t.Parallel()
	d := daemon(t)
	const patience = 1500 * time.Millisecond
	e := newExecutor(t, on(d), func(o *containerd.Options) { o.Patience = patience })
	task := job(t, "exit", "3", "2s")
	h := apply(t, newExecutor(t, on(d)), task)
	killed := make(chan struct{})
	time.AfterFunc(patience+200*time.Millisecond, func() { d.Kill(); close(killed) }) // patience must count from then, not from now
	t.Cleanup(func() { <-killed })
	began := time.Now()
	_, err := e.Wait(t.Context(), h)
	wantError(t, err, d.Address, "apply again")
	if took := time.Since(began); took < 2*patience {
		t.Errorf("it gave up after %s", took)
	}
	_, err = e.Inspect(t.Context(), h)
	wantError(t, err, d.Address, "apply again")
	wantError(t, e.Destroy(t.Context(), h), d.Address, "apply again")

	<-killed
	ok(t, d.Run())
	next := newExecutor(t, on(d))
	again, err := next.Apply(t.Context(), task, nil)
	ok(t, err)
	if st := wait(t, next, again, state.Failed, "exit 3"); st.ExitCode != 3 {
		t.Errorf("exit code is %d, want 3", st.ExitCode)
	}
	wantStarts(t, task, 1)
	ok(t, e.Destroy(t.Context(), h))
}

func TestShimIsKilled(t *testing.T) {
	t.Parallel()
	d := daemon(t)
	e := newExecutor(t, on(d))

	t.Run("of a job", func(t *testing.T) {
		task := job(t, "sleep")
		h := apply(t, e, task)
		eventually(t, "it runs", func() bool { return starts(t, task) == 1 })
		c, ctx := dial(t, d, d.Namespace)
		running, err := only(t, c, ctx).Task(ctx, nil)
		ok(t, err)
		ok(t, unix.Kill(shim(t, d), unix.SIGKILL))
		wait(t, e, h, state.Failed, "")
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", running.Pid())); err == nil && !strings.Contains(string(b), ") Z ") {
			t.Errorf("the program still runs: %s", b)
		}
		again, err := e.Apply(t.Context(), task, nil)
		ok(t, err)
		wait(t, e, again, state.Failed, "")
		wantStarts(t, task, 1)
		ok(t, e.Destroy(t.Context(), h))
	})
	t.Run("of a service", func(t *testing.T) {
		task := service(t)
		h := apply(t, e, task)
		wait(t, e, h, state.Ready, "")
		ok(t, unix.Kill(shim(t, d), unix.SIGKILL))
		eventually(t, "it has failed", func() bool {
			st, err := e.Inspect(t.Context(), h)
			ok(t, err)
			return st.Phase == state.Failed
		})
		again, err := e.Apply(t.Context(), task, nil)
		ok(t, err)
		wait(t, e, again, state.Ready, "")
	})
}

func TestMachineIsRestarted(t *testing.T) {
	t.Parallel()
	d := daemon(t)
	e := newExecutor(t, on(d))
	task, stays := job(t, "sleep"), service(t)
	h, s := apply(t, e, task), apply(t, e, stays)
	eventually(t, "it runs", func() bool { return starts(t, task) == 1 })
	wait(t, e, s, state.Ready, "")
	ok(t, d.Restart())
	wait(t, e, h, state.Failed, "the machine was restarted")
	st, err := e.Inspect(t.Context(), s)
	ok(t, err)
	if st.Phase != state.Failed {
		t.Errorf("the service is %s, want failed", st.Phase)
	}
	again, err := e.Apply(t.Context(), stays, nil)
	ok(t, err)
	wait(t, e, again, state.Ready, "")
	ok(t, e.Destroy(t.Context(), h))
	third, err := e.Apply(t.Context(), task, nil)
	ok(t, err)
	eventually(t, "it runs again after destroy", func() bool { return starts(t, task) == 2 })
	ok(t, e.Destroy(t.Context(), third))
}

func TestRuncIsMissing(t *testing.T) {
	t.Parallel()
	d := daemon(t)
	e := newExecutor(t, on(d))
	shim := lookup(t, d.SearchPath(), "containerd-shim-runc-v2")
	d.Path = t.TempDir()
	ok(t, os.Symlink(shim, filepath.Join(d.Path, filepath.Base(shim))))
	d.Kill()
	ok(t, d.Run())
	task := job(t, "exit", "0")
	_, err := e.Apply(t.Context(), task, nil)
	wantError(t, err, "start steps/case/run", "containerd does not find runc: install it")
	d.Kill()
	d.Path = ""
	ok(t, d.Run())
	wait(t, e, apply(t, e, task), state.Succeeded, "")
	wantStarts(t, task, 1)
}

// lookup finds a program in a path.
func lookup(t *testing.T, path, name string) string {
	t.Helper()
	for _, dir := range filepath.SplitList(path) {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	t.Fatalf("%s is not installed", name)
	return ""
}

func tmpfs(t *testing.T, dir, size string) (more func(size string)) {
	t.Helper()
	ok(t, os.MkdirAll(dir, 0o755))
	ok(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size))
	return func(size string) { ok(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size="+size)) }
}

func TestContainerdHasNoSpaceLeft(t *testing.T) {
	t.Parallel()
	var more func(string)
	d := daemon(t, func(dir string) error { more = tmpfs(t, filepath.Join(dir, "root"), "3m"); return nil })
	e := newExecutor(t, on(d))
	task := job(t, "exit", "0")
	_, err := e.Apply(t.Context(), task, nil)
	wantError(t, err, "no space left on the disk of containerd", "tenon gc")
	more("100m")
	wait(t, e, apply(t, e, task), state.Succeeded, "")
	wantStarts(t, task, 1)
}

func TestRunFolderHasNoSpaceLeft(t *testing.T) {
	t.Parallel()
	e := newExecutor(t)
	disk := t.TempDir()
	more := tmpfs(t, disk, "16k")
	t.Cleanup(func() { ok(t, unix.Unmount(disk, unix.MNT_DETACH)) })
	task := job(t, "exit", "0")
	task.Dir = filepath.Join(disk, "run")
	ok(t, os.Mkdir(task.Dir, 0o755))
	if err := os.WriteFile(filepath.Join(disk, "big"), make([]byte, 100<<10), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	_, err := e.Apply(t.Context(), task, nil)
	wantError(t, err, task.Dir, "no space left on device")
	if strings.Contains(err.Error(), "disk of containerd") {
		t.Errorf("the error %q is about another disk", err)
	}
	more("1m")
	wait(t, e, apply(t, e, task), state.Succeeded, "")
	wantStarts(t, task, 1)
}

func TestTaskThatFillsTheDiskIsStopped(t *testing.T) {
	t.Parallel()
	e := newExecutor(t)
	disk := t.TempDir()
	tmpfs(t, disk, "1m")
	t.Cleanup(func() { ok(t, unix.Unmount(disk, unix.MNT_DETACH)) })
	task := job(t, "fill", "4000000", "1h")
	task.Dir, task.Unit.Needs.Disk = filepath.Join(disk, "run"), 500_000
	ok(t, os.Mkdir(task.Dir, 0o755))
	wait(t, e, apply(t, e, task), state.Failed, "")
}

func TestRemovedImagesAreLoadedAgain(t *testing.T) {
	t.Parallel()
	d := daemon(t)
	e := newExecutor(t, on(d))
	c, ctx := dial(t, d, d.Namespace)
	image := func() images.Image {
		all, err := c.ImageService().List(ctx)
		ok(t, err)
		if len(all) != 1 {
			t.Fatalf("there are %d images, want 1", len(all))
		}
		return all[0]
	}
	run := func(e *containerd.Executor) {
		t.Helper()
		task := job(t, "exit", "0")
		h := apply(t, e, task)
		wait(t, e, h, state.Succeeded, "")
		wantStarts(t, task, 1)
		ok(t, e.Destroy(t.Context(), h))
	}
	run(e)
	removeSnapshots := func() {
		store := c.SnapshotService("overlayfs")
		for n := 1; n > 0; {
			var names []string
			ok(t, store.Walk(ctx, func(_ context.Context, s snapshots.Info) error { names = append(names, s.Name); return nil }))
			for _, name := range names {
				_ = store.Remove(ctx, name) // a snapshot with children is removed in a later round
			}
			n = len(names)
		}
	}
	removeContent := func() {
		var all []digest.Digest
		ok(t, c.ContentStore().Walk(ctx, func(i content.Info) error { all = append(all, i.Digest); return nil }))
		for _, d := range all {
			if err := c.ContentStore().Delete(ctx, d); !errdefs.IsNotFound(err) { // containerd may collect it first
				ok(t, err)
			}
		}
	}
	for _, step := range []struct {
		name   string
		remove func()
	}{
		{"snapshots", removeSnapshots},
		{"content", removeContent},
		{"content and snapshots", func() { removeContent(); removeSnapshots() }},
		{"image", func() { ok(t, c.ImageService().Delete(ctx, image().Name, images.SynchronousDelete())) }},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.remove()
			run(e)
			step.remove()
			run(newExecutor(t, on(d)))
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "ctd") // a socket's path has to be short
	ok(t, err)
	t.Cleanup(func() { ok(t, os.RemoveAll(dir)) })

	stale := filepath.Join(dir, "stale")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	ok(t, err)
	ok(t, unix.Bind(fd, &unix.SockaddrUnix{Name: stale})) // nobody listens
	ok(t, unix.Close(fd))

	hangs := filepath.Join(dir, "hangs")
	silent, err := net.Listen("unix", hangs)
	ok(t, err)
	t.Cleanup(func() { ok(t, silent.Close()) })

	task := job(t, "exit", "0")
	for address, want := range map[string]string{
		filepath.Join(dir, "none"): "does not exist: install and start containerd, or set address in the target",
		stale:                      "is not running: start it",
		hangs:                      "does not answer: check that it runs",
	} {
		t.Run(filepath.Base(address), func(t *testing.T) {
			e := newExecutor(t, func(o *containerd.Options) { o.Address, o.Patience = address, 300*time.Millisecond })
			h := recorded(t, address)
			_, applied := e.Apply(t.Context(), task, nil)
			_, inspected := e.Inspect(t.Context(), h)
			_, waited := e.Wait(t.Context(), h)
			_, collected := e.Collect(t.Context(), executors.Needed{Since: time.Now()}, true)
			for _, err := range []error{applied, inspected, waited, collected, e.Destroy(t.Context(), h)} {
				wantError(t, err, "containerd at "+address, want)
			}
		})
	}
}

// recorded returns the handle of a container that is recorded in its folder.
func recorded(t *testing.T, address string) state.Handle {
	t.Helper()
	dir := t.TempDir()
	data := fmt.Appendf(nil, `{"address": %q, "namespace": %q, "snapshotter": "overlayfs", "id": "x", "name": "x", "unit": "steps/x", "kind": "job", "dir": %q}`,
		address, os.Getenv(namespaceVar), dir)
	ok(t, os.WriteFile(filepath.Join(dir, "container.json"), data, 0o600))
	return state.Handle{Executor: containerd.Name, ID: "x", Data: data}
}

// TestContainerdThatHangs is about a containerd that answered before.
func TestContainerdThatHangs(t *testing.T) {
	t.Parallel()
	d := daemon(t)
	patient := newExecutor(t, on(d))
	e := newExecutor(t, on(d), func(o *containerd.Options) { o.Patience = 600 * time.Millisecond })
	task := job(t, "exit", "0", "300ms")
	h := apply(t, patient, task)
	ok(t, d.Signal(unix.SIGSTOP))
	_, waited := e.Wait(t.Context(), h)
	_, inspected := e.Inspect(t.Context(), h)
	_, applied := e.Apply(t.Context(), task, nil)
	ok(t, d.Signal(unix.SIGCONT))
	for _, err := range []error{waited, inspected, applied} {
		wantError(t, err, "does not answer")
	}
	wait(t, patient, h, state.Succeeded, "")
	wantStarts(t, task, 1)
}

func TestShimThatHangs(t *testing.T) {
	t.Parallel()
	d := daemon(t)
	task := job(t, "sleep")
	h := apply(t, newExecutor(t, on(d)), task)
	pid := shim(t, d)
	ok(t, unix.Kill(pid, unix.SIGSTOP))
	e := newExecutor(t, on(d), func(o *containerd.Options) { o.Patience = 600 * time.Millisecond })
	err := e.Destroy(t.Context(), h)
	ok(t, unix.Kill(pid, unix.SIGCONT))
	wantError(t, err, "destroy steps/case/run", "shim")
}

// TestShimThatHangsBeforeTheProgramStarts has a runc that hangs when it creates the
// first container. The shim waits for it and answers nobody.
func TestShimThatHangsBeforeTheProgramStarts(t *testing.T) {
	t.Parallel()
	d := daemon(t)
	runc, sleep := lookup(t, d.SearchPath(), "runc"), lookup(t, d.SearchPath(), "sleep")
	shim := lookup(t, d.SearchPath(), "containerd-shim-runc-v2")
	d.Path = t.TempDir()
	ok(t, os.Symlink(shim, filepath.Join(d.Path, filepath.Base(shim))))
	hung := filepath.Join(d.Path, "hung")
	ok(t, os.WriteFile(filepath.Join(d.Path, "runc"), fmt.Appendf(nil, `#!/bin/sh
case "$*" in *" create "*) [ -e %[1]s ] || { : >%[1]s; exec %[2]s 600; } ;; esac
exec %[3]s "$@"
`, hung, sleep, runc), 0o755))
	d.Kill()
	ok(t, d.Run())
	e := newExecutor(t, on(d), func(o *containerd.Options) { o.Patience = 6 * time.Second })
	task := job(t, "exit", "0")
	h := apply(t, e, task)
	if _, err := os.Stat(hung); err != nil {
		t.Fatal("no runc has hung: ", err)
	}
	wait(t, e, h, state.Succeeded, "")
	wantStarts(t, task, 1)
}

func TestSocketWithoutPermission(t *testing.T) {
	const in = "TENON_TEST_WITHOUT_RIGHTS"
	if dir := os.Getenv(in); dir != "" {
		e := newExecutor(t)
		_, err := e.Inspect(t.Context(), recorded(t, os.Getenv(addressVar)))
		wantError(t, err, "refuses access to this user: run tenon as root, or give the user access to the socket")
		return
	}
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "rights")
	ok(t, err)
	t.Cleanup(func() { ok(t, os.RemoveAll(dir)) })
	ok(t, os.Chmod(dir, 0o777))
	b, err := os.ReadFile(os.Args[0])
	ok(t, err)
	test := filepath.Join(dir, "test")
	ok(t, os.WriteFile(test, b, 0o755))
	cmd := exec.Command(test, "-test.v", "-test.run", "^"+t.Name()+"$")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), in+"="+dir, "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as a user without rights: %v\n%s", err, out)
	}
}
