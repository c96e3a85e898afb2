package kubernetes_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/executors/kubernetes/kubernetestest"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
)

// What the tests share, also with the tenons that they start and kill.
const (
	imageVar     = "TENON_TEST_IMAGE"
	namespaceVar = "TENON_TEST_NAMESPACE"
	storeVar     = "TENON_TEST_STORE"
)

func TestMain(m *testing.M) { executortest.Main(m, kubernetestest.Shared, shared) }

// shared makes the image of all tests of the package: the suite's program, and that
// of pods.
func shared(dir string) (stop func() error, err error) {
	runner := filepath.Join(dir, "tenon-pod")
	if err := executortest.BuildStatic(runner, "github.com/tenon-ml/tenon/cmd/tenon-pod"); err != nil {
		return nil, err
	}
	return func() error { return nil }, os.Setenv(runnerVar, runner)
}

const runnerVar = "TENON_TEST_RUNNER"

// push puts the image into the registry of the cluster and returns its name, by
// digest.
func push(t testing.TB, c *kubernetestest.Cluster) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for to, from := range map[string]string{"bin/program": executortest.Program(), pod.Program[1:]: os.Getenv(runnerVar)} {
		content, err := os.ReadFile(from)
		ok(t, err)
		ok(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: to, Mode: 0o755, Size: int64(len(content))}))
		_, err = w.Write(content)
		ok(t, err)
	}
	ok(t, w.Close())
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(b.Bytes(), types.DockerUncompressedLayer))
	ok(t, err)
	config, err := img.ConfigFile()
	ok(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	img, err = mutate.ConfigFile(img, config)
	ok(t, err)
	ref, err := name.ParseReference(c.Registry+"/program:1", name.Insecure)
	ok(t, err)
	ok(t, remote.Write(ref, img))
	digest, err := img.Digest()
	ok(t, err)
	return c.Registry + "/program@" + digest.String()
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A place is a namespace of a cluster with a store, for a test.
type place struct {
	cluster                 *kubernetestest.Cluster
	namespace, store, image string
}

const storeSecret = "store"

func newPlace(t testing.TB) place {
	t.Helper()
	c := kubernetestest.Up(t)
	c.S3.Setenv(t)
	p := place{cluster: c, namespace: os.Getenv(namespaceVar), store: os.Getenv(storeVar), image: os.Getenv(imageVar)}
	if p.namespace != "" { // it is that of the test that started this process
		return p
	}
	p.namespace, p.image = c.Namespace(t), push(t, c)
	p.store = c.S3.Bucket(t, p.namespace)
	t.Log(p.store)
	data := map[string]string{}
	for _, kv := range c.S3.Environ() {
		k, v, _ := bytes.Cut([]byte(kv), []byte("="))
		data[string(k)] = string(v)
	}
	p.make(t, &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: storeSecret}, StringData: data})
	return p
}

// make makes an object that goes with the test.
func (p place) make(t testing.TB, o kubernetes.Object) {
	t.Helper()
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	ok(t, err)
	u := &unstructured.Unstructured{Object: m}
	in := p.cluster.Client(t).Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(p.namespace)
	_, err = in.Create(t.Context(), u, metav1.CreateOptions{})
	ok(t, err)
	t.Cleanup(func() {
		if err := in.Delete(context.Background(), u.GetName(), metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func (p place) executor(t testing.TB, change ...func(*kubernetes.Options)) *kubernetes.Executor {
	t.Helper()
	o := kubernetes.Options{
		Settings:   kubernetes.Settings{Namespace: p.namespace, Store: p.store, StoreSecret: storeSecret},
		Kubeconfig: p.cluster.Kubeconfig,
		Image: func(_ context.Context, t executors.Task) (string, error) {
			if t.Image == "" {
				return "", errors.New("no image")
			}
			return t.Image, nil
		},
	}
	for _, c := range change {
		c(&o)
	}
	e := kubernetes.New(o)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestConformance(t *testing.T) {
	p := newPlace(t)
	t.Setenv(namespaceVar, p.namespace)
	t.Setenv(storeVar, p.store)
	t.Setenv(imageVar, p.image)
	executortest.Run(t, executortest.Config{
		New:      func(t testing.TB) executors.Executor { return p.executor(t) },
		Program:  "/bin/program",
		Image:    p.image,
		Lacks:    []executortest.Feature{executortest.PIDs},
		Contains: true,
	})
}
