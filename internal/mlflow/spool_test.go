package mlflow_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
		"loss": "loss", "roc_auc [origin=JFK]": "roc_auc origin:JFK", "roc_auc [lower]": "roc_auc lower", "roc_auc [at=10:30]": "roc_auc at:10:30",
		"train/loss": "train/loss", "a:b": "a:b", "my loss": "my loss", "/loss": "_loss-752253f1", "a//b": "a__b-7a9acf33", "../x": "__x-d6b96a97", "é%": "é_-634ea8e3",
		strings.Repeat("x", 250): strings.Repeat("x", 250), strings.Repeat("x", 300): strings.Repeat("x", 241) + "-0d4e2ca9",
	} {
		if got := mlflow.Name(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}

// Two names stay two names.
func TestNamesRemainDistinct(t *testing.T) {
	long := strings.Repeat("x", 250)
	of := map[string]string{}
	for _, name := range []string{
		"a:b", "a=b", "a[=b]", "a_b", "a%b", "a$b", "a [b]", "a b", "a lower", "a [lower]", "a[ lower]", "a k:v", "a [k=v]", "a k=v", "a [k:v]", "a b [k=v]", "a [b k=v]",
		"a b k:v", "a [k=v=w]", "a [k=v:w]", "a [k:v=w]", "a/b", "/a", "_a", "a/", "a_", "../a", "..", ".", "", long, long + "y", long + "z", long[1:] + "é",
	} {
		got := mlflow.Name(name)
		if other, ok := of[got]; ok {
			t.Errorf("%q and %q both become %q", other, name, got)
		}
		if len(got) > 250 {
			t.Errorf("%q becomes %d bytes", name, len(got))
		}
		of[got] = name
	}
}

// A run that MLflow does not accept keeps nothing else from it, and is not sent again. The refusal is injected.
func TestARunThatIsRefused(t *testing.T) {
	var tried []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.HasSuffix(r.URL.Path, "/runs/create") {
			tried = append(tried, string(body))
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error_code": "INVALID_PARAMETER_VALUE", "message": "no such tag"}`))
			return
		}
		_, _ = w.Write([]byte(`{"experiment": {"experiment_id": "1"}}`))
	}))
	defer server.Close()
	spool := mlflow.Spool{Dir: t.TempDir()}
	var left []string
	send := func(entries ...mlflow.Entry) {
		t.Helper()
		if err := spool.Append(1, entries...); err != nil {
			t.Fatal(err)
		}
		if err := spool.Send(t.Context(), 1, mlflow.Credentials{}, func(what string, err error) { left = append(left, fmt.Sprintf("%s: %v", what, err)) }); err != nil {
			t.Fatal(err)
		}
	}
	send(mlflow.Entry{Run: &mlflow.Run{URI: server.URL, ID: "a/1", Name: "train #1"}})
	if !spool.Has(1) {
		t.Error("the file of a run that goes on was removed: its next value would begin another one")
	}
	send(mlflow.Entry{Metrics: &mlflow.Metrics{Values: map[string]step.Value{"loss": 1}}}, mlflow.Entry{Closed: true})
	if want := []string{"the run train #1: MLflow refused it: INVALID_PARAMETER_VALUE: no such tag"}; !slices.Equal(left, want) || len(tried) != 1 || spool.Has(1) {
		t.Errorf("left out %q after %d requests, still waits: %v", left, len(tried), spool.Has(1))
	}
}

// Values of a run that was deleted in MLflow are left out at once, not one by one; those of another run only if they are at fault.
func TestValuesOfARunThatWasDeleted(t *testing.T) {
	for _, test := range []struct {
		stage    string
		requests int // to log-batch
		left     []string
	}{
		{"deleted", 1, []string{"metrics such as loss of train #1"}},
		{"active", 1 + 2*9, []string{"metrics such as loss of train #1"}},
	} {
		t.Run(test.stage, func(t *testing.T) {
			requests := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if strings.HasSuffix(r.URL.Path, "/log-batch") {
					requests++
					if test.stage == "deleted" || bytes.Contains(body, []byte(`"step":17}`)) {
						w.WriteHeader(http.StatusBadRequest)
						_, _ = w.Write([]byte(`{"error_code": "INVALID_PARAMETER_VALUE", "message": "The run 7 must be in the 'active' state."}`))
						return
					}
				}
				_, _ = fmt.Fprintf(w, `{"experiment": {"experiment_id": "1"}, "run": {"info": {"run_id": "7", "lifecycle_stage": %q}}}`, test.stage)
			}))
			defer server.Close()
			spool := mlflow.Spool{Dir: t.TempDir()}
			entries := []mlflow.Entry{{Run: &mlflow.Run{URI: server.URL, ID: "a/1", Name: "train #1"}}}
			for n := range int64(512) {
				entries = append(entries, mlflow.Entry{Metrics: &mlflow.Metrics{Step: n, Values: map[string]step.Value{"loss": 1}}})
			}
			if err := spool.Append(1, append(entries, mlflow.Entry{Closed: true})...); err != nil {
				t.Fatal(err)
			}
			var left []string
			if err := spool.Send(t.Context(), 1, mlflow.Credentials{}, func(what string, _ error) { left = append(left, what) }); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(left, test.left) || requests != test.requests || spool.Has(1) {
				t.Errorf("left out %q after %d requests, want %q after %d; still waits: %v", left, requests, test.left, test.requests, spool.Has(1))
			}
		})
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
