package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

func TestKilledRevisionIsRecordedByTheNext(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		s := open(t, where)
		l := lock(t, s)
		for range 2 {
			_ = must[int](t)(l.BeginRevision(t.Context(), state.Revision{System: "late"}))
		}
		ok(t, l.EndRevision(t.Context(), 2, state.Done, "sha256:s"))
		_ = must[int](t)(l.BeginRevision(t.Context(), state.Revision{System: "late", Act: state.Rollback, BackTo: 2, Moves: []ir.Move{{From: "a", To: "b"}}}))
		var got []state.Revision
		for _, r := range must[[]state.Revision](t)(s.Revisions(t.Context(), 0)) {
			r.Started, r.Finished = time.Time{}, time.Time{}
			got = append(got, r)
		}
		want := []state.Revision{
			{Number: 3, Act: state.Rollback, BackTo: 2, System: "late", Outcome: state.Started, Moves: []ir.Move{{From: "a", To: "b"}}},
			{Number: 2, Act: state.Apply, System: "late", Outcome: state.Done, Deployed: "sha256:s"},
			{Number: 1, Act: state.Apply, System: "late", Outcome: state.Killed},
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("revisions (-want +got):\n%s", d)
		}
	})
}

func TestARunBelongsToTheRevisionThatSawItEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		s := open(t, where)
		l := lock(t, s)
		begin := func(unit string) state.Run {
			r := state.Run{Key: unit, Unit: unit, Revision: 1, Started: noon, Attempt: 1}
			r.ID = must[int64](t)(l.Begin(t.Context(), r))
			r.Outcome = state.Done
			return r
		}
		ended, adopted := begin("steps/ended"), begin("steps/adopted")
		ok(t, l.Finish(t.Context(), ended, nil, nil))
		adopted.Revision = 2 // the first apply was killed
		ok(t, l.Finish(t.Context(), adopted, nil, nil))
		for revision, want := range map[int]string{1: "steps/ended", 2: "steps/adopted"} {
			runs := must[[]state.Run](t)(s.RunsOf(t.Context(), revision))
			if len(runs) != 1 || runs[0].Unit != want {
				t.Errorf("runs of revision %d: %+v, want that of %s", revision, runs, want)
			}
		}
	})
}

func TestAUnitMovesWithItsHistory(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		l := lock(t, s)
		train, reader, earlier := unit("models/old/train"), unit("deployments/api"), unit("models/new/train")
		reader.Inputs = []ir.Input{{Port: "model", Unit: train.ID, From: "model"}}
		finish(t, l, earlier, "gone", noon, time.Minute, nil)
		_ = must[int](t)(l.Register(ctx, state.ModelVersion{Model: "models/new", Digest: "sha256:0", Created: noon}))
		ok(t, l.Forget(ctx, earlier.ID))
		finish(t, l, train, "k", noon, time.Hour, nil)
		finish(t, l, reader, "r", noon, time.Second, nil)
		for _, d := range []string{"sha256:1", "sha256:2"} {
			_ = must[int](t)(l.Register(ctx, state.ModelVersion{Model: "models/old", Digest: d, Created: noon}))
		}
		ok(t, l.MarkUnstable(ctx, state.Unstable{Unit: train.ID, Definition: train.Digest, Revision: 1, Ports: []string{"model"}}))

		ok(t, l.Move(ctx, []ir.Move{{From: "models/old/train", To: "models/new/train"}}))

		current := must[map[string]state.Current](t)(s.Current(ctx))
		if _, still := current["models/old/train"]; still || current["models/new/train"].Key != "k" {
			t.Errorf("current units: %+v", current)
		}
		if u := must[*ir.Unit](t)(s.Unit(ctx, "models/new/train")); u.ID != "models/new/train" || u.Entity != "models/new" {
			t.Errorf("as applied: %s of %s", u.ID, u.Entity)
		}
		if u := must[*ir.Unit](t)(s.Unit(ctx, reader.ID)); u.Inputs[0].Unit != "models/new/train" {
			t.Errorf("its reader reads from %s", u.Inputs[0].Unit)
		}
		if runs := must[[]state.Run](t)(s.Runs(ctx, "models/new/train", 0)); len(runs) != 2 {
			t.Errorf("%d runs, want its own and that of an earlier unit of the name", len(runs))
		}
		if times := must[map[string][]time.Duration](t)(s.Estimates(ctx))["models/new/train"]; len(times) != 1 || times[0] != time.Hour {
			t.Errorf("estimated from %v", times)
		}
		if u := must[map[string]state.Unstable](t)(s.Unstable(ctx))["models/new/train"]; u.Ports[0] != "model" {
			t.Errorf("unstable: %+v", u)
		}
		var versions []string
		for _, v := range must[[]state.ModelVersion](t)(s.ModelVersions(ctx, "models/new")) {
			versions = append(versions, v.Digest)
		}
		if d := cmp.Diff([]string{"sha256:2", "sha256:1", "sha256:0"}, versions); d != "" {
			t.Errorf("versions, newest first (-want +got):\n%s", d)
		}
		if v := must[*state.ModelVersion](t)(s.Incumbent(ctx, "models/new", "sha256:2")); v.Digest != "sha256:1" {
			t.Errorf("incumbent %s", v.Digest)
		}
	})
}

// A state of an older tenon is migrated when it is opened, and loses nothing.
func TestOpenMigrates(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		made := must[*state.Store](t)(state.Unmade(where))
		t.Cleanup(func() { made.Close() })
		ok(t, state.MakeLayout(ctx, made, 1, string(must[[]byte](t)(os.ReadFile("testdata/layout1.sql")))))
		for _, q := range []string{
			`INSERT INTO meta VALUES (1, 'lineage', 7, 'late', 3)`,
			`INSERT INTO revision VALUES (1, 'late', 'local', 1, 2, 'done', 'sha256:ir', 'sha256:plan', '["env=prod"]', 'c0ffee')`,
			`INSERT INTO model VALUES ('models/late', 1, 'sha256:a', 'k', '', 1), ('models/late', 2, 'sha256:b', 'k', '', 2)`,
		} {
			ok(t, state.Exec(ctx, made, q))
		}

		// It is not migrated while an older tenon uses it.
		ok(t, state.Exec(ctx, made, `INSERT INTO lease VALUES (1, 3, ?, ?, ?)`,
			`{"host":"elsewhere","pid":1}`, time.Now().UnixNano(), time.Now().Add(time.Minute).UnixNano()))
		var held *state.HeldError
		if _, err := state.Open(ctx, where); !errors.As(err, &held) {
			t.Errorf("opened while an older tenon works on it: %v", err)
		}
		ok(t, state.Exec(ctx, made, "DELETE FROM lease"))

		// Nor by whoever only reads it.
		if _, err := state.OpenOther(ctx, where); err == nil || !strings.Contains(err.Error(), "written by an older tenon (layout 1, this one has 6), and is only read here: run tenon status") {
			t.Errorf("opened to read: %v", err)
		}

		for range 2 { // the second time there is nothing to do
			s := open(t, where)
			other := must[*state.Store](t)(state.OpenOther(ctx, where))
			if m := must[state.Meta](t)(other.Meta(ctx)); m.Serial != 7 {
				t.Errorf("meta of another one %+v", m)
			}
			ok(t, other.Close())
			if m := must[state.Meta](t)(s.Meta(ctx)); m.Serial != 7 || m.Lineage != "lineage" {
				t.Errorf("meta %+v", m)
			}
			want := &state.Revision{Number: 1, Act: state.Apply, System: "late", Target: "local", Started: time.Unix(0, 1).UTC(), Finished: time.Unix(0, 2).UTC(),
				Outcome: state.Done, IR: "sha256:ir", Plan: "sha256:plan", Tags: []string{"env=prod"}, Commit: "c0ffee"}
			if d := cmp.Diff(want, must[*state.Revision](t)(s.Revision(ctx, 1))); d != "" {
				t.Errorf("revision (-want +got):\n%s", d)
			}
			if ms := must[[]state.ModelVersion](t)(s.Models(ctx)); len(ms) != 1 || ms[0].Version != 2 {
				t.Errorf("models %+v", ms)
			}
			ok(t, s.Close())
		}
		l := lock(t, open(t, where))
		ok(t, l.MarkUnstable(ctx, state.Unstable{Unit: "u"}))
		if n := must[int](t)(l.BeginRevision(ctx, state.Revision{})); n != 2 {
			t.Errorf("the next revision is %d", n)
		}
	})
}

// SQLite's copy of a state is not in WAL mode.
func TestOpenABackup(t *testing.T) {
	s := open(t, t.TempDir())
	dir := t.TempDir()
	ok(t, state.Exec(t.Context(), s, "VACUUM INTO '"+filepath.Join(dir, "state.db")+"'"))
	l := lock(t, open(t, dir))
	if n := must[int](t)(l.BeginRevision(t.Context(), state.Revision{})); n != 1 {
		t.Errorf("revision %d", n)
	}
}
