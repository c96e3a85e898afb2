package kubernetes

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// The cluster starts the replicas of a service: the program of a pod is one replica.
func TestAPodIsOneReplica(t *testing.T) {
	said := &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/readyz", Replicas: 3, Scale: &ir.Scale{Max: 9, CPU: 70}}
	task, _ := inside(executors.Task{Unit: ir.Unit{ID: "deployments/api", Kind: ir.Service, Endpoint: said}}, "churn")
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
	task, _ := inside(executors.Task{Name: "steps-consume-1", Unit: ir.Unit{ID: "steps/consume", Kind: ir.Service}}, "churn")
	if task.Drain != 0 || task.Step.Endpoint != nil || task.Step.Instance != "steps-consume-1" {
		t.Errorf("the pod gets %+v", task)
	}
}
