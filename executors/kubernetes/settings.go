package kubernetes

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
)

// Settings are the settings of a target, as defined by tenon.#Kubernetes, and of a
// cluster that tenon makes.
type Settings struct {
	Context      string   `json:"context"`
	Namespace    string   `json:"namespace"`
	Store        string   `json:"store"`        // URL, as pods reach it
	StoreSecret  string   `json:"store_secret"` // a Secret whose keys are environment variables for opening the store
	StoreVolume  *Volume  `json:"store_volume"`
	StoreNetwork []string `json:"store_network"` // CIDR
	Registry     string   `json:"registry"`
	Base         string   `json:"base"`
	PullSecrets  []string `json:"pull_secrets"`
	Hosts        string   `json:"hosts"`
	// Service is what makes the cluster, such as "eks", or "" for a cluster that exists.
	Service string `json:"cluster"`
	// Detached holds the settings of a detached apply, or nil.
	Detached     *Detached `json:"detached"`
	ir.Placement           // the default of all units, see [Settings.placement]

	// Cluster is what tenon knows of a cluster that it makes, or nil.
	Cluster *cloud.Cluster `json:"-"`
	// System is the name of the system. It is part of the names of Services.
	System string `json:"-"`
	// Env is the environment, "" for the one without a name. It is part of them too.
	Env string `json:"-"`
	// State is the lineage of the state that records the started tasks. Objects of
	// another lineage are left alone.
	State string `json:"-"`
}

// A Volume is a PersistentVolumeClaim and its mount path in pods.
type Volume struct {
	Claim string `json:"claim"`
	Path  string `json:"path"`
}

// Detached holds what a detached apply needs in addition to the settings of units.
type Detached struct {
	ServiceAccount string `json:"service_account"` // with the rights of [Rights]
	StateSecret    string `json:"state_secret"`    // a Secret whose keys are environment variables for opening the state
}

// SettingsOf decodes the settings of a target.
func SettingsOf(t ir.Target, system string) (Settings, error) {
	s := Settings{System: system}
	return s, executors.DecodeSettings(t, &s)
}

// placement returns the placement of a unit. Fields of the unit override fields of the
// target.
func (s Settings) placement(u ir.Unit) ir.Placement {
	if u.Kubernetes == nil {
		return s.Placement
	}
	p := *u.Kubernetes
	return ir.Placement{
		NodeSelector:   merged(s.NodeSelector, p.NodeSelector),
		Tolerations:    append(s.Tolerations[:len(s.Tolerations):len(s.Tolerations)], p.Tolerations...),
		PriorityClass:  cmp.Or(p.PriorityClass, s.PriorityClass),
		Queue:          cmp.Or(p.Queue, s.Queue),
		ServiceAccount: cmp.Or(p.ServiceAccount, s.ServiceAccount),
		Token:          p.Token || s.Token,
		Labels:         merged(s.Labels, p.Labels),
		Annotations:    merged(s.Annotations, p.Annotations),
		Expose:         p.Expose,
	}
}

// closed reports whether a unit is cut off from the network, except for the store and
// DNS. That is the default of a unit that sets no network, where the target allows it.
func (s Settings) closed(u ir.Unit) bool {
	reads := slices.ContainsFunc(u.Inputs, func(in ir.Input) bool { return in.Kind == ir.EndpointOf })
	return !reads && (u.Network == ir.NetworkNone || u.Network == ir.NetworkUnsaid && s.closes())
}

// closes reports whether the address of the store is known. Otherwise a pod without
// network access could not reach the store.
func (s Settings) closes() bool { return len(s.StoreNetwork) > 0 || s.ofFiles() }

// ofFiles reports whether the store is a folder of a volume.
func (s Settings) ofFiles() bool { return strings.HasPrefix(s.Store, "file:") }

// merged returns the union of the maps. Later maps win.
func merged(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}
