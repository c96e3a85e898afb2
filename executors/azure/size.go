package azure

import (
	"slices"
	"strconv"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A container with the workload profile Consumption has a quarter of a core up to 4 cores, in quarters, with 2 GiB for
// each core. Source: "Containers in Azure Container Apps".
const (
	quarter     = 250     // thousandths of a core
	most        = 4000    // thousandths of a core
	perCore     = 2 << 30 // bytes
	usualSize   = 1000    // thousandths of a core of a unit that says nothing
	longestTime = 7 * 24 * time.Hour
	mostDisk    = 8 << 30 // bytes, with more than one core
)

// size returns the smallest container that has what a unit needs, in thousandths of a core. Files are on the disk of
// the container, whose size follows from its cores: 1 GiB for a quarter, 2 for a half, 4 for one core, and otherwise 8.
func size(n ir.Resources) (milli int64, ok bool) {
	milli = usualSize
	if n.MilliCPU > 0 || n.Memory > 0 {
		milli = max(n.MilliCPU, (n.Memory*1000+perCore-1)/perCore, 1)
	}
	for milli = (milli + quarter - 1) / quarter * quarter; milli <= most; milli += quarter {
		if n.Disk <= diskOf(milli) {
			return milli, true
		}
	}
	return 0, false
}

func diskOf(milli int64) int64 {
	switch {
	case milli <= 250:
		return 1 << 30
	case milli <= 500:
		return 2 << 30
	case milli <= 1000:
		return 4 << 30
	}
	return mostDisk
}

// memoryOf writes the memory of a container with the profile Consumption as Container Apps do: "3Gi".
func memoryOf(milli int64) string {
	return strconv.FormatFloat(float64(milli)*2/1000, 'f', -1, 64) + "Gi"
}

// A container is what a unit gets of a workload profile.
type container struct {
	profile string
	milli   int64  // thousandths of a core
	memory  string // "3Gi"
}

// consumption is the workload profile of units without GPUs, which pay for what they use.
const consumption = "Consumption"

// A gpuProfile is a workload profile with one GPU for each container, which pays for what it uses.
type gpuProfile struct {
	name, kind string // of the profile, and its type
	cores      int64
	memory     int64  // GiB
	model      string // of the GPU
	gpuMemory  int64  // GiB
}

// gpuProfiles are those that there are, the cheapest first. Source: "Using serverless GPUs in Azure Container Apps".
var gpuProfiles = []gpuProfile{
	{"gpu-t4", "Consumption-GPU-NC8as-T4", 8, 56, "NVIDIA T4", 16},
	{"gpu-a100", "Consumption-GPU-NC24-A100", 24, 220, "NVIDIA A100", 80},
}

// gpuProfileFor returns the first profile that has what a unit with a GPU needs.
func gpuProfileFor(n ir.Resources) (gpuProfile, bool) {
	i := slices.IndexFunc(gpuProfiles, func(p gpuProfile) bool {
		return n.GPU == 1 && n.MilliCPU <= p.cores*1000 && n.Memory <= p.memory<<30 && n.GPUMemory <= p.gpuMemory<<30 &&
			n.Disk <= mostDisk && ir.IsModel(p.model, n.GPUModel)
	})
	if i < 0 {
		return gpuProfile{}, false
	}
	return gpuProfiles[i], true
}

// containerFor returns the smallest container that has what a unit needs.
func containerFor(n ir.Resources) (container, bool) {
	if n.GPU > 0 {
		p, ok := gpuProfileFor(n)
		return container{p.name, p.cores * 1000, strconv.FormatInt(p.memory, 10) + "Gi"}, ok
	}
	milli, ok := size(n)
	return container{consumption, milli, memoryOf(milli)}, ok
}
