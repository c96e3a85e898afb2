package kubernetes_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/internal/test/kubernetestest"
)

// Environment that the tests share with the tenon processes that they start and kill.
const (
	runnerVar     = "TENON_TEST_POD"
	imagesVar     = "TENON_TEST_IMAGES"
	imageVar      = "TENON_TEST_IMAGE"
	namespaceVar  = "TENON_TEST_NAMESPACE"
	storeVar      = "TENON_TEST_STORE"
	kubeconfigVar = "TENON_TEST_KUBECONFIG"
	programRef    = "localhost/program:1" // an image with only the suite's program
	storeSecret   = "store"
)

func TestMain(m *testing.M) { executortest.Main(m, kubernetestest.Shared, shared) }

// shared builds what all tests of the package use: tenon-pod, and an image of the
// suite's program.
func shared(dir string) (stop func() error, err error) {
	runner := filepath.Join(dir, "tenon-pod")
	if err := executortest.BuildStatic(runner, "github.com/tenon-ml/tenon/cmd/tenon-pod"); err != nil {
		return nil, err
	}
	images, pinned, err := executortest.PinImage(dir, programRef)
	if err != nil {
		return nil, err
	}
	for k, v := range map[string]string{runnerVar: runner, imagesVar: images, imageVar: pinned} {
		err = errors.Join(err, os.Setenv(k, v))
	}
	return func() error { return nil }, err
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A place is a namespace of the cluster, with a store.
type place struct {
	*kubernetestest.Cluster
	namespace, store string
	kubeconfig       string // of an account with only the rights that tenon needs
	hosts            string // folder with the configuration of the registry

	mu   sync.Mutex
	pods map[string]map[string]int // by task and UID: how often their programs started
}

// newPlace creates a place for a test, or returns that of the test which started this
// process. The credentials of its store are in the environment.
func newPlace(t testing.TB) *place {
	t.Helper()
	c := kubernetestest.Up(t)
	c.S3.Setenv(t)
	return placeIn(t, c)
}

// placeIn is like newPlace, for one of several tests that share an environment.
func placeIn(t testing.TB, c *kubernetestest.Cluster) *place {
	t.Helper()
	p := &place{Cluster: c, namespace: os.Getenv(namespaceVar), store: os.Getenv(storeVar), kubeconfig: os.Getenv(kubeconfigVar), hosts: c.Hosts(t), pods: map[string]map[string]int{}}
	if p.namespace == "" {
		p.namespace = c.Namespace(t)
		p.store = c.S3.Bucket(t, p.namespace)
		c.StoreSecret(t, p.namespace, storeSecret)
		p.kubeconfig = c.ServiceAccount(t, p.namespace, kubernetes.Rules()...)
		p.publish(t)
		p.watch(t)
	}
	return p
}

var (
	services = corev1.SchemeGroupVersion.WithResource("services")
	podsOf   = corev1.SchemeGroupVersion.WithResource("pods")
	quotas   = corev1.SchemeGroupVersion.WithResource("resourcequotas")
)

// publish pushes the image of the tests, before many executors do so at once: the
// registry does not accept the same layer from two of them in parallel.
func (p *place) publish(t testing.TB) {
	t.Helper()
	images := image.New(image.Options{Dir: os.Getenv(imagesVar), Hosts: p.hosts})
	built, err := images.Build(t.Context(), image.Recipe{Base: os.Getenv(imageVar), Pod: os.Getenv(runnerVar)})
	ok(t, err)
	_, err = images.Publish(t.Context(), built, p.Registry+"/tenon")
	ok(t, err)
}

// watch records the pods that exist, for the duration of the test.
func (p *place) watch(t testing.TB) {
	t.Helper()
	all := dynamicinformer.NewFilteredDynamicSharedInformerFactory(p.Client(t), 0, p.namespace, nil)
	informer := all.ForResource(podsOf).Informer()
	note := func(o any) {
		if u, is := o.(*unstructured.Unstructured); is {
			p.note(t, u)
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: note, UpdateFunc: func(_, now any) { note(now) }, DeleteFunc: note})
	ok(t, err)
	stop := make(chan struct{})
	all.Start(stop)
	all.WaitForCacheSync(stop)
	t.Cleanup(func() {
		close(stop)
		all.Shutdown()
	})
}

// note records how often the program of a pod started.
func (p *place) note(t testing.TB, u *unstructured.Unstructured) {
	var now corev1.Pod
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &now); err != nil {
		t.Error(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	task, uid := now.Labels["tenon.dev/task"], string(now.UID)
	if p.pods[task] == nil {
		p.pods[task] = map[string]int{}
	}
	p.pods[task][uid] += 0
	for _, s := range now.Status.ContainerStatuses {
		if s.State.Running != nil || s.State.Terminated != nil {
			p.pods[task][uid] = max(p.pods[task][uid], int(s.RestartCount)+1)
		}
	}
}

// Starts counts the starts of containers: of past pods, and of current ones that the
// watch may not have seen yet. The node reports a start some time after tenon has the
// result, so Starts waits that time for a pod without a known start.
func (p *place) Starts(t testing.TB, task executors.Task) (n int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		all, err := p.Client(t).Resource(podsOf).Namespace(p.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "tenon.dev/task=" + task.Name})
		ok(t, err)
		for i := range all.Items {
			p.note(t, &all.Items[i])
		}
		p.mu.Lock()
		starts := slices.Collect(maps.Values(p.pods[task.Name]))
		p.mu.Unlock()
		if slices.Contains(starts, 0) && time.Now().Before(end) {
			continue
		}
		for _, s := range starts {
			n += s
		}
		return n
	}
}

// uids returns the UIDs of all pods that a task ever had.
func (p *place) uids(task executors.Task) (uids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for uid := range p.pods[task.Name] {
		uids = append(uids, uid)
	}
	return uids
}

// Output reads from the disk of the node.
func (p *place) Output(task executors.Task, name string) (string, bool) {
	for _, uid := range p.uids(task) {
		b, err := os.ReadFile(filepath.Join(p.Dir, "run", "kubelet", "pods", uid, "volumes", "kubernetes.io~empty-dir", "work", "out", "out", name))
		if err == nil {
			return string(b), true
		}
	}
	return "", false
}

// Processes counts processes in the control groups of the task's pods.
func (p *place) Processes(t testing.TB, task executors.Task) (n int) {
	t.Helper()
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	ok(t, err)
	for _, path := range groups {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		for _, uid := range p.uids(task) {
			if strings.Contains(string(b), uid) {
				n++
				break
			}
		}
	}
	return n
}

// Address returns the address of the unit's Service.
func (p *place) Address(t testing.TB, task executors.Task) string {
	t.Helper()
	s, err := p.Client(t).Resource(services).Namespace(p.namespace).Get(t.Context(), kubernetes.ServiceName("", "", task.Unit.ID), metav1.GetOptions{})
	ok(t, err)
	ip, _, err := unstructured.NestedString(s.Object, "spec", "clusterIP")
	ok(t, err)
	at := net.JoinHostPort(ip, strconv.Itoa(task.Unit.Endpoint.Port))
	// The node takes a moment to route it.
	for end := time.Now().Add(program.Patience); ; {
		conn, err := net.DialTimeout("tcp", at, time.Second)
		if err == nil {
			_ = conn.Close()
			return "http://" + at
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// Host returns the address of this machine for pods.
func (p *place) Host() string { return p.HostIP }

func (p *place) executor(t testing.TB, change ...func(*kubernetes.Options)) *kubernetes.Executor {
	t.Helper()
	images := image.New(image.Options{Dir: os.Getenv(imagesVar), Hosts: p.hosts})
	o := kubernetes.Options{
		Settings: kubernetes.Settings{
			Namespace: p.namespace, Store: p.store, StoreSecret: storeSecret, Registry: p.Registry,
			StoreNetwork: []string{p.NodeIP + "/32"},
		},
		Kubeconfig: p.kubeconfig, Build: images.Build, Publish: images.Publish, Pod: os.Getenv(runnerVar),
	}
	for _, c := range change {
		c(&o)
	}
	e := kubernetes.New(o)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestConformance(t *testing.T) {
	p := newPlace(t)
	t.Setenv(namespaceVar, p.namespace)
	t.Setenv(storeVar, p.store)
	t.Setenv(kubeconfigVar, p.kubeconfig)
	executortest.Run(t, executortest.Config{
		New:       func(t testing.TB) executors.Executor { return p.executor(t) },
		Program:   "/bin/program",
		Image:     os.Getenv(imageVar),
		Lacks:     []executortest.Feature{executortest.PIDs},
		Unseen:    []executortest.Feature{executortest.NoNetwork}, // the cluster's network enforces no policies
		Contains:  true,
		Elsewhere: p,
	})
}

// published is a Publish that does nothing.
func published(name string) func(context.Context, v1.Image, string) (string, error) {
	return func(context.Context, v1.Image, string) (string, error) { return name, nil }
}
