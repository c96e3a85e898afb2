package mlflow_test

import (
	"net/http"
	"net/http/httptest"
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

// Servers that are no MLflow of this version, or do not want Tenon, lose nothing. These answers are injected.
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
