// Package azuretest runs a fake of Azure for tests, in which the jobs of Container Apps run: their images are fetched
// from a registry of its own, and each runs in namespaces, with the identity of its unit. It answers the methods of
// Azure's APIs that tenon calls, and compares what is sent, and what it answers itself, with the types of Azure's
// library for Container Apps. Blobs are those of azurite, Microsoft's emulator, behind a proxy that allows an identity
// what the conditions of its roles allow. What a service does beyond the types of its API is taken from its documentation,
// and was never compared with Azure.
package azuretest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/internal/test/containers"
	"github.com/tenon-ml/tenon/internal/test/tofutest"
)

// The subscription, resource group and location of the fake.
const (
	Subscription = "00000000-1111-2222-3333-444444444444"
	Group        = "acme-ml"
	Location     = "westeurope"
)

// A Cloud is a fake that answers at URL.
type Cloud struct {
	URL   string
	Dir   string // its folder: jobs/EXECUTION has the work folder of a container, jobs/EXECUTION.name its job
	Hosts string // folder that makes container registries the registry of the fake

	stop []func()
}

// At describes the fake that another process has started in a folder.
func At(url, dir string) *Cloud {
	return &Cloud{URL: url, Dir: dir, Hosts: filepath.Join(dir, "hosts")}
}

// authority is the file with the certificate of the fake.
func (c *Cloud) authority() string { return filepath.Join(c.Dir, "authority.pem") }

// Environ are the variables with which programs find the fake, as "NAME=value".
func (c *Cloud) Environ() []string { return environ(c.URL, c.authority(), user) }

// environ are the variables of a program with an identity.
func environ(at, authority, identity string) []string {
	return []string{
		"SSL_CERT_FILE=" + authority, "TENON_AZURE_ENDPOINT=" + at, "AZURE_TOKEN_CREDENTIALS=ManagedIdentityCredential", "AZURE_STORAGE_ACCOUNT=", "AZURE_STORAGE_KEY=", "AZURE_STORAGE_SAS_TOKEN=",
		"IDENTITY_ENDPOINT=" + at + "/identity", "IDENTITY_HEADER=" + identity, "AZURE_STORAGE_DOMAIN=" + strings.TrimPrefix(at, "https://") + "/blobs", "AZURE_STORAGE_IS_LOCAL_EMULATOR=true",
	}
}

// object is a value in JSON.
type object = map[string]any

// A server is the fake.
type server struct {
	dir, url, authority, blobs string
	images                     containers.Images
	client                     *http.Client // trusts the authority
	proxy                      *httputil.ReverseProxy

	certificate tls.Certificate

	mu         sync.Mutex
	jobs       map[string]*job
	apps       map[string]*app
	learned    map[string]*command   // jobs of Azure Machine Learning
	clusters   map[string]*cluster   // by id
	endpoints  map[string]*endpoint  // of Azure Machine Learning
	deploys    map[string]int        // how often a deployment there was made
	gone       map[string]bool       // names of jobs of Azure Machine Learning that were deleted
	operations map[string]*operation // by path
	resources  map[string]object     // properties of what Terraform makes, by id
	identities map[string]*identity
	vaults     map[string]map[string][]string // versions of secrets
	roles      map[string]string              // "read", "write" or "remove", by the id of their definition
	lines      []line
	refusals   []string // what the system says of the next jobs, which do not start
}

// Start starts a fake with files below a folder, which the caller removes after [Cloud.Stop].
func Start(ctx context.Context, dir string) (*Cloud, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the fake of Azure makes namespaces for jobs, for which it needs root")
	}
	c := At("", dir)
	certificate, pool, err := c.certify()
	if err != nil {
		return nil, err
	}
	trusting := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	s := &server{
		dir: dir, authority: c.authority(), images: containers.Images{Dir: dir}, client: &http.Client{Transport: trusting, Timeout: time.Minute},
		certificate: certificate, jobs: map[string]*job{}, apps: map[string]*app{}, learned: map[string]*command{}, clusters: map[string]*cluster{}, gone: map[string]bool{}, endpoints: map[string]*endpoint{}, deploys: map[string]int{},
		operations: map[string]*operation{}, resources: map[string]object{}, identities: map[string]*identity{}, vaults: map[string]map[string][]string{}, roles: map[string]string{},
	}
	c.stop = append(c.stop, trusting.CloseIdleConnections)
	program, err := installAzurite(ctx)
	if err != nil {
		return nil, err
	}
	for range 5 { // another process may take the port before azurite does
		if s.blobs, err = c.startAzurite(s, program); err == nil {
			break
		}
	}
	if err == nil {
		s.images.Registry, err = c.serve(containers.ServeRegistry(), nil)
	}
	if err == nil {
		var to *url.URL
		if to, err = url.Parse(s.blobs); err == nil {
			s.proxy = &httputil.ReverseProxy{Transport: trusting, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
			s.url, err = c.serve(s, &certificate)
		}
	}
	if err != nil {
		c.Stop()
		return nil, err
	}
	s.url = "https://" + s.url
	c.URL = s.url
	return c, nil
}

// Stop ends the fake. Its containers end with this process.
func (c *Cloud) Stop() {
	for _, stop := range slices.Backward(c.stop) {
		stop()
	}
}

// serve answers at a free port, and returns its address.
func (c *Cloud) serve(h http.Handler, certificate *tls.Certificate) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	at := l.Addr().String()
	if certificate != nil {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12})
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }() // until it is closed
	c.stop = append(c.stop, func() { _ = server.Close() })
	return at, nil
}

// certify makes a certificate of this machine, which is its own authority.
func (c *Cloud) certify() (made tls.Certificate, pool *x509.CertPool, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return made, nil, err
	}
	of := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fake of Azure"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, of, of, &key.PublicKey, key)
	if err != nil {
		return made, nil, err
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return made, nil, err
	}
	public, private := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(public)
	if err := errors.Join(os.WriteFile(c.authority(), public, 0o600), os.WriteFile(c.authority()+".key", private, 0o600)); err != nil {
		return made, nil, err
	}
	made, err = tls.X509KeyPair(public, private)
	return made, pool, err
}

// control is the path of what no API does.
const control = "/test"

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/blobs/"):
		s.blob(w, r)
		return
	case r.URL.Path == resources:
		tofutest.Answer(w, r, s.change)
		return
	case r.URL.Path == "/identity":
		s.identify(w, r)
		return
	case r.URL.Path == "/msi":
		s.msi(w, r)
		return
	case strings.HasPrefix(r.URL.Path, inference):
		s.score(w, r)
		return
	case strings.HasPrefix(r.URL.Path, "/printed/"):
		s.print(w, r)
		return
	}
	var body object
	if text, err := io.ReadAll(r.Body); err == nil && len(text) > 0 {
		if err := json.Unmarshal(text, &body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	if r.URL.Path == control {
		err := s.control(body)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(s.listed(body)) // the caller may be gone
		return
	}
	status, out, err := s.call(r, body)
	var p *problem
	if err != nil && !errors.As(err, &p) {
		p = &problem{http.StatusBadRequest, "InvalidRequest", err.Error()}
	}
	if p != nil {
		status, out = p.status, object{"error": object{"code": p.code, "message": p.message}}
	}
	w.Header().Set("Content-Type", "application/json")
	more, _ := out[headerKey].(map[string]string)
	delete(out, headerKey)
	for k, v := range more {
		w.Header().Set(k, v)
	}
	w.WriteHeader(status)
	if out != nil {
		_ = json.NewEncoder(w).Encode(out) // the caller may be gone
	}
}

// call answers a call of an API.
func (s *server) call(r *http.Request, body object) (status int, out object, err error) {
	path, audience := r.URL.Path, "https://management.azure.com"
	switch {
	case strings.HasPrefix(path, "/logs/"):
		audience = "https://api.loganalytics.io"
	case strings.HasPrefix(path, "/vaults/"):
		audience = "https://vault.azure.net"
	case strings.HasPrefix(path, "/learning/"):
		audience = "https://ml.azure.com"
	}
	if who, given := bearer(r); who != user || given != audience {
		return 0, nil, &problem{http.StatusUnauthorized, "InvalidAuthenticationToken", fmt.Sprintf("the token is of %q for %q", who, given)}
	}
	switch {
	case strings.HasPrefix(path, "/logs/"):
		return s.query(body)
	case strings.HasPrefix(path, "/vaults/"):
		return s.secret(r.Method, strings.Split(path, "/")[2:], body)
	case strings.Contains(path, "/providers/Microsoft.App/") && r.URL.Query().Get("api-version") != "2025-01-01" && !strings.Contains(path, "/managedEnvironments/"):
		return 0, nil, &problem{http.StatusBadRequest, "NoRegisteredProviderFound", "no such version"}
	case runPath.MatchString(path):
		return s.history(runPath.FindStringSubmatch(path)[1])
	case learningPath.MatchString(path):
		return s.learn(r, learningPath.FindStringSubmatch(path), body)
	case appPath.MatchString(path):
		return s.service(r, appPath.FindStringSubmatch(path), body)
	case strings.Contains(path, "/providers/Microsoft.App/jobs/"):
		id, below, _ := strings.Cut(path[strings.Index(path, "/jobs/")+len("/jobs/"):], "/")
		return s.app(r.Method, id, below, body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if op := s.operations[path]; op != nil && r.Method == http.MethodGet {
		out := object{"id": path, "status": op.status}
		if op.code != "" {
			out["error"] = object{"code": op.code, "message": op.message}
		}
		return http.StatusOK, out, nil
	}
	if p, ok := s.resources[path]; ok && r.Method == http.MethodGet {
		return http.StatusOK, object{"id": path, "properties": p}, nil
	}
	return 0, nil, notFound(path)
}

// A problem is an error as Azure answers it.
type problem struct {
	status        int
	code, message string
}

func (p *problem) Error() string { return p.message }

func notFound(what string) error {
	return &problem{http.StatusNotFound, "ResourceNotFound", "The Resource '" + what + "' was not found."}
}

// secret answers a call of Key Vault.
func (s *server) secret(method string, names []string, body object) (int, object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	vault, made := s.vaults[names[0]]
	if !made || len(names) != 3 {
		return 0, nil, &problem{http.StatusNotFound, "VaultNotFound", "There is no vault " + names[0] + "."}
	}
	if method == http.MethodPut {
		value, _ := body["value"].(string)
		vault[names[2]] = append(vault[names[2]], value)
	}
	versions := vault[names[2]]
	if len(versions) == 0 {
		return 0, nil, &problem{http.StatusNotFound, "SecretNotFound", "A secret with (name/id) " + names[2] + " was not found in this key vault."}
	}
	return http.StatusOK, object{"value": versions[len(versions)-1], "id": fmt.Sprintf("%s/vaults/%s/secrets/%s/%d", s.url, names[0], names[2], len(versions))}, nil
}

// Ask posts a body in JSON, with an API key unless it is "", and returns the status and the answer. Only programs that
// have the certificate in their environment trust the fake otherwise.
func (c *Cloud) Ask(url, body, key string) (int, []byte, error) {
	client, err := c.Client()
	if err != nil {
		return 0, nil, err
	}
	defer client.CloseIdleConnections()
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// Client returns a client that trusts the fake.
func (c *Cloud) Client() (*http.Client, error) {
	text, err := os.ReadFile(c.authority())
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}, err
}

func (c *Cloud) post(body object, out any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	status, said, err := c.Ask(c.URL+control, string(b), "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the fake of Azure: %d: %s", status, said)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(said, out)
}

// Refuse makes the next job or revision fail before its container starts, with a line in the log of the system.
func (c *Cloud) Refuse(text string) error { return c.post(object{"refuse": text}, &[]string{}) }

// Jobs returns the names of all jobs that there are now.
func (c *Cloud) Jobs() ([]string, error) { return c.list("jobs") }

func (c *Cloud) list(what string) (names []string, err error) {
	return names, c.post(object{"list": what}, &names)
}

// listed returns what the control is asked for. The caller has locked s.
func (s *server) listed(body object) []string {
	switch body["list"] {
	case "apps":
		return slices.Sorted(maps.Keys(s.apps))
	case "commands":
		return slices.Sorted(maps.Keys(s.learned))
	case "endpoints":
		return s.listEndpoints()
	case "deploys":
		all := []string{}
		for name, times := range s.deploys {
			all = append(all, fmt.Sprintf("%s %d", name, times))
		}
		return all
	case "hosts":
		all := []string{}
		for name, a := range s.apps {
			all = append(all, name+" "+a.host)
		}
		return all
	}
	return slices.Sorted(maps.Keys(s.jobs))
}

// Executions returns the names of all executions that a job has ever had, or of all replicas of revisions whose names begin
// so.
func (c *Cloud) Executions(job string) (names []string, err error) {
	all, err := filepath.Glob(filepath.Join(c.Dir, "jobs", "*.name"))
	for _, path := range all {
		b, unread := os.ReadFile(path)
		err = errors.Join(err, unread)
		if name := string(b); name == job || strings.HasPrefix(name, job+"-") {
			names = append(names, strings.TrimSuffix(filepath.Base(path), ".name"))
		}
	}
	return names, err
}

// Work is the folder that the container of an execution has at /tenon/work.
func (c *Cloud) Work(execution string) string { return filepath.Join(c.Dir, "jobs", execution) }
