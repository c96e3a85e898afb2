package kubernetes

import (
	"encoding/json"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/kubernetes/scaler"
)

// The scaler of a version of a service, see package scaler, has a Deployment, an account, and the
// right to change the number of replicas of that version and nothing else. All of it goes with
// the version. A version has either a scaler or an autoscaler of the cluster, so that nobody
// else changes the number.

// followed reports whether a scaler of Tenon decides how many pods a service has.
func followed(e *ir.Endpoint) bool { return e.Scale != nil && e.Scale.InFlight > 0 }

// toZero reports whether a service may have no pods.
func toZero(e *ir.Endpoint) bool { return followed(e) && e.Replicas == 0 }

// What a scaler does that nothing else says.
const (
	scalerPeriod = 2 * time.Second
	scalerHolds  = 1024 // requests that wait for the first pod; each takes a few KiB
	scalerWithin = 30 * time.Second
)

// scaledName returns the name of the objects of a task's scaler.
func scaledName(task string) string { return task + "-scaler" }

func (s Settings) scalerConfig(t executors.Task) scaler.Config {
	e := t.Unit.Endpoint
	at := e.Probe()
	return scaler.Config{
		Deployment: t.Name, Service: s.serviceName(t.Unit.ID), Pods: labelTask + "=" + t.Name, Own: labelScaler + "=" + t.Name,
		Port: e.Port, Metrics: at.Port, TLS: at.TLS,
		Min: e.Replicas, Max: e.Scale.Max, InFlight: e.Scale.InFlight, CPU: e.Scale.CPU, MilliCPU: t.Unit.Needs.MilliCPU, Idle: e.Scale.Idle,
		Patience: patience(t.Unit), Holds: scalerHolds, Period: scalerPeriod, Settle: drain, Within: scalerWithin,
	}
}

// scaler returns the objects of a task's scaler. Its image is that of the task, which has the
// program too.
func (s Settings) scaler(t executors.Task, image string) []object {
	meta := s.meta(t)
	meta.Name = scaledName(t.Name)
	meta.Labels = merged(s.labels(t.Unit), map[string]string{labelScaler: t.Name})
	group := rbacv1.GroupName
	objects := []object{
		&corev1.ServiceAccount{TypeMeta: kind("v1", "ServiceAccount"), ObjectMeta: meta, AutomountServiceAccountToken: ptr(false)},
		&rbacv1.Role{TypeMeta: kind(group+"/v1", "Role"), ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"apps"}, Resources: []string{"deployments/scale"}, ResourceNames: []string{t.Name}, Verbs: []string{"get", "patch"}},
			{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}},
		}},
		&rbacv1.RoleBinding{
			TypeMeta: kind(group+"/v1", "RoleBinding"), ObjectMeta: meta,
			RoleRef:  rbacv1.RoleRef{APIGroup: group, Kind: "Role", Name: meta.Name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: meta.Name, Namespace: s.Namespace}},
		},
		&networkingv1.NetworkPolicy{
			TypeMeta: kind("networking.k8s.io/v1", "NetworkPolicy"), ObjectMeta: meta,
			Spec: networkingv1.NetworkPolicySpec{
				PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{labelScaler: t.Name}},
				PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
				Egress:      []networkingv1.NetworkPolicyEgressRule{{}}, // to the API of the cluster, wherever that is
			},
		},
	}
	labels := meta.Labels
	if e := t.Unit.Endpoint; toZero(e) {
		labels = merged(labels, answering(t))
		at := intstr.FromInt32(int32(e.Port))
		policy := objects[len(objects)-1].(*networkingv1.NetworkPolicy)
		policy.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Protocol: ptr(corev1.ProtocolTCP), Port: &at}}}}
	}
	return append(objects, &appsv1.Deployment{
		TypeMeta: kind("apps/v1", "Deployment"), ObjectMeta: meta,
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr(int32(1)), RevisionHistoryLimit: ptr(int32(0)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{labelScaler: t.Name}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: s.annotations(t.Unit)},
				Spec:       s.scalerPod(t, image),
			},
		},
	})
}

// scalerPod returns what the pod of a scaler is. It is ready while requests are to come to it.
func (s Settings) scalerPod(t executors.Task, image string) corev1.PodSpec {
	config, err := json.Marshal(s.scalerConfig(t))
	if err != nil {
		panic(err) // numbers and texts have JSON
	}
	c := corev1.Container{
		Name: "scaler", Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
		Command:         []string{pod.Program, pod.ScaleCommand, string(config)},
		SecurityContext: confined(),
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
		},
	}
	spec := s.podSpec(t.Unit)
	// Where there is room for it, and not where its service needs to be.
	spec.ServiceAccountName, spec.AutomountServiceAccountToken, spec.NodeSelector = scaledName(t.Name), ptr(true), nil
	if e := t.Unit.Endpoint; toZero(e) {
		at := *e
		at.Ready, at.TLS, at.Management = scaler.ReadyPath, false, nil
		serve(&at, &spec, &c)
		c.ReadinessProbe.PeriodSeconds = 1
	}
	spec.Containers = []corev1.Container{c}
	return spec
}
