package planner_test

import (
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/prices"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
)

// The cheapest comes first, one that is kept before it, and those that cannot be used last.
func TestTargetsAreTriedInOrder(t *testing.T) {
	all := []planner.Option{
		{Target: "full", Skipped: "no quota"},
		{Target: "dear", Compared: 3},
		{Target: "cheap", Compared: 1},
		{Target: "equal", Compared: 1},
		{Target: "small", Skipped: "too small"},
	}
	for kept, want := range map[string][]string{
		"":     {"cheap", "equal", "dear", "full", "small"},
		"dear": {"dear", "cheap", "equal", "full", "small"},
		"full": {"cheap", "equal", "dear", "full", "small"}, // it cannot be used, so it is not kept
		"gone": {"cheap", "equal", "dear", "full", "small"},
	} {
		options := slices.Clone(all)
		planner.Choose(options, kept)
		var got, next []string
		for _, o := range options {
			got = append(got, o.Target)
		}
		if !slices.Equal(got, want) {
			t.Errorf("kept %q: %q, want %q", kept, got, want)
		}
		for _, o := range (&planner.Choice{Target: got[0], Options: options}).Next() {
			next = append(next, o.Target)
		}
		if !slices.Equal(next, want[1:3]) {
			t.Errorf("kept %q: continues on %q, want %q", kept, next, want[1:3])
		}
	}
}

// What is unknown, or in another currency, is not compared as if it were cheap. Machines of your own without a price cost
// nothing, and without any price the first target counts.
func TestUnknownCostsAreNotCheap(t *testing.T) {
	usd, eur := &planner.Costs{Currency: "USD"}, &planner.Costs{Currency: "EUR"}
	for name, c := range map[string]struct {
		options []planner.Option
		want    []string
	}{
		"a cloud without a price": {
			[]planner.Option{{Target: "cloud", Unpriced: true}, {Target: "dear", Costs: usd, Compared: 3}, {Target: "own"}},
			[]string{"own", "dear", "cloud"},
		},
		"another currency": {
			[]planner.Option{{Target: "dollars", Costs: usd, Compared: 3}, {Target: "euros", Costs: eur, Compared: 1}, {Target: "cheap", Costs: usd, Compared: 2}},
			[]string{"cheap", "dollars", "euros"},
		},
		"no price":                    {[]planner.Option{{Target: "cloud", Unpriced: true}, {Target: "own"}}, []string{"cloud", "own"}},
		"the only price is of no use": {[]planner.Option{{Target: "dear", Costs: usd, Skipped: "no quota"}, {Target: "cloud", Unpriced: true}, {Target: "own"}}, []string{"cloud", "own", "dear"}},
	} {
		planner.Choose(c.options, "")
		var got []string
		for _, o := range c.options {
			got = append(got, o.Target)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What is billed without requests is compared, if its price is known and in the currency of the costs.
func TestIdleCostsAreCompared(t *testing.T) {
	three := 3 * money.One
	standing := &planner.Standing{Currency: "USD", Items: []planner.StandingItem{{What: "secrets", Month: &three}, {What: "storage"}}}
	for name, c := range map[string]struct {
		priced   string
		requests []planner.PerRequest
		standing *planner.Standing
		fetched  string // the currency of 1 GiB that is fetched
		idle     money.Amount
		compared money.Amount
	}{
		"nothing":                 {requests: []planner.PerRequest{{Currency: "USD", Million: money.One}}},
		"instances that wait":     {requests: []planner.PerRequest{{Currency: "USD", Idle: 2 * money.One}}, idle: 2 * money.One, compared: 2 * money.One},
		"and infrastructure":      {priced: "USD", requests: []planner.PerRequest{{Currency: "USD", Idle: money.One}}, standing: standing, idle: 4 * money.One, compared: 4 * money.One},
		"what is fetched":         {fetched: "USD", standing: standing, idle: three, compared: 4 * money.One},
		"fetched in another one":  {fetched: "EUR", standing: standing, idle: three, compared: money.One},
		"in another currency":     {priced: "EUR", standing: standing, idle: three},
		"in different currencies": {requests: []planner.PerRequest{{Currency: "EUR", Idle: money.One}}, standing: standing, idle: money.One, compared: money.One},
	} {
		p := &planner.Plan{System: &ir.System{}, PerRequest: c.requests}
		if c.priced != "" {
			p.Pricing = &planner.Pricing{Currency: c.priced}
		}
		if c.fetched != "" {
			p.Transfer = &planner.Transfer{Bytes: 1 << 30, Charge: &prices.Charge{Currency: c.fetched, Price: money.One}}
		}
		if o := planner.NewOption(p, c.standing); o.Idle != c.idle || o.Compared != c.compared {
			t.Errorf("%s: %s while idle, compared by %s", name, o.Idle.Format("USD"), o.Compared.Format("USD"))
		}
	}
}

// Jobs of unknown length count as an hour on each target, so that only the rates decide.
func TestJobsOfUnknownLengthCountAsAnHour(t *testing.T) {
	p := &planner.Plan{
		System:  &ir.System{Units: []ir.Unit{{ID: "steps/a", Kind: ir.Job}, {ID: "steps/b", Kind: ir.Service}}},
		Pricing: &planner.Pricing{Currency: "USD"},
		Items: []planner.Item{
			{Unit: "steps/a", Kind: ir.Job, Action: planner.Run, Rate: 2 * money.One},
			{Unit: "steps/b", Kind: ir.Service, Action: planner.Create, Rate: money.One},
		},
	}
	if got, want := planner.NewOption(p, nil).Compared, (2+ir.Month)*money.One; got != money.Amount(want) {
		t.Errorf("%v, want %v", got, want)
	}
}
