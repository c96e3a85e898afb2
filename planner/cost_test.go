package planner_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// priced returns a system whose units draw from a pool with a price.
func priced(b ir.Budget, units ...ir.Unit) *ir.System {
	for i := range units {
		units[i].Pool = "box"
	}
	s := sys(units...)
	s.Budget = b
	s.Pools = []ir.Pool{{
		Name: "box", Resources: ir.Resources{MilliCPU: 16000, Memory: 64 << 30, GPU: 4, GPUMemory: 80 << 30}, Shares: 4,
		Price: &ir.Price{Currency: "USD", GPU: 2 * money.One, CPU: money.One / 10, Memory: money.One / 100},
	}}
	return s
}

func needing(r ir.Resources, timeout time.Duration, retries int) func(*ir.Unit) {
	return func(u *ir.Unit) { u.Needs, u.Timeout, u.Retries = r, timeout, retries }
}

func TestCostsOfAPlan(t *testing.T) {
	w := world1(t)
	train := ir.Resources{MilliCPU: 2000, GPU: 1}               // 2.2 USD/h
	part := ir.Resources{GPU: 1, GPUMemory: 20 << 30, Nodes: 2} // 1 USD/h
	api := ir.Resources{MilliCPU: 500, Memory: 5 << 30}         // 0.1 USD/h
	system := func(x string, b ir.Budget) *ir.System {
		return priced(b,
			job("models/a/train", params(`{"x":`+x+`}`), needing(train, 0, 0)),
			job("models/b/train", needing(part, 90*time.Minute, 1)),
			service("deployments/api/serve", needing(api, 0, 0)))
	}
	amount := func(n money.Amount) *money.Amount { return &n }

	first := w.plan(system("1", ir.Budget{}))
	want := &planner.Costs{Currency: "USD", Apply: 3 * money.One, Bounded: 1, Unknown: []string{"models/a/train"}, Assumed: 22 * money.One / 10, Limit: 3 * money.One, Unlimited: []string{"models/a/train"}, Month: 73 * money.One}
	if diff := cmp.Diff(want, first.Costs()); diff != "" {
		t.Errorf("the first plan (-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		budget ir.Budget
		want   string // in the error
	}{
		{ir.Budget{}, ""},
		{ir.Budget{Month: amount(73 * money.One)}, ""},
		{ir.Budget{Month: amount(73*money.One - 1)}, "its services cost 73.00 USD a month, and budget.month is 73.00 USD"},
		{ir.Budget{Apply: amount(money.One)}, "its jobs cost 3.00 USD, and budget.apply is 1.00 USD"},
		{ir.Budget{Apply: amount(50 * money.One)}, "nothing limits the cost of models/a/train"},
	} {
		err := w.plan(system("1", c.budget)).CheckBudget()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("budget %v: %v, want %q", c.budget, err, c.want)
		}
	}

	// Afterwards the time of the job is known, and the service is there.
	w.took = 2 * time.Hour
	w.apply(first)
	second := w.plan(system("2", ir.Budget{Apply: amount(4 * money.One)}))
	want = &planner.Costs{Currency: "USD", Apply: 44 * money.One / 10, Runs: 1, Limit: 44 * money.One / 10, Before: 73 * money.One, Month: 73 * money.One}
	if diff := cmp.Diff(want, second.Costs()); diff != "" {
		t.Errorf("the second plan (-want +got):\n%s", diff)
	}
	if err := second.CheckBudget(); err == nil || !strings.Contains(err.Error(), "its jobs cost 4.40 USD") {
		t.Errorf("the second plan: %v", err)
	}
	// What costs too much already may stay, and may become cheaper.
	if err := w.plan(system("1", ir.Budget{Month: amount(1)})).CheckBudget(); err != nil {
		t.Errorf("nothing changes: %v", err)
	}
	if w.plan(sys(job("models/a/train"))).Costs() != nil {
		t.Error("a system without prices has costs")
	}
}

// The champion of a release is still deployed, so that to go back to it costs no more than what is
// there, whatever the budget is now. What is dearer than both is refused.
func TestABudgetAllowsTheWayBackToAChampion(t *testing.T) {
	half := 50 * money.One
	for name, c := range map[string]struct {
		rejected, refused bool
		cpu               int64 // thousandths that the service asks for in the end
	}{
		"back to the champion":                           {cpu: 1000},
		"back to the champion of a rejected version":     {rejected: true, cpu: 1000},
		"a third version that is as dear":                {cpu: 999},
		"a third version that is dearer than both":       {cpu: 1001, refused: true},
		"dearer than the champion of a rejected version": {rejected: true, cpu: 1001, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := world1(t)
			system := func(cpu int64) *ir.System { // 73 USD a month for 1 core
				return priced(ir.Budget{Month: &half}, service("deployments/api", params(fmt.Sprintf(`{"cpu":%d}`, cpu)), needing(ir.Resources{MilliCPU: cpu}, 0, 0)))
			}
			champion := system(1000)
			w.apply(w.plan(champion))
			current, err := w.store.Current(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			first := current["deployments/api"]
			w.apply(w.plan(system(100)))
			if current, err = w.store.Current(t.Context()); err != nil {
				t.Fatal(err)
			}
			second := current["deployments/api"]
			route := &state.Route{Serial: 1, Versions: []state.RouteVersion{
				{Name: "v1", Key: first.Key, Run: first.Run, Unit: champion.Unit("deployments/api"), Weight: 90}, {Name: "v2", Key: second.Key, Weight: 10},
			}}
			if c.rejected {
				route.Rejected = &state.Rejected{Name: "v2", Key: second.Key}
			}
			if err := w.lease.SetRoute(t.Context(), "deployments/api", route); err != nil {
				t.Fatal(err)
			}
			p := w.plan(system(c.cpu))
			if !p.Changes() {
				t.Fatal("the plan changes nothing")
			}
			if err := p.CheckBudget(); (err != nil) != c.refused {
				t.Errorf("error %v, refused: %t; costs %+v", err, c.refused, p.Costs())
			}
		})
	}
}

// Whatever uses are grouped by, the groups have all of their time and, but for what is rounded
// up, all of their cost.
func TestGroupsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		since, until := noon, noon.Add(10*24*time.Hour)
		var uses []planner.Use
		var time0 time.Duration
		var cost money.Amount
		for range rapid.IntRange(0, 8).Draw(t, "uses") {
			from := noon.Add(time.Duration(rapid.Int64Range(-int64(72*time.Hour), int64(12*24*time.Hour)).Draw(t, "from")))
			u := planner.Use{
				Unit: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "unit"), Job: rapid.Bool().Draw(t, "job"), From: from,
				To: from.Add(time.Duration(rapid.Int64Range(0, int64(9*24*time.Hour)).Draw(t, "took"))), Rate: money.Amount(rapid.Int64Range(0, 1e10).Draw(t, "rate")), Currency: "USD",
			}
			uses = append(uses, u)
			if in := minTime(u.To, until).Sub(maxTime(u.From, since)); in > 0 {
				time0 += in
				cost += u.Rate.During(in)
			}
		}
		for name, by := range map[string]func(planner.Use, time.Time) string{
			"unit": func(u planner.Use, _ time.Time) string { return u.Unit },
			"day":  func(_ planner.Use, at time.Time) string { return at.Format(time.DateOnly) },
		} {
			var sum planner.Spent
			rows := planner.SpentBy(uses, since, until, by)
			for _, r := range rows {
				sum.Time += r.Time
				sum.Cost += r.Cost
			}
			if sum.Time != time0 {
				t.Fatalf("by %s: %s, want %s", name, sum.Time, time0)
			}
			if d := sum.Cost - cost; d > money.Amount(len(rows)) || -d > money.Amount(len(uses)) {
				t.Fatalf("by %s: %d, want %d", name, sum.Cost, cost)
			}
		}
	})
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Replicas cost what each asks for in a cluster, and together what one asks for on a machine.
func TestReplicasCostWhatTheyAskFor(t *testing.T) {
	w := world1(t)
	api := service("deployments/api/serve", needing(ir.Resources{MilliCPU: 500, Memory: 5 << 30}, 0, 0)) // 0.1 USD/h
	api.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 1, Replicas: 3}
	for perReplica, want := range map[bool]money.Amount{false: 73 * money.One, true: 3 * 73 * money.One} {
		w.perReplica = perReplica
		if got := w.plan(priced(ir.Budget{}, api)).Costs().Month; got != want {
			t.Errorf("per replica %v: %s a month, want %s", perReplica, got.Format("USD"), want.Format("USD"))
		}
	}
}
