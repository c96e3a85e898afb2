package kubernetes_test

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/kubernetes"
)

// Two states in one namespace leave each other's objects alone, and say so.
func TestObjectsOfAnotherState(t *testing.T) {
	p := newPlace(t)
	of := func(state string) *kubernetes.Executor {
		return p.executor(t, func(o *kubernetes.Options) { o.State, o.System = state, "demo" })
	}
	one, other := of("aaaa"), of("bbbb")
	service := func(name string) executors.Task {
		task := job(t, name, "serve")
		task.Unit.ID, task.Unit.Entity, task.Unit.Kind, task.Unit.Outputs = "deployments/api", "deployments/api", ir.Service, nil
		task.Unit.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/ready", Replicas: 1}
		return task
	}
	same := job(t, "same", "exit", "0")
	apply(t, one, same)
	apply(t, one, service("first"))
	for want, task := range map[string]executors.Task{
		"already contains steps-same-run-001122334455-1 of another state": same,
		"has a Service demo-api of another state":                         service("second"),
	} {
		if _, err := other.Apply(t.Context(), task, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that %q", err, want)
		}
	}
}
