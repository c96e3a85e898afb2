package azure

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
)

// AKS is the value of `cluster` of a target whose cluster is one of AKS.
const AKS = "aks"

// A Cluster is what tenon.#AKS says about the cluster. In other targets, it is empty.
type Cluster struct {
	Service   string          `json:"cluster"` // [AKS]
	Version   string          `json:"version"` // of Kubernetes: "1.34"
	Namespace string          `json:"namespace"`
	Pools     map[string]Pool `json:"pools"`
	Access    []string        `json:"access"`        // CIDR
	Admins    []string        `json:"admins"`        // object ids of Microsoft Entra
	Plugin    string          `json:"device_plugin"` // image
}

// A Pool is nodes of one type.
type Pool struct {
	Size   string            `json:"size"` // of virtual machines: "Standard_NC24ads_A100_v4"
	Min    int64             `json:"min"`  // nodes
	Max    int64             `json:"max"`
	Spot   bool              `json:"spot"`
	Zones  []string          `json:"zones"` // nil leaves them to Azure
	Labels map[string]string `json:"labels"`
	Taints []Taint           `json:"taints"`
}

// A Taint keeps pods without a toleration away from nodes.
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Effect string `json:"effect"`
}

const gib = 1 << 30

// sizes are the GPUs of virtual machines, by size in lower case. Sizes with a part of a GPU are not among them. Source:
// "GPU accelerated virtual machine sizes" of Azure.
var sizes = map[string]cloud.Pool{
	"standard_nc4as_t4_v3":      {GPUs: 1, Model: "NVIDIA T4", Memory: 16 * gib},
	"standard_nc8as_t4_v3":      {GPUs: 1, Model: "NVIDIA T4", Memory: 16 * gib},
	"standard_nc16as_t4_v3":     {GPUs: 1, Model: "NVIDIA T4", Memory: 16 * gib},
	"standard_nc64as_t4_v3":     {GPUs: 4, Model: "NVIDIA T4", Memory: 16 * gib},
	"standard_nv36ads_a10_v5":   {GPUs: 1, Model: "NVIDIA A10", Memory: 24 * gib},
	"standard_nv72ads_a10_v5":   {GPUs: 2, Model: "NVIDIA A10", Memory: 24 * gib},
	"standard_nc24ads_a100_v4":  {GPUs: 1, Model: "NVIDIA A100", Memory: 80 * gib},
	"standard_nc48ads_a100_v4":  {GPUs: 2, Model: "NVIDIA A100", Memory: 80 * gib},
	"standard_nc96ads_a100_v4":  {GPUs: 4, Model: "NVIDIA A100", Memory: 80 * gib},
	"standard_nd96asr_v4":       {GPUs: 8, Model: "NVIDIA A100", Memory: 40 * gib},
	"standard_nd96amsr_a100_v4": {GPUs: 8, Model: "NVIDIA A100", Memory: 80 * gib},
	"standard_nc40ads_h100_v5":  {GPUs: 1, Model: "NVIDIA H100 NVL", Memory: 94 * gib},
	"standard_nc80adis_h100_v5": {GPUs: 2, Model: "NVIDIA H100 NVL", Memory: 94 * gib},
	"standard_nd96isr_h100_v5":  {GPUs: 8, Model: "NVIDIA H100", Memory: 80 * gib},
	"standard_nd96isr_h200_v5":  {GPUs: 8, Model: "NVIDIA H200", Memory: 141 * gib},
}

// gpus returns the GPUs of the nodes of a pool, if they have any.
func (p Pool) gpus(name string) (cloud.Pool, bool) {
	is, ok := sizes[strings.ToLower(p.Size)]
	is.Name = name
	return is, ok
}

// pools returns those of the target, and one for units without GPU if no other takes them.
func (s Settings) pools() map[string]Pool {
	all := maps.Clone(s.Pools)
	for _, p := range all {
		if _, gpus := p.gpus(""); !gpus {
			return all
		}
	}
	if all == nil {
		all = map[string]Pool{}
	}
	all["units"] = Pool{Size: "Standard_D4s_v5", Max: 8}
	return all
}

// ClusterOf returns what the executor for Kubernetes has to know of the cluster of a target of tenon.#AKS.
func ClusterOf(t ir.Target, system, env string) (*cloud.Cluster, error) {
	s, err := SettingsOf(t)
	if err != nil {
		return nil, err
	}
	w := newWriter(&ir.System{Name: system, Env: env, Target: t}, s)
	c := &cloud.Cluster{
		Name:        strings.Join([]string{AKS, s.Subscription, s.Group, w.prefix}, "/"),
		Store:       w.folderURL(),
		Registry:    strings.ToLower(w.registry()) + ".azurecr.io/" + w.prefix,
		Undisturbed: map[string]string{"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
		// The webhook of Microsoft Entra Workload ID gives them the token of their service account.
		Labels: map[string]string{"azure.workload.identity/use": "true"},
		Owned:  []string{daemons},
		Faults: s.clusterFaults(),
	}
	pools := s.pools()
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		p := pools[name]
		if found, gpus := p.gpus(name); gpus {
			c.Pools = append(c.Pools, found)
		}
		if p.Spot && c.Tolerations == nil {
			c.Tolerations = []ir.Toleration{{Key: taintSpot.Key, Value: taintSpot.Value, Effect: taintSpot.Effect}}
		}
	}
	if len(c.Pools) > 0 {
		c.Objects = append(c.Objects, devicePlugin(s.Plugin, c.Pools))
	}
	return c, nil
}

// clusterFaults returns one fault for each field of a target of tenon.#AKS that cannot be honoured.
func (s Settings) clusterFaults() (faults []ir.Fault) {
	fault := func(field, hint, format string, args ...any) {
		faults = append(faults, ir.Fault{Field: field, Message: fmt.Sprintf(format, args...), Hint: hint, Target: true})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Pools)) {
		p, at := s.Pools[name], "pools."+name
		if _, gpus := p.gpus(name); !gpus && strings.HasPrefix(strings.ToLower(p.Size), "standard_n") {
			fault(at+".size", "choose another one, such as Standard_NC4as_T4_v3 or Standard_NC24ads_A100_v4", "Tenon does not know the GPUs of %s, or it has a part of one", p.Size)
		}
		if p.Min > p.Max {
			fault(at+".min", "choose at most max", "%d nodes at least are more than %d at most", p.Min, p.Max)
		}
	}
	return faults
}
