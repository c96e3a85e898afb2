package aws_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/aws"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/internal/test/awstest"
	"github.com/tenon-ml/tenon/planner/state"
)

// Environment that the tests share with the tenon processes that they start and kill.
const (
	podVar      = "TENON_TEST_POD"
	imagesVar   = "TENON_TEST_IMAGES"
	imageVar    = "TENON_TEST_IMAGE"
	emulatorVar = "TENON_TEST_EMULATOR"
	functionVar = "TENON_TEST_FUNCTION"
	programRef  = "localhost/program:1" // an image with only the suite's program
)

func TestMain(m *testing.M) { executortest.Main(m, shared) }

// shared starts the emulator, and builds tenon-pod and an image of the suite's program.
func shared(dir string) (stop func() error, err error) {
	if os.Geteuid() != 0 { // and the tests that need more say so
		return func() error { return nil }, nil
	}
	pod := filepath.Join(dir, "tenon-pod")
	if err := executortest.BuildStatic(pod, "github.com/tenon-ml/tenon/cmd/tenon-pod"); err != nil {
		return nil, err
	}
	function := filepath.Join(dir, "function")
	if err := executortest.BuildStatic(function, "github.com/tenon-ml/tenon/internal/test/awstest/function"); err != nil {
		return nil, err
	}
	images, pinned, err := executortest.PinImage(dir, programRef)
	if err != nil {
		return nil, err
	}
	cloud := filepath.Join(dir, "aws")
	if err := os.Mkdir(cloud, 0o755); err != nil {
		return nil, err
	}
	e, err := awstest.Start(context.Background(), cloud)
	if err != nil {
		return nil, err
	}
	for k, v := range map[string]string{podVar: pod, imagesVar: images, imageVar: pinned, emulatorVar: e.Endpoint + " " + cloud, functionVar: function} {
		err = errors.Join(err, os.Setenv(k, v))
	}
	for _, kv := range e.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		err = errors.Join(err, os.Setenv(k, v))
	}
	return func() error { e.Stop(); return nil }, err
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A lab is a target in the emulator.
type lab struct {
	*awstest.Emulator
}

func newLab(t testing.TB) *lab {
	t.Helper()
	endpoint, dir, ok := strings.Cut(os.Getenv(emulatorVar), " ")
	if !ok {
		t.Skip("the emulator of AWS makes namespaces for jobs, for which it needs root")
	}
	return &lab{Emulator: awstest.At(endpoint, dir)}
}

// settings are those of a target with the defaults of tenon.#AWS.
func (l *lab) settings() map[string]any {
	return map[string]any{
		"region": awstest.Region, "folder": "tenon", "cidr": "10.40.0.0/16", "jobs": map[string]any{"cpu": 64}, "architecture": "x86_64", "retention": 30, "hosts": l.Hosts,
	}
}

func (l *lab) target() ir.Target {
	return ir.Target{Name: "aws", Executor: aws.Name, Settings: l.settings()}
}

func (l *lab) executor(t testing.TB, change ...func(*aws.Options)) *aws.Executor {
	t.Helper()
	settings, err := aws.SettingsOf(l.target())
	ok(t, err)
	images := image.New(image.Options{Dir: os.Getenv(imagesVar), Hosts: l.Hosts})
	o := aws.Options{
		Settings: settings, Options: cloud.Options{
			System: "suite", Pod: os.Getenv(podVar), Build: images.Build, Publish: images.Publish,
			Pause: 100 * time.Millisecond, Longest: 400 * time.Millisecond,
		},
		Settle: 300 * time.Millisecond, Grace: 500 * time.Millisecond,
	}
	for _, c := range change {
		c(&o)
	}
	e := aws.New(o)
	t.Cleanup(func() { ok(t, e.Close()) })
	return e
}

// provision makes the infrastructure of units, as tenon writes it.
func (l *lab) provision(ctx context.Context, system string, t executors.Task) error {
	return l.provisionOn(ctx, l.target(), system, t)
}

func (l *lab) provisionOn(ctx context.Context, target ir.Target, system string, t executors.Task) error {
	u := t.Unit
	for pattern := range t.Files { // the suite names them in the task only
		u.Files = append(u.Files, pattern)
	}
	files, err := infrastructure(target, system, u)
	if err != nil {
		return err
	}
	return l.Provision(ctx, files)
}

// infrastructure returns the files of Terraform for units.
func infrastructure(target ir.Target, system string, units ...ir.Unit) (map[string][]byte, error) {
	docs, err := aws.Infrastructure(&ir.System{Name: system, Target: target, Units: units})
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, d := range docs {
		if strings.HasSuffix(d.Name, ".tf") {
			files[d.Name] = d.Content
		}
	}
	return files, nil
}

// A provided executor has the infrastructure of each unit before it is started.
type provided struct {
	*aws.Executor
	l *lab
}

func (p provided) Apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	if err := p.l.provision(context.WithoutCancel(ctx), "suite", t); err != nil {
		return state.Handle{}, err
	}
	return p.Executor.Apply(ctx, t, prior)
}

// Starts counts the jobs whose programs have started, ever.
func (l *lab) Starts(t testing.TB, task executors.Task) (n int) {
	t.Helper()
	ids, err := l.Jobs(aws.RunName("", task.Name))
	ok(t, err)
	for _, id := range ids {
		b, _ := os.ReadFile(filepath.Join(l.Work(id), "out/out/starts")) // without it, it did not start
		n += strings.Count(string(b), "\n")
	}
	return n
}

func (l *lab) Output(task executors.Task, name string) (string, bool) {
	ids, _ := l.Jobs(aws.RunName("", task.Name))
	for _, id := range ids {
		if b, err := os.ReadFile(filepath.Join(l.Work(id), "out/out", name)); err == nil {
			return string(b), true
		}
	}
	return "", false
}

// Processes counts the processes in the containers of a task.
func (l *lab) Processes(t testing.TB, task executors.Task) (n int) {
	t.Helper()
	ids, err := l.Jobs(aws.RunName("", task.Name))
	ok(t, err)
	for _, id := range ids {
		n += processes(t, "AWS_BATCH_JOB_ID="+id)
	}
	return n
}

// processes counts those with a text in their variables.
func processes(t testing.TB, variable string) (n int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	ok(t, err)
	for _, path := range all {
		b, _ := os.ReadFile(path) // it may have ended
		if strings.Contains(string(b), variable) {
			n++
		}
	}
	return n
}

func (l *lab) Address(t testing.TB, _ executors.Task) string {
	t.Fatal("no service runs in AWS")
	return ""
}

func (l *lab) Host() string { return "127.0.0.1" }

func TestConformance(t *testing.T) {
	l := newLab(t)
	executortest.Run(t, executortest.Config{
		New:     func(t testing.TB) executors.Executor { return provided{l.executor(t), l} },
		Program: "/bin/program", Image: os.Getenv(imageVar),
		Lacks:     append([]executortest.Feature{executortest.PIDs, executortest.SecretFile, executortest.Services}, executortest.Cluster...),
		Unseen:    []executortest.Feature{executortest.NoNetwork}, // the emulator has no networks
		Elsewhere: l,
	})
}
