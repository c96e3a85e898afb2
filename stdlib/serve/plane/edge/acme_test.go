package edge

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/test/certtest"
)

// An authority is pebble, the test server of Let's Encrypt, and the DNS of its tests, in which each name
// is this machine.
type authority struct {
	directory, management, ca string
	client                    *http.Client
}

// freeAddress returns one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startAuthority starts one that connects to a port of this machine, and gives certificates for a while.
func startAuthority(t *testing.T, port int, valid time.Duration) *authority {
	t.Helper()
	for _, name := range []string{"pebble", "pebble-challtestsrv"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not in $PATH: .ci/tools test installs it into .tools/bin", name)
		}
	}
	ca, dir := certtest.New(t), t.TempDir()
	cert, key := ca.Make(t, "localhost")
	a := &authority{ca: filepath.Join(dir, "ca"), client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}}}}
	for name, text := range map[string]string{"cert": cert, "key": key, "ca": ca.PEM} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listen, manage, dns := freeAddress(t), freeAddress(t), freeAddress(t)
	a.directory, a.management = "https://"+strings.Replace(listen, "127.0.0.1", "localhost", 1)+"/dir", "https://"+manage
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": manage, "certificate": filepath.Join(dir, "cert"), "privateKey": filepath.Join(dir, "key"),
		"httpPort": 1, "tlsPort": port, "domainBlocklist": []string{"blocked.example"}, "retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles": map[string]any{"default": map[string]any{"description": "test", "validityPeriod": int(valid.Seconds())}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	start := func(name string, args ...string) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
		out := &strings.Builder{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("%s: %s", name, out)
			}
		})
	}
	start("pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dnsserver", dns, "-management", freeAddress(t), "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "")
	start("pebble", "-config", filepath.Join(dir, "config"), "-dnsserver", dns)
	until(t, "the authority does not answer", func() bool {
		r, err := a.client.Get(a.directory)
		return err == nil && r.Body.Close() == nil && r.StatusCode == 200
	})
	return a
}

// roots are the certificates of which the authority makes others.
func (a *authority) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	r, err := a.client.Get(a.management + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(b) {
		t.Fatalf("%q, %v", b, err)
	}
	return pool
}

// A service gets a certificate from a real authority, renews it while clients connect, and a later process
// has it at once. What the authority refuses is said.
func TestACME(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := startAuthority(t, l.Addr().(*net.TCPAddr).Port, 15*time.Second)
	kept := t.TempDir()
	open := func(domain string) *Edge {
		t.Helper()
		d := Declared{TLS: &TLS{ACME: &ACME{Domains: []string{domain}, Email: "ops@mail.example.org", Directory: a.directory, CA: Source{Path: a.ca}}}}
		e, err := Open(t.Context(), d, Options{Kept: kept, Instance: "i", Log: func(line string) { t.Log(line) }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.Close)
		return e
	}
	e := open("api.example.org")
	s := &http.Server{TLSConfig: e.TLS(), Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ErrorLog: log.New(io.Discard, "", 0)}
	defer s.Close()
	if says := e.Unready(); says != "no certificate of api.example.org yet" {
		t.Errorf("at first: %q", says)
	}
	go s.ServeTLS(l, "", "") //nolint:errcheck // it ends with the test
	probe, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatalf("a probe, before there is a certificate: %v", err)
	}
	probe.Close()
	e.Listening()
	until(t, "there is no certificate", func() bool { return e.Unready() == "" })

	var mu sync.Mutex
	seen := map[string]int{}
	trust := &tls.Config{RootCAs: a.roots(t), ServerName: "api.example.org"}
	connect := func() error {
		c, err := tls.Dial("tcp", l.Addr().String(), trust)
		if err != nil {
			return err
		}
		defer c.Close()
		mu.Lock()
		defer mu.Unlock()
		seen[c.ConnectionState().PeerCertificates[0].SerialNumber.String()]++
		return nil
	}
	done := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond):
				}
				if err := connect(); err != nil {
					t.Errorf("a client: %v", err)
					return
				}
			}
		})
	}
	until(t, "the certificate is not renewed", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) >= 2
	})
	close(done)
	clients.Wait()

	later := open("api.example.org")
	if says := later.Unready(); says != "" {
		t.Errorf("a later process: %s", says)
	}
	if info, err := os.Stat(filepath.Join(kept, folderOf)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder of keys: %v %v", info, err)
	}
	other := open("blocked.example")
	other.Listening()
	until(t, "nothing is said of a refusal", func() bool { return strings.Contains(other.Unready(), "the authority refuses it: ") })
	t.Log(other.Unready())
	if n := fmt.Sprint(len(seen)); t.Failed() {
		t.Log(n + " certificates")
	}
}

// A domain that leads elsewhere gets no certificate, and the service says what the authority saw.
func TestACMEOfADomainThatLeadsElsewhere(t *testing.T) {
	_, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	var nobody int
	if _, err := fmt.Sscan(port, &nobody); err != nil {
		t.Fatal(err)
	}
	a := startAuthority(t, nobody, time.Hour)
	d := Declared{TLS: &TLS{ACME: &ACME{Domains: []string{"api.example.org"}, Directory: a.directory, CA: Source{Path: a.ca}}}}
	e, err := Open(t.Context(), d, Options{Kept: t.TempDir(), Log: func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	e.Listening()
	until(t, "nothing is said of a failure", func() bool {
		return strings.Contains(e.Unready(), "refuse") && strings.Contains(e.Unready(), "connect")
	})
}

// A service ends although an authority does not answer.
func TestACMEOfAnAuthorityThatDoesNotAnswer(t *testing.T) {
	asked := make(chan struct{}, 1)
	authority := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	defer authority.Close()
	e, err := Open(t.Context(), Declared{TLS: &TLS{ACME: &ACME{Domains: []string{"api.example.com"}, Directory: authority.URL}}}, Options{Kept: t.TempDir(), Log: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	e.Listening()
	<-asked
	closed := make(chan struct{})
	go func() {
		e.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("it does not end")
	}
	authority.CloseClientConnections()
}
