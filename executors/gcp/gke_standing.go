package gcp

import (
	"maps"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/planner"
)

// StandingCluster returns what the infrastructure of a target of tenon.#GKE costs while nothing runs.
func StandingCluster(sys *ir.System) (*planner.Standing, error) {
	s, err := SettingsOf(sys.Target)
	if err != nil {
		return nil, err
	}
	rest := []string{cloud.StandingNodes(slices.ContainsFunc(slices.Collect(maps.Values(s.Pools)), func(p Pool) bool { return p.Min > 0 }))}
	if s.Existing.Network == nil {
		rest = append(rest, "Cloud NAT, and what passes it")
	}
	if s.Existing.Bucket == "" {
		rest = append(rest, "storage of artifacts")
	}
	if s.Existing.Repository == "" {
		rest = append(rest, "storage of images")
	}
	return cloud.StandingCluster("GKE", rest...), nil
}
