package project

import (
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// A version that was rejected in an environment is not proven there, although its definition is
// deployed: the champion has the same one, and another model.
func TestARejectedVersionIsNotPromoted(t *testing.T) {
	p := &planner.Plan{
		System: &ir.System{Units: []ir.Unit{{ID: "deployments/api", Kind: ir.Service, Digest: "d"}}},
		Items:  []planner.Item{{Unit: "deployments/api", Kind: ir.Service, Action: planner.None}},
	}
	current := map[string]state.Current{"deployments/api": {Unit: "deployments/api", Kind: ir.Service, Definition: "d"}}
	if got := notDeployed(p, current); len(got) > 0 {
		t.Errorf("not deployed: %q", got)
	}
	p.Items[0].Rejected = "late v4 was rejected in revision 7: 3 of 3 requests failed"
	if got, want := notDeployed(p, current), []string{"deployments/api: " + p.Items[0].Rejected}; !slices.Equal(got, want) {
		t.Errorf("not deployed: %q, want %q", got, want)
	}
}
