package project

import (
	"math/big"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// A step of a release has a plan for one service, without prices. All services cost what they did,
// and a champion that runs alone again what it did.
func TestServicesCostTheSameDuringARelease(t *testing.T) {
	champion := planner.Use{Unit: "deployments/new", Revision: 1, Rate: 5, Currency: "USD"}
	challenger := planner.Use{Unit: "deployments/new", Revision: 2, Rate: 7, Currency: "USD"}
	other := planner.Use{Unit: "deployments/other", Revision: 1, Rate: 3, Currency: "USD"}
	names := map[string]string{"deployments/old": "deployments/new"}
	standing := map[string]planner.Use{"deployments/new": challenger, "deployments/other": other}
	first := map[string]planner.Use{"deployments/new": champion, "deployments/other": {Rate: 99}}
	for name, c := range map[string]struct {
		item planner.Item
		want planner.Use
	}{
		"the next step":        {planner.Item{Unit: "deployments/old"}, challenger},
		"the champion remains": {planner.Item{Unit: "deployments/old", Pinned: &state.Pinned{}}, champion},
	} {
		got := released(&planner.Plan{Items: []planner.Item{c.item}}, standing, first, names)
		if d := cmp.Diff(map[string]planner.Use{"deployments/new": c.want, "deployments/other": other}, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// A prediction costs what the service costs, divided by the predictions, rounded up. What is not known of
// one service is not known of its model either, and none is never 0.
func TestAPredictionCostsItsPartOfTheService(t *testing.T) {
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	use := func(unit, model string, rate money.Amount) planner.Use {
		return planner.Use{Unit: unit, Models: []string{model}, From: begin, To: begin.Add(3 * time.Hour), Rate: rate, Currency: "USD"}
	}
	services := []planner.Use{use("deployments/a", "models/m", money.One), use("deployments/b", "models/m", money.One), use("deployments/c", "models/n", money.One), use("deployments/d", "models/o", money.One)}
	counts, whys := map[string]int64{"deployments/a": 7, "deployments/c": 7}, map[string]string{"deployments/b": "it has no log"}
	for by, want := range map[string]map[string]string{
		"unit":  {"deployments/a": "0.428571429", "deployments/b": "it has no log", "deployments/c": "0.428571429", "deployments/d": "its log has no request of this time"},
		"model": {"models/m": "it has no log", "models/n": "0.428571429", "models/o": "its log has no request of this time"},
	} {
		got := map[string]string{}
		for _, s := range servedFrom(services, begin, begin.Add(time.Hour*24), servedBy[by], counts, whys) {
			got[s.Name] = s.Unknown
			if s.Each != nil && s.Predictions != nil {
				got[s.Name] = big.NewRat(int64(*s.Each), int64(money.One)).FloatString(9)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("by %s (-want +got):\n%s", by, d)
		}
	}
}

// What was free, or had a price in another currency, for a part of the time has no cost of a prediction.
func TestAPredictionHasNoCostInSeveralCurrencies(t *testing.T) {
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var services []planner.Use
	for i, currency := range []string{"", "USD"} {
		from := begin.Add(time.Duration(i) * time.Hour)
		services = append(services, planner.Use{Unit: "deployments/a", From: from, To: from.Add(time.Hour), Rate: money.One, Currency: currency})
	}
	for _, s := range servedFrom(services, begin, begin.Add(24*time.Hour), servedBy["unit"], map[string]int64{"deployments/a": 7}, nil) {
		if s.Unknown == "" || s.Predictions != nil || s.Each != nil {
			t.Errorf("%+v: want no cost of a prediction", s)
		}
	}
}

// Groups of groups add up to the same as either of them, and those of one first name are together.
func TestSeveralGroupsAddUp(t *testing.T) {
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		var uses []planner.Use
		for range rapid.IntRange(0, 9).Draw(t, "uses") {
			from := begin.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "from")) * time.Hour)
			uses = append(uses, planner.Use{
				Unit: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "unit"), Stage: rapid.SampledFrom([]string{"train", "step"}).Draw(t, "stage"), Job: true,
				Revision: rapid.IntRange(1, 3).Draw(t, "revision"), From: from, To: from.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "hours")) * time.Hour),
				Rate: money.Amount(rapid.Int64Range(0, 1e9).Draw(t, "rate")), Currency: "USD",
			})
		}
		sums := map[string]planner.Spent{}
		for _, by := range []string{"stage", "stage,revision", "revision,unit,day"} {
			group, err := groupedBy(by)
			if err != nil {
				t.Fatal(err)
			}
			var sum planner.Spent
			ended, last := map[string]bool{}, ""
			for _, r := range inGroups(planner.SpentBy(uses, begin, begin.Add(1000*time.Hour), group)) {
				sum.Time, sum.Runs, sum.Cost = sum.Time+r.Time, sum.Runs+r.Runs, sum.Cost+r.Cost
				if len(r.Groups) == 0 {
					continue
				}
				if r.Groups[0] != last {
					if ended[last] = true; ended[r.Groups[0]] {
						t.Fatalf("by %s: rows of %s are apart", by, r.Groups[0])
					}
					last = r.Groups[0]
				}
			}
			sums[by] = sum
		}
		for by, s := range sums {
			if w := sums["stage"]; s.Time != w.Time || s.Runs != w.Runs {
				t.Fatalf("by %s: %+v, want %+v", by, s, w)
			}
		}
	})
}
