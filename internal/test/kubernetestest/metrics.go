package kubernetestest

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"
)

const (
	metricsPort  = "10443"
	metricsName  = "metrics-server"
	metricsGroup = "metrics.k8s.io"
)

var apiServices = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

// serveMetrics makes the API server pass requests about metrics on to metrics-server, and waits
// until it does. It passes no identity on, so anybody may ask.
func (r *instance) serveMetrics(ctx context.Context) error {
	config, err := r.config()
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	meta := metav1.ObjectMeta{Name: metricsName, Namespace: metav1.NamespaceSystem}
	port := intstr.Parse(metricsPort).IntVal
	api := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
		"metadata": map[string]any{"name": "v1beta1." + metricsGroup},
		"spec": map[string]any{
			"group": metricsGroup, "version": "v1beta1", "groupPriorityMinimum": int64(100), "versionPriority": int64(100),
			"insecureSkipTLSVerify": true,
			"service":               map[string]any{"name": metricsName, "namespace": metav1.NamespaceSystem, "port": int64(port)},
		},
	}}
	for _, o := range []struct {
		in     dynamic.ResourceInterface
		object any
	}{
		{client.Resource(rbacv1.SchemeGroupVersion.WithResource("clusterroles")), &rbacv1.ClusterRole{
			TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole"}, ObjectMeta: metav1.ObjectMeta{Name: metricsName},
			Rules: []rbacv1.PolicyRule{
				{APIGroups: []string{metricsGroup}, Resources: []string{"*"}, Verbs: []string{"get", "list"}},
				{NonResourceURLs: []string{"/apis", "/apis/*", "/openapi/*"}, Verbs: []string{"get"}},
			},
		}},
		{client.Resource(rbacv1.SchemeGroupVersion.WithResource("clusterrolebindings")), &rbacv1.ClusterRoleBinding{
			TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRoleBinding"}, ObjectMeta: metav1.ObjectMeta{Name: metricsName},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "system:unauthenticated"}},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: metricsName},
		}},
		{client.Resource(corev1.SchemeGroupVersion.WithResource("services")).Namespace(meta.Namespace), &corev1.Service{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta,
			Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: port}}},
		}},
		// The aggregator of this version reads Endpoints, which are deprecated, and not EndpointSlices.
		{client.Resource(corev1.SchemeGroupVersion.WithResource("endpoints")).Namespace(meta.Namespace), &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Endpoints", "metadata": map[string]any{"name": metricsName, "namespace": meta.Namespace},
			"subsets": []any{map[string]any{
				"addresses": []any{map[string]any{"ip": r.NodeIP}}, "ports": []any{map[string]any{"port": int64(port)}},
			}},
		}}},
		{client.Resource(apiServices), api},
	} {
		u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o.object)
		if err != nil {
			return err
		}
		_, err = o.in.Create(ctx, &unstructured.Unstructured{Object: u}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	now, err := client.Resource(apiServices).Get(ctx, api.GetName(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	conditions, _, err := unstructured.NestedSlice(now.Object, "status", "conditions")
	if err != nil {
		return err
	}
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Available" && m["status"] == "True" {
			return nil
		}
	}
	return fmt.Errorf("%v", conditions)
}
