package executors_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
)

func TestAServiceWaitsForThoseThatLeaveItsAddress(t *testing.T) {
	at := func(id string, port int, needs ...string) ir.Unit {
		u := service(id, `{}`, needs...)
		u.Endpoint.Port = port
		return u
	}
	for _, c := range []struct {
		name    string
		applied []ir.Unit
		next    []ir.Unit
		moves   []ir.Move
		want    map[string][]string
	}{
		{"a chain", []ir.Unit{at("a", 1), at("b", 2), at("c", 3)}, []ir.Unit{at("a", 2), at("b", 3), at("c", 4)}, nil,
			map[string][]string{"a": {"b"}, "b": {"c"}}},
		{"a new one", []ir.Unit{at("b", 2)}, []ir.Unit{at("a", 2), at("b", 3)}, nil, map[string][]string{"a": {"b"}}},
		{"a renamed one", []ir.Unit{at("old", 2)}, []ir.Unit{at("a", 2), at("b", 3)}, []ir.Move{{From: "old", To: "b"}}, map[string][]string{"a": {"b"}}},
		{"a swap: one of them cannot wait", []ir.Unit{at("a", 1), at("b", 2)}, []ir.Unit{at("a", 2), at("b", 1)}, nil, map[string][]string{"b": {"a"}}},
		{"one that depends on the other", []ir.Unit{at("b", 2, "a")}, []ir.Unit{at("a", 2), at("b", 3, "a")}, nil, map[string][]string{}},
		{"nothing changes its address", []ir.Unit{at("a", 1), at("b", 2)}, []ir.Unit{at("a", 1), at("b", 2)}, nil, map[string][]string{}},
	} {
		p := &planner.Plan{System: &ir.System{Units: c.next}, Moves: c.moves}
		for _, u := range c.next {
			p.Items = append(p.Items, planner.Item{Unit: u.ID, Kind: u.Kind, Action: planner.Update})
		}
		got, err := executors.Vacating(p, func(unit string) (*ir.Unit, error) {
			if i := slices.IndexFunc(c.applied, func(u ir.Unit) bool { return u.ID == unit }); i >= 0 {
				return &c.applied[i], nil
			}
			return nil, nil
		})
		if err != nil || !maps.EqualFunc(got, c.want, slices.Equal) {
			t.Errorf("%s: %v, %v, want %v", c.name, got, err, c.want)
		}
	}
}
