package examples_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// oneFlight is the request of the demo.
var oneFlight = func() string {
	b, err := os.ReadFile("flights/request.json")
	if err != nil {
		panic(err)
	}
	return string(b)
}()

// testLocal takes flights from data to a served prediction, as local processes.
func testLocal(t *testing.T) (made map[string]string) {
	t.Helper()
	s := newSystem(t, "flights")
	port := freePort(t)
	s.edit("flights.cue", "8080", fmt.Sprint(port))
	url := fmt.Sprintf("http://127.0.0.1:%d", port)

	contains(t, s.must("plan"), "9 to run, 3 to create")
	s.must("apply", "--yes")
	if made = digests(s); len(made) < 9 {
		t.Errorf("artifacts of local processes: %v", made)
	}

	for unit, rows := range map[string]float64{"sources/flights": 336776, "sources/weather": 26115, "sources/planes": 3322} {
		if got := s.show(unit).Run.Metrics["rows"]; got != rows {
			t.Errorf("%s has %v rows, not %v", unit, got, rows)
		}
	}
	if auc := s.show("models/late/evaluate").Run.Metrics["roc_auc"]; auc < 0.65 || auc > 0.9 {
		t.Errorf("ROC AUC is %v: a model of this kind reaches 0.65 to 0.9 without looking into the future", auc)
	}

	status, body := post(t, url+"/predict", oneFlight)
	var answer struct {
		Predictions []struct {
			Prediction  bool
			Probability float64
		}
		Model struct{ Version int }
	}
	if err := json.Unmarshal([]byte(body), &answer); status != 200 || err != nil || len(answer.Predictions) != 1 {
		t.Fatalf("POST /predict: %d %s", status, body)
	}
	if p := answer.Predictions[0].Probability; p <= 0 || p >= 1 || answer.Model.Version != 1 {
		t.Errorf("answer: %s", body)
	}
	status, body = post(t, url+"/predict", `{"instances": [{"dest": "ORD", "origin": "BOS"}]}`)
	if status != 422 {
		t.Errorf("a bad request got %d", status)
	}
	contains(t, body, `"origin"`, `"carrier"`)
	contains(t, get(t, url+"/metrics"), `tenon_model_evaluation`, `tenon_http_requests_total`)
	contains(t, get(t, url+"/openapi.json"), `"sched_dep"`)

	contains(t, s.must("plan", "--detailed-exitcode"), "Nothing to do: all 12 units are up to date.")

	rules := filepath.Join(s.dir, ".tenon", "rules", "api.rules.yml")
	if out, err := exec.Command("promtool", "check", "rules", rules).CombinedOutput(); err != nil {
		t.Errorf("promtool (of Debian's prometheus): %v\n%s", err, out)
	}

	// What does not reach the model is not run again: the split is the same.
	s.edit("flights.cue", "max_iter: 200", "max_iter: 20")
	plan := s.must("plan")
	contains(t, plan, "params.max_iter: 200 -> 20", "models/late/train", "run?", "5 unchanged")
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	// The README quotes this plan; only the times differ, and what a machine may say
	// of the memory that it took there.
	plan = regexp.MustCompile(`(  i [^\n]*\n)+\n`).ReplaceAllString(plan, "")
	times := regexp.MustCompile(`(~|About )([0-9]+m)?[0-9.]+m?s`)
	if shown := times.ReplaceAllString(string(readme), "$1"); !strings.Contains(shown, times.ReplaceAllString(plan, "$1")) {
		t.Errorf("the README shows another plan than:\n%s", plan)
	}
	s.must("destroy", "--yes")
	return made
}
