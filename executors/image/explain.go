package image

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// explain turns an error of the registry client into one that says what to do. It
// quotes no URLs of the original, because some contain tokens.
func (s *Store) explain(ctx context.Context, n named, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", n, context.Cause(ctx))
	}
	host, failed := n.host, err
	var address *url.Error
	if errors.As(err, &address) {
		if u, bad := url.Parse(address.URL); bad == nil && u.Host != "" {
			host = u.Host
		}
		failed = address.Err
	}
	dir := filepath.Join(s.opts.Hosts, n.host)
	var status remoteerrors.ErrUnexpectedStatus
	code := 0
	if errors.As(err, &status) {
		code = status.StatusCode
		if u, bad := url.Parse(status.RequestURL); bad == nil && u.Host != "" {
			host = u.Host
		}
	}
	var invalid *tls.CertificateVerificationError
	var faulty *hostsError
	switch {
	case errors.As(err, &faulty):
		return fmt.Errorf("how %s is reached cannot be read from %s: %w", n.host, dir, faulty.error)
	case errors.Is(err, docker.ErrInvalidAuthorization), code == http.StatusUnauthorized, code == http.StatusForbidden:
		return s.denied(n, host, status)
	case (errdefs.IsNotFound(err) || code == http.StatusNotFound) && n.digest != (v1.Hash{}):
		return fmt.Errorf("there is no image %s (any more): plan with --pull to take what %s stands for now, or name another one", n, n.name())
	case errdefs.IsNotFound(err), code == http.StatusNotFound:
		return fmt.Errorf("there is no image %s: look at its name and tag, or tenon image import one under that name", n)
	case errors.As(err, &invalid):
		return fmt.Errorf("%s: %w", n, untrusted(host, dir, invalid.Err))
	case code == http.StatusTooManyRequests:
		return fmt.Errorf("%s answers no more requests for now: log in with %s, or name a mirror in %s", host, login(host), filepath.Join(dir, "hosts.toml"))
	case code >= 500:
		return fmt.Errorf("%s: %s cannot answer (%s): try again later", n, host, status.Status)
	case code != 0:
		return fmt.Errorf("%s: %s answers %s%s", n, host, status.Status, said(status.Body))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: %s broke off: try again", n, host)
	case address != nil && n.host == "localhost": // no port: only imported images have such a name
		return fmt.Errorf("there is no image %s here: tenon image import one under that name", n)
	case errors.Is(failed, http.ErrSchemeMismatch):
		return fmt.Errorf("%s: %s speaks HTTP without TLS: if that is meant, write [host.\"http://%s\"] into %s", n, host, host, filepath.Join(dir, "hosts.toml"))
	case address != nil:
		return fmt.Errorf("%s: no way to %s: %s; a mirror or another address for it goes into %s", n, host, clean(failed), filepath.Join(dir, "hosts.toml"))
	}
	return fmt.Errorf("%s: %s: %s", n, host, clean(failed))
}

// denied says what to do when a registry denies access.
func (s *Store) denied(n named, host string, status remoteerrors.ErrUnexpectedStatus) error {
	asks := host
	if host == "docker.io" {
		asks = "registry-1.docker.io"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.given[asks] {
		return fmt.Errorf("%s: %s refuses the credentials that are kept for it%s: log in with %s as somebody who may do this", n, host, said(status.Body), login(host))
	}
	return fmt.Errorf("%s: %s wants to know who asks%s: log in with %s", n, host, said(status.Body), login(host))
}

func login(host string) string {
	if host == "registry-1.docker.io" || host == "auth.docker.io" || host == "docker.io" {
		return "docker login"
	}
	return "docker login " + host
}

// untrusted says what to do about a certificate that cannot be verified.
func untrusted(host, dir string, err error) error {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("the certificate of %s is of an unknown authority: put that authority's own certificate into %s, or name it as ca in hosts.toml there", host, filepath.Join(dir, "ca.crt"))
	}
	return fmt.Errorf("the certificate of %s cannot be trusted: %w", host, err)
}

// said returns the message in a registry's error response, or "".
func said(body []byte) string {
	var b struct {
		Errors []struct{ Message string }
	}
	if json.Unmarshal(body, &b) != nil || len(b.Errors) == 0 || b.Errors[0].Message == "" {
		return ""
	}
	return " (" + clean(errors.New(b.Errors[0].Message)) + ")"
}

var query = lazyregexp.New(`\?[^\s"]*`)

// clean returns an error's text on one line, without the query of a URL.
func clean(err error) string { return query.ReplaceAllString(err.Error(), "") }
