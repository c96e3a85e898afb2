package state_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/test/postgrestest"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// onBoth runs a test with a folder and with a database that have no state yet.
func onBoth(t *testing.T, f func(t *testing.T, where string)) {
	t.Run("sqlite", func(t *testing.T) { f(t, t.TempDir()) })
	t.Run("postgres", func(t *testing.T) { f(t, postgrestest.URL(t)) })
}

func open(t testing.TB, where string) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func lock(t testing.TB, s *state.Store) *state.Lease {
	t.Helper()
	l, err := s.Lock(t.Context(), state.Holder{User: "ann", Command: "tenon apply"}, state.LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Release(context.Background()) })
	return l
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func unit(id string) *ir.Unit {
	return &ir.Unit{ID: id, Entity: id, Kind: ir.Job, Component: "c", Digest: "sha256:def"}
}

// finish records a complete run of u with the outputs out.
func finish(t testing.TB, l *state.Lease, u *ir.Unit, key string, at time.Time, took time.Duration, out map[string]artifact.Artifact) state.Run {
	t.Helper()
	r := state.Run{Key: key, Unit: u.ID, Definition: u.Digest, Attempt: 1, Started: at, Inputs: map[string]string{"in": "sha256:in"}}
	r.ID = must[int64](t)(l.Begin(t.Context(), r))
	r.Outcome, r.Finished, r.Outputs, r.Metrics = state.Done, at.Add(took), out, map[string]float64{"accuracy": 0.9}
	ok(t, l.Finish(t.Context(), r, u, &state.Current{Unit: u.ID, Kind: u.Kind, Definition: u.Digest, Key: key, Revision: 1, Since: r.Finished}))
	return r
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestRunIsRecordedFromIntentToOutcome(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		l := lock(t, s)
		rev := must[int](t)(l.BeginRevision(ctx, state.Revision{System: "late", Target: "local", IR: "sha256:ir", Tags: []string{"a"}, Started: noon}))
		if rev != 1 {
			t.Fatalf("first revision is %d", rev)
		}
		u := unit("models/late/train")
		r := state.Run{Key: "k", Unit: u.ID, Definition: u.Digest, Revision: rev, Attempt: 1, Started: noon, Inputs: map[string]string{"table": "sha256:t"}, Log: "runs/k/log"}
		r.ID = must[int64](t)(l.Begin(ctx, r))
		r.Outcome = state.Started
		h := state.Handle{Executor: "process", ID: "x", Data: []byte(`{"pid":1}`)}
		if diff := cmp.Diff([]state.Pending{{Run: r}}, must[[]state.Pending](t)(s.Pending(ctx))); diff != "" {
			t.Fatalf("journal after Begin (-want +got):\n%s", diff)
		}
		ok(t, l.SetHandle(ctx, r.ID, h))
		if diff := cmp.Diff([]state.Pending{{Run: r, Handle: &h}}, must[[]state.Pending](t)(s.Pending(ctx))); diff != "" {
			t.Fatalf("journal after SetHandle (-want +got):\n%s", diff)
		}
		if _, err := s.RunFor(ctx, u.ID, "k"); !errors.Is(err, state.ErrNotFound) {
			t.Fatalf("a run that has not ended is found by its key: %v", err)
		}

		r.Outcome, r.Finished = state.Done, noon.Add(time.Minute)
		r.Outputs = map[string]artifact.Artifact{"model": {Digest: "sha256:m", Kind: "model", Size: 10}, "table": {Digest: "sha256:o", Kind: "table", Size: 4, Rows: 2}}
		r.Metrics = map[string]float64{"accuracy": 0.5}
		r.Usage = state.Usage{CPU: time.Second, PeakMem: 7, ReadBytes: 8, WriteBytes: 9}
		c := state.Current{Unit: u.ID, Kind: u.Kind, Definition: u.Digest, Key: "k", Revision: rev, Since: noon}
		ok(t, l.Finish(ctx, r, u, &c))
		c.Run = r.ID
		ok(t, l.EndRevision(ctx, rev, state.Done, ""))

		if got := must[[]state.Pending](t)(s.Pending(ctx)); len(got) != 0 {
			t.Errorf("journal after Finish: %v", got)
		}
		if diff := cmp.Diff(&r, must[*state.Run](t)(s.RunFor(ctx, u.ID, "k"))); diff != "" {
			t.Errorf("run (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]state.Run{r}, must[[]state.Run](t)(s.Runs(ctx, u.ID, 5))); diff != "" {
			t.Errorf("runs (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]state.Current{u.ID: c}, must[map[string]state.Current](t)(s.Current(ctx))); diff != "" {
			t.Errorf("current units (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(r.Outputs, must[map[string]state.Run](t)(s.CurrentRuns(ctx))[u.ID].Outputs); diff != "" {
			t.Errorf("runs outputs (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(u, must[*ir.Unit](t)(s.Unit(ctx, u.ID))); diff != "" {
			t.Errorf("unit (-want +got):\n%s", diff)
		}
		if got := must[time.Time](t)(s.ArtifactCreated(ctx, "sha256:m")); !got.Equal(r.Finished) {
			t.Errorf("artifact created %s, want %s", got, r.Finished)
		}
		if got := must[artifact.Artifact](t)(s.Artifact(ctx, "sha256:o")); got.Rows != 2 {
			t.Errorf("artifact %+v, want 2 rows", got)
		}
		got := must[*state.Revision](t)(s.Revision(ctx, 1))
		if got.Outcome != state.Done || got.Finished.IsZero() || got.Tags[0] != "a" || got.IR != "sha256:ir" {
			t.Errorf("revision %+v", got)
		}
		if m := must[state.Meta](t)(s.Meta(ctx)); m.System != "late" || m.Serial != 5 || len(m.Lineage) != 32 {
			t.Errorf("meta %+v, want the system, serial 5 after five writes, and a lineage", m)
		}
		for _, err := range []error{
			l.Finish(ctx, r, u, &c), // twice
			l.Finish(ctx, state.Run{ID: 99, Outcome: state.Done}, u, &c),   // never begun
			l.Finish(ctx, state.Run{ID: r.ID, Outcome: "started"}, u, &c),  // not an outcome
			l.SetHandle(ctx, r.ID, h),                                      // ended
			l.EndRevision(ctx, 7, state.Done, ""),                          // never begun
			l.MakeCurrent(ctx, u, state.Current{Unit: "other"}),            // of another unit
			l.Clear(ctx, state.Pending{Run: state.Run{Outcome: "done"}}),   // not how a run is done
			l.Clear(ctx, state.Pending{Run: state.Run{ID: 99, Unit: "u"}}), // not there
		} {
			if err == nil {
				t.Error("a write that makes no sense was taken")
			}
		}
	})
}

func TestFailedRunKeepsTheCurrentOne(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		l := lock(t, s)
		u := unit("a/b/c")
		finish(t, l, u, "k1", noon, time.Second, nil)
		id := must[int64](t)(l.Begin(ctx, state.Run{Key: "k2", Unit: u.ID, Started: noon}))
		ok(t, l.Finish(ctx, state.Run{ID: id, Unit: u.ID, Outcome: state.Failure, Error: "exit 1"}, u, &state.Current{Unit: u.ID, Key: "k2"}))
		if got := must[map[string]state.Current](t)(s.Current(ctx))[u.ID].Key; got != "k1" {
			t.Errorf("after a failure %s is current, want k1", got)
		}
		id = must[int64](t)(l.Begin(ctx, state.Run{Key: "k3", Unit: u.ID, Started: noon}))
		ok(t, l.Clear(ctx, must[[]state.Pending](t)(s.Pending(ctx))[0]))
		if got := must[*state.Run](t)(s.Run(ctx, id)); got.Outcome != state.Canceled {
			t.Errorf("a cleared run is %s, want canceled", got.Outcome)
		}
		if got := must[map[string][]time.Duration](t)(s.Estimates(ctx))[u.ID]; len(got) != 1 {
			t.Errorf("estimates %v come from other than Done runs", got)
		}
	})
}

func TestInputsOfDoneRuns(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		l := lock(t, s)
		u, other := unit("a/b/c"), unit("a/b/d")
		for i, outcome := range []state.Outcome{state.Done, state.Failure, state.Done} {
			r := state.Run{Key: fmt.Sprint(i), Unit: u.ID, Started: noon, Inputs: map[string]string{"model": fmt.Sprint("m", i)}}
			r.ID = must[int64](t)(l.Begin(ctx, r))
			r.Outcome, r.Finished = outcome, noon.Add(time.Second)
			ok(t, l.Finish(ctx, r, u, nil))
		}
		finish(t, l, other, "k", noon, time.Second, nil)
		var got []string
		for _, in := range must[[]map[string]string](t)(s.DoneInputs(ctx, []string{u.ID, "a/b/none"})) {
			got = append(got, in["model"])
		}
		slices.Sort(got)
		if diff := cmp.Diff([]string{"m0", "m2"}, got); diff != "" {
			t.Errorf("inputs (-want +got):\n%s", diff)
		}
	})
}

func TestPreparationsHaveTimesOfTheirOwn(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		l := lock(t, s)
		u := unit("a/b/c")
		for i, prepared := range []time.Duration{time.Minute, 0} {
			r := state.Run{Key: "k", Unit: u.ID, Started: noon}
			r.ID = must[int64](t)(l.Begin(ctx, r))
			r.Outcome, r.Finished, r.Prepared = state.Done, noon.Add(time.Second), prepared
			ok(t, l.Finish(ctx, r, u, nil))
			if got := must[*state.Run](t)(s.Run(ctx, r.ID)); got.Prepared != prepared || got.Took() != time.Second {
				t.Errorf("run %d took %s, and %s before", i, got.Took(), got.Prepared)
			}
		}
		if got := must[map[string]time.Duration](t)(s.PrepareTimes(ctx))[u.ID]; got != time.Minute {
			t.Errorf("it is said to take %s to prepare, want what it took when something was missing", got)
		}
		if diff := cmp.Diff([]time.Duration{time.Second, time.Second}, must[map[string][]time.Duration](t)(s.Estimates(ctx))[u.ID]); diff != "" {
			t.Errorf("estimates (-want +got):\n%s", diff)
		}
	})
}

func TestMakeCurrentMovesOnlyCurrentUnits(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		l := lock(t, s)
		u := unit("a/b/c")
		first := finish(t, l, u, "k1", noon, time.Second, nil)
		finish(t, l, u, "k2", noon, 3*time.Second, nil)
		c := state.Current{Unit: u.ID, Kind: u.Kind, Definition: u.Digest, Key: "k1", Run: first.ID, Revision: 2, Since: noon}
		before := must[state.Meta](t)(s.Meta(ctx)).Serial
		for range 2 {
			ok(t, l.MakeCurrent(ctx, u, c))
		}
		if got := must[state.Meta](t)(s.Meta(ctx)).Serial; got != before+1 {
			t.Errorf("serial moved by %d, want 1: what is current already is no change", got-before)
		}
		if got := must[map[string]state.Run](t)(s.CurrentRuns(ctx))[u.ID].Key; got != "k1" {
			t.Errorf("%s is current, want k1", got)
		}
		if diff := cmp.Diff([]time.Duration{3 * time.Second, time.Second}, must[map[string][]time.Duration](t)(s.Estimates(ctx))[u.ID]); diff != "" {
			t.Errorf("estimates (-want +got):\n%s", diff)
		}
		ok(t, l.Forget(ctx, u.ID))
		ok(t, l.Forget(ctx, u.ID))
		if got := must[map[string]state.Current](t)(s.Current(ctx)); len(got) != 0 {
			t.Errorf("after Forget %v is current", got)
		}
		if _, err := s.Unit(ctx, u.ID); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("after Forget the unit is found: %v", err)
		}
		if _, err := s.RunFor(ctx, u.ID, "k2"); err != nil {
			t.Errorf("after Forget the run is lost: %v", err)
		}
	})
}

func TestUsedIsTheMostOfTheLastRunsOfADefinition(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		l := lock(t, s)
		run := func(u *ir.Unit, outcome state.Outcome, took time.Duration, used state.Usage) {
			t.Helper()
			r := state.Run{Key: "k", Unit: u.ID, Definition: u.Digest, Attempt: 1, Started: noon}
			r.ID = must[int64](t)(l.Begin(ctx, r))
			r.Outcome, r.Finished, r.Usage = outcome, noon.Add(took), used
			ok(t, l.Finish(ctx, r, u, nil))
		}
		a, other, silent := unit("a"), unit("a"), unit("silent")
		other.Digest = "sha256:other"
		run(a, state.Done, time.Minute, state.Usage{CPU: time.Hour, PeakMem: 1 << 40}) // too long ago
		run(other, state.Done, time.Minute, state.Usage{CPU: time.Hour, PeakMem: 1 << 40})
		run(a, state.Failure, time.Minute, state.Usage{CPU: time.Hour, PeakMem: 1 << 40})
		for range 6 {
			run(a, state.Done, time.Second, state.Usage{CPU: 8 * time.Second, PeakMem: 5}) // too short for cores
		}
		run(a, state.Done, time.Minute, state.Usage{CPU: 90 * time.Second, PeakMem: 7})
		run(a, state.Audited, time.Minute, state.Usage{CPU: time.Minute})
		run(silent, state.Done, time.Second, state.Usage{})
		got := must[map[string]state.Used](t)(s.Used(ctx, map[string]string{"a": a.Digest, "silent": silent.Digest, "none": "sha256:none"}))
		want := map[string]state.Used{"a": {Runs: 7, Memory: 7, Long: 2, MilliCPU: 1500}, "silent": {}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("used (-want +got):\n%s", diff)
		}
	})
}

func TestRerunOfTheSameKeyCounts(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		l := lock(t, s)
		u := unit("a/b/c")
		finish(t, l, u, "k", noon, time.Second, map[string]artifact.Artifact{"out": {Digest: "sha256:1"}})
		finish(t, l, u, "k", noon.Add(time.Hour), time.Second, map[string]artifact.Artifact{"out": {Digest: "sha256:2"}})
		got := must[map[string]state.Run](t)(s.CurrentRuns(ctx))[u.ID]
		if got.Outputs["out"].Digest != "sha256:2" || !got.Finished.Equal(noon.Add(time.Hour+time.Second)) {
			t.Errorf("runs %+v, want the second run", got)
		}
		if c := must[map[string]state.Current](t)(s.Current(ctx))[u.ID]; !c.Since.Equal(got.Finished) {
			t.Errorf("current since %s, want %s", c.Since, got.Finished)
		}
	})
}

// Units of one definition share a key, and each keeps its own results.
func TestRunForPrefersTheUnitsOwn(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		l := lock(t, s)
		made := map[string]state.Run{}
		for _, id := range []string{"a", "b"} {
			made[id] = finish(t, l, unit(id), "k", noon, time.Second, map[string]artifact.Artifact{"out": {Digest: "sha256:" + id}})
		}
		ok(t, l.MakeCurrent(ctx, unit("c"), state.Current{Unit: "c", Kind: ir.Job, Key: "k", Run: made["b"].ID}))
		for id, want := range map[string]string{"a": "sha256:a", "b": "sha256:b", "c": "sha256:b"} {
			if got := must[*state.Run](t)(s.RunFor(ctx, id, "k")).Outputs["out"].Digest; got != want {
				t.Errorf("%s: the run that made %s, want %s", id, got, want)
			}
		}

		// A later result of b is its own: c keeps the result that it uses.
		finish(t, l, unit("b"), "k", noon, time.Second, map[string]artifact.Artifact{"out": {Digest: "sha256:later"}})
		runs := must[map[string]state.Run](t)(s.CurrentRuns(ctx))
		for id, want := range map[string]string{"a": "sha256:a", "b": "sha256:later", "c": "sha256:b"} {
			if got := runs[id].Outputs["out"].Digest; got != want {
				t.Errorf("%s: %s is current, want %s", id, got, want)
			}
		}
	})
}

func TestRegistry(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		l := lock(t, s)
		register := func(digest string) int {
			return must[int](t)(l.Register(ctx, state.ModelVersion{Model: "models/late", Digest: digest, Key: "k" + digest, Created: noon, Metrics: map[string]float64{"f1": 1}}))
		}
		if got := must[*state.ModelVersion](t)(s.Incumbent(ctx, "models/late", "a")); got != nil {
			t.Errorf("incumbent of an empty registry: %+v", got)
		}
		for i, step := range []struct {
			digest    string
			version   int
			incumbent int // of the digest that was just registered
		}{{"a", 1, 0}, {"a", 1, 0}, {"b", 2, 1}, {"a", 1, 2}, {"a", 1, 2}, {"c", 3, 1}, {"a", 1, 3}} {
			if got := register(step.digest); got != step.version {
				t.Errorf("step %d: version %d, want %d", i, got, step.version)
			}
			got := must[*state.ModelVersion](t)(s.Incumbent(ctx, "models/late", step.digest))
			if (got == nil) != (step.incumbent == 0) || got != nil && got.Version != step.incumbent {
				t.Errorf("step %d: incumbent %+v, want version %d", i, got, step.incumbent)
			}
		}
		vs := must[[]state.ModelVersion](t)(s.ModelVersions(ctx, "models/late"))
		if len(vs) != 3 || vs[0].Version != 3 || vs[0].Metrics["f1"] != 1 {
			t.Errorf("versions %+v, want 3, newest first", vs)
		}
		if ms := must[[]state.ModelVersion](t)(s.Models(ctx)); len(ms) != 1 || ms[0].Version != 1 {
			t.Errorf("models %+v, want the version that came back", ms)
		}
	})
}

func TestWritesAtTheSameTimeAreOnesOfTheirOwn(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		const writers = 9
		s := open(t, where)
		l := lock(t, s)
		before := must[state.Meta](t)(s.Meta(t.Context())).Serial
		goOn := state.Hold(s)
		ids := make([]int64, writers)
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				if i == 4 { // it has not begun
					if err := l.Finish(t.Context(), state.Run{ID: 99, Outcome: state.Canceled}, nil, nil); !errors.Is(err, state.ErrNotFound) {
						t.Errorf("the end of a run that never began: %v", err)
					}
					return
				}
				var err error
				if ids[i], err = l.Begin(t.Context(), state.Run{Unit: fmt.Sprint("a/", i), Key: "k"}); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(100 * time.Millisecond) // until they wait for their turn
		goOn()
		wg.Wait()
		for i, id := range ids {
			if i == 4 {
				continue
			}
			if r, err := s.Run(t.Context(), id); err != nil || r.Unit != fmt.Sprint("a/", i) {
				t.Errorf("run %d is of %+v, %v", id, r, err)
			}
		}
		if after := must[state.Meta](t)(s.Meta(t.Context())).Serial; after-before != writers-1 {
			t.Errorf("the serial moved by %d", after-before)
		}
		if got := must[[]state.Pending](t)(s.Pending(t.Context())); len(got) != writers-1 {
			t.Errorf("%d runs in the journal", len(got))
		}
	})
}

func BenchmarkRecordRuns(b *testing.B) {
	for _, beside := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("%d at once", beside), func(b *testing.B) {
			l := lock(b, open(b, b.TempDir()))
			b.SetParallelism(beside)
			var n atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					finish(b, l, unit(fmt.Sprint("a/", n.Add(1))), "k", noon, time.Second, nil)
				}
			})
		})
	}
}
