package kubernetes

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// A Place is where objects are.
type Place struct {
	Context   string `json:"context,omitempty"` // of the kubeconfig; "" within a cluster
	Cluster   string `json:"cluster,omitempty"` // that tenon has made, see [cloud.Cluster]; it needs no kubeconfig
	Namespace string `json:"namespace"`
	Store     string `json:"store"` // URL of the store through which artifacts pass
}

// kinds are the types that tenon creates and reads, and no others: registering every
// type of a cluster takes longer than most commands of tenon.
var kinds = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, batchv1.AddToScheme, appsv1.AddToScheme, networkingv1.AddToScheme,
		policyv1.AddToScheme, autoscalingv2.AddToScheme, discoveryv1.AddToScheme, rbacv1.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(err) // a bug: a type registered twice
		}
	}
	s.AddKnownTypes(gatewayGroup, &httpRoute{})
	metav1.AddToGroupVersion(s, gatewayGroup)
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	return s
})

// A cluster is a connection to one namespace of a cluster.
type cluster struct {
	namespace string
	host      string
	config    *rest.Config
	http      *http.Client
	accounts  accounts
	codecs    serializer.CodecFactory

	mu      sync.Mutex
	clients map[schema.GroupVersion]rest.Interface
}

// kubeconfig loads the user's configuration by the same rules as kubectl.
func kubeconfig(path, name string) clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	rules.WarnIfAllMissing = false
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: name})
}

// settle fills in what a place leaves to the kubeconfig. A handle then keeps its
// meaning when the user switches the current context.
func settle(path string, p Place) (Place, error) {
	if (p.Context != "" || p.Cluster != "") && p.Namespace != "" {
		return p, nil
	}
	config := kubeconfig(path, p.Context)
	if p.Context == "" {
		raw, err := config.RawConfig()
		if err != nil {
			return p, fmt.Errorf("read the kubeconfig: %w", err)
		}
		p.Context = raw.CurrentContext
	}
	if p.Namespace == "" {
		namespace, _, err := config.Namespace()
		if err != nil {
			return p, explainConfig(p.Context, err)
		}
		p.Namespace = namespace
	}
	return p, nil
}

// dial creates a connection. It sends no request to the cluster yet.
func (o Options) dial(ctx context.Context, p Place) (*cluster, error) {
	var config *rest.Config
	var accounts accounts
	var err error
	switch {
	case p.Cluster != "":
		if config, accounts, err = o.reach(ctx, p.Cluster); err != nil {
			return nil, err
		}
	case o.Home != "" && p.Context == o.Home:
		config, err = rest.InClusterConfig()
	default:
		config, err = kubeconfig(o.Kubeconfig, p.Context).ClientConfig()
	}
	if err != nil {
		return nil, explainConfig(p.Context, err)
	}
	// The server limits its own load and says so (429). A limit in the client would
	// make 50 jobs wait for one another.
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	config.UserAgent = "tenon"
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, explainConfig(p.Context, err)
	}
	return &cluster{
		namespace: p.Namespace, host: config.Host, config: config, http: client,
		accounts: accounts, codecs: serializer.NewCodecFactory(kinds()), clients: map[schema.GroupVersion]rest.Interface{},
	}, nil
}

func explainConfig(name string, err error) error {
	switch {
	case clientcmd.IsEmptyConfig(err):
		return errors.New("no kubeconfig: set KUBECONFIG, or create ~/.kube/config")
	case clientcmd.IsContextNotFound(err) || strings.HasSuffix(err.Error(), "does not exist"): // there are two errors, and one has no type
		return fmt.Errorf("the kubeconfig has no context %q: `kubectl config get-contexts` lists the contexts", name)
	}
	return fmt.Errorf("read the kubeconfig: %w", err)
}

// client returns the client for one version of an API group.
func (c *cluster) client(gv schema.GroupVersion) (rest.Interface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.clients[gv]; r != nil {
		return r, nil
	}
	config := rest.CopyConfig(c.config)
	config.GroupVersion, config.APIPath = &gv, "/apis"
	if gv.Group == "" {
		config.APIPath = "/api"
	}
	config.NegotiatedSerializer = c.codecs.WithoutConversion()
	r, err := rest.RESTClientForConfigAndClient(config, c.http)
	if err != nil {
		return nil, err
	}
	c.clients[gv] = r
	return r, nil
}

// kindOf returns the kind of an object, even if the object does not carry it.
func kindOf(o runtime.Object) schema.GroupVersionKind {
	gvks, _, err := kinds().ObjectKinds(o)
	if err != nil {
		panic(err) // a bug: a type that is not in kinds
	}
	return gvks[0]
}

// plural returns the resource name in the object's URL: "jobs".
func plural(o runtime.Object) string {
	kind := kindOf(o)
	kind.Kind = strings.TrimSuffix(kind.Kind, "List")
	many, _ := meta.UnsafeGuessKindToResource(kind)
	return many.Resource
}

// request starts a call about objects of the kind of o.
func (c *cluster) request(verb string, o runtime.Object) (*rest.Request, error) {
	r, err := c.client(kindOf(o).GroupVersion())
	if err != nil {
		return nil, err
	}
	return r.Verb(verb).Namespace(c.namespace).Resource(plural(o)), nil
}

// get reads the object with o's name into o.
func (c *cluster) get(ctx context.Context, o object) error {
	r, err := c.request(http.MethodGet, o)
	if err != nil {
		return err
	}
	return c.explain(r.Name(o.GetName()).Do(ctx).Into(o))
}

// list reads all objects of a kind that the options select.
func (c *cluster) list(ctx context.Context, list runtime.Object, o metav1.ListOptions) error {
	r, err := c.request(http.MethodGet, list)
	if err != nil {
		return err
	}
	return c.explain(r.VersionedParams(&o, metav1.ParameterCodec).Do(ctx).Into(list))
}

// create creates an object, fails if it exists, and reads the result into o.
func (c *cluster) create(ctx context.Context, o object) error {
	r, err := c.request(http.MethodPost, o)
	if err != nil {
		return err
	}
	o.GetObjectKind().SetGroupVersionKind(kindOf(o))
	return c.explain(r.Param("fieldManager", manager).Body(o).Do(ctx).Into(o))
}

// apply creates or updates an object by server-side apply, and reads the result into o.
// Fields that it does not set stay as they are.
func (c *cluster) apply(ctx context.Context, o object) error {
	r, err := c.request(http.MethodPatch, o)
	if err != nil {
		return err
	}
	o.GetObjectKind().SetGroupVersionKind(kindOf(o))
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	r = r.SetHeader("Content-Type", string(types.ApplyYAMLPatchType)).Name(o.GetName())
	return c.explain(r.Param("fieldManager", manager).Param("force", "true").Body(b).Do(ctx).Into(o))
}

// delete deletes the object with o's name. An object that does not exist is no error.
func (c *cluster) delete(ctx context.Context, o object, how metav1.DeleteOptions) error {
	r, err := c.request(http.MethodDelete, o)
	if err != nil {
		return err
	}
	how.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}
	err = c.explain(r.Name(o.GetName()).Body(&how).Do(ctx).Error())
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// An unreachable error means that the cluster does not answer.
type unreachable struct {
	host, why string
	err       error
}

func (u *unreachable) Error() string { return fmt.Sprintf("the cluster at %s %s", u.host, u.why) }
func (u *unreachable) Unwrap() error { return u.err }

// explain adds to an error of the cluster what to do about it.
func (c *cluster) explain(err error) error {
	var status *apierrors.StatusError
	var untrusted x509.UnknownAuthorityError
	var op *net.OpError
	switch {
	case err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the cluster at %s does not accept this user: log in again, or choose another context of the kubeconfig: %w", c.host, err)
	case apierrors.IsForbidden(err) && errors.As(err, &status) && strings.Contains(err.Error(), " cannot "):
		return fmt.Errorf("the cluster refuses it: %w: `tenon rbac` prints the required permissions", err)
	case apierrors.IsNotFound(err) && errors.As(err, &status) && status.ErrStatus.Details != nil && status.ErrStatus.Details.Kind == "namespaces":
		return fmt.Errorf("namespace %q does not exist in the cluster: create it (`kubectl create namespace %s`), or choose another one in the target: %w", c.namespace, c.namespace, err)
	case errors.As(err, &untrusted):
		return fmt.Errorf("the cluster at %s has a certificate that the kubeconfig does not trust: set certificate-authority there: %w", c.host, err)
	case errors.As(err, &status):
		return err
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return &unreachable{c.host, "closes the connection: check that it runs and can be reached from here, and run tenon apply again, which finds the pods again", err}
	case errors.As(err, &op):
		return &unreachable{c.host, "does not answer: check that it runs and can be reached from here, and run tenon apply again, which finds the pods again: " + op.Err.Error(), err}
	}
	return err
}
