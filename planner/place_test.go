package planner_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// A service on machines of its own has their price, also without a pool, but in no sum if pools have
// another currency. It is updated if it would run in another place.
func TestServicesOnMachinesOfTheirOwn(t *testing.T) {
	w := world1(t)
	place, now := "a small machine", planner.PerHour{Currency: "USD", Rate: money.One}
	plan := func(s *ir.System, currency string) *planner.Plan {
		t.Helper()
		p, err := planner.Make(t.Context(), s, planner.Inputs{
			Dir: w.dir, State: w.store, Artifacts: w, Digests: w.digests, Inspector: w, Options: planner.Options{Now: w.now},
			PerHour: func(u *ir.Unit) (planner.PerHour, bool) {
				return planner.PerHour{Unit: u.ID, Currency: currency, Rate: money.One}, true
			},
			PerHourNow: func(*ir.Unit, state.Handle) (planner.PerHour, bool) { return now, now.Currency != "" },
			Placed:     func(*ir.Unit, state.Handle) (string, string) { return "a small machine", place },
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	alone, pooled := sys(service("deployments/api")), priced(ir.Budget{}, service("deployments/api"))
	for name, c := range map[string]struct {
		system   *ir.System
		currency string
		want     planner.Costs
	}{
		"without a pool":                      {alone, "EUR", planner.Costs{Currency: "EUR", Month: 730 * money.One}},
		"beside a pool":                       {pooled, "USD", planner.Costs{Currency: "USD", Month: 730 * money.One}},
		"beside a pool with another currency": {pooled, "EUR", planner.Costs{Currency: "USD"}},
	} {
		p := plan(c.system, c.currency)
		if diff := cmp.Diff(&c.want, p.Costs()); diff != "" || len(p.PerHour) != 1 || p.PerHour[0].Currency != c.currency {
			t.Errorf("%s: %+v (-want +got)\n%s", name, p.PerHour, diff)
		}
	}
	limited := sys(service("deployments/api"))
	limit := money.One
	limited.Budget = ir.Budget{Currency: "EUR", Month: &limit}
	if p := plan(limited, "USD"); p.Costs() != nil || len(p.PerHour) != 1 || p.CheckBudget() != nil {
		t.Errorf("with a budget in another currency: %+v, %v", p.Costs(), p.CheckBudget())
	}
	if p := plan(limited, "EUR"); p.CheckBudget() == nil {
		t.Error("the budget in the currency of the machines does not count")
	}
	w.apply(plan(alone, "USD"))
	if p := plan(alone, "USD"); p.Changes() || len(p.PerHour) > 0 || p.Costs().Month != 730*money.One {
		t.Errorf("the second plan: %q, %+v", lines(p), p.Costs())
	}
	place = "a large machine"
	if diff := cmp.Diff([]string{"update deployments/api: place (a small machine -> a large machine)"}, lines(plan(alone, "USD"))); diff != "" {
		t.Errorf("in another place (-want +got):\n%s", diff)
	}
	// Before, it costs what it does where it is.
	for before, there := range map[money.Amount]planner.PerHour{3 * 730 * money.One: {Currency: "USD", Rate: 3 * money.One}, 0: {}} {
		now = there
		if c := plan(alone, "USD").Costs(); c.Before != before || c.Month != 730*money.One {
			t.Errorf("before it moves from %+v: %+v", there, c)
		}
	}
}
