package ekstest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/internal/test/certtest"
	"github.com/tenon-ml/tenon/internal/test/kubernetestest"
)

// karpenter is the module with the definition of pools of nodes.
const karpenter = "sigs.k8s.io/karpenter@v1.9.0"

var (
	extensions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	nodePools  = schema.GroupVersionResource{Group: "karpenter.sh", Version: "v1", Resource: "nodepools"}
	webhooks   = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"}
)

// DefinePools makes a cluster know pools of nodes until the test ends, as Karpenter defines and validates them. Pools
// belong to the whole cluster, so that it first waits for other tests that have called it.
func DefinePools(t testing.TB, c *kubernetestest.Cluster) {
	t.Helper()
	lock, err := files.Lock(t.Context(), filepath.Join(c.Dir, "pools"))
	check(t, err)
	t.Cleanup(func() { check(t, lock.Close()) })
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", karpenter).Output()
	check(t, err)
	var module struct{ Dir string }
	check(t, json.Unmarshal(out, &module))
	text, err := os.ReadFile(filepath.Join(module.Dir, "pkg", "apis", "crds", "karpenter.sh_nodepools.yaml"))
	check(t, err)
	var definition unstructured.Unstructured
	check(t, yaml.Unmarshal(text, &definition.Object))
	all := c.Client(t).Resource(extensions)
	if _, err = all.Create(t.Context(), &definition, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) { // of a test that was killed
		check(t, err)
	}
	t.Cleanup(func() {
		check(t, all.Delete(context.Background(), definition.GetName(), metav1.DeleteOptions{}))
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, err = c.Client(t).Resource(nodePools).List(t.Context(), metav1.ListOptions{}); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// Identify gives the pods of a namespace variables, "NAME=value", until the test ends. A webhook of the cluster adds them
// to each container, as that of EKS Pod Identity adds the address of credentials.
func Identify(t testing.TB, c *kubernetestest.Cluster, namespace string, variables ...string) {
	t.Helper()
	var add []corev1.EnvVar
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		add = append(add, corev1.EnvVar{Name: name, Value: value})
	}
	ca := certtest.New(t)
	cert, key := ca.Make(t, c.HostIP)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	check(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		err := json.NewDecoder(r.Body).Decode(&review)
		if err == nil && review.Request == nil {
			err = errors.New("the review has no request")
		}
		var patch []byte
		if err == nil {
			patch, err = patchOf(review.Request.Object.Raw, add)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		form := admissionv1.PatchTypeJSONPatch
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true, Patch: patch, PatchType: &form}
		review.Request = nil
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}))
	check(t, server.Listener.Close())
	server.Listener, err = net.Listen("tcp", net.JoinHostPort(c.HostIP, "0"))
	check(t, err)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)

	hook := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": map[string]any{"name": namespace},
		"webhooks": []any{map[string]any{
			"name":                    "pods.eks.test",
			"clientConfig":            map[string]any{"url": "https://" + server.Listener.Addr().String(), "caBundle": []byte(ca.PEM)},
			"rules":                   []any{map[string]any{"operations": []any{"CREATE"}, "apiGroups": []any{""}, "apiVersions": []any{"v1"}, "resources": []any{"pods"}}},
			"namespaceSelector":       map[string]any{"matchLabels": map[string]any{corev1.LabelMetadataName: namespace}},
			"admissionReviewVersions": []any{"v1"}, "sideEffects": "None", "failurePolicy": "Fail",
		}},
	}}
	all := c.Client(t).Resource(webhooks)
	_, err = all.Create(t.Context(), hook, metav1.CreateOptions{})
	check(t, err)
	t.Cleanup(func() { check(t, all.Delete(context.Background(), namespace, metav1.DeleteOptions{})) })
}

// patchOf returns the JSON Patch that adds variables to each container of a pod.
func patchOf(raw []byte, add []corev1.EnvVar) ([]byte, error) {
	var pod corev1.Pod
	if err := json.Unmarshal(raw, &pod); err != nil {
		return nil, err
	}
	type operation struct {
		Op    string          `json:"op"`
		Path  string          `json:"path"`
		Value []corev1.EnvVar `json:"value"`
	}
	var patch []operation
	for field, containers := range map[string][]corev1.Container{"initContainers": pod.Spec.InitContainers, "containers": pod.Spec.Containers} {
		for i := range containers {
			patch = append(patch, operation{"add", fmt.Sprintf("/spec/%s/%d/env", field, i), append(containers[i].Env, add...)})
		}
	}
	return json.Marshal(patch)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
