package kubernetes_test

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/planner/state"
)

// lend gives the node devices and the labels that describe them, as NVIDIA's device
// plugin and feature discovery do, for the duration of the test.
func (p *place) lend(t testing.TB, devices, labels map[string]string) {
	t.Helper()
	nodes := p.Client(t).Resource(corev1.SchemeGroupVersion.WithResource("nodes"))
	all, err := nodes.List(t.Context(), metav1.ListOptions{})
	ok(t, err)
	name := all.Items[0].GetName()
	patch := func(gone bool) {
		t.Helper()
		values := func(m map[string]string) map[string]*string {
			out := map[string]*string{}
			for k, v := range m {
				if out[k] = &v; gone {
					out[k] = nil
				}
			}
			return out
		}
		for sub, change := range map[string]any{
			"status": map[string]any{"status": map[string]any{"capacity": values(devices), "allocatable": values(devices)}},
			"":       map[string]any{"metadata": map[string]any{"labels": values(labels)}},
		} {
			b, err := json.Marshal(change)
			ok(t, err)
			_, err = nodes.Patch(context.Background(), name, types.MergePatchType, b, metav1.PatchOptions{}, strings.Fields(sub)...)
			ok(t, err)
		}
	}
	t.Cleanup(func() { patch(true) })
	patch(false)
}

// limits returns the limits of a task's pod.
func (p *place) limits(t testing.TB, task executors.Task) map[string]string {
	t.Helper()
	all, err := p.Client(t).Resource(podsOf).Namespace(p.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "tenon.dev/task=" + task.Name})
	ok(t, err)
	if len(all.Items) != 1 {
		t.Fatalf("%s has %d pods", task.Name, len(all.Items))
	}
	var one corev1.Pod
	ok(t, runtime.DefaultUnstructuredConverter.FromUnstructured(all.Items[0].Object, &one))
	found := map[string]string{}
	for k, v := range one.Spec.Containers[0].Resources.Limits {
		found[string(k)] = v.String()
	}
	return found
}

// The scheduler assigns the node's devices and slices, and units wait for one another.
// If no node has a device, the message names the fields of the system.
func TestGPUs(t *testing.T) {
	p := newPlace(t)
	p.lend(t, map[string]string{"nvidia.com/gpu": "2", "nvidia.com/mig-1g.10gb": "1"},
		map[string]string{"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"})
	e := p.executor(t)
	start := func(t *testing.T, name string, needs ir.Resources, args ...string) (executors.Task, state.Handle) {
		task := job(t, name, args...)
		task.Unit.Needs = needs
		return task, apply(t, e, task)
	}
	t.Run("jobs wait for one another", func(t *testing.T) {
		one, a := start(t, "one", ir.Resources{GPU: 1}, "sleep")
		other, b := start(t, "other", ir.Resources{GPU: 1}, "sleep")
		for _, task := range []executors.Task{one, other} {
			for end := time.Now().Add(program.Patience); p.Starts(t, task) == 0; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%s does not run", task.Name)
				}
			}
		}
		task, both := start(t, "both", ir.Resources{GPU: 2}, "exit", "0")
		const want = "no node fits it: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu: request less in needs.gpu, or wait for a node"
		says(t, e, both, want)
		ok(t, e.Destroy(t.Context(), a))
		says(t, e, both, want)
		ok(t, e.Destroy(t.Context(), b))
		if st, err := e.Wait(t.Context(), both); err != nil || st.Phase != state.Succeeded {
			t.Errorf("status %+v, %v", st, err)
		}
		if got := p.limits(t, task); !maps.Equal(got, map[string]string{"nvidia.com/gpu": "2"}) {
			t.Errorf("the pod has %v", got)
		}
	})
	t.Run("one of two pods finds no node", func(t *testing.T) {
		_, h := start(t, "half", ir.Resources{GPU: 2, Nodes: 2}, "meet")
		says(t, e, h, "1 Insufficient nvidia.com/gpu: request less in needs.gpu, or wait for a node")
	})
	for name, c := range map[string]struct {
		needs  ir.Resources
		limits map[string]string
		want   string // what it waits for; "" if it runs
	}{
		"model":         {ir.Resources{GPU: 1, GPUModel: "NVIDIA H100 80GB HBM3", GPUMemory: 80e9}, map[string]string{"nvidia.com/gpu": "1"}, ""},
		"slice":         {ir.Resources{GPU: 1, GPUSlice: "1g.10gb"}, map[string]string{"nvidia.com/mig-1g.10gb": "1"}, ""},
		"many":          {ir.Resources{GPU: 3}, map[string]string{"nvidia.com/gpu": "3"}, "1 Insufficient nvidia.com/gpu: request less in needs.gpu, or"},
		"other-slice":   {ir.Resources{GPU: 1, GPUSlice: "7g.80gb"}, map[string]string{"nvidia.com/mig-7g.80gb": "1"}, "1 Insufficient nvidia.com/mig-7g.80gb: request less in needs.gpu, or"},
		"other-model":   {ir.Resources{GPU: 1, GPUModel: "NVIDIA B200"}, map[string]string{"nvidia.com/gpu": "1"}, "affinity/selector: correct needs.gpu.model, or"},
		"larger-memory": {ir.Resources{GPU: 1, GPUMemory: 81560 << 20}, map[string]string{"nvidia.com/gpu": "1"}, "affinity/selector: correct needs.gpu.memory, or"},
		"least-memory":  {ir.Resources{GPU: 1, GPUMemory: 81559 << 20}, map[string]string{"nvidia.com/gpu": "1"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			task, h := start(t, name, c.needs, "exit", "0")
			if c.want != "" {
				says(t, e, h, c.want)
			} else if st, err := e.Wait(t.Context(), h); err != nil || st.Phase != state.Succeeded {
				t.Errorf("status %+v, %v", st, err)
			}
			if got := p.limits(t, task); !maps.Equal(got, c.limits) {
				t.Errorf("the pod has %v, want %v", got, c.limits)
			}
		})
	}
}
