package aws

import (
	"maps"
	"strconv"

	clouds "github.com/tenon-ml/tenon/executors/cloud"
)

// nodePools is the path of the pools of nodes of EKS Auto Mode, which are those of Karpenter.
const nodePools = "/apis/karpenter.sh/v1/nodepools"

// object returns the pool as an object of the cluster. EKS starts a node when a pod waits that fits on it, until
// the nodes have the cores of the largest number of nodes, and ends it once it has been empty for a while.
// gpus says that nodes have GPUs: only pods of units that need some run there.
func (p Pool) object(name string, gpus bool) clouds.Object {
	capacity := "on-demand"
	if p.Spot {
		capacity = "spot"
	}
	labels := map[string]any{clouds.LabelPool: name}
	for k, v := range p.Labels {
		labels[k] = v
	}
	var taints []any
	if gpus {
		taints = append(taints, map[string]any{"key": clouds.TaintGPU, "effect": "NoSchedule"})
	}
	for _, t := range p.Taints {
		x := map[string]any{"key": t.Key, "effect": t.Effect}
		if t.Value != "" {
			x["value"] = t.Value
		}
		taints = append(taints, x)
	}
	in := func(key, value string) any {
		return map[string]any{"key": key, "operator": "In", "values": []any{value}}
	}
	spec := map[string]any{
		"nodeClassRef": map[string]any{"group": "eks.amazonaws.com", "kind": "NodeClass", "name": "default"},
		"requirements": []any{in("node.kubernetes.io/instance-type", p.Instance), in("karpenter.sh/capacity-type", capacity)},
	}
	if len(taints) > 0 {
		spec["taints"] = taints
	}
	return clouds.Object{Path: nodePools + "/" + poolName(name), Content: map[string]any{
		"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": map[string]any{"name": poolName(name)},
		"spec": map[string]any{
			"limits":     map[string]any{"cpu": strconv.FormatInt(p.Max*p.cores(), 10)},
			"disruption": map[string]any{"consolidationPolicy": "WhenEmpty", "consolidateAfter": p.Idle},
			"template":   map[string]any{"metadata": map[string]any{"labels": labels}, "spec": spec},
		},
	}}
}

// poolName keeps pools apart from those of EKS, "system" and "general-purpose".
func poolName(name string) string { return "tenon-" + name }

// ingressClass is the name of the class of every Ingress that names none.
const ingressClass = "tenon"

// objects returns the class of Ingresses, for which EKS makes load balancers with TLS. They send requests to the
// pods themselves.
func (i Ingress) objects() []clouds.Object {
	scheme := "internet-facing"
	if i.Internal {
		scheme = "internal"
	}
	certificates := make([]any, len(i.Certificates))
	for n, arn := range i.Certificates {
		certificates[n] = arn
	}
	meta := map[string]any{"name": ingressClass}
	byDefault := maps.Clone(meta)
	byDefault["annotations"] = map[string]any{"ingressclass.kubernetes.io/is-default-class": "true"}
	return []clouds.Object{
		{Path: "/apis/eks.amazonaws.com/v1/ingressclassparams/" + ingressClass, Content: map[string]any{
			"apiVersion": "eks.amazonaws.com/v1", "kind": "IngressClassParams", "metadata": meta,
			"spec": map[string]any{"scheme": scheme, "targetType": "ip", "certificateARNs": certificates},
		}},
		{Path: "/apis/networking.k8s.io/v1/ingressclasses/" + ingressClass, Content: map[string]any{
			"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": byDefault,
			"spec": map[string]any{"controller": "eks.amazonaws.com/alb", "parameters": map[string]any{"apiGroup": "eks.amazonaws.com", "kind": "IngressClassParams", "name": ingressClass}},
		}},
	}
}
