package containerd_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/image-spec/identity"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/containerd"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/internal/test/containerdtest"
	"github.com/tenon-ml/tenon/planner/state"
)

func TestSomebodyInterferes(t *testing.T) {
	t.Parallel()
	d := daemon(t)
	e := newExecutor(t, on(d))
	c, ctx := dial(t, d, d.Namespace)
	running := func(t *testing.T) (executors.Task, state.Handle, client.Container, client.Task) {
		task := job(t, "sleep")
		h := apply(t, e, task)
		eventually(t, "it runs", func() bool { return starts(t, task) == 1 })
		container := only(t, c, ctx)
		x, err := container.Task(ctx, nil)
		ok(t, err)
		return task, h, container, x
	}
	t.Run("the task is killed", func(t *testing.T) {
		task, h, _, x := running(t)
		ok(t, x.Kill(ctx, unix.SIGKILL))
		wait(t, e, h, state.Failed, "killed by SIGKILL")
		wantStarts(t, task, 1)
		ok(t, e.Destroy(t.Context(), h))
	})
	t.Run("the task is removed", func(t *testing.T) {
		task, h, _, x := running(t)
		_, err := x.Delete(ctx, client.WithProcessKill)
		ok(t, err)
		wait(t, e, h, state.Failed, "unknown exit status")
		wantStarts(t, task, 1)
		ok(t, e.Destroy(t.Context(), h))
	})
	t.Run("the container is removed", func(t *testing.T) {
		_, h, container, x := running(t)
		_, err := x.Delete(ctx, client.WithProcessKill)
		ok(t, err)
		ok(t, container.Delete(ctx, client.WithSnapshotCleanup))
		wait(t, e, h, state.Absent, "")
		ok(t, e.Destroy(t.Context(), h))
	})
	t.Run("the task is paused, and goes on", func(t *testing.T) {
		task := job(t, "exit", "0", "500ms")
		h := apply(t, e, task)
		x, err := only(t, c, ctx).Task(ctx, nil)
		ok(t, err)
		ok(t, x.Pause(ctx))
		st, err := e.Inspect(t.Context(), h)
		ok(t, err)
		if st.Phase != state.Running || !strings.Contains(st.Message, "paused") {
			t.Errorf("a paused task is %+v", st)
		}
		ok(t, x.Resume(ctx))
		wait(t, e, h, state.Succeeded, "")
		ok(t, e.Destroy(t.Context(), h))
	})
	t.Run("the task is paused, and destroyed", func(t *testing.T) {
		_, h, _, x := running(t)
		ok(t, x.Pause(ctx))
		ok(t, e.Destroy(t.Context(), h))
	})
}

// TestLeftovers is about what a killed tenon leaves without a task state.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	d := daemon(t)
	e := newExecutor(t, on(d))
	c, ctx := dial(t, d, d.Namespace)
	first := apply(t, e, job(t, "exit", "0")) // loads the image
	wait(t, e, first, state.Succeeded, "")
	img, err := c.ImageService().List(ctx)
	ok(t, err)
	image := client.NewImage(c, img[0])

	snapshot := func(id string) {
		layers, err := image.RootFS(ctx)
		ok(t, err)
		_, err = c.SnapshotService("overlayfs").Prepare(ctx, id, identity.ChainID(layers).String(), snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "yes"}))
		ok(t, err)
	}
	container := func(id string) client.Container {
		snapshot(id)
		x, err := c.NewContainer(ctx, id, client.WithSnapshotter("overlayfs"), client.WithSnapshot(id),
			client.WithNewSpec(oci.WithProcessArgs("/bin/program", "beat", "/x")))
		ok(t, err)
		return x
	}
	made := func(id string) client.Task {
		x, err := container(id).NewTask(ctx, cio.NullIO)
		ok(t, err)
		return x
	}
	for name, leave := range map[string]func(id string){
		"a snapshot without a container": snapshot,
		"a container without a task":     func(id string) { container(id) },
		"a task that was never started":  func(id string) { made(id) },
		"a task that runs":               func(id string) { ok(t, made(id).Start(ctx)) },
	} {
		t.Run(name, func(t *testing.T) {
			task := job(t, "exit", "0")
			leave(containerd.ContainerID(task))
			h := apply(t, e, task)
			wait(t, e, h, state.Succeeded, "")
			wantStarts(t, task, 1)
			ok(t, e.Destroy(t.Context(), h))

			// The engine asks by name for what a failed apply may have left.
			leave(containerd.ContainerID(task))
			found, err := e.Find(t.Context(), task.Name, task.Dir)
			ok(t, err)
			if found == nil {
				t.Fatal("it is not found")
			}
			ok(t, e.Destroy(t.Context(), *found))
			if found, err = e.Find(t.Context(), task.Name, task.Dir); err != nil || found != nil {
				t.Errorf("after destroy, %v is found, %v", found, err)
			}
			wantStarts(t, task, 1)
		})
	}
}

// After a restart, containerd 2 no longer knows a task that had been created before.
// The note of the first process shows whether the program ever ran.
func TestUnknownTask(t *testing.T) {
	t.Parallel()
	d := daemon(t)
	e := newExecutor(t, on(d))
	c, ctx := dial(t, d, d.Namespace)
	task := job(t, "exit", "0")
	h := apply(t, e, task)
	wait(t, e, h, state.Succeeded, "")
	x, err := only(t, c, ctx).Task(ctx, nil)
	ok(t, err)
	_, err = x.Delete(ctx)
	ok(t, err)
	exit := filepath.Join(task.Dir, "notes", "exit")

	wait(t, e, h, state.Succeeded, "")
	ok(t, os.WriteFile(exit, nil, 0o644))
	wait(t, e, h, state.Failed, "unknown exit status")
	ok(t, os.Remove(exit))
	wait(t, e, h, state.Absent, "")
	again := apply(t, e, task)
	wait(t, e, again, state.Succeeded, "")
	wantStarts(t, task, 2)
	ok(t, e.Destroy(t.Context(), again))
}

func TestOtherNamespacesAreLeftAlone(t *testing.T) {
	t.Parallel()
	d := daemon(t)
	e := newExecutor(t, on(d))
	c, ctx := dial(t, d, d.Namespace)
	h := apply(t, e, job(t, "exit", "0"))
	wait(t, e, h, state.Succeeded, "")

	foreign := namespaces.WithNamespace(context.Background(), containerdtest.Foreign)
	root := t.TempDir()
	binary, err := os.ReadFile(executortest.Program())
	ok(t, err)
	ok(t, os.WriteFile(filepath.Join(root, "program"), binary, 0o755))
	x, err := c.NewContainer(foreign, only(t, c, ctx).ID(), client.WithContainerLabels(map[string]string{"tenon.dev/dir": "/nowhere"}),
		client.WithNewSpec(oci.WithRootFSPath(root), oci.WithProcessArgs("/program", "beat", "/beats")))
	ok(t, err)
	running, err := x.NewTask(foreign, cio.NullIO)
	ok(t, err)
	ok(t, running.Start(foreign))
	t.Cleanup(func() {
		_, err := running.Delete(foreign, client.WithProcessKill)
		ok(t, err)
	})

	ok(t, e.Destroy(t.Context(), h))
	_, err = e.Collect(t.Context(), executors.Needed{Since: time.Now().Add(2 * time.Hour)}, false)
	ok(t, err)
	st, err := running.Status(foreign)
	ok(t, err)
	if st.Status != client.Running {
		t.Errorf("the container of another namespace is %s", st.Status)
	}
}

func TestCollect(t *testing.T) {
	t.Parallel()
	d := daemon(t)
	e := newExecutor(t, on(d))
	c, ctx := dial(t, d, d.Namespace)
	task := job(t, "sleep")
	h := apply(t, e, task)
	collect := func(since time.Time, dry bool) []string {
		t.Helper()
		found, err := e.Collect(t.Context(), executors.Needed{Since: since}, dry)
		ok(t, err)
		var kinds []string
		for _, g := range found {
			if g.Size <= 0 {
				t.Errorf("%s %s has size %d", g.Kind, g.Name, g.Size)
			}
			kinds = append(kinds, g.Kind)
		}
		return kinds
	}
	want := func(got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("it collects %q, want %q", got, want)
		}
	}
	later := time.Now().Add(2 * time.Hour)
	want(collect(later, false)) // in use
	ok(t, os.Rename(task.Dir, task.Dir+".away"))
	want(collect(time.Time{}, false))
	want(collect(time.Now().Add(-time.Hour), false)) // too young
	want(collect(later, true), "container")
	want(collect(later, true), "container") // it was a dry run
	want(collect(later, false), "container")
	ok(t, os.Rename(task.Dir+".away", task.Dir))
	st, err := e.Inspect(t.Context(), h)
	ok(t, err)
	if st.Phase != state.Absent {
		t.Errorf("what was collected is %s, want absent", st.Phase)
	}
	want(collect(time.Now(), false)) // it was used less than an hour ago
	want(collect(later, true), "image")
	want(collect(later, false), "image")
	want(collect(later, false))
	n := 0
	ok(t, c.SnapshotService("overlayfs").Walk(ctx, func(context.Context, snapshots.Info) error { n++; return nil }))
	if n > 0 {
		t.Errorf("%d snapshots are left", n)
	}
	ok(t, e.Destroy(t.Context(), h))
	again := apply(t, e, job(t, "exit", "0"))
	wait(t, e, again, state.Succeeded, "")
}

// logOf returns the run folder of a handle.
func logOf(h state.Handle) string {
	var r struct{ Dir string }
	if json.Unmarshal(h.Data, &r) != nil {
		return ""
	}
	return r.Dir
}
