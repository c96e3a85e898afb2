package ssh_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/ssh"
	"github.com/tenon-ml/tenon/internal/test/sshtest"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// job makes a task in a folder of runs that runs a program of the suite.
func job(t testing.TB, runs, name string, args ...string) executors.Task {
	t.Helper()
	task := executors.Task{
		Unit: ir.Unit{
			ID: "steps/" + name + "/run", Entity: "steps/" + name, Kind: ir.Job, Component: "command",
			Code:    ir.Code{Runtime: ir.Command, Command: append([]string{executortest.Program()}, args...)},
			Outputs: []ir.Output{{Port: "out", Kind: ir.File}},
		},
		Key: "00112233445566778899aabbccddeeff", Name: name, Dir: filepath.Join(runs, name),
	}
	ok(t, os.MkdirAll(task.Dir, 0o755))
	return task
}

// within says that a call may not take longer than anything in these tests.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func apply(t testing.TB, e *ssh.Executor, task executors.Task) state.Handle {
	t.Helper()
	h, err := e.Apply(within(t), task, nil)
	ok(t, err)
	t.Cleanup(func() { ok(t, e.Destroy(context.Background(), h)) })
	return h
}

// wait waits for a phase of a task, and returns its message.
func wait(t testing.TB, e *ssh.Executor, h state.Handle, want state.Phase) string {
	t.Helper()
	st, err := e.Wait(within(t), h)
	ok(t, err)
	if st.Phase != want {
		t.Fatalf("phase is %s, want %s: %+v", st.Phase, want, st)
	}
	return st.Message
}

func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// on returns the host that has a task.
func (l *lab) on(t testing.TB, task executors.Task) *sshtest.Host {
	t.Helper()
	dirs := l.runs(task)
	if len(dirs) == 1 {
		for _, h := range l.All {
			if strings.HasPrefix(dirs[0], h.Home+"/") {
				return h
			}
		}
	}
	t.Fatalf("hosts have %q of %s", dirs, task.Name)
	return nil
}

// A job continues while nobody is connected, and everything that it printed and wrote arrives.
func TestConnectionLost(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	e := l.executor(t, func(o *ssh.Options) { o.Runs = runs })
	task := job(t, runs, "lines", "lines", "20", "100ms")
	h := apply(t, e, task)
	var log bytes.Buffer
	followed := make(chan error, 1)
	go func() { followed <- e.Logs(within(t), h, &log, true) }()
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		for range 3 {
			time.Sleep(300 * time.Millisecond)
			l.All[0].Cut(t)
		}
	}()
	wait(t, e, h, state.Succeeded)
	<-cut
	ok(t, <-followed)
	want := ""
	for i := range 20 {
		want += "line " + string(rune('0'+i/10)) + string(rune('0'+i%10)) + "\n"
	}
	want = strings.ReplaceAll(want, "line 0", "line ")
	if b, err := os.ReadFile(filepath.Join(task.Dir, "log")); err != nil || string(b) != want {
		t.Errorf("the log is %q, %v", b, err)
	}
	if log.String() != want {
		t.Errorf("following gave %q", log.String())
	}
	if n := l.Starts(t, task); n != 1 {
		t.Errorf("it was started %d times", n)
	}
}

// A host without power is lost. Its job has failed, another attempt runs on the other host, and
// what is left on the first one is ended once it answers again.
func TestHostLost(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	e := l.executor(t, func(o *ssh.Options) { o.Runs, o.Patience = runs, 500*time.Millisecond })
	first := job(t, runs, "case-1", "sleep")
	h := apply(t, e, first)
	host := l.on(t, first)
	go func() {
		time.Sleep(200 * time.Millisecond)
		host.Kill(t)
	}()
	if msg := wait(t, e, h, state.Failed); !strings.HasPrefix(msg, "host "+host.Address+" is lost: ") {
		t.Errorf("the message is %q, want the name of the host", msg)
	}
	if _, err := e.Inspect(within(t), h); err == nil || !strings.Contains(err.Error(), "host "+host.Address+" is lost") {
		t.Errorf("inspect gave %v, want an error that names the host", err)
	}
	if found, err := e.Find(within(t), first.Name, first.Dir); err != nil || found == nil {
		t.Errorf("find gave %v, %v; it may be there", found, err)
	}
	ok(t, e.Destroy(within(t), h))
	if st, err := e.Inspect(within(t), h); err != nil || st.Phase != state.Absent {
		t.Errorf("after destroy: %+v, %v", st, err)
	}

	second := job(t, runs, "case-2", "exit", "0")
	again := apply(t, e, second)
	wait(t, e, again, state.Succeeded)
	if l.on(t, second) == host {
		t.Error("the other attempt ran on the host that is lost")
	}

	if len(l.runs(first)) != 1 {
		t.Fatal("the host lost its disk")
	}
	host.Start(t)
	third := job(t, runs, "case-3", "exit", "0")
	wait(t, e, apply(t, e, third), state.Succeeded)
	if l.on(t, third) != host {
		t.Error("the host is not used again")
	}
	if left := l.runs(first); len(left) > 0 {
		t.Errorf("the host still has %q, which was destroyed while it was lost", left)
	}
	if left := abandoned(first); len(left) > 0 {
		t.Errorf("the task is still noted as abandoned: %q", left)
	}
}

// abandoned returns the files that note a task as abandoned.
func abandoned(task executors.Task) []string {
	paths, _ := filepath.Glob(filepath.Join(task.Dir, "abandoned-*.json"))
	return paths
}

// A host that is lost while it is asked to start a job may have started it. The job is abandoned
// there before another host is asked, so that it does not stay.
func TestHostLostDuringStart(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	e := l.executor(t, func(o *ssh.Options) { o.Runs, o.Patience = runs, 500*time.Millisecond })
	first := job(t, runs, "first", "exit", "0")
	wait(t, e, apply(t, e, first), state.Succeeded)
	host := l.on(t, first)
	host.Kill(t) // the connection is still there
	second := job(t, runs, "second", "exit", "0")
	wait(t, e, apply(t, e, second), state.Succeeded)
	if l.on(t, second) == host {
		t.Error("it ran on the host that is lost")
	}
	if noted := abandoned(second); len(noted) != 1 {
		t.Errorf("%q note it as abandoned on the first host", noted)
	}
	host.Start(t)
	third := job(t, runs, "third", "exit", "0")
	wait(t, e, apply(t, e, third), state.Succeeded)
	if l.on(t, third) != host {
		t.Error("the host is not used again")
	}
	if left := abandoned(second); len(left) > 0 {
		t.Errorf("it is still noted as abandoned: %q", left)
	}
	if dirs := l.runs(second); len(dirs) != 1 {
		t.Errorf("hosts have %q of it", dirs)
	}
}

// A target none of whose hosts can be reached says so, with each.
func TestAllHostsLost(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	for _, h := range l.All {
		h.Kill(t)
	}
	e := l.executor(t, func(o *ssh.Options) { o.Runs, o.Patience = runs, 200*time.Millisecond })
	_, err := e.Apply(within(t), job(t, runs, "case", "exit", "0"), nil)
	for _, h := range l.All {
		if err == nil || !strings.Contains(err.Error(), "host "+h.Address+" is lost") {
			t.Errorf("apply gave %v, want an error that names %s", err, h.Address)
		}
	}
}

// All callers wait for a host at the same time, so that each finds out in time that it is lost.
func TestCallersWaitTogether(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	nowhere := l.Gateway[:strings.LastIndexByte(l.Gateway, '.')] + ".99" // to which a connection takes seconds to fail
	e := l.executor(t, func(o *ssh.Options) {
		o.Runs, o.Patience, o.Hosts = runs, 500*time.Millisecond, o.Hosts[:1]
		o.Hosts[0].Address = nowhere
	})
	const callers = 30
	errs := make(chan error, callers)
	for i := range callers {
		go func() {
			_, err := e.Find(within(t), "case", filepath.Join(runs, strconv.Itoa(i)))
			errs <- err
		}()
	}
	for range callers {
		if err := <-errs; err == nil || !strings.Contains(err.Error(), "host "+nowhere+" is lost") {
			t.Errorf("find gave %v, want an error that names the host", err)
		}
	}
}

// A connection that nobody uses ends, with tenon-host, and the next call makes another one.
func TestIdleConnectionsEnd(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	e := l.executor(t, func(o *ssh.Options) { o.Idle, o.Hosts = 200*time.Millisecond, o.Hosts[:1] })
	h := apply(t, e, job(t, runs, "case", "sleep"))
	for range 2 {
		if st, err := e.Inspect(within(t), h); err != nil || st.Phase != state.Running {
			t.Fatalf("the job is %+v, %v", st, err)
		}
		for ctx := within(t); e.Connections() > 0; time.Sleep(20 * time.Millisecond) {
			ok(t, ctx.Err())
		}
	}
	ok(t, e.Destroy(within(t), h))
}

// A task whose host cannot be noted for its checkpoints runs nevertheless, and has a handle.
func TestHostOfCheckpointsCannotBeNoted(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	var warnings []string
	e := l.executor(t, func(o *ssh.Options) { o.Warn = func(err error) { warnings = append(warnings, err.Error()) } })
	task := job(t, runs, "case", "exit", "0")
	task.Unit.Checkpoints = 1
	task.Checkpoints = &step.Checkpoints{Path: filepath.Join(runs, "checkpoints"), Key: "key", Keep: 1, Attempt: 1}
	ok(t, os.MkdirAll(filepath.Join(task.Checkpoints.Path, "host"), 0o755)) // where the note belongs
	h := apply(t, e, task)
	wait(t, e, h, state.Succeeded)
	if len(warnings) != 1 || !strings.Contains(warnings[0], task.Unit.ID+" runs on host") {
		t.Errorf("the warnings are %q", warnings)
	}
	ok(t, e.Destroy(within(t), h))
}

// Another machine with the same state has no folder of the run. It asks all hosts.
func TestFoundFromElsewhere(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	lineage := func(o *ssh.Options) { o.State = "5f0e" }
	e := l.executor(t, lineage)
	task := job(t, runs, "case", "sleep")
	h := apply(t, e, task)
	other := t.TempDir()
	elsewhere := l.executor(t, lineage, func(o *ssh.Options) { o.Runs = other })
	found, err := elsewhere.Find(within(t), task.Name, filepath.Join(other, task.Name))
	ok(t, err)
	if found == nil {
		t.Fatal("it was not found")
	}
	if st, err := elsewhere.Inspect(within(t), *found); err != nil || st.Phase != state.Running {
		t.Errorf("it is %+v, %v", st, err)
	}
	stranger := l.executor(t, func(o *ssh.Options) { o.State, o.Runs = "77aa", other })
	if found, err := stranger.Find(within(t), task.Name, filepath.Join(other, task.Name)); found != nil || err != nil {
		t.Errorf("another state found %v, %v", found, err)
	}
	ok(t, elsewhere.Destroy(within(t), *found))
	if st, err := e.Inspect(within(t), h); err != nil || st.Phase != state.Absent {
		t.Errorf("after it was destroyed elsewhere it is %+v, %v", st, err)
	}
}
