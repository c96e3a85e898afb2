package kubernetes_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/planner/state"
)

const queueLabel = "kueue.x-k8s.io/queue-name"

var (
	eventsOf = corev1.SchemeGroupVersion.WithResource("events")
	webhooks = admissionregistrationv1.SchemeGroupVersion.WithResource("mutatingwebhookconfigurations")
)

// queue suspends new jobs of the namespace that have a queue, as Kueue's webhook does.
func (p *place) queue(t testing.TB) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
			return
		}
		patch := admissionv1.PatchTypeJSONPatch
		review.Response = &admissionv1.AdmissionResponse{
			UID: review.Request.UID, Allowed: true, PatchType: &patch, Patch: []byte(`[{"op": "add", "path": "/spec/suspend", "value": true}]`),
		}
		if err := json.NewEncoder(w).Encode(review); err != nil {
			t.Error(err)
		}
	}))
	var err error
	ok(t, server.Listener.Close())
	server.Listener, err = net.Listen("tcp", net.JoinHostPort(p.HostIP, "0"))
	ok(t, err)
	certificate, trusted := certificateOf(t, net.ParseIP(p.HostIP))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	t.Cleanup(server.Close)
	none := admissionregistrationv1.SideEffectClassNone
	p.put(t, webhooks, "", &admissionregistrationv1.MutatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingWebhookConfiguration"},
		ObjectMeta: metav1.ObjectMeta{Name: p.namespace},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "queue.tenon.dev", SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: &server.URL, CABundle: trusted},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: p.namespace}},
			ObjectSelector:    &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: queueLabel, Operator: metav1.LabelSelectorOpExists}}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"batch"}, APIVersions: []string{"v1"}, Resources: []string{"jobs"}},
			}},
		}},
	})
	// The API server takes a moment to register the webhook.
	for end := time.Now().Add(program.Patience); ; time.Sleep(20 * time.Millisecond) {
		one := batchv1.Job{
			TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, ObjectMeta: metav1.ObjectMeta{Name: "probe", Labels: map[string]string{queueLabel: "any"}},
		}
		one.Spec.Template.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "one", Image: "one"}}}
		m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&one)
		ok(t, err)
		u, err := p.Client(t).Resource(jobsOf).Namespace(p.namespace).Create(t.Context(), &unstructured.Unstructured{Object: m}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		ok(t, err)
		if held, _, _ := unstructured.NestedBool(u.Object, "spec", "suspend"); held {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the API server does not ask the webhook")
		}
	}
}

// certificateOf returns a certificate for an address, and the authority that trusts it.
func certificateOf(t testing.TB, ip net.IP) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ok(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{ip}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	ok(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// suspend suspends a job, or admits it.
func (p *place) suspend(t testing.TB, task executors.Task, yes string) {
	t.Helper()
	patch(t, p.Client(t).Resource(jobsOf).Namespace(p.namespace), task.Name, `{"spec": {"suspend": `+yes+`}}`)
}

// has waits until a file contains a text.
func has(t testing.TB, path, want string) {
	t.Helper()
	for end := time.Now().Add(program.Patience); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte(want)) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s has %q, %v; want %q", filepath.Base(path), b, err, want)
		}
	}
}

// A job that is suspended in a queue says so and why; its timeout has not started. It
// runs once it is admitted.
func TestAJobInAQueue(t *testing.T) {
	p := newPlace(t)
	p.queue(t)
	e := p.executor(t)
	task := job(t, "queued", "exit", "0")
	task.Unit.Kubernetes = &ir.Placement{Queue: "research"}
	h := apply(t, e, task)
	end := wait(t, e, h)
	const waits = `it waits in queue \"research\" for admission`
	has(t, filepath.Join(task.Dir, executors.ProgressFile), `"waits":"`+waits+`"`)
	st, err := e.Inspect(t.Context(), h)
	if err != nil || st.Phase != state.Running || !st.Queued || !st.Started.IsZero() {
		t.Errorf("status %+v, %v", st, err)
	}

	// Kueue reports in events which workload it created for a job, and why that has to
	// wait.
	u, err := p.Client(t).Resource(jobsOf).Namespace(p.namespace).Get(t.Context(), task.Name, metav1.GetOptions{})
	ok(t, err)
	for _, event := range []corev1.Event{
		{Reason: "CreatedWorkload", Type: corev1.EventTypeNormal, Message: "Created Workload: " + p.namespace + "/job-queued-1a2b3",
			InvolvedObject: corev1.ObjectReference{Kind: "Job", Namespace: p.namespace, Name: task.Name, UID: u.GetUID()}},
		{Reason: "Pending", Type: corev1.EventTypeWarning, Message: "couldn't assign flavors to pod set main: insufficient unused quota for cpu",
			InvolvedObject: corev1.ObjectReference{Kind: "Workload", Namespace: p.namespace, Name: "job-queued-1a2b3"}},
	} {
		event.TypeMeta, event.ObjectMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Event"}, metav1.ObjectMeta{Name: strings.ToLower(event.Reason)}
		p.put(t, eventsOf, p.namespace, &event)
	}
	has(t, filepath.Join(task.Dir, executors.ProgressFile), waits+": couldn't assign flavors to pod set main: insufficient unused quota for cpu")

	p.suspend(t, task, "false")
	if st := end(); st.Phase != state.Succeeded || st.Started.Before(u.GetCreationTimestamp().Time) {
		t.Errorf("status %+v", st)
	}
}

// A job that its queue suspends again has not failed. It starts over when it is
// admitted again, and so does its log.
func TestAJobThatIsTakenBack(t *testing.T) {
	p := newPlace(t)
	e := p.executor(t)
	task := job(t, "taken", "lines", "30", "50ms")
	h := apply(t, e, task)
	end := wait(t, e, h)
	has(t, filepath.Join(task.Dir, "log"), "line 1\n")
	p.suspend(t, task, "true")
	has(t, filepath.Join(task.Dir, executors.ProgressFile), `"waits":"it is suspended`)
	for first := ""; ; time.Sleep(20 * time.Millisecond) { // its pod is gone before the next one starts
		all, err := p.Client(t).Resource(podsOf).Namespace(p.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "tenon.dev/task=" + task.Name})
		ok(t, err)
		if len(all.Items) == 0 {
			break
		}
		if name := all.Items[0].GetName(); first != "" && name != first {
			t.Fatalf("there is %s after %s", name, first)
		} else {
			first = name
		}
	}
	st, err := e.Inspect(t.Context(), h)
	if err != nil || st.Phase != state.Running || !st.Queued {
		t.Errorf("status %+v, %v", st, err)
	}
	p.suspend(t, task, "false")
	if st := end(); st.Phase != state.Succeeded {
		t.Errorf("status %+v", st)
	}
	if n := p.Starts(t, task); n != 2 {
		t.Errorf("its program was started %d times", n)
	}
	b, err := os.ReadFile(filepath.Join(task.Dir, "log"))
	if err != nil || strings.Count(string(b), "\n") != 30 || !strings.HasPrefix(string(b), "line 0\n") {
		t.Errorf("the log is %q, %v", b, err)
	}
}
