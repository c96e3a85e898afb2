package aws

import (
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// An instance is a type of machine on which SageMaker runs training jobs.
type instance struct {
	name      string // "ml.g5.xlarge"
	cores     int64
	memory    int64 // bytes
	gpus      int64
	model     string // of each GPU
	gpuMemory int64  // bytes, of each GPU
}

const gib = 1 << 30

// instances are those that Tenon chooses from, the cheapest first; a target may name others.
// Source: "Amazon SageMaker pricing", the tables of instances for training.
var instances = []instance{
	{"ml.m5.large", 2, 8 * gib, 0, "", 0},
	{"ml.m5.xlarge", 4, 16 * gib, 0, "", 0},
	{"ml.m5.2xlarge", 8, 32 * gib, 0, "", 0},
	{"ml.g4dn.xlarge", 4, 16 * gib, 1, "NVIDIA T4", 16 * gib},
	{"ml.m5.4xlarge", 16, 64 * gib, 0, "", 0},
	{"ml.g4dn.2xlarge", 8, 32 * gib, 1, "NVIDIA T4", 16 * gib},
	{"ml.g5.xlarge", 4, 16 * gib, 1, "NVIDIA A10G", 24 * gib},
	{"ml.g5.2xlarge", 8, 32 * gib, 1, "NVIDIA A10G", 24 * gib},
	{"ml.g5.4xlarge", 16, 64 * gib, 1, "NVIDIA A10G", 24 * gib},
	{"ml.m5.12xlarge", 48, 192 * gib, 0, "", 0},
	{"ml.g5.8xlarge", 32, 128 * gib, 1, "NVIDIA A10G", 24 * gib},
	{"ml.g4dn.12xlarge", 48, 192 * gib, 4, "NVIDIA T4", 16 * gib},
	{"ml.g5.16xlarge", 64, 256 * gib, 1, "NVIDIA A10G", 24 * gib},
	{"ml.m5.24xlarge", 96, 384 * gib, 0, "", 0},
	{"ml.g5.12xlarge", 48, 192 * gib, 4, "NVIDIA A10G", 24 * gib},
	{"ml.g5.24xlarge", 96, 384 * gib, 4, "NVIDIA A10G", 24 * gib},
	{"ml.g5.48xlarge", 192, 768 * gib, 8, "NVIDIA A10G", 24 * gib},
	{"ml.p4d.24xlarge", 96, 1152 * gib, 8, "NVIDIA A100", 40 * gib},
	{"ml.p4de.24xlarge", 96, 1152 * gib, 8, "NVIDIA A100", 80 * gib},
	{"ml.p5.48xlarge", 192, 2048 * gib, 8, "NVIDIA H100", 80 * gib},
}

// has reports whether an instance has what a unit needs.
func (i instance) has(n ir.Resources) bool {
	return n.MilliCPU <= i.cores*1000 && n.Memory <= i.memory && n.GPU <= i.gpus && n.GPUMemory <= i.gpuMemory &&
		(n.GPUModel == "" || ir.IsModel(i.model, n.GPUModel))
}

// trainingInstance returns the type of instance of a unit's training jobs: the one that the target
// names, or the first that has what the unit needs, or "".
func (s Settings) trainingInstance(n ir.Resources) string {
	if s.Jobs.Instance != "" {
		return s.Jobs.Instance
	}
	if i := slices.IndexFunc(instances, func(i instance) bool { return i.has(n) }); i >= 0 {
		return instances[i].name
	}
	return ""
}

// instanceFaults reports what an instance that the target names lacks. Nothing is known of types
// that Tenon does not choose from.
func (c *checks) instanceFaults(u ir.Unit) {
	name := c.settings.trainingInstance(u.Needs)
	if name == "" {
		c.Fault("needs", "request less, or name a type: jobs: instance: \"ml.p5en.48xlarge\"", "Tenon knows no instance of SageMaker that has them")
		return
	}
	i := slices.IndexFunc(instances, func(i instance) bool { return i.name == name })
	if i >= 0 && !instances[i].has(u.Needs) {
		c.Fault("needs", "request less, or name another type in jobs: instance of the target", "an instance %s has %d cores, %d GiB%s", name, instances[i].cores, instances[i].memory/gib, instances[i].gpuText())
	}
}

// gpuText describes the GPUs of an instance: " and 4 x NVIDIA T4 with 16 GiB".
func (i instance) gpuText() string {
	if i.gpus == 0 {
		return " and no GPU"
	}
	return fmt.Sprintf(" and %d x %s with %d GiB", i.gpus, i.model, i.gpuMemory/gib)
}
