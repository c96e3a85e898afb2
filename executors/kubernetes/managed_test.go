package kubernetes_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/aws"
	"github.com/tenon-ml/tenon/executors/azure"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/internal/test/akstest"
	"github.com/tenon-ml/tenon/internal/test/ekstest"
	"github.com/tenon-ml/tenon/planner/state"
)

var (
	nodePools  = schema.GroupVersionResource{Group: "karpenter.sh", Version: "v1", Resource: "nodepools"}
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	ingresses  = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ingressclasses"}
	daemons    = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}
	accounts   = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
)

// managed makes an executor use a cluster that Tenon makes: it asks the cloud where the cluster is, and has no kubeconfig.
func managed(c *cloud.Cluster, namespace string) func(*kubernetes.Options) {
	return func(o *kubernetes.Options) {
		o.Kubeconfig, o.Namespace, o.Cluster, o.Reach = filepath.Join(os.DevNull, "none"), namespace, c, aws.ReachCluster
		if strings.HasPrefix(c.Name, azure.AKS+"/") {
			o.Reach = azure.ReachCluster
		}
	}
}

// A cluster that Tenon makes is reached with a token of AWS. It gets its namespace, pools and accounts before a unit
// starts, and pods run with the account of their unit.
func TestAClusterThatTenonMakes(t *testing.T) {
	p := newPlace(t)
	ekstest.DefinePools(t, p.Cluster)
	const name = "tenon-flights"
	clusters := map[string]ekstest.Cluster{name: ekstest.Front(t, name, p.Config(t)), "other": ekstest.Front(t, "elsewhere", p.Config(t))}
	ekstest.Serve(t, nil) // the infrastructure has not made it yet
	clusterOf := func(pools map[string]any) *cloud.Cluster {
		c, err := aws.ClusterOf(ir.Target{Settings: map[string]any{
			"cluster": aws.EKS, "account": ekstest.Account, "region": ekstest.Region, "pools": pools, "ingress": map[string]any{"certificates": []string{"arn:aws:acm:us-east-1:123456789012:certificate/0a"}},
		}}, "flights", "")
		ok(t, err)
		// The parameters of load balancers are defined by EKS alone.
		c.Objects = slices.DeleteFunc(c.Objects, func(o cloud.Object) bool { return strings.Contains(o.Path, "ingressclassparams") })
		return c
	}
	pool := func(instance string) map[string]any {
		return map[string]any{"instance": instance, "max": 2, "spot": true, "idle": "5m", "taints": []any{map[string]any{"key": "big", "effect": "NoSchedule"}}}
	}
	e := p.executor(t, managed(clusterOf(map[string]any{"gpu": pool("g5.xlarge"), "big": pool("m7i.4xlarge")}), p.namespace))
	task := job(t, "count", "exit", "0")
	if h, err := e.Find(t.Context(), task.Name, task.Dir); h != nil || err != nil {
		t.Errorf("without the cluster, there is %+v, %v", h, err)
	}
	if _, err := e.Apply(t.Context(), task, nil); err == nil || !strings.Contains(err.Error(), "there is no cluster tenon-flights in us-east-1: apply the infrastructure") {
		t.Errorf("without the cluster: %v", err)
	}
	ekstest.Serve(t, clusters) // the same executor reaches it from now on
	h := apply(t, e, task)
	if st := wait(t, e, h)(); st.Phase != state.Succeeded {
		t.Fatalf("status %+v", st)
	}
	// The account stays, because pods of all versions use it.
	t.Cleanup(func() {
		ok(t, p.Client(t).Resource(accounts).Namespace(p.namespace).Delete(context.Background(), "tenon-steps-count-run", metav1.DeleteOptions{}))
	})
	if got := p.pools(t); !slices.Equal(got, []string{"tenon-big", "tenon-gpu"}) {
		t.Errorf("pools are %v", got)
	}
	class, err := p.Client(t).Resource(ingresses).Get(t.Context(), "tenon", metav1.GetOptions{})
	ok(t, err)
	t.Cleanup(func() {
		ok(t, p.Client(t).Resource(ingresses).Delete(context.Background(), class.GetName(), metav1.DeleteOptions{}))
	})
	// An executor with other settings finds the job, because the handle names the cluster.
	other := p.executor(t, func(o *kubernetes.Options) {
		o.Kubeconfig, o.Reach = filepath.Join(os.DevNull, "none"), aws.ReachCluster
	})
	ok(t, other.Destroy(t.Context(), h))

	// The next apply removes a pool that the target no longer has, and makes the namespace that it has now.
	elsewhere := p.namespace + "-made"
	e = p.executor(t, managed(clusterOf(map[string]any{"gpu": pool("g5.2xlarge")}), elsewhere))
	t.Cleanup(func() {
		ok(t, p.Client(t).Resource(namespaces).Delete(context.Background(), elsewhere, metav1.DeleteOptions{}))
	})
	h = apply(t, e, job(t, "count", "exit", "0"))
	ok(t, e.Destroy(t.Context(), h))
	if got := p.pools(t); !slices.Equal(got, []string{"tenon-gpu"}) {
		t.Errorf("pools are %v", got)
	}

	// A token for another cluster is not accepted.
	stranger := clusterOf(nil)
	stranger.Name = strings.Replace(stranger.Name, name, "other", 1)
	e = p.executor(t, managed(stranger, p.namespace))
	if _, err := e.Apply(t.Context(), job(t, "count", "exit", "0"), nil); err == nil || !strings.Contains(err.Error(), "does not accept this user") {
		t.Errorf("got %v", err)
	}

	// Nothing runs in a cluster that somebody has removed: the next apply makes it, and runs what was there.
	ekstest.Serve(t, nil)
	gone := p.executor(t, managed(clusterOf(nil), p.namespace))
	if st, err := gone.Inspect(t.Context(), h); err != nil || st.Phase != state.Absent {
		t.Errorf("%+v, %v", st, err)
	}
	ok(t, gone.Destroy(t.Context(), h))
}

// A cluster of AKS is reached with a token of Microsoft Entra. The account of a unit names the identity of the unit, pods
// ask for it, and the plugin for GPUs comes and goes with the pools that need it.
func TestAClusterOfAKS(t *testing.T) {
	p := newPlace(t)
	clusterOf := func(pools map[string]any) *cloud.Cluster {
		c, err := azure.ClusterOf(ir.Target{Settings: map[string]any{
			"cluster": azure.AKS, "subscription": akstest.Subscription, "resource_group": akstest.Group, "location": "westeurope", "folder": "tenon",
			"device_plugin": "example.com/plugin:1", "pools": pools,
		}}, "flights", "")
		ok(t, err)
		return c
	}
	const identity = "11111111-2222-3333-4444-555555555555"
	akstest.Serve(t, map[string]akstest.Cluster{"tenon-flights": akstest.Front(t, p.Config(t), map[string]string{"tenon-flights-steps-count-run": identity})})
	plugins := func() (names []string) {
		all, err := p.Client(t).Resource(daemons).Namespace("kube-system").List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=tenon"})
		ok(t, err)
		for _, x := range all.Items {
			names = append(names, x.GetName())
		}
		return names
	}
	t.Cleanup(func() {
		ok(t, p.Client(t).Resource(accounts).Namespace(p.namespace).Delete(context.Background(), "tenon-steps-count-run", metav1.DeleteOptions{}))
	})
	for _, c := range []struct {
		pools map[string]any
		want  []string
	}{
		{map[string]any{"gpu": map[string]any{"size": "Standard_NC4as_T4_v3", "max": 1, "spot": true}}, []string{"tenon-nvidia-device-plugin"}},
		{nil, nil},
	} {
		e := p.executor(t, managed(clusterOf(c.pools), p.namespace))
		h := apply(t, e, job(t, "count", "exit", "0"))
		if st := wait(t, e, h)(); st.Phase != state.Succeeded {
			t.Fatalf("status %+v", st)
		}
		if got := plugins(); !slices.Equal(got, c.want) {
			t.Errorf("daemons are %v, want %v", got, c.want)
		}
		pods, err := p.Client(t).Resource(podsOf).Namespace(p.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "azure.workload.identity/use=true"})
		ok(t, err)
		if len(pods.Items) != 1 {
			t.Errorf("%d pods ask for an identity", len(pods.Items))
		}
		ok(t, e.Destroy(t.Context(), h))
	}
	account, err := p.Client(t).Resource(accounts).Namespace(p.namespace).Get(t.Context(), "tenon-steps-count-run", metav1.GetOptions{})
	ok(t, err)
	if got := account.GetAnnotations()["azure.workload.identity/client-id"]; got != identity {
		t.Errorf("the account names the identity %q", got)
	}
	// The identity of a unit is made by the infrastructure, so that a new unit waits for it.
	e := p.executor(t, managed(clusterOf(nil), p.namespace))
	if _, err := e.Apply(t.Context(), job(t, "other", "exit", "0"), nil); err == nil || !strings.Contains(err.Error(), "apply the infrastructure") {
		t.Errorf("got %v", err)
	}
}

// pools returns the names of the pools of nodes, sorted.
func (p *place) pools(t *testing.T) (names []string) {
	t.Helper()
	all, err := p.Client(t).Resource(nodePools).List(t.Context(), metav1.ListOptions{})
	ok(t, err)
	for _, x := range all.Items {
		names = append(names, x.GetName())
	}
	slices.Sort(names)
	return names
}
