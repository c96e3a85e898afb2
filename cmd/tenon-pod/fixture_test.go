package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// asPod makes the test binary act as the command.
const asPod = "TENON_POD_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(asPod) != "" {
		main()
	}
	os.Exit(m.Run())
}

// A fixture is a store and a work folder.
type fixture struct {
	*testing.T
	store         *remote.Store
	url, dir      string // of the store
	work, message string
	patience      string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	return newFixtureAt(t, "file://"+dir, dir)
}

func newFixtureAt(t *testing.T, url, dir string) *fixture {
	t.Helper()
	b := &fixture{T: t, url: url, dir: dir, work: t.TempDir(), message: filepath.Join(t.TempDir(), "message"), patience: "1m"}
	var err error
	b.store, err = remote.Open(t.Context(), b.url)
	b.ok(err)
	t.Cleanup(func() { b.ok(b.store.Close()) })
	return b
}

func (b *fixture) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// at returns a path in the work folder.
func (b *fixture) at(path string) string { return filepath.Join(b.work, path) }

// job returns a job that runs a shell script in its scratch folder and may write one
// output.
func (b *fixture) job(script string) pod.Task {
	return pod.Task{
		Name: "models-late-train-0123456789ab-1", Kind: ir.Job, Command: []string{"sh", "-c", script},
		Step: step.Step{
			Version: step.Version, Unit: "models/late/train", Params: json.RawMessage("{}"), Code: b.at("scratch"), Scratch: b.at("scratch"),
			Metrics: b.at("notes/metrics.json"), Progress: b.at("notes/progress.jsonl"),
			Outputs: map[string]step.Port{"result": {Kind: ir.File, Path: b.at("out/result")}},
		},
	}
}

// put stores a file or, if more holds names, a folder of files with these paths.
func (b *fixture) put(text string, more ...string) artifact.Ref {
	b.Helper()
	path := filepath.Join(b.TempDir(), "artifact")
	if len(more) == 0 {
		b.ok(os.WriteFile(path, []byte(text), 0o644))
	}
	for _, name := range more {
		b.ok(os.MkdirAll(filepath.Dir(filepath.Join(path, name)), 0o755))
		b.ok(os.WriteFile(filepath.Join(path, name), []byte(text), 0o755))
	}
	ref, err := b.store.Put(b.Context(), path)
	b.ok(err)
	return ref
}

// A container is tenon-pod as the first process of a namespace of its own.
type container struct {
	*fixture
	*exec.Cmd
	task   pod.Task
	mu     sync.Mutex
	raw    bytes.Buffer
	status int
}

func (c *container) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw.Write(p)
}

func (b *fixture) start(task pod.Task, env ...string) *container {
	b.Helper()
	return b.command(task, env, os.Args[0])
}

// command starts a command that ends in the arguments of tenon-pod.
func (b *fixture) command(task pod.Task, env []string, command ...string) *container {
	b.Helper()
	text, err := json.Marshal(task)
	b.ok(err)
	ref, err := b.store.PutBytes(b.Context(), text)
	b.ok(err)
	c := &container{fixture: b, task: task, status: -1}
	args := append(command[1:], "run", "--store", b.url, "--task", ref.Digest, "--work", b.work, "--message", b.message, "--patience", b.patience)
	c.Cmd = exec.Command(command[0], args...)
	c.Env = append([]string{asPod + "=1", "PATH=/usr/bin:/bin"}, env...)
	c.Stdout, c.Stderr = c, c
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	b.ok(c.Start())
	b.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c
}

// wait waits for the end of the container.
func (c *container) wait() *container {
	c.Helper()
	timer := time.AfterFunc(60*time.Second, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := c.Cmd.Wait(); err != nil && !errors.As(err, &exit) {
		c.Fatal(err)
	}
	c.status = c.ProcessState.ExitCode()
	return c
}

// run runs a task to its end.
func (b *fixture) run(task pod.Task, env ...string) *container {
	b.Helper()
	return b.start(task, env...).wait()
}

// log returns what the pod has printed so far: output of the program, and progress.
func (c *container) log() (string, []step.Progress) {
	c.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var out bytes.Buffer
	var progress []step.Progress
	r := pod.NewLogReader(&out, func(p step.Progress) { progress = append(progress, p) })
	_, err := r.Write(c.raw.Bytes())
	c.ok(errors.Join(err, r.Close()))
	return out.String(), progress
}

func (c *container) said() string { c.Helper(); s, _ := c.log(); return s }

// end returns the termination message.
func (c *container) end() pod.End {
	c.Helper()
	b, err := os.ReadFile(c.message)
	c.ok(err)
	end, ok := pod.ReadMessage(string(b))
	if !ok {
		c.Fatalf("the termination message is %q", b)
	}
	return end
}

// result returns the result in the store.
func (c *container) result() (r pod.Result) {
	c.Helper()
	b, err := c.store.Note(c.Context(), pod.ResultNote(c.task.Name))
	c.ok(err)
	c.ok(json.Unmarshal(b, &r))
	return r
}

// want checks exit status, termination message and result.
func (c *container) want(end pod.End) *container {
	c.Helper()
	if c.status != end.Status() {
		c.Errorf("status %d, want %d; it said %q", c.status, end.Status(), c.said())
	}
	if diff := cmp.Diff(end, c.end()); diff != "" {
		c.Errorf("termination message:\n%s", diff)
	}
	if end.Stored {
		if diff := cmp.Diff(end, c.result().End); diff != "" {
			c.Errorf("result:\n%s", diff)
		}
	} else if _, err := c.store.Note(c.Context(), pod.ResultNote(c.task.Name)); !errors.Is(err, artifact.ErrMissing) {
		c.Errorf("there is a result, %v", err)
	}
	return c
}

func (c *container) eventually(what string, ok func() bool) {
	c.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			c.Fatalf("%s: never; it said %q", what, c.said())
		}
	}
}

func (c *container) says(text string) {
	c.Helper()
	c.eventually("it says "+text, func() bool { return strings.Contains(c.said(), text) })
}
