package state_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/test/postgrestest"
	"github.com/tenon-ml/tenon/planner/state"
)

// helper is the environment variable that turns the test binary into another process,
// which works on the state that it names.
const helper = "TENON_TEST_STATE"

func TestMain(m *testing.M) {
	if where := os.Getenv(helper); where != "" {
		if err := work(where, os.Getenv(helper+"_DO")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(postgrestest.M{M: m}.Run())
}

func work(where, what string) error {
	ctx := context.Background()
	s, err := state.Open(ctx, where)
	if err != nil {
		return err
	}
	defer s.Close()
	switch what {
	case "hold": // the lock, in the middle of a run, until killed
		l, err := s.Lock(ctx, state.Holder{}, state.LockOptions{TTL: time.Hour})
		if err != nil {
			return err
		}
		if _, err := l.Begin(ctx, state.Run{Key: "k", Unit: "a/b/c"}); err != nil {
			return err
		}
		fmt.Println("held")
		time.Sleep(time.Hour)
	case "count": // one revision under the lock, many times
		for range 10 {
			l, err := s.Lock(ctx, state.Holder{}, state.LockOptions{Wait: time.Minute})
			if err != nil {
				return err
			}
			n, err := l.BeginRevision(ctx, state.Revision{System: "x"})
			if err != nil {
				return err
			}
			if err := l.EndRevision(ctx, n, state.Done, ""); err != nil {
				return err
			}
			if err := l.Release(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func start(t *testing.T, where, what string) (*exec.Cmd, *strings.Builder) {
	t.Helper()
	exe, err := os.Executable()
	ok(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), helper+"="+where, helper+"_DO="+what)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	return cmd, &stderr
}

func TestLockIsExclusiveAndSaysWhoHoldsIt(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s1, s2 := open(t, where), open(t, where)
		l := lock(t, s1)
		_, err := s2.Lock(ctx, state.Holder{}, state.LockOptions{Wait: 150 * time.Millisecond})
		var held *state.HeldError
		if !errors.As(err, &held) {
			t.Fatalf("second lock: %v, want HeldError", err)
		}
		host, _ := os.Hostname()
		for _, want := range []string{"ann", host, fmt.Sprint(os.Getpid()), "tenon apply", "since"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not say %q", err, want)
			}
		}
		time.AfterFunc(150*time.Millisecond, func() { l.Release(context.Background()) })
		l2, err := s2.Lock(ctx, state.Holder{}, state.LockOptions{Wait: -1})
		ok(t, err)
		if l2.Token() <= l.Token() {
			t.Errorf("token %d after %d: it must grow", l2.Token(), l.Token())
		}
		ok(t, l2.Release(ctx))
		ok(t, l2.Release(ctx))
	})
}

func TestWaitForTheLockEndsWithTheContext(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		lock(t, open(t, where))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := open(t, where).Lock(ctx, state.Holder{}, state.LockOptions{Wait: -1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
	})
}

// A holder on another host can only be judged by its expiry.
func TestExpiredHolderIsFenced(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s1, s2 := open(t, where), open(t, where)
		old, err := s1.Lock(ctx, state.Holder{Host: "elsewhere", PID: 1}, state.LockOptions{TTL: 300 * time.Millisecond})
		ok(t, err)
		// The heartbeat keeps the lock.
		time.Sleep(600 * time.Millisecond)
		var held *state.HeldError
		if _, err := s2.Lock(ctx, state.Holder{}, state.LockOptions{}); !errors.As(err, &held) {
			t.Fatalf("a renewed lease was taken over: %v", err)
		}
		// A paused process does not renew its lease.
		state.Pause(old)
		l, err := s2.Lock(ctx, state.Holder{}, state.LockOptions{Wait: 5 * time.Second})
		ok(t, err)
		before := must[state.Meta](t)(s1.Meta(ctx))
		u := unit("a/b/c")
		_, err1 := old.Begin(ctx, state.Run{Unit: u.ID})
		_, err2 := old.BeginRevision(ctx, state.Revision{})
		_, err3 := old.Register(ctx, state.ModelVersion{Model: "m"})
		for i, err := range []error{err1, err2, err3,
			old.SetHandle(ctx, 1, state.Handle{}),
			old.Finish(ctx, state.Run{ID: 1, Outcome: state.Done}, u, nil),
			old.MakeCurrent(ctx, u, state.Current{Unit: u.ID}),
			old.Forget(ctx, u.ID),
			old.EndRevision(ctx, 1, state.Done, ""),
			old.Clear(ctx, state.Pending{Run: state.Run{ID: 1}}),
		} {
			if !errors.Is(err, state.ErrFenced) {
				t.Errorf("write %d of a fenced lease: %v, want ErrFenced", i, err)
			}
		}
		select {
		case <-old.Lost():
		default:
			t.Error("a fenced lease does not say that it is lost")
		}
		ok(t, old.Release(ctx))
		if after := must[state.Meta](t)(s1.Meta(ctx)); after != before {
			t.Errorf("a fenced lease moved the state from %+v to %+v", before, after)
		}
		_, err = l.Begin(ctx, state.Run{Unit: u.ID})
		ok(t, err)
		ok(t, l.Release(ctx))
	})
}

// A wrongClock says how wrong the clocks of a holder and of a waiting process are, first
// and later.
type wrongClock struct {
	name          string
	holder, jumps time.Duration
	other, leaps  time.Duration
}

// Wrong or jumping clocks take the lock from nobody who renews it and keep it for nobody
// who does not.
func TestWrongClocks(t *testing.T) {
	var wg sync.WaitGroup
	for _, c := range []wrongClock{
		{"both right", 0, 0, 0, 0},
		{"the holder's is ahead", time.Hour, time.Hour, 0, 0},
		{"the holder's is behind", -time.Hour, -time.Hour, 0, 0},
		{"the holder's jumps ahead", 0, 24 * time.Hour, 0, 0},
		{"the holder's jumps back", 0, -24 * time.Hour, 0, 0},
		{"the holder's is set right", 1000 * time.Hour, 0, 0, 0},
		{"the other's is ahead", 0, 0, time.Hour, time.Hour},
		{"the other's is behind", 0, 0, -time.Hour, -time.Hour},
		{"the other's jumps ahead", 0, 0, 0, 24 * time.Hour},
		{"the other's jumps back", 0, 0, 0, -24 * time.Hour},
	} {
		for _, where := range []string{t.TempDir(), postgrestest.URL(t)} {
			wg.Go(func() { // in parallel, because they mostly wait
				if err := c.try(t.Context(), where); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			})
		}
	}
	wg.Wait()
}

func (c wrongClock) try(ctx context.Context, where string) error {
	const ttl = time.Second // far above what a busy machine needs to renew it
	var stores [2]*state.Store
	var clocks [2]atomic.Int64
	for i, wrong := range []time.Duration{c.holder, c.other} {
		s, err := state.Open(ctx, where)
		if err != nil {
			return err
		}
		defer s.Close()
		clocks[i].Store(int64(wrong))
		state.SetClock(s, &clocks[i])
		stores[i] = s
	}
	l, err := stores[0].Lock(ctx, state.Holder{Host: "elsewhere", PID: 1}, state.LockOptions{TTL: ttl})
	if err != nil {
		return err
	}
	defer time.AfterFunc(ttl/2, func() { clocks[0].Store(int64(c.jumps)); clocks[1].Store(int64(c.leaps)) }).Stop()
	for _, wait := range []time.Duration{0, 2 * ttl} {
		var held *state.HeldError
		if _, err := stores[1].Lock(ctx, state.Holder{}, state.LockOptions{Wait: wait}); !errors.As(err, &held) {
			return fmt.Errorf("with a wait of %s it was taken from who renews it: %w", wait, err)
		}
	}
	if _, err := l.Begin(ctx, state.Run{Unit: "a/b/c"}); err != nil {
		return err
	}
	state.Pause(l)
	next, err := stores[1].Lock(ctx, state.Holder{}, state.LockOptions{Wait: time.Minute})
	if err != nil {
		return fmt.Errorf("it was not taken from who does not renew it: %w", err)
	}
	if _, err := l.Begin(ctx, state.Run{Unit: "a/b/c"}); !errors.Is(err, state.ErrFenced) {
		return fmt.Errorf("a write of the one before: %w, want ErrFenced", err)
	}
	if err := l.Check(ctx); !errors.Is(err, state.ErrFenced) {
		return fmt.Errorf("the one before asks: %w, want ErrFenced", err)
	}
	return errors.Join(next.Check(ctx), next.Release(ctx))
}

// Without waiting, an expired lock is taken all the same.
func TestExpiredLockIsTakenAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		l, err := s.Lock(ctx, state.Holder{Host: "elsewhere", PID: 1}, state.LockOptions{TTL: 100 * time.Millisecond})
		ok(t, err)
		state.Pause(l)
		var later atomic.Int64
		later.Store(int64(time.Hour))
		state.SetClock(s, &later)
		l2, err := s.Lock(ctx, state.Holder{}, state.LockOptions{})
		ok(t, err)
		ok(t, l2.Release(ctx))
	})
}

func TestLeaseLearnsFromTheHeartbeatThatItIsLost(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		l, err := s.Lock(ctx, state.Holder{Host: "elsewhere", PID: 1}, state.LockOptions{TTL: 60 * time.Millisecond})
		ok(t, err)
		state.Expire(s, l)
		l2 := lock(t, open(t, where))
		select {
		case <-l.Lost():
		case <-time.After(30 * time.Second):
			t.Fatal("not reported")
		}
		ok(t, l2.Release(ctx))
	})
}

func TestLockOfAKilledProcessIsTakenAtOnceAndItsJournalIsThere(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		cmd, stderr := start(t, where, "hold")
		out, err := cmd.StdoutPipe()
		ok(t, err)
		ok(t, cmd.Start())
		if _, err := out.Read(make([]byte, 5)); err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		s := open(t, where)
		var held *state.HeldError
		if _, err := s.Lock(ctx, state.Holder{}, state.LockOptions{}); !errors.As(err, &held) || held.Holder.PID != cmd.Process.Pid {
			t.Errorf("while it lives: %v, want held by %d", err, cmd.Process.Pid)
		}
		ok(t, cmd.Process.Kill())
		cmd.Wait()
		l, err := s.Lock(ctx, state.Holder{}, state.LockOptions{})
		ok(t, err)
		ps := must[[]state.Pending](t)(s.Pending(ctx))
		if len(ps) != 1 || ps[0].Run.Key != "k" || ps[0].Handle != nil {
			t.Fatalf("journal %+v, want the run that was begun", ps)
		}
		ok(t, l.Clear(ctx, ps[0]))
		ok(t, l.Release(ctx))
	})
}

// A number that was reused by another process is not the holder's.
func TestHolderIsIdentifiedByItsStartTime(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		l, err := s.Lock(ctx, state.Holder{}, state.LockOptions{})
		ok(t, err)
		state.SetStart(t, s, "1")
		l2, err := open(t, where).Lock(ctx, state.Holder{}, state.LockOptions{})
		if err != nil {
			t.Fatalf("lock after the number was used again: %v", err)
		}
		ok(t, l.Release(ctx))
		ok(t, l2.Release(ctx))
	})
}

func TestProcessesTakeTurns(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		var wg sync.WaitGroup
		for range 3 {
			cmd, stderr := start(t, where, "count")
			wg.Go(func() {
				if err := cmd.Run(); err != nil {
					t.Errorf("%v: %s", err, stderr)
				}
			})
		}
		wg.Wait()
		s := open(t, where)
		rs := must[[]state.Revision](t)(s.Revisions(t.Context(), 0))
		if len(rs) != 30 || rs[0].Number != 30 || rs[29].Number != 1 {
			t.Errorf("%d revisions, want 30, newest first", len(rs))
		}
		if m := must[state.Meta](t)(s.Meta(t.Context())); m.Serial != 60 {
			t.Errorf("serial %d, want 60", m.Serial)
		}
	})
}

func TestReadersSeeAWriterAtWork(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s1, s2 := open(t, where), open(t, where)
		l := lock(t, s1)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				u := unit(fmt.Sprint("a/b/", i))
				for j := range 10 {
					finish(t, l, u, fmt.Sprint(i, "-", j), noon, time.Second, nil)
				}
			})
			wg.Go(func() {
				for range 10 {
					cur, err := s2.Current(ctx)
					if err != nil {
						t.Error(err)
					}
					for id, c := range cur {
						if r, err := s2.Run(ctx, c.Run); err != nil || r.Unit != id {
							t.Errorf("%s is current without its run: %v", id, err)
						}
					}
				}
			})
		}
		wg.Wait()
	})
}
