package kubernetes_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/planner/state"
)

// service is a version of deployments/api.
func service(t *testing.T, name string, args ...string) executors.Task {
	task := job(t, name, append([]string{"serve"}, args...)...)
	task.Unit.ID, task.Unit.Entity, task.Unit.Kind, task.Unit.Outputs = "deployments/api", "deployments/api", ir.Service, nil
	task.Unit.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/ready", Replicas: 1}
	return task
}

func waitReady(t *testing.T, e *kubernetes.Executor, h state.Handle) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), program.Patience)
	defer cancel()
	st, err := e.Wait(ctx, h)
	if ok(t, err); st.Phase != state.Ready {
		t.Fatalf("%s is %+v", h.ID, st)
	}
}

// The leading version of a service decides how it is reached from outside of the cluster.
func TestTheIngressIsThatOfTheLeadingVersion(t *testing.T) {
	p := newPlace(t)
	e := p.executor(t)
	ingresses := p.Client(t).Resource(networkingv1.SchemeGroupVersion.WithResource("ingresses")).Namespace(p.namespace)
	host := func() string {
		o, err := ingresses.Get(t.Context(), kubernetes.ServiceName("", "", "deployments/api"), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return ""
		}
		ok(t, err)
		rules, _, err := unstructured.NestedSlice(o.Object, "spec", "rules")
		ok(t, err)
		return rules[0].(map[string]any)["host"].(string)
	}
	for _, v := range []struct{ name, host string }{{"first", "a.example"}, {"second", "b.example"}, {"third", ""}, {"fourth", "d.example"}} {
		task := service(t, v.name)
		if v.host != "" {
			task.Unit.Kubernetes = &ir.Placement{Expose: &ir.Exposure{Host: v.host, Path: "/"}}
		}
		h, err := e.Apply(t.Context(), task, nil)
		ok(t, err)
		waitReady(t, e, h)
		if got := host(); got != v.host {
			t.Errorf("when the %s version leads, the Ingress is for %q, want %q", v.name, got, v.host)
		}
		t.Cleanup(func() { ok(t, e.Destroy(context.Background(), h)) })
	}
}

// An autoscaler adds pods to a service that has more to do than the target says.
func TestAServiceScales(t *testing.T) {
	p := newPlace(t)
	e := p.executor(t)
	task := service(t, "scaled")
	task.Unit.Needs.MilliCPU = 20
	task.Unit.Endpoint.Scale = &ir.Scale{Max: 3, CPU: 50}
	h := apply(t, e, task)
	waitReady(t, e, h)
	at := p.Address(t, task)

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for range 4 {
		go func() {
			for ctx.Err() == nil {
				if resp, err := http.Get(at + "/ready"); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
			}
		}()
	}
	deployments := p.Client(t).Resource(appsv1.SchemeGroupVersion.WithResource("deployments")).Namespace(p.namespace)
	for {
		o, err := deployments.Get(t.Context(), task.Name, metav1.GetOptions{})
		ok(t, err)
		n, _, err := unstructured.NestedInt64(o.Object, "status", "readyReplicas")
		ok(t, err)
		if n > 1 {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("after two minutes of load, %d pod is ready", n)
		}
		time.Sleep(500 * time.Millisecond)
	}
}
