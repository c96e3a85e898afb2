package azure

import (
	"maps"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/planner"
)

// StandingCluster returns what the infrastructure of a target of tenon.#AKS costs while nothing runs.
func StandingCluster(sys *ir.System) (*planner.Standing, error) {
	s, err := SettingsOf(sys.Target)
	if err != nil {
		return nil, err
	}
	rest := []string{cloud.StandingNodes(slices.ContainsFunc(slices.Collect(maps.Values(s.Pools)), func(p Pool) bool { return p.Min > 0 })), "the load balancer of the cluster"}
	if s.Existing.Storage == nil {
		rest = append(rest, "storage of artifacts")
	}
	if s.Existing.Registry == "" {
		rest = append(rest, "the registry for images")
	}
	return cloud.StandingCluster("AKS", rest...), nil
}
