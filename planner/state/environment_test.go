package state_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// What an environment records is its own, except for runs and models, which all share.
func TestEnvironmentsShareRunsAndNothingElse(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		dev, prod := s.In("dev"), s.In("prod")
		l := lock(t, dev)
		u := unit("models/late/train")
		n := must[int](t)(l.BeginRevision(ctx, state.Revision{System: "demo"}))
		run := finish(t, l, u, "k1", noon, time.Second, map[string]artifact.Artifact{"out": {Digest: "sha256:1"}})
		must[int](t)(l.Register(ctx, state.ModelVersion{Model: "models/late", Digest: "sha256:1"}))
		ok(t, l.EndRevision(ctx, n, state.Done, ""))

		if r := must[*state.Run](t)(prod.RunFor(ctx, u.ID, "k1")); r.ID != run.ID || r.Env != "dev" {
			t.Errorf("prod finds run %d of %q by its key, want %d", r.ID, r.Env, run.ID)
		}
		if before, after := must[state.Meta](t)(prod.Meta(ctx)), must[state.Meta](t)(dev.Meta(ctx)); before.Serial != 0 || after.Serial == 0 || before.Env != "prod" {
			t.Errorf("prod %+v, dev %+v: only dev changed", before, after)
		}
		for _, other := range []*state.Store{s, prod} {
			if c := must[map[string]state.Current](t)(other.Current(ctx)); len(c) > 0 {
				t.Errorf("in %q %v is deployed", other.Env(), c)
			}
			if rs := must[[]state.Revision](t)(other.Revisions(ctx, 0)); len(rs) > 0 {
				t.Errorf("%q has revisions %v", other.Env(), rs)
			}
			if ms := must[[]state.ModelVersion](t)(other.Models(ctx)); len(ms) > 0 {
				t.Errorf("in %q %v is in service", other.Env(), ms)
			}
			if m := must[*state.ModelVersion](t)(other.Incumbent(ctx, "models/late", "x")); m != nil {
				t.Errorf("in %q a candidate has to beat %v", other.Env(), m)
			}
			if _, err := other.Unit(ctx, u.ID); !errors.Is(err, state.ErrNotFound) {
				t.Errorf("in %q the unit was applied: %v", other.Env(), err)
			}
			if rs := must[[]state.Run](t)(other.RunsOf(ctx, n)); len(rs) > 0 {
				t.Errorf("%q has runs of revision %d: %v", other.Env(), n, rs)
			}
		}
		if got := must[[]string](t)(s.Environments(ctx)); !cmp.Equal(got, []string{"", "dev"}) {
			t.Errorf("environments %q", got)
		}

		// prod numbers its revisions itself, and puts the same version in service.
		p := lock(t, prod)
		if n := must[int](t)(p.BeginRevision(ctx, state.Revision{System: "demo"})); n != 1 {
			t.Errorf("the first revision of prod is %d", n)
		}
		if r := must[[]state.Revision](t)(dev.Revisions(ctx, 1))[0]; r.Outcome != state.Done || r.Env != "dev" {
			t.Errorf("dev's revision is now %+v", r)
		}
		ok(t, p.MakeCurrent(ctx, u, state.Current{Unit: u.ID, Kind: ir.Job, Definition: u.Digest, Key: "k1", Run: run.ID}))
		must[int](t)(l.Register(ctx, state.ModelVersion{Model: "models/late", Digest: "sha256:2"}))
		if v := must[int](t)(p.Register(ctx, state.ModelVersion{Model: "models/late", Digest: "sha256:1"})); v != 1 {
			t.Errorf("prod registered version %d", v)
		}
		for env, want := range map[string]int{"dev": 2, "prod": 1} {
			if ms := must[[]state.ModelVersion](t)(s.In(env).Models(ctx)); len(ms) != 1 || ms[0].Version != want {
				t.Errorf("in service in %s: %+v, want version %d", env, ms, want)
			}
		}
		if vs := must[[]state.ModelVersion](t)(prod.ModelVersions(ctx, "models/late")); len(vs) != 2 {
			t.Errorf("all versions: %+v", vs)
		}
		ok(t, p.Forget(ctx, u.ID))
		if c := must[map[string]state.Current](t)(dev.Current(ctx)); len(c) != 1 {
			t.Errorf("dev has %v", c)
		}
	})
}

// Each environment has a lock of its own. The one of all environments excludes the others, and
// fences those that it takes over from.
func TestEnvironmentsLockApart(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		dev, prod, all := s.In("dev"), s.In("prod"), s.In(state.All)
		l, p := lock(t, dev), lock(t, prod)
		held := (*state.HeldError)(nil)
		for _, x := range []*state.Store{dev, prod, all} {
			if _, err := x.Lock(ctx, state.Holder{}, state.LockOptions{}); !errors.As(err, &held) {
				t.Errorf("%q was locked twice: %v", x.Env(), err)
			}
		}
		ok(t, p.Release(ctx))
		if _, err := all.Lock(ctx, state.Holder{}, state.LockOptions{}); !errors.As(err, &held) {
			t.Errorf("all were locked while dev is: %v", err)
		}
		ok(t, l.Release(ctx))
		everything := lock(t, all)
		before := must[state.Meta](t)(prod.Meta(ctx)).Serial
		for _, x := range []*state.Store{s, dev, prod, all} {
			if _, err := x.Lock(ctx, state.Holder{}, state.LockOptions{}); !errors.As(err, &held) {
				t.Errorf("%q was locked while all are: %v", x.Env(), err)
			}
		}
		ok(t, everything.Prune(ctx, state.Pruning{Models: []state.ModelVersion{}, Before: map[string]int{"dev": 1}}))
		if now := must[state.Meta](t)(prod.Meta(ctx)).Serial; now != before {
			t.Errorf("nothing was pruned, and prod's serial went from %d to %d", before, now)
		}
		ok(t, everything.Release(ctx))

		const ttl = 300 * time.Millisecond
		stale := must[*state.Lease](t)(dev.Lock(ctx, state.Holder{}, state.LockOptions{TTL: ttl}))
		t.Cleanup(func() { stale.Release(context.Background()) })
		state.Pause(stale)
		ok(t, state.Exec(ctx, s, "UPDATE lease SET expires = 1, holder = replace(holder, '\"host\":\"', '\"host\":\"x')"))
		next := must[*state.Lease](t)(all.Lock(ctx, state.Holder{}, state.LockOptions{TTL: 100 * time.Millisecond, Wait: time.Minute}))
		t.Cleanup(func() { next.Release(ctx) })
		if err := stale.Forget(ctx, "u"); !errors.Is(err, state.ErrFenced) {
			t.Errorf("a write of a holder that was taken over: %v", err)
		}
	})
}

// Units that one environment renamed keep their old names in the others, with their models.
func TestAMoveIsOneOfItsEnvironment(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		dev, prod := lock(t, s.In("dev")), lock(t, s.In("prod"))
		u, moves := unit("models/late/train"), []ir.Move{{From: "models/late/train", To: "models/delay/train"}}
		for i, l := range []*state.Lease{dev, prod} {
			finish(t, l, u, "k1", noon, time.Second, nil)
			must[int](t)(l.Register(ctx, state.ModelVersion{Model: "models/late", Digest: "sha256:1"}))
			if i == 0 {
				must[int](t)(l.Register(ctx, state.ModelVersion{Model: "models/late", Digest: "sha256:2"}))
			}
		}
		inService := func(env string) (names []string) {
			for _, m := range must[[]state.ModelVersion](t)(s.In(env).Models(ctx)) {
				names = append(names, m.Model+" "+m.Digest)
			}
			return names
		}
		ok(t, dev.Move(ctx, moves))
		for env, want := range map[string][]string{"dev": {"models/delay sha256:2"}, "prod": {"models/late sha256:1"}} {
			if d := cmp.Diff(want, inService(env)); d != "" {
				t.Errorf("after dev moved, in service in %s (-want +got):\n%s", env, d)
			}
		}
		if c := must[map[string]state.Current](t)(s.In("prod").Current(ctx)); len(c) != 1 || c[u.ID].Unit != u.ID {
			t.Errorf("prod has %v", c)
		}
		if times := must[map[string][]time.Duration](t)(s.Estimates(ctx)); len(times) != 2 {
			t.Errorf("estimates %v, want those of both names", times)
		}
		ok(t, prod.Move(ctx, moves))
		for env, want := range map[string][]string{"dev": {"models/delay sha256:2"}, "prod": {"models/delay sha256:1"}} {
			if d := cmp.Diff(want, inService(env)); d != "" {
				t.Errorf("after both moved, in service in %s (-want +got):\n%s", env, d)
			}
		}
		if vs := must[[]state.ModelVersion](t)(s.ModelVersions(ctx, "models/delay")); len(vs) != 2 {
			t.Errorf("versions %+v, want each model once", vs)
		}
		if vs := must[[]state.ModelVersion](t)(s.ModelVersions(ctx, "models/late")); len(vs) != 0 {
			t.Errorf("the old name still has %+v", vs)
		}
	})
}

// What another environment runs for the first time keeps its name, by which that finds it again.
func TestAMoveLeavesWhatAnotherEnvironmentRuns(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		dev, prod := lock(t, s.In("dev")), lock(t, s.In("prod"))
		u := unit("models/late/train")
		finish(t, dev, u, "k1", noon, time.Second, nil)
		must[int64](t)(prod.Begin(ctx, state.Run{Unit: u.ID, Key: "k2", Attempt: 1}))
		ok(t, dev.Move(ctx, []ir.Move{{From: u.ID, To: "models/delay/train"}}))
		if p := must[[]state.Pending](t)(s.In("prod").Pending(ctx)); len(p) != 1 || p[0].Run.Unit != u.ID {
			t.Errorf("prod runs %+v", p)
		}
	})
}

// A state of the layout before environments belongs to the one without a name.
func TestOpenMigratesToEnvironments(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		made := must[*state.Store](t)(state.Unmade(where))
		t.Cleanup(func() { made.Close() })
		ok(t, state.MakeLayout(ctx, made, 4, string(must[[]byte](t)(os.ReadFile("testdata/layout4.sql")))))
		for _, q := range []string{
			`INSERT INTO meta VALUES (1, 'lineage', 7, 'late', 3)`,
			`INSERT INTO lease VALUES (1, 3, '{"host":"elsewhere","pid":1}', 1, 2)`,
			`INSERT INTO revision VALUES (3, 'late', 'local', 1, 2, 'done', 'sha256:ir', 'sha256:plan', '', '', 'apply', 0, '', 'sha256:deployed')`,
			`INSERT INTO run(key, unit, definition, revision, outcome, attempt, started, finished, inputs, metrics, cpu, peak_mem, error, log) VALUES ('k', 'models/late/train', 'd', 3, 'done', 1, 1, 2, '', '', 0, 0, '', '')`,
			`INSERT INTO run(key, unit, definition, revision, outcome, attempt, started, finished, inputs, metrics, cpu, peak_mem, error, log) VALUES ('k2', 'models/late/train', 'd', 3, 'started', 1, 1, 0, '', '', 0, 0, '', '')`,
			`INSERT INTO output SELECT max(id) - 1, 'out', 'sha256:a', 'model', 1, 0 FROM run`,
			`INSERT INTO pending SELECT max(id), '' FROM run`,
			`INSERT INTO current SELECT 'models/late/train', 'job', 'd', 'k', 3, '', 1, max(id) - 1 FROM run`,
			`INSERT INTO applied VALUES ('models/late/train', '{"id":"models/late/train"}')`,
			`INSERT INTO model VALUES ('models/late', 1, 'sha256:a', 'k', '', 1, 4), ('models/late', 2, 'sha256:b', 'k', '', 2, 3)`,
			`INSERT INTO unstable VALUES ('u', 'd', 3, '["out"]')`,
		} {
			ok(t, state.Exec(ctx, made, q))
		}
		for range 2 { // the second time there is nothing to do
			s := open(t, where)
			if m := must[state.Meta](t)(s.Meta(ctx)); m.Serial != 7 || m.Lineage != "lineage" || m.Env != "" {
				t.Errorf("meta %+v", m)
			}
			if r := must[[]state.Revision](t)(s.Revisions(ctx, 0)); len(r) != 1 || r[0].Number != 3 || r[0].Deployed != "sha256:deployed" {
				t.Errorf("revisions %+v", r)
			}
			c := must[map[string]state.Current](t)(s.Current(ctx))["models/late/train"]
			if runs := must[map[string]state.Run](t)(s.CurrentRuns(ctx)); c.Key != "k" || runs[c.Unit].Outputs["out"].Digest != "sha256:a" {
				t.Errorf("current %+v, runs %+v", c, runs)
			}
			if u := must[*ir.Unit](t)(s.Unit(ctx, c.Unit)); u.ID != c.Unit {
				t.Errorf("unit %+v", u)
			}
			if p := must[[]state.Pending](t)(s.Pending(ctx)); len(p) != 1 || p[0].Run.Key != "k2" {
				t.Errorf("journal %+v", p)
			}
			if ms := must[[]state.ModelVersion](t)(s.Models(ctx)); len(ms) != 1 || ms[0].Version != 1 {
				t.Errorf("in service %+v, want the version with the highest rank", ms)
			}
			if u := must[map[string]state.Unstable](t)(s.Unstable(ctx)); u["u"].Revision != 3 {
				t.Errorf("unstable %+v", u)
			}
			if es := must[[]string](t)(s.Environments(ctx)); len(es) != 1 {
				t.Errorf("environments %q", es)
			}
			ok(t, s.Close())
		}
		l := lock(t, open(t, where))
		if n := must[int](t)(l.BeginRevision(ctx, state.Revision{})); n != 4 {
			t.Errorf("the next revision is %d", n)
		}
	})
}
