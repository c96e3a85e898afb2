package examples_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/internal/test/kubernetestest"
)

// Its units run as jobs of a cluster, with no more rights than tenon asks for, its
// endpoint answers behind a Service, and the namespace is as it was afterwards.
func testCluster(t *testing.T, same func(*testing.T, *system)) {
	c := kubernetestest.Up(t)
	namespace := c.Namespace(t)
	client := c.Client(t)
	c.StoreSecret(t, namespace, "flights-store")

	s := newSystem(t, "flights")
	s.env = append(c.S3.Environ(), "KUBECONFIG="+c.ServiceAccount(t, namespace, kubernetes.Rules()...))
	tags := []string{"-t", "target=kubernetes", "-t", "base=" + base, "-t", "namespace=" + namespace, "-t", "registry=" + c.Registry,
		"-t", "store=" + c.S3.Bucket(t, namespace), "-t", "hosts=" + c.Hosts(t)}
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
