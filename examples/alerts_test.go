package examples_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// An alerting is a Prometheus, and an Alertmanager that sends its alerts to a webhook.
type alerting struct {
	t            *testing.T
	url, targets string // of Prometheus: its address, and the file with what it scrapes

	mu  sync.Mutex
	got []string // "firing NAME MONITOR SEVERITY"
}

// startAlerting starts one with the rules of tenon monitor rules.
func startAlerting(t *testing.T, rules string) *alerting {
	t.Helper()
	dir := t.TempDir()
	a := &alerting{t: t, url: fmt.Sprintf("http://127.0.0.1:%d", freePort(t)), targets: filepath.Join(dir, "targets.json")}
	hook := httptest.NewServer(http.HandlerFunc(a.hear))
	t.Cleanup(hook.Close)
	alertmanager := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	for file, text := range map[string]string{
		"rules.yml": rules,
		"prometheus.yml": fmt.Sprintf(`global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: [rules.yml]
alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}
scrape_configs: [{job_name: tenon, file_sd_configs: [{files: [targets.json]}]}]
`, alertmanager),
		"alertmanager.yml": fmt.Sprintf(`route: {receiver: hook, group_by: [...], group_wait: 0s, group_interval: 1s}
receivers: [{name: hook, webhook_configs: [{url: %q}]}]
`, hook.URL),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a.scrape()
	start := func(program string, args ...string) {
		cmd := exec.Command(program, args...)
		if err := cmd.Start(); err != nil {
			t.Fatalf("%v: .ci/tools test installs it", err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	start("prometheus-alertmanager", "--config.file="+filepath.Join(dir, "alertmanager.yml"), "--storage.path="+filepath.Join(dir, "alerts"),
		"--cluster.listen-address=", "--web.listen-address="+alertmanager)
	start("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+strings.TrimPrefix(a.url, "http://"))
	return a
}

// scrape changes what Prometheus scrapes.
func (a *alerting) scrape(targets ...string) {
	a.t.Helper()
	text, err := json.Marshal([]map[string]any{{"targets": append([]string{}, targets...)}})
	if err == nil {
		err = os.WriteFile(a.targets+".new", text, 0o644)
	}
	if err == nil {
		err = os.Rename(a.targets+".new", a.targets)
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

// hear takes what the Alertmanager sends.
func (a *alerting) hear(_ http.ResponseWriter, r *http.Request) {
	var message struct {
		Alerts []struct {
			Status string
			Labels map[string]string
		}
	}
	err := json.NewDecoder(r.Body).Decode(&message)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.got = append(a.got, err.Error())
	}
	for _, x := range message.Alerts {
		a.got = append(a.got, strings.Join([]string{x.Status, x.Labels["alertname"], x.Labels["monitor"], x.Labels["severity"]}, " "))
	}
}

// patience is how long Prometheus and Alertmanager may take, on a machine that has other things to do.
const patience = 30 * time.Second

// hears requires that the webhook gets alerts.
func (a *alerting) hears(wanted ...string) {
	a.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		a.mu.Lock()
		got := strings.Join(a.got, "\n")
		a.mu.Unlock()
		missing := ""
		for _, w := range wanted {
			if !strings.Contains(got, w) {
				missing = w
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			a.t.Errorf("the webhook does not get %q, only\n%s\nPrometheus scrapes %s", missing, got, get(a.t, a.url+"/api/v1/targets"))
			return
		}
	}
}

// counts requires that Prometheus has seen a number of versions of the model.
func (a *alerting) counts(versions string) {
	a.t.Helper()
	const query = `count(count by (version) (max_over_time(tenon_model_info[10m])))`
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	body := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		body = get(a.t, a.url+"/api/v1/query?query="+url.QueryEscape(query))
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			a.t.Fatal(err)
		}
		if r := answer.Data.Result; len(r) == 1 && r[0].Value[1] == versions {
			return
		}
	}
	a.t.Errorf("Prometheus answers %s, want %s versions", body, versions)
}
