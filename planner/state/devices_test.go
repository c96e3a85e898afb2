package state_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// A device that one environment holds is refused to another one, in the transaction that enters the
// run: whole, or as far as its shares are lent.
func TestDevicesAreLentOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		s := open(t, where)
		dev, prod := lock(t, s.In("dev")), lock(t, s.In("prod"))
		run := func(unit string, attempt int, devices ...string) state.Run {
			return state.Run{Key: unit, Unit: unit, Definition: "d", Attempt: attempt, Devices: devices}
		}
		serving := run("deployments/s", 1, "gpu=0")
		serving.ID = must[int64](t)(dev.Begin(ctx, serving))
		serving.Outcome = state.Done
		u := &ir.Unit{ID: serving.Unit, Kind: ir.Service}
		ok(t, dev.Finish(ctx, serving, u, &state.Current{Unit: u.ID, Kind: ir.Service, Key: serving.Key}))
		must[int64](t)(dev.Begin(ctx, run("features/a", 1, "gpu=1 1/2", "gpu=2 1/4")))

		for _, c := range []struct {
			name string
			run  state.Run
			by   string // the unit that has the device; "" if it is free
		}{
			{"of a service", run("features/x", 1, "gpu=3", "gpu=0"), "deployments/s"},
			{"a share of it", run("features/x", 1, "gpu=0 1/8"), "deployments/s"},
			{"of which shares are lent", run("features/x", 1, "gpu=1"), "features/a"},
			{"too large a share", run("features/x", 1, "gpu=1 1/4", "gpu=1 1/3"), "features/a"},
			{"the end of a service", run("deployments/s", 0, "gpu=0"), ""},
			{"the other shares", run("features/y", 1, "gpu=1 1/2", "gpu=2 3/4"), ""},
			{"another one", run("features/z", 1, "gpu=3"), ""},
			{"none", run("features/n", 1), ""},
		} {
			_, err := prod.Begin(ctx, c.run)
			var lent *state.LentError
			if errors.As(err, &lent) != (c.by != "") || err != nil && (lent == nil || lent.Lent.Unit != c.by || lent.Lent.Env != "dev") {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		// Its successor gets what a service has, although another environment has it, too.
		if _, err := dev.Begin(ctx, run("deployments/s", 2, "gpu=0")); err != nil {
			t.Error(err)
		}
		want := []state.Lent{
			{Env: "dev", Unit: "deployments/s", Devices: []string{"gpu=0"}, As: state.LentToService},
			{Env: "dev", Unit: "deployments/s", Devices: []string{"gpu=0"}, As: state.LentToRun},
			{Env: "dev", Unit: "features/a", Devices: []string{"gpu=1 1/2", "gpu=2 1/4"}, As: state.LentToRun},
		}
		if d := cmp.Diff(want, must[[]state.Lent](t)(s.In("prod").LentElsewhere(ctx))); d != "" {
			t.Errorf("lent to others (-want +got):\n%s", d)
		}
		ok(t, dev.Release(ctx))
		for i := range want {
			if want[i].As == state.LentToRun {
				want[i].As = state.LentLeft
			}
		}
		if d := cmp.Diff(want, must[[]state.Lent](t)(s.In("prod").LentElsewhere(ctx))); d != "" {
			t.Errorf("after the lock was released (-want +got):\n%s", d)
		}
	})
}
