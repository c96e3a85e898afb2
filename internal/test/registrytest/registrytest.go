// Package registrytest runs a real registry for tests: Debian's docker-registry,
// on a free port of loopback, with its content in a folder of the test.
package registrytest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Options say what the registry asks for.
type Options struct {
	User, Password string // of the only one who may read and write; "" is everybody
	TLS            bool   // with a certificate of an authority of its own
}

// A Registry runs until the test ends or it is stopped.
type Registry struct {
	Host string // "127.0.0.1:41234"
	Dir  string // where blobs are, as docker/registry/v2/blobs/sha256/HE/HEX/data
	CA   []byte // certificate of the authority, as PEM, with TLS

	stop func()
}

// Stop ends the registry.
func (r *Registry) Stop() { r.stop() }

// Blob is the file of a blob, given its digest.
func (r *Registry) Blob(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return filepath.Join(r.Dir, "docker", "registry", "v2", "blobs", "sha256", hex[:2], hex, "data")
}

// Start starts a registry. It fails the test if none is installed.
func Start(t testing.TB, o Options) *Registry {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Fatal("this test needs docker-registry: apt-get install docker-registry")
	}
	dir := t.TempDir()
	r := &Registry{Dir: filepath.Join(dir, "content")}
	config := fmt.Sprintf("version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp:\n  addr: 127.0.0.1:0\n", r.Dir)
	if o.TLS {
		r.CA = certify(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
		config += fmt.Sprintf("  tls: {certificate: %[1]s/cert.pem, key: %[1]s/key.pem}\n", dir)
	}
	if o.User != "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(o.Password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "htpasswd"), []byte(o.User+":"+string(hash)+"\n"))
		config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %s/htpasswd}}\n", dir)
	}
	write(t, filepath.Join(dir, "config.yml"), []byte(config))

	said, saying, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", filepath.Join(dir, "config.yml"))
	cmd.Env = []string{"OTEL_TRACES_EXPORTER=none"}
	cmd.Stdout, cmd.Stderr = saying, saying
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = saying.Close()
	ended := false
	r.stop = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(r.stop)
	lines := bufio.NewReader(said)
	var all strings.Builder
	for r.Host == "" {
		line, err := lines.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			t.Fatalf("the registry did not start: %v\n%s", err, all.String())
		}
		if m := listening.FindStringSubmatch(line); m != nil {
			r.Host = m[1]
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		_ = said.Close()
	}()
	return r
}

var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)

// certify writes a certificate for 127.0.0.1 and its key, and returns the
// certificate of the authority that signed it.
func certify(t testing.TB, certFile, keyFile string) []byte {
	t.Helper()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test registry"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
