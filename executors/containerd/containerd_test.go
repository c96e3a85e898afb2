package containerd_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/containerd"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/internal/test/containerdtest"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Environment that the tests share with the tenon processes that they start and kill.
const (
	addressVar   = "TENON_TEST_CONTAINERD"
	namespaceVar = "TENON_TEST_NAMESPACE"
	daemonVar    = "TENON_TEST_CONTAINERD_DIR"
	runnerVar    = "TENON_TEST_RUNNER"
	imagesVar    = "TENON_TEST_IMAGES"
	programRef   = "localhost/program:1" // an image with only the suite's program
)

func TestMain(m *testing.M) { executortest.Main(m, shared) }

// shared starts a containerd and builds an image for all tests of the package.
func shared(dir string) (stop func() error, err error) {
	d, err := containerdtest.Start("/tmp")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Stop())
		}
	}()
	runner, images := filepath.Join(dir, "tenon-run"), filepath.Join(dir, "images")
	if err := executortest.BuildStatic(runner, "github.com/tenon-ml/tenon/cmd/tenon-run"); err != nil {
		return nil, err
	}
	tarball := filepath.Join(dir, "program.tar")
	if err := executortest.WriteImage(tarball, // and again, setuid root and with files that everybody may write
		tar.Header{Typeflag: tar.TypeReg, Name: "bin/root", Mode: 0o4755},
		tar.Header{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o755},
		tar.Header{Typeflag: tar.TypeDir, Name: "open/", Mode: 0o777},
		tar.Header{Typeflag: tar.TypeReg, Name: "open/file", Mode: 0o666},
	); err != nil {
		return nil, err
	}
	if _, err := image.New(image.Options{Dir: images}).Import(context.Background(), tarball, programRef); err != nil {
		return nil, err
	}
	for k, v := range map[string]string{
		addressVar: d.Address, namespaceVar: d.Namespace, daemonVar: d.Dir, runnerVar: runner, imagesVar: images,
	} {
		if err := os.Setenv(k, v); err != nil {
			return nil, err
		}
	}
	return d.Stop, nil
}

func newExecutor(t testing.TB, change ...func(*containerd.Options)) *containerd.Executor {
	t.Helper()
	o := containerd.Options{
		Place:  containerd.Place{Address: os.Getenv(addressVar), Namespace: os.Getenv(namespaceVar)},
		Runner: os.Getenv(runnerVar), Grace: 500 * time.Millisecond,
		Build: image.New(image.Options{Dir: os.Getenv(imagesVar)}).Build,
	}
	for _, c := range change {
		c(&o)
	}
	e := containerd.New(o)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// pinned returns the reference of the suite's image, by digest.
func pinned(t testing.TB) string {
	t.Helper()
	ref, err := image.New(image.Options{Dir: os.Getenv(imagesVar)}).Pin(t.Context(), programRef, false)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestConformance(t *testing.T) {
	executortest.Run(t, executortest.Config{
		New:      func(t testing.TB) executors.Executor { return newExecutor(t) },
		Program:  "/bin/program",
		Image:    pinned(t),
		Contains: true,
		Lacks:    executortest.Cluster,
	})
}

// job returns a task that runs one of the suite's programs.
func job(t testing.TB, args ...string) executors.Task {
	t.Helper()
	root := t.TempDir()
	task := executors.Task{
		Unit: ir.Unit{
			ID: "steps/case/run", Entity: "steps/case", Kind: ir.Job, Component: "command",
			Code:    ir.Code{Runtime: ir.Command, Command: append([]string{"/bin/program"}, args...)},
			Outputs: []ir.Output{{Port: "out", Kind: ir.File}},
		},
		Key: "00112233445566778899aabbccddeeff", Name: "steps-case-run-0011223344556677-1",
		Image: pinned(t), Dir: filepath.Join(root, "run"), Code: filepath.Join(root, "code"),
	}
	mkdir(t, task.Dir)
	mkdir(t, task.Code)
	return task
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mkdir(t testing.TB, dir string) { t.Helper(); ok(t, os.MkdirAll(dir, 0o755)) }

func apply(t testing.TB, e *containerd.Executor, task executors.Task) state.Handle {
	t.Helper()
	h, err := e.Apply(t.Context(), task, nil)
	ok(t, err)
	t.Cleanup(func() {
		if err := e.Destroy(context.Background(), h); err != nil {
			t.Errorf("destroy after the test: %v", err)
		}
	})
	return h
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(program.Patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: never", what)
		}
	}
}

// The settings of the target may change between a killed apply and the next one.
func TestATaskIsFoundWhereItWasStarted(t *testing.T) {
	task := job(t, "sleep")
	first := apply(t, newExecutor(t), task)
	elsewhere := newExecutor(t, func(o *containerd.Options) { o.Namespace = containerdtest.Foreign })
	again := apply(t, elsewhere, task)
	if !bytes.Equal(again.Data, first.Data) {
		t.Errorf("it was started as %s, and again as %s", first.Data, again.Data)
	}
	other := task
	other.Name = "steps-case-run-0011223344556677-2"
	if _, err := elsewhere.Apply(t.Context(), other, nil); err == nil {
		t.Error("another task was started in the folder of one that runs")
	}
}

// A task state that cannot be read does not mean that the task is gone.
func TestUnreadableTaskStateIsNotAnAbsence(t *testing.T) {
	task := job(t, "exit", "0")
	e := newExecutor(t)
	h := apply(t, e, task)
	path := filepath.Join(task.Dir, "container.json")
	ok(t, os.Remove(path))
	mkdir(t, path)
	if st, err := e.Inspect(t.Context(), h); err == nil {
		t.Errorf("status %+v, want an error", st)
	}
}

// A bare image is one whose manifest does not contain its media type, which is
// optional.
type bare struct{ v1.Image }

func (b bare) Manifest() (*v1.Manifest, error) {
	m, err := b.Image.Manifest()
	if err != nil {
		return nil, err
	}
	m = m.DeepCopy()
	m.MediaType = ""
	return m, nil
}

func (b bare) RawManifest() ([]byte, error) {
	m, err := b.Manifest()
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}

func (b bare) Digest() (v1.Hash, error) { return partial.Digest(b) }

func TestAnImageIsPrepared(t *testing.T) {
	store := image.New(image.Options{Dir: os.Getenv(imagesVar)})
	built := 0
	e := newExecutor(t, func(o *containerd.Options) {
		o.Build = func(ctx context.Context, r image.Recipe) (v1.Image, error) {
			built++
			return store.Build(ctx, r)
		}
	})
	task := job(t, "exit", "0")
	ok(t, os.WriteFile(filepath.Join(task.Code, "x"), []byte(t.TempDir()), 0o644)) // so that no image has it yet
	task.Unit.Code.Files = []ir.CodeFile{{Path: "x", Digest: "sha256:x"}}
	name, other := e.Prepares(task.Unit, task.Image), task.Unit
	other.Code.Files = nil
	if !strings.HasPrefix(name, "image ") || name == e.Prepares(other, task.Image) {
		t.Errorf("the image is %q, also with other code", name)
	}
	ok(t, e.Prepare(t.Context(), executors.Task{Unit: task.Unit, Code: task.Code, Image: task.Image}, func(step.Progress) {}))
	if built != 1 {
		t.Errorf("built %d times, want once", built)
	}
	st, err := e.Wait(t.Context(), apply(t, e, task))
	ok(t, err)
	if st.Phase != state.Succeeded {
		t.Errorf("status %+v", st)
	}
}

func TestAnImageThatDoesNotSayItsType(t *testing.T) {
	store := image.New(image.Options{Dir: os.Getenv(imagesVar)})
	e := newExecutor(t, func(o *containerd.Options) {
		o.Build = func(ctx context.Context, r image.Recipe) (v1.Image, error) {
			img, err := store.Build(ctx, r)
			return bare{img}, err
		}
	})
	st, err := e.Wait(t.Context(), apply(t, e, job(t, "exit", "0")))
	ok(t, err)
	if st.Phase != state.Succeeded {
		t.Errorf("status %+v", st)
	}
}
