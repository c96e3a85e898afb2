package aws

import (
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A training job gets the first instance that has what it needs.
func TestInstancesFollowFromNeeds(t *testing.T) {
	for _, c := range []struct {
		needs ir.Resources
		want  string
	}{
		{ir.Resources{}, "ml.m5.large"},
		{ir.Resources{MilliCPU: 2001}, "ml.m5.xlarge"},
		{ir.Resources{Memory: 33 * gib}, "ml.m5.4xlarge"},
		{ir.Resources{GPU: 1}, "ml.g4dn.xlarge"},
		{ir.Resources{GPU: 1, GPUMemory: 17 * gib}, "ml.g5.xlarge"},
		{ir.Resources{GPU: 1, GPUModel: "A10G", Memory: 64 * gib}, "ml.g5.4xlarge"},
		{ir.Resources{GPU: 4}, "ml.g4dn.12xlarge"},
		{ir.Resources{GPU: 8, GPUModel: "A100", GPUMemory: 80 * gib}, "ml.p4de.24xlarge"},
		{ir.Resources{GPU: 1, GPUModel: "H100"}, "ml.p5.48xlarge"},
		{ir.Resources{GPU: 9}, ""},
	} {
		if got := (Settings{}).trainingInstance(c.needs); got != c.want {
			t.Errorf("%+v: %q, want %q", c.needs, got, c.want)
		}
	}
	if got := (Settings{Jobs: Jobs{Instance: "ml.p6.large"}}).trainingInstance(ir.Resources{GPU: 9}); got != "ml.p6.large" {
		t.Errorf("the type that the target names is %q", got)
	}
}
