package kubernetes

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
)

// The cluster starts the replicas of a service: the program of a pod is one replica.
func TestAPodIsOneReplica(t *testing.T) {
	said := &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/readyz", Replicas: 3, Scale: &ir.Scale{Max: 9, CPU: 70}}
	task, _ := Settings{}.inside(executors.Task{Unit: ir.Unit{ID: "deployments/api", Kind: ir.Service, Endpoint: said}})
	want := &ir.Endpoint{Host: "0.0.0.0", Port: 8080, Ready: "/readyz", Replicas: 1}
	if diff := cmp.Diff(want, task.Step.Endpoint); diff != "" {
		t.Errorf("the program gets another address to listen on (-want +got):\n%s", diff)
	}
	if said.Replicas != 3 || said.Scale == nil {
		t.Errorf("the unit itself was changed: %+v", said)
	}
	if task.Drain != drain {
		t.Errorf("it drains for %s, want %s", task.Drain, drain)
	}
}

// A service without an endpoint receives no requests that it would have to finish.
func TestAServiceWithoutAnEndpointDoesNotDrain(t *testing.T) {
	task, _ := Settings{}.inside(executors.Task{Name: "steps-consume-1", Unit: ir.Unit{ID: "steps/consume", Kind: ir.Service}})
	if task.Drain != 0 || task.Step.Endpoint != nil || task.Step.Instance != "steps-consume-1" {
		t.Errorf("the pod gets %+v", task)
	}
}

// A pod stores what its service keeps where all versions of the service do. It has no folder of this
// machine, and an interpreter for each environment in its image.
func TestWhatAServiceInAPodFinds(t *testing.T) {
	u := ir.Unit{ID: "deployments/api", Kind: ir.Service, Keeps: "log", Ships: ir.Shipments{{Folder: "audit", Most: 1 << 20}, {Folder: "requests", Most: 1 << 30}}, Code: ir.Code{Environments: []string{"sha256:feature"}}}
	for env, to := range map[string]string{"": "lineage/-/deployments/api/", "prod": "lineage/prod/deployments/api/"} {
		task, _ := Settings{}.inside(executors.Task{Unit: u, Kept: "/state/kept/deployments/api", State: "lineage", Environment: env})
		want := []pod.Ship{
			{From: "/tenon/kept/audit", To: to + "audit", Most: 1 << 20, Status: "/tenon/kept/shipped/audit.json"},
			{From: "/tenon/kept/requests", To: to + "requests", Most: 1 << 30, Status: "/tenon/kept/shipped/requests.json"},
		}
		if diff := cmp.Diff(want, task.Ships); diff != "" {
			t.Errorf("it stores something else (-want +got):\n%s", diff)
		}
		if s := task.Step; s.Kept != "/tenon/kept" || s.Shipped != "/tenon/kept/shipped" || s.Interpreters["sha256:feature"] != "/opt/tenon/env-feature/bin/python" {
			t.Errorf("it finds %+v", s)
		}
	}
	u.Keeps, u.Ships = "", nil
	if task, _ := (Settings{}).inside(executors.Task{Unit: u, Kept: "/state/kept"}); task.Ships != nil || task.Step.Kept != "" {
		t.Errorf("a service that keeps nothing finds %+v", task)
	}
}

// A pod has a volume for what is not stored yet.
func TestTheVolumeOfWhatIsKept(t *testing.T) {
	u := ir.Unit{ID: "deployments/api", Kind: ir.Service, Needs: ir.Resources{Disk: 1 << 30}, Ships: ir.Shipments{{Folder: "audit", Most: 1 << 30}, {Folder: "requests", Most: 1 << 30}}}
	spec := Settings{}.pod(executors.Task{Unit: u}, "image", "digest", 0).Spec
	i := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == "kept" })
	if i < 0 || spec.Volumes[i].EmptyDir.SizeLimit.Value() <= u.Ships[0].Most+u.Ships[1].Most {
		t.Fatalf("the volumes are %+v", spec.Volumes)
	}
	if limit := spec.Containers[0].Resources.Limits.StorageEphemeral().Value(); limit < u.Needs.Disk+spec.Volumes[i].EmptyDir.SizeLimit.Value() {
		t.Errorf("the pod may use %d bytes of the disk", limit)
	}
}
