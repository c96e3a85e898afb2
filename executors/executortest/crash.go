package executortest

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/planner/state"
)

// applyVar names the file of the task that another test process has to apply.
const applyVar = "TENON_EXECUTORTEST_APPLY"

// crashCases are about a tenon that is killed. It is a process of its own that
// applies a task and gets SIGKILL.
func (s *suite) crashCases() []testCase {
	return []testCase{
		{"tenon is killed: what runs is adopted and its end is known", s.adoptRunning},
		{"tenon is killed: what ended meanwhile is known", s.adoptEnded},
		{"tenon is killed: what runs can be destroyed", s.destroyOrphan},
		{"tenon is killed at any moment of apply: the program runs exactly once", s.killedAnywhere},
	}
}

// victim is a tenon that is about to apply a task.
type victim struct {
	cmd    *exec.Cmd
	handle string // file that appears once it has applied
	begin  string // file that makes it apply
}

func (s *suite) victim(t *testing.T, task executors.Task) *victim {
	t.Helper()
	dir := t.TempDir()
	v := &victim{handle: filepath.Join(dir, "handle"), begin: filepath.Join(dir, "begin")}
	b, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "task")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	// The suite may be run by a subtest, and this is one of its cases.
	names := strings.Split(t.Name(), "/")
	run := "^" + strings.Join(names[:len(names)-1], "$/^") + "$"
	v.cmd = exec.Command(os.Args[0], "-test.run", run, "-test.count=1")
	v.cmd.Env = append(os.Environ(), applyVar+"="+path)
	var output bytes.Buffer
	v.cmd.Stdout, v.cmd.Stderr = &output, &output
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.kill()
		if t.Failed() {
			t.Logf("the killed tenon said: %s", output.String())
		}
	})
	eventually(t, "the other tenon is there", func() bool { return exists(path + ".ready") })
	return v
}

// applyAndHang is what a victim does.
func (s *suite) applyAndHang(t *testing.T, path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var task executors.Task
	if err := json.Unmarshal(b, &task); err != nil {
		t.Fatal(err)
	}
	e := s.New(t)
	if err := os.WriteFile(path+".ready", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	for end := time.Now().Add(program.Patience); !exists(filepath.Join(dir, "begin")); {
		if time.Now().After(end) {
			t.Fatal("nobody said begin")
		}
	}
	h, err := e.Apply(t.Context(), task, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = json.Marshal(h); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tmp"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, "handle")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(program.Patience)
	t.Fatal("was not killed")
}

func (v *victim) start(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(v.begin, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (v *victim) kill() {
	// Either may fail if it was killed before.
	_ = v.cmd.Process.Kill()
	_ = v.cmd.Wait()
}

// orphan is a task whose tenon was killed right after apply.
func (s *suite) orphan(t *testing.T, name string, args ...string) (executors.Task, state.Handle) {
	t.Helper()
	task := s.job(t, name, args...)
	v := s.victim(t, task)
	v.start(t)
	eventually(t, "the other tenon has applied", func() bool { return exists(v.handle) })
	v.kill()
	var h state.Handle
	if err := json.Unmarshal([]byte(read(t, v.handle)), &h); err != nil {
		t.Fatal(err)
	}
	s.cleanUp(t, h)
	return task, h
}

func (s *suite) adoptRunning(t *testing.T) {
	lives := "500ms"
	if s.Elsewhere != nil { // which takes longer to be asked
		lives = "3s"
	}
	task, h := s.orphan(t, "exit", "3", lives)
	e := s.New(t)
	wantPhase(t, inspect(t, e, h), state.Running)
	again := s.apply(t, e, task, nil)
	if again.ID != h.ID {
		t.Errorf("apply gave handle %s, want %s", again.ID, h.ID)
	}
	st := wait(t, e, again)
	wantPhase(t, st, state.Failed)
	if st.ExitCode != 3 {
		t.Errorf("exit code is %d, want 3", st.ExitCode)
	}
	s.wantStarts(t, task, 1)
}

func (s *suite) adoptEnded(t *testing.T) {
	task, h := s.orphan(t, "exit", "3", "100ms")
	time.Sleep(600 * time.Millisecond)
	e := s.New(t)
	ended := s.soon(t, e, h, func(st state.Status) bool { return st.Phase != state.Running })
	for _, st := range []state.Status{ended, wait(t, e, s.apply(t, e, task, nil))} {
		wantPhase(t, st, state.Failed)
		if st.ExitCode != 3 {
			t.Errorf("exit code is %d, want 3", st.ExitCode)
		}
	}
	s.wantStarts(t, task, 1)
}

func (s *suite) destroyOrphan(t *testing.T) {
	task, h := s.orphan(t, "family")
	s.wantAlive(t, task)
	if err := s.New(t).Destroy(t.Context(), h); err != nil {
		t.Fatalf("destroy: %v", err)
	}
	s.wantDead(t, task, relatives...)
}

func (s *suite) killedAnywhere(t *testing.T) {
	took := s.applies(t)
	before, after := 0, 0
	for range 25 {
		task := s.job(t, "exit", "0", "30ms")
		v := s.victim(t, task)
		v.start(t)
		time.Sleep(time.Duration(rand.Int64N(int64(took))))
		v.kill()
		if exists(v.handle) {
			after++
		} else {
			before++
		}
		e := s.New(t)
		h := s.apply(t, e, task, nil)
		wantPhase(t, wait(t, e, h), state.Succeeded)
		s.wantStarts(t, task, 1)
	}
	t.Logf("killed %d times before apply returned, %d times after; it takes %v", before, after, took)
}

// applies is how long another tenon takes to apply.
func (s *suite) applies(t *testing.T) time.Duration {
	t.Helper()
	task := s.job(t, "exit", "0")
	v := s.victim(t, task)
	began := time.Now()
	v.start(t)
	eventually(t, "the other tenon has applied", func() bool { return exists(v.handle) })
	took := time.Since(began)
	v.kill()
	e := s.New(t)
	wait(t, e, s.apply(t, e, task, nil))
	return took
}
