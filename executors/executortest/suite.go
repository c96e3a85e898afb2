package executortest

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/planner/state"
)

// Config says what is tested.
type Config struct {
	// New makes an executor. It is called several times in a test: another
	// executor stands for another tenon. The time between asking a program to
	// end and killing it should be about half a second.
	New func(t testing.TB) executors.Executor
	// Program is where units find what [Main] builds. Empty is where it is
	// on this machine.
	Program string
	// Image is what units run in, "" where the executor runs no images.
	Image string
	// Lacks are the features that it refuses.
	Lacks []Feature
	// Unseen are features that it has, and that nobody can see working where the
	// tests run. That it does what it can for them is tested in its own folder.
	Unseen []Feature
	// Contains says that it holds units to their memory and cores, and runs them
	// as a user without rights. One that does not only reserves what they need.
	Contains bool
	// Managed says that the platform keeps instances of services running: it says when a version is
	// ready, or why it never will be, and nothing of an instance that ends or restarts. There is nothing
	// without an endpoint, and nothing that outlives an instance.
	Managed bool
	// JobsOnly leaves the cases of services out: another configuration of the same executor has them.
	JobsOnly bool
	// Elsewhere is where programs run that see neither the files nor the ports of this
	// machine. Nil is that they run here.
	Elsewhere Elsewhere
}

// Elsewhere is a cluster, which tests see from outside. Tasks of all tests are in one
// place there, and so each has a name of its own; it starts a service again that dies,
// leads requests to one version of a service at a time, and takes a while to say what
// is.
type Elsewhere interface {
	// Starts is how often the program of a task was started, ever.
	Starts(t testing.TB, task executors.Task) int
	// Output reads a file of the output folder of a program that runs.
	Output(task executors.Task, name string) (content string, ok bool)
	// Processes are how many of the task run, ended or not.
	Processes(t testing.TB, task executors.Task) int
	// Address is where a service answers, as a URL.
	Address(t testing.TB, task executors.Task) string
	// Host is an address of this machine that programs can reach.
	Host() string
}

// programVar names the program that is built once, also for the tenons that tests
// start and kill.
const programVar = "TENON_EXECUTORTEST_PROGRAM"

// builtVar names the folder with the programs of Tenon that `make test` has built.
const builtVar = "TENON_TEST_BIN"

// ofMachine is what this machine says about time, text and threads. No program may see it:
// a result may depend on it, and it is no part of a unit's key.
var ofMachine = map[string]string{
	"TZ": "Asia/Kolkata", "LANG": "POSIX", "LC_ALL": "POSIX", "LC_TIME": "POSIX", "PYTHONHASHSEED": "99", "OMP_NUM_THREADS": "99",
}

// Main builds what the units of the suite run, and runs the tests. Before them it
// calls what prepares more, with a folder that lasts as long as the tests; what
// that returns is called at the end.
func Main(m *testing.M, prepare ...func(dir string) (stop func() error, err error)) {
	if os.Getenv(programVar) != "" {
		os.Exit(m.Run())
	}
	os.Exit(func() (code int) {
		dir, err := os.MkdirTemp("", "executortest")
		if err == nil {
			defer os.RemoveAll(dir)
			err = BuildStatic(filepath.Join(dir, "program"), "github.com/tenon-ml/tenon/executors/executortest/program/bin")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		os.Setenv(programVar, filepath.Join(dir, "program")) //nolint:errcheck // the name is sound
		for k, v := range ofMachine {
			os.Setenv(k, v) //nolint:errcheck // the name is sound
		}
		for _, p := range prepare {
			stop, err := p(dir)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			defer func() {
				if err := stop(); err != nil {
					fmt.Fprintln(os.Stderr, err)
					code = max(code, 1)
				}
			}()
		}
		return m.Run()
	}())
}

// Program is where [Main] has put what the units of the suite run.
func Program() string { return os.Getenv(programVar) }

// Build builds a package into a program. In `make test`, which has built those of Tenon, it copies them.
func Build(to, pkg string) error { return build(to, pkg, "1") }

// BuildStatic is [Build] for a program that runs in any image.
func BuildStatic(to, pkg string) error { return build(to, pkg, "0") }

func build(to, pkg, cgo string) error {
	if folder, ours := strings.CutPrefix(pkg, "github.com/tenon-ml/tenon/cmd/"); ours && os.Getenv(builtVar) != "" {
		b, err := os.ReadFile(filepath.Join(os.Getenv(builtVar), folder))
		return errors.Join(err, os.WriteFile(to, b, 0o755))
	}
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", to, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// RunWithPrograms builds tenon-run and tenon-serve, names them in $TENON_RUN and
// $TENON_SERVE, and runs the tests.
func RunWithPrograms(m interface{ Run() int }) int {
	dir, err := os.MkdirTemp("", "tenon-programs")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the system removes what is left
	for name, program := range map[string]string{"TENON_RUN": "tenon-run", "TENON_SERVE": "tenon-serve"} {
		path := filepath.Join(dir, program)
		if err := BuildStatic(path, "github.com/tenon-ml/tenon/cmd/"+program); err != nil {
			panic(err)
		}
		os.Setenv(name, path) //nolint:errcheck // the name is sound
	}
	return m.Run()
}

// PinImage imports an image with what the units of the suite run into a folder below dir, and returns the
// folder of images and the reference with its digest.
func PinImage(dir, ref string) (images, pinned string, err error) {
	images = filepath.Join(dir, "images")
	tarball, store := filepath.Join(dir, "program.tar"), image.New(image.Options{Dir: images})
	if err := WriteImage(tarball); err != nil {
		return "", "", err
	}
	if _, err := store.Import(context.Background(), tarball, ref); err != nil {
		return "", "", err
	}
	pinned, err = store.Pin(context.Background(), ref, false)
	return images, pinned, err
}

// WriteImage writes a root file system with what the units of the suite run, as
// /bin/program, and more. Files in /bin are that program, others are empty.
func WriteImage(path string, more ...tar.Header) (err error) {
	program, err := os.ReadFile(Program())
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := tar.NewWriter(f)
	for _, h := range append([]tar.Header{
		{Typeflag: tar.TypeDir, Name: "bin/", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "bin/program", Mode: 0o755},
	}, more...) {
		var content []byte
		if h.Typeflag == tar.TypeReg && strings.HasPrefix(h.Name, "bin/") {
			content = program
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		if _, err := w.Write(content); err != nil {
			return err
		}
	}
	return w.Close()
}

type suite struct {
	Config
}

// Run runs all cases.
func Run(t *testing.T, c Config) {
	if c.Program == "" {
		c.Program = Program()
	}
	s := &suite{c}
	if path := os.Getenv(applyVar); path != "" {
		s.applyAndHang(t, path)
	}
	groups := [][]testCase{s.jobCases(), s.fileCases(), s.endCases(), s.crashCases(), s.featureCases(), s.checkpointCases()}
	if !slices.Contains(c.Lacks, Services) && !c.JobsOnly {
		groups = append(groups, s.serviceCases())
	}
	for _, group := range groups {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.test(t)
			})
		}
	}
}

type testCase struct {
	name string
	test func(t *testing.T)
}

// job makes a task that runs one of the programs in program.go.
func (s *suite) job(t *testing.T, name string, args ...string) executors.Task {
	t.Helper()
	return s.jobIn(t, t.TempDir(), name, args...)
}

func (s *suite) jobIn(t *testing.T, root, name string, args ...string) executors.Task {
	t.Helper()
	task := executors.Task{
		Unit: ir.Unit{
			ID: "steps/case/run", Entity: "steps/case", Kind: ir.Job, Component: "command",
			Code:    ir.Code{Runtime: ir.Command, Command: append([]string{s.Program, name}, args...)},
			Outputs: []ir.Output{{Port: "out", Kind: ir.File}},
		},
		Key: "00112233445566778899aabbccddeeff", Name: "steps-case-run-0011223344556677-1",
		Image: s.Image, Dir: filepath.Join(root, "run"), Code: filepath.Join(root, "code"),
	}
	if s.Elsewhere != nil {
		task.Unit.ID, task.Name = "steps/"+own(root)+"/run", own(root)+"-run-0011223344556677-1"
	}
	for _, dir := range []string{task.Dir, task.Code} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return task
}

// own is a name that no other run has.
func own(root string) string {
	sum := sha256.Sum256([]byte(root))
	return "case-" + hex.EncodeToString(sum[:6])
}

func (s *suite) service(t *testing.T, port int, name string, args ...string) executors.Task {
	t.Helper()
	task := s.job(t, name, args...)
	task.Unit.Kind, task.Unit.ID, task.Unit.Outputs = ir.Service, "deployments/case/serve", nil
	if s.Elsewhere != nil {
		task.Unit.ID = "deployments/" + own(filepath.Dir(task.Dir)) + "/serve"
	}
	task.Unit.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: port, Ready: "/ready", Replicas: 1}
	return task
}

// worker makes a service without an endpoint.
func (s *suite) worker(t *testing.T, name string, args ...string) executors.Task {
	t.Helper()
	task := s.service(t, 0, name, args...)
	task.Unit.Endpoint = nil
	return task
}

// apply starts the task and sees to it that nothing of it outlives the test.
func (s *suite) apply(t *testing.T, e executors.Executor, task executors.Task, prior *state.Handle) state.Handle {
	t.Helper()
	h, err := e.Apply(t.Context(), task, prior)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	s.cleanUp(t, h)
	return h
}

func (s *suite) cleanUp(t *testing.T, h state.Handle) {
	t.Cleanup(func() {
		if err := s.New(t).Destroy(context.Background(), h); err != nil {
			t.Errorf("destroy after the test: %v", err)
		}
	})
}

// wait waits for the end of a job or the readiness of a service.
func wait(t *testing.T, e executors.Executor, h state.Handle) state.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), program.Patience)
	defer cancel()
	st, err := waitFor(ctx, e, h)
	if err != nil {
		t.Fatalf("wait: %v (status %+v)", err, st)
	}
	return st
}

func waitFor(ctx context.Context, e executors.Executor, h state.Handle) (state.Status, error) {
	if w, ok := e.(executors.Waiter); ok {
		return w.Wait(ctx, h)
	}
	for {
		st, err := e.Inspect(ctx, h)
		if err != nil || st.Phase != state.Running {
			return st, err
		}
		select {
		case <-ctx.Done():
			return st, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func inspect(t *testing.T, e executors.Executor, h state.Handle) state.Status {
	t.Helper()
	st, err := e.Inspect(t.Context(), h)
	if err != nil {
		t.Fatalf("inspect: %v", err)
	}
	return st
}

func wantPhase(t *testing.T, st state.Status, want state.Phase) {
	t.Helper()
	if st.Phase != want {
		t.Fatalf("phase is %s, want %s (status %+v)", st.Phase, want, st)
	}
}

func wantMessage(t *testing.T, st state.Status, part string) {
	t.Helper()
	if !strings.Contains(st.Message, part) || strings.Contains(st.Message, "\n") {
		t.Errorf("message is %q, want one line with %q", st.Message, part)
	}
}

// out is the path of the output of the case's only port.
func out(task executors.Task, name ...string) string {
	return filepath.Join(append([]string{task.Dir, "out", "out"}, name...)...)
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// eventually waits for a condition that nobody announces.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(program.Patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, program.Patience)
		}
	}
}

// output reads a file of the output folder of a program that runs.
func (s *suite) output(task executors.Task, name string) (string, bool) {
	if s.Elsewhere != nil {
		return s.Elsewhere.Output(task, name)
	}
	b, err := os.ReadFile(out(task, name))
	return string(b), err == nil
}

// address is where a service answers, as a URL.
func (s *suite) address(t *testing.T, task executors.Task) string {
	t.Helper()
	if s.Elsewhere != nil {
		return s.Elsewhere.Address(t, task)
	}
	return "http://127.0.0.1:" + itoa(task.Unit.Endpoint.Port)
}

// soon looks until what it sees is so. Only a cluster takes a while to know.
func (s *suite) soon(t *testing.T, e executors.Executor, h state.Handle, so func(state.Status) bool) state.Status {
	t.Helper()
	st := inspect(t, e, h)
	for end := time.Now().Add(program.Patience); s.Elsewhere != nil && !so(st) && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		st = inspect(t, e, h)
	}
	return st
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}
