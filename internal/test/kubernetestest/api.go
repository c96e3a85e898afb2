package kubernetestest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/tenon-ml/tenon/internal/test/s3test"
)

// A Cluster is one that runs.
type Cluster struct {
	Dir        string         `json:"dir"`
	Kubeconfig string         `json:"kubeconfig"` // file of one who may do anything
	Context    string         `json:"context"`    // in it
	NodeIP     string         `json:"node_ip"`
	HostIP     string         `json:"host_ip"`    // at which pods find the machine
	Registry   string         `json:"registry"`   // "198.18.0.2:5000", without TLS
	TestImage  string         `json:"test_image"` // an image of the program in image/, for any user
	S3         *s3test.Server `json:"s3"`         // pods reach it, too
}

// Shared sees to it that the user's cluster runs until what it returns is called. It
// is for executortest.Main, whose folder it does not need.
func Shared(string) (release func() error, err error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	return use(dir, os.Stderr)
}

// Up is the cluster that main or [Shared] sees to.
func Up(t testing.TB) *Cluster {
	t.Helper()
	dir, err := Dir()
	if err != nil {
		t.Fatal(err)
	}
	r, err := read(dir)
	if err != nil {
		t.Fatalf("does TestMain call kubernetestest.Shared? %v", err)
	}
	return &r.Cluster
}

// Environment is what a shell evaluates to use the cluster.
func (c *Cluster) Environment() string {
	var b strings.Builder
	for _, v := range append([]string{"KUBECONFIG=" + c.Kubeconfig, "TENON_TEST_REGISTRY=" + c.Registry, "TENON_TEST_S3=" + c.S3.Endpoint}, c.S3.Environ()...) {
		name, value, _ := strings.Cut(v, "=")
		fmt.Fprintf(&b, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	return b.String()
}

// Config is how to reach the cluster as one who may do anything.
func (c *Cluster) Config(t testing.TB) *rest.Config {
	t.Helper()
	config, err := c.config()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func (c *Cluster) config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // as many requests as there are
	config.WarningHandler = rest.NoWarnings{}
	return config, nil
}

// Client asks for anything, as one who may.
func (c *Cluster) Client(t testing.TB) dynamic.Interface {
	t.Helper()
	client, err := dynamic.NewForConfig(c.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// StoreSecret makes a Secret with what the S3 server is asked with. It goes with the
// test.
func (c *Cluster) StoreSecret(t testing.TB, namespace, name string) {
	t.Helper()
	data := map[string]string{}
	for _, v := range c.S3.Environ() {
		name, value, _ := strings.Cut(v, "=")
		data[name] = value
	}
	c.Secret(t, namespace, name, data)
}

// Secret makes a Secret. It goes with the test.
func (c *Cluster) Secret(t testing.TB, namespace, name string, data map[string]string) {
	t.Helper()
	in := c.Client(t).Resource(secrets).Namespace(namespace)
	secret := &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: data}
	if _, err := in.Create(t.Context(), object(t, secret), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// Hosts is a folder that says how the registry is reached, which has no TLS.
func (c *Cluster) Hosts(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	at := filepath.Join(dir, c.Registry)
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(at, "hosts.toml"), fmt.Appendf(nil, "server = \"http://%s\"\n", c.Registry), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

var (
	secrets         = corev1.SchemeGroupVersion.WithResource("secrets")
	nodes           = corev1.SchemeGroupVersion.WithResource("nodes")
	namespaces      = corev1.SchemeGroupVersion.WithResource("namespaces")
	serviceAccounts = corev1.SchemeGroupVersion.WithResource("serviceaccounts")
	roles           = rbacv1.SchemeGroupVersion.WithResource("roles")
	roleBindings    = rbacv1.SchemeGroupVersion.WithResource("rolebindings")
)

func (c *Cluster) nodeReady(ctx context.Context) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	u, err := client.Resource(nodes).Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	var node corev1.Node
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &node); err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
			return errors.New(condition.Message)
		}
	}
	if slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoSchedule }) {
		return errors.New("it takes no pods yet")
	}
	if len(node.Status.Conditions) == 0 {
		return errors.New("it has not said how it is")
	}
	return nil
}

// Namespace makes a namespace in which pods have to keep to the restricted profile
// of Pod Security. It is removed with the test. What the test leaves in it is an
// error.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	ctx, client := t.Context(), c.Client(t)
	made, err := client.Resource(namespaces).Create(ctx, object(t, &corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "test-",
			Labels:       map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
		},
	}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	name := made.GetName()
	t.Cleanup(func() {
		// It is gone some seconds later: the cluster gives others the time to hear of it.
		if err := client.Resource(namespaces).Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		if !t.Failed() {
			c.empty(t, name)
		}
	})
	// Pods cannot be made before their account is.
	await(ctx, t, "the service account of "+name, func() error {
		_, err := client.Resource(serviceAccounts).Namespace(name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	return name
}

// empty waits until there is nothing in a namespace that the cluster did not put
// there.
func (c *Cluster) empty(t testing.TB, namespace string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	await(ctx, t, "left in "+namespace+" by the test", func() error {
		left, err := c.left(ctx, namespace)
		if err == nil && len(left) > 0 {
			err = errors.New(strings.Join(left, ", "))
		}
		return err
	})
}

// left are the objects of a namespace, as KIND/NAME.
func (c *Cluster) left(ctx context.Context, namespace string) (out []string, err error) {
	config, err := c.config()
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	kinds, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	lists, err := kinds.ServerPreferredNamespacedResources()
	if err != nil {
		return nil, err
	}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, r := range list.APIResources {
			if r.Kind == "Event" || gv.Group == metricsGroup || !slices.Contains(r.Verbs, "list") {
				continue
			}
			found, err := client.Resource(gv.WithResource(r.Name)).Namespace(namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, err
			}
			for _, o := range found.Items {
				if name := r.Kind + "/" + o.GetName(); name != "ServiceAccount/default" && name != "ConfigMap/kube-root-ca.crt" {
					out = append(out, name)
				}
			}
		}
	}
	return out, nil
}

// ServiceAccount makes a service account that may do what rules say in a namespace,
// and nothing else, and returns a kubeconfig of it. All goes with the test.
func (c *Cluster) ServiceAccount(t testing.TB, namespace string, rules ...rbacv1.PolicyRule) (kubeconfig string) {
	t.Helper()
	ctx, client := t.Context(), c.Client(t)
	const name = "test"
	meta := metav1.ObjectMeta{Name: name, Namespace: namespace}
	for _, o := range []struct {
		kind   schema.GroupVersionResource
		object any
	}{
		{serviceAccounts, &corev1.ServiceAccount{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: meta}},
		{roles, &rbacv1.Role{TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role"}, ObjectMeta: meta, Rules: rules}},
		{roleBindings, &rbacv1.RoleBinding{
			TypeMeta: metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "RoleBinding"}, ObjectMeta: meta,
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: namespace}},
			RoleRef:  rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: name},
		}},
	} {
		in := client.Resource(o.kind).Namespace(namespace)
		if _, err := in.Create(ctx, object(t, o.object), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := in.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	asked, err := client.Resource(serviceAccounts).Namespace(namespace).Create(ctx, object(t, &authenticationv1.TokenRequest{
		TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"}, ObjectMeta: meta,
	}), metav1.CreateOptions{}, "token")
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := unstructured.NestedString(asked.Object, "status", "token")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.AuthInfos = map[string]*clientcmdapi.AuthInfo{name: {Token: token}}
	config.Contexts[c.Context].AuthInfo = name
	config.Contexts[c.Context].Namespace = namespace
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// object is a typed object as the client takes it.
func object(t testing.TB, o any) *unstructured.Unstructured {
	t.Helper()
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: m}
}

// await asks until the answer is no error, or the context ends.
func await(ctx context.Context, t testing.TB, what string, ready func() error) {
	t.Helper()
	for err := ready(); err != nil; err = ready() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
