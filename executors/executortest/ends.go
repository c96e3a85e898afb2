package executortest

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
)

func itoa(i int) string { return strconv.Itoa(i) }

// endCases are about waiting, ending and what is no longer there.
func (s *suite) endCases() []testCase {
	return []testCase{
		{"a canceled wait leaves the task running", s.cancelWait},
		{"a job that takes longer than its wait can be ended", s.timeout},
		{"destroy ends all processes, also those that ignore SIGTERM", s.destroyFamily},
		{"what a job leaves behind ends with it, wherever it went", s.leftBehind},
		{"destroy with a done context still ends everything", s.destroyNow},
		{"destroy can be repeated, also by another tenon", s.destroyTwice},
		{"what was destroyed is absent", s.absent},
		{"after destroy, apply starts again", s.applyAfterDestroy},
		{"a wait sees that its task is destroyed", s.destroyWhileWaiting},
		{"a canceled apply starts nothing", s.cancelApply},
		{"a handle of another executor is refused", s.foreignHandle},
	}
}

func (s *suite) cancelWait(t *testing.T) {
	e := s.New(t)
	h := s.apply(t, e, s.job(t, "sleep"), nil)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := waitFor(ctx, e, h); !errors.Is(err, context.Canceled) {
		t.Fatalf("wait gave %v, want the context's error", err)
	}
	wantPhase(t, inspect(t, s.New(t), h), state.Running)
}

var (
	children  = []string{"child", "stubborn", "apart", "away"}
	relatives = append([]string{"parent"}, children...)
)

// startFamily returns once all of the family show that they live.
func (s *suite) startFamily(t *testing.T, e executors.Executor) (executors.Task, state.Handle) {
	t.Helper()
	task := s.job(t, "family")
	h := s.apply(t, e, task, nil)
	s.wantAlive(t, task)
	return task, h
}

// wantAlive waits until all of the family have shown that they live.
func (s *suite) wantAlive(t *testing.T, task executors.Task) {
	t.Helper()
	for _, name := range relatives {
		eventually(t, name+" lives", func() bool {
			_, ok := s.output(task, name)
			return ok
		})
	}
}

// wantDead says that nobody of the family lives any more.
func (s *suite) wantDead(t *testing.T, task executors.Task, names ...string) {
	t.Helper()
	if s.Elsewhere != nil {
		if n := s.Elsewhere.Processes(t, task); n > 0 {
			t.Errorf("%d processes still live", n)
		}
		return
	}
	before := map[string]int{}
	for _, name := range names {
		before[name] = len(read(t, out(task, name)))
	}
	time.Sleep(100 * time.Millisecond)
	for _, name := range names {
		if now := len(read(t, out(task, name))); now != before[name] {
			t.Errorf("%s still lives", name)
		}
	}
}

func (s *suite) destroyFamily(t *testing.T) {
	e := s.New(t)
	task, h := s.startFamily(t, e)
	if err := e.Destroy(t.Context(), h); err != nil {
		t.Fatalf("destroy: %v", err)
	}
	s.wantDead(t, task, relatives...)
	wantPhase(t, inspect(t, e, h), state.Absent)
}

func (s *suite) leftBehind(t *testing.T) {
	e := s.New(t)
	task := s.job(t, "leave")
	wantPhase(t, wait(t, e, s.apply(t, e, task, nil)), state.Succeeded)
	if s.Elsewhere == nil { // a pod that has ended has no processes
		s.wantDead(t, task, children...)
	}
}

func (s *suite) destroyNow(t *testing.T) {
	e := s.New(t)
	task, h := s.startFamily(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Destroy(ctx, h); err != nil {
		t.Fatalf("destroy: %v", err)
	}
	s.wantDead(t, task, relatives...)
}

func (s *suite) destroyTwice(t *testing.T) {
	e := s.New(t)
	h := s.apply(t, e, s.job(t, "sleep"), nil)
	for _, e := range []executors.Executor{e, e, s.New(t)} {
		if err := e.Destroy(t.Context(), h); err != nil {
			t.Errorf("destroy: %v", err)
		}
	}
}

func (s *suite) absent(t *testing.T) {
	e := s.New(t)
	ended := s.apply(t, e, s.job(t, "exit", "0"), nil)
	wait(t, e, ended)
	alive := s.apply(t, e, s.job(t, "sleep"), nil)
	for _, h := range []state.Handle{ended, alive} {
		if err := e.Destroy(t.Context(), h); err != nil {
			t.Fatalf("destroy: %v", err)
		}
		for _, e := range []executors.Executor{e, s.New(t)} {
			wantPhase(t, inspect(t, e, h), state.Absent)
			wantPhase(t, wait(t, e, h), state.Absent)
		}
	}
}

func (s *suite) applyAfterDestroy(t *testing.T) {
	e := s.New(t)
	task := s.job(t, "exit", "4")
	h := s.apply(t, e, task, nil)
	wait(t, e, h)
	if err := e.Destroy(t.Context(), h); err != nil {
		t.Fatalf("destroy: %v", err)
	}
	st := wait(t, e, s.apply(t, e, task, nil))
	wantPhase(t, st, state.Failed)
	s.wantStarts(t, task, 2)
}

func (s *suite) destroyWhileWaiting(t *testing.T) {
	e := s.New(t)
	task := s.job(t, "sleep")
	h := s.apply(t, e, task, nil)
	destroyed := make(chan error, 1)
	time.AfterFunc(50*time.Millisecond, func() { destroyed <- s.New(t).Destroy(t.Context(), h) })
	if st := wait(t, e, h); st.Phase != state.Failed && st.Phase != state.Absent {
		t.Errorf("phase is %s, want failed or absent", st.Phase)
	}
	if err := <-destroyed; err != nil {
		t.Errorf("destroy: %v", err)
	}
}

func (s *suite) cancelApply(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	task := s.job(t, "exit", "0")
	if _, err := s.New(t).Apply(ctx, task, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("apply gave %v, want the context's error", err)
	}
	time.Sleep(50 * time.Millisecond)
	s.wantStarts(t, task, 0)
}

func (s *suite) foreignHandle(t *testing.T) {
	e := s.New(t)
	h := state.Handle{Executor: "somebody-else", ID: "x", Data: []byte(`{}`)}
	if _, err := e.Inspect(t.Context(), h); err == nil {
		t.Error("inspect took a handle that is not its own")
	}
	if err := e.Destroy(t.Context(), h); err == nil {
		t.Error("destroy took a handle that is not its own")
	}
}
