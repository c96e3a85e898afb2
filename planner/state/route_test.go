package state_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// A route is recorded with what is current, changes by itself, follows a rename, and is gone with
// the next version that has none.
func TestRoutes(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	l := lock(t, s)
	u := &ir.Unit{ID: "deployments/api", Entity: "deployments/api", Kind: ir.Service, Inputs: []ir.Input{{Port: "model", Unit: "models/late/register"}}}
	current := func(unit string) state.Current {
		t.Helper()
		c, err := s.Current(ctx)
		ok(t, err)
		return c[unit]
	}
	r := &state.Route{Serial: 4, Since: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), Reason: "good", Versions: []state.RouteVersion{
		{Name: "late v3", Key: "a", Run: 7, Weight: 90, Unit: u}, {Name: "late v4", Key: "b", Weight: 10, Shadow: 0.5},
	}}
	ok(t, l.MakeCurrent(ctx, u, state.Current{Unit: u.ID, Kind: ir.Service, Key: "b", Route: r}))
	if got := current(u.ID).Route; !reflect.DeepEqual(got, r) || !got.Releasing() || got.Ending() {
		t.Errorf("route %+v, want %+v", got, r)
	}
	r.Serial, r.Rejected = 5, &state.Rejected{Name: "late v4", Key: "b", Reason: "errors", Revision: 9}
	ok(t, l.SetRoute(ctx, u.ID, r))
	if got := current(u.ID).Route; !reflect.DeepEqual(got, r) || got.Releasing() || !got.Ending() {
		t.Errorf("route %+v, want %+v", got, r)
	}
	if err := l.SetRoute(ctx, "deployments/none", r); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("the route of a service that is not there: %v", err)
	}
	ok(t, l.Move(ctx, []ir.Move{{From: u.ID, To: "deployments/web"}, {From: "models/late/register", To: "models/delay/register"}}))
	if got := current("deployments/web").Route.Champion().Unit; got.ID != "deployments/web" || got.Inputs[0].Unit != "models/delay/register" {
		t.Errorf("after a move, the champion is %+v", got)
	}
	web := *u
	web.ID = "deployments/web"
	ok(t, l.MakeCurrent(ctx, &web, state.Current{Unit: "deployments/web", Kind: ir.Service, Key: "c"}))
	if got := current("deployments/web").Route; got != nil {
		t.Errorf("route %+v", got)
	}
}
