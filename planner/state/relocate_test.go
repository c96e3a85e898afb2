package state_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/internal/test/postgrestest"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// usedState fills a state with two environments, and returns all that its readers see.
func usedState(t *testing.T, where string) {
	t.Helper()
	ctx := t.Context()
	for _, env := range []string{"", "dev"} {
		s := must[*state.Store](t)(state.OpenIn(ctx, where, env))
		l := must[*state.Lease](t)(s.Lock(ctx, state.Holder{}, state.LockOptions{}))
		n := must[int](t)(l.BeginRevision(ctx, state.Revision{System: "demo", Tags: []string{"ä=ß"}}))
		for i := range 60 { // more than one statement inserts
			finish(t, l, unit(fmt.Sprintf("features/f%d", i)), env+fmt.Sprint(i), noon, time.Second, map[string]artifact.Artifact{"out": {Digest: fmt.Sprintf("sha256:%d", i)}})
		}
		must[int](t)(l.Register(ctx, state.ModelVersion{Model: "models/late", Digest: "sha256:1", Metrics: map[string]float64{"auc": 0.75}}))
		ok(t, l.EndRevision(ctx, n, state.Done, ""))
		ok(t, l.Release(ctx))
		must[int64](t)(s.AddMeasurement(ctx, state.Measurement{Monitor: "monitors/inputs", At: noon, Verdict: "ok", Report: []byte(`{"rows":7}`)}))
		must[int64](t)(s.AddLoopAct(ctx, state.LoopAct{Loop: "loops/late", At: noon, Act: state.LoopRetrain}))
		ok(t, s.SetPin(ctx, state.Pin{Unit: "models/late", By: "ann", At: noon}))
		ok(t, s.Close())
	}
}

// seen is what the readers of a state see.
func seen(t *testing.T, where string) map[string]any {
	t.Helper()
	ctx := t.Context()
	all := map[string]any{}
	for _, env := range []string{"", "dev"} {
		s := must[*state.Store](t)(state.OpenIn(ctx, where, env))
		all[env+" meta"] = must[state.Meta](t)(s.Meta(ctx))
		all[env+" current"] = must[map[string]state.Current](t)(s.Current(ctx))
		all[env+" revisions"] = must[[]state.Revision](t)(s.Revisions(ctx, 0))
		all[env+" runs"] = must[[]state.Run](t)(s.Runs(ctx, "", 0))
		all[env+" models"] = must[[]state.ModelVersion](t)(s.Models(ctx))
		all[env+" measurements"] = must[[]state.Measurement](t)(s.Measurements(ctx, "monitors/inputs", time.Time{}, 0))
		all[env+" acts"] = must[[]state.LoopAct](t)(s.LoopActs(ctx, "loops/late", time.Time{}, 0))
		all[env+" pins"] = must[[]state.Pin](t)(s.PinHistory(ctx))
		all[env+" environments"] = must[[]string](t)(s.Environments(ctx))
		ok(t, s.Close())
	}
	return all
}

// move moves a state as the command does, which also completes an interrupted move.
func move(ctx context.Context, from, to string, onWrite func(string, bool)) (*state.Moved, error) {
	s, err := state.Open(ctx, from)
	if moved := (*state.MovedError)(nil); errors.As(err, &moved) {
		return state.FinishMove(ctx, from, to, moved)
	} else if err != nil {
		return nil, err
	}
	defer s.Close()
	s.OnWrite = onWrite
	l, err := s.In(state.All).Lock(ctx, state.Holder{}, state.LockOptions{})
	if err != nil {
		return nil, err
	}
	m, err := l.MoveTo(ctx, to, nil)
	return m, errors.Join(err, l.Release(ctx))
}

// A state is the same after a move to a database, to another one, and back. The former place
// is refused, and names the new one.
func TestMoveToADatabaseAndBack(t *testing.T) {
	ctx := t.Context()
	server := postgrestest.Start(t)
	dir, url, other := t.TempDir(), server.URL(), server.URL()
	usedState(t, dir)
	want := seen(t, dir)
	var before *state.Moved
	for range 2 {
		for _, step := range [][2]string{{dir, url}, {url, other}, {other, dir}} {
			m := must[*state.Moved](t)(move(ctx, step[0], step[1], nil))
			if diff := cmp.Diff(want, seen(t, step[1])); diff != "" {
				t.Fatalf("after the move to %s:\n%s", m.To, diff)
			}
			if before == nil {
				before = m
			}
			for i, table := range m.Tables {
				if table.Name != "meta" && table.Name != "environment" && table != before.Tables[i] { // they count locks
					t.Errorf("moved %+v, the first time %+v", table, before.Tables[i])
				}
			}
			var moved *state.MovedError
			if _, err := state.Open(ctx, step[0]); !errors.As(err, &moved) || moved.To != m.To {
				t.Errorf("the former place opens: %v", err)
			}
			if v := must[int](t)(state.LayoutOf(ctx, step[0])); v < 1000 {
				t.Errorf("the former place has layout %d, which a version of tenon may know", v)
			}
		}
	}
	// Numbers of runs and tokens go on, and the folder is at home.
	s := open(t, dir)
	ok(t, s.Bind(ctx, dir))
	l := lock(t, s)
	if r := finish(t, l, unit("features/new"), "new", noon, time.Second, nil); r.ID != 121 {
		t.Errorf("the next run has the number %d, want 121", r.ID)
	}
}

// A run that was removed does not give its number to another one.
func TestMoveKeepsTheNumbersOfRuns(t *testing.T) {
	ctx := t.Context()
	dir, url := t.TempDir(), postgrestest.URL(t)
	usedState(t, dir)
	s := open(t, dir)
	ok(t, state.Exec(ctx, s, "DELETE FROM output WHERE run > 100"))
	ok(t, state.Exec(ctx, s, "DELETE FROM run WHERE id > 100"))
	for _, step := range [][2]string{{dir, url}, {url, dir}, {dir, url}} {
		must[*state.Moved](t)(move(ctx, step[0], step[1], nil))
	}
	if r := finish(t, lock(t, open(t, url)), unit("features/new"), "new", noon, time.Second, nil); r.ID != 121 {
		t.Errorf("the next run has the number %d, want 121", r.ID)
	}
}

// If the move is killed at any moment, the state is usable in one place and not in the
// other one, and the same move completes it.
func TestMoveIsKilled(t *testing.T) {
	ctx := t.Context()
	server := postgrestest.Start(t)
	t.Setenv("PGPASSWORD", postgrestest.Password) // what the folder knows of the database has none
	ways := map[string]func(t *testing.T) (from, to string){
		"to a database":  func(t *testing.T) (string, string) { return t.TempDir(), server.URL() },
		"to a folder":    func(t *testing.T) (string, string) { return server.URL(), t.TempDir() },
		"to another one": func(t *testing.T) (string, string) { return server.URL(), server.URL() },
	}
	for name, places := range ways {
		for moment := 0; ; moment++ {
			from, to := places(t)
			usedState(t, from)
			want := seen(t, from)
			if !killed(ctx, from, to, moment) {
				if moment < 8 {
					t.Errorf("%s: only %d moments", name, moment)
				}
				break
			}
			var usable []string
			for _, where := range []string{to, from} { // as a user would, first where it should be
				var moved *state.MovedError
				var arriving *state.ArrivingError
				there := must[bool](t)(state.Exists(ctx, where))
				if !there {
					continue
				}
				s, err := state.Open(ctx, where)
				switch {
				case err == nil:
					meta, closed := must[state.Meta](t)(s.Meta(ctx)), s.Close()
					ok(t, closed)
					if meta.Serial > 0 { // an empty database is no state
						usable = append(usable, where)
					}
				case !errors.As(err, &moved) && !errors.As(err, &arriving):
					t.Fatalf("%s, moment %d: %v", name, moment, err)
				}
			}
			if len(usable) != 1 {
				t.Fatalf("%s, moment %d: usable in %q", name, moment, usable)
			}
			if diff := cmp.Diff(want, seen(t, usable[0])); diff != "" {
				t.Fatalf("%s, moment %d:\n%s", name, moment, diff)
			}
			if usable[0] == from {
				must[*state.Moved](t)(move(ctx, from, to, nil))
				if diff := cmp.Diff(want, seen(t, to)); diff != "" {
					t.Fatalf("%s, moment %d, moved again:\n%s", name, moment, diff)
				}
			}
		}
	}
}

// killed ends a move at a moment: before, within or after one of its writes. It reports whether
// there was such a moment.
func killed(ctx context.Context, from, to string, moment int) bool {
	ended, reached := make(chan bool), 0
	go func() {
		kill := false
		defer func() { ended <- kill }()
		s, err := state.Open(ctx, from)
		if err != nil {
			panic(err)
		}
		defer s.Close()
		l, err := s.In(state.All).Lock(ctx, state.Holder{}, state.LockOptions{})
		if err != nil {
			panic(err)
		}
		defer func() {
			state.Pause(l)
			state.Expire(s, l) // as the lock of a process that is gone
		}()
		step := func() {
			if reached++; reached > moment {
				kill = true
				runtime.Goexit()
			}
		}
		state.SetOnWrite(l, func(string, bool) { step() })
		if _, err := l.MoveTo(ctx, to, func(done, total int64) {
			if done == 1 || done == total { // in the middle of the copy
				step()
			}
		}); err != nil {
			panic(err)
		}
	}()
	return <-ended
}

// A move that was killed between its decision and its end is completed by the same command,
// where the folder cannot reach the database by itself.
func TestMoveIsCompletedByTheSameCommand(t *testing.T) {
	ctx := t.Context()
	url, dir := postgrestest.URL(t), t.TempDir()
	usedState(t, url)
	for moment := 0; killed(ctx, url, dir, moment); moment++ {
		if _, err := state.Open(ctx, url); err == nil {
			continue
		}
		var arriving *state.ArrivingError
		if _, err := state.Open(ctx, dir); !errors.As(err, &arriving) || arriving.Err == nil || strings.Contains(err.Error(), postgrestest.Password) {
			t.Fatalf("the copy without the database: %v", err)
		}
		var moved *state.MovedError
		if _, err := move(ctx, url, t.TempDir(), nil); !errors.As(err, &moved) {
			t.Errorf("completed to another folder: %v", err)
		}
		must[*state.Moved](t)(move(ctx, url, dir, nil))
		open(t, dir)
		return
	}
	t.Error("no moment at which the state had left and had not arrived")
}

// A destination that holds a state, or a copy of another one, is refused, and the state
// stays where it is.
func TestMoveRefusesAUsedDestination(t *testing.T) {
	ctx := t.Context()
	server := postgrestest.Start(t)
	used := server.URL()
	usedState(t, used)
	left := server.URL() // of another state
	other := t.TempDir()
	usedState(t, left)
	must[*state.Moved](t)(move(ctx, left, other, nil))
	unused := server.URL()
	open(t, unused)
	dir := t.TempDir()
	usedState(t, dir)
	for _, to := range []string{used, left} {
		if _, err := move(ctx, dir, to, nil); err == nil || !strings.Contains(err.Error(), "move to an empty place") {
			t.Errorf("moved to %s: %v", to, err)
		}
	}
	open(t, dir)
	open(t, used)
	must[*state.Moved](t)(move(ctx, dir, unused, nil))
}

// A backup from before the move does not bring the former state back beside the new one.
func TestMoveOutlivesABackup(t *testing.T) {
	ctx := t.Context()
	dir, url := t.TempDir(), postgrestest.URL(t)
	usedState(t, dir)
	file := filepath.Join(dir, "state.db")
	backup := must[[]byte](t)(os.ReadFile(file))
	must[*state.Moved](t)(move(ctx, dir, url, nil))
	ok(t, os.WriteFile(file, backup, 0o600))
	for _, name := range []string{"-wal", "-shm"} {
		os.Remove(file + name)
	}
	var elsewhere *state.ElsewhereError
	if err := open(t, dir).Bind(ctx, dir); !errors.As(err, &elsewhere) {
		t.Errorf("the backup: %v", err)
	}
	ok(t, open(t, url).Bind(ctx, t.TempDir()))
}

// A command that waited for the lock learns where the state is now.
func TestMoveWhileOthersWait(t *testing.T) {
	onBoth(t, func(t *testing.T, from string) {
		ctx := t.Context()
		usedState(t, from)
		to := t.TempDir()
		if !state.IsURL(from) {
			to = postgrestest.URL(t)
		}
		waiting := open(t, from)
		must[*state.Moved](t)(move(ctx, from, to, nil))
		var moved *state.MovedError
		if _, err := waiting.Lock(ctx, state.Holder{}, state.LockOptions{}); !errors.As(err, &moved) {
			t.Errorf("got %v", err)
		}
	})
}

// The lock was lost during the copy: the state stays.
func TestMoveThatLostTheLock(t *testing.T) {
	ctx := t.Context()
	dir, url := t.TempDir(), postgrestest.URL(t)
	usedState(t, dir)
	s := open(t, dir)
	l := lock(t, s.In(state.All))
	state.Expire(s, l)
	if _, err := l.MoveTo(ctx, url, nil); !errors.Is(err, state.ErrFenced) {
		t.Errorf("got %v", err)
	}
	open(t, dir)
	var arriving *state.ArrivingError
	if _, err := state.Open(ctx, url); !errors.As(err, &arriving) || arriving.Err != nil {
		t.Errorf("the copy: %v", err)
	}
}

// Every table of the layout moves, except for the locks and what is known of processes.
func TestMoveKnowsAllTables(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("schema.sql"))
	ok(t, err)
	want := []string{}
	for _, m := range regexp.MustCompile(`CREATE TABLE (\w+)`).FindAllStringSubmatch(string(b), -1) {
		if m[1] != "lease" && m[1] != "controller" {
			want = append(want, m[1])
		}
	}
	got := state.MovingTables()
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
