package state_test

import (
	"errors"
	"os"
	"testing"

	"github.com/tenon-ml/tenon/planner/state"
)

// One controller is recorded in each environment. Another one takes its place only if that has been
// silent since it was seen.
func TestController(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where).In("prod")
		if c := must[*state.Controller](t)(s.Controller(ctx)); c != nil {
			t.Errorf("at first, there is %+v", c)
		}
		before := must[state.Meta](t)(s.Meta(ctx))
		lock(t, s) // which it does not need
		first := &state.Controller{ID: "1", Since: noon, At: noon, Next: "repair deployments/api", NextAt: noon}
		ok(t, s.SetController(ctx, first, nil))
		ok(t, s.SetController(ctx, first, nil))
		seen := must[*state.Controller](t)(s.Controller(ctx))
		if seen.ID != "1" || seen.Beat != 2 || seen.Gone || seen.Holder.PID != os.Getpid() || !seen.Since.Equal(noon) || seen.Next != first.Next || !seen.NextAt.Equal(noon) {
			t.Errorf("seen is %+v", seen)
		}
		second := &state.Controller{ID: "2"}
		another := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, state.ErrAnotherController) {
				t.Errorf("%s: %v", what, err)
			}
		}
		another("beside the first", s.SetController(ctx, second, nil))
		ok(t, s.SetController(ctx, first, nil))
		another("after a sign of life", s.SetController(ctx, second, seen))
		ok(t, s.SetController(ctx, second, must[*state.Controller](t)(s.Controller(ctx))))
		another("the first one, which was only slow", s.SetController(ctx, first, nil))
		ok(t, s.EndController(ctx, first.ID))
		if c := must[*state.Controller](t)(s.Controller(ctx)); c == nil || c.ID != "2" {
			t.Errorf("the end of the first one removed %+v", c)
		}
		if c := must[*state.Controller](t)(s.In("dev").Controller(ctx)); c != nil {
			t.Errorf("another environment has %+v", c)
		}
		ok(t, s.EndController(ctx, second.ID))
		if c := must[*state.Controller](t)(s.Controller(ctx)); c != nil {
			t.Errorf("at the end, there is %+v", c)
		}
		if after := must[state.Meta](t)(s.Meta(ctx)); after.Serial != before.Serial {
			t.Errorf("it changed %+v to %+v: saved plans are refused", before, after)
		}
		gone := &state.Controller{ID: "3", Holder: state.Holder{PID: 1 << 22}} // more than the kernel gives
		ok(t, s.SetController(ctx, gone, nil))
		if c := must[*state.Controller](t)(s.Controller(ctx)); !c.Gone {
			t.Errorf("a process that does not exist: %+v", c)
		}
	})
}
