package ssh_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/ssh"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// programName is the name of the image with the program of the suite.
const programName = "localhost/program:1"

// inImages is an executor of a host with containerd, which runs all tasks in an image.
type inImages struct{ counting }

func (i inImages) Check(u ir.Unit) []ir.Fault {
	u.Code.Image = programName
	return i.counting.Check(u)
}

func (i inImages) Apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	t.Unit.Code.Image = programName
	return i.counting.Apply(ctx, t, prior)
}

// programImage makes a store of images in a folder, and an image with the program of the suite.
func programImage(t testing.TB, dir string) (*image.Store, string) {
	t.Helper()
	tarball := filepath.Join(dir, "program.tar")
	ok(t, executortest.WriteImage(tarball))
	store := image.New(image.Options{Dir: filepath.Join(dir, "images")})
	_, err := store.Import(t.Context(), tarball, programName)
	ok(t, err)
	pinned, err := store.Pin(t.Context(), programName, false)
	ok(t, err)
	return store, pinned
}

func TestConformanceInContainers(t *testing.T) {
	l := newLab(t)
	address := l.All[0].Containerd(t)
	l.Setenv(t)
	store, pinned := programImage(t, t.TempDir())
	executortest.Run(t, executortest.Config{
		New: func(t testing.TB) executors.Executor {
			return inImages{counting{l.executor(t, func(o *ssh.Options) {
				o.Hosts, o.Hosts[0].Containerd, o.Build = o.Hosts[:1], address, store.Build
			}), l}}
		},
		Program: "/bin/program", Image: pinned, Contains: true, Lacks: executortest.Cluster, Elsewhere: l,
	})
}

// A unit with an image runs in a container, on a host that has containerd. It is held to its memory,
// and only layers are sent that the host does not have.
func TestContainers(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	address := l.All[0].Containerd(t)
	store, pinned := programImage(t, t.TempDir())
	with := func(o *ssh.Options) {
		o.Runs, o.Build, o.Hosts[0].Containerd, o.Hosts[0].Price = runs, store.Build, address, "9 USD/h"
	}
	e := l.executor(t, with)
	boxed := func(name string, args ...string) executors.Task {
		task := job(t, runs, name, args...)
		task.Unit.Code.Command = append([]string{"/bin/program"}, args...)
		task.Unit.Code.Image, task.Image = programName, pinned
		return task
	}
	input := filepath.Join(t.TempDir(), "input")
	ok(t, os.WriteFile(input, []byte("content"), 0o600))
	reports := boxed("reports", "report")
	reports.Inputs = map[string]step.Port{"data": {Kind: ir.File, Path: input}}
	wait(t, e, apply(t, e, reports), state.Succeeded)
	if l.on(t, reports) != l.All[0] {
		t.Error("it runs on the cheaper host, which has no containerd")
	}
	b, err := os.ReadFile(filepath.Join(reports.Dir, "out/out/found.json"))
	ok(t, err)
	if !strings.Contains(string(b), `"/tenon/in/data"`) {
		t.Errorf("it has found %s", b)
	}
	if left, err := filepath.Glob(filepath.Join(l.All[0].Home, ".cache/tenon/ssh/blobs/*")); err != nil || len(left) > 0 {
		t.Errorf("layers are kept that containerd has: %q, %v", left, err)
	}

	// The second image adds code to the first one, whose layers the host has.
	var sent []string
	e = l.executor(t, with, func(o *ssh.Options) { o.Build = counted(store.Build, &sent) })
	coded := boxed("coded", "exit", "0")
	coded.Code = filepath.Join(t.TempDir(), "code")
	ok(t, os.MkdirAll(coded.Code, 0o755))
	ok(t, os.WriteFile(filepath.Join(coded.Code, "x.txt"), []byte("x"), 0o644))
	coded.Unit.Code.Files = []ir.CodeFile{{Path: "x.txt", Digest: ir.Sum([]byte("x"))}}
	wait(t, e, apply(t, e, coded), state.Succeeded)
	if len(sent) != 1 {
		t.Errorf("%d layers were sent, want that of the code", len(sent))
	}

	large := boxed("large", "eat", "268435456")
	large.Unit.Needs.Memory = 64 << 20
	if got := wait(t, e, apply(t, e, large), state.Failed); !strings.Contains(got, "it used more than needs.memory 64 MiB") {
		t.Errorf("beyond its memory, it says %q", got)
	}

	// Where no host runs containers, the error says what to install.
	e = l.executor(t, with, func(o *ssh.Options) { o.Hosts = slices.Clone(o.Hosts[1:]) })
	_, err = e.Apply(within(t), boxed("nowhere", "exit", "0"), nil)
	if err == nil || !strings.Contains(err.Error(), "host "+l.All[1].Address+": it has no containerd at /run/containerd/containerd.sock, which runs images: install containerd and runc there") {
		t.Errorf("without containerd: %v", err)
	}
}

// counted makes images whose layers note their digests when they are read.
func counted(build func(context.Context, image.Recipe) (v1.Image, error), read *[]string) func(context.Context, image.Recipe) (v1.Image, error) {
	return func(ctx context.Context, r image.Recipe) (v1.Image, error) {
		img, err := build(ctx, r)
		return countedImage{img, read}, err
	}
}

type countedImage struct {
	v1.Image
	read *[]string
}

func (c countedImage) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	*c.read = append(*c.read, h.String())
	return c.Image.LayerByDigest(h)
}
