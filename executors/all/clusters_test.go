package all_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/planner/state"
)

// A handle names the cluster of its task, and so its cloud, whatever the target is now.
func TestTheCloudOfAClusterIsAsked(t *testing.T) {
	e, err := all.New(ir.Target{Executor: "kubernetes"}, all.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	for cluster, cloud := range map[string]string{"eks/c": "EKS", "gke/c": "GKE", "aks/c": "AKS"} {
		h := state.Handle{Executor: "kubernetes", ID: "a", Data: []byte(`{"name": "a", "namespace": "ml", "cluster": "` + cluster + `"}`)}
		if _, err := e.Inspect(t.Context(), h); err == nil || !strings.Contains(err.Error(), `"`+cluster+`" is not a cluster of `+cloud) {
			t.Errorf("%s: got %v", cluster, err)
		}
	}
}

// Targets that make a cluster have infrastructure, which Tenon applies. Another target in a cluster has none.
func TestClustersHaveInfrastructure(t *testing.T) {
	for name, x := range map[string]struct {
		settings map[string]any
		has      bool
	}{
		"eks":   {map[string]any{"cluster": "eks", "account": "123456789012", "region": "eu-central-1", "cidr": "10.40.0.0/16"}, true},
		"gke":   {map[string]any{"cluster": "gke", "project": "acme-ml-1", "region": "europe-west3"}, true},
		"aks":   {map[string]any{"cluster": "aks", "subscription": "00000000-1111-2222-3333-444444444444", "resource_group": "acme-ml", "location": "westeurope"}, true},
		"other": {map[string]any{"store": "s3://acme-ml"}, false},
	} {
		target := ir.Target{Name: name, Executor: "kubernetes", Settings: x.settings}
		_, writes, err := all.Infrastructure(&ir.System{Name: "flights", Target: target})
		if err != nil || writes != x.has {
			t.Errorf("%s: it has infrastructure: %v, %v", name, writes, err)
		}
		if _, apply, err := all.Provisioning(target); err != nil || apply != x.has {
			t.Errorf("%s: tenon applies it: %v, %v", name, apply, err)
		}
		for _, f := range all.Check(target, ir.Unit{ID: "steps/a", Kind: ir.Job, Code: ir.Code{Runtime: ir.Command, Command: []string{"run"}}}) {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if faults := all.Check(ir.Target{Executor: "kubernetes", Settings: map[string]any{"cluster": "oke"}}, ir.Unit{}); len(faults) == 0 || !strings.Contains(faults[0].Message, `makes no clusters of "oke"`) {
		t.Errorf("got %+v", faults)
	}
}

// A cluster bills while nothing runs, and what has no rate is named.
func TestWhatClustersCostWhileNothingRuns(t *testing.T) {
	for name, c := range map[string]struct {
		settings map[string]any
		want     []string
	}{
		"gke":      {map[string]any{"cluster": "gke", "project": "acme-ml-1", "region": "europe-west3"}, []string{"clusters of GKE 73.00 USD", "nodes of the pool system", "Cloud NAT, and what passes it", "storage of artifacts", "storage of images"}},
		"aks":      {map[string]any{"cluster": "aks", "pools": map[string]any{"cpu": map[string]any{"size": "Standard_D4s_v5", "min": 1, "max": 2}}, "existing": map[string]any{"registry": "acme"}}, []string{"clusters of AKS 73.00 USD", "nodes of the pool system, and those that min keeps", "the load balancer of the cluster", "storage of artifacts"}},
		"existing": {map[string]any{"store": "s3://acme-ml"}, nil},
	} {
		s, err := all.Standing(&ir.System{Name: "flights", Target: ir.Target{Name: name, Executor: "kubernetes", Settings: c.settings}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if s != nil {
			for _, i := range s.Items {
				text := i.What
				if i.Month != nil {
					text += " " + i.Month.Format(s.Currency)
				}
				got = append(got, text)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
