package gcptest

import (
	"slices"
	"strconv"
	"strings"
)

type resourceSpec struct {
	Limits map[string]string `json:"limits"`
	Idle   *bool             `json:"cpuIdle"`
}

// What the fake reads of a GPU of a job or a revision. Containers run without one.
type gpuSpec struct {
	Node struct {
		Accelerator string `json:"accelerator"`
	} `json:"nodeSelector"`
	OneZone bool `json:"gpuZonalRedundancyDisabled"`
}

// runGPUs are the GPUs of Cloud Run, with the least cores and memory in MiB, and where they are. Source: "GPU support for
// services" of Cloud Run.
var runGPUs = map[string]struct {
	cores, memory int
	regions       []string
}{
	"nvidia-l4":           {4, 16_384, []string{"asia-south1", "asia-southeast1", "europe-west1", "europe-west4", "us-central1", "us-east4"}},
	"nvidia-rtx-pro-6000": {20, 81_920, []string{"asia-south2", "asia-southeast1", "europe-west4", "us-central1"}},
}

// fits refuses a GPU that Cloud Run does not have.
func (g gpuSpec) fits(region string, r resourceSpec) error {
	count, asked := r.Limits["nvidia.com/gpu"]
	if !asked && g.Node.Accelerator == "" && !g.OneZone {
		return nil
	}
	of, known := runGPUs[g.Node.Accelerator]
	memory, _ := strings.CutSuffix(r.Limits["memory"], "Mi")
	switch {
	case !known:
		return invalid("spec.template.spec.node_selector: the accelerator %q is not supported", g.Node.Accelerator)
	case count != "1":
		return invalid("spec.template.spec.containers.resources.limits.gpu: %q has to be 1", count)
	case !slices.Contains(of.regions, region):
		return invalid("GPU %s is not available in the region %s", g.Node.Accelerator, region)
	case must(strconv.Atoi(r.Limits["cpu"])) < of.cores:
		return invalid("cpu %s is less than %d, which the GPU needs", r.Limits["cpu"], of.cores)
	case must(strconv.Atoi(memory)) < of.memory:
		return invalid("memory %s is less than %d MiB, which the GPU needs", r.Limits["memory"], of.memory)
	case !g.OneZone:
		return invalid("the project has no quota for GPUs with zonal redundancy")
	}
	return nil
}
