package executortest

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
)

// jobCases are about how jobs start and end.
func (s *suite) jobCases() []testCase {
	cases := []testCase{
		{"a job that exits with 0 has succeeded", s.success},
		{"a program that does not exist fails the job and is named", s.missing},
		{"a job runs until it ends", s.running},
		{"applied twice, it runs once", s.twice},
		{"applied again after its end, it does not run again", s.afterwards},
		{"its standard input is empty", s.stdin},
	}
	for _, code := range []int{1, 3, 100, 127} {
		cases = append(cases, testCase{"exit status " + strconv.Itoa(code) + " is a failure and is reported", func(t *testing.T) {
			e := s.New(t)
			st := wait(t, e, s.apply(t, e, s.job(t, "exit", strconv.Itoa(code)), nil))
			wantPhase(t, st, state.Failed)
			if st.ExitCode != code || st.Signal != "" {
				t.Errorf("exit code %d, signal %q; want %d", st.ExitCode, st.Signal, code)
			}
			wantMessage(t, st, "exit "+strconv.Itoa(code))
		}})
	}
	for name, sig := range map[string]syscall.Signal{
		"SIGKILL": syscall.SIGKILL, "SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT, "SIGHUP": syscall.SIGHUP,
	} {
		cases = append(cases, testCase{"death by " + name + " is a failure and is reported", func(t *testing.T) {
			e := s.New(t)
			st := wait(t, e, s.apply(t, e, s.job(t, "signal", strconv.Itoa(int(sig))), nil))
			wantPhase(t, st, state.Failed)
			if st.Signal != name || st.ExitCode != 128+int(sig) {
				t.Errorf("signal %q, exit code %d; want %s, %d", st.Signal, st.ExitCode, name, 128+int(sig))
			}
			wantMessage(t, st, name)
		}})
	}
	return cases
}

func (s *suite) success(t *testing.T) {
	before := time.Now().Add(-time.Second)
	e := s.New(t)
	st := wait(t, e, s.apply(t, e, s.job(t, "exit", "0"), nil))
	wantPhase(t, st, state.Succeeded)
	if st.ExitCode != 0 || st.Signal != "" || st.Message != "" {
		t.Errorf("status of a success is %+v", st)
	}
	if st.Started.Before(before) || st.Finished.Before(st.Started.Add(-time.Second)) || st.Finished.After(time.Now().Add(time.Second)) {
		t.Errorf("started %v, finished %v; now is %v", st.Started, st.Finished, time.Now())
	}
}

func (s *suite) missing(t *testing.T) {
	for _, name := range []string{"no-such-program", "/no/such/program", "./no-such-program"} {
		e := s.New(t)
		task := s.job(t, "exit", "0")
		task.Unit.Code.Command = []string{name, "argument"}
		st := wait(t, e, s.apply(t, e, task, nil))
		wantPhase(t, st, state.Failed)
		wantMessage(t, st, name)
	}
}

func (s *suite) running(t *testing.T) {
	e := s.New(t)
	task := s.job(t, "sleep")
	h := s.apply(t, e, task, nil)
	wantPhase(t, inspect(t, e, h), state.Running)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if st, err := waitFor(ctx, e, h); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("wait for a running job: %+v, %v; want the context's error", st, err)
	}
}

func (s *suite) twice(t *testing.T) {
	task := s.job(t, "exit", "0", "300ms")
	handles := make([]state.Handle, 8)
	var wg sync.WaitGroup
	for i := range handles {
		wg.Go(func() {
			h, err := s.New(t).Apply(t.Context(), task, nil)
			if err != nil {
				t.Errorf("apply: %v", err)
			}
			handles[i] = h
		})
	}
	wg.Wait()
	s.cleanUp(t, handles[0])
	for _, h := range handles {
		if h.ID != handles[0].ID || string(h.Data) != string(handles[0].Data) {
			t.Errorf("handles differ: %s and %s", h.Data, handles[0].Data)
		}
		wantPhase(t, wait(t, s.New(t), h), state.Succeeded)
	}
	s.wantStarts(t, task, 1)
}

func (s *suite) afterwards(t *testing.T) {
	e := s.New(t)
	task := s.job(t, "exit", "5")
	wait(t, e, s.apply(t, e, task, nil))
	for _, e := range []executors.Executor{e, s.New(t)} {
		st := wait(t, e, s.apply(t, e, task, nil))
		wantPhase(t, st, state.Failed)
		if st.ExitCode != 5 {
			t.Errorf("exit code is %d, want 5", st.ExitCode)
		}
	}
	s.wantStarts(t, task, 1)
}

func (s *suite) stdin(t *testing.T) {
	e := s.New(t)
	wantPhase(t, wait(t, e, s.apply(t, e, s.job(t, "stdin"), nil)), state.Succeeded)
}

// starts is how often the program was started.
func (s *suite) starts(t *testing.T, task executors.Task) int {
	t.Helper()
	if s.Elsewhere != nil {
		return s.Elsewhere.Starts(t, task)
	}
	b, err := os.ReadFile(out(task, "starts"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

func (s *suite) wantStarts(t *testing.T, task executors.Task, want int) {
	t.Helper()
	if got := s.starts(t, task); got != want {
		t.Errorf("the program was started %d times, want %d", got, want)
	}
}
