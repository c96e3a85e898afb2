package kubernetes_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/tenon-ml/tenon/internal/test/kubernetestest"
)

// A real cluster accepts all fields of the objects in testdata, and their pods under
// the restricted security standard.
func TestAClusterTakesTheObjects(t *testing.T) {
	c := kubernetestest.Up(t)
	namespace := c.Namespace(t)
	try := func(t *testing.T, o any) {
		t.Helper()
		m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		ok(t, err)
		u := &unstructured.Unstructured{Object: m}
		u.SetNamespace(namespace)
		plural := map[string]string{
			"ConfigMap": "configmaps", "Secret": "secrets", "Service": "services", "Pod": "pods", "Job": "jobs", "Deployment": "deployments",
			"NetworkPolicy": "networkpolicies", "PodDisruptionBudget": "poddisruptionbudgets", "HorizontalPodAutoscaler": "horizontalpodautoscalers",
			"Ingress": "ingresses", "ServiceAccount": "serviceaccounts", "Role": "roles", "RoleBinding": "rolebindings",
		}[u.GetKind()]
		_, err = c.Client(t).Resource(u.GroupVersionKind().GroupVersion().WithResource(plural)).Namespace(namespace).
			Create(context.Background(), u, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
		if err != nil {
			t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), err)
		}
	}
	// aPod returns a pod of a template, without references that do not exist in this
	// cluster.
	aPod := func(template corev1.PodTemplateSpec) *corev1.Pod {
		p := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: template.ObjectMeta, Spec: template.Spec}
		p.Name, p.Spec.ServiceAccountName, p.Spec.PriorityClassName = "one", "", ""
		return p
	}
	files, err := filepath.Glob("testdata/objects/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no objects: %v", err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			b, err := os.ReadFile(path)
			ok(t, err)
			for all := yaml.NewYAMLToJSONDecoder(bytes.NewReader(b)); ; {
				var o unstructured.Unstructured
				if err := all.Decode(&o.Object); errors.Is(err, io.EOF) {
					return
				} else if err != nil {
					t.Fatal(err)
				}
				if o.GetKind() == "HTTPRoute" {
					continue // this cluster has no Gateway API
				}
				try(t, &o)
				var job batchv1.Job
				var deployment appsv1.Deployment
				switch o.GetKind() {
				case "Job":
					ok(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &job))
					try(t, aPod(job.Spec.Template))
				case "Deployment":
					ok(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &deployment))
					try(t, aPod(deployment.Spec.Template))
				}
			}
		})
	}
}
