package project_test

import (
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
)

func TestOrder(t *testing.T) {
	unit := func(id string, reads ...string) ir.Unit {
		u := ir.Unit{ID: id}
		u.Entity, _ = ir.SplitID(id)
		for _, r := range reads {
			u.Inputs = append(u.Inputs, ir.Input{Unit: r})
		}
		return u
	}
	judge := unit("models/a/judge", "models/a/fit", "models/a/cut")
	judge.Inputs = append(judge.Inputs, ir.Input{Unit: "models/a/keep", Incumbent: true})
	units := []ir.Unit{
		unit("models/a/keep", "models/a/fit", "models/a/judge"), judge,
		unit("models/a/fit", "models/a/cut"), unit("models/a/cut", "sources/s"),
		unit("deployments/api", "models/a/keep"), unit("sources/s"), unit("sources/r", "sources/s"),
		unit("steps/x", "steps/y"), unit("steps/y", "steps/x"), // a cycle
	}
	want := []string{
		"sources/r", "sources/s", "models/a/cut", "models/a/fit", "models/a/judge", "models/a/keep",
		"models/b/one", "models/b/two", "deployments/api", "steps/x", "steps/y",
	}
	got := slices.Clone(want)
	slices.Sort(got)
	slices.SortFunc(got, project.Order(units))
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
