package state_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/test/postgrestest"
	"github.com/tenon-ml/tenon/planner/state"
)

// Measurements are numbered by monitor, and belong to one environment.
func TestMeasurements(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		prod := s.In("prod")
		before := must[state.Meta](t)(prod.Meta(ctx))
		var all []state.Measurement
		for i := range 3 {
			m := state.Measurement{Monitor: "monitors/inputs", Begin: noon.Add(-time.Hour), End: noon, At: noon.Add(time.Duration(i) * time.Minute),
				Verdict: "alert", Reason: "temp ks 0.31 > 0.1", Report: []byte(`{"rows":7}`)}
			m.Number = must[int64](t)(prod.AddMeasurement(ctx, m))
			all = append([]state.Measurement{m}, all...)
		}
		must[int64](t)(prod.AddMeasurement(ctx, state.Measurement{Monitor: "monitors/truth", At: noon, Verdict: "ok"}))
		for _, test := range []struct {
			since time.Time
			limit int
			want  []state.Measurement
		}{
			{time.Time{}, 0, all},
			{time.Time{}, 1, all[:1]},
			{noon.Add(time.Minute), 0, all[:2]},
			{noon.Add(time.Hour), 0, nil},
		} {
			if d := cmp.Diff(test.want, must[[]state.Measurement](t)(prod.Measurements(ctx, "monitors/inputs", test.since, test.limit))); d != "" {
				t.Errorf("since %s, at most %d (-want +got):\n%s", test.since, test.limit, d)
			}
		}
		if all[0].Number != 3 {
			t.Errorf("the third measurement has number %d", all[0].Number)
		}
		if m := must[[]state.Measurement](t)(s.Measurements(ctx, "monitors/inputs", time.Time{}, 0)); len(m) > 0 {
			t.Errorf("another environment has %v", m)
		}
		if after := must[state.Meta](t)(prod.Meta(ctx)); after != before {
			t.Errorf("a measurement changed %+v to %+v: saved plans are refused", before, after)
		}
	})
}

// An act is claimed by one of two controllers, ends once, and is not claimed for what is pinned.
func TestLoopActs(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		other := open(t, where)
		begin := state.LoopAct{Loop: "loops/late", At: noon, Act: state.LoopRetrain, Reason: "inputs drifted", Cause: "monitors/inputs", Detail: []byte(`{"rows":7}`)}
		begin.Number = must[int64](t)(s.ClaimLoopAct(ctx, begin, 0, []string{"models/late"}))
		if _, err := other.ClaimLoopAct(ctx, begin, 0, nil); !errors.Is(err, state.ErrOvertaken) {
			t.Errorf("two controllers act: %v", err)
		}
		end := state.LoopAct{Loop: "loops/late", At: noon, Act: state.LoopRetrained, Of: begin.Number, Revision: 7}
		end.Number = must[int64](t)(s.AddLoopAct(ctx, end))
		if _, err := other.AddLoopAct(ctx, state.LoopAct{Loop: "loops/late", Act: state.LoopFailed, Of: begin.Number}); !errors.Is(err, state.ErrOvertaken) {
			t.Errorf("an act ends twice: %v", err)
		}
		ok(t, other.SetPin(ctx, state.Pin{Unit: "models/late", By: "ann", At: noon}))
		if _, err := s.ClaimLoopAct(ctx, begin, end.Number, []string{"models/late"}); !errors.Is(err, state.ErrOvertaken) {
			t.Errorf("a loop acts on what is pinned: %v", err)
		}
		must[int64](t)(s.ClaimLoopAct(ctx, state.LoopAct{Loop: "loops/late", At: noon.Add(time.Hour), Act: state.LoopAlert}, end.Number, nil))
		got := must[[]state.LoopAct](t)(s.LoopActs(ctx, "loops/late", time.Time{}, 0))
		if d := cmp.Diff([]state.LoopAct{end, begin}, got[1:]); d != "" || got[0].Act != state.LoopAlert {
			t.Errorf("the record has %+v (-want +got):\n%s", got, d)
		}
		if a := must[[]state.LoopAct](t)(s.LoopActs(ctx, "loops/late", noon.Add(time.Minute), 5)); len(a) != 1 {
			t.Errorf("since noon: %+v", a)
		}
		if a := must[[]state.LoopAct](t)(s.In("prod").LoopActs(ctx, "loops/late", time.Time{}, 0)); len(a) > 0 {
			t.Errorf("another environment has %+v", a)
		}
	})
}

// A pin replaces another one, can be lifted, and stays in the record.
func TestPins(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		first := state.Pin{Unit: "models/late", Key: "k", Revision: 7, By: "ann", At: noon, Reason: "audit"}
		ok(t, s.SetPin(ctx, first))
		second := state.Pin{Unit: "models/late", Key: "k", Revision: 8, By: "bob", At: noon.Add(time.Minute)}
		ok(t, s.SetPin(ctx, second))
		if d := cmp.Diff(map[string]state.Pin{"models/late": second}, must[map[string]state.Pin](t)(s.Pins(ctx))); d != "" {
			t.Errorf("pins (-want +got):\n%s", d)
		}
		if p := must[map[string]state.Pin](t)(s.In("prod").Pins(ctx)); len(p) > 0 {
			t.Errorf("another environment has %+v", p)
		}
		ok(t, s.RemovePin(ctx, "models/late", "eve", noon.Add(time.Hour)))
		if err := s.RemovePin(ctx, "models/late", "eve", noon.Add(2*time.Hour)); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("a pin was lifted twice: %v", err)
		}
		first.Lifted, first.LiftedBy = second.At, "bob"
		second.Lifted, second.LiftedBy = noon.Add(time.Hour), "eve"
		if d := cmp.Diff([]state.Pin{second, first}, must[[]state.Pin](t)(s.PinHistory(ctx))); d != "" {
			t.Errorf("the record (-want +got):\n%s", d)
		}
		// A pin of the same instant as a lifted one holds.
		ok(t, s.SetPin(ctx, state.Pin{Unit: "models/late", By: "eve", At: second.At}))
		if p := must[map[string]state.Pin](t)(s.Pins(ctx)); p["models/late"].By != "eve" {
			t.Errorf("pins %+v", p)
		}
	})
}

// Nobody records anything while the state may be on its way to another database, or was moved.
func TestNothingIsRecordedDuringAMove(t *testing.T) {
	ctx := t.Context()
	from := t.TempDir()
	s := open(t, from)
	l := must[*state.Lease](t)(s.In(state.All).Lock(ctx, state.Holder{}, state.LockOptions{}))
	var held *state.HeldError
	if err := s.SetPin(ctx, state.Pin{Unit: "models/late"}); !errors.As(err, &held) {
		t.Errorf("pinned during a move: %v", err)
	}
	ok(t, l.Release(ctx))
	other := open(t, from)
	must[*state.Moved](t)(move(ctx, from, postgrestest.URL(t), nil))
	var lost *state.LostError
	if err := other.SetPin(ctx, state.Pin{Unit: "models/late"}); !errors.As(err, &lost) {
		t.Errorf("pinned in a state that was moved: %v", err)
	}
}

// What is recorded of a monitor, a loop and a pin follows a rename.
func TestRecordsFollowAMove(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		for _, name := range []string{"old", "new"} { // the new name had one before
			must[int64](t)(s.AddMeasurement(ctx, state.Measurement{Monitor: "monitors/" + name, Reason: name}))
			must[int64](t)(s.AddLoopAct(ctx, state.LoopAct{Loop: "loops/" + name, Act: state.LoopPause, By: name}))
			ok(t, s.SetPin(ctx, state.Pin{Unit: "models/" + name, By: name}))
		}
		ok(t, lock(t, s).Move(ctx, []ir.Move{
			{From: "monitors/old", To: "monitors/new"}, {From: "loops/old", To: "loops/new"},
			{From: "models/old/train", To: "models/new/train"}, {From: "models/old/register", To: "models/new/register"},
		}))
		if m := must[[]state.Measurement](t)(s.Measurements(ctx, "monitors/new", time.Time{}, 0)); len(m) != 1 || m[0].Reason != "old" {
			t.Errorf("measurements %+v", m)
		}
		if a := must[[]state.LoopAct](t)(s.LoopActs(ctx, "loops/new", time.Time{}, 0)); len(a) != 1 || a[0].By != "old" {
			t.Errorf("acts %+v", a)
		}
		if p := must[map[string]state.Pin](t)(s.Pins(ctx)); len(p) != 1 || p["models/new"].By != "old" {
			t.Errorf("pins %+v", p)
		}
	})
}
