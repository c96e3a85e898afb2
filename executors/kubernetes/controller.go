package kubernetes

import (
	"context"
	"encoding/json"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
)

// What a controller may use of its node. Above these limits its pod ends, and the next one begins
// with an empty folder: all that it had there is in the store as well.
const (
	controllerMemory = "2Gi" // DuckDB measures in it
	controllerDisk   = "16Gi"
)

// controllerRoom is the disk that a node must have left for a controller. Without a request, that would be its limit.
const controllerRoom = "1Gi"

// metricsPort is the name of the port at which a controller answers Prometheus.
const metricsPort = "metrics"

// Controller returns the controller of the environment, or nil if the target has no settings
// for it.
func (e *Executor) Controller(lineage string) executors.DetachedProgram {
	if e.opts.Detached == nil {
		return nil
	}
	return detachedProgram{e: e, name: "controller-" + e.opts.of(lineage), controls: true}
}

// controller returns the objects of a controller, as [Settings.detachedObjects] does. The owner says with what they
// were made.
func (s Settings) controller(name, ref string, launch executors.Launch) (*corev1.ConfigMap, []object, *appsv1.Deployment) {
	t := detachedTask(name, "controller")
	template := s.detachedPod(t, ref, launch.Args)
	template.Spec.RestartPolicy = corev1.RestartPolicyAlways
	template.Spec.Containers[0].Resources.Limits = corev1.ResourceList{
		corev1.ResourceMemory: resource.MustParse(controllerMemory), corev1.ResourceEphemeralStorage: resource.MustParse(controllerDisk),
	}
	template.Spec.Containers[0].Resources.Requests[corev1.ResourceEphemeralStorage] = resource.MustParse(controllerRoom)
	d := s.deployment(t, template)
	d.ObjectMeta = s.meta(t) // no queue holds it back
	d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	owner := s.configMap(t)
	with, _ := json.Marshal(launch.Args) // strings cannot fail
	owner.Data = map[string]string{"image": ref, "args": string(with)}
	policy := s.networkPolicy(t)
	around := []object{policy}
	if port := int32(launch.Metrics); port != 0 {
		c := &d.Spec.Template.Spec.Containers[0]
		c.Ports = []corev1.ContainerPort{{Name: metricsPort, ContainerPort: port, Protocol: corev1.ProtocolTCP}}
		policy.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{policyPort(corev1.ProtocolTCP, port)}}}
		around = append(around, &corev1.Service{
			TypeMeta: kind("v1", "Service"), ObjectMeta: s.meta(t),
			Spec: corev1.ServiceSpec{
				Selector: ofTask(t),
				Ports:    []corev1.ServicePort{{Name: metricsPort, Port: port, TargetPort: intstr.FromString(metricsPort), Protocol: corev1.ProtocolTCP}},
			},
		})
	}
	return owner, around, d
}

// lookAtController returns the status of a controller. It is ready while its pod runs.
func (d detachedProgram) lookAtController(ctx context.Context, l *link) (state.Status, error) {
	workload := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: d.name}}
	err := l.get(ctx, workload)
	if apierrors.IsNotFound(err) || err == nil && workload.DeletionTimestamp != nil {
		return state.Status{Phase: state.Absent}, nil
	}
	if err != nil {
		return state.Status{}, err
	}
	pods, err := l.podsOf(ctx, d.name)
	if err != nil {
		return state.Status{}, err
	}
	st, p, err := d.e.lookAtService(ctx, l, taskState{Name: d.name, Unit: "controller", Kind: ir.Service}, workload, pods, nil)
	if p != nil && st.Phase == state.Failed {
		if end := terminated(p); end != nil && end.Reason == "OOMKilled" {
			st.Message = "it used more memory than " + controllerMemory
		}
		st.Message += lastOutput(p)
	}
	return st, err
}
