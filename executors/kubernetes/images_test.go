package kubernetes

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/inside"
)

// A detached apply makes no images. What it deploys runs in the one that was made for it, and never in
// that of another version of the unit.
func TestADetachedApplyTakesTheImageOfTheVersion(t *testing.T) {
	unit := func(lock string) ir.Unit {
		return ir.Unit{ID: "deployments/api", Code: ir.Code{Runtime: ir.Plane, Lock: lock}}
	}
	const base = "python@sha256:1"
	e := New(Options{Images: map[string]string{inside.Key(unit("sha256:new"), base): "registry/tenon@sha256:2"}})
	for name, c := range map[string]struct {
		unit ir.Unit
		on   string
		ok   bool
	}{
		"the declared version":                  {unit("sha256:new"), base, true},
		"a champion with another environment":   {unit("sha256:old"), base, false},
		"a champion on an earlier base":         {unit("sha256:new"), "python@sha256:0", false},
		"beside a version with another program": {ir.Unit{ID: "deployments/api", Code: ir.Code{Runtime: ir.PlaneDuckDB, Lock: "sha256:new"}}, base, false},
	} {
		got, err := e.image(t.Context(), executors.Task{Unit: c.unit, Image: c.on})
		if c.ok && (err != nil || got != "registry/tenon@sha256:2") || !c.ok && (err == nil || !strings.Contains(err.Error(), "apply without --detach")) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
