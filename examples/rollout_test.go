package examples_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/internal/test/kubernetestest"
)

// A new version of a model takes over in a cluster without one failed request, and
// one that does not become ready is reported and removed, while the one before it
// goes on to answer.
func TestAModelIsRolledOutInACluster(t *testing.T) {
	c := kubernetestest.Up(t)
	namespace := c.Namespace(t)
	c.StoreSecret(t, namespace, "store")
	env := append(c.S3.Environ(), "KUBECONFIG="+c.ServiceAccount(t, namespace, kubernetes.Rules()...))
	tags := []string{"-t", "base=" + base, "-t", "namespace=" + namespace, "-t", "registry=" + c.Registry,
		"-t", "store=" + c.S3.Bucket(t, namespace), "-t", "hosts=" + c.Hosts(t)}
	r := rollout{system: newSystem(t, "testdata/rollout"), cluster: c.Client(t), namespace: namespace, tags: tags}
	r.env = env

	r.must(r.command("apply", "says=1")...)
	first := r.bounded(t)
	load := startLoad("http://" + clusterIP(t, r.cluster, namespace, "rollout-api") + ":8080/predict")
	defer load.stop()
	fewest := r.watchEndpoints(t)
	load.until(t, 1)

	contains(t, r.must(r.command("apply", "says=2")...), "✓ deployments/api           ready", "stopped the previous version")
	load.until(t, 2)
	contains(t, r.must(r.command("plan", "says=2")...), "Nothing to do")
	second := r.bounded(t)
	if first == second {
		t.Errorf("two versions have the name %s", first)
	}

	for _, bad := range []struct {
		version        []string
		failure, print string
	}{
		{[]string{"says=3", "served=crashes"}, "exit 1; it printed last: error: a worker ended with status 1: RuntimeError: the index is of another release", "reading the index"},
		{[]string{"says=4", "served=unready", "timeout=20s"}, "was not ready within 20s: GET /readyz on port 8080: nothing listens there", "the cache is cold"},
	} {
		out, err := r.run(r.command("apply", bad.version...)...)
		if err == nil {
			t.Fatalf("%v was applied:\n%s", bad.version, out)
		}
		contains(t, out, "error: deployments/api: "+bad.failure+"\n", "  | "+bad.print+"\n", "The previous version keeps serving.", "run tenon apply again")
		contains(t, r.must("logs", "deployments/api"), bad.print)
		// A line of a table is cut.
		contains(t, r.must("status"), "failed: "+bad.failure[:min(len(bad.failure), 60)], "http://rollout-api."+namespace+".svc:8080 ready")
		contains(t, r.must(r.command("plan", bad.version...)...), "~ deployments/api  update", "Plan: 1 to update; 5 unchanged.")
		if now := r.bounded(t); now != second {
			t.Errorf("%s is deployed, want %s", now, second)
		}
		load.until(t, 2)
	}

	r.must(r.command("apply", "says=5")...)
	load.until(t, 5)
	contains(t, r.must(r.command("plan", "says=5")...), "Nothing to do")
	contains(t, r.must("logs", "deployments/api"), "the constant is 5", "serving constant version 5")

	load.stop()
	load.check(t, 1, 2, 5)
	if n := fewest(); n < 1 || n > 2 {
		t.Errorf("when they were fewest, the Service had %d endpoints that were ready; want 1 or 2", n)
	}
	r.move(t, c)
	r.must("destroy", "--yes")
}

// move moves the service to another namespace, where it answers before the first namespace is left empty.
func (r *rollout) move(t *testing.T, c *kubernetestest.Cluster) {
	to := c.Namespace(t)
	c.StoreSecret(t, to, "store")
	r.env = append(c.S3.Environ(), "KUBECONFIG="+c.Kubeconfig)
	r.tags[slices.Index(r.tags, "namespace="+r.namespace)] = "namespace=" + to
	contains(t, r.must(r.command("plan", "says=5")...), "~ deployments/api  update", "place: namespace "+r.namespace+" of ", "namespace "+to+" of ", "Plan: 1 to update; 5 unchanged.")
	contains(t, r.must(r.command("apply", "says=5")...), "stopped the previous version")
	contains(t, r.must(r.command("plan", "says=5")...), "Nothing to do")
	if says, err := predict(http.DefaultClient, "http://"+clusterIP(t, r.cluster, to, "rollout-api")+":8080/predict"); err != nil || says != 5 {
		t.Errorf("after the move it says %d, %v", says, err)
	}
	for _, kind := range []schema.GroupVersionResource{appsv1.SchemeGroupVersion.WithResource("deployments"), corev1.SchemeGroupVersion.WithResource("services")} {
		left, err := r.cluster.Resource(kind).Namespace(r.namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(left.Items) > 0 {
			t.Errorf("%d %s are left in the former namespace, %v", len(left.Items), kind.Resource, err)
		}
	}
	r.namespace = to
}

// A rollout is the system of testdata/rollout in a namespace.
type rollout struct {
	*system
	cluster   dynamic.Interface
	namespace string
	tags      []string
}

// command is one for a version of the system, which tags say.
func (r *rollout) command(name string, version ...string) []string {
	args := append([]string{name}, r.tags...)
	for _, tag := range version {
		args = append(args, "-t", tag)
	}
	if name == "apply" {
		args = append(args, "--yes")
	}
	return args
}

// bounded is the name of the one Deployment that there is. It is held to its bounds:
// how many replicas there may be, and how many may be taken away at once.
func (r *rollout) bounded(t *testing.T) string {
	t.Helper()
	deployment := r.only(t, appsv1.SchemeGroupVersion.WithResource("deployments"))
	budget := r.only(t, policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets"))
	scaler := r.only(t, autoscalingv2.SchemeGroupVersion.WithResource("horizontalpodautoscalers"))
	name := deployment.GetName()
	for _, x := range []struct {
		of   *unstructured.Unstructured
		path string
		want any
	}{
		{deployment, "spec replicas", int64(2)},
		{deployment, "status availableReplicas", int64(2)},
		{budget, "spec maxUnavailable", int64(1)},
		{budget, "spec selector matchLabels tenon.dev/task", name},
		{scaler, "spec scaleTargetRef name", name},
		{scaler, "spec minReplicas", int64(2)},
		{scaler, "spec maxReplicas", int64(3)},
	} {
		if got, _, err := unstructured.NestedFieldNoCopy(x.of.Object, strings.Fields(x.path)...); err != nil || got != x.want {
			t.Errorf("%s %s: %s is %v, want %v", x.of.GetKind(), x.of.GetName(), x.path, got, x.want)
		}
	}
	return name
}

// only is the one object of its kind.
func (r *rollout) only(t *testing.T, kind schema.GroupVersionResource) *unstructured.Unstructured {
	t.Helper()
	list, err := r.cluster.Resource(kind).Namespace(r.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 {
		t.Fatalf("there are %d %s, want one", len(list.Items), kind.Resource)
	}
	return &list.Items[0]
}

// watchEndpoints sees every change of the endpoints of the Service. It returns how
// many were ready when they were fewest.
func (r *rollout) watchEndpoints(t *testing.T) (fewest func() int) {
	t.Helper()
	all := dynamicinformer.NewFilteredDynamicSharedInformerFactory(r.cluster, 0, r.namespace, nil)
	informer := all.ForResource(discoveryv1.SchemeGroupVersion.WithResource("endpointslices")).Informer()
	var mu sync.Mutex
	ready, least := map[string]int{}, math.MaxInt
	note := func(o any, n func(discoveryv1.EndpointSlice) int) {
		var s discoveryv1.EndpointSlice
		if last, is := o.(cache.DeletedFinalStateUnknown); is {
			o = last.Obj
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.(*unstructured.Unstructured).Object, &s); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		ready[s.Name] = n(s)
		sum := 0
		for _, n := range ready {
			sum += n
		}
		least = min(least, sum)
	}
	changed := func(o any) { note(o, readyIn) }
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: changed, UpdateFunc: func(_, o any) { changed(o) },
		DeleteFunc: func(o any) { note(o, func(discoveryv1.EndpointSlice) int { return 0 }) },
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	all.Start(stop)
	all.WaitForCacheSync(stop)
	end := sync.OnceFunc(func() {
		close(stop)
		all.Shutdown()
	})
	t.Cleanup(end)
	return func() int {
		end()
		mu.Lock()
		defer mu.Unlock()
		return least
	}
}

func readyIn(s discoveryv1.EndpointSlice) (n int) {
	for _, e := range s.Endpoints {
		if e.Conditions.Ready == nil || *e.Conditions.Ready {
			n++
		}
	}
	return n
}

// A load asks for predictions again and again: half of its clients on a connection
// that they keep, half on a new one each time.
type load struct {
	stop func()

	mu      sync.Mutex
	failed  []string
	says    map[int]int // by what was said: how many answers
	changed chan struct{}
}

func startLoad(url string) *load {
	l := &load{says: map[int]int{}, changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for i := range 8 {
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
		clients.Go(func() {
			for tick := time.NewTicker(100 * time.Millisecond); ctx.Err() == nil; <-tick.C {
				l.ask(client, url)
			}
			client.CloseIdleConnections()
		})
	}
	l.stop = sync.OnceFunc(func() {
		cancel()
		clients.Wait()
	})
	return l
}

func (l *load) ask(client *http.Client, url string) {
	says, err := predict(client, url)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = append(l.failed, time.Now().Format(time.TimeOnly)+" "+err.Error())
	} else {
		l.says[says]++
	}
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func predict(client *http.Client, url string) (int, error) {
	resp, err := client.Post(url, "application/json", strings.NewReader(`{"instances": [{"x": 1}]}`))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	var said struct {
		Predictions []struct{ Prediction float64 }
	}
	if err := json.Unmarshal(b, &said); err != nil || resp.StatusCode != http.StatusOK || len(said.Predictions) != 1 {
		return 0, fmt.Errorf("%s: %s", resp.Status, b)
	}
	return int(said.Predictions[0].Prediction), nil
}

// until waits for an answer that is yet to come.
func (l *load) until(t *testing.T, says int) {
	t.Helper()
	answers := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.says[says]
	}
	late := time.After(time.Minute)
	for before := answers(); answers() <= before; {
		select {
		case <-l.changed:
		case <-late:
			t.Fatalf("no more answer says %d", says)
		}
	}
}

// check holds it to answers of these versions, and no failures.
func (l *load) check(t *testing.T, versions ...int) {
	t.Helper()
	if n := len(l.failed); n > 0 {
		t.Errorf("%d requests failed, beside the answers %v:\n%s", n, l.says, strings.Join(l.failed[:min(n, 10)], "\n"))
	}
	if got := slices.Sorted(maps.Keys(l.says)); !slices.Equal(got, versions) {
		t.Errorf("the answers are %v; want some of each of %v", l.says, versions)
	}
}
