package state_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// Of measurements, the newest of each monitor stays, however old it is, and no number is used twice.
func TestPruneKeepsTheNewestMeasurements(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		l := lock(t, s)
		for i, at := range []time.Duration{0, 3, 2, 1} { // as of times that do not grow
			must[int64](t)(s.AddMeasurement(ctx, state.Measurement{Monitor: "monitors/a", At: noon.Add(at * time.Hour), Verdict: string('a' + rune(i))}))
		}
		must[int64](t)(s.AddMeasurement(ctx, state.Measurement{Monitor: "monitors/b", At: noon, Verdict: "ok"}))
		for i := range 4 {
			must[int64](t)(s.AddLoopAct(ctx, state.LoopAct{Loop: "loops/l", At: noon.Add(time.Duration(i) * time.Hour), Act: state.LoopHold}))
		}
		before := noon.Add(150 * time.Minute)
		if n := must[int](t)(s.OldMeasurements(ctx, before)); n != 2 {
			t.Errorf("%d measurements are old, want 2", n)
		}
		if loops := must[[]string](t)(s.RecordedLoops(ctx)); !cmp.Equal(loops, []string{"loops/l"}) {
			t.Errorf("the loops with a record are %v", loops)
		}
		ok(t, l.Prune(ctx, state.Pruning{MeasuredBefore: before, Acts: map[string]map[string][]int64{"": {"loops/l": {1, 3}}}}))
		var left string
		for _, monitor := range []string{"monitors/a", "monitors/b"} {
			for _, m := range must[[]state.Measurement](t)(s.Measurements(ctx, monitor, time.Time{}, 0)) {
				left += m.Verdict + " "
			}
		}
		if left != "b d ok " { // the newest, and the one with the last number
			t.Errorf("the measurements left are %q", left)
		}
		if last := must[*state.Measurement](t)(s.LastMeasurement(ctx, "monitors/a")); last.Verdict != "b" || last.Number != 2 {
			t.Errorf("the newest is %+v", last)
		}
		if last := must[*state.Measurement](t)(s.LastMeasurement(ctx, "monitors/c")); last != nil {
			t.Errorf("what was never measured has %+v", last)
		}
		var acts []int64
		for _, a := range must[[]state.LoopAct](t)(s.LoopActs(ctx, "loops/l", time.Time{}, 0)) {
			acts = append(acts, a.Number)
		}
		if !cmp.Equal(acts, []int64{4, 2}) {
			t.Errorf("the acts left are %v", acts)
		}
	})
}

func TestPruneRemovesExactlyWhatItIsGiven(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		l := lock(t, s)
		for range 3 {
			n := must[int](t)(l.BeginRevision(ctx, state.Revision{System: "demo"}))
			ok(t, l.EndRevision(ctx, n, state.Done, ""))
		}
		out := map[string]artifact.Artifact{"out": {Digest: "sha256:1", Kind: "table", Size: 5, Rows: 2}}
		a, gone := unit("features/a"), unit("features/gone")
		runs := []state.Run{
			finish(t, l, a, "k1", noon, time.Second, out),
			finish(t, l, a, "k2", noon, 2*time.Second, out),
			finish(t, l, gone, "k3", noon, time.Second, out),
			finish(t, l, a, "k4", noon, 3*time.Second, out),
		}
		ok(t, l.Forget(ctx, gone.ID))
		ok(t, l.MarkUnstable(ctx, state.Unstable{Unit: gone.ID, Definition: gone.Digest}))
		for _, digest := range []string{"sha256:1", "sha256:2"} {
			must[int](t)(l.Register(ctx, state.ModelVersion{Model: "models/m", Digest: digest}))
		}
		ledger := must[[]state.Run](t)(s.Ledger(ctx))
		if len(ledger) != 4 || ledger[3].ID != runs[3].ID || ledger[3].Key != "k4" || ledger[3].Outcome != state.Done || !cmp.Equal(ledger[3].Outputs, out) {
			t.Errorf("ledger: %+v", ledger)
		}
		registry := must[[]state.ModelVersion](t)(s.Registry(ctx))
		if len(registry) != 2 || registry[0].Version != 2 {
			t.Errorf("registry: %+v", registry)
		}
		kept := must[*state.Run](t)(s.Run(ctx, runs[3].ID))

		p := state.Pruning{Before: map[string]int{"": 3}, Runs: []int64{runs[0].ID, runs[2].ID}, Strip: []int64{runs[1].ID}, Models: registry[1:]}
		ok(t, l.Prune(ctx, p))
		if got := must[[]state.Revision](t)(s.Revisions(ctx, 0)); len(got) != 1 || got[0].Number != 3 {
			t.Errorf("revisions: %+v", got)
		}
		if diff := cmp.Diff(kept, must[*state.Run](t)(s.Run(ctx, runs[3].ID))); diff != "" {
			t.Errorf("a run that stays (-want +got):\n%s", diff)
		}
		stripped := must[*state.Run](t)(s.Run(ctx, runs[1].ID))
		if stripped.Outcome != state.Pruned || stripped.Took() != 2*time.Second || stripped.Outputs != nil || stripped.Metrics != nil || stripped.Inputs != nil {
			t.Errorf("of a run there is left %+v", stripped)
		}
		for key := range map[string]bool{"k1": true, "k2": true, "k3": true} {
			if _, err := s.RunFor(ctx, a.ID, key); !errors.Is(err, state.ErrNotFound) {
				t.Errorf("the run of %s is found: %v", key, err)
			}
		}
		if got := must[[]state.ModelVersion](t)(s.Registry(ctx)); !cmp.Equal(got, registry[:1]) {
			t.Errorf("registry: %+v", got)
		}
		if times := must[map[string][]time.Duration](t)(s.Estimates(ctx)); len(times) != 1 || len(times[a.ID]) != 3 {
			t.Errorf("estimates: %v", times)
		}
		if marks := must[map[string]state.Unstable](t)(s.Unstable(ctx)); len(marks) > 0 {
			t.Errorf("unstable: %v", marks)
		}
		serial := must[state.Meta](t)(s.Meta(ctx)).Serial
		ok(t, l.Prune(ctx, p))
		if now := must[state.Meta](t)(s.Meta(ctx)).Serial; now != serial {
			t.Errorf("to prune what is pruned moves the state from %d to %d", serial, now)
		}
		// Numbers are never reused.
		if n := must[int](t)(l.BeginRevision(ctx, state.Revision{System: "demo"})); n != 4 {
			t.Errorf("the next revision is %d", n)
		}
		if r := finish(t, l, a, "k5", noon, time.Second, nil); r.ID <= runs[3].ID {
			t.Errorf("the next run is %d", r.ID)
		}
	})
}
