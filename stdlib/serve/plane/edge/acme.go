package edge

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// ACME says which certificates an authority is asked for.
type ACME struct {
	Domains   []string `json:"domains"`
	Email     string   `json:"email"`
	Directory string   `json:"directory"` // URL; "" is that of Let's Encrypt
	CA        Source   `json:"ca"`        // authorities that the server of the directory has its certificate from
}

// issued are certificates of an authority, one for each domain. [autocert.Manager] asks for them, by
// tls-alpn-01 on the port of the service, and renews them when a third of their time is left. It would
// do so whenever a client connects; here only follow asks it, so that no client can make it ask.
type issued struct {
	domains []string
	manager *autocert.Manager
	heard   *heard
	// listening is closed once the service can be connected to.
	listening chan struct{}
	listens   sync.Once
	log       func(string)

	mu        sync.RWMutex
	certs     map[string]*tls.Certificate
	temporary *tls.Certificate // for probes, until there is one
	failing   atomic.Pointer[string]
	failed    atomic.Uint64
	expires   *atomic.Int64
}

// folderOf is the folder of certificates in that of the service.
const folderOf = "acme"

func newIssued(a ACME, kept string, expires *atomic.Int64, log func(string)) (*issued, error) {
	if kept == "" {
		return nil, errors.New("certificates by ACME need a folder that later versions of the service get too")
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if a.CA.Declared() {
		text, err := a.CA.read("")
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, errors.New("ca has no certificate")
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	x := &issued{domains: a.Domains, heard: &heard{RoundTripper: transport}, listening: make(chan struct{}), log: log, certs: map[string]*tls.Certificate{}, expires: expires}
	x.manager = &autocert.Manager{
		Prompt: autocert.AcceptTOS, Email: a.Email, HostPolicy: autocert.HostWhitelist(a.Domains...),
		Cache: autocert.DirCache(filepath.Join(kept, folderOf)),
		Client: &acme.Client{DirectoryURL: cmp.Or(a.Directory, autocert.DefaultACMEDirectory), UserAgent: "tenon",
			HTTPClient: &http.Client{Transport: x.heard, Timeout: time.Minute}},
	}
	if x.temporary, err = selfSigned(a.Domains[0]); err != nil {
		return nil, err
	}
	x.load()
	return x, nil
}

// load takes certificates that an earlier process was given, so that the service is ready at once.
func (x *issued) load() {
	for _, domain := range x.domains {
		text, err := x.manager.Cache.Get(context.Background(), domain)
		if err != nil {
			continue
		}
		if pair, err := tls.X509KeyPair(text, text); err == nil && time.Now().Before(pair.Leaf.NotAfter) {
			x.look(context.Background(), domain)
		}
	}
}

// get returns the certificate for a client. It asks nobody.
func (x *issued) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
		return x.manager.GetCertificate(hello) // what the authority wants to see
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, domain := range append([]string{strings.ToLower(hello.ServerName)}, x.domains...) {
		if cert := x.certs[domain]; cert != nil {
			return cert, nil
		}
	}
	return x.temporary, nil
}

// look takes the certificate of a domain from the manager, which asks for one if it has none.
func (x *issued) look(ctx context.Context, domain string) {
	// As a client that can take a key of ECDSA, or the manager would ask for two.
	x.heard.take()
	hello := &tls.ClientHelloInfo{ServerName: domain, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
	var cert *tls.Certificate
	var err error
	done := make(chan struct{})
	go func() { // for minutes, if the authority does not answer
		defer close(done)
		cert, err = x.manager.GetCertificate(hello)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return
	}
	if err != nil {
		x.fail(fmt.Sprintf("no certificate of %s: %s", domain, cmp.Or(x.heard.take(), err.Error())))
		return
	}
	leaf := cert.Leaf
	late := time.Until(leaf.NotAfter) < leaf.NotAfter.Sub(leaf.NotBefore)/lateRenewal
	if late {
		x.fail(fmt.Sprintf("the certificate of %s is valid until %s and could not be renewed", domain, leaf.NotAfter.UTC().Format(time.RFC3339)))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if old := x.certs[domain]; old == nil || !bytes.Equal(old.Certificate[0], cert.Certificate[0]) {
		x.log(fmt.Sprintf("note: the certificate of %s is valid until %s", domain, cert.Leaf.NotAfter.UTC().Format(time.RFC3339)))
		x.certs[domain] = cert
	}
	first := int64(0)
	for _, c := range x.certs {
		if at := c.Leaf.NotAfter.Unix(); first == 0 || at < first {
			first = at
		}
	}
	x.expires.Store(first)
	if len(x.certs) == len(x.domains) && !late {
		x.failing.Store(nil)
	}
}

// fail counts a failure, and logs one that is new.
func (x *issued) fail(says string) {
	x.failed.Add(1)
	if old := x.failing.Swap(&says); old == nil || *old != says {
		x.log("error: " + Line(says))
	}
}

// lateRenewal is which part of the time of a certificate is left when a renewal is late: the manager
// begins at a third, and does not say why it fails.
const lateRenewal = 6

// How often certificates are looked at, and how long it waits after a refusal: authorities limit how
// often one may fail, and a manager repeats its last error for a minute.
const (
	issuedEvery  = time.Second
	firstRefusal = 90 * time.Second
	lastRefusal  = time.Hour
)

// follow gets certificates, and takes those that were renewed, until ctx ends.
func (x *issued) follow(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-x.listening: // the authority connects to the service
	}
	pause := time.Duration(0)
	for {
		before := x.failed.Load()
		for _, domain := range x.domains {
			x.look(ctx, domain)
		}
		wait := issuedEvery
		if x.failed.Load() == before {
			pause = 0
		} else {
			pause = min(max(2*pause, firstRefusal), lastRefusal)
			wait = pause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// unready says which certificate is missing, or nothing.
func (x *issued) unready() string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, domain := range x.domains {
		if x.certs[domain] != nil {
			continue
		}
		if says := x.failing.Load(); says != nil {
			return *says
		}
		return "no certificate of " + domain + " yet"
	}
	return ""
}

// heard notes why an authority refuses a domain: the manager says only that no challenge was left.
type heard struct {
	http.RoundTripper
	says atomic.Pointer[string]
}

// mostHeard is how much of an answer of an authority is read for that, in bytes.
const mostHeard = 64 << 10

func (h *heard) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := h.RoundTripper.RoundTrip(r)
	if err != nil || !strings.HasSuffix(strings.Split(resp.Header.Get("Content-Type"), ";")[0], "json") {
		return resp, err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, mostHeard))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(b), resp.Body), resp.Body}
	var answer struct {
		Detail     string `json:"detail"` // of a refusal
		Challenges []struct {
			Error struct {
				Detail string `json:"detail"`
			} `json:"error"`
		} `json:"challenges"`
	}
	if err != nil || json.Unmarshal(b, &answer) != nil {
		return resp, nil
	}
	says := answer.Detail
	for _, c := range answer.Challenges {
		says = cmp.Or(c.Error.Detail, says)
	}
	if says != "" && !strings.Contains(says, "nonce") { // which the client tries again
		says = "the authority refuses it: " + says
		h.says.Store(&says)
	}
	return resp, nil
}

func (h *heard) take() string {
	if says := h.says.Swap(nil); says != nil {
		return *says
	}
	return ""
}

// selfSigned is a certificate that no client trusts.
func selfSigned(domain string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{domain}, NotBefore: time.Now(), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
