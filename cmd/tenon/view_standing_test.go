package main

import (
	"testing"

	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
)

func TestStandingCosts(t *testing.T) {
	three, two := 3*money.One, 2*money.One
	items := []planner.StandingItem{{What: "secrets", Count: 2, Month: &three}, {What: "metrics", Count: 4, Month: &two}, {What: "storage of images"}}
	for _, c := range []struct {
		i    *planner.Infrastructure
		want string
	}{
		{nil, ""},
		{&planner.Infrastructure{}, ""},
		{&planner.Infrastructure{Standing: &planner.Standing{}}, ""},
		{&planner.Infrastructure{Standing: &planner.Standing{Items: items, Currency: "USD", Source: "rates of 2026-11"}},
			"While nothing runs, it costs 5.00 USD a month (rates of 2026-11): 2 secrets 3.00 USD, 4 metrics 2.00 USD.\nWhile nothing runs, the cloud also bills what has no rate here: storage of images.\n"},
		{&planner.Infrastructure{Standing: &planner.Standing{Items: items[2:], Currency: "USD"}}, "While nothing runs, the cloud also bills what has no rate here: storage of images.\n"},
	} {
		if got := standing(c.i); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
