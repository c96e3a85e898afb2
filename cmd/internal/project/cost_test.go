package project

import (
	"testing"

	"github.com/google/go-cmp/cmp"

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
