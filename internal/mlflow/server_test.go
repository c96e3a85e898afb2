package mlflow_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/mlflow"
	"github.com/tenon-ml/tenon/internal/test/mlflowtest"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// ask calls the API of the server and returns its answer.
func ask(t *testing.T, s *mlflowtest.Server, method, path, body string) (out map[string]any, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URI+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s %v", path, answer.StatusCode, b, err)
	}
	_ = json.Unmarshal(b, &out)
	return out, string(b)
}

func logged(n int64, x float64) mlflow.Entry {
	return mlflow.Entry{Metrics: &mlflow.Metrics{Step: n, Time: 1_790_000_000_000 + n, Values: map[string]step.Value{"loss": step.Value(x), "auc [origin=JFK]": 0.5}}}
}

// patience is how long a server may take to accept something.
const patience = 3 * time.Minute

// A server that is not there, is killed midway and comes back gets everything once.
func TestARealServerThatComesAndGoes(t *testing.T) {
	server := mlflowtest.New(t)
	spool := mlflow.Spool{Dir: t.TempDir()}
	var left []string
	send := func(run int64) error {
		return spool.Send(t.Context(), run, mlflow.Credentials{}, func(what string, err error) { left = append(left, fmt.Sprintf("%s: %v", what, err)) })
	}
	deliver := func(run int64) { // a machine under load answers late
		t.Helper()
		err := send(run)
		for end := time.Now().Add(patience); err != nil && time.Now().Before(end); err = send(run) {
			time.Sleep(time.Second)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	about := func(id, parent string) *mlflow.Run {
		return &mlflow.Run{
			URI: server.URI, Experiment: "late", ID: id, Name: "train", Started: 1_790_000_000_000, Parent: parent,
			Params: map[string]string{"estimator": "Ridge", "long": strings.Repeat("x", 700)}, Tags: map[string]string{"tenon.unit": "models/late/train"},
		}
	}
	must(spool.Append(1, mlflow.Entry{Run: about("a/1", "")}, logged(1, 0.9)))
	if err := send(1); err == nil || !spool.Has(1) {
		t.Fatalf("without a server: %v, and the spool has the run: %v", err, spool.Has(1))
	}
	server.Start()
	deliver(1)
	must(spool.Append(1, logged(2, math.NaN()), logged(3, math.Inf(1))))
	server.Kill()
	if err := send(1); err == nil {
		t.Fatal("a server that was killed has taken everything")
	}
	server.Start()
	many := make([]mlflow.Entry, 0, 1500)
	for n := range int64(1500) {
		many = append(many, logged(4+n, 0.25))
	}
	must(spool.Append(1, many...))
	deliver(1)
	must(spool.Append(1, many[:10]...)) // an apply that adopted the run logs them again
	must(spool.Append(1, mlflow.Entry{Tags: map[string]string{"tenon.output.model": "sha256:1f"}},
		mlflow.Entry{File: &mlflow.File{Name: "evaluate/report.json", Content: []byte(`{"metrics": {}}`)}},
		mlflow.Entry{End: &mlflow.End{Status: "FINISHED", Time: 1_790_000_009_000}}, mlflow.Entry{Closed: true}))
	deliver(1)
	must(spool.Append(2, mlflow.Entry{Run: about("a/2", "a/1")}, mlflow.Entry{Closed: true}))
	deliver(2)
	must(spool.Append(3, mlflow.Entry{Run: about("a/1", "")}, mlflow.Entry{Metrics: &mlflow.Metrics{Values: map[string]step.Value{"roc_auc": 0.71}}}, mlflow.Entry{Closed: true}))
	deliver(3) // of an evaluation, for the same run
	if runs, err := spool.Runs(); err != nil || len(runs) > 0 {
		t.Errorf("%v wait after everything was sent: %v", runs, err)
	}
	if len(left) > 0 {
		t.Errorf("left out: %v", left)
	}
	readBack(t, server)
}

func readBack(t *testing.T, server *mlflowtest.Server) {
	t.Helper()
	found, _ := ask(t, server, http.MethodGet, "/api/2.0/mlflow/experiments/get-by-name?experiment_name=late", "")
	experiment := found["experiment"].(map[string]any)["experiment_id"]
	_, text := ask(t, server, http.MethodPost, "/api/2.0/mlflow/runs/search", fmt.Sprintf(`{"experiment_ids": [%q], "order_by": ["tags.`+"`tenon.run`"+`"]}`, experiment))
	var search struct {
		Runs []struct {
			Info struct{ Run_ID, Status string } //nolint:revive // the name of the field in JSON
			Data struct {
				Metrics []struct {
					Key   string
					Value any
				}
				Params, Tags []struct{ Key, Value string }
			}
		}
	}
	if err := json.NewDecoder(bytes.NewBufferString(text)).Decode(&search); err != nil || len(search.Runs) != 2 {
		t.Fatalf("%d runs: %v\n%s", len(search.Runs), err, text)
	}
	first, second := search.Runs[0], search.Runs[1]
	if first.Info.Status != "FINISHED" {
		t.Errorf("status %s", first.Info.Status)
	}
	for _, want := range []string{
		`{"key":"loss","value":0.25}`, `{"key":"auc origin:JFK","value":0.5}`, `{"key":"roc_auc","value":0.71}`, `{"key":"estimator","value":"Ridge"}`,
		`{"key":"tenon.output.model","value":"sha256:1f"}`, `{"key":"tenon.run","value":"a/1"}`,
	} {
		if !contains(first.Data, want) {
			t.Errorf("the run lacks %s", want)
		}
	}
	if !contains(second.Data, fmt.Sprintf(`{"key":"mlflow.parentRunId","value":%q}`, first.Info.Run_ID)) {
		t.Error("the second run is not nested in the first")
	}
	history, text := ask(t, server, http.MethodGet, "/api/2.0/mlflow/metrics/get-history?metric_key=loss&run_id="+first.Info.Run_ID, "")
	if n := len(history["metrics"].([]any)); n != 1503 {
		t.Errorf("%d values of loss, want 1503\n%.300s", n, text)
	}
	_, text = ask(t, server, http.MethodGet, "/api/2.0/mlflow/artifacts/list?path=evaluate&run_id="+first.Info.Run_ID, "")
	if !strings.Contains(text, "evaluate/report.json") {
		t.Errorf("artifacts: %s", text)
	}
}

// contains reports whether data has an element as JSON, with keys in small letters.
func contains(data any, element string) bool {
	b, err := json.Marshal(data)
	text := strings.NewReplacer(`"Key"`, `"key"`, `"Value"`, `"value"`).Replace(string(b))
	return err == nil && strings.Contains(text, element)
}
