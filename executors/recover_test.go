package executors_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// began leaves in the journal what a killed apply leaves: after it has called the
// executor, or before.
func (b *bench) began(u ir.Unit, asked bool) state.Run {
	b.Helper()
	b.ok(u.Define())
	r := state.Run{Key: ir.RunKey(u.Digest, nil), Unit: u.ID, Definition: u.Digest, Revision: 1, Attempt: 1}
	r.Log = "runs/" + executors.TaskName("", u.ID, r.Key, 1) + "/log"
	var err error
	r.ID, err = b.lease.Begin(b.Context(), r)
	b.ok(err)
	if asked {
		name := executors.TaskName("", u.ID, r.Key, 1)
		dir := filepath.Join(b.dir, "runs", name)
		b.ok(os.MkdirAll(filepath.Join(dir, "out"), 0o755))
		h, err := b.fake.Apply(b.Context(), executors.Task{Unit: u, Key: r.Key, Name: name, Dir: dir}, nil)
		b.ok(err)
		b.ok(b.lease.SetHandle(b.Context(), r.ID, h))
	}
	return r
}

func TestAJobThatStillRunsAfterAKillIsAdopted(t *testing.T) {
	b := newBench(t)
	u := table("sources/a", `{}`)
	b.fake.behave["sources/a"] = behaviour{takes: 30 * time.Millisecond}
	r := b.began(u, true)
	res := b.mustApply(u)
	if res.Counts != (executors.Counts{Ran: 1}) || len(b.fake.started("sources/a")) != 1 {
		t.Errorf("counts %+v, started %v", res.Counts, b.fake.started("sources/a"))
	}
	run, err := b.store.Run(t.Context(), r.ID)
	b.ok(err)
	if run.Outcome != state.Done {
		t.Errorf("the run that was begun ended as %+v", run)
	}
	if e := b.events[0]; !e.Adopted || e.Type != executors.EventStarted {
		t.Errorf("event %+v", e)
	}
}

func TestAJobWhoseHandleWasNotSavedIsFoundByItsName(t *testing.T) {
	b := newBench(t)
	u := table("sources/a", `{}`)
	b.fake.behave["sources/a"] = behaviour{takes: 10 * time.Millisecond}
	b.ok(u.Define())
	r := b.began(u, false)
	name := executors.TaskName("", u.ID, r.Key, 1)
	dir := filepath.Join(b.dir, "runs", name)
	b.ok(os.MkdirAll(filepath.Join(dir, "out"), 0o755))
	_, err := b.fake.Apply(t.Context(), executors.Task{Unit: u, Key: r.Key, Name: name, Dir: dir}, nil)
	b.ok(err)
	b.mustApply(u)
	if got := b.fake.started("sources/a"); !slices.Equal(got, []string{name}) {
		t.Errorf("started %v", got)
	}
}

func TestATaskThatWasStartedAlthoughTheExecutorFailedIsEnded(t *testing.T) {
	b := newBench(t)
	b.fake.behave["sources/a"] = behaviour{hangs: true, loses: 1}
	_, err := b.apply(table("sources/a", `{}`))
	if u := failure(t, err, "sources/a"); u.Err.Error() != "connection lost" {
		t.Errorf("error %v", u)
	}
	if left := b.fake.alive(); len(left) > 0 {
		t.Errorf("alive: %v", left)
	}
	if left, err := b.store.Pending(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("the journal holds %v, %v", left, err)
	}
}

func TestTaskThatCannotBeStoppedIsNotRetried(t *testing.T) {
	b := newBench(t)
	a := table("sources/a", `{}`)
	a.Retries = 1
	b.fake.behave["sources/a"] = behaviour{loses: 2} // when it is started, and when it is ended
	if _, err := b.apply(a); err == nil {
		t.Fatal("no error")
	}
	b.mustApply(a)
	if got := b.fake.started("sources/a"); len(got) != 1 {
		t.Errorf("started %v: the one that was left has to be adopted", got)
	}
}

func TestUnrecordedRulesAreRemoved(t *testing.T) {
	b := newBench(t)
	rules := func(file, content string) ir.Unit {
		return ir.Unit{ID: "slos/late", Entity: "slos/late", Kind: ir.Record, Component: "slo.rules",
			Params:  fmt.Appendf(nil, `{"content":%q,"file":%q}`, content, file),
			Outputs: []ir.Output{{Port: "rules", Kind: ir.File}},
		}
	}
	files := func() string {
		found, err := filepath.Glob(filepath.Join(b.dir, "rules", "*"))
		b.ok(err)
		for i := range found {
			found[i] = filepath.Base(found[i])
		}
		return strings.Join(found, " ")
	}
	killed := func(u ir.Unit) {
		b.exec("CREATE TRIGGER kill BEFORE UPDATE ON run WHEN NEW.outcome = 'done' BEGIN SELECT raise(ABORT, 'killed'); END")
		if _, err := b.apply(u); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("error %v", err)
		}
		b.exec("DROP TRIGGER kill; DELETE FROM lease")
		b.lock()
	}
	b.mustApply(rules("one.yml", "a"))
	killed(rules("two.yml", "b"))
	b.fake.behave["sources/a"] = behaviour{fails: 1}
	blocked := rules("two.yml", "b")
	blocked.Inputs = []ir.Input{{Port: "in", Unit: "sources/a", From: "out", Kind: ir.Table}}
	if _, err := b.apply(table("sources/a", `{}`), blocked); err == nil {
		t.Fatal("no error")
	}
	if got := files(); got != "one.yml two.yml" {
		t.Errorf("killed: %s", got)
	}
	b.mustApply(rules("three.yml", "c"))
	if got := files(); got != "three.yml" {
		t.Errorf("in the end: %s", got)
	}
	killed(rules("three.yml", "d"))
	_, err := executors.Destroy(t.Context(), b.options())
	b.ok(err)
	if got := files(); got != "" {
		t.Errorf("destroyed: %s", got)
	}
}

func TestJobKilledWithTenonRunsAgain(t *testing.T) {
	b := newBench(t)
	u := table("sources/a", `{}`)
	b.fake.behave["sources/a"] = behaviour{hangs: true}
	r := b.began(u, true)
	b.fake.tasks = map[string]*fakeTask{} // the machine was restarted
	b.fake.behave["sources/a"] = behaviour{}
	b.mustApply(u)
	if got := b.fake.started("sources/a"); len(got) != 2 {
		t.Errorf("started %v", got)
	}
	run, err := b.store.Run(t.Context(), r.ID)
	b.ok(err)
	if run.Outcome != state.Canceled || run.Error != "lost when its apply was killed" {
		t.Errorf("the run that was begun ended as %+v", run)
	}
}

func TestUndeclaredTasksAreStopped(t *testing.T) {
	for _, c := range []struct {
		name string
		then []ir.Unit
	}{
		{"another definition", []ir.Unit{table("sources/a", `{"n":2}`)}},
		{"undeclared", []ir.Unit{table("sources/z", `{}`)}},
		{"blocked", []ir.Unit{table("sources/fails", `{"n":1}`), table("sources/a", `{"n":3}`, "sources/fails")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.fake.behave["sources/a"] = behaviour{hangs: true}
			b.fake.behave["sources/fails"] = behaviour{fails: 1}
			b.began(table("sources/a", `{"n":1}`), true)
			name := b.fake.started("sources/a")[0]
			b.fake.behave["sources/a"] = behaviour{}
			_, _ = b.apply(c.then...)
			if !slices.Contains(b.fake.calls, "destroy "+name) {
				t.Errorf("calls %v", b.fake.calls)
			}
			if left, err := b.store.Pending(t.Context()); err != nil || len(left) > 0 {
				t.Errorf("the journal holds %v, %v", left, err)
			}
		})
	}
}

func TestUndeclaredTasksAreStoppedWithoutAHandle(t *testing.T) {
	for where, here := range map[string]bool{"begun here": true, "begun on another machine": false} {
		t.Run(where, func(t *testing.T) {
			b := newBench(t)
			b.fake.behave["sources/a"] = behaviour{hangs: true}
			u := table("sources/a", `{}`)
			r := b.began(u, false)
			name := executors.TaskName("", "sources/a", r.Key, 1)
			if here {
				b.ok(os.MkdirAll(filepath.Join(b.dir, "runs", name), 0o755))
			}
			_, err := b.fake.Apply(t.Context(), executors.Task{Unit: u, Name: name}, nil)
			b.ok(err)
			b.mustApply(table("sources/z", `{}`))
			if left := b.fake.alive(); len(left) > 0 {
				t.Errorf("alive: %v", left)
			}
		})
	}
}

func TestOutputsBeingStoredAreNotLost(t *testing.T) {
	b := newBench(t)
	u := table("sources/a", `{}`)
	r := b.began(u, true)
	name := executors.TaskName("", "sources/a", r.Key, 1)
	dir := filepath.Join(b.dir, "runs", name)
	for b.fake.alive(); ; time.Sleep(time.Millisecond) {
		if st, _ := b.fake.Inspect(t.Context(), state.Handle{ID: name}); st.Phase == state.Succeeded {
			break
		}
	}
	// Verified, listed, moved; then killed.
	digest, err := artifact.Digest(t.Context(), filepath.Join(dir, "out", "out"))
	b.ok(err)
	list, err := json.Marshal(map[string]artifact.Artifact{"out": {Digest: digest, Kind: "table", Rows: 7}})
	b.ok(err)
	b.ok(os.WriteFile(filepath.Join(dir, "outputs.json"), list, 0o644))
	_, err = b.arts.Put(t.Context(), filepath.Join(dir, "out", "out"), "table")
	b.ok(err)

	b.mustApply(u)
	if got := b.fake.started("sources/a"); len(got) != 1 {
		t.Errorf("started %v", got)
	}
	run, err := b.store.Run(t.Context(), r.ID)
	b.ok(err)
	if run.Outputs["out"].Digest != digest {
		t.Errorf("recorded %+v", run)
	}
}

func TestKilledTakeoverLeavesOneService(t *testing.T) {
	for _, c := range []struct {
		name     string
		recorded bool // before the kill
	}{{"before the new one was recorded", false}, {"after the new one was recorded", true}} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.mustApply(service("deployments/s", `{"n":1}`))
			old := b.current("deployments/s")
			if c.recorded {
				b.fake.behave["deployments/s"] = behaviour{undying: errors.New("killed")}
				_, _ = b.apply(service("deployments/s", `{"n":2}`))
				b.fake.behave["deployments/s"] = behaviour{}
			} else {
				id, err := b.lease.Begin(t.Context(), state.Run{Unit: "deployments/s", Key: old.Key, Definition: old.Definition})
				b.ok(err)
				b.ok(b.lease.SetHandle(t.Context(), id, *old.Handle))
			}
			b.mustApply(service("deployments/s", `{"n":2}`))
			if left := b.fake.alive(); !slices.Equal(left, []string{b.current("deployments/s").Handle.ID}) || left[0] == old.Handle.ID {
				t.Errorf("alive: %v, recorded %s", left, b.current("deployments/s").Handle.ID)
			}
		})
	}
}

func TestFencedApplyLeavesTasksToItsSuccessor(t *testing.T) {
	b := newBench(t)
	b.fake.behave["sources/a"] = behaviour{hangs: true}
	o := b.options()
	o.Events = func(e executors.Event) {
		if e.Type == executors.EventStarted && e.Unit == "sources/a" {
			go func() {
				for len(b.fake.alive()) < 2 {
					time.Sleep(time.Millisecond)
				}
				b.exec("UPDATE lease SET token = token + 1")
				b.fake.end(b.fake.started("sources/b")[0]) // its end cannot be recorded
			}()
		}
	}
	b.fake.behave["sources/b"] = behaviour{hangs: true}
	_, err := executors.Apply(t.Context(), b.plan([]ir.Unit{table("sources/a", `{"n":1}`), table("sources/b", `{"n":2}`)}), o)
	if !errors.Is(err, state.ErrFenced) {
		t.Errorf("error %v", err)
	}
	if got := b.fake.alive(); len(got) != 2 {
		t.Errorf("alive: %v; nothing should be destroyed", got)
	}
}

func TestAnApplyThatCannotWriteTheStateStops(t *testing.T) {
	b := newBench(t)
	b.fake.behave["sources/long"] = behaviour{hangs: true}
	b.fake.behave["sources/short"] = behaviour{takes: 50 * time.Millisecond}
	o := b.options()
	o.Events = func(e executors.Event) {
		if e.Unit == "sources/short" && e.Type == executors.EventStarted {
			b.exec("CREATE TRIGGER full BEFORE INSERT ON output BEGIN SELECT RAISE(FAIL, 'no space left on device'); END")
		}
	}
	units := []ir.Unit{table("sources/long", `{"n":1}`), table("sources/short", `{"n":2}`), table("features/c", `{}`, "sources/short")}
	res, err := executors.Apply(t.Context(), b.plan(units), o)
	if err == nil || !strings.Contains(err.Error(), "apply stopped, because the state failed") || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("error %v", err)
	}
	if res.Outcome != state.Failure || len(b.fake.started("features/c")) > 0 {
		t.Errorf("result %+v", res)
	}
	if left := b.fake.alive(); len(left) > 0 {
		t.Errorf("alive: %v", left)
	}
	// Once there is room again, the next apply converges.
	b.exec("DROP TRIGGER full")
	b.fake.behave["sources/long"] = behaviour{}
	b.mustApply(units...)
}

// TestAKillAtAnyPointLosesNothingAndRepeatsNothing fences an apply after each of its
// writes in turn. Like a kill, that leaves everything running and the journal unchanged.
// The next apply has to converge.
func TestAKillAtAnyPointLosesNothingAndRepeatsNothing(t *testing.T) {
	writes := func(b *bench) int64 {
		m, err := b.store.Meta(t.Context())
		b.ok(err)
		return m.Serial
	}
	for after := int64(1); ; after++ {
		b := newBench(t)
		b.mustApply(system("1")...)
		from := writes(b)
		first := b.current("deployments/late").Handle.ID
		b.fake.fewest = b.fake.ready
		b.exec(fmt.Sprintf("CREATE TRIGGER kill AFTER UPDATE ON meta WHEN new.serial = %d BEGIN UPDATE lease SET token = token + 1; END", from+after))

		_, err := b.apply(system("2")...)
		if err == nil {
			if after < 15 {
				t.Errorf("the apply made only %d writes", after)
			}
			return
		}
		if !errors.Is(err, state.ErrFenced) {
			t.Fatalf("killed after write %d: %v", after, err)
		}
		b.exec("DROP TRIGGER kill; DELETE FROM lease")
		b.lock()
		b.mustApply(system("2")...)

		for _, unit := range []string{"models/late/train", "models/late/evaluate", "deployments/late"} {
			if got := b.fake.started(unit); len(got) != 2 {
				t.Errorf("killed after write %d: %s was started as %v", after, unit, got)
			}
		}
		now := b.current("deployments/late").Handle.ID
		if left := b.fake.alive(); now == first || !slices.Equal(left, []string{now}) {
			t.Errorf("killed after write %d: %s is current, alive are %v", after, now, left)
		}
		if b.fake.fewest < 1 {
			t.Errorf("killed after write %d: no service was ready for a moment", after)
		}
		if v, err := b.store.ModelVersions(t.Context(), "models/late"); err != nil || len(v) != 2 {
			t.Errorf("killed after write %d: registered are %v, %v", after, v, err)
		}
		for _, item := range b.plan(system("2")).Items {
			if item.Action.Changes() {
				t.Errorf("killed after write %d: %s is still to %s: %v", after, item.Unit, item.Action, item.Reasons)
			}
		}
	}
}

func (b *bench) exec(statement string) {
	b.Helper()
	b.ok(execOn(filepath.Join(b.dir, "state.db"), statement))
}

// execOn runs a statement unnoticed by whoever has the state open.
func execOn(path, statement string) error {
	db, err := sql.Open("sqlite3", path+"?_busy_timeout=5000")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(context.Background(), statement)
	return errors.Join(err, db.Close())
}

// What has no journal entry is found through the revision that has no end.
func TestLeftoversOfARecordedJobAreRemoved(t *testing.T) {
	b := newBench(t)
	u := table("sources/a", `{}`)
	number, err := b.lease.BeginRevision(t.Context(), state.Revision{})
	b.ok(err)
	r := b.began(u, true)
	b.ok(u.Define())
	r.Revision, r.Outcome = number, state.Done
	b.ok(b.lease.Finish(t.Context(), r, &u, &state.Current{Unit: u.ID, Kind: ir.Job, Definition: u.Digest, Key: r.Key, Revision: number}))
	run := filepath.Join(b.dir, "runs", executors.TaskName("", u.ID, r.Key, 1))
	for _, half := range []string{"code/.new-1/x", "rules/.new-2", "artifacts/tmp/bytes-3", filepath.Join("runs", filepath.Base(run), ".new-4")} {
		path := filepath.Join(b.dir, half)
		b.ok(os.MkdirAll(filepath.Dir(path), 0o755))
		b.ok(os.WriteFile(path, nil, 0o444))
	}
	if unfinished, err := executors.Unfinished(t.Context(), b.store); err != nil || !unfinished {
		t.Errorf("unfinished: %v, %v", unfinished, err)
	}
	b.mustApply(table("sources/z", `{}`))
	if !slices.Contains(b.fake.calls, "destroy "+filepath.Base(run)) {
		t.Errorf("calls %v", b.fake.calls)
	}
	for _, gone := range []string{"code/.new-1", "rules/.new-2", "artifacts/tmp/bytes-3", "runs/" + filepath.Base(run) + "/.new-4", "runs/" + filepath.Base(run) + "/out"} {
		if _, err := os.Lstat(filepath.Join(b.dir, gone)); err == nil {
			t.Errorf("%s is left", gone)
		}
	}
	if unfinished, err := executors.Unfinished(t.Context(), b.store); err != nil || unfinished {
		t.Errorf("unfinished: %v, %v", unfinished, err)
	}
}
