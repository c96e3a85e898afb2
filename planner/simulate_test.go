package planner_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

func TestSimulate(t *testing.T) {
	before := sys(
		job("sources/a", files("data/*.csv")),
		job("features/b", reads("in", "sources/a.table")),
		service("deployments/api", reads("in", "features/b.table")),
		job("steps/old"),
	)
	after := sys(
		job("sources/a", files("data/*.csv")),
		job("features/b", reads("in", "sources/a.table"), params(`{"x":1}`)),
		service("deployments/api", reads("in", "features/b.table")),
		job("steps/renamed"), // the same definition under another name
	)
	times := map[string][]time.Duration{"features/b": {2 * time.Second}}
	for name, tt := range map[string]struct {
		before, after *ir.System
		want          []string
	}{
		"the same":     {before, before, nil},
		"from nothing": {nil, sys(job("sources/a", files("no such file"))), []string{"run sources/a: new"}},
		"an edit": {before, after, []string{
			"run features/b: params.x ( -> 1)",
			"update deployments/api unless same: input in changes ( -> features/b)",
			"reuse steps/renamed: new",
			"delete steps/old: no longer declared",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := planner.Simulate(t.Context(), tt.before, tt.after, times)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, lines(p)); d != "" {
				t.Error(d)
			}
			if name == "an edit" && p.Summary().Time.Time != 2*time.Second {
				t.Errorf("estimated %s", p.Summary().Time.Time)
			}
		})
	}
}
