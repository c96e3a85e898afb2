package cloud

import (
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
)

// hoursOfMonth is the number of hours in a month, as clouds count them.
const hoursOfMonth = 730

// StandingCluster returns what a managed cluster of a service costs while nothing runs, for services that take 0.10 USD an
// hour for a cluster in all regions. Source: "Google Kubernetes Engine pricing" (cluster management fee) and "Azure
// Kubernetes Service pricing" (tier Standard). Rest is what else is billed, for which there is no rate.
func StandingCluster(service string, rest ...string) *planner.Standing {
	month := money.One / 10 * hoursOfMonth
	out := &planner.Standing{
		Currency: "USD", Source: "list rates in USD, as quoted in 2026-11 and not checked",
		Items: []planner.StandingItem{{What: "clusters of " + service, Count: 1, Month: &month}},
	}
	for _, what := range rest {
		out.Items = append(out.Items, planner.StandingItem{What: what})
	}
	return out
}

// StandingNodes returns how a plan names the nodes that stay, of the pool for what the cloud itself runs and of pools
// with a minimum.
func StandingNodes(kept bool) string {
	if kept {
		return "nodes of the pool system, and those that min keeps"
	}
	return "nodes of the pool system"
}
