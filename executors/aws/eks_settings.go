package aws

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
)

// EKS is the value of `cluster` of a target whose cluster is one of EKS.
const EKS = "eks"

// A Cluster is what tenon.#EKS says about the cluster. In other targets, it is empty.
type Cluster struct {
	Service   string          `json:"cluster"` // [EKS]
	Version   string          `json:"version"` // of Kubernetes: "1.34"
	Namespace string          `json:"namespace"`
	Pools     map[string]Pool `json:"pools"`
	Access    []string        `json:"access"` // CIDR
	Admins    []string        `json:"admins"` // ARNs
	Ingress   *Ingress        `json:"ingress"`
}

// A Pool is nodes of one type, which exist while pods need them.
type Pool struct {
	Instance string            `json:"instance"` // of EC2: "g5.xlarge"
	Max      int64             `json:"max"`      // nodes
	Spot     bool              `json:"spot"`
	Idle     string            `json:"idle"` // how long a node stays that no pod needs: "5m"
	Labels   map[string]string `json:"labels"`
	Taints   []Taint           `json:"taints"`
}

// A Taint keeps pods without a toleration away from nodes.
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Effect string `json:"effect"`
}

// An Ingress says how load balancers are made for what units expose.
type Ingress struct {
	Certificates []string `json:"certificates"` // ARNs of ACM
	Internal     bool     `json:"internal"`
}

// families are the GPUs of types of EC2 that EKS Auto Mode starts. Their number follows from the size of the
// type. Source: "Amazon EC2 instance types", accelerated computing.
var families = map[string]struct {
	model  string
	memory int64 // bytes, of each
	gpus   map[string]int64
	all    int64 // of sizes that gpus does not have
}{
	"g4dn": {"NVIDIA T4", 16 * gib, map[string]int64{"12xlarge": 4}, 1},
	"g5":   {"NVIDIA A10G", 24 * gib, map[string]int64{"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}, 1},
	"g6":   {"NVIDIA L4", 24 * gib, map[string]int64{"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}, 1},
	"g6e":  {"NVIDIA L40S", 48 * gib, map[string]int64{"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}, 1},
	"p4d":  {"NVIDIA A100", 40 * gib, nil, 8},
	"p4de": {"NVIDIA A100", 80 * gib, nil, 8},
	"p5":   {"NVIDIA H100", 80 * gib, map[string]int64{"4xlarge": 1}, 8},
	"p5e":  {"NVIDIA H200", 141 * gib, nil, 8},
	"p5en": {"NVIDIA H200", 141 * gib, nil, 8},
}

// gpus returns the GPUs of the nodes of a pool.
func (p Pool) gpus(name string) (clouds.Pool, bool) {
	family, size, _ := strings.Cut(p.Instance, ".")
	f, ok := families[family]
	if !ok {
		return clouds.Pool{}, false
	}
	n := f.gpus[size]
	if n == 0 {
		n = f.all
	}
	return clouds.Pool{Name: name, GPUs: n, Model: f.model, Memory: f.memory}, true
}

// cores returns the number of cores of a node, which follows from the size in the name of its type:
// 2 of a large one, and 4 for each "xlarge". It is 0 if nothing follows.
func (p Pool) cores() int64 {
	_, size, _ := strings.Cut(p.Instance, ".")
	switch size {
	case "large":
		return 2
	case "xlarge":
		return 4
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(size, "xlarge"), 10, 64)
	if err != nil || !strings.HasSuffix(size, "xlarge") {
		return 0
	}
	return 4 * n
}

// unsupported are families with accelerators that Tenon does not know. A pod of a unit with GPUs would
// never find them.
var unsupported = []string{"p", "g", "gr", "inf", "trn", "dl", "vt", "f"}

// ClusterOf returns what the executor for Kubernetes has to know of the cluster of a target of tenon.#EKS.
func ClusterOf(t ir.Target, system, env string) (*clouds.Cluster, error) {
	s, err := SettingsOf(t)
	if err != nil {
		return nil, err
	}
	w := newWriter(&ir.System{Name: system, Env: env, Target: t}, s)
	c := &clouds.Cluster{
		Name:     strings.Join([]string{EKS, s.Account, s.Region, w.prefix}, "/"),
		Store:    "s3://" + w.bucketName(s.Account, s.Region) + "/" + w.root + "?region=" + s.Region,
		Registry: registryOf(s.Account, s.Region, partitionOf(s.Region)) + "/" + w.prefix,
		Identity: []string{"169.254.170.23/32"}, // of the agent of EKS Pod Identity
		// Nodes of the pools of EKS are replaced by smaller ones while their pods run.
		Undisturbed: map[string]string{"karpenter.sh/do-not-disrupt": "true"},
		Owned:       []string{nodePools},
		Secretless:  "a load balancer of AWS takes certificates from ACM, and not from a Secret",
	}
	for _, name := range sortedKeys(s.Pools) {
		p := s.Pools[name]
		found, gpus := p.gpus(name)
		if gpus {
			c.Pools = append(c.Pools, found)
		}
		c.Objects = append(c.Objects, p.object(name, gpus))
	}
	c.Faults = s.clusterFaults()
	if s.Ingress != nil {
		c.Objects = append(c.Objects, s.Ingress.objects()...)
	}
	return c, nil
}

// clusterFaults returns one fault for each field of a target of tenon.#EKS that cannot be honoured.
func (s Settings) clusterFaults() (faults []ir.Fault) {
	fault := func(field, hint, format string, args ...any) {
		faults = append(faults, ir.Fault{Field: field, Message: fmt.Sprintf(format, args...), Hint: hint, Target: true})
	}
	for _, name := range sortedKeys(s.Pools) {
		p, field := s.Pools[name], "pools."+name+".instance"
		family, _, _ := strings.Cut(p.Instance, ".")
		kind := strings.TrimRight(family, "abcdefghijklmnopqrstuvwxyz-") // "g5" of "g5g"
		kind = strings.TrimRight(kind, "0123456789")
		if p.cores() == 0 {
			fault(field, `choose a size such as "xlarge"`, "the number of cores of %s, which limits the pool, does not follow from its name", p.Instance)
		} else if _, gpus := p.gpus(name); !gpus && slices.Contains(unsupported, kind) {
			fault(field, "choose one of the families "+strings.Join(slices.Sorted(maps.Keys(families)), ", "), "Tenon does not know the accelerators of %s", p.Instance)
		}
	}
	if s.Existing.Network != nil {
		return faults
	}
	return append(faults, checkCIDR(s.CIDR)...)
}
