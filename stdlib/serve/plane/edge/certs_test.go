package edge

import (
	"crypto/tls"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/test/certtest"
)

func put(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

type said struct {
	mu    sync.Mutex
	lines []string
}

func (s *said) add(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// opened is an edge that ends with the test.
func opened(t testing.TB, d Declared) (*Edge, *said) {
	t.Helper()
	s := &said{}
	e, err := Open(t.Context(), d, Options{Kept: t.TempDir(), Instance: "i/1", Log: s.add})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e, s
}

// served is a server behind an edge, which answers who asks.
func served(t *testing.T, e *Edge) string {
	t.Helper()
	s := &http.Server{TLSConfig: e.TLS(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var v Visit
		if refusal := e.Enter(&v, r, w.Header(), Access{Scope: 1}); refusal != nil {
			w.WriteHeader(refusal.Status)
			_, _ = io.WriteString(w, refusal.Says)
			return
		}
		_, _ = io.WriteString(w, v.Caller.Name)
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.ServeTLS(l, "", "") //nolint:errcheck // it ends with the test
	t.Cleanup(func() { s.Close() })
	return "https://" + l.Addr().String()
}

func asking(t *testing.T, url string, config *tls.Config) (status int, body string, serial *big.Int, err error) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := c.Get(url)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), resp.TLS.PeerCertificates[0].SerialNumber, err
}

// A new pair of files is in use soon. One that does not fit is not, and is reported once.
func TestCertificatesAreReadAgain(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	cert, key := ca.Make(t, "localhost")
	at, keyAt := put(t, filepath.Join(dir, "c"), cert), put(t, filepath.Join(dir, "k"), key)
	e, log := opened(t, Declared{TLS: &TLS{Cert: Source{Path: at}, Key: Source{Path: keyAt}}})
	url := served(t, e)
	config := &tls.Config{RootCAs: ca.Pool()}
	_, _, first, err := asking(t, url, config)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = ca.Make(t, "localhost")
	put(t, at, cert)
	until(t, "a pair that does not fit is not reported", func() bool { return strings.Contains(log.String(), "private key does not match") })
	time.Sleep(2 * every)
	if n := strings.Count(log.String(), "does not match"); n != 1 {
		t.Errorf("it was reported %d times", n)
	}
	if _, _, now, err := asking(t, url, config); err != nil || now.Cmp(first) != 0 {
		t.Errorf("serial %v, %v, want that of before", now, err)
	}
	put(t, keyAt, key)
	until(t, "the new pair is not in use", func() bool {
		_, _, now, err := asking(t, url, config)
		return err == nil && now.Cmp(first) != 0
	})
	if err := os.Remove(keyAt); err != nil {
		t.Fatal(err)
	}
	until(t, "a file that is gone is not reported", func() bool { return strings.Contains(log.String(), "no such file") })
	if _, _, _, err := asking(t, url, config); err != nil {
		t.Errorf("without the file: %v", err)
	}
	var failed float64
	for _, f := range e.Figures() {
		if f.Name == "tenon_edge_reloads" && f.Labels[1][1] == "failed" {
			failed += f.Value
		}
	}
	if failed != 2 {
		t.Errorf("%v failures are counted, want 2", failed)
	}
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// With client_ca, everybody needs a certificate of an authority, and is known by the name in it.
func TestClientsHaveCertificates(t *testing.T) {
	ca, stranger, dir := certtest.New(t), certtest.New(t), t.TempDir()
	cert, key := ca.Make(t, "localhost")
	e, _ := opened(t, Declared{TLS: &TLS{
		Cert: Source{Path: put(t, filepath.Join(dir, "c"), cert)}, Key: Source{Path: put(t, filepath.Join(dir, "k"), key)},
		ClientCA: Source{Path: put(t, filepath.Join(dir, "ca"), ca.PEM)},
	}, Auth: &Auth{Clients: map[string][]string{"billing": {"predict"}, "other": {"metrics"}}}})
	url := served(t, e)
	with := func(a *certtest.Authority, name string) *tls.Config {
		cert, key := a.Make(t, name)
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		// A client sends any certificate, whatever authorities the server names.
		return &tls.Config{RootCAs: ca.Pool(), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }}
	}
	for name, tt := range map[string]struct {
		config *tls.Config
		status int
		says   string
	}{
		"a client":                       {with(ca, "billing"), 200, "client:billing"},
		"a client without the scope":     {with(ca, "other"), 403, "the caller lacks the scope predict"},
		"a client that nobody lists":     {with(ca, "unlisted"), 403, "the caller lacks the scope predict"},
		"no certificate":                 {&tls.Config{RootCAs: ca.Pool()}, 401, "a client certificate is needed"},
		"one of another authority":       {with(stranger, "billing"), 0, ""},
		"a client that speaks TLS 1.1":   {&tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, 0, ""},
		"a client that trusts no server": {&tls.Config{}, 0, ""},
	} {
		if status, says, _, err := asking(t, url, tt.config); status != tt.status || says != tt.says || (err == nil) != (status != 0) {
			t.Errorf("%s: %d %q %v, want %d %q", name, status, says, err, tt.status, tt.says)
		}
	}
}

// Values of secrets are certificates, too.
func TestCertificatesInVariables(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	cert, key := ca.Make(t, "localhost")
	t.Setenv("TLS_CERT", cert)
	t.Setenv("TLS_KEY", put(t, filepath.Join(dir, "k"), key))
	d := Declared{TLS: &TLS{}}
	for text, to := range map[string]*Source{`{"secret": {"env": "X", "as": "variable"}}`: &d.TLS.Cert, `{"secret": {"env": "Y", "as": "file"}}`: &d.TLS.Key} {
		if err := to.UnmarshalJSON([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	e, _ := opened(t, d)
	if _, says, _, err := asking(t, served(t, e), &tls.Config{RootCAs: ca.Pool()}); err != nil || says != "" {
		t.Errorf("%q %v", says, err)
	}
	t.Setenv("TLS_CERT", "no certificate")
	if _, err := Open(t.Context(), d, Options{Log: func(string) {}}); err == nil || strings.Contains(err.Error(), "no certificate") {
		t.Errorf("a service without a certificate starts, or repeats the secret: %v", err)
	}
}
