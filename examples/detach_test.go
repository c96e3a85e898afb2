package examples_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/internal/test/kubernetestest"
	"github.com/tenon-ml/tenon/internal/test/postgrestest"
	"github.com/tenon-ml/tenon/planner/state"
)

// A remote is a system whose plans are applied in the cluster.
type remote struct {
	*system
	cluster   *kubernetestest.Cluster
	client    dynamic.Interface
	db        *postgrestest.Server // pods reach it, too
	namespace string
	state     string // URL
	tags      []string
}

// newRemote makes one whose pods find the state at what stateOf makes of its URL.
func newRemote(t *testing.T, stateOf func(url string) string) *remote {
	t.Helper()
	return newRemoteOf(t, "testdata/detach", stateOf)
}

func newRemoteOf(t *testing.T, example string, stateOf func(url string) string) *remote {
	t.Helper()
	c := kubernetestest.Up(t)
	namespace := c.Namespace(t)
	c.StoreSecret(t, namespace, "detach-store")
	db := postgrestest.StartAt(t, c.HostIP)
	url, store := db.URL(), c.S3.Bucket(t, namespace)
	c.Secret(t, namespace, "detach-state", map[string]string{"TENON_STATE": stateOf(db.From(url))})
	kubeconfig := c.ServiceAccount(t, namespace, kubernetes.Rules()...)

	s := newSystem(t, example)
	s.env = append(c.S3.Environ(), "KUBECONFIG="+kubeconfig, "TENON_STATE="+url, "TENON_ARTIFACTS="+store)
	return &remote{system: s, cluster: c, client: c.Client(t), db: db, namespace: namespace, state: url, tags: []string{
		"-t", "base=" + base, "-t", "namespace=" + namespace, "-t", "registry=" + c.Registry, "-t", "store=" + store, "-t", "hosts=" + c.Hosts(t),
	}}
}

func (r *remote) detach(text string) string {
	r.t.Helper()
	return r.must(append([]string{"apply", "--detach", "--yes", "-t", "text=" + text}, r.tags...)...)
}

// atWork waits until tenon status says that a unit is at work.
func (r *remote) atWork(unit string) {
	r.t.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		out := r.must("status")
		if strings.Contains(out, "▸ "+unit) {
			return
		}
		if time.Now().After(end) {
			log, err := r.run("logs")
			r.t.Fatalf("%s is not running:\n%s\nthe walk says, %v:\n%s", unit, out, err, log)
		}
	}
}

// outcomes are those of all runs of a unit, and of all revisions, the oldest first.
func (r *remote) outcomes(unit string) (runs, revisions []state.Outcome) {
	r.t.Helper()
	s, err := state.Open(r.t.Context(), r.state)
	if err != nil {
		r.t.Fatal(err)
	}
	defer s.Close()
	all, err := s.Runs(r.t.Context(), unit, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	history, err := s.Revisions(r.t.Context(), 0)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, run := range slices.Backward(all) {
		runs = append(runs, run.Outcome)
	}
	for _, rev := range slices.Backward(history) {
		revisions = append(revisions, rev.Outcome)
	}
	return runs, revisions
}

// pod is the pod that applies the plan. Its node may not have reported yet that it runs.
func (r *remote) pod() string {
	r.t.Helper()
	list, err := r.client.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace(r.namespace).List(r.t.Context(), metav1.ListOptions{LabelSelector: "tenon.dev/unit=apply"})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range list.Items {
		if phase, _, _ := unstructured.NestedString(p.Object, "status", "phase"); phase != "Succeeded" && phase != "Failed" {
			return p.GetName()
		}
	}
	r.t.Fatalf("of %d pods of the detached apply, all have ended", len(list.Items))
	return ""
}

// kill ends the detached apply as a crash does.
func (r *remote) kill() {
	r.t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		r.t.Fatal(err)
	}
	killed := false
	for _, path := range found {
		b, _ := os.ReadFile(path) // one that has ended since has none
		if line := string(b); strings.Contains(line, "tenon\x00run-detached\x00") && strings.Contains(line, r.namespace) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err == nil {
				err = syscall.Kill(pid, syscall.SIGKILL)
			}
			if err != nil {
				r.t.Fatal(err)
			}
			killed = true
		}
	}
	if !killed {
		r.t.Fatal("there is no detached apply to kill")
	}
}

// An apply goes on in the cluster without the machine that began it, with no more
// rights there than tenon asks for; it survives the loss of its pod, and does
// nothing twice.
func TestAnApplyGoesOnInTheCluster(t *testing.T) {
	t.Parallel() // it mostly waits
	r := newRemote(t, same)
	data := filepath.Join(r.dir, "data", "rows.csv") // a link is as good
	if err := errors.Join(os.Rename(data, filepath.Join(r.dir, "rows")), os.Symlink("../rows", data)); err != nil {
		t.Fatal(err)
	}

	contains(t, r.detach("one"), "Detached as revision 1", "tenon logs -f")
	r.atWork("steps/slow")
	contains(t, r.must("status"), "revision 1, started", "runs in the cluster as Job apply-")
	out, err := r.run(append([]string{"apply", "--yes"}, r.tags...)...)
	if err == nil {
		t.Errorf("another apply was let in:\n%s", out)
	}
	contains(t, out, "the state is locked", "tenon apply --detach, revision 1")
	r.kill()
	contains(t, r.must("logs", "-f", "steps/slow"), "one begins", "one ends")
	contains(t, r.must("logs", "-f"), "steps/slow", "found running", "Applied as revision 1")
	contains(t, r.must("logs", "steps/slow"), "one begins", "one ends")
	contains(t, r.must(append([]string{"plan", "-t", "text=one"}, r.tags...)...), "Nothing to do")

	// A pod that is stopped hands over at once.
	r.detach("two")
	r.atWork("steps/slow")
	if err := r.client.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace(r.namespace).Delete(t.Context(), r.pod(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	contains(t, r.must("logs", "-f"), "found running", "Applied as revision 2")

	// Who ends the detached apply ends what it runs.
	r.detach("three")
	r.atWork("steps/slow")
	contains(t, r.must("cancel"), "Revision 3 is canceled")
	jobs, err := r.client.Resource(batchv1.SchemeGroupVersion.WithResource("jobs")).Namespace(r.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(jobs.Items) > 0 {
		t.Errorf("after cancel there are %d jobs: %v", len(jobs.Items), err)
	}
	contains(t, r.must(append([]string{"apply", "--yes", "-t", "text=three"}, r.tags...)...), "Applied as revision 4")
	contains(t, r.must("cancel"), "No apply is running")

	runs, revisions := r.outcomes("steps/slow")
	if want := []state.Outcome{state.Done, state.Done, state.Canceled, state.Done}; !slices.Equal(runs, want) || !slices.Equal(revisions, want) {
		t.Errorf("runs of steps/slow are %v, and revisions %v; want %v of both", runs, revisions, want)
	}
	r.must("destroy", "--yes")
}

// A detached apply that finds another state touches nothing, and says so.
func TestADetachedApplyFindsAnotherState(t *testing.T) {
	t.Parallel()
	r := newRemote(t, func(url string) string { return url + "9" }) // another schema
	r.detach("one")
	contains(t, r.must("logs", "-f"), "TENON_STATE in the target's state_secret is postgres://", "which has no state")
	contains(t, r.must("status"), "revision 1, started", "has ended: exit 1, last output: tenon: TENON_STATE in the target's state_secret is")
	contains(t, r.must("cancel"), "Revision 1 is killed")
}

func same(url string) string { return url }

// All that is in the way is said before anything is begun.
func TestPlansThatCannotBeDetached(t *testing.T) {
	t.Parallel()
	r := newRemote(t, same)
	r.env = append(r.env, "TENON_STATE=", "TENON_ARTIFACTS=", "TOKEN=x")
	r.edit("detach.cue", `detached: {service_account: "test", state_secret: "detach-state"}`, "")
	r.edit("detach.cue", `after: step.#Command & {`, `after: step.#Command & {
		secrets: TOKEN: secret: env: "TOKEN"`)
	out, err := r.run(append([]string{"apply", "--detach", "--yes"}, r.tags...)...)
	if err == nil {
		t.Errorf("it is detached:\n%s", out)
	}
	contains(t, out, "the plan cannot be applied in the cluster",
		"target kubernetes is not set up for that: add detached: {state_secret: NAME}",
		"the state is in a folder of this machine",
		"keep them in the store of the target, with --artifacts 's3://",
		"steps/after: secret TOKEN comes from this machine")
	contains(t, r.must("status"), "Nothing is deployed")
}
