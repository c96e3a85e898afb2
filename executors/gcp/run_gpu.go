package gcp

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
)

// A runGPU is a kind of GPU that an instance of Cloud Run may have, at most one of them.
type runGPU struct {
	accelerator string // as Cloud Run calls it
	model       string
	memory      int64 // GiB, of the GPU
	sizes       []containerSize
	regions     []string
	second      money.Amount // price of a second in regions of tier 1 without zonal redundancy, or 0 if it is not known
}

// runGPUs are those of Cloud Run, the cheapest first. Source: "GPU support for services" and "Configure GPUs for Cloud Run
// jobs": the least cores and memory, and the regions. Of the larger GPU only the least size is documented. The
// page says that asia-south1, asia-south2 and, for the L4, us-central1 need an invitation. The price is that of "Cloud Run pricing".
var runGPUs = []runGPU{
	{
		"nvidia-l4", "NVIDIA L4", 24, []containerSize{{4, 16_384, 16_384}, {6, 16_384, 24_576}, {8, 16_384, 32_768}},
		[]string{"asia-south1", "asia-southeast1", "europe-west1", "europe-west4", "us-central1", "us-east4"}, 186_700,
	},
	{
		"nvidia-rtx-pro-6000", "NVIDIA RTX PRO 6000", 96, []containerSize{{20, 81_920, 81_920}},
		[]string{"asia-south2", "asia-southeast1", "europe-west4", "us-central1"}, 0,
	},
}

const gpuJobTime = time.Hour // the longest that a task of a job with a GPU may take

// A container is what Cloud Run gives a unit: cores, and memory in MiB.
type container struct {
	cores, memory int64
	gpu           *runGPU // nil without one
}

// containerOf returns the smallest container of Cloud Run that has what a unit needs.
func containerOf(n ir.Resources) (c container, ok bool) {
	if n.GPU == 0 {
		c.cores, c.memory, ok = size(n)
		return c, ok
	}
	for i := range runGPUs {
		g := &runGPUs[i]
		if n.GPU > 1 || n.GPUMemory > g.memory*gib || n.GPUModel != "" && !ir.IsModel(g.model, n.GPUModel) {
			continue
		}
		if c.cores, c.memory, ok = sizeIn(g.sizes, n); ok {
			c.gpu = g
			return c, true
		}
	}
	return c, false
}

// limits returns the limits of a container, as Cloud Run writes them.
func (c container) limits() map[string]string {
	all := map[string]string{"cpu": strconv.FormatInt(c.cores, 10), "memory": strconv.FormatInt(c.memory, 10) + "Mi"}
	if c.gpu != nil {
		all["nvidia.com/gpu"] = "1"
	}
	return all
}

// mostTime returns how long a job may take.
func (c container) mostTime() time.Duration {
	if c.gpu != nil {
		return gpuJobTime
	}
	return mostTime
}

// node returns what selects the GPU of a container, and that it is in one zone, which costs less and has a quota without a
// request: nil and false without a GPU.
func (c container) node() (at *runNode, oneZone bool) {
	if c.gpu == nil {
		return nil, false
	}
	return &runNode{c.gpu.accelerator}, true
}

// runGPU reports what no GPU of Cloud Run has. The hint says where else the unit may run.
func (c *checks) runGPU(u ir.Unit, elsewhere string) {
	at, ok := containerOf(u.Needs)
	var models []string
	for _, g := range runGPUs {
		models = append(models, g.model+" with "+strconv.FormatInt(g.memory, 10)+" GiB")
	}
	switch {
	case u.Needs.GPU > 1:
		c.Fault("needs.gpu.count", elsewhere, "an instance of Cloud Run has at most one GPU")
	case !ok:
		c.Fault("needs", "request less, or "+elsewhere, "no instance of Cloud Run has them: with a GPU it has 4 to 8 cores and 16 to 32 GiB for memory and files, or 20 cores and 80 GiB, and the GPU is an %s", strings.Join(models, " or an "))
	case !slices.Contains(at.gpu.regions, c.settings.Region):
		c.Fault("needs.gpu", "choose one of these regions in the target, or "+elsewhere, "Cloud Run has the GPU %s in %s, and not in %s", at.gpu.model, strings.Join(at.gpu.regions, ", "), c.settings.Region)
	}
}
