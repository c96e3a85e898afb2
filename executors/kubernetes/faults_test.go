package kubernetes_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/planner/state"
)

// job returns a task that runs one of the suite's programs.
func job(t testing.TB, name string, args ...string) executors.Task {
	t.Helper()
	root := t.TempDir()
	task := executors.Task{
		Unit: ir.Unit{
			ID: "steps/" + name + "/run", Entity: "steps/" + name, Kind: ir.Job, Component: "command",
			Code:    ir.Code{Runtime: ir.Command, Command: append([]string{"/bin/program"}, args...)},
			Outputs: []ir.Output{{Port: "out", Kind: ir.File}},
		},
		Key: "00112233445566778899aabbccddeeff", Name: "steps-" + name + "-run-001122334455-1",
		Image: os.Getenv(imageVar), Dir: filepath.Join(root, "run"), Code: filepath.Join(root, "code"),
	}
	ok(t, os.MkdirAll(task.Dir, 0o755))
	ok(t, os.MkdirAll(task.Code, 0o755))
	return task
}

func apply(t testing.TB, e *kubernetes.Executor, task executors.Task) state.Handle {
	t.Helper()
	h, err := e.Apply(t.Context(), task, nil)
	ok(t, err)
	t.Cleanup(func() {
		if err := e.Destroy(context.Background(), h); err != nil {
			t.Errorf("destroy after the test: %v", err)
		}
	})
	return h
}

// The message of each fault of a cluster is one line that says what to change.
func TestFaultsOfTheCluster(t *testing.T) {
	p := newPlace(t)
	e := p.executor(t)
	for name, c := range map[string]struct {
		change func(*executors.Task)
		want   string
		fails  bool // the task fails by itself; otherwise it waits
	}{
		"no-secret": {func(task *executors.Task) {
			task.Unit.Secrets = []ir.Secret{{Name: program.SecretName, Kubernetes: &ir.SecretKey{Name: "outer", Key: "value"}}}
		}, `the Secret "outer" does not exist in the namespace`, true},
		"no-key": {func(task *executors.Task) {
			task.Unit.Secrets = []ir.Secret{{Name: program.SecretName, Kubernetes: &ir.SecretKey{Name: storeSecret, Key: "value"}}}
		}, `the Secret "store" has no key "value"`, true},
		"no-secret-file": {func(task *executors.Task) {
			task.Unit.Secrets = []ir.Secret{{Name: program.SecretName, As: ir.AsFile, Kubernetes: &ir.SecretKey{Name: "outer", Key: "value"}}}
		}, `the Secret "outer" does not exist in the namespace`, true},
		"no-key-file": {func(task *executors.Task) {
			task.Unit.Secrets = []ir.Secret{{Name: program.SecretName, As: ir.AsFile, Kubernetes: &ir.SecretKey{Name: storeSecret, Key: "value"}}}
		}, `a Secret for a file has no key "value"`, true},
		"no-node": {func(task *executors.Task) {
			task.Unit.Kubernetes = &ir.Placement{NodeSelector: map[string]string{"disk": "none"}}
		}, "node(s) didn't match Pod's node affinity/selector", false},
		"no-room": {func(task *executors.Task) { task.Unit.Needs.MilliCPU = 1e6 }, "Insufficient cpu: request less in needs.cpu", false},
		"no-account": {func(task *executors.Task) {
			task.Unit.Kubernetes = &ir.Placement{ServiceAccount: "nobody"}
		}, "the service account does not exist", true},
		"no-class": {func(task *executors.Task) {
			task.Unit.Kubernetes = &ir.Placement{PriorityClass: "none"}
		}, "no PriorityClass with name none was found", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			task := job(t, name, "exit", "0")
			c.change(&task)
			h := apply(t, e, task)
			ctx, cancel := context.WithTimeout(t.Context(), program.Patience)
			defer cancel()
			if !c.fails { // the message appears while it waits
				go func() {
					for ctx.Err() == nil {
						if st, err := e.Inspect(ctx, h); err == nil && strings.Contains(st.Message, c.want) {
							time.AfterFunc(4*time.Second, cancel) // Wait reports it too
							return
						}
						time.Sleep(50 * time.Millisecond)
					}
				}()
			}
			st, err := e.Wait(ctx, h)
			if c.fails != (err == nil) || c.fails != (st.Phase == state.Failed) || !strings.Contains(st.Message, c.want) || strings.Contains(st.Message, "\n") {
				t.Errorf("status %+v, %v; want %q", st, err, c.want)
			}
			if !c.fails {
				b, err := os.ReadFile(filepath.Join(task.Dir, executors.ProgressFile))
				if err != nil || !strings.Contains(string(b), `"waits":"`) {
					t.Errorf("progress is %q, %v: it does not say why it waits", b, err)
				}
			}
		})
	}
}

func TestAnImageThatTheRegistryLost(t *testing.T) {
	p := newPlace(t)
	lost := p.Registry + "/tenon@sha256:" + strings.Repeat("0", 64)
	e := p.executor(t, func(o *kubernetes.Options) { o.Publish = published(lost) })
	st, err := e.Wait(t.Context(), apply(t, e, job(t, "lost", "exit", "0")))
	ok(t, err)
	if st.Phase != state.Failed || !strings.Contains(st.Message, lost+" cannot be pulled: ") || !strings.Contains(st.Message, "it is not in the registry") {
		t.Errorf("status %+v", st)
	}
}

func TestExhaustedQuota(t *testing.T) {
	p := newPlace(t)
	p.put(t, quotas, p.namespace, &corev1.ResourceQuota{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ResourceQuota"}, ObjectMeta: metav1.ObjectMeta{Name: "small"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourceLimitsMemory: resource.MustParse("1Gi")}},
	})
	e := p.executor(t)
	task := job(t, "large", "exit", "0")
	task.Unit.Needs = ir.Resources{Memory: 2 << 30}
	h := apply(t, e, task)
	says(t, e, h, "the quota of the namespace is exhausted: exceeded quota: small")
}

// The errors of a connection that cannot be made say what to do.
func TestFaultsOfTheConnection(t *testing.T) {
	p := newPlace(t)
	config, err := clientcmd.LoadFromFile(p.Kubeconfig)
	ok(t, err)
	config.AuthInfos["admin"].Token = "wrong"
	config.AuthInfos["admin"].TokenFile = ""
	config.AuthInfos["admin"].ClientCertificate, config.AuthInfos["admin"].ClientKey = "", ""
	stranger := filepath.Join(t.TempDir(), "kubeconfig")
	ok(t, clientcmd.WriteToFile(*config, stranger))
	for name, c := range map[string]struct {
		change func(*kubernetes.Options)
		want   string
	}{
		"no kubeconfig":  {func(o *kubernetes.Options) { o.Kubeconfig = filepath.Join(t.TempDir(), "none") }, "no such file"},
		"no context":     {func(o *kubernetes.Options) { o.Context = "production" }, `the kubeconfig has no context "production": ` + "`kubectl config get-contexts`"},
		"a stranger":     {func(o *kubernetes.Options) { o.Kubeconfig = stranger }, "does not accept this user"},
		"no right":       {func(o *kubernetes.Options) { o.Namespace = "default" }, "`tenon rbac` prints the required permissions"},
		"no namespace":   {func(o *kubernetes.Options) { o.Kubeconfig, o.Namespace = p.Kubeconfig, "none" }, `namespace "none" does not exist in the cluster: create it`},
		"nobody listens": {func(o *kubernetes.Options) { o.Kubeconfig = elsewhere(t, p) }, "does not answer"},
	} {
		e := p.executor(t, func(o *kubernetes.Options) { o.Patience = time.Millisecond }, c.change)
		if _, err := e.Apply(t.Context(), job(t, "nowhere", "exit", "0"), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// elsewhere returns a kubeconfig of a cluster that does not exist.
func elsewhere(t testing.TB, p *place) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(p.Kubeconfig)
	ok(t, err)
	for _, c := range config.Clusters {
		c.Server = "https://127.0.0.1:1"
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	ok(t, clientcmd.WriteToFile(*config, path))
	return path
}

// Many waits share the watches of one.
func TestManyJobs(t *testing.T) {
	p := newPlace(t)
	e := p.executor(t)
	var wg sync.WaitGroup
	for i := range 20 {
		task := job(t, fmt.Sprintf("many%d", i), "lines", "3", "10ms")
		wg.Go(func() {
			h := apply(t, e, task)
			st, err := e.Wait(t.Context(), h)
			if err != nil || st.Phase != state.Succeeded {
				t.Errorf("status %+v, %v", st, err)
			}
			log, err := os.ReadFile(filepath.Join(task.Dir, "log"))
			if err != nil || !bytes.Equal(log, []byte("line 0\nline 1\nline 2\n")) {
				t.Errorf("the log is %q, %v", log, err)
			}
		})
	}
	wg.Wait()
}

// A wire is a connection to the cluster that can be cut.
type wire struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

// newWire returns a wire, and a kubeconfig that connects through it.
func newWire(t testing.TB, kubeconfig string) (*wire, string) {
	t.Helper()
	config, err := clientcmd.LoadFromFile(kubeconfig)
	ok(t, err)
	w := &wire{conns: map[net.Conn]bool{}}
	w.listener, err = net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { _ = w.listener.Close() })
	for _, c := range config.Clusters {
		at, err := url.Parse(c.Server)
		ok(t, err)
		w.to, c.TLSServerName, c.Server = at.Host, at.Hostname(), "https://"+w.listener.Addr().String()
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	ok(t, clientcmd.WriteToFile(*config, path))
	go func() {
		for {
			from, err := w.listener.Accept()
			if err != nil {
				return
			}
			go w.lead(from)
		}
	}()
	return w, path
}

func (w *wire) lead(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer to.Close()
	w.mu.Lock()
	w.conns[from] = true
	cut := w.cut
	w.mu.Unlock()
	if cut {
		return
	}
	go func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}()
	_, _ = io.Copy(from, to)
}

// set cuts the wire, including open connections, or repairs it.
func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	for c := range w.conns {
		_ = c.Close()
		delete(w.conns, c)
	}
}

// After an outage, tenon knows what ended meanwhile, and the log is complete.
func TestAClusterThatGoesAway(t *testing.T) {
	p := newPlace(t)
	w, kubeconfig := newWire(t, p.kubeconfig)
	e := p.executor(t, func(o *kubernetes.Options) { o.Kubeconfig = kubeconfig })
	task := job(t, "away", "lines", "40", "50ms")
	h := apply(t, e, task)
	type end struct {
		st  state.Status
		err error
	}
	ended := make(chan end, 1)
	go func() {
		st, err := e.Wait(t.Context(), h)
		ended <- end{st, err}
	}()
	log := filepath.Join(task.Dir, "log")
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(log); err == nil && len(b) > 0 {
			break
		}
		if time.Since(begun) > program.Patience {
			t.Fatal("no log was written")
		}
	}
	w.set(true)
	other := p.executor(t)
	for st, err := other.Inspect(t.Context(), h); st.Phase != state.Succeeded; st, err = other.Inspect(t.Context(), h) {
		ok(t, err)
	}
	w.set(false)
	got := <-ended
	if got.err != nil || got.st.Phase != state.Succeeded {
		t.Errorf("status %+v, %v", got.st, got.err)
	}
	b, err := os.ReadFile(log)
	if err != nil || strings.Count(string(b), "\n") != 40 || !strings.HasPrefix(string(b), "line 0\n") {
		t.Errorf("the log is %q, %v", b, err)
	}
}

// An outage that lasts becomes an error in time.
func TestUnreachableCluster(t *testing.T) {
	p := newPlace(t)
	w, kubeconfig := newWire(t, p.kubeconfig)
	h := apply(t, p.executor(t), job(t, "away", "sleep"))
	e := p.executor(t, func(o *kubernetes.Options) { o.Kubeconfig, o.Patience = kubeconfig, 300*time.Millisecond })
	time.AfterFunc(200*time.Millisecond, func() { w.set(true) })
	if st, err := e.Wait(t.Context(), h); err == nil || !strings.Contains(err.Error(), "apply again") {
		t.Errorf("status %+v, %v; want an error that says what to do", st, err)
	}
}
