package azure

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
)

// A machine is a size of virtual machines of which a cluster of Azure Machine Learning may consist. [sizes] has its GPUs.
type machine struct {
	size   string // "Standard_NC4as_T4_v3"
	cores  int64
	memory int64 // GiB
	disk   int64 // GiB, of the temporary disk, where images, inputs and files are
}

// machines are those that Tenon chooses from, the cheapest first, those without GPUs before the others. Sources: "Sizes
// for virtual machines in Azure", and the supported sizes in "What are compute targets in Azure Machine Learning".
var machines = []machine{
	{"Standard_D2ds_v4", 2, 8, 75},
	{"Standard_D4ds_v4", 4, 16, 150},
	{"Standard_D8ds_v4", 8, 32, 300},
	{"Standard_E8s_v3", 8, 64, 128},
	{"Standard_D16ds_v4", 16, 64, 600},
	{"Standard_E16s_v3", 16, 128, 256},
	{"Standard_D32ds_v4", 32, 128, 1200},
	{"Standard_E32s_v3", 32, 256, 512},
	{"Standard_D64ds_v4", 64, 256, 2400},
	{"Standard_E64s_v3", 64, 432, 864},
	{"Standard_NC4as_T4_v3", 4, 28, 180},
	{"Standard_NC8as_T4_v3", 8, 56, 360},
	{"Standard_NC16as_T4_v3", 16, 110, 360},
	{"Standard_NC24ads_A100_v4", 24, 220, 64},
	{"Standard_NC64as_T4_v3", 64, 440, 2880},
	{"Standard_NC40ads_H100_v5", 40, 320, 128},
	{"Standard_NC48ads_A100_v4", 48, 440, 128},
	{"Standard_NC80adis_H100_v5", 80, 640, 256},
	{"Standard_NC96ads_A100_v4", 96, 880, 256},
	{"Standard_ND96asr_v4", 96, 900, 6000},
	{"Standard_ND96amsr_A100_v4", 96, 1900, 6400},
	{"Standard_ND96isr_H100_v5", 96, 1900, 1000},
}

// imageDisk is how much of the temporary disk is left for images and inputs, in GiB.
const imageDisk = 30

// gpus returns the GPUs of a machine.
func (m machine) gpus() cloud.Pool { return sizes[strings.ToLower(m.size)] }

// has reports whether a machine has what a unit needs. One without GPUs does not get a machine with some.
func (m machine) has(n ir.Resources) bool {
	g := m.gpus()
	return n.MilliCPU <= m.cores*1000 && n.Memory <= m.memory*gib && n.Disk <= (m.disk-imageDisk)*gib && n.GPU <= g.GPUs && (n.GPU > 0) == (g.GPUs > 0) &&
		n.GPUMemory <= g.Memory && (n.GPUModel == "" || ir.IsModel(g.Model, n.GPUModel))
}

// machineFor returns the first machine that has what a unit needs.
func machineFor(n ir.Resources) (m machine, ok bool) {
	i := slices.IndexFunc(machines, func(m machine) bool { return m.has(n) })
	if i < 0 {
		return m, false
	}
	return machines[i], true
}

// text describes a machine: "Standard_NC4as_T4_v3 with 1 x NVIDIA T4".
func (m machine) text() string {
	if g := m.gpus(); g.GPUs > 0 {
		return fmt.Sprintf("%s with %d x %s", m.size, g.GPUs, g.Model)
	}
	return m.size
}

// ml reports what no command job of Azure Machine Learning has.
func (c *checks) ml(u ir.Unit) {
	if _, ok := machineFor(u.Needs); !ok {
		last := machines[len(machines)-1]
		c.Fault("needs", "request less, or another GPU", "Tenon knows no machine of Azure Machine Learning that has them; the largest is %s, with %d GiB", last.text(), last.memory)
	}
	if !open(&u) {
		c.Fault("network", "write network: true, or choose another target", "a job of Azure Machine Learning reaches the Internet")
	}
	if u.Timeout > longestTime {
		c.Fault("timeout", "write at most 168h", "tenon lets a job on Azure Machine Learning run for at most 168 hours")
	}
	for _, x := range u.Secrets {
		c.Fault(u.SecretField(x), "let the program read it from Key Vault, or choose another target", "only units on Container Apps get secrets")
	}
}
