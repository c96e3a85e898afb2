package executors

import (
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

// Leaving lists the units that a plan removes.
func Leaving(p *planner.Plan) []string {
	var units []string
	for _, i := range p.Items {
		if i.Action == planner.Delete {
			units = append(units, i.Unit)
		}
	}
	return units
}

// Vacating lists, for a service that a plan starts, the services that have its address now
// and get another one by the plan: it starts after them. A service that depends on it, or
// waits for it in the same way, is not listed. applied returns a unit as it is deployed, or
// nil.
func Vacating(p *planner.Plan, applied func(unit string) (*ir.Unit, error)) (map[string][]string, error) {
	var starts []*ir.Unit
	for _, i := range p.Items {
		if i.Kind != ir.Service || !i.Action.Changes() {
			continue
		}
		if u := p.Unit(&i); u != nil {
			starts = append(starts, u)
		}
	}
	if len(starts) < 2 {
		return nil, nil
	}
	needs := map[string][]string{}
	for i := range p.System.Units {
		u := &p.System.Units[i]
		for _, in := range u.Inputs {
			if !in.Incumbent {
				needs[u.ID] = append(needs[u.ID], in.Unit)
			}
		}
	}
	first := map[string][]string{}
	for _, owner := range starts {
		old, err := applied(former(p, owner.ID))
		if err != nil {
			return nil, err
		}
		if old == nil {
			continue
		}
		for _, u := range starts {
			if u != owner && u.Endpoint.Overlaps(old.Endpoint) && !u.Endpoint.Overlaps(owner.Endpoint) && !leads(needs, owner.ID, u.ID) {
				first[u.ID] = append(first[u.ID], owner.ID)
				needs[u.ID] = append(needs[u.ID], owner.ID)
			}
		}
	}
	return first, nil
}

// leads reports whether a unit needs another one, directly or not.
func leads(needs map[string][]string, from, to string) bool {
	seen := map[string]bool{}
	var visit func(unit string) bool
	visit = func(unit string) bool {
		if unit == to || seen[unit] {
			return unit == to
		}
		seen[unit] = true
		return slices.ContainsFunc(needs[unit], visit)
	}
	return visit(from)
}

// former returns the name under which a unit was applied.
func former(p *planner.Plan, unit string) string {
	for _, m := range p.Moves {
		if m.To == unit {
			return m.From
		}
	}
	return unit
}
