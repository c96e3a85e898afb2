package examples_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/executors/kubernetes/kubernetestest"
)

// Its units run as jobs of a cluster, with no more rights than tenon asks for, its
// endpoint answers behind a Service, and the namespace is as it was afterwards.
func testCluster(t *testing.T, same func(*testing.T, *system)) {
	c := kubernetestest.Up(t)
	namespace := c.Namespace(t)
	client := c.Client(t)
	created(t, client, namespace, storeSecret(c))

	s := newSystem(t, "flights")
	s.env = append(c.S3.Environ(), "KUBECONFIG="+c.ServiceAccount(t, namespace, rules(t)...))
	hosts := filepath.Join(t.TempDir(), c.Registry)
	if err := os.Mkdir(hosts, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(hosts, "hosts.toml"), fmt.Appendf(nil, "server = \"http://%s\"\n", c.Registry), 0o644); err != nil {
		t.Fatal(err)
	}
	tags := []string{"-t", "target=kubernetes", "-t", "base=" + base, "-t", "namespace=" + namespace, "-t", "registry=" + c.Registry,
		"-t", "store=" + c.S3.Bucket(t, namespace), "-t", "hosts=" + filepath.Dir(hosts)}
	s.must(append([]string{"apply", "--yes"}, tags...)...)
	same(t, s)
	contains(t, s.must(append([]string{"plan"}, tags...)...), "Nothing to do")
	contains(t, s.must("status"), "deployments/api", "http://flights-api."+namespace+".svc:8080 ready")
	contains(t, s.must("show", "models/late/train"), "used", "of cpu")
	contains(t, s.must("logs", "deployments/api"), "serving late version 1")

	status, body := post(t, "http://"+clusterIP(t, client, namespace, "flights-api")+":8080/predict", oneFlight)
	if status != 200 || !strings.Contains(body, `"probability"`) {
		t.Errorf("POST /predict: %d %s", status, body)
	}
	s.must("destroy", "--yes")
	if err := client.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(namespace).Delete(t.Context(), "flights-store", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// rules are what `tenon rbac` prints.
func rules(t *testing.T) []rbacv1.PolicyRule {
	for _, o := range kubernetes.Rights("x", "tenon") {
		if r, ok := o.(*rbacv1.Role); ok {
			return r.Rules
		}
	}
	t.Fatal("there is no role")
	return nil
}

// storeSecret holds what pods open the store with.
func storeSecret(c *kubernetestest.Cluster) *corev1.Secret {
	s := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: "flights-store"}, StringData: map[string]string{},
	}
	for _, v := range c.S3.Environ() {
		name, value, _ := strings.Cut(v, "=")
		s.StringData[name] = value
	}
	return s
}

func created(t *testing.T, client dynamic.Interface, namespace string, s *corev1.Secret) {
	t.Helper()
	o, err := runtime.DefaultUnstructuredConverter.ToUnstructured(s)
	if err != nil {
		t.Fatal(err)
	}
	secrets := client.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(namespace)
	if _, err := secrets.Create(t.Context(), &unstructured.Unstructured{Object: o}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// clusterIP is the address of a Service within the cluster, which this machine
// reaches as well.
func clusterIP(t *testing.T, client dynamic.Interface, namespace, name string) string {
	t.Helper()
	o, err := client.Resource(corev1.SchemeGroupVersion.WithResource("services")).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ip, _, _ := unstructured.NestedString(o.Object, "spec", "clusterIP")
	return ip
}
