package project

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// A state is read from a server as Terraform's backend `http` does it. No error has the settings of the URL.
func TestStatesOfServers(t *testing.T) {
	t.Setenv("TF_HTTP_USERNAME", "ci")
	t.Setenv("TF_HTTP_PASSWORD", "hunter2")
	asked := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		name, password, _ := r.BasicAuth()
		switch {
		case name != "ci" || password != "hunter2" || r.Method != http.MethodGet:
			t.Errorf("%s %s by %s", r.Method, r.URL, name)
		case r.URL.Path == "/there":
			_, _ = w.Write([]byte(`{"version":4}`))
		case r.URL.Path == "/away":
			http.Redirect(w, r, "http://elsewhere.example/there", http.StatusFound)
		case r.URL.Path == "/denied":
			w.WriteHeader(http.StatusForbidden)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	transport := server.Client().Transport
	s := &states{lookup: os.LookupEnv}
	got, err := s.served(t.Context(), transport, server.URL+"/there?token=hunter2", 13)
	if err != nil || string(got) != `{"version":4}` {
		t.Errorf("got %s, %v", got, err)
	}
	for at, want := range map[string]string{
		server.URL + "/there?token=secret":      "it has more than 0 MiB",
		server.URL + "/gone?token=secret":       "the server has no state there",
		server.URL + "/denied?token=secret":     "set TF_HTTP_USERNAME and TF_HTTP_PASSWORD",
		server.URL + "/away?token=secret":       "the server answers 302",
		"https://127.0.0.1:1/x?token=secret":    "connection refused",
		"https://ann:secret@acme.example/state": "the URL has credentials",
		"http://acme.example/state":             "use https",
		"https:///state?token=secret":           "it is not a URL",
	} {
		if _, err := s.served(t.Context(), transport, at, 12); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", at, err, want)
		}
	}
	before := asked
	for range 2 {
		if _, err := s.read(t.Context(), "http://acme.example/state", 12); err == nil {
			t.Error("it is read without TLS")
		}
	}
	if asked != before {
		t.Error("the server was asked")
	}
}
