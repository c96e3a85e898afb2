package kubernetes_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/internal/test/kubernetestest"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

var (
	nodesOf  = corev1.SchemeGroupVersion.WithResource("nodes")
	jobsOf   = batchv1.SchemeGroupVersion.WithResource("jobs")
	classes  = schedulingv1.SchemeGroupVersion.WithResource("priorityclasses")
	policies = admissionv1.SchemeGroupVersion.WithResource("validatingadmissionpolicies")
	bindings = admissionv1.SchemeGroupVersion.WithResource("validatingadmissionpolicybindings")
)

const (
	theNode    = "node" // the cluster's only node
	aLongWhile = 3 * time.Minute
)

// Disturbances of pods, each in its own place and in parallel, because the cluster is
// slow to react to some.
func TestDisturbances(t *testing.T) {
	c := kubernetestest.Up(t)
	c.S3.Setenv(t)
	for name, test := range map[string]func(*testing.T, *place){
		"tmp":       whatIsWrittenToTmpCounts,
		"evicted":   anEvictionByTheNode,
		"inputs":    inputsThatAreLargerThanTheDisk,
		"drained":   aDrainedNode,
		"preempted": aPreemption,
		"deadline":  theDeadlineOfAJob,
		"removed":   aPodThatIsRemoved,
		"nodes":     oneOfSeveralThatHasNoRoom,
		"policy":    aPolicyThatRefusesThePod,
		"pull":      aPullThatFailsOnce,
		"images":    imagesThatCannotRun,
		"lost":      nodesThatAreLost,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, placeIn(t, c))
		})
	}
}

// put creates an object, in the given namespace or in none, and deletes it after the
// test.
func (p *place) put(t testing.TB, kind schema.GroupVersionResource, namespace string, o any) *unstructured.Unstructured {
	t.Helper()
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	ok(t, err)
	var in dynamic.ResourceInterface = p.Client(t).Resource(kind)
	if namespace != "" {
		in = p.Client(t).Resource(kind).Namespace(namespace)
	}
	made, err := in.Create(t.Context(), &unstructured.Unstructured{Object: m}, metav1.CreateOptions{})
	ok(t, err)
	t.Cleanup(func() {
		if err := in.Delete(context.Background(), made.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return made
}

// pod waits for a pod of a task, or of any task, that satisfies is.
func (p *place) pod(t testing.TB, task string, is func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	for end := time.Now().Add(program.Patience); ; time.Sleep(50 * time.Millisecond) {
		list, err := p.Client(t).Resource(podsOf).Namespace(p.namespace).List(t.Context(), metav1.ListOptions{})
		ok(t, err)
		for _, u := range list.Items {
			var now corev1.Pod
			ok(t, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &now))
			if is(&now) && (task == "" || task == now.Labels["tenon.dev/task"]) {
				return &now
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no pod is as it should be: %v", list.Items)
		}
	}
}

func bound(p *corev1.Pod) bool { return p.Spec.NodeName != "" }

func runs(p *corev1.Pod) bool {
	return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Running != nil && p.DeletionTimestamp == nil
}

// evict does to a pod what `kubectl drain` does.
func (p *place) evict(t testing.TB, pod *corev1.Pod, grace int64) {
	t.Helper()
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&policyv1.Eviction{
		TypeMeta:      metav1.TypeMeta{APIVersion: "policy/v1", Kind: "Eviction"},
		ObjectMeta:    metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace},
		DeleteOptions: &metav1.DeleteOptions{GracePeriodSeconds: &grace},
	})
	ok(t, err)
	_, err = p.Client(t).Resource(podsOf).Namespace(p.namespace).Create(t.Context(), &unstructured.Unstructured{Object: m}, metav1.CreateOptions{}, "eviction")
	ok(t, err)
}

// patch changes fields of an object.
func patch(t testing.TB, in dynamic.ResourceInterface, name, fields string, sub ...string) {
	t.Helper()
	_, err := in.Patch(context.Background(), name, types.MergePatchType, []byte(fields), metav1.PatchOptions{}, sub...)
	ok(t, err)
}

// wait waits for a task in the background.
func wait(t testing.TB, e *kubernetes.Executor, h state.Handle) func() state.Status {
	t.Helper()
	type end struct {
		st  state.Status
		err error
	}
	ended := make(chan end, 1)
	ctx, cancel := context.WithTimeout(t.Context(), aLongWhile)
	go func() {
		defer cancel()
		st, err := e.Wait(ctx, h)
		ended <- end{st, err}
	}()
	return func() state.Status {
		t.Helper()
		got := <-ended
		ok(t, got.err)
		return got.st
	}
}

// says inspects a task until its message contains want.
func says(t testing.TB, e *kubernetes.Executor, h state.Handle, want string) {
	t.Helper()
	for end := time.Now().Add(program.Patience); ; time.Sleep(50 * time.Millisecond) {
		st, err := e.Inspect(t.Context(), h)
		ok(t, err)
		if strings.Contains(st.Message, want) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("status %+v, want %q", st, want)
		}
	}
}

// Tenon itself measures what is written to /tmp too.
func whatIsWrittenToTmpCounts(t *testing.T, p *place) {
	e := p.executor(t)
	task := job(t, "tmp", "fill", "8388608", program.Patience.String(), "/tmp/big")
	task.Unit.Needs.Disk = 1 << 20
	if st := wait(t, e, apply(t, e, task))(); st.Phase != state.Failed || !strings.HasSuffix(st.Message, ", more than needs.disk 1 MiB") {
		t.Errorf("status %+v", st)
	}
}

// Elsewhere the node measures, and evicts the pod.
func anEvictionByTheNode(t *testing.T, p *place) {
	e := p.executor(t)
	task := job(t, "evicted", "fill", strconv.Itoa(256<<20), aLongWhile.String(), path.Join(pod.Work, "beside"))
	task.Unit.Needs.Disk = 1 << 20
	if st := wait(t, e, apply(t, e, task))(); st.Phase != state.Failed || st.Message != "it wrote more than needs.disk 1 MiB, and was evicted" {
		t.Errorf("status %+v", st)
	}
}

// Inputs do not count against a unit's disk limit. The node cannot tell them apart, so
// its limit is higher.
func inputsThatAreLargerThanTheDisk(t *testing.T, p *place) {
	e, large := p.executor(t), filepath.Join(t.TempDir(), "large")
	ok(t, os.WriteFile(large, make([]byte, 8<<20), 0o644))
	limit := func(name string, inputs map[string]step.Port) int64 {
		task := job(t, name, "exit", "0")
		task.Unit.Needs.Disk, task.Inputs = 1<<20, inputs
		if st := wait(t, e, apply(t, e, task))(); st.Phase != state.Succeeded {
			t.Errorf("status %+v", st)
		}
		pod := p.pod(t, task.Name, bound)
		return pod.Spec.Containers[0].Resources.Limits.StorageEphemeral().Value()
	}
	without, with := limit("writes", nil), limit("reads", map[string]step.Port{"data": {Kind: ir.File, Path: large}})
	if with-without < 8<<20 {
		t.Errorf("it may take up %d bytes, and %d if it reads 8 MiB", without, with)
	}
}

// A drained node is not the unit's fault: a unit with retries succeeds on another node,
// or later on the same one.
func aDrainedNode(t *testing.T, p *place) {
	unit := job(t, "drained", "exit", "0", "5s").Unit
	unit.Retries = 1
	end := p.applyUnit(t, unit)
	p.evict(t, p.pod(t, "", runs), 30)
	if tries := end(); len(tries) != 1 || tries[0] != "its node node was drained: set retries to run it again" {
		t.Errorf("attempts failed with %q", tries)
	}
}

// Of two tasks that want the same device, the one with the higher priority gets it
// first, and the other one afterwards.
func aPreemption(t *testing.T, p *place) {
	p.device(t)
	p.put(t, classes, "", &schedulingv1.PriorityClass{
		TypeMeta: metav1.TypeMeta{APIVersion: "scheduling.k8s.io/v1", Kind: "PriorityClass"}, ObjectMeta: metav1.ObjectMeta{Name: p.namespace}, Value: 1000,
	})
	needs := ir.Resources{GPU: 1, GPUSlice: p.namespace}
	low := job(t, "low", "exit", "0", "10s").Unit
	low.Retries, low.Needs = 1, needs
	end := p.applyUnit(t, low)
	p.pod(t, "", runs)
	e, high := p.executor(t), job(t, "high", "exit", "0")
	high.Unit.Needs, high.Unit.Kubernetes = needs, &ir.Placement{PriorityClass: p.namespace}
	h := apply(t, e, high)
	if st := wait(t, e, h)(); st.Phase != state.Succeeded {
		t.Errorf("status %+v", st)
	}
	if tries := end(); len(tries) != 1 || tries[0] != "it was preempted by a pod of higher priority: raise priority_class, or set retries to run it again" {
		t.Errorf("attempts failed with %q", tries)
	}
}

// A job on several nodes waits for all of them, and says what one of them waits for.
func oneOfSeveralThatHasNoRoom(t *testing.T, p *place) {
	p.device(t)
	e, task := p.executor(t), job(t, "several", "sleep")
	task.Unit.Needs = ir.Resources{GPU: 1, GPUSlice: p.namespace, Nodes: 2}
	h := apply(t, e, task)
	p.pod(t, "", runs)
	says(t, e, h, "Insufficient nvidia.com/mig-"+p.namespace)
}

// device adds one GPU slice to the node, named after the place, so that only pods of
// this place compete for it.
func (p *place) device(t testing.TB) {
	t.Helper()
	in := p.Client(t).Resource(nodesOf)
	const fields = `{"status": {"capacity": {"nvidia.com/mig-%[1]s": %[2]s}, "allocatable": {"nvidia.com/mig-%[1]s": %[2]s}}}`
	patch(t, in, theNode, fmt.Sprintf(fields, p.namespace, `"1"`), "status")
	t.Cleanup(func() { patch(t, in, theNode, fmt.Sprintf(fields, p.namespace, "null"), "status") })
}

// applyUnit applies a unit with the engine in the background. end waits until the unit
// has succeeded, and returns the messages of the attempts that failed before.
func (p *place) applyUnit(t testing.TB, unit ir.Unit) (end func() (tries []string)) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), ".tenon")
	t.Cleanup(func() { ok(t, files.RemoveAll(dir)) })
	store, err := state.Open(t.Context(), dir)
	ok(t, err)
	t.Cleanup(func() { ok(t, store.Close()) })
	artifacts, err := artifact.Open(filepath.Join(dir, "artifacts"))
	ok(t, err)
	lease, err := store.Lock(t.Context(), state.Holder{}, state.LockOptions{})
	ok(t, err)
	ok(t, unit.Define())
	plan, err := planner.Make(t.Context(), &ir.System{
		Version: ir.Version, Name: "demo", Units: []ir.Unit{unit},
		Target: ir.Target{Name: "cluster", Executor: kubernetes.Name, Settings: map[string]any{"base": programRef}},
	}, planner.Inputs{
		Dir: filepath.Dir(dir), State: store, Artifacts: artifacts, Digests: planner.NewFileDigests(dir),
		Images: map[string]string{programRef: os.Getenv(imageVar)},
	})
	ok(t, err)
	ended := make(chan error, 1)
	var tries []string
	e := p.executor(t)
	go func() {
		_, err := executors.Apply(t.Context(), plan, executors.Options{
			Store: store, Lease: lease, Artifacts: artifacts, Executor: e, Dir: dir, Unbounded: true, Backoff: time.Millisecond,
			Events: func(e executors.Event) {
				if e.Type == executors.EventRetried {
					tries = append(tries, e.Error)
				}
			},
		})
		ended <- err
	}()
	return func() []string {
		t.Helper()
		ok(t, <-ended)
		return tries
	}
}

// A Job has its own deadline in case no tenon is running. Tenon's timeout is much
// shorter, so the test lowers the deadline.
func theDeadlineOfAJob(t *testing.T, p *place) {
	e, task := p.executor(t), job(t, "late", "sleep")
	task.Unit.Timeout = time.Hour
	end := wait(t, e, apply(t, e, task))
	p.pod(t, "", runs)
	patch(t, p.Client(t).Resource(jobsOf).Namespace(p.namespace), task.Name, `{"spec": {"activeDeadlineSeconds": 1}}`)
	if st := end(); st.Phase != state.Failed || st.Message != "it exceeded the deadline of its Job, which is timeout plus 10m0s: raise timeout" {
		t.Errorf("status %+v", st)
	}
}

// The message of a removed pod says that it was deleted.
func aPodThatIsRemoved(t *testing.T, p *place) {
	e := p.executor(t)
	end := wait(t, e, apply(t, e, job(t, "removed", "sleep")))
	pod := p.pod(t, "", runs)
	ok(t, p.Client(t).Resource(podsOf).Namespace(p.namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}))
	if st := end(); st.Phase != state.Failed || st.Message != "the pod was stopped: it was deleted: set retries to run it again" {
		t.Errorf("status %+v", st)
	}
}

// A pod that a policy refuses is never created, and the wait ends.
func aPolicyThatRefusesThePod(t *testing.T, p *place) {
	meta := metav1.ObjectMeta{Name: p.namespace}
	p.put(t, policies, "", &admissionv1.ValidatingAdmissionPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicy"}, ObjectMeta: meta,
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}}}},
			Validations: []admissionv1.Validation{{Expression: "'team' in object.metadata.labels", Message: "a pod has to have the label team"}},
		},
	})
	p.put(t, bindings, "", &admissionv1.ValidatingAdmissionPolicyBinding{
		TypeMeta: metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicyBinding"}, ObjectMeta: meta,
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: meta.Name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
			MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: p.namespace}}},
		},
	})
	// The policy takes effect a moment after it was created.
	for end := time.Now().Add(program.Patience); ; time.Sleep(50 * time.Millisecond) {
		yes, no := true, false
		m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&corev1.Pod{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: "try", Labels: map[string]string{"a": "b"}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a", SecurityContext: &corev1.SecurityContext{
				RunAsNonRoot: &yes, AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			}}}},
		})
		ok(t, err)
		_, err = p.Client(t).Resource(podsOf).Namespace(p.namespace).Create(t.Context(), &unstructured.Unstructured{Object: m}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil && strings.Contains(err.Error(), meta.Name+"' with binding") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the policy does not hold: %v", err)
		}
	}
	e, refused, service := p.executor(t), job(t, "refused", "exit", "0"), job(t, "serves", "serve")
	service.Unit.Kind, service.Unit.Outputs = ir.Service, nil
	service.Unit.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/readyz"}
	want := "the cluster's policy " + p.namespace + " rejects its pod: a pod has to have the label team: change the unit or the policy"
	for _, task := range []executors.Task{refused, service} {
		if st := wait(t, e, apply(t, e, task))(); st.Phase != state.Failed || st.Message != want {
			t.Errorf("%s: status %+v, want %q", task.Unit.ID, st, want)
		}
	}
}

// A registry that fails once delays a job, but does not fail it.
func aPullThatFailsOnce(t *testing.T, p *place) {
	to, err := url.Parse("http://" + p.Registry)
	ok(t, err)
	through := httputil.NewSingleHostReverseProxy(to)
	var back atomic.Bool
	listener, err := net.Listen("tcp", net.JoinHostPort(p.HostIP, "0"))
	ok(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !back.Load() {
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		through.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { ok(t, server.Close()) })
	at := listener.Addr().String()
	// Configure the node to use HTTP for this registry, like the one behind it.
	hosts := filepath.Join(p.Dir, "run", "certs.d", at)
	ok(t, os.MkdirAll(hosts, 0o700))
	t.Cleanup(func() { ok(t, os.RemoveAll(hosts)) })
	ok(t, os.WriteFile(filepath.Join(hosts, "hosts.toml"), fmt.Appendf(nil, "server = \"http://%[1]s\"\n[host.\"http://%[1]s\"]\n", at), 0o600))
	images := image.New(image.Options{Dir: os.Getenv(imagesVar), Hosts: p.hosts})
	e := p.executor(t, func(o *kubernetes.Options) {
		o.Publish = func(ctx context.Context, img v1.Image, repository string) (string, error) {
			name, err := images.Publish(ctx, img, repository)
			return strings.Replace(name, p.Registry, at, 1), err
		}
	})
	task := job(t, "pulled", "exit", "0")
	end := wait(t, e, apply(t, e, task))
	p.pod(t, "", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil && p.Status.ContainerStatuses[0].State.Waiting.Reason == "ErrImagePull"
	})
	back.Store(true)
	if st := end(); st.Phase != state.Succeeded {
		t.Errorf("status %+v", st)
	}
	progress, err := os.ReadFile(filepath.Join(task.Dir, executors.ProgressFile))
	if err != nil || !strings.Contains(string(progress), "cannot be pulled: ") || !strings.Contains(string(progress), "503 Service Unavailable") {
		t.Errorf("progress is %q, %v: it does not say what it waits for", progress, err)
	}
}

// Images that exist but cannot run.
func imagesThatCannotRun(t *testing.T, p *place) {
	for name, c := range map[string]struct{ image, want string }{
		"no-name":   {"No Name", `its image "No Name" has an invalid name: correct image in the unit, or registry in the target`},
		"no-runner": {p.TestImage, "its container cannot be started: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := p.executor(t, func(o *kubernetes.Options) { o.Publish = published(c.image) })
			if st := wait(t, e, apply(t, e, job(t, name, "exit", "0")))(); st.Phase != state.Failed || !strings.HasPrefix(st.Message, c.want) {
				t.Errorf("status %+v, want %q", st, c.want)
			}
		})
	}
}

// A hollow node simulates a lost node: the cluster has a Node, but no kubelet answers
// for it. The scheduler that binds a pod to it is real, and so are the controllers that
// notice the loss, report it in the pod and finally delete the pod. The test itself
// sets what a kubelet would report. No other pod can be scheduled there.
func (p *place) hollow(t testing.TB, task *executors.Task) (name string) {
	t.Helper()
	name = p.namespace + "-" + path.Base(task.Unit.Entity)
	room := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi"), corev1.ResourcePods: resource.MustParse("1")}
	p.put(t, nodesOf, "", &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "tenon.dev/hollow", Value: name, Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{Capacity: room, Allocatable: room, Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
		}}},
	})
	task.Unit.Kubernetes = &ir.Placement{
		NodeSelector: map[string]string{corev1.LabelHostname: name}, Tolerations: []ir.Toleration{{Key: "tenon.dev/hollow", Value: name}},
	}
	return name
}

// begin reports the pod on a hollow node as running.
func (p *place) begin(t testing.TB, task executors.Task) *corev1.Pod {
	t.Helper()
	pod, now := p.pod(t, task.Name, bound), metav1.Now()
	yes := true
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &now, ContainerStatuses: []corev1.ContainerStatus{{
		Name: pod.Spec.Containers[0].Name, Image: pod.Spec.Containers[0].Image, Ready: true, Started: &yes,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
	}}}
	for _, c := range []corev1.PodConditionType{corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady} {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	b, err := json.Marshal(map[string]any{"status": pod.Status})
	ok(t, err)
	patch(t, p.Client(t).Resource(podsOf).Namespace(p.namespace), pod.Name, string(b), "status")
	// Nothing else deletes it while its node exists.
	t.Cleanup(func() {
		at := int64(0)
		err := p.Client(t).Resource(podsOf).Namespace(p.namespace).Delete(context.Background(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &at})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return pod
}

// Pods of a lost node, and what tenon reports about them. The cluster takes about a
// minute for all of it.
func nodesThatAreLost(t *testing.T, p *place) {
	e, in := p.executor(t), p.Client(t).Resource(nodesOf)
	begin := func(name string) (node string, task executors.Task, h state.Handle, end func() state.Status) {
		task = job(t, name, "sleep")
		node = p.hollow(t, &task)
		h = apply(t, e, task)
		return node, task, h, wait(t, e, h)
	}
	silent, waits, silentHandle, _ := begin("silent")
	p.begin(t, waits)
	gone, task, _, goneEnds := begin("gone")
	p.begin(t, task)
	ok(t, in.Delete(t.Context(), gone, metav1.DeleteOptions{}))
	tainted, task, taintedHandle, _ := begin("tainted")
	p.begin(t, task)
	patch(t, in, tainted, `{"spec": {"taints": [{"key": "maintenance", "effect": "NoExecute"}]}}`)
	keeps, task, keepsHandle, keepsEnds := begin("keeps")
	p.evict(t, p.begin(t, task), 1)

	says(t, e, taintedHandle, "its node "+tainted+" was lost or got a taint that it does not tolerate: set retries to run it again, or add the taint to tolerations")
	says(t, e, keepsHandle, "its node "+keeps+" was drained: set retries to run it again")
	want := fmt.Sprintf("its node %[1]s does not answer and keeps the pod, which should stop: see `kubectl describe node %[1]s`: set retries to run it again", keeps)
	if st := keepsEnds(); st.Phase != state.Failed || st.Message != want {
		t.Errorf("status %+v, want %q", st, want)
	}
	want = fmt.Sprintf("its node %[1]s does not answer: the cluster waits 5m0s for it; see `kubectl describe node %[1]s`", silent)
	says(t, e, silentHandle, want)
	progress := func() string {
		b, err := os.ReadFile(filepath.Join(waits.Dir, executors.ProgressFile))
		if !errors.Is(err, fs.ErrNotExist) { // it is written after the status is known
			ok(t, err)
		}
		return string(b)
	}
	for end := time.Now().Add(program.Patience); !strings.Contains(progress(), `"waits":"`+want); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("progress is %q", progress())
		}
	}
	want = "its node " + gone + " is gone: set retries to run it again"
	if st := goneEnds(); st.Phase != state.Failed || st.Message != want {
		t.Errorf("status %+v, want %q", st, want)
	}
}
