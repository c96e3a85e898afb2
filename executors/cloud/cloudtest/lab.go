package cloudtest

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/terraform"
	"github.com/tenon-ml/tenon/planner/state"
)

// Environment that the tests of a package share with the tenon processes that they start and kill.
const (
	podVar      = "TENON_TEST_POD"
	imagesVar   = "TENON_TEST_IMAGES"
	imageVar    = "TENON_TEST_IMAGE"
	emulatorVar = "TENON_TEST_EMULATOR"
	programRef  = "localhost/program:1" // an image with only the suite's program
)

// An Emulator is one that has started: where it is, in words that have no space, and what its clients have
// in their environment.
type Emulator struct {
	At      []string
	Environ []string
	Stop    func()
}

// Main runs the tests of a package with an emulator of its cloud. It builds tenon-pod, an image of the suite's
// program, and static programs by variable that has their path.
func Main(m *testing.M, start func(ctx context.Context, dir string) (Emulator, error), programs map[string]string) {
	executortest.Main(m, func(dir string) (stop func() error, err error) {
		if os.Geteuid() != 0 { // and the tests that need more say so
			return func() error { return nil }, nil
		}
		built := map[string]string{podVar: "github.com/tenon-ml/tenon/cmd/tenon-pod"}
		for variable, pkg := range programs {
			built[variable] = pkg
		}
		for variable, pkg := range built {
			path := filepath.Join(dir, strings.ToLower(variable))
			if err := errors.Join(executortest.BuildStatic(path, pkg), os.Setenv(variable, path)); err != nil {
				return nil, err
			}
		}
		images, pinned, err := executortest.PinImage(dir, programRef)
		if err != nil {
			return nil, err
		}
		at := filepath.Join(dir, "cloud")
		if err := os.Mkdir(at, 0o755); err != nil {
			return nil, err
		}
		e, err := start(context.Background(), at)
		if err != nil {
			return nil, err
		}
		for _, kv := range append(e.Environ, imagesVar+"="+images, imageVar+"="+pinned, emulatorVar+"="+strings.Join(e.At, " ")) {
			k, v, _ := strings.Cut(kv, "=")
			err = errors.Join(err, os.Setenv(k, v))
		}
		return func() error { e.Stop(); return nil }, err
	})
}

// At returns where the emulator of [Main] is. It skips a test that has none.
func At(t testing.TB) []string {
	t.Helper()
	at := strings.Fields(os.Getenv(emulatorVar))
	if len(at) == 0 {
		t.Skip("the emulator of the cloud makes namespaces for jobs, for which it needs root")
	}
	return at
}

// Image returns the image of the suite's program, with its digest.
func Image() string { return os.Getenv(imageVar) }

// Options are those of an executor for a system, with pauses for an emulator. Hosts is the folder with
// HOST/hosts.toml for registries.
func Options(system, hosts string, pause time.Duration) cloud.Options {
	images := image.New(image.Options{Dir: os.Getenv(imagesVar), Hosts: hosts})
	return cloud.Options{System: system, Pod: os.Getenv(podVar), Build: images.Build, Publish: images.Publish, Pause: pause, Longest: 4 * pause}
}

// Configuration returns the files for OpenTofu of those that are written for a system.
func Configuration(docs []terraform.Document, err error) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, d := range docs {
		if strings.HasSuffix(d.Name, ".tf") {
			files[d.Name] = d.Content
		}
	}
	return files, err
}

// Task makes a job of a system of its own, whose program is the suite's with some arguments.
func Task(t *testing.T, name string, args ...string) executors.Task {
	t.Helper()
	root := t.TempDir()
	task := executors.Task{
		Unit: ir.Unit{
			ID: "steps/killed/" + name, Entity: "steps/killed", Kind: ir.Job, Component: "command",
			Code:    ir.Code{Runtime: ir.Command, Command: append([]string{"/bin/program"}, args...)},
			Outputs: []ir.Output{{Port: "out", Kind: ir.File}},
		},
		Key: "00", Name: "killed-" + name, Image: Image(), Dir: filepath.Join(root, "run"), Code: filepath.Join(root, "code"),
	}
	for _, dir := range []string{task.Dir, task.Code} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return task
}

// A Lab is an emulator that runs jobs in containers of this machine, as [executortest.Elsewhere].
type Lab struct {
	// Runs returns what has ever run a task, and Folder where one of them works.
	Runs   func(task executors.Task) ([]string, error)
	Folder func(run string) string
	// Variable has the name of a run in the environment of its processes.
	Variable string
}

// Starts implements [executortest.Elsewhere].
func (l Lab) Starts(t testing.TB, task executors.Task) (n int) {
	t.Helper()
	runs, err := l.Runs(task)
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range runs {
		b, _ := os.ReadFile(filepath.Join(l.Folder(run), "out/out/starts")) // without it, it did not start
		n += strings.Count(string(b), "\n")
	}
	return n
}

// Output implements [executortest.Elsewhere].
func (l Lab) Output(task executors.Task, name string) (string, bool) {
	runs, _ := l.Runs(task)
	for _, run := range runs {
		if b, err := os.ReadFile(filepath.Join(l.Folder(run), "out/out", name)); err == nil {
			return string(b), true
		}
	}
	return "", false
}

// Processes implements [executortest.Elsewhere].
func (l Lab) Processes(t testing.TB, task executors.Task) (n int) {
	t.Helper()
	runs, err := l.Runs(task)
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range runs {
		n += Processes(t, l.Variable+"="+run)
	}
	return n
}

// Address implements [executortest.Elsewhere].
func (l Lab) Address(t testing.TB, _ executors.Task) string {
	t.Fatal("no service of the suite runs in the cloud")
	return ""
}

// Host implements [executortest.Elsewhere].
func (l Lab) Host() string { return "127.0.0.1" }

// Processes counts those with a text in their variables.
func Processes(t testing.TB, variable string) (n int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		b, _ := os.ReadFile(path) // it may have ended
		if strings.Contains(string(b), variable) {
			n++
		}
	}
	return n
}

// Wanted returns the unit of a task of the conformance suite with what needs rights, and what the suite only says in the
// task: where files and routes are.
func Wanted(t executors.Task) ir.Unit {
	u := t.Unit
	u.Files = slices.Sorted(maps.Keys(t.Files))
	if t.Route != nil {
		u.Release = &ir.Release{}
	}
	return u
}

// RightsAreNeeded provisions a job without its output, whose rights are too few to store one, and then with it.
func RightsAreNeeded(t *testing.T, e interface {
	executors.Executor
	executors.Waiter
}, provision func(ir.Unit) error,
) {
	task := Task(t, "rights", "exit", "0")
	less := task.Unit
	less.Outputs = nil
	for _, c := range []struct {
		unit ir.Unit
		want state.Phase
	}{{less, state.Failed}, {task.Unit, state.Succeeded}} {
		if err := provision(c.unit); err != nil {
			t.Fatal(err)
		}
		h, err := e.Apply(t.Context(), task, nil)
		if err != nil {
			t.Fatal(err)
		}
		if st, err := e.Wait(t.Context(), h); err != nil || st.Phase != c.want || c.want == state.Failed && !strings.Contains(st.Message, "out") {
			t.Errorf("with %d outputs among its rights: %+v, %v", len(c.unit.Outputs), st, err)
		}
		if err := e.Destroy(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
}
