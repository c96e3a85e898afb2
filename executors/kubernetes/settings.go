package kubernetes

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// Settings are what a target says, as tenon.#Kubernetes has it.
type Settings struct {
	Context      string   `json:"context"`
	Namespace    string   `json:"namespace"`
	Store        string   `json:"store"`        // URL, as pods reach it
	StoreSecret  string   `json:"store_secret"` // a Secret whose keys are variables that the store is opened with
	StoreVolume  *Volume  `json:"store_volume"`
	StoreNetwork []string `json:"store_network"` // CIDR
	Registry     string   `json:"registry"`
	Base         string   `json:"base"`
	PullSecrets  []string `json:"pull_secrets"`
	Hosts        string   `json:"hosts"`
	// Detached is what a plan is walked with in the cluster, or nil.
	Detached     *Detached `json:"detached"`
	ir.Placement           // of all units, see [Settings.placement]

	// System is the name of the system. Services have it in their names.
	System string `json:"-"`
	// State is the lineage of the state that tells of what is started. What is another's
	// is left alone.
	State string `json:"-"`
}

// A Volume is a PersistentVolumeClaim and where pods find it.
type Volume struct {
	Claim string `json:"claim"`
	Path  string `json:"path"`
}

// Detached is what a detached apply in the cluster needs besides what units do.
type Detached struct {
	ServiceAccount string `json:"service_account"` // with the rights of [Rights]
	StateSecret    string `json:"state_secret"`    // a Secret whose keys are variables that the state is opened with
}

// SettingsOf reads what a target of a system says.
func SettingsOf(t ir.Target, system string) (Settings, error) {
	s := Settings{System: system}
	return s, executors.DecodeSettings(t, &s)
}

// placement is where a unit goes: what it says itself before what the target says.
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
	}
}

// closed reports whether a unit is kept from the network, but for the store and the
// names of the cluster. What says nothing is, where that can be done.
func (s Settings) closed(u ir.Unit) bool {
	reads := slices.ContainsFunc(u.Inputs, func(in ir.Input) bool { return in.Kind == ir.EndpointOf })
	return !reads && (u.Network == ir.NetworkNone || u.Network == ir.NetworkUnsaid && s.closes())
}

// closes reports whether it is known where the store is, without which a pod that
// is kept from the network could not reach it.
func (s Settings) closes() bool { return len(s.StoreNetwork) > 0 || s.ofFiles() }

// ofFiles reports whether the store is a folder of a volume.
func (s Settings) ofFiles() bool { return strings.HasPrefix(s.Store, "file:") }

// merged is a map with what any of them has; later ones win.
func merged(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}
