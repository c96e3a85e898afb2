package cloud_test

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
)

// Neither the names of two units nor their folders are the same, or one in the other.
func FuzzLabelsDiffer(f *testing.F) {
	f.Add("steps/a", "steps/a/b")
	f.Add("steps/a-b", "steps/a/b")
	f.Add("steps/A", "steps/a")
	f.Fuzz(func(t *testing.T, a, b string) {
		if a != b && (cloud.Label(a) == cloud.Label(b) || strings.HasPrefix(cloud.Below(a), cloud.Below(b))) {
			t.Errorf("%q and %q: %s, %s", a, b, cloud.Label(a), cloud.Label(b))
		}
	})
}

// An endpoint of a deployment that the system does not have is refused, whatever its settings are.
func TestEndpointsOfDeploymentsExist(t *testing.T) {
	sys := &ir.System{Target: ir.Target{Name: "prod"}, Units: []ir.Unit{
		{ID: "deployments/late/serve", Entity: "deployments/late", Kind: ir.Service}, {ID: "models/batch/train", Entity: "models/batch", Kind: ir.Job},
	}}
	for name, want := range map[string]string{
		"late": "", "lat": "endpoints of target prod names lat, but the services of this system are: late", "batch": "names batch",
	} {
		err := cloud.EndpointsExist(sys, map[string]struct{}{name: {}})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}
