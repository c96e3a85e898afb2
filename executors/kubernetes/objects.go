package kubernetes

import (
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// An object is an object of a cluster that carries its kind.
type object interface {
	runtime.Object
	metav1.Object
}

// objects returns the objects of one task, except for the Service of an endpoint, which
// all versions of a unit share. The first is the ConfigMap with the task state, which is to own all others,
// see [setOwner]. image is the reference of the image, digest that of the pod.Task in the
// store, and fetched the size in bytes of what the pod downloads. The unit must have
// passed check.
func (s Settings) objects(t executors.Task, image, digest string, fetched int64) []object {
	objects := []object{s.configMap(t)}
	if len(t.Env) > 0 {
		objects = append(objects, s.secret(t))
	}
	objects = append(objects, s.networkPolicy(t))
	pod := s.pod(t, image, digest, fetched)
	if t.Unit.Kind != ir.Service {
		if t.Unit.Needs.Nodes > 1 {
			objects = append(objects, s.nodes(t))
		}
		return append(objects, s.job(t, pod))
	}
	e := t.Unit.Endpoint
	if most(e) > 1 {
		objects = append(objects, s.disruptionBudget(t))
	}
	switch {
	case e == nil || e.Scale == nil:
	case followed(e):
		objects = append(objects, s.scaler(t, image)...)
	default:
		objects = append(objects, s.autoscaler(t))
	}
	return append(objects, s.deployment(t, pod))
}

// setOwner makes the ConfigMap of a task, as read from the cluster, the owner of objects. They are then
// deleted with it.
func setOwner(m *corev1.ConfigMap, objects ...object) {
	yes := true
	for _, o := range objects {
		o.SetOwnerReferences(append(o.GetOwnerReferences(), metav1.OwnerReference{
			APIVersion: "v1", Kind: "ConfigMap", Name: m.Name, UID: m.UID, BlockOwnerDeletion: &yes,
		}))
	}
}

// most returns the maximum number of replicas. A service without an endpoint is one
// program.
func most(e *ir.Endpoint) int {
	switch {
	case e == nil:
		return 1
	case e.Scale != nil:
		return e.Scale.Max
	}
	return max(e.Replicas, 1)
}

// initial returns the number of replicas to start with.
// A new version shows that it can answer, even if later it may have none.
func initial(e *ir.Endpoint) int {
	if e == nil {
		return 1
	}
	return max(e.Replicas, 1)
}

// configMap returns the ConfigMap that marks the existence of a task. The executor adds
// its data.
func (s Settings) configMap(t executors.Task) *corev1.ConfigMap {
	return &corev1.ConfigMap{TypeMeta: kind("v1", "ConfigMap"), ObjectMeta: s.meta(t)}
}

// secret holds the secrets that tenon resolved. Secrets by reference are not in it.
func (s Settings) secret(t executors.Task) *corev1.Secret {
	data := make(map[string][]byte, len(t.Env))
	for name, value := range t.Env {
		data[name] = []byte(value)
	}
	return &corev1.Secret{TypeMeta: kind("v1", "Secret"), ObjectMeta: s.meta(t), Data: data}
}

// slack is added to the deadline of a job. Tenon itself ends an attempt that takes too
// long, and the cluster does so only if no tenon is running.
const slack = 10 * time.Minute

func (s Settings) job(t executors.Task, pod corev1.PodTemplateSpec) *batchv1.Job {
	j := &batchv1.Job{
		TypeMeta: kind("batch/v1", "Job"), ObjectMeta: s.queued(t),
		Spec: batchv1.JobSpec{BackoffLimit: ptr(int32(0)), Template: pod}, // tenon counts the attempts
	}
	if t.Unit.Timeout > 0 {
		j.Spec.ActiveDeadlineSeconds = ptr(seconds(2*t.Unit.Timeout + slack)) // to find a node, and to run
	}
	if n := t.Unit.Needs.Nodes; n > 1 {
		j.Spec.CompletionMode = ptr(batchv1.IndexedCompletion)
		j.Spec.Completions, j.Spec.Parallelism = ptr(int32(n)), ptr(int32(n))
	}
	return j
}

// nodes returns the Service that gives the pods of a job on several nodes their names.
func (s Settings) nodes(t executors.Task) *corev1.Service {
	return &corev1.Service{
		TypeMeta: kind("v1", "Service"), ObjectMeta: s.meta(t),
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone, Selector: ofTask(t),
			PublishNotReadyAddresses: true, // they look for each other before any is ready
		},
	}
}

// readyWithin is how long a service without a timeout may take to become ready: its
// image may have to be pulled, and a node to become free.
const readyWithin = 10 * time.Minute

// ReadyWithin returns how long a service may take to become ready.
func (e *Executor) ReadyWithin(u *ir.Unit) time.Duration { return patience(*u) }

// settleSeconds is how long a pod without a readiness probe has to stay up before it
// counts as available: [executors.Settle], and one second because a cluster notes times
// in whole seconds.
var settleSeconds = int32(seconds(executors.Settle)) + 1

func (s Settings) deployment(t executors.Task, pod corev1.PodTemplateSpec) *appsv1.Deployment {
	d := &appsv1.Deployment{
		TypeMeta: kind("apps/v1", "Deployment"), ObjectMeta: s.queued(t),
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: ofTask(t)}, Template: pod,
			RevisionHistoryLimit:    ptr(int32(0)), // a new version is a Deployment of its own
			ProgressDeadlineSeconds: ptr(int32(seconds(patience(t.Unit)))),
			Replicas:                ptr(int32(initial(t.Unit.Endpoint))),
		},
	}
	if t.Unit.Endpoint == nil {
		d.Spec.MinReadySeconds = settleSeconds
		*d.Spec.ProgressDeadlineSeconds += settleSeconds // a cluster wants it to be longer
	}
	return d
}

// service returns the Service of a unit with an endpoint. The selector decides which version receives
// its requests. It selects the scaler of a version that may have no pods, too.
func (s Settings) service(t executors.Task) *corev1.Service {
	meta := metav1.ObjectMeta{Name: s.serviceName(t.Unit.ID), Namespace: s.Namespace, Labels: s.labels(t.Unit), Annotations: s.annotations(t.Unit)}
	port := int32(t.Unit.Endpoint.Port)
	return &corev1.Service{
		TypeMeta: kind("v1", "Service"), ObjectMeta: meta,
		Spec: corev1.ServiceSpec{
			Selector: answering(t),
			Ports:    []corev1.ServicePort{{Name: "http", Port: port, TargetPort: intstr.FromInt32(port), Protocol: corev1.ProtocolTCP}},
		},
	}
}

// disruptionBudget lets nodes be drained one replica at a time. A pod that is not ready
// does not block a drain.
func (s Settings) disruptionBudget(t executors.Task) *policyv1.PodDisruptionBudget {
	one := intstr.FromInt32(1)
	return &policyv1.PodDisruptionBudget{
		TypeMeta: kind("policy/v1", "PodDisruptionBudget"), ObjectMeta: s.meta(t),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: &one, Selector: &metav1.LabelSelector{MatchLabels: ofTask(t)},
			UnhealthyPodEvictionPolicy: ptr(policyv1.AlwaysAllow),
		},
	}
}

// autoscaler returns the cluster's own autoscaler, which follows the use of cores alone.
func (s Settings) autoscaler(t executors.Task) *autoscalingv2.HorizontalPodAutoscaler {
	e := t.Unit.Endpoint
	a := &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta: kind("autoscaling/v2", "HorizontalPodAutoscaler"), ObjectMeta: s.meta(t),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: t.Name},
			MinReplicas:    ptr(int32(e.Replicas)), MaxReplicas: int32(e.Scale.Max),
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name:   corev1.ResourceCPU,
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr(int32(e.Scale.CPU))},
			}}},
		},
	}
	if e.Scale.Idle > 0 {
		a.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{
			StabilizationWindowSeconds: ptr(int32(seconds(e.Scale.Idle))),
		}}
	}
	return a
}

// dnsNamespace is where the DNS service of a cluster runs.
const dnsNamespace = "kube-system"

// networkPolicy restricts who may reach the pods of a task and what they may reach. A
// cluster whose network does not support policies ignores it.
func (s Settings) networkPolicy(t executors.Task) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{
		TypeMeta: kind("networking.k8s.io/v1", "NetworkPolicy"), ObjectMeta: s.meta(t),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: ofTask(t)},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		},
	}
	if e := t.Unit.Endpoint; e != nil {
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
		for _, at := range e.All() {
			p.Spec.Ingress[0].Ports = append(p.Spec.Ingress[0].Ports, policyPort(corev1.ProtocolTCP, int32(at.Port)))
		}
	}
	if !s.closed(t.Unit) {
		p.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{}} // anywhere
	} else {
		p.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{
			Ports: []networkingv1.NetworkPolicyPort{policyPort(corev1.ProtocolUDP, 53), policyPort(corev1.ProtocolTCP, 53)},
			To: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{
				MatchLabels: map[string]string{corev1.LabelMetadataName: dnsNamespace},
			}}},
		}}
		from := s.StoreNetwork
		if s.Cluster != nil {
			from = slices.Concat(from, s.Cluster.Identity)
		}
		for _, cidr := range from {
			p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{
				To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: cidr}}},
			})
		}
	}
	if t.Unit.Needs.Nodes > 1 {
		others := []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: ofTask(t)}}}
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: others})
		p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: others})
	}
	return p
}

func policyPort(protocol corev1.Protocol, n int32) networkingv1.NetworkPolicyPort {
	at := intstr.FromInt32(n)
	return networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &at}
}

// queued returns meta with the label of the queue that admits the pods.
func (s Settings) queued(t executors.Task) metav1.ObjectMeta {
	meta := s.meta(t)
	if q := s.placement(t.Unit).Queue; q != "" {
		meta.Labels[labelQueue] = q
	}
	return meta
}

// patience returns how long a service may take to become ready.
func patience(u ir.Unit) time.Duration {
	if u.Timeout > 0 {
		return u.Timeout
	}
	return readyWithin
}

func kind(version, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: version, Kind: kind}
}

// seconds rounds up to whole seconds, at least one.
func seconds(d time.Duration) int64 { return max(int64((d+time.Second-1)/time.Second), 1) }

func ptr[T any](v T) *T { return &v }

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
