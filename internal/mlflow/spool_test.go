package mlflow_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/internal/mlflow"
	"github.com/tenon-ml/tenon/stdlib/step"
)

func TestNamesThatMLflowAccepts(t *testing.T) {
	for name, want := range map[string]string{
		"loss": "loss", "roc_auc [origin=JFK]": "roc_auc origin:JFK", "train/loss": "train/loss", "/loss": "_loss", "a//b": "a__b", "../x": "__x",
		"é%": "é_", strings.Repeat("x", 300): strings.Repeat("x", 250),
	} {
		if got := mlflow.Name(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}

// If something other than MLflow answers, or the credentials are wrong, nothing is lost. These answers are injected.
func TestServersThatRefuse(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		body   string
		want   string
	}{
		{"another program", 200, "<html>", `it answers "<html>", which is not what MLflow answers`},
		{"a proxy", 502, "Bad Gateway", "it answers 502 Bad Gateway"},
		{"a redirect", 302, "", "it answers 302 Found"},
		{"credentials that are wrong", 401, `{"error_code": "UNAUTHENTICATED", "message": "who are you?"}`, "it answers 401: who are you?"},
		{"credentials that are wrong, as text", 403, "Permission denied", "it answers 403 Forbidden"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer wrench" {
					t.Errorf("credentials %q", r.Header.Get("Authorization"))
				}
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body))
			}))
			defer server.Close()
			spool := mlflow.Spool{Dir: t.TempDir()}
			entries := []mlflow.Entry{{Run: &mlflow.Run{URI: server.URL, ID: "a/1"}}, {Metrics: &mlflow.Metrics{Values: map[string]step.Value{"loss": 1}}}, {Closed: true}}
			if err := spool.Append(1, entries...); err != nil {
				t.Fatal(err)
			}
			err := spool.Send(t.Context(), 1, mlflow.Credentials{Token: "wrench"}, func(what string, err error) { t.Errorf("left out: %s: %v", what, err) })
			if err == nil || err.Error() != server.URL+": "+test.want {
				t.Errorf("error %v, want %s", err, test.want)
			}
			if !spool.Has(1) {
				t.Error("what was not sent is lost")
			}
		})
	}
}

// A file beyond the limit takes no more values, but still the end of its run.
func TestAFullSpoolStillEnds(t *testing.T) {
	spool := mlflow.Spool{Dir: t.TempDir()}
	if err := spool.Append(1, mlflow.Entry{Run: &mlflow.Run{ID: "a/1"}}); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(spool.Dir, "1.jsonl"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	line := append(bytes.Repeat([]byte(" "), 65<<20), "{}\n"...)
	if _, err := f.Write(line); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	err = spool.Append(1, mlflow.Entry{Metrics: &mlflow.Metrics{Values: map[string]step.Value{"loss": 1}}}, mlflow.Entry{Closed: true})
	if !errors.Is(err, mlflow.ErrFull) {
		t.Errorf("error %v", err)
	}
	if closed, err := spool.Closed(1); err != nil || !closed {
		t.Errorf("closed: %v, %v", closed, err)
	}
}

// A proxy that limits the size of requests keeps a file from the server, but nothing else.
func TestAProxyThatLimitsRequests(t *testing.T) {
	var ended bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut:
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			_, _ = w.Write([]byte("<html>"))
			return
		case strings.HasSuffix(r.URL.Path, "/runs/update"):
			ended = true
		}
		_, _ = w.Write([]byte(`{"experiment": {"experiment_id": "1"}, "run": {"info": {"run_id": "7", "artifact_uri": "mlflow-artifacts:/1/7"}}}`))
	}))
	defer server.Close()
	spool := mlflow.Spool{Dir: t.TempDir()}
	if err := spool.Append(1, mlflow.Entry{Run: &mlflow.Run{URI: server.URL, ID: "a/1", Name: "train #1"}}, mlflow.Entry{File: &mlflow.File{Name: "report.json"}},
		mlflow.Entry{End: &mlflow.End{Status: "FINISHED"}}, mlflow.Entry{Closed: true}); err != nil {
		t.Fatal(err)
	}
	var left []string
	if err := spool.Send(t.Context(), 1, mlflow.Credentials{}, func(what string, _ error) { left = append(left, what) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(left, []string{"the file report.json of train #1"}) || !ended || spool.Has(1) {
		t.Errorf("left out %q, ended: %v, still waits: %v", left, ended, spool.Has(1))
	}
}
