package gcp

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
)

// GKE is the value of `cluster` of a target whose cluster is one of GKE.
const GKE = "gke"

// A Cluster is what tenon.#GKE says about the cluster. In other targets, it is empty.
type Cluster struct {
	Service   string          `json:"cluster"` // [GKE]
	Channel   string          `json:"channel"` // of releases of Kubernetes: "REGULAR"
	Namespace string          `json:"namespace"`
	Pools     map[string]Pool `json:"pools"`
	Access    []string        `json:"access"` // CIDR
}

// A Pool is nodes of one type.
type Pool struct {
	Machine     string            `json:"machine"`     // type of Compute Engine: "g2-standard-4"
	Accelerator string            `json:"accelerator"` // of N1 machines, which have none themselves
	Count       int64             `json:"count"`       // accelerators of a node
	Min         int64             `json:"min"`         // nodes in the region
	Max         int64             `json:"max"`
	Spot        bool              `json:"spot"`
	Zones       []string          `json:"zones"` // nil are those of the region
	Labels      map[string]string `json:"labels"`
	Taints      []Taint           `json:"taints"`
}

// A Taint keeps pods without a toleration away from nodes.
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Effect string `json:"effect"`
}

// An accelerator is a type of GPU, and what NVIDIA calls it.
type accelerator struct {
	model  string
	memory int64 // bytes
}

// accelerators are the GPUs that GKE has, by their names there. Source: "About GPUs in Google Kubernetes Engine".
var accelerators = map[string]accelerator{
	"nvidia-tesla-t4": {"NVIDIA T4", 16 * gib}, "nvidia-tesla-v100": {"NVIDIA V100", 16 * gib}, "nvidia-l4": {"NVIDIA L4", 24 * gib},
	"nvidia-tesla-a100": {"NVIDIA A100", 40 * gib}, "nvidia-a100-80gb": {"NVIDIA A100", 80 * gib}, "nvidia-h100-80gb": {"NVIDIA H100", 80 * gib},
	"nvidia-h200-141gb": {"NVIDIA H200", 141 * gib},
}

// machineFamilies are the types with GPUs of their own: what their names begin with, and the number of GPUs by the rest.
// Source: "GPU machine types" of Compute Engine.
var machineFamilies = []struct {
	family, accelerator string
	gpus                map[string]int64
}{
	{"g2-standard-", "nvidia-l4", map[string]int64{"4": 1, "8": 1, "12": 1, "16": 1, "24": 2, "32": 1, "48": 4, "96": 8}},
	{"a2-highgpu-", "nvidia-tesla-a100", map[string]int64{"1g": 1, "2g": 2, "4g": 4, "8g": 8}},
	{"a2-megagpu-", "nvidia-tesla-a100", map[string]int64{"16g": 16}},
	{"a2-ultragpu-", "nvidia-a100-80gb", map[string]int64{"1g": 1, "2g": 2, "4g": 4, "8g": 8}},
	{"a3-highgpu-", "nvidia-h100-80gb", map[string]int64{"1g": 1, "2g": 2, "4g": 4, "8g": 8}},
	{"a3-ultragpu-", "nvidia-h200-141gb", map[string]int64{"8g": 8}},
}

// gpus returns the name and the number of the GPUs of the nodes of a pool, or "".
func (p Pool) gpus() (name string, count int64) {
	if p.Accelerator != "" {
		return p.Accelerator, max(p.Count, 1)
	}
	for _, m := range machineFamilies {
		if rest, ok := strings.CutPrefix(p.Machine, m.family); ok && m.gpus[rest] > 0 {
			return m.accelerator, m.gpus[rest]
		}
	}
	return "", 0
}

// pools returns those of the target, and one for units without GPU if no other takes them.
func (s Settings) pools() map[string]Pool {
	all := maps.Clone(s.Pools)
	for _, p := range all {
		if name, _ := p.gpus(); name == "" {
			return all
		}
	}
	if all == nil {
		all = map[string]Pool{}
	}
	all["units"] = Pool{Machine: "e2-standard-4", Max: 8}
	return all
}

// ClusterOf returns what the executor for Kubernetes has to know of the cluster of a target of tenon.#GKE.
func ClusterOf(t ir.Target, system, env string) (*cloud.Cluster, error) {
	s, err := SettingsOf(t)
	if err != nil {
		return nil, err
	}
	w := newWriter(&ir.System{Name: system, Env: env, Target: t}, s)
	c := &cloud.Cluster{
		Name:     strings.Join([]string{GKE, s.Project, s.Region, w.prefix}, "/"),
		Store:    "gs://" + w.bucket() + "/" + w.root,
		Registry: s.Region + "-docker.pkg.dev/" + s.Project + "/" + w.repository(),
		Identity: []string{"169.254.169.254/32"}, // of the server of metadata
		Undisturbed: map[string]string{
			// The autoscaler would move pods of nodes that are used little.
			"cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
		},
	}
	pools := s.pools()
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		if gpu, n := pools[name].gpus(); gpu != "" {
			c.Pools = append(c.Pools, cloud.Pool{Name: name, GPUs: n, Model: accelerators[gpu].model, Memory: accelerators[gpu].memory})
		}
	}
	c.Faults = s.clusterFaults()
	return c, nil
}

// clusterFaults returns one fault for each field of a target of tenon.#GKE that cannot be honoured.
func (s Settings) clusterFaults() (faults []ir.Fault) {
	fault := func(field, hint, format string, args ...any) {
		faults = append(faults, ir.Fault{Field: field, Message: fmt.Sprintf(format, args...), Hint: hint, Target: true})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Pools)) {
		p, at := s.Pools[name], "pools."+name
		kind, _, _ := strings.Cut(p.Machine, "-")
		gpu, _ := p.gpus()
		switch {
		case p.Accelerator != "" && kind != "n1":
			fault(at+".accelerator", "remove accelerator, or choose a machine such as n1-standard-4", "only N1 machines take accelerators, and %s is another one", p.Machine)
		case gpu == "" && slices.Contains([]string{"a2", "a3", "a4", "a4x", "g2", "g4"}, kind):
			fault(at+".machine", "choose another one, such as g2-standard-4 or a2-highgpu-1g", "Tenon does not know the GPUs of %s", p.Machine)
		}
		if p.Min > p.Max {
			fault(at+".min", "choose at most max", "%d nodes at least are more than %d at most", p.Min, p.Max)
		}
	}
	return faults
}
