package kubernetestest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// A cluster of these tests' own: it is started, used and ended beside any other one
// of the machine.
func TestCluster(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(folderVar, dir)
	before := machine(t)
	release, err := Shared("")
	if err != nil {
		t.Fatal(err)
	}
	c := Up(t)
	c.S3.Setenv(t)
	r, err := read(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("use", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *Cluster){
			"pods keep to the restricted profile":                 refusesPods,
			"a job runs an image of the registry":                 runsJobs,
			"a service answers the machine and pods":              serves,
			"pods read from the S3 server what a test has stored": reachesS3,
			"a service account may do what it was given":          bindsAccounts,
			"a namespace reports what is left in it":              tellsLeft,
		} {
			t.Run(name, func(t *testing.T) { t.Parallel(); test(t, c) })
		}
	})
	t.Run("it is shared", func(t *testing.T) { shares(t, dir, r.Pid) })
	t.Run("the environment of a shell", func(t *testing.T) {
		got, err := output("", "sh", "-c", `eval "$("$0" env "$1")" && echo "$KUBECONFIG $AWS_SECRET_ACCESS_KEY"`, r.path("cluster"), dir)
		if want := c.Kubeconfig + " " + c.S3.SecretKey; err != nil || got != want {
			t.Errorf("%q, wanted %q: %v", got, want, err)
		}
	})
	if err := release(); err != nil {
		t.Fatal(err)
	}
	t.Run("nothing is left of it", func(t *testing.T) {
		if diff := machine(t).since(before, r); len(diff) > 0 {
			t.Errorf("left on the machine:\n%s", strings.Join(diff, "\n"))
		}
		if _, err := Describe(dir); err == nil || !strings.Contains(err.Error(), "make cluster-up") {
			t.Errorf("a folder in which nothing runs: %v", err)
		}
	})
}

// What a node that was killed has left is swept by who comes next, and a cluster
// that had not come up when its starter was killed is none.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	before := machine(t)
	keep := func() instance {
		t.Helper()
		if _, err := StartDetached(dir, os.Stderr); err != nil {
			t.Fatal(err)
		}
		r, err := read(dir)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := keep()
	if err := end(first.Pid); err != nil {
		t.Fatal(err)
	}
	if _, err := Describe(dir); err == nil {
		t.Error("a node that was killed is said to run")
	}
	second := keep()
	if second.Pid == first.Pid {
		t.Error("the node that was killed is taken for one that runs")
	}
	if again := keep(); again.Pid != second.Pid {
		t.Error("a cluster that runs is started again")
	}
	second.Ready = false
	if err := second.write(); err != nil {
		t.Fatal(err)
	}
	third := keep()
	if third.Pid == second.Pid {
		t.Error("a cluster that has not come up is taken for one that has")
	}
	if err := Down(dir); err != nil {
		t.Fatal(err)
	}
	for _, r := range []instance{first, second, third} {
		if diff := machine(t).since(before, r); len(diff) > 0 {
			t.Errorf("left on the machine:\n%s", strings.Join(diff, "\n"))
		}
	}
}

// A missing program is named, with the command that installs it.
func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := installed(); err == nil || !strings.Contains(err.Error(), "runc, docker-registry, versitygw, iptables, ip in $PATH: .ci/tools cluster installs them") {
		t.Error(err)
	}
}

// shares checks that a second user gets the same cluster and leaves it running, and
// that it is not stopped while it is in use.
func shares(t *testing.T, dir string, pid int) {
	release, err := use(dir, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := read(dir); err != nil || r.Pid != pid {
		t.Errorf("the second user has node %d, the first one %d: %v", r.Pid, pid, err)
	}
	if err := Down(dir); err == nil || !strings.Contains(err.Error(), "tests use the cluster") {
		t.Errorf("Down while tests use the cluster: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if _, err := Describe(dir); err != nil {
		t.Errorf("the second user took the cluster with it: %v", err)
	}
}

func refusesPods(t *testing.T, c *Cluster) {
	pod := pod(c, "print", "hello")
	pod.Spec.SecurityContext.RunAsNonRoot = nil
	_, err := c.Client(t).Resource(pods).Namespace(c.Namespace(t)).Create(t.Context(), object(t, &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: "root"}, Spec: pod.Spec,
	}), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), `violates PodSecurity "restricted:latest": runAsNonRoot != true`) {
		t.Errorf("a pod that may be root: %v", err)
	}
}

func runsJobs(t *testing.T, c *Cluster) {
	if got := outcome(t, c, "print", "hello"); got != "hello\n" {
		t.Errorf("the job said %q", got)
	}
}

func serves(t *testing.T, c *Cluster) {
	ctx, api, ns := t.Context(), c.Client(t), c.Namespace(t)
	labels := map[string]string{"app": "web"}
	template := pod(c, "serve", ":8080")
	template.Labels = labels
	create(t, api, deployments, ns, &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template},
	})
	create(t, api, services, ns, &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
	})
	u, err := api.Resource(services).Namespace(ns).Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var service corev1.Service
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &service); err != nil {
		t.Fatal(err)
	}
	url := "http://" + service.Spec.ClusterIP + "/"
	client := http.Client{Timeout: 10 * time.Second}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	await(ctx, t, "the service", func() error {
		resp, err := client.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && !strings.HasPrefix(string(b), "hello from web-") {
			t.Fatalf("the service says %q", b)
		}
		return err
	})
	if got := outcomeIn(t, c, ns, "fetch", "http://web/"); !strings.HasPrefix(got, "hello from web-") {
		t.Errorf("the service says to a pod that knows its name: %q", got)
	}
}

func reachesS3(t *testing.T, c *Cluster) {
	c.S3.Bucket(t, "bucket")
	bucket, key := "bucket", "a/b"
	put := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("stored")}
	if _, err := c.S3.Client().PutObject(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	signed, err := s3.NewPresignClient(c.S3.Client()).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	if got := outcome(t, c, "fetch", signed.URL); got != "stored" {
		t.Errorf("a pod reads %q", got)
	}
}

func bindsAccounts(t *testing.T, c *Cluster) {
	ns, other := c.Namespace(t), c.Namespace(t)
	kubeconfig := c.ServiceAccount(t, ns, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}})
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	list := func(what schema.GroupVersionResource, ns string) error {
		_, err := client.Resource(what).Namespace(ns).List(t.Context(), metav1.ListOptions{})
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	await(ctx, t, "what was granted", func() error { return list(pods, ns) }) // the API server hears of grants a moment later
	if err := list(services, ns); !apierrors.IsForbidden(err) {
		t.Errorf("what was not granted: %v", err)
	}
	if err := list(pods, other); !apierrors.IsForbidden(err) {
		t.Errorf("in another namespace: %v", err)
	}
}

func tellsLeft(t *testing.T, c *Cluster) {
	ns := c.Namespace(t)
	left := func() string {
		found, err := c.left(t.Context(), ns)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(found, ", ")
	}
	if got := left(); got != "" {
		t.Errorf("left in a new namespace: %s", got)
	}
	in := c.Client(t).Resource(serviceAccounts).Namespace(ns)
	if _, err := in.Create(t.Context(), object(t, &corev1.ServiceAccount{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: metav1.ObjectMeta{Name: "mine"},
	}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := left(); got != "ServiceAccount/mine" {
		t.Errorf("left: %q", got)
	}
	if err := in.Delete(t.Context(), "mine", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

var (
	pods        = corev1.SchemeGroupVersion.WithResource("pods")
	services    = corev1.SchemeGroupVersion.WithResource("services")
	jobs        = batchv1.SchemeGroupVersion.WithResource("jobs")
	deployments = appsv1.SchemeGroupVersion.WithResource("deployments")
)

// pod runs the program of the cluster's image, under the restricted profile.
func pod(c *Cluster, args ...string) corev1.PodTemplateSpec {
	yes, no, user, grace := true, false, int64(65532), int64(0)
	return corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		AutomountServiceAccountToken:  &no,
		TerminationGracePeriodSeconds: &grace,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name: "program", Image: c.TestImage, Args: args,
			SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
		}},
	}}
}

// outcome is what a job in a namespace of its own says.
func outcome(t *testing.T, c *Cluster, args ...string) string {
	t.Helper()
	return outcomeIn(t, c, c.Namespace(t), args...)
}

func outcomeIn(t *testing.T, c *Cluster, ns string, args ...string) string {
	t.Helper()
	client, template, none := c.Client(t), pod(c, args...), int32(0)
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	create(t, client, jobs, ns, &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, ObjectMeta: metav1.ObjectMeta{Name: "job"},
		Spec: batchv1.JobSpec{BackoffLimit: &none, Template: template},
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	await(ctx, t, "the job", func() error {
		u, err := client.Resource(jobs).Namespace(ns).Get(ctx, "job", metav1.GetOptions{})
		if err != nil {
			return err
		}
		var job batchv1.Job
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &job); err != nil {
			return err
		}
		if job.Status.Succeeded+job.Status.Failed == 0 {
			return errors.New("it runs")
		}
		return nil
	})
	list, err := client.Resource(pods).Namespace(ns).List(ctx, metav1.ListOptions{LabelSelector: "job-name=job"})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("pods of the job: %v, %v", list, err)
	}
	transport, err := rest.HTTPClientFor(c.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.Get(c.Config(t).Host + "/api/v1/namespaces/" + ns + "/pods/" + list.Items[0].GetName() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("log of the job: %s: %s: %v", resp.Status, b, err)
	}
	return string(b)
}

// create makes an object, and removes it with what it owns before the namespace is
// looked at.
func create(t *testing.T, client dynamic.Interface, kind schema.GroupVersionResource, ns string, o metav1.Object) {
	t.Helper()
	in := client.Resource(kind).Namespace(ns)
	if _, err := in.Create(t.Context(), object(t, o), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		with := metav1.DeletePropagationBackground
		if err := in.Delete(context.Background(), o.GetName(), metav1.DeleteOptions{PropagationPolicy: &with}); err != nil {
			t.Error(err)
		}
	})
}

// A state is what of a machine clusters could change.
type state map[string]string

// machine reads it.
func machine(t *testing.T) state {
	t.Helper()
	s := state{}
	for _, name := range []string{
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
		"net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet",
	} {
		b, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			t.Fatal(err)
		}
		s["sysctl "+name] = string(b)
	}
	for _, command := range []string{"iptables-save", "ip6tables-save"} {
		out, err := output("", command)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, "KUBE-") || strings.Contains(line, "CNI-") {
				s[command+" "+line] = ""
			}
		}
	}
	return s
}

// since reports what has changed, and what there is of a cluster.
func (s state) since(before state, r instance) (out []string) {
	for _, k := range slices.Sorted(maps.Keys(s)) {
		if was, ok := before[k]; !ok || was != s[k] {
			out = append(out, k+" "+s[k])
		}
	}
	if _, err := net.InterfaceByName(r.Net.name()); err == nil {
		out = append(out, "interface "+r.Net.name())
	}
	for _, group := range r.Net.groups() {
		if _, err := os.Stat(group); err == nil {
			out = append(out, "control group "+group)
		}
	}
	if _, err := os.Stat(filepath.Join(r.Dir, "run")); err == nil {
		out = append(out, "folder "+r.path(""))
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range processes {
		if b, err := os.ReadFile(p); err == nil && bytes.Contains(b, []byte(r.Dir+"/run")) {
			out = append(out, "process "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	if b, err := os.ReadFile("/proc/self/mounts"); err != nil || bytes.Contains(b, []byte(r.Dir+"/")) {
		out = append(out, "a mount below "+r.Dir)
	}
	return out
}
