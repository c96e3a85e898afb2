package gcp

import (
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A machine is a type of virtual machine on which Vertex AI runs custom jobs, with its GPUs.
type machine struct {
	name        string // "g2-standard-4"
	cores       int64
	memory      int64  // GiB
	accelerator string // as Vertex AI calls the GPU
	gpus        int64
	model       string // of each GPU
	gpuMemory   int64  // GiB, of each GPU
}

const gib = 1 << 30

// machines are those that Tenon chooses from, the cheapest first. Sources: "GPU machine types" of Compute Engine, and
// "Configure compute resources for training" of Vertex AI.
var machines = []machine{
	{"n1-standard-4", 4, 15, "NVIDIA_TESLA_T4", 1, "NVIDIA T4", 16},
	{"n1-standard-8", 8, 30, "NVIDIA_TESLA_T4", 1, "NVIDIA T4", 16},
	{"g2-standard-4", 4, 16, "NVIDIA_L4", 1, "NVIDIA L4", 24},
	{"g2-standard-8", 8, 32, "NVIDIA_L4", 1, "NVIDIA L4", 24},
	{"g2-standard-12", 12, 48, "NVIDIA_L4", 1, "NVIDIA L4", 24},
	{"g2-standard-16", 16, 64, "NVIDIA_L4", 1, "NVIDIA L4", 24},
	{"g2-standard-32", 32, 128, "NVIDIA_L4", 1, "NVIDIA L4", 24},
	{"g2-standard-24", 24, 96, "NVIDIA_L4", 2, "NVIDIA L4", 24},
	{"a2-highgpu-1g", 12, 85, "NVIDIA_TESLA_A100", 1, "NVIDIA A100", 40},
	{"g2-standard-48", 48, 192, "NVIDIA_L4", 4, "NVIDIA L4", 24},
	{"a2-ultragpu-1g", 12, 170, "NVIDIA_A100_80GB", 1, "NVIDIA A100", 80},
	{"a2-highgpu-2g", 24, 170, "NVIDIA_TESLA_A100", 2, "NVIDIA A100", 40},
	{"g2-standard-96", 96, 384, "NVIDIA_L4", 8, "NVIDIA L4", 24},
	{"a2-ultragpu-2g", 24, 340, "NVIDIA_A100_80GB", 2, "NVIDIA A100", 80},
	{"a2-highgpu-4g", 48, 340, "NVIDIA_TESLA_A100", 4, "NVIDIA A100", 40},
	{"a2-ultragpu-4g", 48, 680, "NVIDIA_A100_80GB", 4, "NVIDIA A100", 80},
	{"a2-highgpu-8g", 96, 680, "NVIDIA_TESLA_A100", 8, "NVIDIA A100", 40},
	{"a2-ultragpu-8g", 96, 1360, "NVIDIA_A100_80GB", 8, "NVIDIA A100", 80},
	{"a3-highgpu-8g", 208, 1872, "NVIDIA_H100_80GB", 8, "NVIDIA H100", 80},
}

// has reports whether a machine has what a unit needs.
func (m machine) has(n ir.Resources) bool {
	return n.MilliCPU <= m.cores*1000 && n.Memory <= m.memory*gib && n.GPU <= m.gpus && n.GPUMemory <= m.gpuMemory*gib &&
		(n.GPUModel == "" || ir.IsModel(m.model, n.GPUModel))
}

// machineOf returns the first machine that has what a unit needs.
func machineOf(n ir.Resources) (m machine, ok bool) {
	i := slices.IndexFunc(machines, func(m machine) bool { return m.has(n) })
	if i < 0 {
		return m, false
	}
	return machines[i], true
}

// Disks of custom jobs, in GB.
const (
	usualDisk = 100 // with the image
	mostDisk  = 64_000
)

// disk returns the size of the disk of a custom job: what a unit may write, and room for images and inputs.
func disk(n ir.Resources) int64 { return usualDisk + (n.Disk+gib-1)/gib*11/10 }

// vertex reports what no custom job of Vertex AI has.
func (c *checks) vertex(u ir.Unit) {
	if _, ok := machineOf(u.Needs); !ok {
		c.Fault("needs", "request less, or another GPU", "Tenon knows no machine of Vertex AI that has them; the largest is %s, with %d GiB", machines[len(machines)-1].text(), machines[len(machines)-1].memory)
	}
	if disk(u.Needs) > mostDisk {
		c.Fault("needs.disk", "request less", "a disk of a custom job has at most %d GB", mostDisk)
	}
	if u.Timeout > mostTime {
		c.Fault("timeout", "write at most 168h", "a custom job of Vertex AI ends after 7 days")
	}
}

// text describes a machine: "g2-standard-4 with 1 x NVIDIA L4".
func (m machine) text() string { return fmt.Sprintf("%s with %d x %s", m.name, m.gpus, m.model) }
