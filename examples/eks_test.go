package examples_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/internal/test/containers"
	"github.com/tenon-ml/tenon/internal/test/ekstest"
	"github.com/tenon-ml/tenon/internal/test/kubernetestest"
	"github.com/tenon-ml/tenon/internal/test/tofutest"
)

// shop is a system with one job, in a cluster that Tenon makes.
const shop = `package shop

import (
	"tenon.dev/step"
	"tenon.dev/tenon"
)

tenon.#System
name:   "shop"
target: "eks"
targets: eks: tenon.#EKS & {region: %q, account: %q, namespace: %q, hosts: %q, access: ["192.0.2.0/24"], base: "localhost/base:1"}

steps: make: step.#Command & {
	command: ["sh", "make.sh"]
	files: ["make.sh"]
	outputs: out: kind: "file"
}
`

const makeShop = "echo made in the cluster\necho content > \"${TENON_STEP%/*}/out/out\"\n"

// One apply makes a cluster of EKS with OpenTofu and runs a job in it. The provider is made from the schema of that of AWS.
// Once it has made the cluster, EKS is the cluster of the tests, and once it has made the bucket, S3 has it.
func TestAnApplyMakesAClusterOfEKSAndRunsAJobInIt(t *testing.T) {
	c := kubernetestest.Up(t)
	c.S3.Setenv(t)
	ekstest.DefinePools(t, c)
	namespace := c.Namespace(t)
	t.Setenv("AWS_ENDPOINT_URL_S3", c.S3.Endpoint)
	ekstest.Identify(t, c, namespace, append(c.S3.Environ(), "AWS_ENDPOINT_URL_S3="+c.S3.Endpoint)...)
	const cluster = "tenon-shop"
	front := ekstest.Front(t, cluster, c.Config(t))
	var exists atomic.Bool
	ekstest.ServeFound(t, func(name string) (ekstest.Cluster, bool) { return front, name == cluster && exists.Load() })
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tofutest.Answer(w, r, func(change tofutest.Change) error {
			switch change.Type {
			case "aws_eks_cluster":
				exists.Store(change.Action != "delete")
			case "aws_s3_bucket":
				return changeBucket(filepath.Join(c.S3.Dir, change.Text("bucket")), change)
			}
			return nil
		})
	}))
	t.Cleanup(hook.Close)
	bed, err := tofutest.StartCloud(t.Output(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// Nodes and tenon find the registry of the tests under the name of ECR.
	ecr, hosts := ekstest.Account+".dkr.ecr."+ekstest.Region+".amazonaws.com", t.TempDir()
	nodes := filepath.Join(c.Dir, "run", "certs.d")
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Join(nodes, ecr)) })
	for _, folder := range []string{hosts, nodes} {
		if err := containers.Mirror(folder, ecr, c.Registry); err != nil {
			t.Fatal(err)
		}
	}
	account := c.Client(t).Resource(corev1.SchemeGroupVersion.WithResource("serviceaccounts")).Namespace(namespace)
	t.Cleanup(func() { // it stays, because pods of all versions use it
		if err := account.Delete(context.Background(), cloud.ServiceAccount("steps/make"), metav1.DeleteOptions{}); err != nil && !t.Failed() {
			t.Error(err)
		}
	})

	s := &system{t: t, dir: t.TempDir()}
	if err := os.CopyFS(filepath.Join(s.dir, "cue.mod"), os.DirFS(filepath.Join("flights", "cue.mod"))); err != nil {
		t.Fatal(err)
	}
	s.env = append(bed.Environ(), tofutest.Hook+"="+hook.URL, "XDG_CACHE_HOME="+t.TempDir(), "PATH="+bed.Bin()+string(filepath.ListSeparator)+os.Getenv("PATH"))
	for name, text := range map[string]string{"shop.cue": fmt.Sprintf(shop, ekstest.Region, ekstest.Account, namespace, hosts), "make.sh": makeShop} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	base := filepath.Join(t.TempDir(), "base.tar")
	const pack = `tar -chf "$0" -C / $(for p in sh cat; do echo bin/$p; ldd /bin/$p; done | grep -o "bin/[a-z]*$\|/lib[^ ]*" | sed s,^/,, | sort -u)`
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", pack, base).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.must("image", "import", base, "--name", "localhost/base:1")
	t.Cleanup(func() {
		if t.Failed() {
			_, _ = s.run("destroy", "--yes", "--delete-artifacts")
		}
	})

	contains(t, s.must("plan"), "+ aws_eks_cluster.main", "+ aws_s3_bucket.artifacts", "+ steps/make")
	if exists.Load() {
		t.Error("a plan makes the cluster")
	}
	contains(t, s.must("apply", "--yes"), "aws_eks_cluster.main", "Applied as revision")
	contains(t, s.must("logs", "steps/make"), "made in the cluster")
	contains(t, s.must("plan", "--detailed-exitcode"), "Nothing to do", "Infrastructure: unchanged")

	s.must("destroy", "--yes", "--delete-artifacts")
	if left, err := bed.Resources(); err != nil || len(left) > 0 {
		t.Errorf("a destroy leaves %v, %v", left, err)
	}
	if exists.Load() {
		t.Error("a destroy leaves the cluster")
	}
	contains(t, s.must("status"), "Nothing is deployed")
}

// changeBucket makes or removes the folder of a bucket. One that is not empty is only removed by force.
func changeBucket(dir string, change tofutest.Change) error {
	switch {
	case change.Action == "create":
		return os.Mkdir(dir, 0o755)
	case change.Action == "delete" && change.Values["force_destroy"] == true:
		return os.RemoveAll(dir)
	case change.Action == "delete":
		return os.Remove(dir)
	}
	return nil
}
