package edge

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
)

// TLS says with which certificate a service answers.
type TLS struct {
	Cert Source `json:"cert"`
	Key  Source `json:"key"`
	ACME *ACME  `json:"acme"` // instead of both
	// ClientCA are the certificates of authorities. Every client then needs a certificate of one.
	ClientCA Source `json:"client_ca"`
}

// Certs are the certificates in use.
type Certs struct {
	mutual  bool
	issued  *issued // nil if the certificate is in files
	current atomic.Pointer[tls.Config]
	expires atomic.Int64 // Unix seconds
}

// part is how certificates are read.
func (c *Certs) part(t TLS) *reloaded {
	c.mutual = t.ClientCA.Declared()
	r := &reloaded{what: "certificate"}
	if c.issued == nil {
		r.sources = []named{{t.Cert, "TLS_CERT"}, {t.Key, "TLS_KEY"}}
	}
	if c.mutual {
		r.sources = append(r.sources, named{t.ClientCA, "TLS_CLIENT_CA"})
	}
	r.make = func(texts [][]byte) error {
		config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
		if c.issued != nil {
			config.GetCertificate, config.NextProtos = c.issued.get, append(config.NextProtos, acme.ALPNProto)
		} else {
			pair, err := tls.X509KeyPair(texts[0], texts[1])
			if err != nil {
				return err
			}
			config.Certificates = []tls.Certificate{pair}
			c.expires.Store(pair.Leaf.NotAfter.Unix())
		}
		if c.mutual {
			config.ClientCAs = x509.NewCertPool()
			if !config.ClientCAs.AppendCertsFromPEM(texts[len(texts)-1]) {
				return errors.New("client_ca has no certificate")
			}
			// Probes have none. Whoever asks for anything but health is refused without one.
			config.ClientAuth = tls.VerifyClientCertIfGiven
		}
		// A session that was agreed on with other certificates is not resumed with these.
		var ticket [32]byte
		_, _ = rand.Read(ticket[:]) // never fails
		config.SetSessionTicketKeys([][32]byte{ticket})
		c.current.Store(config)
		return nil
	}
	return r
}

// Config is for a server. It takes the certificates that are in use when a client connects.
func (c *Certs) Config() *tls.Config {
	get := func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil }
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetConfigForClient: get,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("no configuration") }, // which net/http wants
	}
}

// Expires is when the certificate ends.
func (c *Certs) Expires() time.Time { return time.Unix(c.expires.Load(), 0) }

// clientName is the name in the certificate of a client, which was verified, or "".
func clientName(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return ""
	}
	cert := r.TLS.PeerCertificates[0]
	switch {
	case cert.Subject.CommonName != "":
		return cert.Subject.CommonName
	case len(cert.URIs) > 0:
		return cert.URIs[0].String()
	case len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	case len(cert.EmailAddresses) > 0:
		return cert.EmailAddresses[0]
	}
	return cert.SerialNumber.String()
}
