package examples_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A controller in the cluster has no more rights there than tenon asks for. It measures what is asked,
// trains again on data that was sent later, releases that in steps while no request fails, and
// makes a service again whose Deployment was deleted.
func TestAControllerRunsInTheCluster(t *testing.T) {
	t.Parallel() // it mostly waits
	r := newRemoteOf(t, "testdata/controller", same)
	r.must(append([]string{"apply", "--yes"}, r.tags...)...)
	address := clusterIP(t, r.client, r.namespace, "watched-api") + ":8080"
	prometheus := startPrometheus(t, address)

	env := r.env
	r.env = append(slices.Clone(env), "TENON_ARTIFACTS=")
	out, err := r.run("run", "--detach")
	if r.env = env; err == nil {
		t.Errorf("a controller is detached that finds no artifacts:\n%s", out)
	}
	contains(t, out, "the controller cannot run in the cluster:", "artifacts are only on this machine: keep them in the store of the target, with --artifacts 's3://")
	contains(t, r.must("run", "--detach", "--every", "500ms"), "Detached: Deployment controller-", "in namespace "+r.namespace+" watches.")
	contains(t, r.must("run", "--detach", "--every", "500ms"), "Unchanged: Deployment controller-")
	contains(t, r.must("run", "--status"), "watched by tenon run --detach, process 1 on controller-", ": ready")

	// What it was sent replaces what it had.
	var rows strings.Builder
	rows.WriteString("id,x,y\n")
	for i := range 60 {
		fmt.Fprintf(&rows, "%d,%d,5\n", i, 1000+i)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "rows.csv"), []byte(rows.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	contains(t, r.must("run", "--detach", "--every", "500ms"), "Detached: Deployment controller-")

	all := r.askShifted("http://" + address + "/predict")
	r.comesTo("history", "retrain: x: ks 1 > 0.3", "is the champion")
	all.stop()
	if all.failed != nil || all.answers[1] == 0 || all.answers[5] == 0 {
		t.Errorf("the answers are %v; the first that failed: %v", all.answers, all.failed)
	}
	if a, err := askFor(http.DefaultClient, "http://"+address+"/predict", 1007); err != nil || a.says != 5 {
		t.Errorf("the champion answers %+v, %v; want 5", a, err)
	}
	prometheus.counts(all)

	deployments := r.client.Resource(appsv1.SchemeGroupVersion.WithResource("deployments")).Namespace(r.namespace)
	if err := deployments.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "tenon.dev/unit=deployments.api"}); err != nil {
		t.Fatal(err)
	}
	r.comesTo("history", "repair: deployments/api: ")
	r.comesTo("status", "http://watched-api."+r.namespace+".svc:8080 ready")
	contains(t, r.must("logs", "--controller"), "▸ watching", "decided: loops/constant  retrained: x: ks 1 > 0.3  revision 2", "✓ repaired: deployments/api")

	// There is nothing left to watch after a destroy.
	r.must("destroy", "--yes")
	contains(t, r.must("run", "--status"), "No controller runs")
	left, err := deployments.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(left.Items) > 0 {
		t.Errorf("%d Deployments are left: %v", len(left.Items), err)
	}
}

// comesTo waits until a command prints some texts.
func (r *remote) comesTo(command string, texts ...string) {
	r.t.Helper()
	for end := time.Now().Add(4 * time.Minute); ; time.Sleep(time.Second) {
		out := r.must(command)
		missing := ""
		for _, text := range texts {
			if !strings.Contains(out, text) {
				missing = text
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			log, _ := r.run("logs", "--controller")
			r.t.Fatalf("tenon %s never prints %q:\n%s\nthe controller says:\n%s", command, missing, out, log)
		}
	}
}

// A shifted client asks for values that the first model was not trained on.
type shifted struct {
	stop    func()
	answers map[int]int // by what was said
	failed  error
}

func (r *remote) askShifted(url string) *shifted {
	s := &shifted{answers: map[int]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	asking.Go(func() {
		client := &http.Client{Timeout: 30 * time.Second}
		for n := 0; ctx.Err() == nil; n++ {
			a, err := askFor(client, url, 1000+n%60)
			if err != nil && s.failed == nil {
				s.failed = err
			}
			s.answers[a.says]++
			time.Sleep(50 * time.Millisecond)
		}
	})
	s.stop = sync.OnceFunc(func() { cancel(); asking.Wait() })
	r.t.Cleanup(s.stop)
	return s
}

// A prometheus is a server that scrapes a service.
type prometheus struct {
	t   *testing.T
	url string
}

func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	dir, port := t.TempDir(), freePort(t)
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs: [{job_name: tenon, static_configs: [{targets: [%q]}]}]\n", target)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port))
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: .ci/tools test installs it", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &prometheus{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
}

// counts requires that Prometheus has seen two versions of the model.
func (p *prometheus) counts(s *shifted) {
	p.t.Helper()
	const query = `count(count by (version) (max_over_time(tenon_model_info[10m])))`
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	body := ""
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		body = get(p.t, p.url+"/api/v1/query?query="+url.QueryEscape(query))
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			p.t.Fatal(err)
		}
		if r := answer.Data.Result; len(r) == 1 && r[0].Value[1] == "2" {
			return
		}
	}
	p.t.Errorf("Prometheus answers %s, want two versions; the client got %v", body, s.answers)
}
